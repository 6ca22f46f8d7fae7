//! The judge: compares what owners are told with what is really on friends' disks, and sums up.

use std::collections::BTreeMap;

use carryall_core::{
    id::MemberId,
    limits, placement,
    record::PackKind,
    time::{Span, Timestamp},
};

use super::{
    life::{LOOK_EVERY, Life, Slip},
    station::Rescue,
};
use crate::checker::Violation;

/// Packs that are older have settled.
const SETTLED: Span = Span::days(120);
/// What was not safe after this long, while it could have been, counts as never safe.
const NEVER: Span = Span::days(14);

impl Life {
    /// Sees which packs nobody can rebuild any more. `broken` is the desk that just broke.
    pub(super) fn count_losses(&mut self, broken: Option<usize>) {
        let mut violated = Vec::new();
        let now = self.world.now;
        for number in 0..self.world.packs.all.len() {
            let pack = &self.world.packs.all[number];
            if pack.lost || pack.released || pack.is_rebuildable(true) {
                continue;
            }
            let desk = self.desk_of(pack.owner);
            let has = |at: usize| {
                let it = &self.world.stations[at];
                let missing = it.rescue.as_ref().is_some_and(|Rescue { wanted, .. }| {
                    wanted.is_empty() || wanted.contains(&pack.record.id)
                });
                !it.gone && !missing
            };
            let Some((person, desk)) = desk else {
                continue;
            };
            if self.left.contains(&person) || desk.is_some_and(has) {
                continue;
            }
            let promised = broken.filter(|at| self.world.stations[*at].member == pack.owner);
            if let Some(at) = promised {
                let node = &self.world.stations[at].node;
                let health = node
                    .pack_health(pack.record.id, self.clock(at))
                    .unwrap_or(0);
                let gone = pack.faulty(now);
                if health as usize > gone {
                    violated.push((at, pack.record.id, health, gone));
                }
            }
            let was_safe = pack.safe.is_some();
            let id = pack.record.id;
            self.world.packs.all[number].lost = true;
            for station in &mut self.world.stations {
                if let Some(Rescue { wanted, .. }) = &mut station.rescue {
                    wanted.remove(&id);
                }
            }
            match was_safe {
                true => self.world.score.lost += 1,
                false => self.world.score.lost_early += 1,
            }
        }
        for (at, pack, health, gone) in violated {
            let what = format!(
                "{pack:?} is lost with its owner's machine: {health} could vanish, {gone} friends have"
            );
            self.violate("loss", at, what);
        }
    }

    fn violate(&mut self, checker: &'static str, station: usize, what: String) {
        self.violations.push(Violation {
            checker,
            at: self.world.now,
            machine: self.world.stations[station].machine,
            what,
        });
    }

    /// Looks at all packs of all who are there.
    pub(super) fn look(&mut self) {
        if self.slip == Some(Slip::LoseShards) {
            self.lose_some();
        }
        let now = self.world.now;
        for machine in 0..self.seats.len() {
            let Some(at) = self.seats[machine] else {
                continue;
            };
            self.tend(at);
            self.look_at_parcels(at);
            if self.world.stations[at].is_desk && !self.world.stations[at].gone {
                self.look_at(at, now);
            }
        }
        self.count_space(now);
    }

    fn look_at(&mut self, at: usize, now: Timestamp) {
        let station = &self.world.stations[at];
        let (clock, me) = (station.clock(now), station.member);
        let mut false_safe = Vec::new();
        let score = &mut self.world.score;
        let mine = self.world.packs.all.iter().filter(|it| it.owner == me);
        for pack in mine.filter(|it| !it.released && !it.lost) {
            let Some(health) = station.node.pack_health(pack.record.id, clock) else {
                continue;
            };
            let truth = pack.is_rebuildable(false);
            score.midnight[0] += pack.bytes();
            score.midnight[1] += if truth { pack.bytes() } else { 0 };
            if pack.safe.is_some() {
                score.pack_days += u64::from(LOOK_EVERY);
            }
            score.called[0] += 1;
            if health > 0 && !pack.is_rebuildable(true) {
                score.called[1] += 1;
                let gone = pack.faulty(now);
                if health as usize > gone {
                    false_safe.push((pack.record.id, health, gone));
                }
            }
        }
        for (pack, health, gone) in false_safe {
            let what = format!(
                "{pack:?} is called safe ({health} could vanish, {gone} friends have), and is not"
            );
            self.violate("false safe", at, what);
        }
    }

    /// Sees that nobody carries more for anybody than a share of what it offers.
    fn look_at_parcels(&mut self, at: usize) {
        let station = &self.world.stations[at];
        let mut carried = BTreeMap::<MemberId, u64>::new();
        for (owner, shard) in &station.parcels {
            let pack = self.world.packs.of(*shard);
            let bytes = pack.map_or(0, |it| it.record.coding.shard_bytes);
            *carried.entry(*owner).or_default() += u64::from(bytes);
        }
        let circle = station.node.circle();
        carried.retain(|owner, bytes| {
            let offer = circle.offer(station.device, *owner);
            *bytes > offer.unwrap_or(limits::OFFER_BYTES_DEFAULT) / limits::CARRY_PART
        });
        for (owner, bytes) in carried {
            self.violate("carry budget", at, format!("{bytes} bytes of {owner:?}"));
        }
    }

    fn count_space(&mut self, now: Timestamp) {
        let others = self.world.cast.people.len() - 1;
        let score = &mut self.world.score;
        for pack in self.world.packs.all.iter().filter(|it| !it.lost) {
            let on_shelves = pack.copies.iter().filter(|it| !it.trashed).count() as u64;
            let in_trash = pack.copies.len() as u64 - on_shelves;
            if !pack.released {
                score.space[0] += pack.bytes();
                score.space[1] += on_shelves * pack.shard_bytes();
            }
            score.space[2] += in_trash * pack.shard_bytes();
            let record = &pack.record;
            let settled = record.kind != PackKind::Metadata && now.since(record.made) >= SETTLED;
            if settled && !pack.released {
                let target = placement::members_target(record.kind, &record.coding, others);
                score.settled[0] += on_shelves * pack.shard_bytes();
                score.settled[1] += target as u64 * pack.shard_bytes();
            }
        }
    }

    fn lose_some(&mut self) {
        for pack in &mut self.world.packs.all {
            if pack.safe.is_some() {
                pack.copies.clear();
            }
        }
    }

    pub(super) fn end(&mut self) {
        let now = self.world.now;
        self.world.score.runs = 1;
        let left = |owner| {
            self.desk_of(owner)
                .is_none_or(|(it, _)| self.left.contains(&it))
        };
        let open = self.world.packs.all.iter().filter(|it| {
            let old = now.since(it.record.made) >= NEVER;
            let data = it.record.kind != PackKind::Metadata;
            data && old && it.safe.is_none() && !it.lost && !left(it.owner)
        });
        let never = open.count() as u64;
        let data = self.world.packs.all.iter().filter(|it| {
            let old = now.since(it.record.made) >= NEVER;
            it.record.kind != PackKind::Metadata && old && !it.lost && !left(it.owner)
        });
        let spreads: Vec<_> = data
            .map(|pack| {
                pack.spread
                    .map(|it| it.map(|at| at.since(pack.record.made)))
            })
            .collect();
        self.world.score.never = never;
        for spread in spreads {
            self.world.score.spread(spread);
        }
        let waiting = self.seats.iter().flatten().filter(|at| {
            let it = &self.world.stations[**at];
            let since = it.rescue.as_ref().map(|it| it.since);
            since.is_some_and(|since| now.since(since) >= Span::days(30)) && !it.gone
        });
        self.world.score.unrestored = waiting.count() as u64;
    }
}
