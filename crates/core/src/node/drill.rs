//! Drills: when this device should have one, and what friends in reach can bring for it.

use alloc::collections::BTreeSet;

use super::Node;
use crate::{
    drill::{Budget, Drills},
    id::{DeviceId, PackId},
    policy::Bulk,
    time::Timestamp,
};

impl Node {
    /// Returns how much to bring back, if a drill is due and nothing speaks against it now.
    pub fn drill(&self, drills: &Drills, now: Timestamp) -> Option<Budget> {
        let made = self.inventory.packs().map(|pack| pack.record.made);
        let due = drills.due(made.min()?, now) <= now;
        let free = self.paused.is_none()
            && self.bulk_at_best() == Bulk::Everything
            && self.wanted_packs().next().is_none();
        (due && free).then(Budget::default)
    }

    /// Returns the packs of which friends in reach have enough, by proof.
    pub fn packs_in_reach(&self, now: Timestamp) -> BTreeSet<PackId> {
        let near = |(device, member)| {
            (member != self.member && self.is_near(device, now)).then_some(device)
        };
        let near: BTreeSet<DeviceId> = self.circle.devices().filter_map(near).collect();
        let packs = self
            .inventory
            .packs()
            .filter(|pack| pack.is_with(&near, now));
        packs.map(|pack| pack.record.id).collect()
    }
}
