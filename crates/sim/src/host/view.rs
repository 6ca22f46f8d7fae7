//! What checkers look at from outside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use carryall_core::{
    id::{MemberId, ShardId},
    time::Timestamp,
    trash::Trashed,
};
use carryall_store::{
    disk::Disk,
    mem_disk::MemDisk,
    shelf::{Shelf, ShelfError, Shelved},
};

use super::{HOME, Host};

impl Host {
    /// Returns what lies on the shelf, and in which files.
    pub(crate) fn shelved(&self) -> Vec<(PathBuf, Shelved)> {
        let shelf = self.shelf.list().into_iter();
        shelf
            .filter_map(|shelved| {
                let name = shelved.shard.to_string();
                let owner = Path::new(HOME)
                    .join("shelf")
                    .join(shelved.owner.to_string());
                Some((owner.join(name.get(..2)?).join(&name), shelved))
            })
            .collect()
    }

    /// Tells whether a shard lies here for somebody else to get.
    pub(crate) fn carries(&self, shard: ShardId) -> bool {
        self.parcels.list().iter().any(|it| it.shard == shard)
    }

    /// Returns what lies in the trash.
    pub(crate) fn trashed(&self) -> Vec<(Shelved, Trashed)> {
        self.shelf.trash()
    }

    /// Returns the bytes on the shelf and in the trash for a member.
    pub(crate) fn kept_for(&self, owner: MemberId) -> u64 {
        let trash = self.shelf.trash();
        let of_owner = trash.iter().filter(|(it, _)| it.owner == owner);
        let trashed: u64 = of_owner.map(|(it, _)| u64::from(it.bytes)).sum();
        self.shelf.usage(owner) + trashed
    }

    /// Returns the bytes of parcels carried for a member.
    pub(crate) fn carried_for(&self, owner: MemberId) -> u64 {
        self.parcels.usage(owner)
    }

    /// Tidies up, as the daemon does every day.
    pub(crate) fn collect(&mut self, now: Timestamp) -> Result<(), ShelfError> {
        let circle = self.node.circle();
        self.shelf
            .collect(now, &|owner| circle.is_member(owner))
            .map(drop)
    }

    /// Returns the temporary files in the vault: none, when nothing is under way.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let temporary = |path: &PathBuf| {
            path.starts_with(HOME)
                && path
                    .extension()
                    .is_some_and(|it| it == "tmp" || it == "part")
        };
        self.disk.files().into_iter().filter(temporary).collect()
    }
}

/// Tells whether a shard lies on the shelf of a disk as it should.
pub(crate) fn is_whole(disk: &MemDisk, owner: MemberId, shard: ShardId) -> bool {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let shelf = Shelf::open(disk, &Path::new(HOME).join("shelf"), 0);
    shelf.is_ok_and(|shelf| shelf.scrub(owner, shard).is_ok())
}
