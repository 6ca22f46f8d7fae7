//! Other policies on the same traces, as a light model: nobody decides anything in an encounter, since
//! it is fixed when a pack is made which machine gets which of its shards.
//!
//! What is modelled: who is near whom and when, the speed of links, offers, full disks, everything that
//! breaks, rots, leaves or lies, repair after the time that ours takes to give somebody up, and restores
//! from whoever is met. What is not: proofs (a shard counts when its last byte is there), feeds, wrong
//! clocks, and the room of what was released. All of that is in these policies' favour.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    placement,
    policy::FAR_RATE,
    record::{Coding, PackKind},
    time::{Span, Timestamp},
};

use super::{
    cast::{Cast, Spot},
    fate::Blow,
    life::{LOOK_EVERY, RELEASE_AFTER, RELEASES},
    link::Way,
    packs::{DATA_BYTES, WEIGHT},
    score::Score,
    trace::{Happening, Trace},
};
use crate::{rng::Rng, world::BEGIN};

/// A holder that is gone is given up after so long, as by ours.
const GIVEN_UP: Span = Span::days(31);

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Tahoe-LAFS: 3 of 10 shards, on servers in the order of a permuted ring.
    Ring,
    /// Our coding, on the machines with the lowest round trip.
    Ping,
    /// Our coding, on the machines with most free space.
    Free,
    /// A copy to each member.
    Copies,
}

impl Policy {
    pub(super) const ALL: [Self; 4] = [Self::Ring, Self::Ping, Self::Free, Self::Copies];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ring => "random servers (3 of 10)",
            Self::Ping => "lowest ping",
            Self::Free => "most free space",
            Self::Copies => "copies to everyone",
        }
    }
}

/// A shard that belongs on a machine.
#[derive(Clone, Copy, Debug)]
struct Shard {
    machine: usize,
    index: u8,
    /// Bytes that are there.
    came: u64,
    /// When all were.
    there: Option<Timestamp>,
    /// It is damaged or dropped, and when that is found out.
    bad: Option<Timestamp>,
}

#[derive(Debug)]
struct Pack {
    owner: usize,
    made: Timestamp,
    k: u8,
    bytes: u64,
    shards: Vec<Shard>,
    safe: Option<Timestamp>,
    gone: bool,
}

impl Pack {
    /// Returns the distinct shards that are there as they should be.
    fn intact(&self) -> BTreeSet<u8> {
        let good = self
            .shards
            .iter()
            .filter(|it| it.there.is_some() && it.bad.is_none());
        good.map(|it| it.index).collect()
    }

    fn is_rebuildable(&self) -> bool {
        self.intact().len() >= usize::from(self.k)
    }
}

/// What is to come back after a loss.
#[derive(Debug)]
struct Rescue {
    since: Timestamp,
    /// By pack: which shards came.
    wanted: BTreeMap<usize, BTreeSet<u8>>,
}

/// A meeting that goes on.
#[derive(Clone, Copy, Debug)]
struct Window {
    way: Way,
    /// Until when each way is used up.
    cursor: [Timestamp; 2],
}

/// Lives through a trace.
pub(super) fn live(trace: &Trace, policy: Policy, seed: u64) -> Score {
    let mut rival = Rival {
        policy,
        now: BEGIN,
        cast: &trace.cast,
        spots: vec![None; trace.cast.machines.len()],
        alive: vec![true; trace.cast.machines.len()],
        full: BTreeSet::new(),
        left: BTreeSet::new(),
        windows: BTreeMap::new(),
        near: BTreeMap::new(),
        far: BTreeSet::new(),
        given_up: Vec::new(),
        packs: Vec::new(),
        rescues: BTreeMap::new(),
        score: Score::default(),
        rng: Rng::new(seed).fork(policy.name(), 0),
    };
    for day in 0..trace.days {
        for (at, happening) in trace.day(day) {
            rival.now = at;
            rival.perform(happening);
        }
        rival.now = BEGIN + Span::days(u64::from(day) + 1);
        rival.flush_all();
        rival.give_up();
        if day % LOOK_EVERY == LOOK_EVERY - 1 {
            rival.look();
        }
    }
    rival.end()
}

#[derive(Debug)]
struct Rival<'a> {
    policy: Policy,
    now: Timestamp,
    cast: &'a Cast,
    spots: Vec<Option<Spot>>,
    alive: Vec<bool>,
    full: BTreeSet<usize>,
    left: BTreeSet<usize>,
    windows: BTreeMap<(usize, usize), Window>,
    /// When two machines were in one place last.
    near: BTreeMap<(usize, usize), Timestamp>,
    /// Who reached whom over the internet.
    far: BTreeSet<(usize, usize)>,
    given_up: Vec<(Timestamp, usize)>,
    packs: Vec<Pack>,
    rescues: BTreeMap<usize, Rescue>,
    score: Score,
    rng: Rng,
}

impl Rival<'_> {
    fn perform(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(machine, spot) => self.wake(machine, spot),
            Happening::Sleep(machine) => self.sleep(machine),
            Happening::Save(person, packs) => self.save(person, packs),
            Happening::Blow(blow) => self.blow(blow),
        }
    }

    fn wake(&mut self, machine: usize, spot: Spot) {
        self.spots[machine] = Some(spot);
        if !self.alive[machine] {
            return;
        }
        for other in 0..self.spots.len() {
            let Some(there) = self.spots[other].filter(|_| other != machine && self.alive[other])
            else {
                continue;
            };
            let open = |spot| matches!(spot, Spot::Home(home) if self.cast.open[home]);
            let way = match spot == there {
                true => Way::Near(spot),
                false if open(spot) || open(there) => Way::Far,
                false => continue,
            };
            let pair = (machine.min(other), machine.max(other));
            let cursor = [self.now; 2];
            self.windows.insert(pair, Window { way, cursor });
            match way {
                Way::Near(_) => drop(self.near.insert(pair, self.now)),
                Way::Far => drop(self.far.insert(pair)),
            }
        }
    }

    fn sleep(&mut self, machine: usize) {
        let pairs: Vec<_> = self.windows.keys().copied().collect();
        for pair in pairs
            .into_iter()
            .filter(|it| it.0 == machine || it.1 == machine)
        {
            self.flush(pair);
            self.windows.remove(&pair);
        }
        self.spots[machine] = None;
    }

    fn flush_all(&mut self) {
        let pairs: Vec<_> = self.windows.keys().copied().collect();
        pairs.into_iter().for_each(|pair| self.flush(pair));
    }

    /// Moves what two machines could move until now.
    fn flush(&mut self, pair: (usize, usize)) {
        let Some(mut window) = self.windows.get(&pair).copied() else {
            return;
        };
        for (side, from, to) in [(0, pair.0, pair.1), (1, pair.1, pair.0)] {
            let owner = self.cast.machines[from].owner;
            if self.cast.desk(owner) == from {
                self.pull(owner, to, window.way, window.cursor[1 - side]);
                window.cursor[side] = self.push(owner, to, window.way, window.cursor[side]);
            }
            window.cursor[side] = window.cursor[side].max(self.now);
        }
        self.windows.insert(pair, window);
    }

    fn speed(way: Way) -> u64 {
        match way {
            Way::Near(_) => way.speed(),
            Way::Far => way.speed().min(FAR_RATE.get()),
        }
    }

    /// Sends what belongs on a machine, the newest first.
    fn push(&mut self, owner: usize, to: usize, way: Way, mut cursor: Timestamp) -> Timestamp {
        if self.full.contains(&to) || self.rescues.contains_key(&owner) {
            return cursor;
        }
        let speed = Self::speed(way);
        for pack in self.packs.iter_mut().rev() {
            if pack.owner != owner || pack.gone {
                continue;
            }
            for at in 0..pack.shards.len() {
                let shard = &mut pack.shards[at];
                if shard.machine != to || shard.there.is_some() {
                    continue;
                }
                let start = cursor.max(pack.made);
                let left = pack.bytes - shard.came;
                let room = self.now.since(start).0 * speed / 1000;
                let moved = left.min(room);
                shard.came += moved;
                self.score.moved(way == Way::Far, moved);
                cursor = start + Span(moved * 1000 / speed);
                if moved < left {
                    return cursor;
                }
                shard.there = Some(cursor);
            }
            settle(pack, &mut self.score);
        }
        cursor
    }

    /// Brings back what a machine has of what is wanted.
    fn pull(&mut self, owner: usize, from: usize, way: Way, cursor: Timestamp) {
        let Some(rescue) = self.rescues.get_mut(&owner) else {
            return;
        };
        let mut room = self.now.since(rescue.since.max(cursor)).0 * Self::speed(way) / 1000;
        for (number, have) in &mut rescue.wanted {
            let pack = &self.packs[*number];
            let there = pack
                .shards
                .iter()
                .filter(|it| it.machine == from && it.there.is_some() && it.bad.is_none());
            for shard in there {
                if have.len() < usize::from(pack.k)
                    && room >= pack.bytes
                    && have.insert(shard.index)
                {
                    room -= pack.bytes;
                    self.score.moved(way == Way::Far, pack.bytes);
                }
            }
        }
        let packs = &self.packs;
        rescue.wanted.retain(|number, have| {
            let pack = &packs[*number];
            have.len() < usize::from(pack.k) && pack.is_rebuildable() && !pack.gone
        });
        if rescue.wanted.is_empty() {
            self.score.restored(self.now.since(rescue.since));
            self.rescues.remove(&owner);
        }
    }

    fn save(&mut self, person: usize, packs: u8) {
        let desk = self.cast.desk(person);
        if !self.alive[desk] || self.left.contains(&person) || self.rescues.contains_key(&person) {
            return;
        }
        for _ in 0..packs {
            let (k, machines) = self.place(person);
            let coding = Coding::new(k, DATA_BYTES).expect("a few friends, a few bytes");
            let shards = (0..).zip(machines).map(|(index, machine)| Shard {
                machine,
                index: if k == 1 { 0 } else { index },
                came: 0,
                there: None,
                bad: None,
            });
            self.packs.push(Pack {
                owner: person,
                made: self.now,
                k,
                bytes: u64::from(coding.shard_bytes) * WEIGHT,
                shards: shards.collect(),
                safe: None,
                gone: false,
            });
        }
        if self.rng.chance(RELEASES) {
            let old: Vec<usize> = (self.packs.iter().enumerate())
                .filter(|(_, it)| it.owner == person && !it.gone)
                .filter(|(_, it)| self.now.since(it.made) >= RELEASE_AFTER)
                .map(|(number, _)| number)
                .collect();
            if !old.is_empty() {
                let number = old[self.rng.index(old.len())];
                self.packs[number].gone = true;
            }
        }
    }

    /// Returns how a new pack is cut, and which machines get a shard, in order.
    fn place(&mut self, person: usize) -> (u8, Vec<usize>) {
        let others = self.cast.people.len() - 1;
        let ours = placement::data_shards(PackKind::Large, others);
        let mut machines = self.candidates(person);
        match self.policy {
            Policy::Ring => {
                let mut ring = Vec::new();
                while !machines.is_empty() {
                    ring.push(machines.swap_remove(self.rng.index(machines.len())));
                }
                let k = u8::try_from(ring.len().min(3)).unwrap_or(3);
                let shards = ring.iter().copied().cycle().take(10.min(ring.len() * 10));
                (k.max(1), shards.collect())
            }
            Policy::Ping => {
                machines.sort_by_key(|it| self.round_trip(person, *it));
                machines.truncate(2 * usize::from(ours));
                (ours, machines)
            }
            Policy::Free => {
                machines.sort_by_key(|it| std::cmp::Reverse(self.room(*it, None)));
                machines.truncate(2 * usize::from(ours));
                (ours, machines)
            }
            Policy::Copies => {
                machines.sort_by_key(|it| std::cmp::Reverse(self.cast.machines[*it].offers));
                let mut members = BTreeSet::new();
                machines.retain(|it| members.insert(self.cast.machines[*it].owner));
                (1, machines)
            }
        }
    }

    /// Returns the machines of others that are not known to be gone and have room.
    fn candidates(&self, person: usize) -> Vec<usize> {
        let given_up = |machine: &usize| {
            !self.alive[*machine] && !self.given_up.iter().any(|it| it.1 == *machine)
        };
        let least = DATA_BYTES as u64 * WEIGHT;
        (0..self.alive.len())
            .filter(|it| self.cast.machines[*it].owner != person && !given_up(it))
            .filter(|it| self.room(*it, Some(person)) >= i128::from(least))
            .collect()
    }

    /// Returns what is left of what a machine keeps for a member, or for all of them.
    fn room(&self, machine: usize, owner: Option<usize>) -> i128 {
        let packs = self.packs.iter().filter(|it| !it.gone);
        let packs = packs.filter(|it| owner.is_none_or(|owner| it.owner == owner));
        let used: u64 = packs
            .map(|it| {
                let here = it.shards.iter().filter(|it| it.machine == machine);
                here.count() as u64 * it.bytes
            })
            .sum();
        let members = owner.map_or(self.cast.people.len() - 1, |_| 1) as u64;
        i128::from(self.cast.machines[machine].offers * members) - i128::from(used)
    }

    /// Returns the round trip to a machine as it was seen last: near, over the internet, or never.
    fn round_trip(&self, person: usize, machine: usize) -> (u8, usize) {
        let desk = self.cast.desk(person);
        let pair = (desk.min(machine), desk.max(machine));
        let lately = |at: &Timestamp| self.now.since(*at) <= Span::days(30);
        let class = match self.near.get(&pair) {
            Some(at) if lately(at) => 0,
            _ if self.far.contains(&pair) => 1,
            _ => 2,
        };
        (class, machine)
    }

    fn blow(&mut self, blow: Blow) {
        match blow {
            Blow::Break(machine) => self.lose(machine),
            Blow::Quit(person) => {
                self.left.insert(person);
                for machine in 0..self.alive.len() {
                    if self.cast.machines[machine].owner == person {
                        self.lose(machine);
                    }
                }
            }
            Blow::Replace(machine) => self.replace(machine),
            Blow::Rot(machine, share) | Blow::Cheat(machine, share) => self.damage(machine, share),
            Blow::Fill(machine) => drop(self.full.insert(machine)),
            Blow::Drain(machine) => drop(self.full.remove(&machine)),
            Blow::Skew(..) => {}
        }
    }

    fn lose(&mut self, machine: usize) {
        if !self.alive[machine] {
            return;
        }
        let spot = self.spots[machine];
        self.sleep(machine);
        self.spots[machine] = spot;
        self.alive[machine] = false;
        self.given_up.push((self.now + GIVEN_UP, machine));
        for pack in &mut self.packs {
            for shard in pack.shards.iter_mut().filter(|it| it.machine == machine) {
                (shard.came, shard.there, shard.bad) = (0, None, None);
            }
        }
        self.count_losses();
    }

    fn count_losses(&mut self) {
        for pack in self.packs.iter_mut().filter(|it| !it.gone) {
            let desk = self.cast.desk(pack.owner);
            let has = self.alive[desk] && !self.rescues.contains_key(&pack.owner);
            if has || self.left.contains(&pack.owner) || pack.is_rebuildable() {
                continue;
            }
            pack.gone = true;
            match pack.safe {
                Some(_) => self.score.lost += 1,
                None => self.score.lost_early += 1,
            }
        }
    }

    fn replace(&mut self, machine: usize) {
        let owner = self.cast.machines[machine].owner;
        if self.alive[machine] || self.left.contains(&owner) {
            return;
        }
        self.alive[machine] = true;
        // Machines that were given up are none of the new one's business.
        self.redirect(machine);
        self.given_up.retain(|it| it.1 != machine);
        if self.cast.desk(owner) == machine {
            let packs = self.packs.iter().enumerate();
            let wanted = packs.filter(|(_, it)| it.owner == owner && !it.gone);
            let wanted = wanted
                .map(|(number, _)| (number, BTreeSet::new()))
                .collect();
            let since = self.now;
            self.rescues.insert(owner, Rescue { since, wanted });
        }
        if let Some(spot) = self.spots[machine] {
            self.wake(machine, spot);
        }
    }

    fn damage(&mut self, machine: usize, share: u32) {
        let found_out = self.now + Span::days(30);
        for pack in &mut self.packs {
            for shard in pack.shards.iter_mut().filter(|it| it.machine == machine) {
                if shard.there.is_some() && self.rng.chance(share) {
                    shard.bad = Some(found_out);
                }
            }
        }
    }

    /// Makes good what is known to be missing.
    fn give_up(&mut self) {
        let now = self.now;
        for shard in self.packs.iter_mut().flat_map(|it| &mut it.shards) {
            if shard.bad.is_some_and(|at| at <= now) {
                (shard.came, shard.there, shard.bad) = (0, None, None);
            }
        }
        let due: Vec<usize> = (self.given_up.iter())
            .filter(|it| it.0 <= now)
            .map(|it| it.1)
            .collect();
        self.given_up.retain(|it| it.0 > now);
        due.into_iter().for_each(|machine| self.redirect(machine));
    }

    /// Gives what a machine had to others.
    fn redirect(&mut self, machine: usize) {
        for number in 0..self.packs.len() {
            let pack = &self.packs[number];
            let had = |it: &Shard| it.machine == machine && it.there.is_none();
            if pack.gone || !pack.shards.iter().any(had) {
                continue;
            }
            let (_, machines) = self.place(pack.owner);
            let pack = &mut self.packs[number];
            for at in 0..pack.shards.len() {
                let taken: BTreeSet<usize> = pack.shards.iter().map(|it| it.machine).collect();
                let new = machines.iter().find(|it| !taken.contains(it));
                let new = new.or_else(|| machines.first().filter(|_| self.policy == Policy::Ring));
                if let (true, Some(new)) = (had(&pack.shards[at]), new) {
                    pack.shards[at].machine = *new;
                }
            }
        }
    }

    fn look(&mut self) {
        for pack in self.packs.iter().filter(|it| !it.gone) {
            if self.left.contains(&pack.owner) {
                continue;
            }
            let bytes = DATA_BYTES as u64 * WEIGHT;
            self.score.midnight[0] += bytes;
            self.score.midnight[1] += if pack.is_rebuildable() { bytes } else { 0 };
            if pack.safe.is_some() {
                self.score.pack_days += u64::from(LOOK_EVERY);
            }
            self.score.space[0] += bytes;
            let there = pack.shards.iter().filter(|it| it.there.is_some()).count() as u64;
            self.score.space[1] += there * pack.bytes;
        }
    }

    fn end(mut self) -> Score {
        self.score.runs = 1;
        let now = self.now;
        let open = self.packs.iter().filter(|it| {
            let old = now.since(it.made) >= Span::days(14);
            old && it.safe.is_none() && !it.gone && !self.left.contains(&it.owner)
        });
        self.score.never = open.count() as u64;
        let waiting = self.rescues.values();
        let waiting = waiting.filter(|it| now.since(it.since) >= Span::days(30));
        self.score.unrestored = waiting.count() as u64;
        self.score
    }
}

/// Notes when a pack was safe first.
fn settle(pack: &mut Pack, score: &mut Score) {
    if pack.safe.is_some() || !pack.is_rebuildable() {
        return;
    }
    let mut first: BTreeMap<u8, Timestamp> = BTreeMap::new();
    for shard in &pack.shards {
        if let (Some(there), None) = (shard.there, shard.bad) {
            let known = first.entry(shard.index).or_insert(there);
            *known = (*known).min(there);
        }
    }
    let mut times: Vec<Timestamp> = first.into_values().collect();
    times.sort_unstable();
    if let Some(at) = times.get(usize::from(pack.k) - 1) {
        pack.safe = Some(*at);
        score.waited(at.since(pack.made));
    }
}
