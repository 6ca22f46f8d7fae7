//! A shard on its way onto the shelf.

use std::sync::Arc;

use carryall_core::{limits::GROUP_BYTES, proof::GroupHasher};

use crate::{
    disk::{DiskFile, Open, make_dir, remove_if_there},
    error::{At, DiskError},
    shelf::{
        Inner, ShelfError, Shelved,
        file::{Footer, arrived_values, file_bytes, group_count, write_values},
    },
};

/// Group values are written once so many are new: a write of two kilobytes for each MiB.
const VALUES_PENDING_MAX: usize = 64;

/// Takes the bytes of one shard. Dropping it keeps the whole groups that came for the next try.
#[derive(Debug)]
pub struct Incoming {
    shelf: Arc<Inner>,
    shelved: Shelved,
    file: Box<dyn DiskFile>,
    hasher: GroupHasher,
    offset: u32,
    values_written: usize,
    /// The part is of no use to a next try.
    spoilt: bool,
    /// The part is on the shelf.
    done: bool,
}

impl Incoming {
    /// Opens a part, a known one where it ends, after room was promised to it.
    pub(super) fn begin(
        shelf: Arc<Inner>,
        shelved: Shelved,
        known: bool,
    ) -> Result<Self, ShelfError> {
        let opened = open_part(&shelf, shelved, known);
        let (file, hasher) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                forget(&shelf, shelved);
                return Err(error);
            }
        };
        let whole_groups = hasher.values().len();
        let arrived = whole_groups * GROUP_BYTES;
        let incoming = Self {
            shelf,
            shelved,
            file,
            hasher,
            offset: u32::try_from(arrived).expect("less than the shard's length"),
            values_written: whole_groups,
            spoilt: false,
            done: false,
        };
        incoming.promise(Some(incoming.missing()));
        Ok(incoming)
    }

    /// Returns which shard this is.
    pub fn shelved(&self) -> Shelved {
        self.shelved
    }

    /// Returns the offset of the byte that is to come next.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Takes the next bytes. They are checked when the shard is whole.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ShelfError> {
        if bytes.len() > (self.shelved.bytes - self.offset) as usize {
            self.spoilt = true;
            return Err(ShelfError::WrongBytes(self.shelved.shard));
        }
        let path = self.shelf.part_path(self.shelved.shard);
        let written = self.file.write_at(bytes, u64::from(self.offset));
        self.keep_on(written.at("write", &path))?;
        self.hasher.update(bytes);
        self.offset += u32::try_from(bytes.len()).expect("checked against the shard's length");
        if self.hasher.values().len() - self.values_written >= VALUES_PENDING_MAX {
            self.write_new_values()?;
        }
        self.promise(Some(self.missing()));
        Ok(())
    }

    /// Checks the shard and puts it on the shelf. When this returns it is on stable storage under
    /// its name. If its bytes are wrong, all of them are gone.
    pub fn finish(mut self) -> Result<(), ShelfError> {
        let Shelved {
            owner,
            shard,
            bytes,
        } = self.shelved;
        if self.offset < bytes {
            return Err(ShelfError::Incomplete);
        }
        let (found, values) = std::mem::take(&mut self.hasher).finish();
        if found != shard {
            self.spoilt = true;
            return Err(ShelfError::WrongBytes(shard));
        }
        self.write_values(&values)?;
        let part = self.shelf.part_path(shard);
        let synced = self.file.sync();
        self.keep_on(synced.at("sync", &part))?;
        // Its owner may not ask for it in years, and the first proof shall come from the disk. Memory that
        // is given back takes the next shard, which is faster than memory that was never used.
        self.file.uncache();
        let path = self.shelf.path(owner, shard);
        let disk = self.shelf.disk.clone();
        let fan = path.parent().expect("a shelved shard lies in a directory");
        make_dir(&*disk, fan)?;
        disk.rename(&part, &path).at("rename", &part)?;
        if let Err(error) = disk.sync_dir(fan).at("sync", fan) {
            // Back, so that the next try starts from what is known to be here.
            let _ = disk.rename(&path, &part);
            return Err(error.into());
        }
        let mut state = self.shelf.state();
        state.parts.remove(&shard);
        state.add(owner, shard, bytes);
        drop(state);
        self.done = true;
        Ok(())
    }

    fn write_new_values(&mut self) -> Result<(), ShelfError> {
        let values = self.hasher.values().to_vec();
        self.write_values(&values)
    }

    /// Writes those of all `values` that aren't written.
    fn write_values(&mut self, values: &[[u8; 32]]) -> Result<(), ShelfError> {
        let first = self.values_written;
        if first < values.len() {
            let path = self.shelf.part_path(self.shelved.shard);
            let new = &values[first..];
            let written = write_values(&*self.file, self.shelved.bytes, first, new);
            self.keep_on(written.at("write", &path))?;
            self.values_written = values.len();
        }
        Ok(())
    }

    /// A part that the disk refused to take is given up, to make room.
    fn keep_on(&mut self, written: Result<(), DiskError>) -> Result<(), ShelfError> {
        self.spoilt |= written.is_err();
        Ok(written?)
    }

    /// Bytes that may still be written.
    fn missing(&self) -> u64 {
        let values = group_count(self.shelved.bytes) - self.values_written;
        u64::from(self.shelved.bytes - self.offset) + 32 * values as u64
    }

    fn promise(&self, bytes: Option<u64>) {
        if let Some(part) = self.shelf.state().parts.get_mut(&self.shelved.shard) {
            part.promised = bytes;
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let kept = !self.spoilt && self.write_new_values().is_ok() && self.values_written > 0;
        if kept {
            self.promise(None);
        } else {
            forget(&self.shelf, self.shelved);
        }
    }
}

fn open_part(
    shelf: &Inner,
    shelved: Shelved,
    known: bool,
) -> Result<(Box<dyn DiskFile>, GroupHasher), ShelfError> {
    let Shelved {
        owner,
        shard,
        bytes,
    } = shelved;
    let path = shelf.part_path(shard);
    let file = shelf.disk.open(&path, Open::Write).at("open", &path)?;
    if known {
        let values = arrived_values(&*file, bytes).at("read", &path)?;
        return Ok((file, GroupHasher::resume(values)));
    }
    file.set_len(0).at("cut", &path)?;
    file.set_len(file_bytes(bytes)).at("lengthen", &path)?;
    Footer { owner, bytes }.write(&*file).at("write", &path)?;
    Ok((file, GroupHasher::new()))
}

/// Removes a part. If the disk refuses that too, opening the shelf or [`super::Shelf::collect`]
/// gets another chance.
fn forget(shelf: &Inner, shelved: Shelved) {
    let mut state = shelf.state();
    let removed = remove_if_there(&*shelf.disk, &shelf.part_path(shelved.shard));
    if removed.is_ok() {
        state.parts.remove(&shelved.shard);
    } else if let Some(part) = state.parts.get_mut(&shelved.shard) {
        part.promised = None;
    }
}
