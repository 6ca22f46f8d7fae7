//! A drill: files chosen by chance are read from packs that friends brought, and from nothing else.
//!
//! The catalogue says what must come out. Neither the spool nor the source files are looked at after
//! the choice: the snapshot's record and the folder lists come from friends too.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    drill::Budget,
    id::{ChunkId, PackId},
    key::ChunkKey,
    pack::OpenPack,
    record::{
        ChunkRef, HeadRecord, NodeKind, PackKind, PackRecord, SnapshotRecord, Tree, TreeNode,
    },
};

use crate::browse::{BrowseError, Library};

/// Of so many files for each that a drill reads one is chosen: many may be too large for it, or be
/// nowhere but here.
const CANDIDATES: usize = 16;

/// A file that is to come back.
#[derive(Debug)]
struct Wanted {
    path: Vec<u8>,
    node: TreeNode,
    bytes: u64,
    /// The chunks that no pack has brought yet.
    missing: BTreeSet<ChunkId>,
}

/// A drill under way.
#[derive(Debug)]
pub struct Drill {
    head: HeadRecord,
    record: SnapshotRecord,
    files: Vec<Wanted>,
    packs: BTreeMap<PackId, PackRecord>,
    /// Where the chunks of the snapshot's record and of folder lists are.
    lists: BTreeMap<ChunkId, PackId>,
    /// The metadata packs that came.
    came: BTreeMap<PackId, OpenPack>,
}

/// What came of a drill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillReport {
    /// Files that came back as they had been saved.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths of those that did not, in the snapshot.
    pub failed: Vec<Vec<u8>>,
}

impl Drill {
    /// Chooses files of a snapshot. `is_there` tells which packs friends have, by proof; `chance`
    /// returns a number below its argument.
    pub fn new(
        library: &Library<'_>,
        head: &HeadRecord,
        budget: Budget,
        is_there: &dyn Fn(PackId) -> bool,
        chance: &mut dyn FnMut(u64) -> u64,
    ) -> Result<Self, BrowseError> {
        let record = library.snapshot(head.snapshot)?;
        let mut drill = Self {
            head: head.clone(),
            files: Vec::new(),
            packs: BTreeMap::new(),
            lists: BTreeMap::new(),
            came: BTreeMap::new(),
            record,
        };
        let mut bytes = 0;
        let count = budget.files.saturating_mul(CANDIDATES);
        for (path, node) in candidates(library, &drill.record, count, chance)? {
            if drill.files.len() >= budget.files {
                break;
            }
            let Some(packs) = drill.packs_for(library, &path, &node, is_there)? else {
                continue;
            };
            let new = packs.iter().filter(|(id, _)| !drill.packs.contains_key(id));
            let data = new.filter(|(_, pack)| pack.kind != PackKind::Metadata);
            let more: u64 = data.map(|(_, pack)| u64::from(pack.bytes)).sum();
            if bytes + more > budget.bytes {
                continue;
            }
            bytes += more;
            drill.packs.extend(packs);
            let content = content_of(&node);
            drill.files.push(Wanted {
                bytes: content.iter().map(|chunk| u64::from(chunk.bytes)).sum(),
                missing: content.iter().map(|chunk| chunk.id).collect(),
                path,
                node,
            });
        }
        Ok(drill)
    }

    /// Returns the packs to bring from friends; none if no file is with them, or none is small enough.
    pub fn packs(&self) -> impl Iterator<Item = &PackRecord> {
        self.packs.values()
    }

    /// Takes a pack that friends brought.
    pub fn feed(&mut self, id: PackId, key: &ChunkKey, pack: OpenPack) {
        let kind = self.packs.get(&id).map(|pack| pack.kind);
        if kind == Some(PackKind::Metadata) {
            self.came.insert(id, pack);
            return;
        }
        for (at, chunk) in pack.chunks().iter().enumerate() {
            if !self
                .files
                .iter()
                .any(|file| file.missing.contains(&chunk.id))
            {
                continue;
            }
            // A chunk's id is the keyed hash of its content, which is checked on opening.
            let whole = pack.chunk(key, at);
            if whole.is_ok_and(|content| content.len() == chunk.raw_bytes as usize) {
                for file in &mut self.files {
                    file.missing.remove(&chunk.id);
                }
            }
        }
    }

    /// Compares what came with what the catalogue says.
    pub fn finish(self, key: &ChunkKey) -> DrillReport {
        let mut report = DrillReport::default();
        let record = self.read(key, &self.head.content);
        let record = record.and_then(|bytes| SnapshotRecord::from_bytes(&bytes).ok());
        let record = record.filter(|record| *record == self.record);
        for file in &self.files {
            let listed = record
                .as_ref()
                .and_then(|it| self.find(key, it, &file.path));
            if file.missing.is_empty() && listed.as_ref() == Some(&file.node) {
                report.files += 1;
                report.bytes += file.bytes;
            } else {
                report.failed.push(file.path.clone());
            }
        }
        report
    }

    /// Returns the packs that a file takes, folder lists included; nothing if friends don't have all
    /// of it.
    fn packs_for(
        &mut self,
        library: &Library<'_>,
        path: &[u8],
        node: &TreeNode,
        is_there: &dyn Fn(PackId) -> bool,
    ) -> Result<Option<BTreeMap<PackId, PackRecord>>, BrowseError> {
        let mut lists = self.head.content.clone();
        let mut nodes: Vec<TreeNode> = roots(&self.record);
        let mut names = names(path).peekable();
        while let Some(name) = names.next() {
            let found = nodes.into_iter().find(|node| node.name == name);
            let content = match found.map(|node| node.kind) {
                Some(NodeKind::Directory { content }) if names.peek().is_some() => content,
                _ => break,
            };
            nodes = library.tree(&content)?.nodes;
            lists.extend(content);
        }
        let mut packs = BTreeMap::new();
        for chunk in lists.iter().chain(content_of(node)) {
            match library.pack_of(&chunk.id)? {
                Some(pack) if is_there(pack.id) => drop(packs.insert(pack.id, pack)),
                _ => return Ok(None),
            }
        }
        for chunk in &lists {
            if let Some(pack) = library.pack_of(&chunk.id)? {
                self.lists.insert(chunk.id, pack.id);
            }
        }
        Ok(Some(packs))
    }

    /// Reads metadata from the packs that came.
    fn read(&self, key: &ChunkKey, content: &[ChunkRef]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for chunk in content {
            let pack = self.came.get(self.lists.get(&chunk.id)?)?;
            let raw = pack.chunk(key, pack.position(&chunk.id)?).ok()?;
            bytes.extend_from_slice(&raw);
        }
        Some(bytes)
    }

    /// Follows a path through the folder lists that came.
    fn find(&self, key: &ChunkKey, record: &SnapshotRecord, path: &[u8]) -> Option<TreeNode> {
        let mut nodes = roots(record);
        let mut found = None;
        for name in names(path) {
            if let Some(TreeNode {
                kind: NodeKind::Directory { content },
                ..
            }) = found
            {
                nodes = Tree::from_bytes(&self.read(key, &content)?).ok()?.nodes;
            }
            found = Some(nodes.into_iter().find(|node| node.name == name)?);
            nodes = Vec::new();
        }
        found
    }
}

fn roots(record: &SnapshotRecord) -> Vec<TreeNode> {
    record.roots.iter().map(|root| root.node.clone()).collect()
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

fn content_of(node: &TreeNode) -> &[ChunkRef] {
    match &node.kind {
        NodeKind::File { content, .. } => content,
        _ => &[],
    }
}

/// Returns some files with content, each with its path, by chance: every one is as likely, whatever
/// their number (Vitter, algorithm R).
fn candidates(
    library: &Library<'_>,
    record: &SnapshotRecord,
    count: usize,
    chance: &mut dyn FnMut(u64) -> u64,
) -> Result<Vec<(Vec<u8>, TreeNode)>, BrowseError> {
    let mut chosen = Vec::new();
    let mut seen = 0;
    library.walk(record, b"/", &mut |path, node| {
        if content_of(node).is_empty() {
            return true;
        }
        seen += 1;
        let place = chance(seen);
        let file = || (path.to_vec(), node.clone());
        if chosen.len() < count {
            let at = usize::try_from(place)
                .unwrap_or(usize::MAX)
                .min(chosen.len());
            chosen.insert(at, file());
        } else if let Some(old) = usize::try_from(place)
            .ok()
            .and_then(|at| chosen.get_mut(at))
        {
            *old = file();
        }
        true
    })?;
    Ok(chosen)
}
