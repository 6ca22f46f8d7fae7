//! A pack of ours, and which of its shards are where.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    company::{Company, Tally},
    holding::Mark,
    seats::{Seat, Seats},
};
use crate::{
    circle::Circle,
    free::{Held, Standing},
    health::{Indices, Spread},
    id::{DeviceId, MemberId},
    placement::members_target,
    record::PackRecord,
    thin::Claim,
    time::Timestamp,
};

/// For so many more holders than a pack has shards memory is taken at a time.
const MARKS_STEP: usize = 3;

/// What an inventory knows of a pack.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) record: PackRecord,
    pub(super) available: bool,
    /// What is known of its shards, by seat and index.
    pub(super) marks: Vec<Mark>,
}

impl Known {
    /// Returns where the mark of a shard at a device is, or would be. Perhaps it is at `likely`.
    pub(super) fn find(&self, key: (Seat, u8), likely: Option<u8>) -> Result<usize, usize> {
        let is_it = |at: &usize| self.marks.get(*at).is_some_and(|mark| mark.key() == key);
        if let Some(at) = likely.map(usize::from).filter(is_it) {
            return Ok(at);
        }
        match self.marks.last() {
            // Holders are mostly heard of one after the other.
            Some(last) if last.key() >= key => self.marks.binary_search_by_key(&key, Mark::key),
            _ => Err(self.marks.len()),
        }
    }

    /// Returns where it is, and makes it if there is none.
    pub(super) fn find_or_make(&mut self, key: (Seat, u8), likely: Option<u8>) -> usize {
        self.find(key, likely).unwrap_or_else(|at| {
            if self.marks.len() == self.marks.capacity() {
                // There are many packs, and most have as many holders as shards in the end.
                let more = match self.marks.len() {
                    0 => usize::from(self.record.coding.n),
                    _ => MARKS_STEP,
                };
                self.marks.reserve_exact(more);
            }
            self.marks.insert(at, Mark::new(key.0, key.1));
            at
        })
    }
}

/// A pack of ours, as an inventory knows it.
#[derive(Clone, Copy, Debug)]
pub struct OwnPack<'a> {
    /// What it is.
    pub record: &'a PackRecord,
    /// Whether this device can make its shards: from the spool, or from the source files.
    pub available: bool,
    seats: &'a Seats,
    marks: &'a [Mark],
}

impl<'a> OwnPack<'a> {
    pub(super) fn new(known: &'a Known, seats: &'a Seats) -> Self {
        Self {
            record: &known.record,
            available: known.available,
            seats,
            marks: &known.marks,
        }
    }

    /// Returns where its shards are by receipt, at present members other than us and not at devices
    /// that are gone for good.
    pub fn held_spread(&self, circle: &Circle, me: MemberId, gone: &BTreeSet<DeviceId>) -> Spread {
        self.spread(circle, me, |mark| {
            mark.holding().believed() && !gone.contains(&self.device(mark))
        })
    }

    /// Returns where its shards are by receipt, or will be when what is under way arrives.
    pub fn placed_spread(
        &self,
        circle: &Circle,
        me: MemberId,
        gone: &BTreeSet<DeviceId>,
    ) -> Spread {
        self.spread(circle, me, |mark| {
            mark.is_placed() && !gone.contains(&self.device(mark))
        })
    }

    /// Returns where its shards are for sure: proved lately, at present members other than us.
    pub fn proved_spread(&self, circle: &Circle, me: MemberId, now: Timestamp) -> Spread {
        self.spread(circle, me, |mark| mark.holding().counts(now))
    }

    /// The same for `company`.
    pub fn proved_among(&self, company: &Company, now: Timestamp) -> Spread {
        self.spread_among(company, |mark| mark.holding().counts(now))
    }

    /// Returns where its shards are among `company` by receipt, or will be when what is under way
    /// arrives.
    pub fn placed_among(&self, company: &Company) -> Spread {
        self.spread_among(company, Mark::is_placed)
    }

    /// Returns how much of it that is.
    pub fn placed_tally(&self, company: &Company) -> Tally {
        let (mut tally, mut seen) = (Tally::default(), [0_u128; 2]);
        for mark in self.marks.iter().filter(|mark| mark.is_placed()) {
            if let Some(owner) = company.owner(mark.seat) {
                tally.indices.insert(mark.index);
                seen[usize::from(owner >> 7)] |= 1 << (owner & 127);
            }
        }
        tally.members = seen.iter().map(|half| half.count_ones() as usize).sum();
        tally
    }

    /// Tells whether `company` can rebuild it, by proof.
    pub fn is_safe_with(&self, company: &Company, now: Timestamp) -> bool {
        self.is_proved_at(now, |seat| company.owner(seat).is_some())
    }

    /// Returns what present members other than us say that they hold of it. What lies at devices that
    /// are gone for good is not proved: placement does not count it, so nothing else may be given up
    /// for it, or what is released would be placed again.
    pub fn claims(
        &self,
        circle: &Circle,
        me: MemberId,
        gone: &BTreeSet<DeviceId>,
        now: Timestamp,
    ) -> Vec<Claim> {
        let held = self.marks.iter().filter(|mark| mark.is_held());
        held.filter_map(|mark| {
            let device = self.device(mark);
            let member = circle.member_of(device)?;
            (member != me).then(|| Claim {
                member,
                device,
                index: mark.index,
                proved: mark.holding().counts(now) && !gone.contains(&device),
            })
        })
        .collect()
    }

    /// Returns what present members other than us say that they hold of it, and what that is worth.
    /// `member_of` tells whose a device is, of those in the circle.
    pub fn held(
        &self,
        member_of: &dyn Fn(DeviceId) -> Option<MemberId>,
        me: MemberId,
        gone: &BTreeSet<DeviceId>,
        now: Timestamp,
    ) -> Vec<Held> {
        let held = self.marks.iter().filter_map(|mark| {
            let device = self.device(mark);
            let member = member_of(device).filter(|member| *member != me)?;
            let standing = mark.holding().standing(now)?;
            Some(Held {
                member,
                index: mark.index,
                standing: if gone.contains(&device) {
                    Standing::Gone
                } else {
                    standing
                },
            })
        });
        held.collect()
    }

    /// Tells whether the devices of `company` hold more of its shards than members shall, by receipt.
    pub fn is_thick(&self, company: &Company, others: usize) -> bool {
        let held = self.marks.iter();
        let held = held.filter(|it| it.holding().believed() && company.owner(it.seat).is_some());
        held.count() > members_target(self.record.kind, &self.record.coding, others)
    }

    /// Tells whether these devices together can rebuild it, by proof.
    pub fn is_with(&self, devices: &BTreeSet<DeviceId>, now: Timestamp) -> bool {
        self.is_proved_at(now, |seat| devices.contains(&self.seats.device(seat)))
    }

    /// Tells whether any of its shards is on its way, or stored without a receipt yet.
    pub fn is_underway(&self) -> bool {
        self.marks.iter().any(Mark::is_pending)
    }

    /// Tells whether a device of `member` would refuse a shard of it because it says that it has it
    /// already, proof or not.
    pub fn is_insisted(&self, circle: &Circle, member: MemberId) -> bool {
        let mut insisted = self.marks.iter().filter(|mark| mark.is_insisted());
        insisted.any(|mark| circle.member_of(self.device(mark)) == Some(member))
    }

    /// Returns the device that a mark is about.
    pub(super) fn device(&self, mark: &Mark) -> DeviceId {
        self.seats.device(mark.seat)
    }

    /// Returns what is known of one of its shards, by device.
    pub(super) fn at_index(self, index: u8) -> impl Iterator<Item = &'a Mark> {
        self.marks.iter().filter(move |mark| mark.index == index)
    }

    pub(super) fn marks(&self) -> &'a [Mark] {
        self.marks
    }

    fn is_proved_at(&self, now: Timestamp, which: impl Fn(Seat) -> bool) -> bool {
        let mut indices = Indices::default();
        for mark in self.marks {
            if mark.holding().counts(now) && which(mark.seat) {
                indices.insert(mark.index);
            }
        }
        indices.len() >= u32::from(self.record.coding.k)
    }

    fn spread(&self, circle: &Circle, me: MemberId, which: impl Fn(&Mark) -> bool) -> Spread {
        let mut spread = Spread::new();
        for mark in self.marks.iter().filter(|mark| which(mark)) {
            let member = circle.member_of(self.device(mark));
            if let Some(member) = member.filter(|member| *member != me) {
                spread.entry(member).or_default().insert(mark.index);
            }
        }
        spread
    }

    fn spread_among(&self, company: &Company, which: impl Fn(&Mark) -> bool) -> Spread {
        let mut found = alloc::vec![Indices::default(); company.members().len()];
        for mark in self.marks.iter().filter(|mark| which(mark)) {
            if let Some(owner) = company.owner(mark.seat) {
                found[usize::from(owner)].insert(mark.index);
            }
        }
        let found = company.members().iter().copied().zip(found);
        found.filter(|(_, indices)| !indices.is_empty()).collect()
    }
}
