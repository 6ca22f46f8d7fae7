//! Puts everything in order again: chunks into packs, nodes into trees, both into the catalogue.
//!
//! It never waits: it takes items and results as they come, uses what is complete, and says what is
//! to be done next. Nothing durable names a pack before the pack itself is durable or rebuildable,
//! and a directory is remembered only after all packs that its files lie in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use carryall_core::{
    chunk::{Chunker, chunk_id},
    compression::Compressor,
    id::ChunkId,
    key::ChunkKey,
    record::{ChunkRef, NodeKind, PackKind, PackRecord, Tree, TreeNode},
    time::Timestamp,
};

use super::{
    BackupError, Context, Counts,
    buffer::Pool,
    packs::{Origin, Packs},
    reader::Item,
    state::directory_key,
    worker::{Chunked, Done},
};
use crate::{
    catalogue::{Batch, FileFacts},
    scan::{CachedDirectory, CachedNode, Entered, Note, Reason},
};

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
    preview: Option<Vec<u8>>,
    /// The packs that its chunks went into.
    packs: BTreeSet<u64>,
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
    context: &'a Context<'a>,
    chunker: &'a Chunker,
    chunk_key: &'a ChunkKey,
    pool: &'a Pool,
    generation: u64,
    /// The packs.
    pub(super) packs: Packs<'a>,
    items: VecDeque<Item>,
    chunked: BTreeMap<u64, Chunked>,
    /// Previews by number, until their files come.
    drawn: BTreeMap<u64, Option<Vec<u8>>>,
    /// The job in use and its next chunk.
    current: Option<(Chunked, usize)>,
    next_job: u64,
    /// The roots that were walked; the last one may still be.
    pub(super) roots: Vec<WalkedRoot>,
    file: Option<OpenFile>,
    frames: Vec<Frame>,
    compressor: Compressor,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// All packs below this number were sent to be sealed because too much is pending.
    flush_to: Option<u64>,
    /// Keys of all directories that were walked.
    pub(super) live: Vec<[u8; 16]>,
    /// Whether names have gone since the last walk.
    pub(super) shrank: bool,
    pub(super) tally: Tally,
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
        now: Timestamp,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            context,
            chunker,
            chunk_key,
            pool,
            generation,
            packs: Packs::new(context, now)?,
            items: VecDeque::new(),
            chunked: BTreeMap::new(),
            drawn: BTreeMap::new(),
            current: None,
            next_job: 0,
            roots: Vec::new(),
            file: None,
            frames: Vec::new(),
            compressor: Compressor::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            flush_to: None,
            live: Vec::new(),
            shrank: false,
            tally: Tally::default(),
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
            Done::Drawn(number, preview) => {
                self.drawn.insert(number, preview);
            }
            Done::Sealed(sealed) => self.packs.take_sealed(*sealed),
        }
    }

    /// Uses all that can be used now. Returns how many items were used up.
    pub(super) fn advance(&mut self) -> Result<usize, BackupError> {
        self.packs.settle()?;
        let mut used = 0;
        while !self.packs.is_busy() {
            let Some(item) = self.items.pop_front() else {
                break;
            };
            if let Some(rest) = self.use_item(item)? {
                self.items.push_front(rest);
                break;
            }
            used += 1;
        }
        if self.pending_bytes > PENDING_BYTES_MAX && self.flush_to.is_none() {
            self.packs.seal_all();
            self.flush_to = Some(self.packs.next_number());
        }
        Ok(used)
    }

    /// Tells whether so much waits for the catalogue that it is time to commit.
    pub(super) fn wants_commit(&self) -> bool {
        self.packs.new_bytes() >= COMMIT_BYTES
            || self
                .flush_to
                .is_some_and(|to| self.packs.first_open() >= to)
    }

    /// Tells whether everything taken is used and every pack sent to a worker is back.
    pub(super) fn is_idle(&self) -> bool {
        self.items.is_empty() && !self.packs.is_sealing()
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

    /// Uses an item, or returns what of it must wait.
    fn use_item(&mut self, item: Item) -> Result<Option<Item>, BackupError> {
        match item {
            Item::Enter(entered) => self.frames.push(Frame {
                changed: entered.content.is_none(),
                entered: *entered,
                nodes: Vec::new(),
            }),
            Item::Leave {
                shrank,
                undrawn_from,
            } => self.leave(shrank, undrawn_from)?,
            Item::Node { node, changed } => self.use_node(node, changed),
            Item::Undrawn { mut node, drawing } => {
                let Some(drawn) = self.drawn.remove(&drawing) else {
                    return Ok(Some(Item::Undrawn { node, drawing }));
                };
                let is_drawn = drawn.is_some();
                self.add_preview(&mut node, drawn)?;
                self.use_node(node, is_drawn);
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
                    self.packs.taint(file.packs);
                }
            }
            Item::File {
                node,
                chunks,
                drawing,
            } => {
                if self.file.is_none() {
                    let facts = facts_of(&node);
                    self.file = Some(self.open_file(&node.node.name, PackKind::Small, facts));
                }
                let left = self.take_chunks(chunks)?;
                let is_waiting = drawing.is_some_and(|it| !self.drawn.contains_key(&it));
                if left > 0 || is_waiting {
                    return Ok(Some(Item::File {
                        node,
                        chunks: left,
                        drawing,
                    }));
                }
                self.end_file(node, drawing)?;
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
            preview: None,
            packs: BTreeSet::new(),
        }
    }

    fn end_file(&mut self, mut node: CachedNode, drawing: Option<u64>) -> Result<(), BackupError> {
        let (content, drawn) = match self.file.take() {
            Some(file) => (file.content, file.preview),
            None => (Vec::new(), None),
        };
        let later = drawing.and_then(|number| self.drawn.remove(&number).flatten());
        self.add_preview(&mut node, drawn.or(later))?;
        if let NodeKind::File { content: into, .. } = &mut node.node.kind {
            *into = content;
        }
        self.use_node(node, true);
        Ok(())
    }

    /// Puts a file's preview into a pack and into its node.
    fn add_preview(
        &mut self,
        node: &mut CachedNode,
        drawn: Option<Vec<u8>>,
    ) -> Result<(), BackupError> {
        if let (NodeKind::File { preview, .. }, Some(drawn)) = (&mut node.node.kind, drawn) {
            *preview = Some(self.store_whole(&drawn, false)?);
        }
        Ok(())
    }

    /// Counts what is finished, and puts it into its directory.
    fn use_node(&mut self, node: CachedNode, changed: bool) {
        if let NodeKind::File { bytes, .. } = &node.node.kind {
            self.tally.files += 1;
            self.tally.bytes += bytes;
        }
        self.push_node(node, changed);
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
        while chunks > 0 && !self.packs.is_busy() {
            let Some((mut job, at)) = self.current.take().or_else(|| self.next_chunked()) else {
                break;
            };
            let preview = job.previews.remove(&at);
            let Some(piece) = job.pieces.get(at) else {
                self.pool.give(job.buffer);
                continue;
            };
            let raw = &job.buffer.bytes[piece.range.clone()];
            if let Some(mut file) = self.file.take() {
                file.preview = file.preview.or(preview);
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
        if self.packs.knows(&id)? {
            return Ok(());
        }
        self.tally.new_bytes += raw.len() as u64;
        let origin = Origin {
            path: &file.path,
            facts: file.facts,
            offset,
        };
        let number = self.packs.add_from(file.kind, id, (raw, frame), origin)?;
        file.packs.insert(number);
        Ok(())
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
            if !again && self.packs.knows(&id)? {
                continue;
            }
            let stored = self.compressor.store(raw);
            let frame = (stored.len() < raw.len()).then_some(stored);
            self.packs.add_metadata(id, raw, frame)?;
        }
        Ok(content)
    }

    /// Stores metadata as one chunk. `again` as above.
    pub(super) fn store_whole(&mut self, raw: &[u8], again: bool) -> Result<ChunkRef, BackupError> {
        let id = chunk_id(self.chunk_key, raw);
        if again || !self.packs.knows(&id)? {
            self.packs.add_metadata(id, raw, None)?;
        }
        Ok(ChunkRef {
            id,
            bytes: u32::try_from(raw.len()).map_err(|_| BackupError::Chunk)?,
        })
    }

    fn leave(&mut self, shrank: bool, undrawn_from: Option<Vec<u8>>) -> Result<(), BackupError> {
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
        if !is_same || entered.stale || entered.undrawn_from != undrawn_from {
            self.remember(key, &content, nodes, undrawn_from);
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
    fn remember(
        &mut self,
        key: [u8; 16],
        content: &[ChunkRef],
        nodes: Vec<CachedNode>,
        undrawn_from: Option<Vec<u8>>,
    ) {
        let bytes = CachedDirectory {
            generation: self.generation,
            content: content.to_vec(),
            nodes,
            undrawn_from,
        }
        .to_bytes();
        self.pending_bytes += bytes.len();
        self.pending.push_back(Pending {
            key,
            bytes,
            after: self.packs.next_number(),
        });
    }

    /// Puts what is ready into the catalogue, durably, and hands the new packs to `on_pack`.
    pub(super) fn commit(
        &mut self,
        on_pack: &mut dyn FnMut(&PackRecord),
        with: impl FnOnce(&mut Batch<'_>) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.context.spool.sync()?;
        let mut batch = self.context.catalogue.batch()?;
        let packs = self.packs.store(&mut batch)?;
        let first_open = self.packs.first_open();
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
        self.flush_to = None;
        self.packs.stored(packs, on_pack)
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
