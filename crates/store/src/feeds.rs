//! One append-only file per device: its feed, as received.
//!
//! A file is the magic and then records: a length (four bytes, little-endian; the highest bit is set
//! unless the record began an append), the encoded entry, and the first four bytes of the BLAKE3
//! hash of both. Own entries are on stable storage before [`Feeds::append`] returns, and so is all
//! that was appended before them: a receipt is worth nothing without its owner's head and wrapped
//! keys. Others' entries alone can be had again and are not synced. The chain and the signatures are the core's to check.

mod feed;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    entry::{SignedEntry, Tip},
    id::DeviceId,
};
use thiserror::Error;

use self::feed::Feed;
use crate::{
    disk::{Disk, make_dir},
    error::{At, DiskError},
};

/// Why a feed can't be opened, read or written.
#[derive(Debug, Error)]
pub enum FeedError {
    /// Entries before these are missing.
    #[error("feed of {device:?} has {len} entries, can't go on with {from}")]
    Gap {
        /// Whose feed.
        device: DeviceId,
        /// Entries held.
        len: u64,
        /// Number of the first entry that was to be appended.
        from: u64,
    },
    /// Our own feed is damaged. Going on would contradict what others have.
    #[error(
        "this device's own feed {} is damaged after {kept} entries; friends hold it whole, and \
         `carryall recover` in a new home gets everything back",
        path.display()
    )]
    OwnDamaged {
        /// The file.
        path: PathBuf,
        /// Entries before the damage.
        kept: u64,
    },
    /// A record that was good when the feed was opened is not any more.
    #[error("feed {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// A newer program wrote it.
    #[error("feed {} has format version {found}, this program reads up to {known}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What opening a feed had to cut off: a torn end after a crash, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedCut {
    /// Whose feed.
    pub device: DeviceId,
    /// Entries that are left.
    pub kept: u64,
    /// Bytes after them.
    pub bytes: u64,
}

/// All feeds that this device knows.
#[derive(Debug)]
pub struct Feeds {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    own: DeviceId,
    feeds: Mutex<BTreeMap<DeviceId, Feed>>,
    cuts: Vec<FeedCut>,
}

impl Feeds {
    /// Opens all feeds of a directory and hands every entry to `each`, feed by feed in the order
    /// of device ids, with its number. Torn ends are cut off; others' feeds are cut at damage too,
    /// since they can be had again. Damage in our own leaves it readable, but it takes no more.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        own: DeviceId,
        each: &mut dyn FnMut(DeviceId, u64, SignedEntry),
    ) -> Result<Self, FeedError> {
        make_dir(&*disk, directory)?;
        // A process may have died between making a file and syncing its name.
        disk.sync_dir(directory).at("sync", directory)?;
        let mut names: Vec<DeviceId> = disk
            .list(directory)
            .at("list", directory)?
            .iter()
            .filter_map(|name| DeviceId::from_hex(name.to_str()?.strip_suffix(".feed")?))
            .collect();
        names.sort_unstable();
        let (mut feeds, mut cuts) = (BTreeMap::new(), Vec::new());
        for device in names {
            let path = feed_path(directory, device);
            let mut hand_over = |seq, entry| each(device, seq, entry);
            let (feed, cut) = Feed::open(&*disk, path, device == own, &mut hand_over)?;
            if cut > 0 {
                let (kept, bytes) = (feed.len(), cut);
                cuts.push(FeedCut {
                    device,
                    kept,
                    bytes,
                });
            }
            feeds.insert(device, feed);
        }
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            own,
            feeds: Mutex::new(feeds),
            cuts,
        })
    }

    /// Returns what opening had to cut off.
    pub fn cuts(&self) -> &[FeedCut] {
        &self.cuts
    }

    /// Fails if our own feed is damaged, so that this device must not write any more.
    pub fn check_own(&self) -> Result<(), FeedError> {
        match self.feeds().get(&self.own) {
            Some(feed) => feed.check(),
            None => Ok(()),
        }
    }

    /// Appends entries, of which `from` is the number of the first, and returns the feed's new
    /// length. Entries that are there already are passed over. Own entries are on stable storage
    /// when this returns, with everything that was appended before. After an error the feed is as it was, and the same call may be repeated.
    pub fn append(
        &self,
        device: DeviceId,
        from: u64,
        entries: &[SignedEntry],
    ) -> Result<u64, FeedError> {
        let mut feeds = self.feeds();
        let len = feeds.get(&device).map_or(0, Feed::len);
        if from > len {
            return Err(FeedError::Gap { device, len, from });
        }
        let known = usize::try_from(len - from).unwrap_or(usize::MAX);
        let Some(new) = entries.get(known..).filter(|new| !new.is_empty()) else {
            return Ok(len);
        };
        if device == self.own {
            for (_, feed) in feeds.iter_mut().filter(|(other, _)| **other != device) {
                feed.settle(&*self.disk)?;
            }
        }
        let feed = match feeds.entry(device) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = feed_path(&self.directory, device);
                entry.insert(Feed::create(&*self.disk, path)?)
            }
        };
        feed.append(&*self.disk, new, device == self.own)
    }

    /// Reads the entries `from..to` of a feed, or as many of them as fit `bytes_max`, but at least
    /// one. What lies behind the feed's end is left out.
    pub fn read(
        &self,
        device: DeviceId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<SignedEntry>, FeedError> {
        match self.feeds().get(&device) {
            Some(feed) => feed.read(from, to, bytes_max),
            None => Ok(Vec::new()),
        }
    }

    /// Returns the number of entries of a feed.
    pub fn len(&self, device: DeviceId) -> u64 {
        self.feeds().get(&device).map_or(0, Feed::len)
    }

    /// Returns the version vector.
    pub fn tips(&self) -> Vec<Tip> {
        let feeds = self.feeds();
        feeds
            .iter()
            .filter(|(_, feed)| feed.len() > 0)
            .map(|(device, feed)| Tip {
                device: *device,
                len: feed.len(),
                hash: feed.tip(),
            })
            .collect()
    }

    /// Forgets a feed of somebody else.
    pub fn remove(&self, device: DeviceId) -> Result<(), FeedError> {
        let mut feeds = self.feeds();
        if device != self.own && feeds.remove(&device).is_some() {
            let path = feed_path(&self.directory, device);
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", &path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Feed>> {
        // A feed changes its own state only after the disk has changed.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn feed_path(directory: &Path, device: DeviceId) -> PathBuf {
    directory.join(format!("{device}.feed"))
}
