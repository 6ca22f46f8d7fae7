//! What was freed: files that left this device because friends hold them, one small file in the home.
//!
//! A name on this list that is not on the disk has not been deleted: every snapshot goes on to hold it,
//! and no prune gives up what it consists of. So the list is written before the first file goes, and a
//! backup that can't read it makes no snapshot.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::{Path, PathBuf},
};

use carryall_core::{
    codec::{decode, encode},
    record::{NodeKind, TreeNode},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    disk::{Disk, FileKind, Metadata, Open, read_exact_at, replace},
    error::{At, DiskError},
    scan::CachedNode,
};

// Format: docs/format.md, section 14.
const MAGIC: &[u8; 7] = b"CRYFREE";
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 32;
/// The list's name in the home.
const NAME: &str = "freed";

/// Why the list can't be read or written.
#[derive(Debug, Error)]
pub enum FreedError {
    /// It is not as it was written.
    #[error(
        "the list of freed files, {}, is damaged; nothing was changed, and friends have the files: \
         move it away and restore them from the newest snapshot",
        .0.display()
    )]
    Damaged(PathBuf),
    /// A newer program wrote it.
    #[error("the list of freed files has format version {found}, this program reads up to {known}")]
    TooNew {
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Files that were freed, by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed(BTreeMap<Vec<u8>, TreeNode>);

/// One line of the list.
#[derive(Serialize, Deserialize)]
struct Line {
    path: Vec<u8>,
    node: TreeNode,
}

impl Freed {
    /// Reads the list of a home; an empty one if there is none.
    pub fn read(disk: &dyn Disk, home: &Path) -> Result<Self, FreedError> {
        let path = home.join(NAME);
        let file = match disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.at("open", &path)?,
        };
        let damaged = || FreedError::Damaged(path.clone());
        let len = usize::try_from(file.len().at("look at", &path)?).map_err(|_| damaged())?;
        let mut bytes = vec![0; len];
        read_exact_at(&*file, &mut bytes, 0).at("read", &path)?;
        let start = len.checked_sub(CHECK_BYTES).ok_or_else(damaged)?;
        let (content, check) = bytes.split_at(start);
        if blake3::hash(content).as_bytes() != check {
            return Err(damaged());
        }
        let lines = match content.strip_prefix(MAGIC).and_then(<[u8]>::split_first) {
            Some((&VERSION, lines)) => lines,
            Some((&found, _)) if found > VERSION => {
                let known = VERSION;
                return Err(FreedError::TooNew { found, known });
            }
            _ => return Err(damaged()),
        };
        let lines: Vec<Line> = decode("freed files", lines).map_err(|_| damaged())?;
        Ok(Self(
            lines.into_iter().map(|it| (it.path, it.node)).collect(),
        ))
    }

    /// Writes the list, durably.
    pub fn write(&self, disk: &dyn Disk, home: &Path) -> Result<(), FreedError> {
        let line = |(path, node): (&Vec<u8>, &TreeNode)| Line {
            path: path.clone(),
            node: node.clone(),
        };
        let lines: Vec<Line> = self.0.iter().map(line).collect();
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&encode(&lines));
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        Ok(replace(disk, &home.join(NAME), &bytes)?)
    }

    /// Adds a file as it was saved last.
    pub fn insert(&mut self, path: Vec<u8>, node: TreeNode) {
        self.0.insert(path, node);
    }

    /// Takes a file off the list.
    pub fn remove(&mut self, path: &[u8]) -> Option<TreeNode> {
        self.0.remove(path)
    }

    /// Returns a file as it was saved last.
    pub fn get(&self, path: &[u8]) -> Option<&TreeNode> {
        self.0.get(path)
    }

    /// Returns all files.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], &TreeNode)> {
        self.0.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether nothing was freed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many bytes the files have.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(bytes_of).sum()
    }

    /// Takes the file at `path`, or all below it, off the list and returns them.
    pub fn take(&mut self, path: &[u8]) -> Vec<(Vec<u8>, TreeNode)> {
        let below = below(path);
        let taken = |at: &Vec<u8>, _: &mut TreeNode| at == path || at.starts_with(&below);
        self.0.extract_if(.., taken).collect()
    }

    /// Returns the names in the directory at `path` that are on the list, or lead to what is; one may
    /// come twice.
    pub(crate) fn names_in(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let prefix = below(path);
        let mut names = Vec::new();
        let mut from = prefix.clone();
        while let Some((found, _)) = self.first_from(&from) {
            let Some(rest) = found.strip_prefix(prefix.as_slice()) else {
                break;
            };
            let name: Vec<u8> = rest.split(|it| *it == b'/').next().unwrap_or(rest).to_vec();
            // What comes behind all below this name: a slash's successor is no part of it.
            from = [prefix.as_slice(), &name, b"0"].concat();
            if name.len() == rest.len() {
                // A file: others may begin like it.
                from = [found.as_slice(), b"\0"].concat();
            }
            names.push(name);
        }
        names
    }

    /// Returns what a walk shall find at a path where nothing is: a file as it was saved, or a folder
    /// that leads to such; nothing if nothing was freed there.
    pub(crate) fn stand_in(&self, path: &[u8]) -> Option<StandIn> {
        if let Some(node) = self.0.get(path) {
            return Some(StandIn::File(CachedNode {
                node: node.clone(),
                ctime_ns: 0,
                ino: 0,
                settled: true,
            }));
        }
        let prefix = below(path);
        let (found, node) = self.first_from(&prefix)?;
        found
            .starts_with(&prefix)
            .then_some(StandIn::Folder(Metadata {
                kind: FileKind::Directory,
                bytes: 0,
                mode: 0o755,
                uid: node.uid,
                gid: node.gid,
                mtime_ns: node.mtime_ns,
                ctime_ns: 0,
                dev: 0,
                ino: 0,
                links: 1,
            }))
    }

    fn first_from(&self, path: &[u8]) -> Option<(&Vec<u8>, &TreeNode)> {
        let all = (Bound::Included(path), Bound::Unbounded);
        self.0.range::<[u8], _>(all).next()
    }
}

/// What stands for a name that is not there because it was freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// A freed file.
    File(CachedNode),
    /// A folder with freed files in it.
    Folder(Metadata),
}

/// Returns how many bytes a file has.
pub(crate) const fn bytes_of(node: &TreeNode) -> u64 {
    match &node.kind {
        NodeKind::File { bytes, .. } => *bytes,
        NodeKind::Directory { .. } | NodeKind::Symlink { .. } => 0,
    }
}

/// Returns how the paths of all that lies in a directory begin.
fn below(path: &[u8]) -> Vec<u8> {
    let mut prefix = path.to_vec();
    if prefix.last() != Some(&b'/') {
        prefix.push(b'/');
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem_disk::MemDisk;

    const HOME: &str = "/v";

    fn file(name: &str) -> TreeNode {
        TreeNode {
            name: name.as_bytes().to_vec(),
            kind: NodeKind::File {
                bytes: 10,
                content: Vec::new(),
                link: 0,
                preview: None,
            },
            mode: 0o644,
            uid: 7,
            gid: 8,
            mtime_ns: 9,
        }
    }

    fn list(paths: &[&str]) -> Freed {
        let mut freed = Freed::default();
        for path in paths {
            let name = path.rsplit('/').next().unwrap();
            freed.insert(path.as_bytes().to_vec(), file(name));
        }
        freed
    }

    fn names(freed: &Freed, path: &str) -> Vec<String> {
        let mut names = freed.names_in(path.as_bytes());
        names.sort();
        names.dedup();
        let names = names.into_iter().map(|it| String::from_utf8(it).unwrap());
        names.collect()
    }

    #[test]
    fn names_are_those_of_files_and_of_folders_that_lead_to_them() {
        let freed = list(&[
            "/a/b", "/a/b.txt", "/a/b/c", "/a/b/d/e", "/a/b0", "/ab/c", "/z",
        ]);
        assert_eq!(names(&freed, "/a"), ["b", "b.txt", "b0"]);
        assert_eq!(names(&freed, "/a/b"), ["c", "d"]);
        assert_eq!(names(&freed, "/"), ["a", "ab", "z"]);
        assert!(names(&freed, "/a/b.txt").is_empty());
        let stand_in = |path: &str| freed.stand_in(path.as_bytes());
        assert!(matches!(stand_in("/a/b.txt"), Some(StandIn::File(it)) if it.node.uid == 7));
        assert!(matches!(stand_in("/a/b/d"), Some(StandIn::Folder(it)) if it.gid == 8));
        assert_eq!(stand_in("/a/b/x"), None);
        assert_eq!(stand_in("/b"), None);
    }

    #[test]
    fn what_is_taken_off_is_what_is_below() {
        let mut freed = list(&["/a", "/a/b", "/ab", "/a/c/d"]);
        assert_eq!(freed.take(b"/a/").len(), 2);
        assert_eq!(freed.len(), 2);
        assert_eq!(freed.take(b"/a").len(), 1);
        assert_eq!((freed.len(), freed.bytes()), (1, 10));
    }

    #[test]
    fn the_list_comes_back_or_says_that_it_is_damaged() {
        let disk = MemDisk::new();
        let home = Path::new(HOME);
        disk.create_dir_all(home).unwrap();
        assert!(Freed::read(&disk, home).unwrap().is_empty());
        let freed = list(&["/a/b", "/c"]);
        freed.write(&disk, home).unwrap();
        assert_eq!(Freed::read(&disk, home).unwrap(), freed);
        let path = home.join(NAME);
        let bytes = disk.read_file(&path).unwrap();
        for cut in [0, 5, 40, bytes.len() - 1] {
            disk.write_file(&path, &bytes[..cut]).unwrap();
            let read = Freed::read(&disk, home);
            assert!(matches!(read, Err(FreedError::Damaged(_))), "{cut}");
        }
        let mut newer = bytes[..bytes.len() - CHECK_BYTES].to_vec();
        newer[MAGIC.len()] = 9;
        let check = *blake3::hash(&newer).as_bytes();
        newer.extend_from_slice(&check);
        disk.write_file(&path, &newer).unwrap();
        let read = Freed::read(&disk, home);
        assert!(matches!(read, Err(FreedError::TooNew { found: 9, .. })));
    }
}
