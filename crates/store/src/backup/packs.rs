//! The packs of one backup: being filled, being sealed, waiting for the catalogue.
//!
//! Nothing durable names a pack before its ciphertext is durable or its sources are recorded.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    iter, mem,
};

use carryall_core::{
    id::{ChunkId, PackId},
    pack::{PackBuilder, Siv},
    record::{ChunkRef, IndexedPack, PackKind, PackRecord, PackedChunk},
    time::{Span, Timestamp},
};

use super::{
    BackupError, Context,
    worker::{Seal, Sealed, Task, kind_index},
};
use crate::{
    catalogue::{Batch, FileFacts, SourceRun, View},
    spool::SpoolError,
};

/// Content of files that were changed so shortly before the backup goes into packs of its own: it is
/// what goes to friends first, and would else take ten times as much old content with it.
const RECENT: Span = Span::hours(24);
/// Packs that are open at a time: one of each kind, and one more of each kind of recent files.
const DRAFTS: usize = 5;

/// Packs being sealed at a time: one per worker. Each takes twice its length in memory.
const SEALS_MAX: usize = 2;

/// Where a chunk was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) path: &'a [u8],
    pub(super) facts: FileFacts,
    pub(super) offset: u64,
}

/// A pack that is being filled.
#[derive(Debug)]
struct Draft {
    number: u64,
    builder: PackBuilder,
    runs: Vec<SourceRun>,
    newest_ns: Option<i128>,
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
    /// Where its content can be read again, and what it shall come to then; nothing if its ciphertext is
    /// spooled.
    sources: Option<(Vec<SourceRun>, Siv)>,
}

/// All packs of a backup.
pub(super) struct Packs<'a> {
    context: &'a Context<'a>,
    /// The catalogue as of the last commit.
    view: View<'a>,
    /// Chunks of packs that the catalogue does not have yet.
    fresh: HashSet<ChunkId>,
    drafts: [Option<Draft>; DRAFTS],
    /// Files changed since then are recent, in ns.
    recent_ns: i128,
    next_draft: u64,
    /// Packs with content that is known to be gone already: they are spooled whatever their kind.
    tainted: BTreeSet<u64>,
    in_seal: VecDeque<InSeal>,
    sealed: BTreeMap<u64, Sealed>,
    idle_builders: Vec<PackBuilder>,
    idle_buffers: Vec<Vec<u8>>,
    /// What workers shall do next; to be taken after each call.
    pub(super) tasks: Vec<Task>,
    new: Vec<NewPack>,
    new_bytes: u64,
    /// Every pack that the catalogue has got from this backup.
    pub(super) committed: Vec<PackRecord>,
}

impl<'a> Packs<'a> {
    pub(super) fn new(context: &'a Context<'a>, now: Timestamp) -> Result<Self, BackupError> {
        Ok(Self {
            context,
            view: context.catalogue.view()?,
            fresh: HashSet::new(),
            drafts: [const { None }; DRAFTS],
            recent_ns: i128::from(now.0.saturating_sub(RECENT.0)) * 1_000_000,
            next_draft: 0,
            tainted: BTreeSet::new(),
            in_seal: VecDeque::new(),
            sealed: BTreeMap::new(),
            idle_builders: Vec::new(),
            idle_buffers: Vec::new(),
            tasks: Vec::new(),
            new: Vec::new(),
            new_bytes: 0,
            committed: Vec::new(),
        })
    }

    /// Takes a pack that a worker has sealed.
    pub(super) fn take_sealed(&mut self, sealed: Sealed) {
        self.sealed.insert(sealed.number, sealed);
    }

    /// Tells whether as many packs are being sealed as memory allows.
    pub(super) fn is_busy(&self) -> bool {
        self.in_seal.len() >= SEALS_MAX
    }

    /// Tells whether any pack is being sealed.
    pub(super) fn is_sealing(&self) -> bool {
        !self.in_seal.is_empty()
    }

    /// Tells whether there are any packs, in whatever state.
    pub(super) fn made_any(&self) -> bool {
        !self.committed.is_empty()
            || !self.new.is_empty()
            || !self.in_seal.is_empty()
            || self.drafts.iter().flatten().any(|d| !d.builder.is_empty())
    }

    /// Returns how many bytes of packs wait for the catalogue.
    pub(super) const fn new_bytes(&self) -> u64 {
        self.new_bytes
    }

    /// Returns the number that the next pack gets.
    pub(super) const fn next_number(&self) -> u64 {
        self.next_draft
    }

    /// Notes that content of these packs is gone already.
    pub(super) fn taint(&mut self, numbers: BTreeSet<u64>) {
        self.tainted.extend(numbers);
    }

    /// Sends all drafts to be sealed, full or not.
    pub(super) fn seal_all(&mut self) {
        for kind in [PackKind::Large, PackKind::Small, PackKind::Metadata] {
            self.seal(kind);
        }
    }

    /// Returns how full the open packs of a kind are, in bytes.
    pub(super) fn draft_bytes(&self, kind: PackKind) -> usize {
        slots(kind)
            .filter_map(|slot| self.drafts[slot].as_ref())
            .map(|draft| draft.builder.plain_bytes())
            .sum()
    }

    /// Tells whether a chunk is in a pack already.
    pub(super) fn knows(&self, id: &ChunkId) -> Result<bool, BackupError> {
        Ok(self.fresh.contains(id) || self.view.find_chunk(id)?.is_some())
    }

    /// Adds a chunk of a file, noting where it came from. Returns the number of its pack.
    pub(super) fn add_from(
        &mut self,
        kind: PackKind,
        id: ChunkId,
        content: (&[u8], Option<&[u8]>),
        origin: Origin<'_>,
    ) -> Result<u64, BackupError> {
        let mtime_ns = origin.facts.mtime_ns;
        let draft = self.add(kind, Some(mtime_ns), id, content.0, content.1)?;
        draft.newest_ns = draft.newest_ns.max(Some(mtime_ns));
        let index = draft.builder.chunks().len() - 1;
        let index = u32::try_from(index).map_err(|_| BackupError::Chunk)?;
        match draft.runs.last_mut() {
            Some(run)
                if run.path == origin.path
                    && run.facts == origin.facts
                    && run.first + run.count == index
                    && run_end(run, draft.builder.chunks()) == origin.offset =>
            {
                run.count += 1;
            }
            _ => draft.runs.push(SourceRun {
                path: origin.path.to_vec(),
                facts: origin.facts,
                offset: origin.offset,
                first: index,
                count: 1,
            }),
        }
        Ok(draft.number)
    }

    /// Adds a chunk of metadata.
    pub(super) fn add_metadata(
        &mut self,
        id: ChunkId,
        raw: &[u8],
        frame: Option<&[u8]>,
    ) -> Result<(), BackupError> {
        self.add(PackKind::Metadata, None, id, raw, frame).map(drop)
    }

    /// Adds a chunk to the open pack of its kind and age, beginning another one if it is full.
    fn add(
        &mut self,
        kind: PackKind,
        mtime_ns: Option<i128>,
        id: ChunkId,
        raw: &[u8],
        frame: Option<&[u8]>,
    ) -> Result<&mut Draft, BackupError> {
        let stored = frame.unwrap_or(raw);
        let at = slot(kind, mtime_ns.is_some_and(|ns| ns >= self.recent_ns));
        if self.drafts[at]
            .as_ref()
            .is_some_and(|draft| !draft.builder.fits(stored.len()))
        {
            self.seal_slot(kind, at);
        }
        self.fresh.insert(id);
        if self.drafts[at].is_none() {
            let number = self.next_draft;
            self.next_draft += 1;
            self.drafts[at] = Some(Draft {
                number,
                builder: self.idle_builders.pop().unwrap_or_default(),
                runs: Vec::new(),
                newest_ns: None,
            });
        }
        let draft = self.drafts[at].as_mut().ok_or(BackupError::Chunk)?;
        draft
            .builder
            .add(id, raw.len(), stored)
            .map_err(|_| BackupError::Chunk)?;
        Ok(draft)
    }

    /// Sends the open packs of a kind to be sealed, full or not.
    pub(super) fn seal(&mut self, kind: PackKind) {
        for at in slots(kind) {
            self.seal_slot(kind, at);
        }
    }

    fn seal_slot(&mut self, kind: PackKind, at: usize) {
        let Some(draft) = self.drafts[at].take() else {
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
            newest_ns: draft.newest_ns,
            builder: draft.builder,
            buffer: self.idle_buffers.pop().unwrap_or_default(),
        }));
    }

    /// Takes sealed packs in the order in which they were sent to be sealed.
    pub(super) fn settle(&mut self) -> Result<(), BackupError> {
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
        self.new_bytes += u64::from(record.bytes);
        self.new.push(NewPack {
            record,
            chunks: sealed.pack.chunks,
            sources: (!spooled).then_some((in_seal.runs, sealed.pack.siv)),
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

    /// Adds all new packs to a batch, their ciphertexts being durable. To be followed by
    /// [`Self::stored`] once the batch is durable too.
    pub(super) fn store(&mut self, batch: &mut Batch<'_>) -> Result<Vec<IndexedPack>, BackupError> {
        let mut packs = Vec::new();
        for pack in mem::take(&mut self.new) {
            let indexed = IndexedPack {
                pack: pack.record,
                chunks: pack.chunks,
            };
            let ordinal = batch.put_pack(&indexed)?;
            if let Some((runs, siv)) = &pack.sources {
                batch.put_sources(ordinal, runs)?;
                batch.put_siv(ordinal, *siv)?;
            }
            packs.push(indexed);
        }
        self.new_bytes = 0;
        Ok(packs)
    }

    /// Takes note that the catalogue has these packs, and hands them on.
    pub(super) fn stored(
        &mut self,
        packs: Vec<IndexedPack>,
        on_pack: &mut dyn FnMut(&PackRecord),
    ) -> Result<(), BackupError> {
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
    pub(super) fn first_open(&self) -> u64 {
        let drafts = self.drafts.iter().flatten().map(|draft| draft.number);
        let sealing = self.in_seal.iter().map(|seal| seal.number);
        drafts.chain(sealing).min().unwrap_or(self.next_draft)
    }

    /// Returns the records of the packs that hold these chunks, each once.
    pub(super) fn packs_with(&self, content: &[ChunkRef]) -> Result<Vec<PackRecord>, BackupError> {
        let mut packs: Vec<PackRecord> = Vec::new();
        for chunk in content {
            let new = self
                .new
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

/// Where the open pack of a kind and age stands.
const fn slot(kind: PackKind, is_recent: bool) -> usize {
    match (kind, is_recent) {
        (PackKind::Small, true) => 3,
        (PackKind::Large, true) => 4,
        _ => kind_index(kind),
    }
}

/// Where the open packs of a kind stand.
fn slots(kind: PackKind) -> impl Iterator<Item = usize> {
    let (old, recent) = (slot(kind, false), slot(kind, true));
    iter::once(old).chain((recent != old).then_some(recent))
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
