//! Parcels: one file per shard and addressee, the shard's bytes as they are. They are sealed by their
//! owner already, and their id tells whether they are whole.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use carryall_core::{courier::Parcel, id::ShardId};
use thiserror::Error;

use super::{Courier, CourierError, read_whole};
use crate::{
    disk::{DiskFile, FileKind, Open, make_dir, remove_if_there},
    error::{At, DiskError},
};

/// Why a parcel can't be taken.
#[derive(Debug, Error)]
pub enum ParcelError {
    /// Somebody took it, or it was lost.
    #[error("the parcel is not there")]
    Gone,
    /// Something else lies there.
    #[error("what lies in the place of shard {0} is not a file of its length")]
    Strange(ShardId),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A parcel that was written and is not on stable storage yet.
#[derive(Debug)]
pub struct Written {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
}

/// Parcels that were written, as far as they are not on stable storage with their names yet.
#[derive(Debug, Default)]
pub struct Batch {
    unsynced: Vec<Written>,
    unsynced_bytes: u64,
    directories: BTreeSet<PathBuf>,
}

impl Batch {
    /// Adds a parcel.
    pub fn add(&mut self, written: Written) {
        self.unsynced_bytes += written.bytes;
        self.unsynced.push(written);
    }

    /// Returns how many bytes were added that are not on stable storage.
    pub const fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Puts contents on stable storage. Others may be written meanwhile.
    pub fn harden(&mut self) -> Result<(), CourierError> {
        for written in std::mem::take(&mut self.unsynced) {
            written.file.sync().at("sync", &written.path)?;
            // Its own directory and that one's: whoever made either may have died before a sync.
            let above = written.path.ancestors().skip(1).take(2);
            self.directories.extend(above.map(Path::to_owned));
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}

impl Courier {
    /// Writes a parcel. One that is there already, from a visit that was cut short, is left.
    pub fn write_parcel(&self, parcel: &Parcel, content: &[u8]) -> Result<Written, CourierError> {
        let path = self.parcel(parcel);
        let all = self.root.join("parcels");
        let fan = path.parent().unwrap_or(&all);
        make_dir(&*self.disk, &all)?;
        // Its name is synced with those of the parcels: now it would have to wait for all that is being
        // written.
        (self.disk.create_dir_all(fan)).at("make directory", fan)?;
        let there = self.read_parcel(parcel).is_some();
        let file = self.disk.open(&path, Open::Write).at("open", &path)?;
        if !there {
            // Growing a file would write zeros first on FAT.
            if !file.is_empty().at("read", &path)? {
                file.set_len(0).at("cut", &path)?;
            }
            file.write_at(content, 0).at("write", &path)?;
        }
        Ok(Written {
            file,
            path,
            bytes: content.len() as u64,
        })
    }

    /// Puts parcels and their names on stable storage.
    pub fn sync(&self, batch: &mut Batch) -> Result<(), CourierError> {
        batch.harden()?;
        for directory in &batch.directories {
            self.disk.sync_dir(directory).at("sync", directory)?;
        }
        *batch = Batch::default();
        Ok(())
    }

    /// Opens a parcel for reading. Its content is still to be checked against its id.
    pub fn open_parcel(&self, parcel: &Parcel) -> Result<Box<dyn DiskFile>, ParcelError> {
        let path = self.parcel(parcel);
        let facts = match self.disk.metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ParcelError::Gone);
            }
            facts => facts.at("look at", &path)?,
        };
        if facts.kind != FileKind::File || facts.bytes != u64::from(parcel.bytes) {
            return Err(ParcelError::Strange(parcel.shard));
        }
        Ok(self.disk.open(&path, Open::Read).at("open", &path)?)
    }

    /// Removes a parcel that was taken, or is not wanted any more.
    pub fn remove_parcel(&self, parcel: &Parcel) -> Result<(), CourierError> {
        Ok(remove_if_there(&*self.disk, &self.parcel(parcel))?)
    }

    /// Removes parcels that no bill lists: visits that were cut short left them. Returns how many.
    pub fn sweep(&self, listed: impl Iterator<Item = Parcel>) -> usize {
        let listed: BTreeSet<PathBuf> = listed.map(|parcel| self.parcel(&parcel)).collect();
        let directory = self.root.join("parcels");
        let mut removed = 0;
        for fan in self.disk.list(&directory).unwrap_or_default() {
            let fan = directory.join(fan);
            for name in self.disk.list(&fan).unwrap_or_default() {
                let path = fan.join(&name);
                let ours = name.to_str().is_some_and(is_parcel_name);
                if ours && !listed.contains(&path) && self.disk.remove_file(&path).is_ok() {
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Reads a parcel, or returns nothing if what can be read there is not what it should be.
    pub fn read_parcel(&self, parcel: &Parcel) -> Option<Vec<u8>> {
        let file = self.open_parcel(parcel).ok()?;
        let content = read_whole(&*file, u64::from(parcel.bytes)).ok()??;
        (*blake3::hash(&content).as_bytes() == parcel.shard.0).then_some(content)
    }

    pub(super) fn parcel(&self, parcel: &Parcel) -> PathBuf {
        let id = [parcel.shard.0, parcel.to.0].concat();
        let path = self.key.path("parcels", &id);
        self.root.join("parcels").join(path)
    }
}

/// Tells whether we could have given this name: eight digits, a dot, three digits.
fn is_parcel_name(name: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = name.split_once('.');
    parts.is_some_and(|(stem, end)| stem.len() == 8 && end.len() == 3 && hex(stem) && hex(end))
}
