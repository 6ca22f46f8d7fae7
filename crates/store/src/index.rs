//! Learns an index from what is sealed: after a recovery, or when the catalogue is lost.
//!
//! From a head to its record, from the record to its segments, from these to every pack and chunk,
//! and along the parents to older snapshots. Each step may need metadata packs that only friends
//! have: they are named, and once they are kept here the same call goes on.

use std::collections::BTreeMap;

use carryall_core::{
    id::{ChunkId, PackId, SnapshotId},
    pack::{OpenError, OpenPack, pack_id},
    record::{
        ChunkRef, HeadRecord, IndexedPack, NodeKind, PackKind, PackRecord, Segment, SegmentRef,
        SnapshotRecord,
    },
};

use crate::{
    backup::{
        Context,
        state::{Listed, State},
    },
    browse::{BrowseError, Library, open_local},
    catalogue::{Batch, FileFacts, SourceRun, View},
    scan::CachedNode,
};

/// What an attempt to learn came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Whether the snapshot can be restored now, given its packs.
    pub is_usable: bool,
    /// Metadata packs to be brought here, with [`keep`], before calling again. None: nothing more
    /// can be learnt.
    pub absent: Vec<PackRecord>,
}

/// Keeps a metadata pack that a friend brought. Durable after the spool is synced.
///
/// # Errors
/// [`BrowseError::Open`] if the bytes are not that pack.
pub fn keep(context: &Context<'_>, pack: PackId, ciphertext: &[u8]) -> Result<(), BrowseError> {
    if pack_id(ciphertext) != pack {
        let source = OpenError::Damaged;
        return Err(BrowseError::Open { pack, source });
    }
    Ok(context.spool.put_always(pack, ciphertext)?)
}

/// Learns a snapshot and those before it from a head.
pub fn learn(context: &Context<'_>, head: &HeadRecord) -> Result<Learnt, BrowseError> {
    if !is_known(context, head.snapshot)? {
        let absent = learn_head(context, head)?;
        if !absent.is_empty() {
            let is_usable = false;
            return Ok(Learnt { is_usable, absent });
        }
    }
    learn_parents(context, head)?;
    Ok(Learnt {
        is_usable: true,
        absent: Library::new(context)?.absent()?,
    })
}

/// Learns everything anew from the heads of this device's own feed, oldest first. The catalogue
/// must have been emptied before the first call; it is complete once nothing is absent.
pub fn rebuild(context: &Context<'_>, heads: &[HeadRecord]) -> Result<Learnt, BrowseError> {
    let mut learnt = Learnt {
        is_usable: true,
        absent: Vec::new(),
    };
    // The newest knows all packs; the others are most often among its parents.
    for head in heads.iter().rev() {
        learnt = learn(context, head)?;
        if !learnt.absent.is_empty() {
            return Ok(learnt);
        }
    }
    if let Some(head) = heads.last() {
        let library = Library::new(context)?;
        let record = library.snapshot(head.snapshot)?;
        learn_sources(context, &library, &record)?;
        let mut batch = context.catalogue.batch()?;
        for root in &record.roots {
            batch.remember_root(&root.path, head.time)?;
        }
        batch.commit()?;
    }
    let mut batch = context.catalogue.batch()?;
    batch.complete()?;
    batch.commit()?;
    Ok(learnt)
}

fn is_known(context: &Context<'_>, snapshot: SnapshotId) -> Result<bool, BrowseError> {
    let rows = context.catalogue.snapshots()?;
    Ok(rows.iter().any(|row| row.id == snapshot))
}

/// Metadata packs that are here, opened.
#[derive(Default)]
struct OpenPacks(Vec<(PackRecord, OpenPack)>);

impl OpenPacks {
    /// Opens packs; returns those that are not here.
    fn open(
        &mut self,
        context: &Context<'_>,
        packs: &[PackRecord],
    ) -> Result<Vec<PackRecord>, BrowseError> {
        let mut absent = Vec::new();
        for record in packs {
            match open_local(context, record)? {
                Some(pack) => self.0.push((record.clone(), pack)),
                None => absent.push(record.clone()),
            }
        }
        Ok(absent)
    }

    fn content(&self, context: &Context<'_>, content: &[ChunkRef]) -> Result<Vec<u8>, BrowseError> {
        let key = context.keys.chunk_key();
        let mut bytes = Vec::new();
        for chunk in content {
            let mut found = self
                .0
                .iter()
                .filter_map(|(record, pack)| Some((record, pack, pack.position(&chunk.id)?)));
            let (record, pack, position) = found.next().ok_or(BrowseError::Lost(chunk.id))?;
            let raw = pack.chunk(&key, position);
            bytes.extend_from_slice(&raw.map_err(|source| BrowseError::Open {
                pack: record.id,
                source,
            })?);
        }
        Ok(bytes)
    }

    /// Adds what a segment would say about these packs: none lists the packs that it lies in.
    fn list_into(&self, unlisted: &mut Vec<IndexedPack>) {
        for (record, pack) in &self.0 {
            if unlisted.iter().all(|known| known.pack.id != record.id) {
                unlisted.push(IndexedPack {
                    pack: record.clone(),
                    chunks: pack.chunks().to_vec(),
                });
            }
        }
    }
}

/// Learns all packs that a head leads to. Returns packs that are needed first, having changed
/// nothing then.
fn learn_head(context: &Context<'_>, head: &HeadRecord) -> Result<Vec<PackRecord>, BrowseError> {
    let mut packs = OpenPacks::default();
    let absent = packs.open(context, &head.packs)?;
    if !absent.is_empty() {
        return Ok(absent);
    }
    let record = SnapshotRecord::from_bytes(&packs.content(context, &head.content)?)?;
    let absent: Vec<PackRecord> = record
        .segments
        .iter()
        .flat_map(|segment| &segment.packs)
        .filter(|pack| !context.spool.contains(pack.id))
        .cloned()
        .collect();
    if !absent.is_empty() {
        return Ok(absent);
    }
    let view = context.catalogue.view()?;
    let mut next = view.next_ordinal()?;
    let began_empty = next == 0;
    drop(view);
    let mut state = State {
        snapshot: Some(head.snapshot),
        nodes: record
            .roots
            .iter()
            .map(|root| unsettled(&root.node))
            .collect(),
        roots: record.roots.clone(),
        segments: Vec::new(),
        generation: 0,
    };
    let mut batch = context.catalogue.batch()?;
    let mut unlisted = Vec::new();
    for segment in record.segments {
        let mut packs = OpenPacks::default();
        let absent = packs.open(context, &segment.packs)?;
        if !absent.is_empty() {
            // A spooled pack turned out to be damaged.
            return Ok(absent);
        }
        let (from, to) = learn_segment(context, &packs, &segment, &mut batch, next)?;
        next = to;
        state.segments.push(Listed { segment, from, to });
        packs.list_into(&mut unlisted);
    }
    packs.list_into(&mut unlisted);
    for pack in &unlisted {
        batch.put_pack(pack)?;
    }
    batch.put_snapshot(head)?;
    if began_empty {
        state.store(&mut batch)?;
    }
    batch.commit()?;
    Ok(Vec::new())
}

/// Learns the packs that a segment lists. Returns the range of ordinals that they got, given that
/// the next one is `next`.
fn learn_segment(
    context: &Context<'_>,
    packs: &OpenPacks,
    segment: &SegmentRef,
    batch: &mut Batch<'_>,
    next: u32,
) -> Result<(u32, u32), BrowseError> {
    let listed = Segment::from_bytes(&packs.content(context, &segment.content)?)?;
    let mut to = next;
    for pack in &listed.packs {
        let ordinal = batch.put_pack(pack)?;
        to = to.max(ordinal.saturating_add(1));
    }
    Ok((next, to))
}

fn unsettled(node: &carryall_core::record::TreeNode) -> CachedNode {
    CachedNode {
        node: node.clone(),
        ctime_ns: 0,
        ino: 0,
        settled: false,
    }
}

/// Learns the snapshots before a known one, as far as their records are here.
fn learn_parents(context: &Context<'_>, head: &HeadRecord) -> Result<(), BrowseError> {
    let library = Library::new(context)?;
    let mut found = Vec::new();
    let mut next = match library.snapshot(head.snapshot) {
        Ok(record) => record.parent,
        Err(BrowseError::Absent(_)) => None,
        Err(error) => return Err(error),
    };
    while let Some(parent) = next {
        let Some(head) = parent_head(&library, parent)? else {
            break;
        };
        next = match library.content(&head.content) {
            Ok(bytes) => {
                let record = SnapshotRecord::from_bytes(&bytes)?;
                found.push(HeadRecord {
                    time: record.time,
                    files: record.files,
                    bytes: record.bytes,
                    ..head
                });
                record.parent
            }
            Err(BrowseError::Absent(_) | BrowseError::Lost(_)) => None,
            Err(error) => return Err(error),
        };
    }
    drop(library);
    let mut batch = context.catalogue.batch()?;
    for head in &found {
        batch.put_snapshot(head)?;
    }
    Ok(batch.commit()?)
}

/// Makes the head of an older snapshot from what the index knows; its record is one chunk.
fn parent_head(
    library: &Library<'_>,
    snapshot: SnapshotId,
) -> Result<Option<HeadRecord>, BrowseError> {
    let chunk = ChunkId(*snapshot.as_bytes());
    let Some((pack, bytes)) = library.place_of(&chunk)? else {
        return Ok(None);
    };
    Ok(Some(HeadRecord {
        snapshot,
        content: vec![ChunkRef { id: chunk, bytes }],
        packs: vec![pack],
        time: carryall_core::time::Timestamp(0),
        files: 0,
        bytes: 0,
    }))
}

/// A chunk of a pack and where it can be read again.
type Found = BTreeMap<u32, (u32, u64)>;

/// Finds out where packs that are not spooled can be read again: in the files of a snapshot.
fn learn_sources(
    context: &Context<'_>,
    library: &Library<'_>,
    snapshot: &SnapshotRecord,
) -> Result<(), BrowseError> {
    let view = context.catalogue.view()?;
    let mut wanted: BTreeMap<u32, Found> = BTreeMap::new();
    for (ordinal, pack) in view.packs()? {
        if pack.kind != PackKind::Metadata && !context.spool.contains(pack.id) {
            wanted.insert(ordinal, BTreeMap::new());
        }
    }
    let mut files: Vec<(Vec<u8>, FileFacts)> = Vec::new();
    for root in &snapshot.roots {
        let name = [b"/", root.node.name.as_slice()].concat();
        let mut failed = None;
        library.walk(snapshot, &name, &mut |path, node| {
            let NodeKind::File { bytes, content, .. } = &node.kind else {
                return true;
            };
            let file = u32::try_from(files.len()).unwrap_or(u32::MAX);
            match find_chunks(&view, content, file, &mut wanted) {
                Ok(false) => true,
                Ok(true) => {
                    let below = path.get(name.len()..).unwrap_or_default();
                    let path = [root.path.as_slice(), below].concat();
                    let facts = FileFacts {
                        bytes: *bytes,
                        mtime_ns: node.mtime_ns,
                        ctime_ns: 0,
                        ino: 0,
                    };
                    files.push((path, facts));
                    true
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let mut batch = context.catalogue.batch()?;
    for (ordinal, found) in wanted {
        let chunks = view.contents(ordinal)?.unwrap_or_default();
        if found.len() == chunks.len() {
            batch.put_sources(ordinal, &runs(&found, &files))?;
        }
    }
    Ok(batch.commit()?)
}

/// Notes where the chunks of a file are wanted. Tells whether any is.
fn find_chunks(
    view: &View<'_>,
    content: &[ChunkRef],
    file: u32,
    wanted: &mut BTreeMap<u32, Found>,
) -> Result<bool, BrowseError> {
    let mut offset = 0;
    let mut any = false;
    for chunk in content {
        if let Some(place) = view.find_chunk(&chunk.id)?
            && let Some(found) = wanted.get_mut(&place.pack)
        {
            found.entry(place.index).or_insert_with(|| {
                any = true;
                (file, offset)
            });
        }
        offset += u64::from(chunk.bytes);
    }
    Ok(any)
}

/// Returns one run for each chunk, in order.
fn runs(found: &Found, files: &[(Vec<u8>, FileFacts)]) -> Vec<SourceRun> {
    found
        .iter()
        .filter_map(|(&first, &(file, offset))| {
            let (path, facts) = files.get(file as usize)?;
            Some(SourceRun {
                path: path.clone(),
                facts: *facts,
                offset,
                first,
                count: 1,
            })
        })
        .collect()
}
