//! Shards kept for others, each durable before anybody is told so.
//!
//! A shelved shard is one file: its bytes, then the chaining values of its groups (for audits), then
//! owner, length and magic. A shard under way has the same layout from its first byte on, so that
//! finishing it is a sync and a rename, and the values tell after a crash which groups really arrived.
//! What the bytes mean is none of the shelf's business, and it never sees a key.

mod file;
mod incoming;
#[cfg(test)]
pub(crate) mod tests;
mod trash;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use carryall_core::{
    id::{MemberId, ShardId, hex},
    limits::SHARD_BYTES_MAX,
    message::GroupProof,
    time::{Span, Timestamp},
    trash::Trashed,
};
use thiserror::Error;

pub use self::file::ShelvedShard;
use self::file::{Footer, file_bytes, shard_bytes};
pub use self::incoming::Incoming;
use crate::{
    disk::{Disk, FileKind, Open, make_dir, remove_if_there},
    error::{At, DiskError},
};

/// A part that nobody went on with for so long is given up.
const PART_VALID: Span = Span::days(7);

/// Why the shelf refused.
#[derive(Debug, Error)]
pub enum ShelfError {
    /// The shard is on the shelf already.
    #[error("the shard is here already")]
    Have,
    /// Somebody else is sending this shard now.
    #[error("the shard is under way already")]
    Busy,
    /// It would leave less room than is to be kept free.
    #[error("{needed} bytes more would leave less than {keep_free} bytes free")]
    Full {
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes to be kept free.
        keep_free: u64,
    },
    /// No shard is that long, or empty.
    #[error("no shard has {0} bytes")]
    BadLength(u32),
    /// The bytes that came are not the shard's. They are gone.
    #[error("the bytes are not those of shard {0}")]
    WrongBytes(ShardId),
    /// Not all bytes came. Those that did are kept for the next try.
    #[error("the shard ends early")]
    Incomplete,
    /// There is no such shard here.
    #[error("shard {0} is not here")]
    Missing(ShardId),
    /// The shard is here, but not as it was written.
    #[error("shard {0} is damaged")]
    Damaged(ShardId),
    /// The shard has no such group.
    #[error("the shard has no group {0}")]
    NoGroup(u32),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ShelfError {
    /// Tells whether there was no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Disk(error) => error.is_full(),
            _ => false,
        }
    }
}

/// One shard on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelved {
    /// Whose.
    pub owner: MemberId,
    /// The shard.
    pub shard: ShardId,
    /// Its length.
    pub bytes: u32,
}

/// The shelf of a vault. Clones are the same shelf.
#[derive(Clone, Debug)]
pub struct Shelf {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    keep_free: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<(MemberId, ShardId), u32>,
    usage: BTreeMap<MemberId, u64>,
    parts: BTreeMap<ShardId, Part>,
    damaged: BTreeSet<(MemberId, ShardId)>,
    trash: BTreeMap<(MemberId, ShardId), Trashed>,
}

/// A shard under way, or waiting for its sender to come back.
#[derive(Clone, Copy, Debug)]
struct Part {
    owner: MemberId,
    bytes: u32,
    /// Bytes promised to a sender that is at it now; nothing while nobody is.
    promised: Option<u64>,
    touched: Timestamp,
}

impl Shelf {
    /// Opens the shelf: lists what is on it and puts it on stable storage, in case a process was
    /// killed before it did. It takes nothing that would leave less than `keep_free` bytes free.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, keep_free: u64) -> Result<Self, ShelfError> {
        let inner = Inner {
            disk,
            directory: directory.to_owned(),
            keep_free: AtomicU64::new(keep_free),
            state: Mutex::default(),
        };
        make_dir(&*inner.disk, &inner.incoming())?;
        inner.disk.sync_dir(directory).at("sync", directory)?;
        {
            let mut state = inner.state();
            for name in inner.disk.list(directory).at("list", directory)? {
                if let Some(owner) = name.to_str().and_then(MemberId::from_hex) {
                    inner.list_owner(&mut state, owner)?;
                }
            }
            inner.list_parts(&mut state)?;
        }
        let inner = Arc::new(inner);
        Ok(Self { inner })
    }

    /// Changes how many bytes are to be kept free.
    pub fn set_keep_free(&self, bytes: u64) {
        self.inner.keep_free.store(bytes, Ordering::Relaxed);
    }

    /// Promises room for a shard. The answer tells from which byte on it is to be sent; dropping it
    /// gives the room back and keeps what arrived.
    pub fn reserve(
        &self,
        owner: MemberId,
        shard: ShardId,
        bytes: u32,
        now: Timestamp,
    ) -> Result<Incoming, ShelfError> {
        let inner = &self.inner;
        if bytes == 0 || u64::from(bytes) > SHARD_BYTES_MAX {
            return Err(ShelfError::BadLength(bytes));
        }
        let known = {
            let mut state = inner.state();
            if state.shards.contains_key(&(owner, shard)) {
                return Err(ShelfError::Have);
            }
            let part = state.parts.get(&shard).copied();
            if part.is_some_and(|part| part.promised.is_some()) {
                return Err(ShelfError::Busy);
            }
            let known = part.is_some_and(|part| (part.owner, part.bytes) == (owner, bytes));
            if part.is_some() && !known {
                // Another owner's, or another length's: useless to this one.
                remove_if_there(&*inner.disk, &inner.part_path(shard))?;
                state.parts.remove(&shard);
            }
            inner.check_room(&state, file_bytes(bytes))?;
            let part = Part {
                owner,
                bytes,
                promised: Some(file_bytes(bytes)),
                touched: now,
            };
            state.parts.insert(shard, part);
            known
        };
        Incoming::begin(
            inner.clone(),
            Shelved {
                owner,
                shard,
                bytes,
            },
            known,
        )
    }

    /// Opens a shard for reading, be it in the trash. One that is found damaged or missing, here or by a proof or a
    /// scrub, is off the list, so that it can be sent again.
    pub fn read(&self, owner: MemberId, shard: ShardId) -> Result<ShelvedShard, ShelfError> {
        self.strike_if_bad(owner, shard, self.inner.read(owner, shard))
    }

    /// Makes a proof that a group of a shard is here, checked against the shard's id.
    pub fn prove(
        &self,
        owner: MemberId,
        shard: ShardId,
        group: u32,
    ) -> Result<GroupProof, ShelfError> {
        let proof = self.read(owner, shard)?.prove(group);
        self.strike_if_bad(owner, shard, proof)
    }

    /// Reads a whole shard and checks it against its id.
    pub fn scrub(&self, owner: MemberId, shard: ShardId) -> Result<(), ShelfError> {
        let scrubbed = self.read(owner, shard)?.scrub();
        self.strike_if_bad(owner, shard, scrubbed)
    }

    /// Takes a shard off the list if `result` says that it is not here as it was written.
    fn strike_if_bad<T>(
        &self,
        owner: MemberId,
        shard: ShardId,
        result: Result<T, ShelfError>,
    ) -> Result<T, ShelfError> {
        match &result {
            Err(ShelfError::Damaged(_)) => self.inner.state().strike(owner, shard, true),
            Err(ShelfError::Missing(_)) => {
                let mut state = self.inner.state();
                // It may have come while we looked.
                let path = self.inner.path(owner, shard);
                if self.inner.disk.metadata(&path).is_err() {
                    state.strike(owner, shard, false);
                }
            }
            _ => {}
        }
        result
    }

    /// Removes a shard, damaged or not.
    pub fn remove(&self, owner: MemberId, shard: ShardId) -> Result<(), ShelfError> {
        let mut state = self.inner.state();
        let path = self.inner.path(owner, shard);
        remove_if_there(&*self.inner.disk, &path)?;
        state.strike(owner, shard, false);
        Ok(())
    }

    /// Removes shards, and returns which are gone.
    pub fn remove_all(&self, owner: MemberId, shards: &[ShardId]) -> Vec<ShardId> {
        let removed = |shard: &&ShardId| self.remove(owner, **shard).is_ok();
        shards.iter().filter(removed).copied().collect()
    }

    /// Tells whether a shard is on the shelf.
    pub fn contains(&self, owner: MemberId, shard: ShardId) -> bool {
        self.inner.state().shards.contains_key(&(owner, shard))
    }

    /// Returns everything on the shelf, without the trash.
    pub fn list(&self) -> Vec<Shelved> {
        let state = self.inner.state();
        let shards = state.shards.iter();
        shards
            .map(|(&(owner, shard), &bytes)| Shelved {
                owner,
                shard,
                bytes,
            })
            .collect()
    }

    /// Returns shards whose files are here, but not as they were written, as far as was noticed. They
    /// don't count.
    pub fn damaged(&self) -> Vec<(MemberId, ShardId)> {
        self.inner.state().damaged.iter().copied().collect()
    }

    /// Returns the bytes of shards kept for a member, without the trash.
    pub fn usage(&self, owner: MemberId) -> u64 {
        self.inner.state().usage.get(&owner).copied().unwrap_or(0)
    }

    /// Removes parts that nobody goes on with: a week old, or of an owner whom `keep` refuses.
    /// Returns how many.
    pub fn collect(
        &self,
        now: Timestamp,
        keep: &dyn Fn(MemberId) -> bool,
    ) -> Result<usize, ShelfError> {
        self.drop_parts_if(|part| now.since(part.touched) > PART_VALID || !keep(part.owner))
    }

    /// Removes all parts that nobody goes on with. Returns how many.
    pub fn drop_parts(&self) -> Result<usize, ShelfError> {
        self.drop_parts_if(|_| true)
    }

    fn drop_parts_if(&self, useless: impl Fn(&Part) -> bool) -> Result<usize, ShelfError> {
        let mut state = self.inner.state();
        let parts = state.parts.iter();
        let stale: Vec<ShardId> = parts
            .filter(|(_, part)| part.promised.is_none() && useless(part))
            .map(|(shard, _)| *shard)
            .collect();
        for shard in &stale {
            remove_if_there(&*self.inner.disk, &self.inner.part_path(*shard))?;
            state.parts.remove(shard);
        }
        Ok(stale.len())
    }
}

impl Inner {
    fn incoming(&self) -> PathBuf {
        self.directory.join("incoming")
    }

    fn part_path(&self, shard: ShardId) -> PathBuf {
        self.incoming().join(format!("{shard}.part"))
    }

    fn path(&self, owner: MemberId, shard: ShardId) -> PathBuf {
        let fan = hex(&shard.as_bytes()[..1]);
        let mut path = self.directory.join(owner.to_string());
        path.push(fan);
        path.push(shard.to_string());
        path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state changes only after the disk has.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, owner: MemberId, shard: ShardId) -> Result<ShelvedShard, ShelfError> {
        let path = self.find(owner, shard);
        match self.disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ShelfError::Missing(shard))
            }
            opened => ShelvedShard::new(opened.at("open", &path)?, path, shard),
        }
    }

    /// Fails if `needed` bytes more, and all that is promised, don't fit.
    fn check_room(&self, state: &State, needed: u64) -> Result<(), ShelfError> {
        let (free, _) = self
            .disk
            .room(&self.directory)
            .at("look at", &self.directory)?;
        let promised: u64 = state.parts.values().filter_map(|part| part.promised).sum();
        let keep_free = self.keep_free.load(Ordering::Relaxed);
        if free < needed.saturating_add(promised).saturating_add(keep_free) {
            return Err(ShelfError::Full { needed, keep_free });
        }
        Ok(())
    }

    fn list_owner(&self, state: &mut State, owner: MemberId) -> Result<(), ShelfError> {
        let directory = self.directory.join(owner.to_string());
        self.disk.sync_dir(&directory).at("sync", &directory)?;
        for fan in self.disk.list(&directory).at("list", &directory)? {
            if fan == trash::NAME {
                self.list_trash(state, owner)?;
                continue;
            }
            let fan = directory.join(fan);
            if self.disk.metadata(&fan).at("look at", &fan)?.kind != FileKind::Directory {
                continue;
            }
            self.disk.sync_dir(&fan).at("sync", &fan)?;
            for name in self.disk.list(&fan).at("list", &fan)? {
                let Some(shard) = name.to_str().and_then(ShardId::from_hex) else {
                    continue;
                };
                let path = fan.join(&name);
                let facts = self.disk.metadata(&path).at("look at", &path)?;
                match shard_bytes(facts.bytes) {
                    Some(bytes) => state.add(owner, shard, bytes),
                    None => state.strike(owner, shard, true),
                }
            }
        }
        Ok(())
    }

    /// Takes note of the parts that can be gone on with and removes the others.
    fn list_parts(&self, state: &mut State) -> Result<(), ShelfError> {
        let incoming = self.incoming();
        for name in self.disk.list(&incoming).at("list", &incoming)? {
            let path = incoming.join(&name);
            let shard = name.to_str().and_then(|name| name.strip_suffix(".part"));
            let shard = shard.and_then(ShardId::from_hex);
            match shard.zip(self.read_part(&path)?) {
                Some((shard, part)) if !state.shards.contains_key(&(part.owner, shard)) => {
                    state.parts.insert(shard, part);
                }
                _ => remove_if_there(&*self.disk, &path)?,
            }
        }
        Ok(())
    }

    fn read_part(&self, path: &Path) -> Result<Option<Part>, ShelfError> {
        let Ok(file) = self.disk.open(path, Open::Read) else {
            return Ok(None);
        };
        let facts = file.metadata().at("look at", path)?;
        let Ok(Some(footer)) = Footer::read(&*file, facts.bytes) else {
            return Ok(None);
        };
        let millis = u64::try_from(facts.mtime_ns / 1_000_000).unwrap_or(0);
        Ok(Some(Part {
            owner: footer.owner,
            bytes: footer.bytes,
            promised: None,
            touched: Timestamp(millis),
        }))
    }
}

impl State {
    fn add(&mut self, owner: MemberId, shard: ShardId, bytes: u32) {
        if self.shards.insert((owner, shard), bytes).is_none() {
            *self.usage.entry(owner).or_default() += u64::from(bytes);
        }
        self.damaged.remove(&(owner, shard));
    }

    fn strike(&mut self, owner: MemberId, shard: ShardId, damaged: bool) {
        if let Some(bytes) = self.shards.remove(&(owner, shard)) {
            let usage = self.usage.entry(owner).or_default();
            *usage = usage.saturating_sub(u64::from(bytes));
        }
        if damaged {
            self.damaged.insert((owner, shard));
        } else {
            self.damaged.remove(&(owner, shard));
        }
    }
}
