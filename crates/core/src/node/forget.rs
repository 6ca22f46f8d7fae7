//! Forgetting: which snapshots the owner no longer wants to see.
//!
//! It changes a list, nothing else: what only these snapshots need is released later, and can be had
//! back until the trash is emptied. All devices of a member forget the same.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Node, feeds::Sealed};
use crate::{
    codec::{decode, encode},
    entry::{Body, Entry, ForgetList},
    event::CommandRefused,
    id::{DeviceId, SnapshotId},
    key, limits,
    time::Timestamp,
};

/// When something was said, and by whom: of several words the last one counts.
type Said = (Timestamp, u64, DeviceId);

/// What was said last about each snapshot.
#[derive(Debug, Default)]
pub(super) struct Memory {
    said: BTreeMap<SnapshotId, (Said, bool)>,
}

impl Node {
    /// Returns the snapshots that are not to be listed.
    pub fn forgotten(&self) -> BTreeSet<SnapshotId> {
        let said = self.memory.said.iter();
        said.filter(|(_, (_, forgotten))| *forgotten)
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
        let known = self.circle.member_of(author);
        let is_own = author == self.device;
        if !is_own && known.is_some_and(|member| member != self.member) {
            return;
        }
        if self.identity.vault.is_empty() || !is_own && known.is_none() {
            self.unopened.push(Sealed::Forgotten(entry.clone()));
            return;
        }
        let secret = &self.identity.vault.inventory;
        let info = key::context::FORGET.as_bytes();
        let Ok(plain) = key::open_with(secret, info, sealed) else {
            return;
        };
        let Ok(list) = decode::<ForgetList>("forgotten snapshots", &plain) else {
            return;
        };
        let said = (entry.time, entry.seq, author);
        for snapshot in list.snapshots {
            let known = self.memory.said.entry(snapshot);
            let known = known.or_insert((said, list.forgotten));
            if said >= known.0 {
                *known = (said, list.forgotten);
            }
        }
    }
}
