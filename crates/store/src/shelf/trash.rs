//! Released shards: off the shelf, and not gone yet.
//!
//! A shard in the trash is the same file under another name, in a directory for the day on which it
//! came: `<member>/trash/<day>/<shard>`. A rename brings it there and back, so that it is in one of the
//! two places whenever the power is cut.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use carryall_core::{
    id::{MemberId, ShardId},
    trash::Trashed,
};

use super::{Inner, Shelf, ShelfError, Shelved, State, file::shard_bytes};
use crate::{
    disk::{make_dir, remove_if_there},
    error::{At, DiskError},
};

/// The directory's name among those of a member's shards.
pub(super) const NAME: &str = "trash";

/// One file's move.
#[derive(Debug)]
struct Move {
    shard: ShardId,
    from: PathBuf,
    to: PathBuf,
}

impl Shelf {
    /// Moves shards from the shelf to the trash, and returns which. When this returns they are there
    /// durably; after an error all are where they were.
    pub fn discard(
        &self,
        owner: MemberId,
        shards: &[ShardId],
        day: u32,
    ) -> Result<Vec<ShardId>, ShelfError> {
        let inner = &self.inner;
        let mut state = inner.state();
        let here = |shard: &&ShardId| state.shards.contains_key(&(owner, **shard));
        let moves = (shards.iter().filter(here)).map(|shard| Move {
            shard: *shard,
            from: inner.path(owner, *shard),
            to: inner.trash_path(owner, *shard, day),
        });
        let moved = inner.move_all(moves.collect())?;
        for shard in &moved {
            if let Some(bytes) = state.shards.get(&(owner, *shard)).copied() {
                state.strike(owner, *shard, false);
                let trashed = Trashed { bytes, day };
                state.trash.insert((owner, *shard), trashed);
            }
        }
        Ok(moved)
    }

    /// Moves shards from the trash back to the shelf, and returns which, as
    /// [`discard`](Self::discard) does.
    pub fn retrieve(
        &self,
        owner: MemberId,
        shards: &[ShardId],
    ) -> Result<Vec<ShardId>, ShelfError> {
        let inner = &self.inner;
        let mut state = inner.state();
        let moves = shards.iter().filter_map(|shard| {
            let trashed = state.trash.get(&(owner, *shard))?;
            Some(Move {
                shard: *shard,
                from: inner.trash_path(owner, *shard, trashed.day),
                to: inner.path(owner, *shard),
            })
        });
        let moved = inner.move_all(moves.collect())?;
        for shard in &moved {
            if let Some(trashed) = state.trash.remove(&(owner, *shard)) {
                state.add(owner, *shard, trashed.bytes);
            }
        }
        Ok(moved)
    }

    /// Removes shards from the trash for good, and returns which. A power cut may bring some back.
    pub fn erase(&self, owner: MemberId, shards: &[ShardId]) -> Vec<ShardId> {
        let inner = &self.inner;
        let mut state = inner.state();
        let mut gone = Vec::new();
        for shard in shards {
            let Some(trashed) = state.trash.get(&(owner, *shard)).copied() else {
                gone.push(*shard);
                continue;
            };
            let path = inner.trash_path(owner, *shard, trashed.day);
            if remove_if_there(&*inner.disk, &path).is_err() {
                continue;
            }
            state.trash.remove(&(owner, *shard));
            gone.push(*shard);
            if let Some(day) = path.parent() {
                // Only the last one's goes.
                let _ = inner.disk.remove_dir(day);
            }
        }
        gone
    }

    /// Returns everything in the trash.
    pub fn trash(&self) -> Vec<(Shelved, Trashed)> {
        let state = self.inner.state();
        let shards = state.trash.iter();
        shards
            .map(|(&(owner, shard), &trashed)| {
                let bytes = trashed.bytes;
                let shelved = Shelved {
                    owner,
                    shard,
                    bytes,
                };
                (shelved, trashed)
            })
            .collect()
    }
}

impl Inner {
    fn trash_path(&self, owner: MemberId, shard: ShardId, day: u32) -> PathBuf {
        let mut path = self.directory.join(owner.to_string());
        path.push(NAME);
        path.push(format!("{day:010}"));
        path.push(shard.to_string());
        path
    }

    /// Returns where the file of a shard is: on the shelf, or in the trash.
    pub(super) fn find(&self, owner: MemberId, shard: ShardId) -> PathBuf {
        let state = self.state();
        match state.trash.get(&(owner, shard)) {
            Some(trashed) if !state.shards.contains_key(&(owner, shard)) => {
                self.trash_path(owner, shard, trashed.day)
            }
            _ => self.path(owner, shard),
        }
    }

    /// Renames files, then puts the new names on stable storage, then the loss of the old ones. Files
    /// that are not there are left out.
    fn move_all(&self, moves: Vec<Move>) -> Result<Vec<ShardId>, ShelfError> {
        let mut done: Vec<Move> = Vec::new();
        let moved = (|| -> Result<(), DiskError> {
            let targets: BTreeSet<PathBuf> = directories(moves.iter().map(|it| &*it.to));
            for target in &targets {
                make_dir(&*self.disk, target)?;
            }
            for next in moves {
                match self.disk.rename(&next.from, &next.to) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => {
                        renamed.at("rename", &next.from)?;
                        done.push(next);
                    }
                }
            }
            let sources = directories(done.iter().map(|it| &*it.from));
            for directory in targets.iter().chain(&sources) {
                self.disk.sync_dir(directory).at("sync", directory)?;
            }
            Ok(())
        })();
        if let Err(error) = moved {
            for undo in done {
                // The next start finds it wherever it is.
                let _ = self.disk.rename(&undo.to, &undo.from);
            }
            return Err(error.into());
        }
        Ok(done.into_iter().map(|it| it.shard).collect())
    }

    /// Lists a member's trash, and puts its names on stable storage.
    pub(super) fn list_trash(&self, state: &mut State, owner: MemberId) -> Result<(), ShelfError> {
        let trash = self.directory.join(owner.to_string()).join(NAME);
        self.disk.sync_dir(&trash).at("sync", &trash)?;
        for name in self.disk.list(&trash).at("list", &trash)? {
            let Some(day) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let directory = trash.join(&name);
            self.disk.sync_dir(&directory).at("sync", &directory)?;
            for name in self.disk.list(&directory).at("list", &directory)? {
                let Some(shard) = name.to_str().and_then(ShardId::from_hex) else {
                    continue;
                };
                let path = directory.join(&name);
                let facts = self.disk.metadata(&path).at("look at", &path)?;
                if let Some(bytes) = shard_bytes(facts.bytes) {
                    let trashed = Trashed { bytes, day };
                    state.trash.insert((owner, shard), trashed);
                }
            }
        }
        Ok(())
    }
}

fn directories<'a>(paths: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    paths.filter_map(Path::parent).map(Path::to_owned).collect()
}
