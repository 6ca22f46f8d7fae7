//! What lies in feeds and can't be opened yet: keys come from friends like everything else, and feeds come
//! in any order.

use alloc::vec::Vec;

use super::Node;
use crate::{
    entry::{Body, Entry, Receipts, Release},
    id::DeviceId,
};

/// What came before we had the key to open it, or knew whose it is.
#[derive(Debug)]
pub(super) enum Sealed {
    /// Of a holder, at a position of its feed.
    Receipts(DeviceId, u64, Receipts),
    /// Of a device of ours.
    Audits(DeviceId, Vec<u8>),
    /// The same.
    Release(DeviceId, Release),
    /// The same.
    Forgotten(Entry),
    /// The same.
    Met(Entry),
    /// The same.
    Aboard(DeviceId, Vec<u8>),
    /// Of anybody: parcels of ours, or for us.
    Bill(Entry),
}

/// When something that only devices of one owner write for each other is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Now,
    /// Keys are missing, or nobody has told us yet whose device wrote it: feeds come in any order.
    Later,
    /// It is somebody else's.
    Never,
}

impl Node {
    /// Returns when to open what a device wrote for the devices of its owner.
    pub(super) fn opening(&self, author: DeviceId) -> Opening {
        let is_own = author == self.device;
        match self.circle.member_of(author) {
            Some(member) if !is_own && member != self.member => Opening::Never,
            None if !is_own => Opening::Later,
            _ if self.identity.vault.is_empty() => Opening::Later,
            _ => Opening::Now,
        }
    }

    /// The same for what is as true once its author is removed.
    pub(super) fn opening_of_all(&self, author: DeviceId) -> Opening {
        match self.opening(author) {
            Opening::Later if self.was_ours(author) => Opening::Now,
            other => other,
        }
    }

    fn was_ours(&self, device: DeviceId) -> bool {
        let mut removed = self.circle.removed_devices_of(self.member);
        !self.identity.vault.is_empty() && removed.any(|it| it == device)
    }

    /// Opens what waited for keys, or for its author to be known.
    pub(super) fn open_waiting(&mut self) {
        for sealed in core::mem::take(&mut self.unopened) {
            match sealed {
                Sealed::Receipts(holder, seq, receipts) => {
                    self.open_receipts(holder, seq, &receipts);
                }
                Sealed::Audits(author, sealed) => self.open_audits(author, &sealed),
                Sealed::Aboard(author, sealed) => self.open_aboard(author, &sealed),
                Sealed::Release(author, release) => self.open_release(author, &release),
                Sealed::Bill(entry) => {
                    if let Ok(body) = Body::from_entry(&entry) {
                        self.note_bills(&entry, &body);
                    }
                }
                Sealed::Forgotten(entry) => {
                    if let Ok(Body::Forgotten(sealed)) = Body::from_entry(&entry) {
                        self.open_forgotten(&entry, &sealed);
                    }
                }
                Sealed::Met(entry) => {
                    if let Ok(Body::Met(sealed)) = Body::from_entry(&entry) {
                        self.open_meetings(&entry, &sealed);
                    }
                }
            }
        }
    }
}
