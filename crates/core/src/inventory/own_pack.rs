//! A pack of ours, and which of its shards are where.

use alloc::{collections::BTreeSet, vec::Vec};

use super::holding::Mark;
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

/// A pack of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPack {
    /// What it is.
    pub record: PackRecord,
    /// Whether this device can make its shards: from the spool, or from the source files.
    pub available: bool,
    /// What is known of its shards, by device and index.
    pub(super) marks: Vec<Mark>,
}

impl OwnPack {
    /// Returns where its shards are by receipt, at present members other than us and not at devices
    /// that are gone for good.
    pub fn held_spread(&self, circle: &Circle, me: MemberId, gone: &BTreeSet<DeviceId>) -> Spread {
        self.spread(circle, me, |mark| {
            mark.holding.believed() && !gone.contains(&mark.device)
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
            (mark.holding.believed() || mark.pending) && !gone.contains(&mark.device)
        })
    }

    /// Returns where its shards are for sure: proved lately, at present members other than us.
    pub fn proved_spread(&self, circle: &Circle, me: MemberId, now: Timestamp) -> Spread {
        self.spread(circle, me, |mark| mark.holding.counts(now))
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
        let held = self.marks.iter().filter(|mark| mark.holding.held);
        held.filter_map(|mark| {
            let member = circle.member_of(mark.device)?;
            (member != me).then(|| Claim {
                member,
                device: mark.device,
                index: mark.index,
                proved: mark.holding.counts(now) && !gone.contains(&mark.device),
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
            let member = member_of(mark.device).filter(|member| *member != me)?;
            let standing = mark.holding.standing(now)?;
            Some(Held {
                member,
                index: mark.index,
                standing: if gone.contains(&mark.device) {
                    Standing::Gone
                } else {
                    standing
                },
            })
        });
        held.collect()
    }

    /// Tells whether other members' devices hold more of its shards than members shall, by receipt.
    pub fn is_thick(&self, circle: &Circle, me: MemberId, others: usize) -> bool {
        let held = self.marks.iter().filter(|mark| {
            let member = circle.member_of(mark.device);
            mark.holding.believed() && member.is_some_and(|member| member != me)
        });
        held.count() > members_target(self.record.kind, &self.record.coding, others)
    }

    /// Tells whether these devices together can rebuild it, by proof.
    pub fn is_with(&self, devices: &BTreeSet<DeviceId>, now: Timestamp) -> bool {
        let mut indices = Indices::default();
        for mark in &self.marks {
            if devices.contains(&mark.device) && mark.holding.counts(now) {
                indices.insert(mark.index);
            }
        }
        indices.len() >= u32::from(self.record.coding.k)
    }

    /// Tells whether any of its shards is on its way, or stored without a receipt yet.
    pub fn is_underway(&self) -> bool {
        self.marks.iter().any(|mark| mark.pending)
    }

    /// Tells whether a device of `member` would refuse a shard of it because it says that it has it
    /// already, proof or not.
    pub fn is_insisted(&self, circle: &Circle, member: MemberId) -> bool {
        self.marks
            .iter()
            .any(|mark| mark.insisted && circle.member_of(mark.device) == Some(member))
    }

    fn spread(&self, circle: &Circle, me: MemberId, which: impl Fn(&Mark) -> bool) -> Spread {
        let mut spread = Spread::new();
        for mark in self.marks.iter().filter(|mark| which(mark)) {
            if let Some(member) = circle.member_of(mark.device).filter(|member| *member != me) {
                spread.entry(member).or_default().insert(mark.index);
            }
        }
        spread
    }

    pub(super) fn find(&self, device: DeviceId, index: u8) -> Result<usize, usize> {
        self.marks
            .binary_search_by_key(&(device, index), |mark| (mark.device, mark.index))
    }

    pub(super) fn at_index(&self, index: u8) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |mark| mark.index == index)
    }
}
