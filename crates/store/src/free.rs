//! Freeing: finds what of a folder lies with friends and could leave this device, and removes it.
//!
//! Only what is as the newest snapshot has it leaves, and somebody else says of which packs it may. The
//! order of removal: files are put on the list of what was freed, then nothing counts on them as sources
//! of packs any more, then they go. If that is cut short, a file is on the list and still there, which
//! harms nothing.
//!
//! Nobody may make a backup meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use carryall_core::{
    chunk::chunk_id,
    free::Refusal,
    id::{PackId, SnapshotId},
    limits::CHUNK_BYTES_MAX,
    record::{ChunkRef, NodeKind, PackRecord, SnapshotRecord, TreeNode},
};
use thiserror::Error;

use crate::{
    backup::{
        Context,
        state::{State, directory},
    },
    browse::{BrowseError, Library},
    catalogue::{Catalogue, CatalogueError, View},
    disk::{Disk, FileKind, Metadata, Open, read_exact_at},
    freed::{Freed, FreedError, bytes_of},
    scan::{CachedDirectory, CachedNode, is_unchanged},
};

/// So many names of what stays for one reason are told.
const NAMES_MAX: usize = 3;

/// Why nothing can be said about a folder.
#[derive(Debug, Error)]
pub enum FreeError {
    /// This device has no snapshot of its own that it knows.
    #[error("this device has made no backup yet that it knows of, so everything stays")]
    NoBackup,
    /// It has one, but not of this path.
    #[error("{} is not in the newest backup of this device, so it stays", .0.display())]
    NotSaved(PathBuf),
    /// The snapshot can't be looked into.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The index refused.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The list of freed files can't be used.
    #[error(transparent)]
    Freed(#[from] FreedError),
}

/// Why a file stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// It is not as the newest snapshot has it.
    Changed,
    /// It has other names: removing one gives no room.
    Linked,
    /// The system refuses to read or remove it.
    Failed(io::ErrorKind),
    /// Part of what the snapshot says of it is in no pack.
    Unpacked,
    /// Friends don't hold enough of it.
    Refused(Refusal),
}

/// A number of files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Tally {
    const fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Files that stay for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staying {
    /// How many.
    pub tally: Tally,
    /// Paths of the first few.
    pub first: Vec<Vec<u8>>,
}

/// A folder, with all that is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// What can leave, or has left.
    pub free: Tally,
    /// What stays, by reason.
    pub stays: BTreeMap<Stays, Staying>,
    /// What has left earlier.
    pub freed: Tally,
    /// Names that are in no snapshot.
    pub unsaved: u64,
}

impl Folder {
    fn stay(&mut self, why: Stays, path: &[u8], bytes: u64) {
        let staying = self.stays.entry(why).or_default();
        staying.tally.add(bytes);
        if staying.first.len() < NAMES_MAX {
            staying.first.push(path.to_vec());
        }
    }
}

/// A file that can leave.
#[derive(Clone, Debug)]
struct Leaving {
    path: Vec<u8>,
    node: TreeNode,
    metadata: Metadata,
    folder: Vec<u8>,
}

/// What was found below a path.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Folders directly below the path, and the path itself for the files in it.
    pub folders: BTreeMap<Vec<u8>, Folder>,
    leaving: Vec<Leaving>,
    /// The packs that hold what can leave, and the folder lists that lead to it.
    pub packs: BTreeSet<PackId>,
    /// Those of them that can't be made here without these files.
    pub unmade: BTreeSet<PackId>,
}

/// Returns the snapshot on which what was freed depends, if anything was: the newest of this device.
pub fn held_by(catalogue: &Catalogue, freed: &Freed) -> Result<Option<SnapshotId>, CatalogueError> {
    let newest = State::load(&catalogue.view()?)?.snapshot;
    Ok(newest.filter(|_| !freed.is_empty()))
}

/// Looks what of a path could leave. `may_go` tells of a pack whether its files may.
pub fn find(
    context: &Context<'_>,
    path: &Path,
    may_go: &dyn Fn(PackId) -> Result<(), Refusal>,
) -> Result<Found, FreeError> {
    let view = context.catalogue.view()?;
    let newest = State::load(&view)?.snapshot.ok_or(FreeError::NoBackup)?;
    let rows = view.snapshots()?;
    let head = rows.into_iter().find(|row| row.id == newest);
    let head = head.ok_or(FreeError::NoBackup)?.head;
    let library = Library::new(context)?;
    let record = library.snapshot(newest)?;
    let packs: BTreeMap<u32, PackRecord> = view.packs()?.into_iter().collect();
    let raw = path.as_os_str().as_bytes();
    let mut search = Search {
        sources: sources(&view, &packs, path)?,
        freed: Freed::read(context.disk, context.home)?,
        context,
        view,
        library,
        packs,
        path: raw,
        may_go,
        lists: head.packs.iter().map(|pack| pack.id).collect(),
        made_of: BTreeSet::new(),
        found: Found::default(),
    };
    if !search.search(&record)? {
        return Err(FreeError::NotSaved(path.to_owned()));
    }
    Ok(search.finish())
}

/// Returns which packs are made of which files at or below a path.
fn sources(
    view: &View<'_>,
    packs: &BTreeMap<u32, PackRecord>,
    path: &Path,
) -> Result<BTreeMap<Vec<u8>, BTreeSet<u32>>, CatalogueError> {
    let mut sources: BTreeMap<Vec<u8>, BTreeSet<u32>> = BTreeMap::new();
    for ordinal in packs.keys() {
        for run in view.sources(*ordinal)?.unwrap_or_default() {
            if Path::new(OsStr::from_bytes(&run.path)).starts_with(path) {
                sources.entry(run.path).or_default().insert(*ordinal);
            }
        }
    }
    Ok(sources)
}

/// A search under way.
struct Search<'a> {
    context: &'a Context<'a>,
    view: View<'a>,
    library: Library<'a>,
    packs: BTreeMap<u32, PackRecord>,
    sources: BTreeMap<Vec<u8>, BTreeSet<u32>>,
    freed: Freed,
    path: &'a [u8],
    may_go: &'a dyn Fn(PackId) -> Result<(), Refusal>,
    /// Packs with the lists that lead to the files.
    lists: BTreeSet<PackId>,
    /// Packs that are made of files that can leave.
    made_of: BTreeSet<u32>,
    found: Found,
}

impl Search<'_> {
    /// Looks at everything at and below the path; returns whether the snapshot has anything there.
    fn search(&mut self, record: &SnapshotRecord) -> Result<bool, FreeError> {
        for segment in &record.segments {
            self.lists.extend(segment.packs.iter().map(|pack| pack.id));
        }
        let wanted = Path::new(OsStr::from_bytes(self.path));
        let mut any = false;
        for root in &record.roots {
            let at = Path::new(OsStr::from_bytes(&root.path));
            let found = if at.starts_with(wanted) {
                Some(root.node.clone())
            } else if let Ok(rest) = wanted.strip_prefix(at) {
                self.descend(&root.node, rest)?
            } else {
                None
            };
            if let Some(node) = found {
                any = true;
                let start = if at.starts_with(wanted) { at } else { wanted };
                let name = start.file_name().map_or(&b""[..], OsStr::as_bytes);
                let folder = start.parent().map(|it| it.as_os_str().as_bytes());
                let memory = folder.and_then(|it| directory(&self.view, it));
                let known = memory.as_ref().and_then(|it| named(it, name));
                self.node(start.as_os_str().as_bytes(), &node, known)?;
            }
        }
        Ok(any)
    }

    /// Follows a path below a root.
    fn descend(&mut self, root: &TreeNode, rest: &Path) -> Result<Option<TreeNode>, FreeError> {
        let mut node = root.clone();
        for name in rest {
            let NodeKind::Directory { content } = &node.kind else {
                return Ok(None);
            };
            let nodes = self.tree(content)?;
            let named = nodes.into_iter().find(|it| it.name == name.as_bytes());
            let Some(found) = named else {
                return Ok(None);
            };
            node = found;
        }
        Ok(Some(node))
    }

    fn tree(&mut self, content: &[ChunkRef]) -> Result<Vec<TreeNode>, FreeError> {
        for chunk in content {
            if let Some(pack) = self.library.pack_of(&chunk.id)? {
                self.lists.insert(pack.id);
            }
        }
        Ok(self.library.tree(content)?.nodes)
    }

    fn node(
        &mut self,
        path: &[u8],
        node: &TreeNode,
        known: Option<&CachedNode>,
    ) -> Result<(), FreeError> {
        match &node.kind {
            NodeKind::File { bytes: 0, .. } | NodeKind::Symlink { .. } => Ok(()),
            NodeKind::File { .. } => self.file(path, node, known),
            NodeKind::Directory { content } => {
                let nodes = self.tree(content)?;
                let here = self.context.disk.list(as_path(path)).unwrap_or_default();
                let saved: BTreeSet<&[u8]> = nodes.iter().map(|it| it.name.as_slice()).collect();
                let unsaved = here.iter().filter(|it| !saved.contains(it.as_bytes()));
                let unsaved = unsaved.count() as u64;
                if unsaved > 0 {
                    self.folder(&[path, &b"/-"[..]].concat()).unsaved += unsaved;
                }
                let memory = directory(&self.view, path);
                for node in &nodes {
                    let known = memory.as_ref().and_then(|it| named(it, &node.name));
                    self.node(&[path, &node.name].join(&b'/'), node, known)?;
                }
                Ok(())
            }
        }
    }

    /// Returns the folder to which a path is counted.
    fn folder(&mut self, path: &[u8]) -> &mut Folder {
        self.found
            .folders
            .entry(group(self.path, path))
            .or_default()
    }

    fn file(
        &mut self,
        path: &[u8],
        node: &TreeNode,
        known: Option<&CachedNode>,
    ) -> Result<(), FreeError> {
        let bytes = bytes_of(node);
        let metadata = match self.context.disk.metadata(as_path(path)) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => {
                if self.freed.get(path).is_some() {
                    self.folder(path).freed.add(bytes);
                }
                // Else it was deleted since: there is nothing to free.
                return Ok(());
            }
            Err(error) => {
                self.folder(path)
                    .stay(Stays::Failed(error.kind()), path, bytes);
                return Ok(());
            }
        };
        let verdict = match self.stays(path, node, known, &metadata) {
            Some(why) => Err(why),
            None => self.packs_of(path, node)?,
        };
        match verdict {
            Err(why) => self.folder(path).stay(why, path, bytes),
            Ok(packs) => {
                self.folder(path).free.add(bytes);
                let ids = packs.iter().filter_map(|it| self.packs.get(it));
                self.found.packs.extend(ids.map(|pack| pack.id));
                self.made_of
                    .extend(self.sources.get(path).into_iter().flatten());
                self.found.leaving.push(Leaving {
                    path: path.to_vec(),
                    node: node.clone(),
                    metadata,
                    folder: group(self.path, path),
                });
            }
        }
        Ok(())
    }

    /// Tells why a file stays, whatever friends have.
    fn stays(
        &self,
        path: &[u8],
        node: &TreeNode,
        known: Option<&CachedNode>,
        metadata: &Metadata,
    ) -> Option<Stays> {
        if metadata.kind != FileKind::File || metadata.bytes != bytes_of(node) {
            return Some(Stays::Changed);
        }
        if metadata.links > 1 {
            return Some(Stays::Linked);
        }
        // An interrupted backup may have seen more of the file than the snapshot.
        let is_same = |known: &CachedNode| known.node == *node && is_unchanged(known, metadata);
        if known.is_some_and(is_same) {
            return None;
        }
        match self.has_content(path, node, metadata) {
            Ok(true) => None,
            Ok(false) => Some(Stays::Changed),
            Err(error) => Some(Stays::Failed(error.kind())),
        }
    }

    /// Reads a file whose facts leave a doubt, and compares it with what was saved.
    fn has_content(&self, path: &[u8], node: &TreeNode, before: &Metadata) -> io::Result<bool> {
        let NodeKind::File { content, .. } = &node.kind else {
            return Ok(false);
        };
        let file = self.context.disk.open(as_path(path), Open::Read)?;
        let key = self.context.keys.chunk_key();
        let mut buffer = vec![0; CHUNK_BYTES_MAX];
        let mut offset = 0;
        for chunk in content {
            let Some(raw) = buffer.get_mut(..chunk.bytes as usize) else {
                return Ok(false);
            };
            match read_exact_at(&*file, raw, offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read?,
            }
            if chunk_id(&key, raw) != chunk.id {
                return Ok(false);
            }
            offset += u64::from(chunk.bytes);
        }
        Ok(offset == before.bytes && file.metadata()? == *before)
    }

    /// Returns the packs that a file needs, and those that are made of it, if all may go.
    fn packs_of(
        &self,
        path: &[u8],
        node: &TreeNode,
    ) -> Result<Result<BTreeSet<u32>, Stays>, FreeError> {
        let NodeKind::File { content, .. } = &node.kind else {
            return Ok(Err(Stays::Changed));
        };
        let mut packs = self.sources.get(path).cloned().unwrap_or_default();
        for chunk in content {
            match self.view.find_chunk(&chunk.id)? {
                Some(place) => drop(packs.insert(place.pack)),
                None => return Ok(Err(Stays::Unpacked)),
            }
        }
        for ordinal in &packs {
            let pack = self.packs.get(ordinal).map(|pack| pack.id);
            let may_go = pack.map_or(Err(Refusal::Unknown), self.may_go);
            if let Err(refusal) = may_go {
                return Ok(Err(Stays::Refused(refusal)));
            }
        }
        Ok(Ok(packs))
    }

    fn finish(mut self) -> Found {
        let refused = self.lists.iter().find_map(|it| (self.may_go)(*it).err());
        if let Some(refusal) = refused {
            // Nobody could find the files again if this device were lost.
            for file in std::mem::take(&mut self.found.leaving) {
                let folder = self.found.folders.entry(file.folder).or_default();
                let why = Stays::Refused(refusal);
                folder.stay(why, &file.path, bytes_of(&file.node));
                folder.free = Tally::default();
            }
            self.found.packs.clear();
            return self.found;
        }
        if !self.found.leaving.is_empty() {
            self.found.packs.extend(self.lists);
        }
        let made_of = self.made_of.iter().filter_map(|it| self.packs.get(it));
        let unmade = made_of.filter(|pack| !self.context.spool.contains(pack.id));
        self.found.unmade = unmade.map(|pack| pack.id).collect();
        self.found
    }
}

impl Found {
    /// Tells whether nothing can leave.
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }

    /// Removes all that can leave. What has changed since it was looked at stays.
    pub fn remove(mut self, context: &Context<'_>) -> Result<BTreeMap<Vec<u8>, Folder>, FreeError> {
        let mut freed = Freed::read(context.disk, context.home)?;
        for file in &self.leaving {
            freed.insert(file.path.clone(), file.node.clone());
        }
        freed.write(context.disk, context.home)?;
        let mut batch = context.catalogue.batch()?;
        for pack in &self.unmade {
            batch.forget_sources(*pack)?;
        }
        batch.commit()?;
        let mut stayed = false;
        for file in self.leaving {
            if let Err(why) = leave(context.disk, &file) {
                let bytes = bytes_of(&file.node);
                let folder = self.folders.entry(file.folder).or_default();
                folder.free.files -= 1;
                folder.free.bytes -= bytes;
                folder.stay(why, &file.path, bytes);
                freed.remove(&file.path);
                stayed = true;
            }
        }
        if stayed {
            freed.write(context.disk, context.home)?;
        }
        Ok(self.folders)
    }
}

/// Removes a file that is still as it was when it was looked at.
fn leave(disk: &dyn Disk, file: &Leaving) -> Result<(), Stays> {
    let failed = |error: io::Error| Stays::Failed(error.kind());
    let path = as_path(&file.path);
    let metadata = disk.metadata(path).map_err(failed)?;
    if metadata != file.metadata {
        return Err(Stays::Changed);
    }
    disk.remove_file(path).map_err(failed)
}

/// Tells whether nothing is at a path, be it that something else stands where its folder was.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn named<'a>(directory: &'a CachedDirectory, name: &[u8]) -> Option<&'a CachedNode> {
    let nodes = &directory.nodes;
    let at = nodes.binary_search_by(|it| it.node.name.as_slice().cmp(name));
    at.ok().map(|at| &nodes[at])
}

/// Returns the folder directly below `top` in which `path` lies, or `top` itself.
fn group(top: &[u8], path: &[u8]) -> Vec<u8> {
    let rest = path.strip_prefix(top).unwrap_or_default();
    let skip = usize::from(rest.first() == Some(&b'/'));
    match rest[skip..].iter().position(|it| *it == b'/') {
        Some(length) => path[..top.len() + skip + length].to_vec(),
        None => top.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_to_the_folder_below_the_path() {
        let of = |top: &str, path: &str| {
            let group = group(top.as_bytes(), path.as_bytes());
            String::from_utf8(group).unwrap()
        };
        assert_eq!(of("/photos", "/photos/a.jpg"), "/photos");
        assert_eq!(of("/photos", "/photos/2026/a.jpg"), "/photos/2026");
        assert_eq!(of("/photos", "/photos/2026/may/a.jpg"), "/photos/2026");
        assert_eq!(of("/photos/a.jpg", "/photos/a.jpg"), "/photos/a.jpg");
        assert_eq!(of("/", "/photos/2026/a.jpg"), "/photos");
    }
}
