//! Forgetting: which snapshots the owner no longer wants to see.
//!
//! It changes a list, nothing else: what only these snapshots need is released later, and can be had
//! back until the trash is emptied. All devices of a member forget the same.

use alloc::collections::{BTreeMap, BTreeSet};

use super::Node;
use crate::{
    codec::{decode, encode},
    entry::{Body, Entry, ForgetList, Subject},
    event::CommandRefused,
    id::{DeviceId, SnapshotId},
    key, limits,
    time::Timestamp,
};

/// When a device said something last about a snapshot, and whether it is forgotten.
type Said = ((Timestamp, u64), bool);

/// What each device said last about each snapshot.
#[derive(Debug, Default)]
pub(super) struct Memory {
    said: BTreeMap<SnapshotId, BTreeMap<DeviceId, Said>>,
}

impl Node {
    /// Returns the snapshots that are not to be listed. Of several words the last one counts; but that of
    /// a removed device, which may name any date, only until another one says anything.
    pub fn forgotten(&self) -> BTreeSet<SnapshotId> {
        let is_ours = |device: &DeviceId| !self.circle.is_revoked(Subject::Device(*device));
        let is_forgotten = |words: &BTreeMap<DeviceId, Said>| {
            let last = words
                .iter()
                .max_by_key(|(device, (said, _))| (is_ours(device), *said, **device));
            last.is_some_and(|(_, (_, forgotten))| *forgotten)
        };
        let said = self.memory.said.iter();
        said.filter(|(_, words)| is_forgotten(words))
            .map(|(snapshot, _)| *snapshot)
            .collect()
    }

    /// Forgets snapshots, or remembers them.
    pub(super) fn forget(
        &mut self,
        snapshots: &[SnapshotId],
        forgotten: bool,
    ) -> Result<(), CommandRefused> {
        let public = self.identity.vault.inventory_public();
        for part in snapshots.chunks(limits::FORGET_SNAPSHOTS_MAX) {
            let list = ForgetList {
                snapshots: part.to_vec(),
                forgotten,
            };
            let info = key::context::FORGET.as_bytes();
            if let Ok(sealed) = key::seal_to(&public, info, &encode(&list), &mut self.rng) {
                self.append(&Body::Forgotten(sealed))?;
            }
        }
        Ok(())
    }

    /// A device says that snapshots are forgotten.
    pub(super) fn open_forgotten(&mut self, entry: &Entry, sealed: &[u8]) {
        let author = entry.device;
        let secret = &self.identity.vault.inventory;
        let info = key::context::FORGET.as_bytes();
        let Ok(plain) = key::open_with(secret, info, sealed) else {
            return;
        };
        let Ok(list) = decode::<ForgetList>("forgotten snapshots", &plain) else {
            return;
        };
        let said = (entry.time, entry.seq);
        for snapshot in list.snapshots {
            let words = self.memory.said.entry(snapshot).or_default();
            let known = words.entry(author).or_insert((said, list.forgotten));
            if said >= known.0 {
                *known = (said, list.forgotten);
            }
        }
    }
}
