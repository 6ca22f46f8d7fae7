//! Reading a stretch of a file in a snapshot: made here where that can be, else from friends in reach,
//! and from them only the parts that hold it.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carryall_core::{
    event::Command,
    id::{ChunkId, PackId, SnapshotId},
    pack::{OpenPack, PackReader, stored_range},
    record::{ChunkRef, NodeKind, PackRecord, PackedChunk},
    strip::strips,
};
use carryall_store::browse::{BrowseError, Library};
use tokio::{sync::OnceCell, time::timeout};

use super::{Engine, EngineError, backup::context, blocking, locked, restore::Job};
use crate::{
    api::{path, snapshot::ReadQuery},
    driver::Part,
};

/// How long to wait for what friends in reach are asked to show.
const PATIENCE: Duration = Duration::from_secs(15);
/// Plain bytes of chunks that are kept for the next read.
const KEPT_BYTES_MAX: usize = 128 << 20;
/// Files and packs that are remembered.
const KEPT_MAX: usize = 256;
/// Chunks that are brought ahead of whoever reads a file from its beginning to its end.
const CHUNKS_AHEAD: usize = 3;
/// Longest stretch that is read at a time, in bytes.
const STRETCH_BYTES_MAX: u64 = 8 << 20;

type Chunk = Arc<OnceCell<Arc<Vec<u8>>>>;

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct Looking {
    files: VecDeque<(Looked, Arc<Content>)>,
    chunks: VecDeque<(ChunkRef, Chunk)>,
    readers: VecDeque<(PackId, Arc<PackReader>)>,
}

/// What was looked at: a file in a snapshot, or its preview.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Looked {
    snapshot: SnapshotId,
    path: String,
    preview: bool,
}

/// The chunks of a file or of its preview.
#[derive(Debug)]
struct Content {
    bytes: u64,
    chunks: Vec<(u64, ChunkRef)>,
    /// Where the last read ended.
    ended: AtomicU64,
}

impl Looking {
    fn chunk(&mut self, wanted: &ChunkRef) -> Chunk {
        if let Some((_, chunk)) = self.chunks.iter().find(|(it, _)| it.id == wanted.id) {
            return chunk.clone();
        }
        let chunk = Chunk::default();
        self.chunks.push_back((*wanted, chunk.clone()));
        let mut bytes: usize = self.chunks.iter().map(|(it, _)| it.bytes as usize).sum();
        while bytes > KEPT_BYTES_MAX
            && let Some((oldest, _)) = self.chunks.pop_front()
        {
            bytes -= oldest.bytes as usize;
        }
        chunk
    }
}

/// Where a chunk lies.
#[derive(Clone, Debug)]
struct Place {
    pack: PackRecord,
    lines: Arc<Vec<PackedChunk>>,
    position: usize,
}

impl Engine {
    /// Reads a stretch of a file in a snapshot; less at its end.
    pub async fn read(&self, query: ReadQuery) -> Result<Vec<u8>, EngineError> {
        let job = self.job(None).await?;
        let content = self.content(&job, &query).await?;
        let bytes = query.bytes.min(STRETCH_BYTES_MAX);
        let end = query.offset.saturating_add(bytes).min(content.bytes);
        let before = content.ended.swap(end, Ordering::Relaxed);
        if query.offset >= end {
            return Ok(Vec::new());
        }
        let first = content
            .chunks
            .partition_point(|(start, _)| *start <= query.offset)
            - 1;
        let last = content.chunks.partition_point(|(start, _)| *start < end);
        if query.offset == 0 || query.offset == before {
            for (_, chunk) in content.chunks.iter().skip(last).take(CHUNKS_AHEAD) {
                let (engine, job, chunk) = (self.clone(), job.clone(), *chunk);
                // Whoever needs it says what went wrong.
                tokio::spawn(async move { engine.chunk(&job, &chunk).await.map(drop) });
            }
        }
        let mut read = Vec::with_capacity(usize::try_from(end - query.offset).unwrap_or(0));
        for (start, chunk) in &content.chunks[first..last] {
            let plain = self.chunk(&job, chunk).await?;
            let from = query.offset.saturating_sub(*start);
            let to = (end - start).min(u64::from(chunk.bytes));
            let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
            let stretch = range.and_then(|(from, to)| plain.get(from..to));
            read.extend_from_slice(stretch.ok_or(EngineError::Gone)?);
        }
        Ok(read)
    }

    /// Returns the chunks of a file, or of its preview.
    async fn content(&self, job: &Job, query: &ReadQuery) -> Result<Arc<Content>, EngineError> {
        let id = match SnapshotId::from_hex(&query.snapshot) {
            Some(id) => id,
            None => self.find_snapshot(&query.snapshot).await?,
        };
        let looked = Looked {
            snapshot: id,
            path: query.path.clone(),
            preview: query.preview,
        };
        let known = {
            let looking = locked(&self.0.looking);
            let mut files = looking.files.iter();
            files
                .find(|(known, _)| *known == looked)
                .map(|(_, content)| content.clone())
        };
        if let Some(content) = known {
            return Ok(content);
        }
        let (at, preview) = (path::to_bytes(&query.path), query.preview);
        let read = move |library: &Library<'_>| {
            let record = library.snapshot(id)?;
            let mut found = library.select(&record, &at)?;
            match found.pop().map(|node| node.kind) {
                Some(NodeKind::File {
                    preview: Some(chunk),
                    ..
                }) if preview => {
                    // Its pack is brought for good: those beside it will be looked at too.
                    let drawn = library.preview(chunk)?;
                    Ok((u64::from(chunk.bytes), vec![chunk], Some(drawn)))
                }
                Some(NodeKind::File { bytes, content, .. }) if !preview => {
                    Ok((bytes, content, None))
                }
                _ => Err(BrowseError::NoPath(at.clone()).into()),
            }
        };
        let (bytes, chunks, drawn) = self.browse(job, read).await?;
        if let (Some(drawn), [chunk]) = (drawn, &chunks[..]) {
            // If somebody was quicker, it is the same.
            let _ = locked(&self.0.looking).chunk(chunk).set(Arc::new(drawn));
        }
        let mut start = 0;
        let chunks = chunks.into_iter().map(|chunk| {
            let at = start;
            start += u64::from(chunk.bytes);
            (at, chunk)
        });
        let content = Arc::new(Content {
            chunks: chunks.collect(),
            bytes: bytes.min(start),
            ended: AtomicU64::new(u64::MAX),
        });
        let mut looking = locked(&self.0.looking);
        looking.files.push_back((looked, content.clone()));
        if looking.files.len() > KEPT_MAX {
            looking.files.pop_front();
        }
        Ok(content)
    }

    /// Returns a chunk, brought here once however many ask for it.
    async fn chunk(&self, job: &Job, wanted: &ChunkRef) -> Result<Arc<Vec<u8>>, EngineError> {
        let chunk = locked(&self.0.looking).chunk(wanted);
        let brought = chunk.get_or_try_init(|| async {
            let place = self.place(job, wanted.id).await?;
            if let Some(plain) = self.made_here(job, &place).await? {
                return Ok(Arc::new(plain));
            }
            self.shown(job, &place).await.map(Arc::new)
        });
        brought.await.cloned()
    }

    async fn place(&self, job: &Job, chunk: ChunkId) -> Result<Place, EngineError> {
        let store = job.world.store.clone();
        blocking(move || {
            let view = store.catalogue.view()?;
            let lost = || EngineError::from(BrowseError::Lost(chunk));
            let at = view.find_chunk(&chunk)?.ok_or_else(lost)?;
            Ok(Place {
                pack: view.pack(at.pack)?.ok_or_else(lost)?,
                lines: Arc::new(view.contents(at.pack)?.ok_or_else(lost)?),
                position: at.index as usize,
            })
        })
        .await
    }

    /// Returns a chunk that this device can make itself.
    async fn made_here(&self, job: &Job, place: &Place) -> Result<Option<Vec<u8>>, EngineError> {
        let (job, place) = (job.clone(), place.clone());
        blocking(move || {
            let context = context(&job.world.store, &job.keys);
            let Ok(ciphertext) = job.world.rebuilder.pack(&context, place.pack.id) else {
                // Friends have it, then.
                return Ok(None);
            };
            let epoch = place.pack.epoch;
            let keys = job.keys.pack_keys(epoch).ok_or(BrowseError::NoKey(epoch))?;
            let opened = OpenPack::open(&keys, ciphertext.into());
            let chunk =
                opened.and_then(|it| Ok(it.chunk(&job.keys.chunk_key(), place.position)?.to_vec()));
            Ok(Some(chunk.map_err(|source| BrowseError::Open {
                pack: place.pack.id,
                source,
            })?))
        })
        .await
    }

    /// Returns a chunk by the parts of its pack that friends show.
    async fn shown(&self, job: &Job, place: &Place) -> Result<Vec<u8>, EngineError> {
        let pack = &place.pack;
        let damaged = |source| BrowseError::Open {
            pack: pack.id,
            source,
        };
        let reader = self.reader(job, pack).await?;
        let lost = || BrowseError::Lost(place.lines[place.position].id);
        let plain = stored_range(&place.lines, place.position).ok_or_else(lost)?;
        let sealed = reader.sealed_range(&plain).ok_or_else(lost)?;
        let sealed = self.sealed(job, pack, sealed).await?;
        let (key, line) = (job.keys.chunk_key(), place.lines[place.position]);
        let stored = reader.open(&plain, sealed).map_err(damaged)?;
        Ok(PackReader::chunk(&key, &line, &stored).map_err(damaged)?)
    }

    async fn reader(&self, job: &Job, pack: &PackRecord) -> Result<Arc<PackReader>, EngineError> {
        let known = |looking: &Looking| {
            let mut readers = looking.readers.iter();
            let found = readers.find(|(id, _)| *id == pack.id);
            found.map(|(_, reader)| reader.clone())
        };
        if let Some(reader) = known(&locked(&self.0.looking)) {
            return Ok(reader);
        }
        let preamble = self
            .sealed(job, pack, 0..PackReader::PREAMBLE_BYTES)
            .await?;
        let keys = (job.keys.pack_keys(pack.epoch)).ok_or(BrowseError::NoKey(pack.epoch))?;
        let reader = PackReader::new(&keys, pack.bytes as usize, &preamble);
        let reader = Arc::new(reader.map_err(|source| BrowseError::Open {
            pack: pack.id,
            source,
        })?);
        let mut looking = locked(&self.0.looking);
        looking.readers.push_back((pack.id, reader.clone()));
        if looking.readers.len() > KEPT_MAX {
            looking.readers.pop_front();
        }
        Ok(reader)
    }

    /// Returns a stretch of a pack's ciphertext.
    async fn sealed(
        &self,
        job: &Job,
        pack: &PackRecord,
        range: Range<usize>,
    ) -> Result<Vec<u8>, EngineError> {
        let (id, inbox) = (pack.id, &job.world.inbox);
        let near = inbox.look(move |node, now| node.readable(id, now)).await?;
        let strips = strips(&pack.coding, &range, &near).ok_or_else(|| {
            let nobody = "nobody in reach has that part; retrace says whom to meet";
            EngineError::OutOfReach(nobody.to_owned())
        })?;
        let mut wanted = BTreeMap::new();
        for strip in &strips {
            for index in &strip.from {
                let shard = pack.shards.get(usize::from(*index));
                let shard = *shard.ok_or(EngineError::Gone)?;
                let groups = strip.groups.clone();
                wanted.extend(groups.map(|group| ((*index, group), (shard, group))));
            }
        }
        let shown = self.parts(job, wanted).await?;
        let part = |index, group| shown.get(&(index, group)).map(Vec::as_slice);
        let mut read = Vec::with_capacity(range.len());
        for strip in &strips {
            read.extend(strip.make(&pack.coding, part).ok_or(EngineError::Gone)?);
        }
        Ok(read)
    }

    /// Waits for parts that friends in reach are asked for, by index and group.
    async fn parts(
        &self,
        job: &Job,
        wanted: BTreeMap<(u8, u32), Part>,
    ) -> Result<BTreeMap<(u8, u32), Vec<u8>>, EngineError> {
        let world = &job.world;
        let parts: Vec<Part> = wanted.values().copied().collect();
        let waiting = wanted.into_iter();
        let waiting = waiting.map(|(place, part)| (place, world.parts.wait(part)));
        let waiting: Vec<_> = waiting.collect();
        let read = Command::Read {
            parts: parts.clone(),
        };
        world.inbox.command(read).await??;
        let shown = timeout(PATIENCE, async {
            let mut shown = BTreeMap::new();
            for (place, data) in waiting {
                shown.insert(place, data.await.map_err(|_| EngineError::Gone)?);
            }
            Ok(shown)
        });
        if let Ok(shown) = shown.await {
            return shown;
        }
        let parts = world.parts.given_up(&parts);
        world.inbox.command(Command::StopRead { parts }).await??;
        let slow = "those in reach did not show that part in time".to_owned();
        Err(EngineError::OutOfReach(slow))
    }
}
