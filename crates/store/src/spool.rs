//! Own sealed packs that can't be rebuilt from sources, until friends have them.
//!
//! Files are named by pack id, so what they hold can be checked, and is, whenever it is read.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    id::{PackId, hex},
    limits::SEALED_BYTES_MAX,
};
use thiserror::Error;

use crate::{
    disk::{Disk, DiskFile, FileKind, Open, make_dir, read_exact_at, remove_if_there},
    error::{At, DiskError},
};

/// Packs that may wait for a sync with their files open.
const DRAFTS_MAX: usize = 32;

/// Why the spool refused.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The cap is reached.
    #[error("the spool is at its cap of {cap} bytes")]
    Full {
        /// The cap.
        cap: u64,
    },
    /// The bytes are not the pack that their name says.
    #[error("spooled pack {0} is damaged")]
    Damaged(PackId),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The spool of a vault.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    cap: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    packs: BTreeMap<PackId, u64>,
    /// Written, but not yet synced and named.
    drafts: BTreeMap<PackId, Box<dyn DiskFile>>,
    bytes: u64,
}

impl Spool {
    /// Opens the spool and removes what was never synced. It holds at most `cap` bytes.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, cap: u64) -> Result<Self, SpoolError> {
        make_dir(&*disk, directory)?;
        // A process may have died between making a directory and syncing its name.
        disk.sync_dir(directory).at("sync", directory)?;
        let mut state = State::default();
        for fan in disk.list(directory).at("list", directory)? {
            let fan = directory.join(fan);
            if disk.metadata(&fan).at("look at", &fan)?.kind != FileKind::Directory {
                continue;
            }
            for name in disk.list(&fan).at("list", &fan)? {
                let path = fan.join(&name);
                let Some(name) = name.to_str() else { continue };
                if name.ends_with(".tmp") {
                    remove_if_there(&*disk, &path)?;
                } else if let Some(pack) = PackId::from_hex(name) {
                    let bytes = disk.metadata(&path).at("look at", &path)?.bytes;
                    state.packs.insert(pack, bytes);
                    state.bytes += bytes;
                }
            }
            // So that the names are durable even if the process that made them was killed.
            disk.sync_dir(&fan).at("sync", &fan)?;
        }
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            cap,
            state: Mutex::new(state),
        })
    }

    /// Writes a pack. It can be read at once, and is durable after [`Self::sync`].
    pub fn put(&self, pack: PackId, bytes: &[u8]) -> Result<(), SpoolError> {
        self.put_within(self.cap, pack, bytes)
    }

    /// Writes a pack as [`Self::put`] does, whatever the cap: metadata is small, has no sources to
    /// be rebuilt from, and is what lists and restores are made from.
    pub fn put_always(&self, pack: PackId, bytes: &[u8]) -> Result<(), SpoolError> {
        self.put_within(u64::MAX, pack, bytes)
    }

    fn put_within(&self, cap: u64, pack: PackId, bytes: &[u8]) -> Result<(), SpoolError> {
        let mut state = self.state();
        if state.packs.contains_key(&pack) {
            return Ok(());
        }
        let len = bytes.len() as u64;
        if state.bytes + len > cap {
            return Err(SpoolError::Full { cap });
        }
        let path = self.draft_path(pack);
        if let Some(fan) = path.parent() {
            make_dir(&*self.disk, fan)?;
        }
        let written = (|| {
            remove_if_there(&*self.disk, &path)?;
            let file = self.disk.open(&path, Open::New).at("create", &path)?;
            file.write_at(bytes, 0).at("write", &path)?;
            Ok::<_, DiskError>(file)
        })();
        match written {
            Ok(file) => {
                state.drafts.insert(pack, file);
                state.packs.insert(pack, len);
                state.bytes += len;
            }
            Err(error) => {
                // What is left would only take room; opening removes it otherwise.
                let _ = remove_if_there(&*self.disk, &path);
                return Err(error.into());
            }
        }
        if state.drafts.len() >= DRAFTS_MAX {
            self.settle(&mut state)?;
        }
        Ok(())
    }

    /// Puts every pack written so far on stable storage. To be called before anything durable
    /// names them.
    pub fn sync(&self) -> Result<(), SpoolError> {
        self.settle(&mut self.state())
    }

    /// Reads a pack and checks it; nothing if it isn't here.
    pub fn get(&self, pack: PackId) -> Result<Option<Vec<u8>>, SpoolError> {
        let path = {
            let state = self.state();
            match state.packs.get(&pack) {
                None => return Ok(None),
                Some(_) if state.drafts.contains_key(&pack) => self.draft_path(pack),
                Some(_) => self.path(pack),
            }
        };
        let file = match self.disk.open(&path, Open::Read) {
            // Between the look and the opening it was synced, or removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path(pack);
                match self.disk.open(&path, Open::Read) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    opened => opened.at("open", &path)?,
                }
            }
            opened => opened.at("open", &path)?,
        };
        let len = file.len().at("look at", &path)?;
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= SEALED_BYTES_MAX)
            .ok_or(SpoolError::Damaged(pack))?;
        let mut bytes = vec![0; len];
        read_exact_at(&*file, &mut bytes, 0).at("read", &path)?;
        if blake3::hash(&bytes).as_bytes() != pack.as_bytes() {
            return Err(SpoolError::Damaged(pack));
        }
        Ok(Some(bytes))
    }

    /// Tells whether a pack is here.
    pub fn contains(&self, pack: PackId) -> bool {
        self.state().packs.contains_key(&pack)
    }

    /// Removes a pack.
    pub fn remove(&self, pack: PackId) -> Result<(), SpoolError> {
        let mut state = self.state();
        if state.drafts.remove(&pack).is_some() {
            remove_if_there(&*self.disk, &self.draft_path(pack))?;
        } else {
            remove_if_there(&*self.disk, &self.path(pack))?;
        }
        if let Some(bytes) = state.packs.remove(&pack) {
            state.bytes -= bytes;
        }
        Ok(())
    }

    /// Returns all packs with their lengths.
    pub fn list(&self) -> Vec<(PackId, u64)> {
        let state = self.state();
        state
            .packs
            .iter()
            .map(|(pack, len)| (*pack, *len))
            .collect()
    }

    /// Returns the bytes of all packs.
    pub fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// Returns the most bytes that the spool holds.
    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Syncs and names the drafts. Each leaves the list only when all of that is done.
    fn settle(&self, state: &mut State) -> Result<(), SpoolError> {
        let mut fans = BTreeSet::new();
        for (pack, file) in &state.drafts {
            let (draft, path) = (self.draft_path(*pack), self.path(*pack));
            match self.disk.metadata(&path) {
                // Named by an earlier call that failed later on.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    file.sync().at("sync", &draft)?;
                    self.disk.rename(&draft, &path).at("rename", &draft)?;
                }
                Err(error) => return Err(error).at("look at", &path)?,
            }
            fans.extend(path.parent().map(Path::to_owned));
        }
        for fan in fans {
            self.disk.sync_dir(&fan).at("sync", &fan)?;
        }
        state.drafts.clear();
        Ok(())
    }

    fn path(&self, pack: PackId) -> PathBuf {
        let fan = hex(&pack.as_bytes()[..1]);
        self.directory.join(fan).join(pack.to_string())
    }

    fn draft_path(&self, pack: PackId) -> PathBuf {
        let mut path = self.path(pack).into_os_string();
        path.push(".tmp");
        path.into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state changes only after the disk has.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
