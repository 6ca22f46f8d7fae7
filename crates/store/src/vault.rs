//! The home directory of a device: made once, opened by one process at a time.
//!
//! ```text
//! identity           who this device is; mode 0600
//! lock               locked while a process has the vault open
//! feeds/             one file per device whose feed is known
//! shelf/             shards kept for others, and those under way
//! spool/             own packs that can't be rebuilt from sources
//! aside/             shards of own packs that came back, until others make the packs whole
//! meetings           whom this device met, and when
//! freed              which files were freed: they are with friends alone
//! days               the count of observed days, while something is in the trash
//! catalogue.redb     an index that can be rebuilt from all of the above
//! ```

#[cfg(test)]
pub(crate) mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    codec::DecodeError, days::Days, entry::SignedEntry, id::DeviceId, key::Identity,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    aside::{Aside, AsideError},
    catalogue::{Catalogue, CatalogueError},
    days::{self, DaysError},
    disk::{Disk, DiskLock, Open, make_dir, read_exact_at, replace},
    error::{At, DiskError},
    feeds::{FeedError, Feeds},
    freed::{Freed, FreedError},
    history::{History, HistoryError},
    shelf::{Shelf, ShelfError},
    spool::{Spool, SpoolError},
};

/// First bytes of an identity file.
const MAGIC: &[u8; 8] = b"CARRYALL";
/// Magic and check.
const FRAME_BYTES: u64 = 8 + 32;
/// Longest identity file, in bytes: room for what newer versions may add.
const IDENTITY_BYTES_MAX: u64 = 1 << 20;
/// What may lie in a home where the making of a vault was interrupted, or was prepared by hand.
const EXPECTED: [&str; 6] = [
    "lock",
    "identity.tmp",
    "config.toml",
    "feeds",
    "shelf",
    "spool",
];

/// Why a vault can't be made or opened.
#[derive(Debug, Error)]
pub enum VaultError {
    /// There is none.
    #[error("there is no vault in {}", .0.display())]
    NoVault(PathBuf),
    /// There is one already.
    #[error("there is a vault in {} already", .0.display())]
    Exists(PathBuf),
    /// The directory holds something else.
    #[error("{} is not empty and holds no vault; nothing was changed", .0.display())]
    Foreign(PathBuf),
    /// Another process has it open.
    #[error("the vault in {} is in use by another process", .0.display())]
    Busy(PathBuf),
    /// A newer program made it.
    #[error("the vault has format version {found}, this program reads up to {known}")]
    TooNew {
        /// The version found.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// The identity file is not as it was written.
    #[error(
        "the identity file {} is damaged; what friends keep is not, and `carryall recover` in a \
         new home gets it back",
        .0.display()
    )]
    Damaged(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An open vault. Nobody else has it open as long as this value lives.
#[derive(Debug)]
pub struct Vault {
    disk: Arc<dyn Disk>,
    home: PathBuf,
    identity: Mutex<Identity>,
    _lock: Box<dyn DiskLock>,
}

impl Vault {
    /// Makes a vault in a directory that is missing or empty.
    pub fn create(
        disk: Arc<dyn Disk>,
        home: &Path,
        identity: Identity,
    ) -> Result<Self, VaultError> {
        make_dir(&*disk, home)?;
        let names = disk.list(home).at("list", home)?;
        if names.iter().any(|name| name == "identity") {
            return Err(VaultError::Exists(home.to_owned()));
        }
        if names
            .iter()
            .any(|name| EXPECTED.iter().all(|expected| name != expected))
        {
            return Err(VaultError::Foreign(home.to_owned()));
        }
        for directory in home.ancestors().skip(1) {
            // An earlier try may have been killed before it synced the names it made. Directories
            // that we may not open aren't ours to have made.
            let _ = disk.sync_dir(directory);
        }
        let lock = take_lock(&*disk, home)?;
        if disk.metadata(&home.join("identity")).is_ok() {
            // Another process was faster.
            return Err(VaultError::Exists(home.to_owned()));
        }
        let vault = Self {
            disk,
            home: home.to_owned(),
            identity: Mutex::new(identity.clone()),
            _lock: lock,
        };
        vault.write_identity(&identity)?;
        Ok(vault)
    }

    /// Opens a vault.
    pub fn open(disk: Arc<dyn Disk>, home: &Path) -> Result<Self, VaultError> {
        let path = home.join("identity");
        match disk.metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::NoVault(home.to_owned()));
            }
            Err(error) => return Err(error).at("look at", &path)?,
        }
        let lock = take_lock(&*disk, home)?;
        let identity = read_identity(&*disk, &path)?;
        // It may have been replaced by a process that was killed before it synced the name. Whoever
        // sees the new one must not find the old one after a power cut.
        disk.sync_dir(home).at("sync", home)?;
        Ok(Self {
            disk,
            home: home.to_owned(),
            identity: Mutex::new(identity),
            _lock: lock,
        })
    }

    /// Returns the home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the disk that the vault lies on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns who this device is.
    pub fn identity(&self) -> Identity {
        self.locked_identity().clone()
    }

    /// Replaces the identity, atomically and durably.
    pub fn replace_identity(&self, identity: Identity) -> Result<(), VaultError> {
        let mut current = self.locked_identity();
        self.write_identity(&identity)?;
        *current = identity;
        Ok(())
    }

    /// Opens the feeds and hands every entry to `each`, feed by feed, with its number.
    pub fn feeds(
        &self,
        each: &mut dyn FnMut(DeviceId, u64, SignedEntry),
    ) -> Result<Feeds, FeedError> {
        let own = self.locked_identity().device();
        Feeds::open(self.disk.clone(), &self.home.join("feeds"), own, each)
    }

    /// Opens the history of meetings.
    pub fn history(&self) -> Result<History, HistoryError> {
        History::open(self.disk.clone(), &self.home.join("meetings"))
    }

    /// Reads the count of observed days.
    pub fn days(&self) -> Result<Days, DaysError> {
        days::read(&*self.disk, &self.home.join("days"))
    }

    /// Stores the count of observed days, durably.
    pub fn keep_days(&self, days: &Days) -> Result<(), DaysError> {
        days::write(&*self.disk, &self.home.join("days"), days)
    }

    /// Reads what was freed.
    pub fn freed(&self) -> Result<Freed, FreedError> {
        Freed::read(&*self.disk, &self.home)
    }

    /// Stores what was freed, durably.
    pub fn keep_freed(&self, freed: &Freed) -> Result<(), FreedError> {
        freed.write(&*self.disk, &self.home)
    }

    /// Opens the shelf. It takes nothing that would leave less than `keep_free` bytes on the disk.
    pub fn shelf(&self, keep_free: u64) -> Result<Shelf, ShelfError> {
        Shelf::open(self.disk.clone(), &self.home.join("shelf"), keep_free)
    }

    /// Opens what is carried for others: shelved like what is kept, and apart from it. Parts of shards
    /// whose link broke are not kept: they would take room that nobody debits.
    pub fn parcels(&self, keep_free: u64) -> Result<Shelf, ShelfError> {
        let parcels = Shelf::open(self.disk.clone(), &self.home.join("parcels"), keep_free)?;
        parcels.drop_parts()?;
        Ok(parcels)
    }

    /// Opens the spool. It holds at most `cap` bytes.
    pub fn spool(&self, cap: u64) -> Result<Spool, SpoolError> {
        Spool::open(self.disk.clone(), &self.home.join("spool"), cap)
    }

    /// Opens what lies aside. Nothing is added that would leave less than `keep_free` bytes free.
    pub fn aside(&self, keep_free: u64) -> Result<Aside, AsideError> {
        Aside::open(self.disk.clone(), &self.home.join("aside"), keep_free)
    }

    /// Opens the catalogue, empty if it is missing or damaged: see [`Catalogue::needs_rebuild`].
    pub fn catalogue(&self) -> Result<Catalogue, CatalogueError> {
        Catalogue::open(self.disk.clone(), &self.home.join("catalogue.redb"))
    }

    fn locked_identity(&self) -> MutexGuard<'_, Identity> {
        // A panic elsewhere can't leave it half written: it is replaced whole.
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_identity(&self, identity: &Identity) -> Result<(), VaultError> {
        let body = identity.to_bytes();
        let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + FRAME_BYTES as usize));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&body);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        replace(&*self.disk, &self.home.join("identity"), &bytes)?;
        Ok(())
    }
}

fn take_lock(disk: &dyn Disk, home: &Path) -> Result<Box<dyn DiskLock>, VaultError> {
    let path = home.join("lock");
    match disk.lock(&path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(VaultError::Busy(home.to_owned()))
        }
        locked => Ok(locked.at("lock", &path)?),
    }
}

/// Reads magic, identity and the BLAKE3 hash of both. The hash comes before the identity's version,
/// so that a flipped bit is not taken for a newer program's work.
fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Identity, VaultError> {
    let damaged = || VaultError::Damaged(path.to_owned());
    let file = disk.open(path, Open::Read).at("open", path)?;
    let len = file.len().at("look at", path)?;
    if !(FRAME_BYTES..=IDENTITY_BYTES_MAX).contains(&len) {
        return Err(damaged());
    }
    let len = usize::try_from(len).map_err(|_| damaged())?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    read_exact_at(&*file, &mut bytes, 0).at("read", path)?;
    let (content, check) = bytes.split_at(len - 32);
    if blake3::hash(content).as_bytes() != check {
        return Err(damaged());
    }
    let body = content.strip_prefix(MAGIC).ok_or_else(damaged)?;
    Identity::from_bytes(body).map_err(|error| match error {
        DecodeError::TooNew { found, known, .. } => VaultError::TooNew { found, known },
        _ => damaged(),
    })
}
