//! The work that takes time: naming and compressing chunks, previews of pictures, sealing packs and naming
//! their shards.

use std::{
    collections::BTreeMap,
    io::Cursor,
    ops::Range,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc::Receiver},
};

use carryall_core::{
    chunk::chunk_id,
    compression::Compressor,
    id::{ChunkId, ShardId},
    key::{ChunkKey, PackKeys},
    pack::{PackBuilder, SealedPack},
    record::{Coding, PackKind, PackRecord},
    shard::{CodeError, shard_ids},
    time::Timestamp,
};

use super::{
    buffer::Buffer,
    preview::preview,
    reader::{Job, Whole, is_as_it_was},
    stream::Stream,
};
use crate::{
    catalogue::View,
    disk::{Disk, Metadata, Open},
};

/// One thing to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Name and compress chunks.
    Chunk(Job),
    /// Draw a preview of a file that is not in memory.
    Draw(Draw),
    /// Seal a pack.
    Seal(Seal),
}

/// A file that may be a picture.
#[derive(Debug)]
pub(super) struct Draw {
    /// Position among the files of this run that are read again.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// As it was when it was saved.
    pub(super) metadata: Metadata,
}

/// A pack to be sealed.
#[derive(Debug)]
pub(super) struct Seal {
    /// Position among the packs of this run.
    pub(super) number: u64,
    pub(super) kind: PackKind,
    /// When the newest file in it was changed, in ns; nothing for metadata.
    pub(super) newest_ns: Option<i128>,
    pub(super) builder: PackBuilder,
    /// Becomes the ciphertext.
    pub(super) buffer: Vec<u8>,
}

/// One thing done.
#[derive(Debug)]
pub(super) enum Done {
    Chunked(Chunked),
    /// The preview with this number, if there is one.
    Drawn(u64, Option<Vec<u8>>),
    Sealed(Box<Sealed>),
}

/// The chunks of a job.
#[derive(Debug)]
pub(super) struct Chunked {
    pub(super) number: u64,
    pub(super) buffer: Buffer,
    pub(super) pieces: Vec<Piece>,
    /// Previews of pictures, by the first chunk of each.
    pub(super) previews: BTreeMap<usize, Vec<u8>>,
}

/// A named chunk.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) id: ChunkId,
    /// Where its content lies in the buffer.
    pub(super) range: Range<usize>,
    /// The frame to store instead of the content.
    pub(super) frame: Option<Box<[u8]>>,
}

/// A sealed pack and the builder that it came from, emptied.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) number: u64,
    pub(super) builder: PackBuilder,
    pub(super) pack: SealedPack,
    /// Fails only for a coding that nobody asks for.
    pub(super) record: Result<PackRecord, CodeError>,
}

/// What the work needs to know.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) chunk_key: &'a ChunkKey,
    pub(super) pack_keys: &'a PackKeys,
    /// Data shards by kind of pack: metadata, small, large.
    pub(super) data_shards: [u8; 3],
    /// Whether to make previews of pictures.
    pub(super) previews: bool,
    pub(super) now: Timestamp,
    /// The catalogue at the beginning: known chunks are not compressed again.
    pub(super) known: &'a View<'a>,
    /// Coding a pack takes memory: one at a time.
    pub(super) coding: Mutex<()>,
}

impl Worker<'_> {
    /// Does tasks until there are no more, or nobody wants the results.
    pub(super) fn work(
        &self,
        tasks: &Mutex<Receiver<Task>>,
        report: &impl Fn(Done) -> Result<(), ()>,
    ) {
        let mut compressor = Compressor::new();
        loop {
            // The lock is held while waiting; the others would wait for the same thing.
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(task) = task else { return };
            if report(self.perform(task, &mut compressor)).is_err() {
                return;
            }
        }
    }

    /// Does one task.
    pub(super) fn perform(&self, task: Task, compressor: &mut Compressor) -> Done {
        match task {
            Task::Chunk(job) => Done::Chunked(self.chunk(job, compressor)),
            Task::Draw(draw) => Done::Drawn(draw.number, self.draw(&draw)),
            Task::Seal(seal) => Done::Sealed(Box::new(self.seal(seal))),
        }
    }

    /// Draws a preview of a file, unless it is another one by now.
    fn draw(&self, draw: &Draw) -> Option<Vec<u8>> {
        let file = self.disk.open(&draw.path, Open::Read).ok()?;
        let drawn = preview(Stream::new(&*file))?;
        is_as_it_was(&file.metadata().ok()?, &draw.metadata).then_some(drawn)
    }

    fn previews(&self, job: &Job) -> BTreeMap<usize, Vec<u8>> {
        if !self.previews {
            return BTreeMap::new();
        }
        let drawn = |at, file| Some((at, preview(Cursor::new(&job.buffer.bytes[file]))?));
        match job.whole {
            Whole::EachChunk => {
                let files = job.cuts.iter().cloned().enumerate();
                files.filter_map(|(at, file)| drawn(at, file)).collect()
            }
            Whole::All => drawn(0, 0..job.buffer.used).into_iter().collect(),
            Whole::Nothing => BTreeMap::new(),
        }
    }

    fn chunk(&self, job: Job, compressor: &mut Compressor) -> Chunked {
        let previews = self.previews(&job);
        let pieces = job
            .cuts
            .into_iter()
            .map(|range| {
                let raw = &job.buffer.bytes[range.clone()];
                let id = chunk_id(self.chunk_key, raw);
                // A failing catalogue shows where it matters; here it only saves work.
                let is_known = matches!(self.known.find_chunk(&id), Ok(Some(_)));
                let frame = if is_known {
                    None
                } else {
                    let stored = compressor.store(raw);
                    (stored.len() < raw.len()).then(|| stored.into())
                };
                Piece { id, range, frame }
            })
            .collect();
        Chunked {
            number: job.number,
            buffer: job.buffer,
            pieces,
            previews,
        }
    }

    fn seal(&self, seal: Seal) -> Sealed {
        let mut builder = seal.builder;
        let pack = builder.seal(self.pack_keys, seal.buffer);
        let record = self.record(&pack, seal.kind, seal.newest_ns);
        Sealed {
            number: seal.number,
            builder,
            pack,
            record,
        }
    }

    fn record(
        &self,
        pack: &SealedPack,
        kind: PackKind,
        newest_ns: Option<i128>,
    ) -> Result<PackRecord, CodeError> {
        let k = self.data_shards[kind_index(kind)];
        let coding = Coding::new(k, pack.bytes.len())?;
        let shards = if coding.k == 1 {
            vec![ShardId(*pack.id.as_bytes())]
        } else {
            let _one_at_a_time = self.coding.lock().unwrap_or_else(PoisonError::into_inner);
            shard_ids(&pack.bytes, &coding)?
        };
        Ok(PackRecord {
            id: pack.id,
            epoch: pack.epoch,
            kind,
            bytes: u32::try_from(pack.bytes.len()).map_err(|_| CodeError::Coding)?,
            made: self.now,
            newest: newest_ns.map_or(self.now, |ns| time_of(ns).min(self.now)),
            coding,
            shards,
        })
    }
}

/// Returns a file's time in milliseconds; before 1970 is 1970.
fn time_of(ns: i128) -> Timestamp {
    Timestamp(u64::try_from((ns / 1_000_000).max(0)).unwrap_or(u64::MAX))
}

/// Where a kind of pack stands in arrays.
pub(super) const fn kind_index(kind: PackKind) -> usize {
    match kind {
        PackKind::Metadata => 0,
        PackKind::Small => 1,
        PackKind::Large => 2,
    }
}
