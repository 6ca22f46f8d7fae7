//! Turns what a backup has put together into a snapshot that can be found again from its head.
//!
//! The segment lists all packs that earlier ones do not, and lies in the last pack of trees; the
//! record names the segments and lies in a pack of its own; the head names that pack. The two last
//! packs are listed by the next snapshot's segment.

use carryall_core::{
    head::seal_head,
    id::{ChunkId, SnapshotId},
    limits::{PACK_BYTES, SEGMENT_BYTES_MAX},
    record::{
        ChunkRef, HeadRecord, IndexedPack, PackKind, Root, Segment, SegmentRef, SnapshotRecord,
    },
};

use super::{
    BackupError, BackupReport, Context, Request,
    assembler::Assembler,
    pipeline::{Engine, OnPack},
    state::{Listed, State, is_reserved},
};
use crate::{
    catalogue::View,
    scan::{CachedNode, Note, Reason},
};

/// Segments longer than this are left alone: writing them anew would cost more than one more to read.
const MERGED_BYTES_MAX: u64 = SEGMENT_BYTES_MAX as u64 / 4;

/// Reads the folders and publishes what they hold.
pub(super) fn publish(
    context: &Context<'_>,
    request: &Request<'_>,
    before: &State,
    assembler: &mut Assembler<'_>,
    engine: &mut dyn Engine,
    on_pack: OnPack<'_>,
) -> Result<BackupReport, BackupError> {
    engine.read(assembler, on_pack)?;
    let (roots, nodes) = finished_roots(before, assembler);
    if roots.is_empty() {
        return Err(BackupError::NothingRead);
    }
    if let Some(head) = unchanged(context, before, &roots, assembler)? {
        let state = State {
            nodes,
            ..before.clone()
        };
        assembler.commit(on_pack, |batch| Ok(state.store(batch)?))?;
        return report(context, assembler, head, false);
    }
    let mut state = State {
        roots,
        nodes,
        segments: before.segments.clone(),
        snapshot: None,
        generation: assembler.generation(),
    };
    if state.generation != before.generation {
        // A pack that broke must not stay listed.
        state.segments.clear();
    }
    assembler.packs.seal(PackKind::Large);
    assembler.packs.seal(PackKind::Small);
    if assembler.packs.draft_bytes(PackKind::Metadata) > PACK_BYTES / 2 {
        // The segment must begin in the pack that it can't list, whatever its first chunk's length.
        assembler.packs.seal(PackKind::Metadata);
    }
    engine.drive(assembler, on_pack)?;
    assembler.commit(on_pack, |_| Ok(()))?;
    add_segments(context, &mut state, assembler, engine, on_pack)?;
    let head = add_record(request, before, &mut state, assembler, engine, on_pack)?;
    let stale = stale_directories(assembler);
    assembler.commit(on_pack, |batch| {
        batch.put_snapshot(&head)?;
        if let Some(live) = stale {
            batch.retain_directories(|key| is_reserved(key) || live.binary_search(key).is_ok())?;
        }
        Ok(state.store(batch)?)
    })?;
    report(context, assembler, head, true)
}

/// Returns the roots that were walked. One that has gone away stays as it was: a disk that is not
/// plugged in has not been emptied.
fn finished_roots(before: &State, assembler: &mut Assembler<'_>) -> (Vec<Root>, Vec<CachedNode>) {
    let mut roots = Vec::new();
    let mut nodes = Vec::new();
    for walked in std::mem::take(&mut assembler.roots) {
        let old = || {
            let mut known = before.roots.iter().zip(&before.nodes);
            known.find(|(root, _)| root.path == walked.path)
        };
        match (walked.node, walked.is_gone) {
            (Some(node), _) => {
                roots.push(Root {
                    path: walked.path,
                    node: node.node.clone(),
                });
                nodes.push(node);
            }
            (None, true) => {
                if let Some((root, node)) = old() {
                    assembler.note(Note {
                        path: walked.path.clone(),
                        reason: Reason::RootGone,
                    });
                    roots.push(root.clone());
                    nodes.push(node.clone());
                }
            }
            (None, false) => {}
        }
    }
    (roots, nodes)
}

/// Returns the last snapshot's head if this one would be the same.
fn unchanged(
    context: &Context<'_>,
    before: &State,
    roots: &[Root],
    assembler: &Assembler<'_>,
) -> Result<Option<HeadRecord>, BackupError> {
    if assembler.packs.made_any()
        || before.roots != roots
        || before.generation != assembler.generation()
    {
        return Ok(None);
    }
    let last = context.catalogue.snapshots()?.into_iter().next_back();
    Ok(last
        .filter(|row| Some(row.id) == before.snapshot)
        .map(|row| row.head))
}

/// Lists the packs that no segment lists. Small segments are merged into the new one, so that there
/// are never more than a few.
fn add_segments(
    context: &Context<'_>,
    state: &mut State,
    assembler: &mut Assembler<'_>,
    engine: &mut dyn Engine,
    on_pack: OnPack<'_>,
) -> Result<(), BackupError> {
    let view = context.catalogue.view()?;
    let mut from = state.listed_to();
    let to = view.next_ordinal()?;
    while let Some(last) = state.segments.last()
        && last.to - last.from <= 2 * (to - from)
        && content_bytes(&last.segment.content) < MERGED_BYTES_MAX
    {
        from = last.from;
        state.segments.pop();
    }
    let mut stored = Vec::new();
    while from < to {
        let (segment, end) = list(&view, from, to)?;
        if !segment.packs.is_empty() {
            let listed = u32::try_from(segment.packs.len()).map_err(|_| BackupError::Chunk)?;
            let content = assembler.store_metadata(&segment.to_bytes()?, true)?;
            stored.push((content, listed, from, end));
        }
        from = end;
    }
    drop(view);
    assembler.packs.seal(PackKind::Metadata);
    engine.drive(assembler, on_pack)?;
    for (content, listed, from, to) in stored {
        state.segments.push(Listed {
            segment: SegmentRef {
                packs: assembler.packs.packs_with(&content)?,
                content,
                listed,
            },
            from,
            to,
        });
    }
    Ok(())
}

fn content_bytes(content: &[ChunkRef]) -> u64 {
    content.iter().map(|chunk| u64::from(chunk.bytes)).sum()
}

/// Returns a segment of the packs from one ordinal on, and the ordinal at which it ends: at `to`,
/// or where it is large enough.
fn list(view: &View<'_>, from: u32, to: u32) -> Result<(Segment, u32), BackupError> {
    let mut segment = Segment::default();
    let mut bytes = 0;
    let mut at = from;
    while at < to && bytes < SEGMENT_BYTES_MAX / 2 {
        if let (Some(pack), Some(chunks)) = (view.pack(at)?, view.contents(at)?) {
            // An upper bound of the encoding.
            bytes += 128 + 33 * pack.shards.len() + 44 * chunks.len();
            segment.packs.push(IndexedPack { pack, chunks });
        }
        at += 1;
    }
    Ok((segment, at))
}

/// Stores the snapshot's record and returns its head.
fn add_record(
    request: &Request<'_>,
    before: &State,
    state: &mut State,
    assembler: &mut Assembler<'_>,
    engine: &mut dyn Engine,
    on_pack: OnPack<'_>,
) -> Result<HeadRecord, BackupError> {
    let counts = assembler.counts();
    let record = SnapshotRecord {
        version: SnapshotRecord::VERSION,
        time: request.now,
        parent: before.snapshot,
        roots: state.roots.clone(),
        segments: state.segments.iter().map(|l| l.segment.clone()).collect(),
        files: counts.files,
        bytes: counts.bytes,
        unread: assembler.tally.unread,
    };
    let chunk = assembler.store_whole(&record.to_bytes()?, true)?;
    assembler.packs.seal(PackKind::Metadata);
    engine.drive(assembler, on_pack)?;
    let ChunkId(id) = chunk.id;
    state.snapshot = Some(SnapshotId(id));
    Ok(HeadRecord {
        snapshot: SnapshotId(id),
        packs: assembler.packs.packs_with(&[chunk])?,
        content: vec![chunk],
        time: request.now,
        files: counts.files,
        bytes: counts.bytes,
    })
}

/// Returns the keys of all directories that are there, sorted, if any has gone.
fn stale_directories(assembler: &mut Assembler<'_>) -> Option<Vec<[u8; 16]>> {
    assembler.shrank.then(|| {
        let mut live = std::mem::take(&mut assembler.live);
        live.sort_unstable();
        live
    })
}

fn report(
    context: &Context<'_>,
    assembler: &mut Assembler<'_>,
    head: HeadRecord,
    is_new: bool,
) -> Result<BackupReport, BackupError> {
    let epoch = context.keys.epoch().ok_or(BackupError::NoKeys)?;
    let keys = context.keys.head_keys(epoch).ok_or(BackupError::NoKeys)?;
    Ok(BackupReport {
        snapshot: head.snapshot,
        is_new,
        sealed_head: seal_head(&keys, &head)?,
        head,
        counts: assembler.counts(),
        packs: std::mem::take(&mut assembler.packs.committed),
        unread: assembler.tally.unread,
        notes: std::mem::take(&mut assembler.tally.notes),
        noted: assembler.tally.noted,
        took: std::time::Duration::ZERO,
    })
}
