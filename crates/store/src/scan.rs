//! Walks the remembered folders and tells what changed since the last walk.
//!
//! A walk over unchanged files costs one listing per directory and one look per name: what is
//! known about a directory is kept beside the catalogue, and a file whose length, times and inode
//! are as they were is not opened again. Symbolic links are never followed. What can't be saved is
//! noted with its reason; nothing that a file system does ends a walk.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use carryall_core::{
    codec::encode,
    id::ChunkId,
    record::{ChunkRef, NodeKind, TreeNode},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{Disk, FileKind, Metadata},
    freed::{Freed, StandIn},
};

/// A file changed this shortly before the walk may change again within one tick of its file
/// system's clock, unseen. Coarse clocks (FAT, HFS+, old NFS) tick every two seconds.
const RACY_COARSE_NS: i128 = 2_000_000_000;
/// See [`RACY_COARSE_NS`]; clocks that show fractions of a millisecond tick a hundred times a second.
const RACY_FINE_NS: i128 = 100_000_000;
/// Version of what is remembered about directories. The first did not know which files had been looked at
/// for previews.
const CACHE_VERSION: u16 = 2;

/// Why something is not in the snapshot, or not as one would wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A FIFO, socket or device: it has no content to save.
    Special,
    /// It was listed and then gone.
    Vanished,
    /// The system denies access.
    Denied,
    /// A remembered folder is not there; the snapshot has it as it was last.
    RootGone,
    /// The path is longer than the system can open.
    PathTooLong,
    /// A directory with more names, or longer ones, than a tree can list.
    TooLarge,
    /// It changed each time it was read; what was read last is saved.
    Changing,
    /// The system reports another error of this kind.
    Failed(io::ErrorKind),
}

impl Reason {
    /// Tells whether content that should be in the snapshot is missing from it.
    pub const fn is_loss(self) -> bool {
        match self {
            Self::Special | Self::Vanished | Self::Changing | Self::RootGone => false,
            Self::Denied | Self::PathTooLong | Self::TooLarge | Self::Failed(_) => true,
        }
    }
}

impl From<&io::Error> for Reason {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::InvalidFilename => Self::PathTooLong,
            kind => Self::Failed(kind),
        }
    }
}

/// One thing that the owner should know about one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The absolute path, raw bytes.
    pub path: Vec<u8>,
    /// What about it.
    pub reason: Reason,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.escape_ascii();
        match self.reason {
            Reason::Special => write!(f, "skipped {path}: a FIFO, socket or device has no content"),
            Reason::Vanished => write!(f, "skipped {path}: it went away during the backup"),
            Reason::RootGone => {
                write!(
                    f,
                    "{path} is not there now: the snapshot keeps it as it was last"
                )
            }
            Reason::Denied => write!(f, "could not read {path}: permission denied"),
            Reason::PathTooLong => write!(f, "could not read {path}: the path is too long"),
            Reason::TooLarge => {
                write!(
                    f,
                    "could not save {path}: more names than one directory can have here"
                )
            }
            Reason::Changing => write!(
                f,
                "saved {path} as it was read, although it kept changing meanwhile"
            ),
            Reason::Failed(kind) => write!(f, "could not read {path}: {kind}"),
        }
    }
}

/// A name as the last walk knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedNode {
    /// The finished node.
    pub(crate) node: TreeNode,
    /// Change time, nanoseconds since 1970.
    pub(crate) ctime_ns: i128,
    /// Inode number.
    pub(crate) ino: u64,
    /// False if the file was so fresh that a change since would not show in its times.
    pub(crate) settled: bool,
}

/// A directory as the last walk knew it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CachedDirectory {
    /// How many packs had broken by then. When more have, the chunks named here must be looked up.
    pub(crate) generation: u64,
    /// The chunks of the encoded tree.
    pub(crate) content: Vec<ChunkRef>,
    /// The names, sorted by bytes.
    pub(crate) nodes: Vec<CachedNode>,
    /// Files without a preview have not been looked at for one from this name on; without it, all have.
    pub(crate) undrawn_from: Option<Vec<u8>>,
}

impl CachedDirectory {
    /// Returns the bytes that the catalogue keeps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(&(CACHE_VERSION, self))
    }

    /// Reads such bytes; nothing if they are not of this version, which only costs reading files.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = postcard::take_from_bytes(bytes).ok()?;
        let (version, (generation, content, nodes)) = first;
        let undrawn_from = match version {
            1 => Some(Vec::new()),
            CACHE_VERSION => postcard::from_bytes(rest).ok()?,
            _ => return None,
        };
        Some(Self {
            generation,
            content,
            nodes,
            undrawn_from,
        })
    }
}

/// What earlier walks left behind.
pub(crate) trait Memory {
    /// Returns what is known about the directory at `path`.
    fn directory(&self, path: &[u8]) -> Option<CachedDirectory>;
    /// Returns how many packs have broken since the vault was made.
    fn generation(&self) -> u64;
    /// Tells whether the catalogue has a chunk.
    fn knows(&self, chunk: &ChunkId) -> bool;
    /// Returns what was freed: it is not there, and has not been deleted.
    fn freed(&self) -> &Freed;
    /// A file that was freed is there again.
    fn is_back(&self, path: &[u8]);
}

/// A directory whose names follow.
#[derive(Debug)]
pub(crate) struct Entered {
    /// The absolute path, raw bytes.
    pub(crate) path: Vec<u8>,
    /// Its node; the content is still empty.
    pub(crate) node: TreeNode,
    /// Facts for the parent's cache.
    pub(crate) ctime_ns: i128,
    /// See `ctime_ns`.
    pub(crate) ino: u64,
    /// Its node at the last walk.
    pub(crate) before: Option<TreeNode>,
    /// The content of its tree at the last walk, if it is still in the catalogue.
    pub(crate) content: Option<Vec<ChunkRef>>,
    /// Whether packs have broken since: what is known must be remembered anew.
    pub(crate) stale: bool,
    /// See [`CachedDirectory::undrawn_from`]; as it was at the last walk.
    pub(crate) undrawn_from: Option<Vec<u8>>,
}

/// A file that must be read.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The absolute path.
    pub(crate) path: &'a Path,
    /// Its node; the content is still empty.
    pub(crate) node: TreeNode,
    /// The facts before reading.
    pub(crate) metadata: Metadata,
    /// Whether its times will show a later change.
    pub(crate) settled: bool,
}

impl Found<'_> {
    /// Takes note that the file has changed since the walk came by.
    pub(crate) const fn read_again(&mut self, now: Metadata) {
        self.metadata = now;
        self.settled = false;
    }
}

/// The walk shall end now: the owner or a later stage asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What a walk reports to, in order: a directory's names between `enter` and `leave`.
pub(crate) trait Visitor {
    /// A directory begins.
    fn enter(&mut self, directory: Entered) -> Result<(), Stopped>;
    /// A file or link is as it was.
    fn unchanged(&mut self, node: CachedNode) -> Result<(), Stopped>;
    /// A file is as it was, and has not been looked at for a preview yet. Returns whether it is now.
    fn undrawn(
        &mut self,
        path: &Path,
        node: CachedNode,
        metadata: &Metadata,
    ) -> Result<bool, Stopped>;
    /// Tells whether files that are read are looked at for previews.
    fn draws(&self) -> bool;
    /// A file is new or changed, to be read now.
    fn file(&mut self, found: Found<'_>) -> Result<(), Stopped>;
    /// A name is new or changed, and there is nothing to read: a symbolic link, or a freed file.
    fn changed(&mut self, node: CachedNode) -> Result<(), Stopped>;
    /// The directory entered last ends. `shrank` tells that names are gone since the last walk, and
    /// `undrawn_from` what [`CachedDirectory::undrawn_from`] is from now on.
    fn leave(&mut self, shrank: bool, undrawn_from: Option<Vec<u8>>) -> Result<(), Stopped>;
    /// Something can't be saved.
    fn note(&mut self, note: Note) -> Result<(), Stopped>;
}

/// A walk over one or more roots.
#[derive(Debug)]
pub(crate) struct Walk<'a, M> {
    disk: &'a dyn Disk,
    memory: &'a M,
    /// Device and inode of directories that are left out: the vault's own home.
    left_out: BTreeSet<(u64, u64)>,
    began_ns: i128,
}

/// A directory being walked.
#[derive(Debug)]
struct Frame {
    path: PathBuf,
    names: std::vec::IntoIter<OsString>,
    before: std::iter::Peekable<std::vec::IntoIter<CachedNode>>,
    /// Whether the chunks in `before` must be looked up.
    doubtful: bool,
    shrank: bool,
    /// From where on files had not been looked at for previews, and from where on they still have not.
    undrawn_from: Option<Vec<u8>>,
    still_undrawn_from: Option<Vec<u8>>,
}

impl<'a, M: Memory> Walk<'a, M> {
    /// Prepares a walk that began at `now` and stays out of `left_out`.
    pub(crate) fn new(
        disk: &'a dyn Disk,
        memory: &'a M,
        left_out: &[&Path],
        now: Timestamp,
    ) -> Self {
        let left_out = left_out
            .iter()
            .filter_map(|path| disk.metadata(path).ok())
            .map(|metadata| (metadata.dev, metadata.ino))
            .collect();
        Self {
            disk,
            memory,
            left_out,
            began_ns: i128::from(now.0) * 1_000_000,
        }
    }

    /// Walks the root at `path`, which goes by `name` in the snapshot. `doubtful` says that the
    /// chunks that `before` names must be looked up.
    pub(crate) fn root(
        &self,
        path: &Path,
        name: &[u8],
        before: Option<CachedNode>,
        doubtful: bool,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stopped> {
        let mut stack = Vec::new();
        self.name(path, name.to_vec(), before, doubtful, &mut stack, visitor)?;
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                let shrank = frame.shrank || frame.before.next().is_some();
                let undrawn_from = frame.still_undrawn_from.take();
                stack.pop();
                visitor.leave(shrank, undrawn_from)?;
                continue;
            };
            let before = frame.before_of(name.as_bytes());
            let path = frame.path.join(&name);
            let doubtful = frame.doubtful;
            self.name(
                &path,
                name.into_vec(),
                before,
                doubtful,
                &mut stack,
                visitor,
            )?;
        }
        Ok(())
    }

    /// Visits one name; a directory is pushed onto the stack.
    fn name(
        &self,
        path: &Path,
        name: Vec<u8>,
        before: Option<CachedNode>,
        doubtful: bool,
        stack: &mut Vec<Frame>,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stopped> {
        let metadata = match self.disk.metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let reason = Reason::from(&error);
                return self.absent(path, name, before, reason, stack, visitor);
            }
        };
        match metadata.kind {
            FileKind::Directory => self.directory(path, name, before, &metadata, stack, visitor),
            FileKind::File => {
                let raw = path.as_os_str().as_bytes();
                if self.memory.freed().get(raw).is_some() {
                    self.memory.is_back(raw);
                }
                if let Some(before) = before
                    && is_unchanged(&before, &metadata)
                    && !(doubtful && self.lacks_chunks(&before.node.kind))
                {
                    return as_it_was(path, before, &metadata, stack.last_mut(), visitor);
                }
                if let Some(frame) = stack.last_mut()
                    && !visitor.draws()
                {
                    frame.pass_over(&name);
                }
                let settled = self.is_settled(&metadata);
                let kind = NodeKind::File {
                    bytes: metadata.bytes,
                    content: Vec::new(),
                    link: link_number(&metadata),
                    preview: None,
                };
                let node = node(name, kind, &metadata);
                visitor.file(Found {
                    path,
                    node,
                    metadata,
                    settled,
                })
            }
            FileKind::Symlink => self.symlink(path, name, before, &metadata, visitor),
            FileKind::Other => visitor.note(note(path, Reason::Special)),
        }
    }

    /// Visits a name at which nothing is: what was freed is still to be saved.
    fn absent(
        &self,
        path: &Path,
        name: Vec<u8>,
        before: Option<CachedNode>,
        reason: Reason,
        stack: &mut Vec<Frame>,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stopped> {
        let raw = path.as_os_str().as_bytes();
        let is_gone = reason == Reason::Vanished;
        match self.memory.freed().stand_in(raw).filter(|_| is_gone) {
            Some(StandIn::File(mut freed)) => {
                freed.node.name = name;
                match before {
                    Some(before) if before == freed => visitor.unchanged(before),
                    _ => visitor.changed(freed),
                }
            }
            // A root that is not there stays as it was, whatever of it was freed.
            Some(StandIn::Folder(metadata)) if !stack.is_empty() => {
                self.directory(path, name, before, &metadata, stack, visitor)
            }
            _ => visitor.note(note(path, reason)),
        }
    }

    /// Returns the names in a directory, sorted, and those that were freed among them; nothing if it
    /// can't be listed, which is noted.
    fn names(
        &self,
        path: &Path,
        visitor: &mut impl Visitor,
    ) -> Result<Option<Vec<OsString>>, Stopped> {
        let freed = self.memory.freed().names_in(path.as_os_str().as_bytes());
        let mut names = match self.disk.list(path) {
            Ok(names) => names,
            Err(error) => {
                let is_gone = error.kind() == io::ErrorKind::NotFound;
                if !is_gone || freed.is_empty() {
                    visitor.note(note(path, Reason::from(&error)))?;
                }
                if freed.is_empty() {
                    return Ok(None);
                }
                Vec::new()
            }
        };
        names.extend(freed.into_iter().map(OsString::from_vec));
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        names.dedup();
        Ok(Some(names))
    }

    fn directory(
        &self,
        path: &Path,
        name: Vec<u8>,
        before: Option<CachedNode>,
        metadata: &Metadata,
        stack: &mut Vec<Frame>,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stopped> {
        if self.left_out.contains(&(metadata.dev, metadata.ino)) {
            return Ok(());
        }
        let Some(names) = self.names(path, visitor)? else {
            return Ok(());
        };
        let cached = self.memory.directory(path.as_os_str().as_bytes());
        let doubtful = cached
            .as_ref()
            .is_some_and(|cached| cached.generation != self.memory.generation());
        let (content, nodes, undrawn_from) = match cached {
            Some(cached) => {
                let known = !doubtful || cached.content.iter().all(|c| self.memory.knows(&c.id));
                let content = known.then_some(cached.content);
                (content, cached.nodes, cached.undrawn_from)
            }
            None => (None, Vec::new(), None),
        };
        let kind = NodeKind::Directory {
            content: Vec::new(),
        };
        visitor.enter(Entered {
            path: path.as_os_str().as_bytes().to_vec(),
            node: node(name, kind, metadata),
            ctime_ns: metadata.ctime_ns,
            ino: metadata.ino,
            before: before.map(|before| before.node),
            content,
            stale: doubtful,
            undrawn_from: undrawn_from.clone(),
        })?;
        stack.push(Frame {
            path: path.to_path_buf(),
            names: names.into_iter(),
            before: nodes.into_iter().peekable(),
            doubtful,
            shrank: false,
            undrawn_from,
            still_undrawn_from: None,
        });
        Ok(())
    }

    fn symlink(
        &self,
        path: &Path,
        name: Vec<u8>,
        before: Option<CachedNode>,
        metadata: &Metadata,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stopped> {
        let target = match self.disk.read_link(path) {
            Ok(target) => target.into_os_string().into_vec(),
            Err(error) => return visitor.note(note(path, Reason::from(&error))),
        };
        let node = node(name, NodeKind::Symlink { target }, metadata);
        match before {
            Some(before) if before.node == node => visitor.unchanged(before),
            _ => visitor.changed(CachedNode {
                node,
                ctime_ns: metadata.ctime_ns,
                ino: metadata.ino,
                settled: true,
            }),
        }
    }

    fn lacks_chunks(&self, kind: &NodeKind) -> bool {
        let lacks = |chunk: &ChunkRef| !self.memory.knows(&chunk.id);
        match kind {
            NodeKind::File {
                content, preview, ..
            } => content.iter().chain(preview).any(lacks),
            NodeKind::Directory { content } => content.iter().any(lacks),
            NodeKind::Symlink { .. } => false,
        }
    }

    /// Tells whether a change after this moment must show in the file's times.
    fn is_settled(&self, metadata: &Metadata) -> bool {
        // The change time is the system's own; anybody can set the other to anything.
        let coarse = metadata.ctime_ns % 1_000_000 == 0;
        let racy = if coarse { RACY_COARSE_NS } else { RACY_FINE_NS };
        metadata.ctime_ns < self.began_ns - racy
    }
}

impl Frame {
    /// Returns what was known about `name`, which comes after all names asked for before.
    fn before_of(&mut self, name: &[u8]) -> Option<CachedNode> {
        while let Some(before) = self.before.next_if(|b| b.node.name.as_slice() <= name) {
            if before.node.name == name {
                return Some(before);
            }
            self.shrank = true;
        }
        None
    }

    /// Tells whether a file that is as it was is still to be looked at for a preview.
    fn is_undrawn(&self, node: &TreeNode) -> bool {
        let is_bare = matches!(
            node.kind,
            NodeKind::File {
                bytes: 1..,
                preview: None,
                ..
            }
        );
        is_bare
            && self
                .undrawn_from
                .as_ref()
                .is_some_and(|from| node.name >= *from)
    }

    /// Takes note that a file has not been looked at for a preview. Names come in order.
    fn pass_over(&mut self, name: &[u8]) {
        self.still_undrawn_from.get_or_insert_with(|| name.to_vec());
    }
}

/// Visits a file that is as it was.
fn as_it_was(
    path: &Path,
    before: CachedNode,
    metadata: &Metadata,
    frame: Option<&mut Frame>,
    visitor: &mut impl Visitor,
) -> Result<(), Stopped> {
    let Some(frame) = frame.filter(|frame| frame.is_undrawn(&before.node)) else {
        return visitor.unchanged(before);
    };
    let name = before.node.name.clone();
    if !visitor.undrawn(path, before, metadata)? {
        frame.pass_over(&name);
    }
    Ok(())
}

/// Tells whether a file is as it was, content included, as far as its facts can tell.
pub(crate) fn is_unchanged(before: &CachedNode, metadata: &Metadata) -> bool {
    let NodeKind::File { bytes, link, .. } = &before.node.kind else {
        return false;
    };
    before.settled
        && *bytes == metadata.bytes
        && *link == link_number(metadata)
        && before.node.mtime_ns == metadata.mtime_ns
        && before.ctime_ns == metadata.ctime_ns
        && before.ino == metadata.ino
        && before.node.mode == metadata.mode
        && before.node.uid == metadata.uid
        && before.node.gid == metadata.gid
}

/// Files that share this number are hard links of one file; zero for a file with one name.
fn link_number(metadata: &Metadata) -> u64 {
    if metadata.links < 2 {
        return 0;
    }
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&metadata.dev.to_le_bytes());
    identity[8..].copy_from_slice(&metadata.ino.to_le_bytes());
    let hash = blake3::hash(&identity);
    let mut number = [0; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(number).max(1)
}

fn node(name: Vec<u8>, kind: NodeKind, metadata: &Metadata) -> TreeNode {
    TreeNode {
        name,
        kind,
        mode: metadata.mode & 0o7777,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime_ns: metadata.mtime_ns,
    }
}

fn note(path: &Path, reason: Reason) -> Note {
    Note {
        path: path.as_os_str().as_bytes().to_vec(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_remembered_is_kept_and_looked_at_for_previews() {
        let directory = CachedDirectory {
            generation: 3,
            undrawn_from: Some(b"m".to_vec()),
            ..CachedDirectory::default()
        };
        let read = CachedDirectory::from_bytes(&directory.to_bytes());
        assert_eq!(read, Some(directory.clone()));
        let (content, nodes) = (&directory.content, &directory.nodes);
        let first = encode(&(1_u16, (3_u64, content, nodes)));
        let read = CachedDirectory::from_bytes(&first).unwrap();
        assert_eq!((read.generation, read.undrawn_from), (3, Some(Vec::new())));
        let later = encode(&(9_u16, (3_u64, content, nodes)));
        assert_eq!(CachedDirectory::from_bytes(&later), None);
    }
}
