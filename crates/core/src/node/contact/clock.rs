//! Clocks that differ by more than beacons and gates bear, and how devices meet all the same.
//!
//! A beacon tells its sender's time to a quarter of an hour. Who has heard nobody with the same time for
//! days can't say whose clock is wrong: it listens for beacons of a day before and after, and knocks
//! by the other's time. So the one with the wrong clock finds the others, who need not look for it.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::{
    beacon::{EPOCH_SECS, EPOCHS_AROUND, EPOCHS_AROUND_RESCUE},
    id::DeviceId,
    limits,
    node::Node,
    time::{Span, Timestamp},
};

impl Node {
    /// A beacon of a device came from so many epochs after ours.
    pub(in crate::node) fn skewed(&mut self, device: DeviceId, epochs: i32) {
        if device == self.device || self.circle.member_of(device).is_none() {
            return;
        }
        let contacts = &mut self.contacts;
        contacts.contacts.entry(device).or_default().skew = epochs;
        if epochs.unsigned_abs() <= EPOCHS_AROUND {
            contacts.timely = Some(self.now);
        }
    }

    /// Returns for how many epochs each way to listen for beacons: more where our own clock may be
    /// wrong.
    pub fn epochs_around(&self, now: Timestamp) -> u32 {
        let trusted = |heard| now.since(heard) <= limits::CLOCK_TRUSTED;
        match self.contacts.timely.is_some_and(trusted) {
            true => EPOCHS_AROUND,
            false => EPOCHS_AROUND_RESCUE,
        }
    }

    /// Returns what time it is at a device, as far as gates are concerned, when it is `now` here.
    pub fn time_at(&self, device: DeviceId, now: Timestamp) -> Timestamp {
        let contact = self.contacts.contacts.get(&device);
        shifted(now, contact.map_or(0, |contact| contact.skew))
    }

    /// Returns the times whose gates to open: ours, and those of devices near whose clocks differ.
    pub fn gate_times(&self, now: Timestamp) -> Vec<Timestamp> {
        let valid = self.contacts.near_valid();
        let contacts = self.contacts.contacts.values();
        let skews: BTreeSet<i32> = contacts
            .filter(|it| it.skew.unsigned_abs() > EPOCHS_AROUND && it.is_near(self.now, valid))
            .map(|it| it.skew)
            .collect();
        let others = skews.into_iter().take(limits::SKEWS_MAX);
        let others = others.map(|skew| shifted(now, skew));
        core::iter::once(now).chain(others).collect()
    }
}

/// Returns the time so many epochs later, or earlier.
fn shifted(now: Timestamp, epochs: i32) -> Timestamp {
    let span = Span::secs(u64::from(epochs.unsigned_abs()) * EPOCH_SECS);
    match epochs < 0 {
        true => Timestamp(now.0.saturating_sub(span.0)),
        false => now + span,
    }
}
