//! A circle's life under our own policy: the shipped core on every machine, through a trace.

use std::collections::BTreeSet;

use carryall_core::{
    event::{Command, Gate},
    id::{MemberId, PackId},
    invite::InviteSecret,
    key::{Identity, Names, Words},
    limits, node, placement,
    record::PackKind,
    time::{Span, Timestamp},
};

use super::{
    cast::{Cast, Machine, Spot},
    fate::Blow,
    packs::{Condition, WEIGHT},
    score::Score,
    station::{Foretold, Rescue, Station, forget_verified},
    trace::{Happening, Trace},
    world::World,
};
use crate::{checker::Violation, rng::Rng, world::BEGIN};

/// How long the circle's founding takes.
const FOUNDING: Span = Span::days(1);
/// An invite between two machines in one place is answered within this time.
const WELCOME_WITHIN: Span = Span::secs(60);
/// Every so many midnights all packs are looked at. It is no divisor of a week.
pub(super) const LOOK_EVERY: u32 = 5;
/// Metadata packs that the snapshots on the list need.
pub(super) const METADATA_KEPT: usize = 24;
/// What is younger is not released.
pub(super) const RELEASE_AFTER: Span = Span::days(60);
/// With a backup an old pack is released so often, in a thousand.
pub(super) const RELEASES: u32 = 100;

/// What a run showed.
#[derive(Debug)]
pub(super) struct Lived {
    pub(super) score: Score,
    pub(super) violations: Vec<Violation>,
}

/// A mistake of the world on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// Disks lose what they keep, without any fault that would explain it.
    LoseShards,
}

/// Lives through a trace.
pub(super) fn live(trace: &Trace, seed: u64, slip: Option<Slip>) -> Lived {
    live_with(trace, seed, slip, limits::CARRIERS_MAX)
}

/// Lives through a trace, where so many friends carry each parcel at most.
pub(super) fn live_with(trace: &Trace, seed: u64, slip: Option<Slip>, carriers: usize) -> Lived {
    let mut life = Life::begin(trace.cast.clone(), seed, carriers);
    life.slip = slip;
    for day in 0..trace.days {
        for (at, happening) in trace.day(day) {
            life.at(at, happening);
        }
        let midnight = BEGIN + Span::days(u64::from(day) + 1);
        life.world.run_until(midnight);
        if day % LOOK_EVERY == LOOK_EVERY - 1 {
            life.look();
        }
    }
    life.end();
    Lived {
        score: life.world.score,
        violations: life.violations,
    }
}

fn began() -> Timestamp {
    Timestamp(BEGIN.0 - FOUNDING.0)
}

/// A circle whose life goes on.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) world: World,
    /// The station that each of the cast's machines is now.
    pub(super) seats: Vec<Option<usize>>,
    /// Everybody's twelve words.
    words: Vec<Words>,
    members: Vec<MemberId>,
    /// People who left.
    pub(super) left: BTreeSet<usize>,
    pub(super) violations: Vec<Violation>,
    pub(super) slip: Option<Slip>,
    /// How many friends carry each parcel at most.
    carriers: usize,
    rng: Rng,
}

impl Life {
    /// Founds a circle of all of the cast.
    pub(super) fn begin(cast: Cast, seed: u64, carriers: usize) -> Self {
        forget_verified();
        let rng = Rng::new(seed).fork("life", 0);
        let mut life = Self {
            seats: vec![None; cast.machines.len()],
            world: World::new(cast, began(), rng.fork("world", 0)),
            words: Vec::new(),
            members: Vec::new(),
            left: BTreeSet::new(),
            violations: Vec::new(),
            slip: None,
            carriers,
            rng,
        };
        life.found();
        life
    }

    /// Lets time pass until something happens.
    pub(super) fn at(&mut self, at: Timestamp, happening: Happening) {
        self.world.run_until(at);
        self.perform(happening);
        // Who lost everything looks after what comes back all the time.
        let rescued = |it: &&usize| self.world.stations[**it].rescue.is_some();
        let rescued: Vec<usize> = self
            .seats
            .iter()
            .flatten()
            .filter(rescued)
            .copied()
            .collect();
        for station in rescued {
            self.tend(station);
        }
    }

    /// Returns how many machines that dropped shards were named.
    pub(super) fn named(&self) -> usize {
        self.world.score.cheats().1
    }

    fn machine(&self, machine: usize) -> Machine {
        self.world.cast.machines[machine]
    }

    /// Everybody founds the circle together, each with every machine.
    fn found(&mut self) {
        for person in 0..self.world.cast.people.len() {
            let mut rng = self.rng.fork("words", person as u64);
            let mut entropy = [0; 16];
            entropy.copy_from_slice(&rng.seed()[..16]);
            let words = Words::generate(entropy);
            self.members.push(words.root().member());
            self.words.push(words);
        }
        let count = self.world.cast.machines.len();
        for machine in 0..count {
            let station = self.set_up(machine, machine == 0);
            self.world.wake(station, Spot::Office);
            self.admit_at(station);
            self.world.run_until(self.world.now + WELCOME_WITHIN);
        }
        self.world.run_until(self.world.now + Span::hours(1));
        for station in 0..count {
            self.look_after(station);
        }
        self.world.run_until(self.world.now + Span::hours(1));
        for station in 0..count {
            self.world.sleep(station);
        }
    }

    /// Sets up a new machine in the place of one of the cast's.
    fn set_up(&mut self, machine: usize, founds: bool) -> usize {
        let number = self.world.stations.len();
        let it = self.machine(machine);
        let is_desk = self.world.cast.desk(it.owner) == machine;
        let mut rng = self.rng.fork("station", number as u64);
        let name = format!("person {}", it.owner);
        let names = Names {
            member: &name,
            device: "machine",
        };
        let (root, now) = (self.words[it.owner].root(), self.world.now);
        let first = is_desk && self.seats[machine].is_none();
        let class = it.kind.class();
        let identity = match first {
            true => Identity::create(&root, rng.seed(), names, class, now),
            false => Identity::recover(&root, rng.seed(), names, class, now),
        };
        let identity = identity.expect("short names");
        let (identity, entries) = match founds {
            true => node::found(identity, &rng.seed(), now),
            false => (identity, Vec::new()),
        };
        let mut station = Station::new(identity, rng.seed(), now, it.owner, machine, is_desk);
        station.node = station.node.with_carriers(self.carriers);
        let station = self.world.add(station, entries);
        self.seats[machine] = Some(station);
        station
    }

    /// Whoever is in the same place invites a machine that does not belong to the circle yet; if nobody
    /// is, somebody who can be reached sends a link.
    fn admit_at(&mut self, station: usize) {
        let outside = |life: &Self, at: usize| {
            let it = &life.world.stations[at];
            it.node.identity().circle.is_none()
        };
        let mut there = self.world.company(station);
        there.push(station);
        let door = there.iter().copied().find(|at| !outside(self, *at));
        let door = door.or_else(|| {
            let mut all = 0..self.world.stations.len();
            all.find(|at| self.world.reaches(station, *at) && !outside(self, *at))
        });
        let guests: Vec<usize> = there.into_iter().filter(|at| outside(self, *at)).collect();
        let Some(door) = door else {
            return;
        };
        for guest in guests {
            let mut secret = [0; 16];
            secret.copy_from_slice(&self.rng.seed()[..16]);
            let secret = InviteSecret(secret);
            let id = secret.id();
            let petname = format!("person {}", self.world.stations[guest].person);
            self.world.command(door, Command::Invite { id, petname });
            let circle = Some(self.world.stations[door].node.circle().id());
            let doors = vec![(self.world.stations[door].device, Vec::new())];
            let knock = Command::Knock {
                circle,
                gate: Gate::Invite(id),
                secret: Some(secret),
                doors,
            };
            self.world.command(guest, knock);
        }
    }

    /// A machine that has come into the circle says what it keeps for whom, and asks for what is its
    /// owner's.
    fn look_after(&mut self, station: usize) {
        let it = &self.world.stations[station];
        let all = it.node.friends() + 1 == self.world.cast.people.len();
        if it.gone || it.settled || !it.is_in() || !all {
            return;
        }
        let (me, machine, is_desk) = (it.member, it.machine, it.is_desk);
        let bytes = self.machine(machine).offers / WEIGHT;
        let others = it.node.circle().members().filter(|to| *to != me);
        let others: Vec<_> = others.collect();
        for to in others {
            self.world.command(station, Command::Offer { to, bytes });
        }
        self.world.stations[station].settled = true;
        if !is_desk {
            return;
        }
        let mine = self.world.packs.all.iter().filter(|it| it.owner == me);
        let back = mine.filter(|it| !it.released && !it.lost && it.is_rebuildable(true));
        let mut packs: Vec<_> = back.map(|it| it.record.clone()).collect();
        let now = self.world.now;
        let it = &mut self.world.stations[station];
        if let Some(rescue) = &mut it.rescue {
            rescue.wanted = packs.iter().map(|it| it.id).collect();
            let way = it.node.way_home(packs.iter(), now);
            rescue.foretold = Some(Foretold {
                at: now,
                by: way.by,
                at_the_latest: way.at_the_latest,
            });
            // What says where everything is comes first, then the newest.
            packs.reverse();
            packs.sort_by_key(|it| it.kind != PackKind::Metadata);
            self.world.command(station, Command::Fetch { packs });
        }
    }

    fn perform(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(machine, spot) => {
                if let Some(station) = self.seats[machine] {
                    self.world.wake(station, spot);
                    self.admit_at(station);
                }
            }
            Happening::Sleep(machine) => {
                if let Some(station) = self.seats[machine] {
                    self.tend(station);
                    self.world.sleep(station);
                }
            }
            Happening::Save(person, packs) => self.save(person, packs),
            Happening::Blow(blow) => self.blow(blow),
        }
    }

    /// Sees what a machine has to say or to ask for after a while in the circle, and how far its
    /// restore is.
    pub(super) fn tend(&mut self, station: usize) {
        self.look_after(station);
        let now = self.world.now;
        let it = &mut self.world.stations[station];
        if !it.settled {
            return;
        }
        if let Some(rescue) = it.rescue.take_if(|it| it.wanted.is_empty()) {
            self.world.score.restored(now.since(rescue.since));
            if let Some(foretold) = rescue.foretold {
                self.world.score.came_true(foretold, now);
            }
        }
    }

    /// Somebody's files change.
    fn save(&mut self, person: usize, packs: u8) {
        let desk = self.world.cast.desk(person);
        let Some(station) = self.seats[desk].filter(|at| self.works(*at)) else {
            return;
        };
        let (now, friends) = (self.world.now, self.world.stations[station].node.friends());
        let me = self.world.stations[station].member;
        let kinds = std::iter::repeat_n(PackKind::Large, packs.into());
        for kind in kinds.chain([PackKind::Metadata]) {
            let k = placement::data_shards(kind, friends);
            let pack = self.world.packs.make(me, kind, k, now, &mut self.rng);
            let available = true;
            self.world
                .command(station, Command::AddPack { pack, available });
        }
        let head = self.rng.bytes(300);
        self.world.command(station, Command::Publish { head });
        self.release(station, now);
    }

    fn works(&self, station: usize) -> bool {
        let it = &self.world.stations[station];
        !it.gone && it.settled && it.is_in()
    }

    /// Old snapshots leave the list, and with them what only they need.
    fn release(&mut self, station: usize, now: Timestamp) {
        let me = self.world.stations[station].member;
        let rescue = self.world.stations[station].rescue.is_some();
        let all = self.world.packs.all.iter();
        let mine = all.filter(|it| it.owner == me && !it.released && !it.lost);
        let (metadata, data): (Vec<_>, Vec<_>) = mine
            .map(|it| &it.record)
            .partition(|it| it.kind == PackKind::Metadata);
        let mut packs: Vec<PackId> = Vec::new();
        let surplus = metadata.len().saturating_sub(METADATA_KEPT);
        packs.extend(metadata.iter().take(surplus).map(|it| it.id));
        let old: Vec<PackId> = (data.iter())
            .filter(|it| now.since(it.made) >= RELEASE_AFTER)
            .map(|it| it.id)
            .collect();
        if self.rng.chance(RELEASES) && !old.is_empty() {
            packs.push(old[self.rng.index(old.len())]);
        }
        if packs.is_empty() || rescue {
            return;
        }
        for id in &packs {
            if let Some(pack) = self.world.packs.get_mut(*id) {
                pack.released = true;
            }
        }
        self.world.command(station, Command::Release { packs });
    }

    fn blow(&mut self, blow: Blow) {
        let now = self.world.now;
        match blow {
            Blow::Break(machine) => {
                if let Some(station) = self.seats[machine] {
                    self.destroy(station);
                }
            }
            Blow::Replace(machine) => self.replace(machine),
            Blow::Quit(person) => {
                self.left.insert(person);
                for machine in 0..self.seats.len() {
                    if let Some(station) = self.seats[machine]
                        && self.machine(machine).owner == person
                        && !self.world.stations[station].gone
                    {
                        self.world.lose(station);
                    }
                }
                self.count_losses(None);
            }
            Blow::Rot(machine, share) => self.damage(machine, share, Condition::Rotten),
            Blow::Cheat(machine, share) => {
                self.damage(machine, share, Condition::Dropped);
                if let Some(station) = self.seats[machine] {
                    self.world.score.cheated(station, now);
                }
            }
            Blow::Fill(machine) => self.with(machine, |it| it.full = true),
            Blow::Drain(machine) => self.with(machine, |it| it.full = false),
            Blow::Skew(machine, skew) => self.with(machine, |it| it.skew = skew),
        }
    }

    fn with(&mut self, machine: usize, change: impl FnOnce(&mut Station)) {
        if let Some(station) = self.seats[machine] {
            change(&mut self.world.stations[station]);
        }
    }

    fn damage(&mut self, machine: usize, share: u32, condition: Condition) {
        let Some(station) = self.seats[machine].filter(|at| !self.world.stations[*at].gone) else {
            return;
        };
        let now = self.world.now;
        let rng = &mut self.rng;
        self.world.packs.damage(station, share, condition, now, rng);
    }

    fn replace(&mut self, machine: usize) {
        let owner = self.machine(machine).owner;
        if self.left.contains(&owner) || self.seats[machine].is_some_and(|at| self.works(at)) {
            return;
        }
        let station = self.set_up(machine, false);
        let now = self.world.now;
        let it = &mut self.world.stations[station];
        it.rescue = it.is_desk.then_some(Rescue {
            since: now,
            wanted: BTreeSet::new(),
            foretold: None,
        });
        if let Some(spot) = self.machine(machine).stands {
            self.world.wake(station, spot);
            self.admit_at(station);
        }
    }

    /// A machine is destroyed.
    fn destroy(&mut self, station: usize) {
        if self.world.stations[station].gone {
            return;
        }
        let promised = self.world.stations[station].is_desk.then_some(station);
        self.world.lose(station);
        self.count_losses(promised);
    }

    pub(super) fn clock(&self, station: usize) -> Timestamp {
        self.world.stations[station].clock(self.world.now)
    }

    /// Returns a member's number, and the station with their files, broken or not.
    pub(super) fn desk_of(&self, member: MemberId) -> Option<(usize, Option<usize>)> {
        let person = self.members.iter().position(|it| *it == member)?;
        Some((person, self.seats[self.world.cast.desk(person)]))
    }
}
