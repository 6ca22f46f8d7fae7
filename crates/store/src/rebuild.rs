//! Makes a pack's ciphertext again, from the spool or from the files that it was made of.
//!
//! What comes out is the pack as it was, or nothing comes out: no byte leaves before that is checked, by
//! its synthetic IV where that was remembered, else by its id.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use carryall_core::{
    compression::Compressor,
    id::PackId,
    limits::CHUNK_BYTES_MAX,
    pack::{AddError, PackBuilder},
    record::{PackRecord, PackedChunk},
    shard::{self, CodeError},
};
use thiserror::Error;

use crate::{
    backup::{
        Context,
        state::{generation, set_generation},
    },
    catalogue::{CatalogueError, SourceRun},
    disk::{DiskFile, Open},
    spool::SpoolError,
};

/// Packs kept in memory: several shards of one pack are wanted in a row, by several friends.
const RECENT_MAX: usize = 2;

/// Why a pack can't be made again.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// It is none of ours.
    #[error("there is no pack {0} in the catalogue")]
    Unknown(PackId),
    /// Its source files no longer hold what it was made of.
    #[error("the files that pack {0} was made of have changed")]
    SourceChanged(PackId),
    /// It is neither spooled nor made of files that are here.
    #[error("pack {0} is not on this device")]
    Absent(PackId),
    /// The key of its epoch is not here.
    #[error("the key of epoch {0} is not here")]
    NoKey(u16),
    /// The shard asked for can't exist.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The index refused.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The spool refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Makes packs and shards again and keeps the last few.
#[derive(Debug, Default)]
pub struct Rebuilder {
    recent: Mutex<VecDeque<Arc<Recent>>>,
    /// One pack at a time is made: each takes three times its length in memory meanwhile.
    workshop: Mutex<Workshop>,
    memory: Memory,
}

/// Memory of packs that nobody holds any more, for those that follow: fresh memory costs a page
/// fault every 4 KiB.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

impl Memory {
    fn take(&self) -> Vec<u8> {
        self.idle().pop().unwrap_or_default()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pack's ciphertext. Its memory goes back when the last shard of it was sent.
#[derive(Debug)]
struct Ciphertext {
    bytes: Vec<u8>,
    memory: Memory,
}

impl AsRef<[u8]> for Ciphertext {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Ciphertext {
    fn drop(&mut self) {
        let mut idle = self.memory.idle();
        if idle.len() < RECENT_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[derive(Debug, Default)]
struct Workshop {
    builder: PackBuilder,
    compressor: Compressor,
    raw: Vec<u8>,
}

#[derive(Debug)]
struct Recent {
    record: PackRecord,
    ciphertext: Bytes,
    /// The shards beyond the first `k`, made when one is wanted.
    recovery: OnceLock<Vec<Bytes>>,
}

impl Rebuilder {
    /// Makes a rebuilder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a pack's ciphertext.
    pub fn pack(&self, context: &Context<'_>, pack: PackId) -> Result<Bytes, RebuildError> {
        Ok(self.find(context, pack)?.ciphertext.clone())
    }

    /// Returns one shard of a pack. With `k` = 1 it is the pack itself, and nothing is copied.
    pub fn shard(
        &self,
        context: &Context<'_>,
        pack: PackId,
        index: u8,
    ) -> Result<Bytes, RebuildError> {
        let recent = self.find(context, pack)?;
        let coding = recent.record.coding;
        if index >= coding.n {
            return Err(CodeError::Index.into());
        }
        if coding.k == 1 {
            return Ok(recent.ciphertext.clone());
        }
        if index < coding.k {
            let start = usize::from(index) * coding.shard_bytes as usize;
            let end = start + coding.shard_bytes as usize;
            if end <= recent.ciphertext.len() {
                return Ok(recent.ciphertext.slice(start..end));
            }
            let shard = shard::encode_one(&recent.ciphertext, &coding, index)?;
            return Ok(Bytes::from(shard.into_owned()));
        }
        let recovery = match recent.recovery.get() {
            Some(recovery) => recovery,
            None => {
                let made = recovery_shards(&recent)?;
                recent.recovery.get_or_init(|| made)
            }
        };
        recovery
            .get(usize::from(index - coding.k))
            .cloned()
            .ok_or(CodeError::Index.into())
    }

    /// Lets go of what is kept in memory.
    pub fn clear(&self) {
        self.recent().clear();
        *self.workshop() = Workshop::default();
        self.memory.idle().clear();
    }

    fn find(&self, context: &Context<'_>, pack: PackId) -> Result<Arc<Recent>, RebuildError> {
        if let Some(found) = self.kept(pack) {
            return Ok(found);
        }
        let mut workshop = self.workshop();
        if let Some(found) = self.kept(pack) {
            // Somebody made it while we waited.
            return Ok(found);
        }
        let (ordinal, record) = context
            .catalogue
            .pack_by_id(pack)?
            .ok_or(RebuildError::Unknown(pack))?;
        let ciphertext = match spooled(context, pack)? {
            Some(bytes) => bytes,
            None => workshop.rebuild(context, ordinal, &record, self.memory.take())?,
        };
        let made = Arc::new(Recent {
            record,
            ciphertext: Bytes::from_owner(Ciphertext {
                bytes: ciphertext,
                memory: self.memory.clone(),
            }),
            recovery: OnceLock::new(),
        });
        let mut recent = self.recent();
        if recent.len() >= RECENT_MAX {
            recent.pop_back();
        }
        recent.push_front(Arc::clone(&made));
        Ok(made)
    }

    fn kept(&self, pack: PackId) -> Option<Arc<Recent>> {
        let recent = self.recent();
        recent.iter().find(|kept| kept.record.id == pack).cloned()
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Arc<Recent>>> {
        // Whole packs are pushed and popped, nothing in between.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workshop(&self) -> MutexGuard<'_, Workshop> {
        // Each use begins by clearing what an earlier one may have left.
        self.workshop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a pack from the spool. A damaged one is as good as none.
fn spooled(context: &Context<'_>, pack: PackId) -> Result<Option<Vec<u8>>, RebuildError> {
    match context.spool.get(pack) {
        Err(SpoolError::Damaged(_)) => {
            tracing::warn!(%pack, "a spooled pack is damaged");
            Ok(None)
        }
        got => Ok(got?),
    }
}

fn recovery_shards(recent: &Recent) -> Result<Vec<Bytes>, CodeError> {
    let coding = &recent.record.coding;
    let shards = shard::encode(&recent.ciphertext, coding)?;
    Ok(shards
        .into_iter()
        .skip(usize::from(coding.k))
        .map(|shard| Bytes::from(shard.into_owned()))
        .collect())
}

impl Workshop {
    fn rebuild(
        &mut self,
        context: &Context<'_>,
        ordinal: u32,
        record: &PackRecord,
        memory: Vec<u8>,
    ) -> Result<Vec<u8>, RebuildError> {
        let keys = context
            .keys
            .pack_keys(record.epoch)
            .ok_or(RebuildError::NoKey(record.epoch))?;
        let view = context.catalogue.view()?;
        let (Some(chunks), Some(runs)) = (view.contents(ordinal)?, view.sources(ordinal)?) else {
            return Err(RebuildError::Absent(record.id));
        };
        self.builder.clear();
        self.gather(context, &chunks, &runs)
            .ok_or(RebuildError::SourceChanged(record.id))?;
        let known = (record.id, view.siv(ordinal)?);
        let sealed = self.builder.seal_again(&keys, known, memory);
        sealed.ok_or(RebuildError::SourceChanged(record.id))
    }

    /// Reads all chunks from their files. Nothing if one can't be what it was: gone, unreadable or of
    /// another length makes no difference. Another content shows when the pack is sealed.
    fn gather(
        &mut self,
        context: &Context<'_>,
        chunks: &[PackedChunk],
        runs: &[SourceRun],
    ) -> Option<()> {
        self.raw.resize(CHUNK_BYTES_MAX, 0);
        let mut next = 0;
        let mut open: Option<(&[u8], Box<dyn DiskFile>)> = None;
        for run in runs {
            let first = run.first as usize;
            let wanted = chunks.get(first..first + run.count as usize)?;
            if first != next {
                return None;
            }
            next += wanted.len();
            let file = match open.take() {
                Some((path, file)) if path == run.path => file,
                _ => {
                    let path = Path::new(OsStr::from_bytes(&run.path));
                    context.disk.open(path, Open::Read).ok()?
                }
            };
            let mut offset = run.offset;
            for chunk in wanted {
                self.add(&*file, offset, chunk)?;
                offset += u64::from(chunk.raw_bytes);
            }
            open = Some((&run.path, file));
        }
        (next == chunks.len()).then_some(())
    }

    /// Reads a chunk from its file and adds it.
    fn add(&mut self, file: &dyn DiskFile, offset: u64, chunk: &PackedChunk) -> Option<()> {
        if let Some(room) = self.builder.room_again(chunk).ok()? {
            return read_exact(file, room, offset).ok();
        }
        let raw = self.raw.get_mut(..chunk.raw_bytes as usize)?;
        read_exact(file, raw, offset).ok()?;
        match (self.builder).add_again(chunk, raw, &mut self.compressor) {
            Err(AddError::Encoder) => {
                tracing::warn!("a chunk compresses otherwise than it did");
                None
            }
            added => added.ok(),
        }
    }
}

fn read_exact(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Forgets a pack whose content is gone from here and that friends can't rebuild. Its chunks count
/// as never saved, so the next backup saves whatever files still have them.
pub fn forget_broken(context: &Context<'_>, pack: PackId) -> Result<(), CatalogueError> {
    let broken = generation(&context.catalogue.view()?)?;
    let mut batch = context.catalogue.batch()?;
    batch.remove_pack(pack)?;
    set_generation(&mut batch, broken + 1)?;
    batch.commit()
}
