//! Looks into snapshots without restoring them: trees, names, and where content lies.
//!
//! All metadata packs stay in the spool for good: they are small, and with them lists, searches and
//! plans work without a friend in reach. What isn't here any more is named, so that it can be fetched.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use carryall_core::{
    id::{ChunkId, PackId, SnapshotId},
    key::ChunkKey,
    pack::{OpenError, OpenPack},
    record::{
        ChunkRef, HeadRecord, NodeKind, PackKind, PackRecord, SnapshotRecord, Tree, TreeNode,
    },
    tree::RecordError,
};
use thiserror::Error;

use crate::{
    backup::Context,
    catalogue::{CatalogueError, View},
    freed::FreedError,
    spool::SpoolError,
};

/// Opened metadata packs kept in memory.
const OPEN_MAX: usize = 3;

/// Why something in a snapshot can't be looked at.
#[derive(Debug, Error)]
pub enum BrowseError {
    /// The folder lists are not on this device. These packs have them.
    #[error("the snapshot's folder lists are not on this device; friends have them")]
    Absent(Vec<PackRecord>),
    /// No pack has a chunk of it.
    #[error("part of the snapshot's folder lists is in no pack that is known here")]
    Lost(ChunkId),
    /// There is no such snapshot.
    #[error("there is no snapshot {}; `carryall snapshots` lists them", .0.short())]
    NoSnapshot(SnapshotId),
    /// There is no such path in the snapshot.
    #[error("there is no {} in that snapshot", .0.escape_ascii())]
    NoPath(Vec<u8>),
    /// The key of an epoch is not here.
    #[error("the key of epoch {0} is not here")]
    NoKey(u16),
    /// A metadata pack can't be opened.
    #[error("metadata pack {} can't be opened: {source}", pack.short())]
    Open {
        /// The pack.
        pack: PackId,
        /// Why.
        source: OpenError,
    },
    /// A record is not as it was written.
    #[error("a record of the snapshot is damaged: {0}")]
    Record(#[from] RecordError),
    /// The index refused.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The spool refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What was freed is not known.
    #[error(transparent)]
    Freed(#[from] FreedError),
}

impl BrowseError {
    /// Tells whether what was asked for is nowhere, while the rest may be fine.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// What snapshots hold, by the catalogue and the spool.
#[derive(Debug)]
pub struct Library<'a> {
    context: Context<'a>,
    view: View<'a>,
    chunk_key: ChunkKey,
    open: Mutex<VecDeque<Arc<Opened>>>,
}

#[derive(Debug)]
struct Opened {
    id: PackId,
    pack: OpenPack,
    positions: BTreeMap<ChunkId, usize>,
}

impl<'a> Library<'a> {
    /// Opens the library as it is now.
    pub fn new(context: &Context<'a>) -> Result<Self, BrowseError> {
        Ok(Self {
            context: *context,
            view: context.catalogue.view()?,
            chunk_key: context.keys.chunk_key(),
            open: Mutex::new(VecDeque::new()),
        })
    }

    /// Returns the heads of all snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<HeadRecord>, BrowseError> {
        let rows = self.view.snapshots()?;
        Ok(rows.into_iter().map(|row| row.head).collect())
    }

    /// Returns a snapshot's record.
    pub fn snapshot(&self, id: SnapshotId) -> Result<SnapshotRecord, BrowseError> {
        let rows = self.view.snapshots()?;
        let row = rows.into_iter().find(|row| row.id == id);
        let head = row.ok_or(BrowseError::NoSnapshot(id))?.head;
        let bytes = self.content(&head.content)?;
        Ok(SnapshotRecord::from_bytes(&bytes)?)
    }

    /// Returns the metadata packs that are not on this device: all that lists may ever need.
    pub fn absent(&self) -> Result<Vec<PackRecord>, BrowseError> {
        let mut packs = self.view.packs()?;
        packs.retain(|(_, pack)| {
            pack.kind == PackKind::Metadata && !self.context.spool.contains(pack.id)
        });
        Ok(packs.into_iter().map(|(_, pack)| pack).collect())
    }

    /// Returns what lies at `path`: all roots for `/`, else the one node.
    pub fn select(
        &self,
        snapshot: &SnapshotRecord,
        path: &[u8],
    ) -> Result<Vec<TreeNode>, BrowseError> {
        let mut nodes: Vec<TreeNode> = snapshot.roots.iter().map(|r| r.node.clone()).collect();
        let mut names = path.split(|&byte| byte == b'/').filter(|n| !n.is_empty());
        let Some(first) = names.next() else {
            return Ok(nodes);
        };
        let missing = || BrowseError::NoPath(path.to_vec());
        nodes.retain(|node| node.name == first);
        let mut node = nodes.pop().ok_or_else(missing)?;
        for name in names {
            let NodeKind::Directory { content } = &node.kind else {
                return Err(missing());
            };
            let nodes = self.tree(content)?.nodes;
            node = nodes
                .into_iter()
                .find(|node| node.name == name)
                .ok_or_else(missing)?;
        }
        Ok(vec![node])
    }

    /// Returns the names in the directory at `path`, or the one file there.
    pub fn list(
        &self,
        snapshot: &SnapshotRecord,
        path: &[u8],
    ) -> Result<Vec<TreeNode>, BrowseError> {
        let nodes = self.select(snapshot, path)?;
        let is_top = path.iter().all(|&byte| byte == b'/');
        match nodes.as_slice() {
            [node] if !is_top => match &node.kind {
                NodeKind::Directory { content } => Ok(self.tree(content)?.nodes),
                _ => Ok(nodes),
            },
            _ => Ok(nodes),
        }
    }

    /// Visits everything at and below `path`, in the order of the trees, with its path in the
    /// snapshot, until `visit` returns false.
    pub fn walk(
        &self,
        snapshot: &SnapshotRecord,
        path: &[u8],
        visit: &mut dyn FnMut(&[u8], &TreeNode) -> bool,
    ) -> Result<(), BrowseError> {
        let prefix = parent_of(path);
        let mut stack = vec![(prefix, self.select(snapshot, path)?.into_iter())];
        while let Some((prefix, nodes)) = stack.last_mut() {
            let Some(node) = nodes.next() else {
                stack.pop();
                continue;
            };
            let path = [prefix.as_slice(), &node.name].join(&b'/');
            if !visit(&path, &node) {
                return Ok(());
            }
            if let NodeKind::Directory { content } = &node.kind {
                let tree = self.tree(content)?;
                stack.push((path, tree.nodes.into_iter()));
            }
        }
        Ok(())
    }

    /// Counts the files of a snapshot with content that no pack has: they changed before anybody
    /// had them.
    pub fn lost_files(&self, snapshot: &SnapshotRecord) -> Result<u64, BrowseError> {
        let mut lost = 0;
        let mut failed = None;
        self.walk(snapshot, b"/", &mut |_, node| {
            let NodeKind::File { content, .. } = &node.kind else {
                return true;
            };
            for chunk in content {
                match self.view.find_chunk(&chunk.id) {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        lost += 1;
                        return true;
                    }
                    Err(error) => {
                        failed = Some(error);
                        return false;
                    }
                }
            }
            true
        })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(lost),
        }
    }

    /// Reads the tree with this content.
    pub fn tree(&self, content: &[ChunkRef]) -> Result<Tree, BrowseError> {
        Ok(Tree::from_bytes(&self.content(content)?)?)
    }

    /// Reads a picture's preview.
    pub fn preview(&self, preview: ChunkRef) -> Result<Vec<u8>, BrowseError> {
        self.content(&[preview])
    }

    /// Returns the ordinal of the pack that has a chunk.
    pub(crate) fn ordinal_of(&self, chunk: &ChunkId) -> Result<Option<u32>, BrowseError> {
        Ok(self.view.find_chunk(chunk)?.map(|place| place.pack))
    }

    /// Returns the pack that has a chunk, and the chunk's length in bytes.
    pub(crate) fn place_of(
        &self,
        chunk: &ChunkId,
    ) -> Result<Option<(PackRecord, u32)>, BrowseError> {
        let Some(place) = self.view.find_chunk(chunk)? else {
            return Ok(None);
        };
        let pack = self.view.pack(place.pack)?;
        Ok(pack.map(|pack| (pack, place.raw_bytes)))
    }

    /// Returns a pack by its ordinal.
    pub(crate) fn pack(&self, ordinal: u32) -> Result<Option<PackRecord>, BrowseError> {
        Ok(self.view.pack(ordinal)?)
    }

    /// Returns the pack that has a chunk.
    pub(crate) fn pack_of(&self, chunk: &ChunkId) -> Result<Option<PackRecord>, BrowseError> {
        match self.ordinal_of(chunk)? {
            Some(ordinal) => self.pack(ordinal),
            None => Ok(None),
        }
    }

    /// Returns metadata from the packs that are here.
    pub(crate) fn content(&self, content: &[ChunkRef]) -> Result<Vec<u8>, BrowseError> {
        let total: usize = content.iter().map(|chunk| chunk.bytes as usize).sum();
        let mut bytes = Vec::with_capacity(total.min(1 << 20));
        for chunk in content {
            let record = self
                .pack_of(&chunk.id)?
                .ok_or(BrowseError::Lost(chunk.id))?;
            let opened = self.open(&record)?;
            let position = opened
                .positions
                .get(&chunk.id)
                .ok_or(BrowseError::Lost(chunk.id))?;
            let raw = opened.pack.chunk(&self.chunk_key, *position);
            bytes.extend_from_slice(&raw.map_err(|source| BrowseError::Open {
                pack: record.id,
                source,
            })?);
        }
        Ok(bytes)
    }

    fn open(&self, record: &PackRecord) -> Result<Arc<Opened>, BrowseError> {
        // Whole packs come and go: nothing is ever half changed.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|opened| opened.id == record.id)
            && let Some(found) = open.remove(at)
        {
            open.push_front(Arc::clone(&found));
            return Ok(found);
        }
        let pack = open_local(&self.context, record)?
            .ok_or_else(|| BrowseError::Absent(vec![record.clone()]))?;
        let positions = pack.chunks().iter().enumerate();
        let opened = Arc::new(Opened {
            id: record.id,
            positions: positions.map(|(at, chunk)| (chunk.id, at)).collect(),
            pack,
        });
        open.truncate(OPEN_MAX - 1);
        open.push_front(Arc::clone(&opened));
        Ok(opened)
    }
}

/// Opens a pack that is in the spool. A damaged one counts as not being there.
pub(crate) fn open_local(
    context: &Context<'_>,
    record: &PackRecord,
) -> Result<Option<OpenPack>, BrowseError> {
    let keys = context
        .keys
        .pack_keys(record.epoch)
        .ok_or(BrowseError::NoKey(record.epoch))?;
    let bytes = match context.spool.get(record.id) {
        Err(SpoolError::Damaged(pack)) => {
            context.spool.remove(pack)?;
            None
        }
        got => got?,
    };
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let opened = OpenPack::open(&keys, bytes);
    Ok(Some(opened.map_err(|source| BrowseError::Open {
        pack: record.id,
        source,
    })?))
}

/// Returns the path above `path`, without a slash at its end.
fn parent_of(path: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let mut parent = Vec::new();
    for name in names.iter().take(names.len().saturating_sub(1)) {
        parent.push(b'/');
        parent.extend_from_slice(name);
    }
    parent
}
