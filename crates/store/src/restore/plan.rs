//! What a restore will write, and which packs it needs for that, in order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use carryall_core::{
    id::ChunkId,
    record::{ChunkRef, NodeKind, PackRecord, SnapshotRecord, Tree, TreeNode},
};

use super::{
    Failed, Failure, RestoreError,
    target::{Attributes, DirectoryNumber, check_name},
};
use crate::browse::Library;

/// A directory to be made. Number 0 is the target itself and has no name.
#[derive(Debug)]
pub(super) struct PlannedDirectory {
    pub(super) parent: DirectoryNumber,
    pub(super) name: Box<[u8]>,
    pub(super) attributes: Attributes,
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct PlannedFile {
    pub(super) directory: DirectoryNumber,
    pub(super) name: Box<[u8]>,
    pub(super) bytes: u64,
    pub(super) attributes: Attributes,
    /// How many chunks it takes.
    pub(super) chunks: u32,
}

/// A second name of a planned file.
#[derive(Debug)]
pub(super) struct PlannedLink {
    pub(super) directory: DirectoryNumber,
    pub(super) name: Box<[u8]>,
    pub(super) file: u32,
}

/// A symbolic link to be made.
#[derive(Debug)]
pub(super) struct PlannedSymlink {
    pub(super) directory: DirectoryNumber,
    pub(super) name: Box<[u8]>,
    pub(super) target: Box<[u8]>,
    pub(super) attributes: Attributes,
}

/// One chunk on its way into one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Write {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) chunk: ChunkId,
}

/// A pack with all that it contributes.
#[derive(Debug)]
pub(super) struct PlannedPack {
    pub(super) record: PackRecord,
    /// Ordered by file and offset.
    pub(super) writes: Vec<Write>,
}

/// A whole restore: made from trees alone, before any content is here.
#[derive(Debug)]
pub struct Plan {
    pub(super) directories: Vec<PlannedDirectory>,
    pub(super) files: Vec<PlannedFile>,
    pub(super) links: Vec<PlannedLink>,
    pub(super) symlinks: Vec<PlannedSymlink>,
    /// What was changed last first, then in the order of the trees, so that files become complete early.
    pub(super) packs: Vec<PlannedPack>,
    pub(super) failed: Vec<Failed>,
}

impl Plan {
    /// Plans to restore what lies at `path` in a snapshot (`/` is everything, else `/<root>/...`).
    ///
    /// # Errors
    /// [`RestoreError::Browse`] names the metadata packs that have to be fetched first, if any.
    pub fn new(
        library: &Library<'_>,
        snapshot: &SnapshotRecord,
        path: &[u8],
    ) -> Result<Self, RestoreError> {
        let mut planner = Planner {
            library,
            plan: Self {
                directories: vec![PlannedDirectory {
                    parent: 0,
                    name: Box::default(),
                    attributes: Attributes::default(),
                }],
                files: Vec::new(),
                links: Vec::new(),
                symlinks: Vec::new(),
                packs: Vec::new(),
                failed: Vec::new(),
            },
            numbers: BTreeMap::new(),
            linked: BTreeMap::new(),
            lost: BTreeSet::new(),
        };
        for node in library.select(snapshot, path)? {
            planner.node(0, &node)?;
        }
        let mut plan = planner.plan;
        for pack in &mut plan.packs {
            pack.writes.sort_unstable();
        }
        plan.packs.sort_by_key(|pack| Reverse(pack.record.newest));
        Ok(plan)
    }

    /// Returns the packs to bring here, in the order in which they are best brought.
    pub fn packs(&self) -> impl Iterator<Item = &PackRecord> {
        self.packs
            .iter()
            .filter(|pack| !pack.writes.is_empty())
            .map(|pack| &pack.record)
    }

    /// Returns how many files there are, second names counted.
    pub const fn files(&self) -> u64 {
        (self.files.len() + self.links.len()) as u64
    }

    /// Returns how many bytes the files have.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the path of `name` in a directory, for people: relative to the target.
    pub(super) fn path(&self, directory: DirectoryNumber, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = directory;
        while at != 0 {
            let directory = self.directory(at);
            names.push(&directory.name);
            at = directory.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    pub(super) fn directory(&self, number: DirectoryNumber) -> &PlannedDirectory {
        &self.directories[number as usize]
    }
}

struct Planner<'a> {
    library: &'a Library<'a>,
    plan: Plan,
    /// Where each pack is in the plan, by its ordinal in the catalogue.
    numbers: BTreeMap<u32, usize>,
    /// The first file of each hard link number, with its content to compare.
    linked: BTreeMap<u64, (u32, Vec<ChunkRef>)>,
    /// Chunks that no pack has, remembered so that each is looked up once.
    lost: BTreeSet<ChunkId>,
}

impl Planner<'_> {
    /// Plans a node and everything below it, without recursion: trees may be deep.
    fn node(&mut self, parent: DirectoryNumber, node: &TreeNode) -> Result<(), RestoreError> {
        let mut stack = vec![(parent, vec![node.clone()].into_iter())];
        while let Some((parent, nodes)) = stack.last_mut() {
            let parent = *parent;
            let Some(node) = nodes.next() else {
                stack.pop();
                continue;
            };
            if let Err(why) = check_name(&node.name) {
                self.fail(parent, &node.name, why);
                continue;
            }
            match &node.kind {
                NodeKind::Directory { content } => {
                    let tree: Tree = match self.library.tree(content) {
                        Ok(tree) => tree,
                        Err(error) if error.is_lost() => {
                            self.fail(parent, &node.name, Failure::Lost);
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let number = number(self.plan.directories.len())?;
                    self.plan.directories.push(PlannedDirectory {
                        parent,
                        name: node.name.clone().into(),
                        attributes: attributes(&node),
                    });
                    stack.push((number, tree.nodes.into_iter()));
                }
                NodeKind::File {
                    bytes,
                    content,
                    link,
                    ..
                } => self.file(parent, &node, *bytes, content, *link)?,
                NodeKind::Symlink { target } => self.plan.symlinks.push(PlannedSymlink {
                    directory: parent,
                    name: node.name.clone().into(),
                    target: target.clone().into(),
                    attributes: attributes(&node),
                }),
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        directory: DirectoryNumber,
        node: &TreeNode,
        bytes: u64,
        content: &[ChunkRef],
        link: u64,
    ) -> Result<(), RestoreError> {
        if content
            .iter()
            .map(|chunk| u64::from(chunk.bytes))
            .sum::<u64>()
            != bytes
        {
            self.fail(directory, &node.name, Failure::Damaged);
            return Ok(());
        }
        // Equal numbers alone could be chance; linking two files that differ would lose one.
        if let Some((file, first)) = self.linked.get(&link)
            && link != 0
            && first == content
        {
            self.plan.links.push(PlannedLink {
                directory,
                name: node.name.clone().into(),
                file: *file,
            });
            return Ok(());
        }
        let file = number(self.plan.files.len())?;
        let mut writes = Vec::with_capacity(content.len());
        let mut offset = 0;
        for chunk in content {
            let Some(pack) = self.pack(&chunk.id)? else {
                self.fail(directory, &node.name, Failure::Lost);
                return Ok(());
            };
            let write = Write {
                file,
                offset,
                chunk: chunk.id,
            };
            writes.push((pack, write));
            offset += u64::from(chunk.bytes);
        }
        for (pack, write) in writes {
            self.plan.packs[pack].writes.push(write);
        }
        self.plan.files.push(PlannedFile {
            directory,
            name: node.name.clone().into(),
            bytes,
            attributes: attributes(node),
            chunks: number(content.len())?,
        });
        if link != 0 {
            self.linked.insert(link, (file, content.to_vec()));
        }
        Ok(())
    }

    /// Returns where in the plan the pack is that has this chunk.
    fn pack(&mut self, chunk: &ChunkId) -> Result<Option<usize>, RestoreError> {
        if self.lost.contains(chunk) {
            return Ok(None);
        }
        let Some(ordinal) = self.library.ordinal_of(chunk)? else {
            self.lost.insert(*chunk);
            return Ok(None);
        };
        if let Some(&at) = self.numbers.get(&ordinal) {
            return Ok(Some(at));
        }
        let Some(record) = self.library.pack(ordinal)? else {
            return Ok(None);
        };
        let at = self.plan.packs.len();
        self.numbers.insert(ordinal, at);
        self.plan.packs.push(PlannedPack {
            record,
            writes: Vec::new(),
        });
        Ok(Some(at))
    }

    fn fail(&mut self, directory: DirectoryNumber, name: &[u8], why: Failure) {
        let path = self.plan.path(directory, name);
        self.plan.failed.push(Failed { path, why });
    }
}

fn attributes(node: &TreeNode) -> Attributes {
    Attributes {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime_ns: node.mtime_ns,
    }
}

fn number(count: usize) -> Result<u32, RestoreError> {
    u32::try_from(count).map_err(|_| RestoreError::TooMany)
}
