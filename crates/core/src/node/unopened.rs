//! What is written for some readers alone: opened when it comes, or later. Keys come from friends like
//! everything else, and feeds come in any order.

use super::Node;
use crate::{
    entry::{Body, Entry},
    id::DeviceId,
};

/// When something is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Now,
    /// Keys are missing, or nobody has told us yet whose device wrote it.
    Later,
    /// It is somebody else's.
    Never,
}

impl Node {
    /// Opens what an entry holds for us, or keeps it until that can be done.
    pub(super) fn open(&mut self, entry: &Entry, body: &Body) {
        let author = entry.device;
        match self.opening(author, body) {
            Opening::Now => {}
            Opening::Later => return self.unopened.push(entry.clone()),
            Opening::Never => return,
        }
        match body {
            Body::Held(receipts) => self.open_receipts(author, entry.seq, receipts),
            Body::Audited(sealed) => self.open_audits(sealed),
            Body::Aboard(sealed) => self.open_aboard(author, sealed),
            Body::Released(release) => self.open_release(author, release),
            Body::Forgotten(sealed) => self.open_forgotten(entry, sealed),
            Body::Met(sealed) => self.open_meetings(entry, sealed),
            Body::Entrusted(_) | Body::Recalled(_) => self.note_bills(entry, body),
            _ => {}
        }
    }

    /// Opens what waited for keys, or for its author to be known.
    pub(super) fn open_waiting(&mut self) {
        for entry in core::mem::take(&mut self.unopened) {
            if let Ok(body) = Body::from_entry(&entry) {
                self.open(&entry, &body);
            }
        }
    }

    fn opening(&self, author: DeviceId, body: &Body) -> Opening {
        match body {
            Body::Held(receipts) if receipts.owner != self.member => Opening::Never,
            Body::Held(_) if self.identity.vault.is_empty() => Opening::Later,
            Body::Audited(_) | Body::Released(_) | Body::Forgotten(_) => self.opening_of(author),
            // What a device that was removed since met or put somewhere is as true as before.
            Body::Met(_) | Body::Aboard(_) => match self.opening_of(author) {
                Opening::Later if self.was_ours(author) => Opening::Now,
                other => other,
            },
            // Bills say themselves for whom they are.
            _ => Opening::Now,
        }
    }

    /// Returns when to open what a device wrote for the devices of its owner.
    fn opening_of(&self, author: DeviceId) -> Opening {
        let is_own = author == self.device;
        match self.circle.member_of(author) {
            Some(member) if !is_own && member != self.member => Opening::Never,
            None if !is_own => Opening::Later,
            _ if self.identity.vault.is_empty() => Opening::Later,
            _ => Opening::Now,
        }
    }

    fn was_ours(&self, device: DeviceId) -> bool {
        let mut removed = self.circle.removed_devices_of(self.member);
        !self.identity.vault.is_empty() && removed.any(|it| it == device)
    }
}
