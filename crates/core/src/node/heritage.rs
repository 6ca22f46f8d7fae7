//! Heritage: habits outlive a device. It tells its owner's other devices whom it met, and what was told
//! before a device was made, that device begins with: so a new one knows the way home after a loss.

use alloc::vec::Vec;

use super::Node;
use crate::{
    codec::{decode, encode},
    entry::{Body, Entry},
    key, limits,
    meeting::Meeting,
    time::Timestamp,
    told::Told,
};

/// How far meetings are told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heritage {
    /// Those that ended until then.
    told: Timestamp,
    /// When to look again.
    look_at: Timestamp,
}

impl Node {
    /// Tells of the meetings since last time, once the first of them is a week ago.
    pub(super) fn tell_meetings_if_due(&mut self) {
        if self.heritage.look_at > self.now || self.identity.vault.is_empty() {
            return;
        }
        self.heritage.look_at = self.now + limits::TELL_LOOK;
        // What another device of ours met is told already.
        let from = self.heritage.told.max(self.issued());
        let until = self.now;
        let all = self.habits.meetings().filter(|it| it.carries());
        let new: Vec<Meeting> = all.filter_map(|it| it.between(from, until)).collect();
        let oldest = new.iter().map(|it| it.start).min();
        if oldest.is_none_or(|start| until.since(start) < limits::TELL_MEETINGS) {
            return;
        }
        let told = Told::new(until, new.iter());
        let reader = self.identity.vault.inventory_public();
        let info = key::context::MEETINGS.as_bytes();
        if let Ok(sealed) = key::seal_to(&reader, info, &encode(&told), &mut self.rng) {
            // Who is behind with its own feed tells later.
            let _ = self.append(&Body::Met(sealed));
        }
    }

    /// Takes what a device of ours told of its meetings.
    pub(super) fn open_meetings(&mut self, entry: &Entry, sealed: &[u8]) {
        let secret = &self.identity.vault.inventory;
        let info = key::context::MEETINGS.as_bytes();
        let Ok(plain) = key::open_with(secret, info, sealed) else {
            return;
        };
        let Ok(told) = decode::<Told>("told meetings", &plain) else {
            return;
        };
        if entry.device == self.device {
            self.heritage.told = self.heritage.told.max(told.until);
        } else if entry.time < self.issued() {
            // What a device tells while this one lives, it has for itself.
            told.meetings().for_each(|it| self.habits.add(it));
            self.chances_made = None;
        }
    }

    /// Returns when this device was made.
    fn issued(&self) -> Timestamp {
        let certificate = self.identity.certificate.verify();
        certificate.map_or(Timestamp(0), |it| it.issued)
    }
}
