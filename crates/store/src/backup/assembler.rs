//! Puts everything in order again: chunks into packs, nodes into trees, both into the catalogue.
//!
//! It never waits: it takes items and results as they come, uses what is complete, and says what is
//! to be done next. Nothing durable names a pack before the pack itself is durable or rebuildable,
//! and a directory is remembered only after all packs that its files lie in.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    mem,
};

use carryall_core::{
    chunk::{Chunker, chunk_id},
    compression::Compressor,
    id::{ChunkId, PackId},
    key::ChunkKey,
    pack::PackBuilder,
    record::{ChunkRef, IndexedPack, NodeKind, PackKind, PackRecord, PackedChunk, Tree, TreeNode},
};

use super::{
    BackupError, Context, Counts,
    buffer::Pool,
    reader::Item,
    state::directory_key,
    worker::{Chunked, Done, Seal, Sealed, Task, kind_index},
};
use crate::{
    catalogue::{FileFacts, SourceRun, View},
    scan::{CachedDirectory, CachedNode, Entered, Note, Reason},
    spool::SpoolError,
};

/// Packs being sealed at a time: one per worker. Each takes twice its length in memory.
const SEALS_MAX: usize = 2;
/// What may be lost of an interrupted backup, in bytes of packs.
const COMMIT_BYTES: u64 = 256 << 20;
/// Most memory of directories that wait for their packs. Then packs are sealed though not full.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// Notes kept one by one; the rest is counted.
const NOTES_MAX: usize = 1000;

/// What a backup has done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) new_bytes: u64,
    pub(super) unread: u64,
    pub(super) noted: u64,
    pub(super) notes: Vec<Note>,
}

/// A pack that is being filled.
#[derive(Debug)]
struct Draft {
    number: u64,
    builder: PackBuilder,
    runs: Vec<SourceRun>,
}

/// A pack on its way through a worker.
#[derive(Debug)]
struct InSeal {
    number: u64,
    kind: PackKind,
    runs: Vec<SourceRun>,
}

/// A sealed pack that the catalogue does not have yet.
#[derive(Debug)]
pub(super) struct NewPack {
    pub(super) record: PackRecord,
    chunks: Vec<PackedChunk>,
    /// Where its content can be read again; nothing if its ciphertext is spooled.
    runs: Option<Vec<SourceRun>>,
}

/// A root and what came of it.
#[derive(Debug)]
pub(super) struct WalkedRoot {
    pub(super) path: Vec<u8>,
    pub(super) node: Option<CachedNode>,
    /// Whether there is nothing at its path.
    pub(super) is_gone: bool,
}

/// The file whose chunks are coming.
#[derive(Debug)]
struct OpenFile {
    kind: PackKind,
    path: Vec<u8>,
    facts: FileFacts,
    content: Vec<ChunkRef>,
    offset: u64,
    drafts: BTreeSet<u64>,
}

/// A directory whose names are coming.
#[derive(Debug)]
struct Frame {
    entered: Entered,
    nodes: Vec<CachedNode>,
    changed: bool,
}

/// A directory to be remembered once all packs up to a number are in the catalogue.
#[derive(Debug)]
struct Pending {
    key: [u8; 16],
    bytes: Vec<u8>,
    after: u64,
}

/// The last stage of a backup.
pub(super) struct Assembler<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) chunker: &'a Chunker,
    pub(super) chunk_key: &'a ChunkKey,
    pool: &'a Pool,
    view: View<'a>,
    generation: u64,
    /// Chunks of packs that the catalogue does not have yet.
    fresh: HashSet<ChunkId>,
    items: VecDeque<Item>,
    chunked: BTreeMap<u64, Chunked>,
    /// The job in use and its next chunk.
    current: Option<(Chunked, usize)>,
    next_job: u64,
    /// The roots that were walked; the last one may still be.
    pub(super) roots: Vec<WalkedRoot>,
    file: Option<OpenFile>,
    frames: Vec<Frame>,
    drafts: [Option<Draft>; 3],
    next_draft: u64,
    /// Packs with content that is known to be gone already: they are spooled whatever their kind.
    tainted: BTreeSet<u64>,
    in_seal: VecDeque<InSeal>,
    sealed: BTreeMap<u64, Sealed>,
    idle_builders: Vec<PackBuilder>,
    idle_buffers: Vec<Vec<u8>>,
    compressor: Compressor,
    /// What workers shall do next; to be taken after each call.
    pub(super) tasks: Vec<Task>,
    new_packs: Vec<NewPack>,
    new_packs_bytes: u64,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    pub(super) live: Vec<[u8; 16]>,
    pub(super) shrank: bool,
    pub(super) tally: Tally,
    /// Every pack that this run committed.
    pub(super) committed: Vec<PackRecord>,
}

impl std::fmt::Debug for Assembler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler")
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        chunker: &'a Chunker,
        chunk_key: &'a ChunkKey,
        pool: &'a Pool,
        generation: u64,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            context,
            chunker,
            chunk_key,
            pool,
            view: context.catalogue.view()?,
            generation,
            fresh: HashSet::new(),
            items: VecDeque::new(),
            chunked: BTreeMap::new(),
            current: None,
            next_job: 0,
            roots: Vec::new(),
            file: None,
            frames: Vec::new(),
            drafts: [None, None, None],
            next_draft: 0,
            tainted: BTreeSet::new(),
            in_seal: VecDeque::new(),
            sealed: BTreeMap::new(),
            idle_builders: Vec::new(),
            idle_buffers: Vec::new(),
            compressor: Compressor::new(),
            tasks: Vec::new(),
            new_packs: Vec::new(),
            new_packs_bytes: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            live: Vec::new(),
            shrank: false,
            tally: Tally::default(),
            committed: Vec::new(),
        })
    }

    /// Takes what the reader found.
    pub(super) fn take_items(&mut self, items: Vec<Item>) {
        self.items.extend(items);
    }

    /// Takes what a worker did.
    pub(super) fn take_done(&mut self, done: Done) {
        match done {
            Done::Chunked(chunked) => {
                self.chunked.insert(chunked.number, chunked);
            }
            Done::Sealed(sealed) => {
                self.sealed.insert(sealed.number, *sealed);
            }
        }
    }

    /// Uses all that can be used now. Returns how many items were used up.
    pub(super) fn advance(&mut self) -> Result<usize, BackupError> {
        self.settle()?;
        let mut used = 0;
        while self.in_seal.len() < SEALS_MAX {
            let Some(item) = self.items.pop_front() else {
                break;
            };
            if let Some(rest) = self.use_item(item)? {
                self.items.push_front(rest);
                break;
            }
            used += 1;
        }
        if self.pending_bytes > PENDING_BYTES_MAX {
            self.seal_drafts();
        }
        Ok(used)
    }

    /// Tells whether so much waits for the catalogue that it is time to commit.
    pub(super) const fn wants_commit(&self) -> bool {
        self.new_packs_bytes >= COMMIT_BYTES
    }

    /// Tells whether everything taken is used and every pack sent to a worker is back.
    pub(super) fn is_idle(&self) -> bool {
        self.items.is_empty() && self.in_seal.is_empty()
    }

    /// Tells whether this run made packs, committed or not.
    pub(super) fn made_packs(&self) -> bool {
        !self.committed.is_empty()
            || !self.new_packs.is_empty()
            || !self.in_seal.is_empty()
            || self.drafts.iter().flatten().any(|d| !d.builder.is_empty())
    }

    /// Tells whether packs wait for the catalogue.
    pub(super) const fn has_new_packs(&self) -> bool {
        !self.new_packs.is_empty()
    }

    /// Returns what has been seen and saved so far.
    pub(super) const fn counts(&self) -> Counts {
        Counts {
            files: self.tally.files,
            bytes: self.tally.bytes,
            new_bytes: self.tally.new_bytes,
        }
    }

    /// Returns how many packs had broken when the backup began.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Sends all drafts to be sealed, full or not.
    fn seal_drafts(&mut self) {
        for kind in [PackKind::Large, PackKind::Small, PackKind::Metadata] {
            self.seal_draft(kind);
        }
    }

    /// Returns how full the open pack of a kind is, in bytes.
    pub(super) fn draft_bytes(&self, kind: PackKind) -> usize {
        self.drafts[kind_index(kind)]
            .as_ref()
            .map_or(0, |draft| draft.builder.plain_bytes())
    }

    /// Uses an item, or returns what of it must wait.
    fn use_item(&mut self, item: Item) -> Result<Option<Item>, BackupError> {
        match item {
            Item::Enter(entered) => self.frames.push(Frame {
                changed: entered.content.is_none(),
                entered: *entered,
                nodes: Vec::new(),
            }),
            Item::Leave { shrank } => self.leave(shrank)?,
            Item::Node { node, changed } => {
                if let NodeKind::File { bytes, .. } = &node.node.kind {
                    self.tally.files += 1;
                    self.tally.bytes += bytes;
                }
                self.push_node(node, changed);
            }
            Item::Begin { name, kind, facts } => {
                self.file = Some(self.open_file(&name, kind, facts));
            }
            Item::Chunks(chunks) => {
                let left = self.take_chunks(chunks)?;
                if left > 0 {
                    return Ok(Some(Item::Chunks(left)));
                }
            }
            Item::Withdraw => {
                if let Some(file) = self.file.take() {
                    self.tainted.extend(file.drafts);
                }
            }
            Item::File { node, chunks } => {
                if self.file.is_none() {
                    let facts = facts_of(&node);
                    self.file = Some(self.open_file(&node.node.name, PackKind::Small, facts));
                }
                let left = self.take_chunks(chunks)?;
                if left > 0 {
                    return Ok(Some(Item::File { node, chunks: left }));
                }
                self.end_file(node);
            }
            Item::Root(path) => self.roots.push(WalkedRoot {
                path,
                node: None,
                is_gone: false,
            }),
            Item::Note(note) => {
                let root = self.roots.last_mut().filter(|root| root.path == note.path);
                match root {
                    Some(root) if note.reason == Reason::Vanished => root.is_gone = true,
                    _ => self.note(note),
                }
            }
        }
        Ok(None)
    }

    /// Keeps a note for the owner.
    pub(super) fn note(&mut self, note: Note) {
        if note.reason.is_loss() {
            self.tally.unread += 1;
        }
        self.tally.noted += 1;
        if self.tally.notes.len() < NOTES_MAX {
            self.tally.notes.push(note);
        }
    }

    fn open_file(&self, name: &[u8], kind: PackKind, facts: FileFacts) -> OpenFile {
        let path = match self.frames.last() {
            Some(frame) => [frame.entered.path.as_slice(), name].join(&b'/'),
            None => self
                .roots
                .last()
                .map_or_else(Vec::new, |root| root.path.clone()),
        };
        OpenFile {
            kind,
            path,
            facts,
            content: Vec::new(),
            offset: 0,
            drafts: BTreeSet::new(),
        }
    }

    fn end_file(&mut self, mut node: CachedNode) {
        let content = self.file.take().map(|file| file.content);
        if let NodeKind::File {
            content: into,
            bytes,
            ..
        } = &mut node.node.kind
        {
            *into = content.unwrap_or_default();
            self.tally.files += 1;
            self.tally.bytes += *bytes;
        }
        self.push_node(node, true);
    }

    fn push_node(&mut self, node: CachedNode, changed: bool) {
        match self.frames.last_mut() {
            Some(frame) => {
                frame.nodes.push(node);
                frame.changed |= changed;
            }
            None => {
                if let Some(root) = self.roots.last_mut() {
                    root.node = Some(node);
                }
            }
        }
    }

    /// Adds the next chunks to the open file. Returns how many aren't here yet.
    fn take_chunks(&mut self, mut chunks: usize) -> Result<usize, BackupError> {
        while chunks > 0 && self.in_seal.len() < SEALS_MAX {
            let Some((job, at)) = self.current.take().or_else(|| self.next_chunked()) else {
                break;
            };
            let Some(piece) = job.pieces.get(at) else {
                self.pool.give(job.buffer);
                continue;
            };
            let raw = &job.buffer.bytes[piece.range.clone()];
            if let Some(mut file) = self.file.take() {
                let added = self.add_to_file(&mut file, piece.id, raw, piece.frame.as_deref());
                self.file = Some(file);
                added?;
            }
            chunks -= 1;
            if at + 1 < job.pieces.len() {
                self.current = Some((job, at + 1));
            } else {
                self.pool.give(job.buffer);
            }
        }
        Ok(chunks)
    }

    fn next_chunked(&mut self) -> Option<(Chunked, usize)> {
        let next = self.chunked.remove(&self.next_job)?;
        self.next_job += 1;
        Some((next, 0))
    }

    fn add_to_file(
        &mut self,
        file: &mut OpenFile,
        id: ChunkId,
        raw: &[u8],
        frame: Option<&[u8]>,
    ) -> Result<(), BackupError> {
        let offset = file.offset;
        file.offset += raw.len() as u64;
        file.content.push(ChunkRef {
            id,
            bytes: u32::try_from(raw.len()).map_err(|_| BackupError::Chunk)?,
        });
        if self.knows(&id)? {
            return Ok(());
        }
        self.tally.new_bytes += raw.len() as u64;
        let draft = self.add(file.kind, id, raw, frame)?;
        file.drafts.insert(draft.number);
        let index = draft.builder.chunks().len() - 1;
        let index = u32::try_from(index).map_err(|_| BackupError::Chunk)?;
        match draft.runs.last_mut() {
            Some(run)
                if run.path == file.path
                    && run.facts == file.facts
                    && run.first + run.count == index
                    && run_end(run, draft.builder.chunks()) == offset =>
            {
                run.count += 1;
            }
            _ => draft.runs.push(SourceRun {
                path: file.path.clone(),
                facts: file.facts,
                offset,
                first: index,
                count: 1,
            }),
        }
        Ok(())
    }

    fn knows(&self, id: &ChunkId) -> Result<bool, BackupError> {
        Ok(self.fresh.contains(id) || self.view.find_chunk(id)?.is_some())
    }

    /// Adds a chunk to the open pack of its kind, beginning another one if it is full.
    fn add(
        &mut self,
        kind: PackKind,
        id: ChunkId,
        raw: &[u8],
        frame: Option<&[u8]>,
    ) -> Result<&mut Draft, BackupError> {
        let stored = frame.unwrap_or(raw);
        let at = kind_index(kind);
        if self.drafts[at]
            .as_ref()
            .is_some_and(|draft| !draft.builder.fits(stored.len()))
        {
            self.seal_draft(kind);
        }
        self.fresh.insert(id);
        if self.drafts[at].is_none() {
            let number = self.next_draft;
            self.next_draft += 1;
            self.drafts[at] = Some(Draft {
                number,
                builder: self.idle_builders.pop().unwrap_or_default(),
                runs: Vec::new(),
            });
        }
        let draft = self.drafts[at].as_mut().ok_or(BackupError::Chunk)?;
        draft
            .builder
            .add(id, raw.len(), stored)
            .map_err(|_| BackupError::Chunk)?;
        Ok(draft)
    }

    /// Sends the open pack of a kind to be sealed, full or not.
    pub(super) fn seal_draft(&mut self, kind: PackKind) {
        let Some(draft) = self.drafts[kind_index(kind)].take() else {
            return;
        };
        self.in_seal.push_back(InSeal {
            number: draft.number,
            kind,
            runs: draft.runs,
        });
        self.tasks.push(Task::Seal(Seal {
            number: draft.number,
            kind,
            builder: draft.builder,
            buffer: self.idle_buffers.pop().unwrap_or_default(),
        }));
    }

    /// Stores metadata as chunks of metadata packs. `again` stores them even if they are known, so
    /// that they lie in packs of this moment.
    pub(super) fn store_metadata(
        &mut self,
        bytes: &[u8],
        again: bool,
    ) -> Result<Vec<ChunkRef>, BackupError> {
        let mut content = Vec::new();
        let mut rest = bytes;
        while let Some(length) = self.chunker.cut(rest, true) {
            let (raw, after) = rest.split_at(length);
            rest = after;
            let id = chunk_id(self.chunk_key, raw);
            content.push(ChunkRef {
                id,
                bytes: u32::try_from(raw.len()).map_err(|_| BackupError::Chunk)?,
            });
            if !again && self.knows(&id)? {
                continue;
            }
            let mut compressor = mem::take(&mut self.compressor);
            let stored = compressor.store(raw);
            let frame = (stored.len() < raw.len()).then_some(stored);
            let added = self.add(PackKind::Metadata, id, raw, frame).map(|_| ());
            self.compressor = compressor;
            added?;
        }
        Ok(content)
    }

    /// Stores metadata as one chunk.
    pub(super) fn store_whole(&mut self, raw: &[u8]) -> Result<ChunkRef, BackupError> {
        let id = chunk_id(self.chunk_key, raw);
        self.add(PackKind::Metadata, id, raw, None)?;
        Ok(ChunkRef {
            id,
            bytes: u32::try_from(raw.len()).map_err(|_| BackupError::Chunk)?,
        })
    }

    fn leave(&mut self, shrank: bool) -> Result<(), BackupError> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let Frame {
            entered,
            nodes,
            changed,
        } = frame;
        self.shrank |= shrank;
        let key = directory_key(&entered.path);
        self.live.push(key);
        let is_same = !changed && !shrank;
        let content = match entered.content {
            Some(content) if is_same => content,
            _ => {
                let tree = Tree {
                    nodes: nodes.iter().map(|node| node.node.clone()).collect(),
                };
                let Ok(bytes) = tree.to_bytes() else {
                    self.note(Note {
                        path: entered.path,
                        reason: Reason::TooLarge,
                    });
                    return Ok(());
                };
                self.store_metadata(&bytes, false)?
            }
        };
        if !is_same || entered.stale {
            self.remember(key, &content, nodes);
        }
        let node = TreeNode {
            kind: NodeKind::Directory { content },
            ..entered.node
        };
        let is_new = entered.before.as_ref() != Some(&node);
        let node = CachedNode {
            node,
            ctime_ns: entered.ctime_ns,
            ino: entered.ino,
            settled: true,
        };
        self.push_node(node, is_new);
        Ok(())
    }

    /// Prepares a directory to be remembered.
    fn remember(&mut self, key: [u8; 16], content: &[ChunkRef], nodes: Vec<CachedNode>) {
        let bytes = CachedDirectory {
            generation: self.generation,
            content: content.to_vec(),
            nodes,
        }
        .to_bytes();
        self.pending_bytes += bytes.len();
        self.pending.push_back(Pending {
            key,
            bytes,
            after: self.next_draft,
        });
    }

    /// Takes sealed packs in the order in which they were sent to be sealed.
    fn settle(&mut self) -> Result<(), BackupError> {
        while let Some(first) = self.in_seal.front() {
            let Some(sealed) = self.sealed.remove(&first.number) else {
                break;
            };
            let Some(first) = self.in_seal.pop_front() else {
                break;
            };
            self.settle_one(first, sealed)?;
        }
        Ok(())
    }

    fn settle_one(&mut self, in_seal: InSeal, sealed: Sealed) -> Result<(), BackupError> {
        let record = sealed.record.map_err(BackupError::Coding)?;
        let tainted = self.tainted.contains(&in_seal.number);
        let spooled = match in_seal.kind {
            PackKind::Metadata => {
                self.context
                    .spool
                    .put_always(record.id, &sealed.pack.bytes)?;
                true
            }
            PackKind::Large if !tainted => false,
            // No room is no failure: the sources are still there.
            PackKind::Small | PackKind::Large => self.spool(record.id, &sealed.pack.bytes)?,
        };
        self.new_packs_bytes += u64::from(record.bytes);
        self.new_packs.push(NewPack {
            record,
            chunks: sealed.pack.chunks,
            runs: (!spooled).then_some(in_seal.runs),
        });
        self.idle_builders.push(sealed.builder);
        self.idle_buffers.push(sealed.pack.bytes);
        Ok(())
    }

    fn spool(&self, pack: PackId, bytes: &[u8]) -> Result<bool, BackupError> {
        match self.context.spool.put(pack, bytes) {
            Ok(()) => Ok(true),
            Err(SpoolError::Full { .. }) => Ok(false),
            Err(SpoolError::Disk(error)) if error.is_full() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts what is ready into the catalogue, durably, and hands the new packs to `on_pack`.
    pub(super) fn commit(
        &mut self,
        on_pack: &mut dyn FnMut(&PackRecord),
        with: impl FnOnce(&mut crate::catalogue::Batch<'_>) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.context.spool.sync()?;
        let mut batch = self.context.catalogue.batch()?;
        let mut packs = Vec::new();
        for pack in mem::take(&mut self.new_packs) {
            let indexed = IndexedPack {
                pack: pack.record,
                chunks: pack.chunks,
            };
            let ordinal = batch.put_pack(&indexed)?;
            if let Some(runs) = &pack.runs {
                batch.put_sources(ordinal, runs)?;
            }
            packs.push(indexed);
        }
        let first_open = self.first_open();
        let ready = self
            .pending
            .iter()
            .take_while(|pending| pending.after <= first_open)
            .count();
        let ready: Vec<Pending> = self.pending.drain(..ready).collect();
        batch.put_directories(ready.iter().map(|p| (&p.key, Some(p.bytes.as_slice()))))?;
        with(&mut batch)?;
        batch.commit()?;
        self.pending_bytes -= ready.iter().map(|p| p.bytes.len()).sum::<usize>();
        self.new_packs_bytes = 0;
        self.view = self.context.catalogue.view()?;
        for indexed in packs {
            for chunk in &indexed.chunks {
                self.fresh.remove(&chunk.id);
            }
            on_pack(&indexed.pack);
            self.committed.push(indexed.pack);
        }
        Ok(())
    }

    /// Returns the number of the first pack that is not sealed yet.
    fn first_open(&self) -> u64 {
        let drafts = self.drafts.iter().flatten().map(|draft| draft.number);
        let sealing = self.in_seal.iter().map(|seal| seal.number);
        drafts.chain(sealing).min().unwrap_or(self.next_draft)
    }

    /// Returns the records of the packs that hold these chunks, each once.
    pub(super) fn packs_with(&self, content: &[ChunkRef]) -> Result<Vec<PackRecord>, BackupError> {
        let mut packs: Vec<PackRecord> = Vec::new();
        for chunk in content {
            let new = self
                .new_packs
                .iter()
                .rev()
                .find(|pack| pack.chunks.iter().any(|packed| packed.id == chunk.id))
                .map(|pack| pack.record.clone());
            let record = match (new, self.view.find_chunk(&chunk.id)?) {
                (Some(record), _) => Some(record),
                (None, Some(place)) => self.view.pack(place.pack)?,
                (None, None) => None,
            };
            let record = record.ok_or(BackupError::Chunk)?;
            if packs.iter().all(|pack| pack.id != record.id) {
                packs.push(record);
            }
        }
        Ok(packs)
    }
}

fn facts_of(node: &CachedNode) -> FileFacts {
    let bytes = match &node.node.kind {
        NodeKind::File { bytes, .. } => *bytes,
        _ => 0,
    };
    FileFacts {
        bytes,
        mtime_ns: node.node.mtime_ns,
        ctime_ns: node.ctime_ns,
        ino: node.ino,
    }
}

/// Returns the offset in its file at which a run ends.
fn run_end(run: &SourceRun, chunks: &[PackedChunk]) -> u64 {
    let range = run.first as usize..(run.first + run.count) as usize;
    let bytes: u64 = chunks
        .get(range)
        .unwrap_or_default()
        .iter()
        .map(|chunk| u64::from(chunk.raw_bytes))
        .sum();
    run.offset + bytes
}
