//! A courier's disk: labels, feeds, bills, parcels and what holders show, as they lie on it.
//!
//! ```text
//! label              what disk this is; the rest opens with the circle's secret
//! feeds/<name>       one log per feed
//! bills/<name>       two per device: the newer one that is whole counts
//! shown/<name>       one log per holder and owner
//! parcels/<aa>/<name>   shards as they are
//! ```
//!
//! It may be a FAT file system, which loses what is not synced and renames without care, and it may be
//! pulled out at any moment. So nothing relies on a rename but the label: logs grow at their end and are
//! cut where a record is not whole, and a bill never overwrites the one that counts. It may also have
//! been in the hands of anybody: everything is bounded before it is read, and no name is taken from it.

pub mod beneath;
mod bills;
mod log;
mod parcels;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use carryall_core::courier::{CourierCard, DiskKey, LABEL_BYTES_MAX, Label, LabelError};
use thiserror::Error;

pub use self::{
    bills::OpenBill,
    log::{FeedLog, ShownLog},
    parcels::{Batch, ParcelError, Written},
};
use crate::{
    disk::{Disk, DiskFile, DiskLock, FileKind, Open, make_dir},
    error::{At, DiskError},
};

/// The directory on a disk in which a courier lies.
pub const DIRECTORY: &str = ".carryall-courier";
const LABEL: &str = "label";

/// Why a courier can't be used.
#[derive(Debug, Error)]
pub enum CourierError {
    /// There is one already.
    #[error("there is a courier on this disk already")]
    Exists,
    /// It can't be read, or is not for us.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Another process serves it.
    #[error("another process is at this courier")]
    Busy,
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An open courier. Nobody else on this machine is at it as long as this value lives.
#[derive(Debug)]
pub struct Courier {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    key: DiskKey,
    card: CourierCard,
    _lock: Box<dyn DiskLock>,
}

/// Tells whether a courier lies in a directory, ours or not.
pub fn is_there(disk: &dyn Disk, root: &Path) -> bool {
    let label = disk.metadata(&root.join(LABEL));
    label.is_ok_and(|facts| facts.kind == FileKind::File)
}

/// Writes a new courier's label. The courier is on the disk when this returns.
pub fn create(disk: &dyn Disk, root: &Path, label: &[u8]) -> Result<(), CourierError> {
    make_dir(disk, root)?;
    if disk.metadata(&root.join(LABEL)).is_ok() {
        return Err(CourierError::Exists);
    }
    let (draft, path) = (root.join("label.new"), root.join(LABEL));
    let file = disk.open(&draft, Open::Write).at("create", &draft)?;
    file.set_len(0).at("write", &draft)?;
    file.write_at(label, 0).at("write", &draft)?;
    file.sync().at("sync", &draft)?;
    disk.rename(&draft, &path).at("rename", &draft)?;
    disk.sync_dir(root).at("sync", root)?;
    let parent = root.parent().unwrap_or(Path::new(""));
    disk.sync_dir(parent).at("sync", parent)?;
    Ok(())
}

/// Reads a label's bytes.
pub fn read_label(disk: &dyn Disk, root: &Path) -> Result<Vec<u8>, CourierError> {
    let path = root.join(LABEL);
    let file = disk.open(&path, Open::Read).at("open", &path)?;
    match read_whole(&*file, LABEL_BYTES_MAX as u64).at("read", &path)? {
        Some(bytes) => Ok(bytes),
        None => Err(LabelError::Damaged.into()),
    }
}

impl Courier {
    /// Opens a courier with the circle's secret.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        circle_secret: &[u8; 32],
    ) -> Result<(Self, Label), CourierError> {
        let bytes = read_label(&*disk, root)?;
        let (label, key) = Label::open(&bytes, circle_secret)?;
        let card = label.card.verify().map_err(|_| LabelError::Damaged)?;
        let path = root.join("lock");
        let lock = match disk.lock(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(CourierError::Busy);
            }
            lock => lock.at("lock", &path)?,
        };
        let root = root.to_owned();
        let courier = Self {
            disk,
            root,
            key,
            card,
            _lock: lock,
        };
        Ok((courier, label))
    }

    /// Returns what its owner says of it.
    pub const fn card(&self) -> &CourierCard {
        &self.card
    }

    /// Returns how many bytes are free on its disk.
    pub fn room(&self) -> Result<u64, CourierError> {
        let (free, _) = self.disk.room(&self.root).at("look at", &self.root)?;
        Ok(free)
    }

    /// Fails if the disk is gone.
    pub fn check(&self) -> Result<(), CourierError> {
        read_label(&*self.disk, &self.root).map(drop)
    }

    /// Returns the path of a small file: its kind is the directory.
    fn small(&self, kind: &str, id: &[u8]) -> PathBuf {
        let path = self.key.path(kind, id);
        self.root.join(kind).join(&path[3..])
    }
}

/// Reads a whole file, or nothing if it is longer than `most`.
fn read_whole(file: &dyn DiskFile, most: u64) -> io::Result<Option<Vec<u8>>> {
    let bytes = file.len()?;
    if bytes > most {
        return Ok(None);
    }
    let mut content = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    let count = file.read_at(&mut content, 0)?;
    content.truncate(count);
    Ok(Some(content))
}
