//! Repair: what friends lost goes to others, without anybody saying so.
//!
//! Who was removed, who could not show what it keeps, and who is gone for good do not count when shards
//! are placed, so the plan gives what is missing to others: made from the spool or the source files,
//! which costs nothing. Only where neither can make it, enough shards are brought back from friends.
//!
//! Not met for three weeks is not gone: proofs count for a month, and of whoever is usually met less
//! often, habits say how long to wait.

use alloc::{collections::BTreeSet, vec::Vec};
use core::ops::Bound;

use super::Node;
use crate::{
    event::{Effect, Notice},
    id::{DeviceId, MemberId, PackId},
    inventory::OwnPack,
    limits,
    placement::{members_target, next_shard},
    policy::Bulk,
    record::PackKind,
    time::{Span, Timestamp},
};

/// What is known of repairs.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Packs that this device can't make, of which something may be missing.
    looks: BTreeSet<PackId>,
    /// The one that was looked at last: all get their turn.
    last: Option<PackId>,
    /// Any pack may be one.
    look_at_all: bool,
    /// Packs that were brought back, and wait in the spool until others have what was missing.
    respooled: BTreeSet<PackId>,
    /// When to see again who is gone.
    look_again: Option<Timestamp>,
}

impl Repair {
    pub(super) fn look_at(&mut self, pack: PackId) {
        self.looks.insert(pack);
    }

    pub(super) fn look_at_all(&mut self) {
        self.look_at_all = true;
    }

    fn next_look(&mut self) -> Option<PackId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.looks.range((behind, Bound::Unbounded)).next();
        let next = *next.or_else(|| self.looks.first())?;
        self.looks.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}

impl Node {
    /// Takes a large pack that lies in the spool, before anything else happens: its files can't make
    /// it, or a repair put it there. Once others have all of it, it need not lie there.
    pub fn learn_respooled(&mut self, pack: PackId) {
        self.repair.respooled.insert(pack);
    }

    /// Sees anew who is gone for good, now and then, whenever anything happens: while nothing does,
    /// there is nobody to repair with.
    pub(super) fn look_who_is_gone(&mut self) {
        if self.repair.look_again.is_some_and(|at| at > self.now) {
            return;
        }
        self.repair.look_again = Some(self.now + limits::ABSENT_LOOK);
        self.fetching.rest_repairs();
        self.clear_aside();
        self.repair.look_at_all();
        let devices: Vec<(DeviceId, MemberId)> = self.circle.devices().collect();
        let gone = devices
            .into_iter()
            .filter(|(device, member)| *member != self.member && self.is_gone(*device, *member));
        let gone: BTreeSet<DeviceId> = gone.map(|(device, _)| device).collect();
        if gone != self.stance.gone {
            self.stance.gone = gone;
            self.replan_all();
            self.contacts.touch();
        }
    }

    /// A device that was gone is back.
    pub(super) fn is_back(&mut self, device: DeviceId) {
        if self.stance.gone.remove(&device) {
            self.replan_all();
        }
    }

    /// Returns when there was the last sign that a device is alive.
    pub(crate) fn last_sign(&self, device: DeviceId, member: MemberId) -> Option<Timestamp> {
        let met = self.contacts.last_met(device);
        let met = met.max(self.habits.last_met(member, device));
        met.max(self.spot_checks.get(&device).copied())
    }

    /// Returns how long a member may be away before what it keeps goes to others. Meetings until the
    /// last sign say that: absence itself must not make anybody one who is met seldom.
    fn patience_with(&self, member: MemberId, last: Timestamp) -> Span {
        let interval = self.habits.interval(member, last).unwrap_or_default();
        let seldom = Span(interval.0.saturating_mul(limits::ABSENT_INTERVALS));
        seldom.max(limits::ABSENT_AFTER).min(limits::ABSENT_AT_MOST)
    }

    /// Tells whether a device was away for so long, while others were met, that it must be taken for
    /// gone.
    fn is_gone(&self, device: DeviceId, member: MemberId) -> bool {
        let Some(last) = self.last_sign(device, member) else {
            return false;
        };
        let since = last + self.patience_with(member, last);
        let until = Timestamp(self.now.0.saturating_sub(limits::ABSENT_FOR.0));
        if since > until {
            return false;
        }
        let mut meetings = self.habits.meetings();
        meetings.any(|it| it.device != device && it.start <= until && it.end() >= since)
    }

    /// Begins to bring back what only friends can still make, if others should get shards of it.
    pub(super) fn repair(&mut self) {
        if core::mem::take(&mut self.repair.look_at_all) {
            let packs = self.inventory.packs().filter(|pack| !pack.available);
            self.repair.looks.extend(packs.map(|pack| pack.record.id));
        }
        for _ in 0..limits::REPAIR_LOOKS {
            if self.repair.looks.is_empty() || !self.may_repair() {
                return;
            }
            let Some(id) = self.repair.next_look() else {
                return;
            };
            let pack = self.inventory.pack(id).filter(|pack| !pack.available);
            let pack = pack.filter(|_| !self.fetching.is_wanted(id));
            if let Some(pack) = pack.filter(|pack| self.is_repairable(*pack)) {
                let record = pack.record.clone();
                self.begin_repair(record);
            }
        }
    }

    fn may_repair(&self) -> bool {
        self.paused.is_none()
            && self.bulk_at_best() == Bulk::Everything
            && self.fetching.room_for_repair()
            && self.repair.respooled.len() < limits::RESPOOLED_MAX
    }

    /// Tells whether somebody should get a shard of a pack, and others have enough of it.
    fn is_repairable(&self, pack: OwnPack<'_>) -> bool {
        let record = &pack.record;
        let view = self.view();
        let placed = pack.placed_spread(view.circle, view.me, &view.stance.gone);
        if crate::health::health(&record.coding, &placed) == 0 {
            return false;
        }
        let missing = placed.len() < members_target(record.kind, &record.coding, view.others);
        let takes = |member: MemberId| {
            next_shard(record.kind, &record.coding, &placed, member, view.others).is_some()
                && !self.stance.doubted.contains(&member)
                && self.has_room(member)
        };
        let others = self
            .circle
            .members()
            .filter(|member| *member != self.member);
        missing && others.into_iter().any(takes)
    }

    fn has_room(&self, member: MemberId) -> bool {
        let mut devices = self.circle.devices_of(member);
        devices.any(|device| {
            self.contacts.refusal(device, self.now).is_none() && !self.stance.gone.contains(&device)
        })
    }

    /// A pack that was brought back is in the spool, or could not be made.
    pub(super) fn respooled(&mut self, pack: PackId, good: bool) {
        self.fetching.end_repair(pack);
        self.drop_aside(pack);
        if !good {
            // It is looked at again within the hour.
            return;
        }
        let Some(known) = self.inventory.pack(pack) else {
            // Its owner gave it up meanwhile.
            return self.effect(Effect::Unspool { pack });
        };
        let record = known.record.clone();
        if record.kind != PackKind::Metadata {
            // Metadata stays in the spool for good.
            self.repair.respooled.insert(pack);
        }
        self.notify(Notice::Repairing { pack });
        self.add_pack(record, true);
    }

    /// A pack is given up: nobody is to get any more of it.
    pub(super) fn forgo_repair(&mut self, pack: PackId) {
        self.repair.looks.remove(&pack);
        self.repair.respooled.remove(&pack);
        self.fetching.end_repair(pack);
        self.drop_aside(pack);
    }

    /// Tells whether a pack is in the spool only until others have what was missing.
    pub(super) fn is_respooled(&self, pack: PackId) -> bool {
        self.repair.respooled.contains(&pack)
    }

    /// Returns how many other members there are who are not gone for good: more can't hold anything.
    pub(super) fn others_left(&self) -> usize {
        let is_here = |member: &MemberId| {
            let mut devices = self.circle.devices_of(*member);
            *member != self.member && devices.any(|device| !self.stance.gone.contains(&device))
        };
        self.circle.members().filter(is_here).count()
    }

    /// Others have all that they shall have: the spooled copy may go. Should some of them lose theirs,
    /// the rest can bring it back.
    pub(super) fn unspool(&mut self, pack: PackId) {
        self.repair.respooled.remove(&pack);
        self.inventory.set_unavailable(pack);
        self.effect(Effect::Unspool { pack });
    }
}
