//! Shards of own packs that came back from friends and wait for others that make the packs whole.
//!
//! What they hold is checked against the pack's record when it is read.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    id::{PackId, hex},
    record::PackRecord,
};
use thiserror::Error;

use crate::{
    disk::{Disk, FileKind, Open, make_dir, read_exact_at, remove_if_there, replace},
    error::{At, DiskError},
};

/// Why nothing could be set aside.
#[derive(Debug, Error)]
pub enum AsideError {
    /// It would leave less room than is to be kept free.
    #[error("{needed} bytes more would leave less than {keep_free} bytes free")]
    Full {
        /// Bytes wanted.
        needed: u64,
        /// Bytes to be kept free.
        keep_free: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What lies aside in a vault.
#[derive(Debug)]
pub struct Aside {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    keep_free: u64,
    shards: Mutex<BTreeMap<PackId, BTreeSet<u8>>>,
}

impl Aside {
    /// Opens the directory. Nothing is set aside that would leave less than `keep_free` bytes free.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, keep_free: u64) -> Result<Self, AsideError> {
        make_dir(&*disk, directory)?;
        let mut shards: BTreeMap<PackId, BTreeSet<u8>> = BTreeMap::new();
        for fan in disk.list(directory).at("list", directory)? {
            let fan = directory.join(fan);
            if disk.metadata(&fan).at("look at", &fan)?.kind != FileKind::Directory {
                continue;
            }
            for name in disk.list(&fan).at("list", &fan)? {
                let Some(name) = name.to_str() else { continue };
                if name.ends_with(".tmp") {
                    remove_if_there(&*disk, &fan.join(name))?;
                } else if let Some((pack, index)) = parse(name) {
                    shards.entry(pack).or_default().insert(index);
                }
            }
        }
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            keep_free,
            shards: Mutex::new(shards),
        })
    }

    /// Returns what is here.
    pub fn list(&self) -> BTreeMap<PackId, BTreeSet<u8>> {
        self.shards().clone()
    }

    /// Keeps shards of a pack, beside those that are here.
    pub fn put(&self, pack: PackId, shards: &BTreeMap<u8, Vec<u8>>) -> Result<(), AsideError> {
        let needed = shards.values().map(|shard| shard.len() as u64).sum();
        let room = self.disk.room(&self.directory);
        let (free, _) = room.at("look at", &self.directory)?;
        let keep_free = self.keep_free;
        if free < keep_free.saturating_add(needed) {
            return Err(AsideError::Full { needed, keep_free });
        }
        for (index, shard) in shards {
            let path = self.path(pack, *index);
            if let Some(fan) = path.parent() {
                make_dir(&*self.disk, fan)?;
            }
            replace(&*self.disk, &path, shard)?;
            self.shards().entry(pack).or_default().insert(*index);
        }
        Ok(())
    }

    /// Reads the shards of a pack. One that is not as it came is left out.
    pub fn get(&self, pack: &PackRecord) -> Result<BTreeMap<u8, Vec<u8>>, AsideError> {
        let indices = self.shards().get(&pack.id).cloned().unwrap_or_default();
        let mut shards = BTreeMap::new();
        for index in indices {
            let path = self.path(pack.id, index);
            let file = self.disk.open(&path, Open::Read).at("open", &path)?;
            let mut shard = vec![0; pack.coding.shard_bytes as usize];
            let whole = file.len().at("look at", &path)? == shard.len() as u64;
            if whole {
                read_exact_at(&*file, &mut shard, 0).at("read", &path)?;
            }
            let wanted = pack.shards.get(usize::from(index));
            if whole && wanted.is_some_and(|it| blake3::hash(&shard).as_bytes() == it.as_bytes()) {
                shards.insert(index, shard);
            }
        }
        Ok(shards)
    }

    /// Removes the shards of a pack.
    pub fn remove(&self, pack: PackId) -> Result<(), AsideError> {
        let indices = self.shards().remove(&pack).unwrap_or_default();
        for index in indices {
            remove_if_there(&*self.disk, &self.path(pack, index))?;
        }
        Ok(())
    }

    fn path(&self, pack: PackId, index: u8) -> PathBuf {
        let fan = self.directory.join(hex(&pack.as_bytes()[..1]));
        fan.join(format!("{pack}-{index:02x}"))
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<PackId, BTreeSet<u8>>> {
        // It changes only after the disk has.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a shard's name.
fn parse(name: &str) -> Option<(PackId, u8)> {
    let (pack, index) = name.split_once('-')?;
    Some((PackId::from_hex(pack)?, u8::from_str_radix(index, 16).ok()?))
}
