//! Makes a snapshot of folders: scan, read, cut, name, compress, pack, seal, publish.
//!
//! One thread walks and reads ahead, workers name, compress and seal, and the calling thread puts
//! everything in order. No ciphertext of large files is stored: their packs can be rebuilt from the
//! files. A backup that is killed loses at most what was not committed; the next one goes on.

mod assembler;
mod backlog;
mod buffer;
mod packs;
mod pipeline;
mod preview;
mod publish;
mod reader;
pub(crate) mod state;
mod stream;
mod worker;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use carryall_core::{
    chunk::Chunker,
    id::SnapshotId,
    key::VaultKeys,
    record::{HeadRecord, PackKind, PackRecord},
    shard::CodeError,
    time::Timestamp,
    tree::RecordError,
};
use thiserror::Error;

use self::{
    assembler::Assembler,
    buffer::Pool,
    pipeline::{Alone, Engine, Folders, together},
    publish::publish,
    reader::Drawing,
    state::{Remembered, State},
};
pub use crate::scan::{Note, Reason};
use crate::{
    catalogue::{Catalogue, CatalogueError},
    disk::Disk,
    freed::{Freed, FreedError},
    spool::{Spool, SpoolError},
};

/// Read buffers: one being filled, one per worker, and some on the way.
const BUFFERS: usize = 6;
/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// What may be lost of an interrupted backup, in time.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// The parts of a vault that backup, rebuild and restore work with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where the folders are.
    pub disk: &'a dyn Disk,
    /// The vault's own home, which is never saved.
    pub home: &'a Path,
    /// The vault's keys.
    pub keys: &'a VaultKeys,
    /// The index.
    pub catalogue: &'a Catalogue,
    /// Sealed packs that can't be rebuilt.
    pub spool: &'a Spool,
}

/// What to back up and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// All folders and files of the snapshot: absolute paths without symbolic links in them.
    pub roots: &'a [PathBuf],
    /// The time now, which the snapshot bears.
    pub now: Timestamp,
    /// Data shards `k` of new packs of a kind.
    pub data_shards: &'a dyn Fn(PackKind) -> u8,
    /// Whether to make previews of pictures that are new or changed, which takes some 0.1 s of a
    /// processor for each of 12 million pixels.
    pub previews: bool,
    /// How many bytes of pictures that are as they were may be read again for previews that they don't
    /// have yet: those that were saved before there were any, or while none were wanted.
    pub late_bytes: u64,
    /// Worker threads. None: everything happens on the calling thread, in a fixed order.
    pub workers: usize,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files seen.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of content that no pack had yet.
    pub new_bytes: u64,
}

/// Who is told how far a backup is, and may end it.
pub trait Progress {
    /// Takes note, about ten times a second.
    fn update(&self, counts: Counts);
    /// Tells whether the backup shall end now. What is committed stays.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn update(&self, _counts: Counts) {}
}

/// What a backup made.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The snapshot: a new one, or the last one if nothing has changed since.
    pub snapshot: SnapshotId,
    /// Whether it is new.
    pub is_new: bool,
    /// Where it lies.
    pub head: HeadRecord,
    /// The head, sealed, to be published. The same bytes each time for one snapshot.
    pub sealed_head: Vec<u8>,
    /// What was seen and saved.
    pub counts: Counts,
    /// Packs made by this run, metadata included.
    pub packs: Vec<PackRecord>,
    /// Files that are not in the snapshot though they should be.
    pub unread: u64,
    /// What the owner should know about single files: at most a thousand notes.
    pub notes: Vec<Note>,
    /// How many notes there would be.
    pub noted: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why a backup failed. What was committed before stays and is not done again.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There are no folders to save.
    #[error("no folder to back up; name one: carryall backup PATH")]
    NoRoots,
    /// Nothing could be read.
    #[error("none of the folders can be read; no snapshot was made, and the last one stays")]
    NothingRead,
    /// This device has no keys yet.
    #[error("this device has no vault keys yet; recover it or make it with init first")]
    NoKeys,
    /// The vault's disk is full.
    #[error("there is no room left on the disk of the vault; make some and run the backup again")]
    Full,
    /// The owner ended it.
    #[error("the backup was interrupted; the next one goes on from here")]
    Stopped,
    /// The index refused.
    #[error(transparent)]
    Catalogue(CatalogueError),
    /// The spool refused.
    #[error(transparent)]
    Spool(SpoolError),
    /// What was freed can't be told from what was deleted.
    #[error(transparent)]
    Freed(#[from] FreedError),
    /// The snapshot's own records would be larger than anybody reads.
    #[error("the snapshot can't be described: {0}")]
    Record(#[from] RecordError),
    /// A number of data shards that no pack can have.
    #[error("packs can't be cut as asked: {0}")]
    Coding(CodeError),
    /// A chunk that a pack does not take: an error of this program.
    #[error("a chunk does not fit into any pack; nothing was lost, please report this")]
    Chunk,
    /// A thread of the backup ended early: an error of this program.
    #[error("the backup's reader ended early; nothing was lost, please report this")]
    Thread,
}

impl From<CatalogueError> for BackupError {
    fn from(error: CatalogueError) -> Self {
        if error.is_full() {
            Self::Full
        } else {
            Self::Catalogue(error)
        }
    }
}

impl From<SpoolError> for BackupError {
    fn from(error: SpoolError) -> Self {
        match &error {
            SpoolError::Disk(disk) if disk.is_full() => Self::Full,
            _ => Self::Spool(error),
        }
    }
}

/// Makes a snapshot, or finds that nothing has changed. Every pack that is durable or rebuildable
/// from now on is handed to `on_pack`.
pub fn run(
    context: &Context<'_>,
    request: &Request<'_>,
    progress: &dyn Progress,
    on_pack: &mut dyn FnMut(&PackRecord),
) -> Result<BackupReport, BackupError> {
    let began = Instant::now();
    if request.roots.is_empty() {
        return Err(BackupError::NoRoots);
    }
    let pack_keys = context.keys.sealing_keys().ok_or(BackupError::NoKeys)?;
    sweep(context)?;
    let chunk_key = context.keys.chunk_key();
    let chunker = Chunker::new(context.keys);
    let pool = Pool::new(BUFFERS);
    let view = context.catalogue.view()?;
    let state = State::load(&view)?;
    let generation = state::generation(&view)?;
    let worker = worker::Worker {
        disk: context.disk,
        chunk_key: &chunk_key,
        pack_keys: &pack_keys,
        data_shards: [PackKind::Metadata, PackKind::Small, PackKind::Large]
            .map(|kind| (request.data_shards)(kind)),
        previews: request.previews,
        now: request.now,
        known: &view,
        coding: std::sync::Mutex::new(()),
    };
    let folders = Folders {
        disk: context.disk,
        home: context.home,
        roots: request.roots,
        now: request.now,
        chunker: &chunker,
        pool: &pool,
        state: &state,
        drawing: Drawing {
            new: request.previews,
            late_bytes: if request.previews {
                request.late_bytes
            } else {
                0
            },
        },
    };
    let freed = Freed::read(context.disk, context.home)?;
    let memory = Remembered::new(context.catalogue, freed)?;
    let mut assembler = Assembler::new(
        context,
        &chunker,
        &chunk_key,
        &pool,
        generation,
        request.now,
    )?;
    let mut go = |engine: &mut dyn Engine| {
        publish(context, request, &state, &mut assembler, engine, on_pack)
    };
    let mut report = if request.workers == 0 {
        go(&mut Alone::new(&folders, &worker, &memory, progress))?
    } else {
        together(&folders, &worker, &memory, progress, request.workers, go)?
    };
    let back = memory.into_back();
    welcome(context, &back)?;
    report.took = began.elapsed();
    Ok(report)
}

/// Takes freed files that are at their places again off the list, once the snapshot has them from
/// there: if they go now, they were deleted.
fn welcome(context: &Context<'_>, back: &[Vec<u8>]) -> Result<(), BackupError> {
    if back.is_empty() {
        return Ok(());
    }
    let mut freed = Freed::read(context.disk, context.home)?;
    let view = context.catalogue.view()?;
    for path in back {
        let at = path.iter().rposition(|it| *it == b'/').unwrap_or(0);
        let (folder, name) = (&path[..at], &path[at + 1..]);
        let saved = state::directory(&view, folder);
        let mut saved = saved.iter().flat_map(|it| &it.nodes);
        if saved.any(|it| it.node.name == name && it.ino != 0) {
            freed.remove(path);
        }
    }
    Ok(freed.write(context.disk, context.home)?)
}

/// Removes packs from the spool that an interrupted backup left and the catalogue never heard of.
fn sweep(context: &Context<'_>) -> Result<(), BackupError> {
    if context.catalogue.needs_rebuild()? {
        // A catalogue that has been lost knows of nothing yet.
        return Ok(());
    }
    let view = context.catalogue.view()?;
    for (pack, _) in context.spool.list() {
        if view.pack_by_id(pack)?.is_none() {
            context.spool.remove(pack)?;
        }
    }
    Ok(())
}
