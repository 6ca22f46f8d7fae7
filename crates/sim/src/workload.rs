//! What people do with their files, and what the files looked like at each snapshot.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use carryall_store::{
    disk::{Disk, FileKind, Open},
    mem_disk::MemDisk,
};

use crate::{host::FILES, rng::Rng};

/// Folders that files lie in.
const FOLDERS: [&str; 3] = ["", "photos", "photos/2026"];
/// Most files of a member.
const FILES_MAX: usize = 24;

/// One thing in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) mtime_ns: i128,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file: its length and the BLAKE3 hash of its content.
    File(u64, [u8; 32]),
    Directory,
    Link(PathBuf),
}

/// All that lies below a folder, by path relative to it.
pub(crate) type Portrait = BTreeMap<PathBuf, Thing>;

/// Returns what lies below the files' folder of a disk.
pub(crate) fn portrait(disk: &MemDisk) -> io::Result<Portrait> {
    let mut portrait = Portrait::new();
    look(disk, Path::new(FILES), Path::new(""), &mut portrait)?;
    Ok(portrait)
}

fn look(disk: &MemDisk, root: &Path, below: &Path, portrait: &mut Portrait) -> io::Result<()> {
    for name in disk.list(&root.join(below))? {
        let (path, below) = (root.join(below).join(&name), below.join(&name));
        let facts = disk.metadata(&path)?;
        let kind = match facts.kind {
            FileKind::File => {
                let content = disk.read_file(&path)?;
                Kind::File(content.len() as u64, *blake3::hash(&content).as_bytes())
            }
            FileKind::Directory => {
                look(disk, root, &below, portrait)?;
                Kind::Directory
            }
            FileKind::Symlink => Kind::Link(disk.read_link(&path)?),
            FileKind::Other => continue,
        };
        let (mode, mtime_ns) = (facts.mode, facts.mtime_ns);
        portrait.insert(
            below,
            Thing {
                kind,
                mode,
                mtime_ns,
            },
        );
    }
    Ok(())
}

/// Fills an empty disk with a member's first files.
pub(crate) fn begin(disk: &MemDisk, rng: &mut Rng) -> io::Result<()> {
    for at in 0..rng.between(4, 9) {
        write(disk, at, rng)?;
    }
    disk.create_dir_all(&Path::new(FILES).join("empty"))?;
    disk.symlink(Path::new("photos"), &Path::new(FILES).join("album"))
}

/// Adds a file.
pub(crate) fn add(disk: &MemDisk, name: &Path, content: &[u8]) -> io::Result<()> {
    disk.create_dir_all(Path::new(FILES))?;
    save(disk, &Path::new(FILES).join(name), content)
}

/// Adds, changes and removes a few files, as on a usual day.
pub(crate) fn change(disk: &MemDisk, rng: &mut Rng) -> io::Result<()> {
    disk.create_dir_all(Path::new(FILES))?;
    for _ in 0..rng.between(1, 4) {
        let mut files = disk.files();
        files.retain(|path| path.starts_with(FILES) && path.extension().is_some());
        let what = rng.below(10);
        if what < 5 || files.is_empty() {
            write(disk, rng.next(), rng)?;
        } else if what < 8 && files.len() < FILES_MAX {
            let path = &files[rng.index(files.len())];
            let mut content = disk.read_file(path)?;
            let at = rng.index(content.len() + 1);
            let inserted = rng.index(300);
            content.splice(at..at, rng.bytes(inserted));
            save(disk, path, &content)?;
        } else {
            disk.remove_file(&files[rng.index(files.len())])?;
        }
    }
    Ok(())
}

fn write(disk: &MemDisk, name: u64, rng: &mut Rng) -> io::Result<()> {
    let folder = FOLDERS[rng.index(FOLDERS.len())];
    let path = Path::new(FILES).join(folder).join(format!("{name:x}.jpg"));
    let len = match rng.below(12) {
        0 => 0,
        // At least 256 KiB: its packs are rebuilt from the file.
        1 | 2 => rng.between(256 << 10, 500 << 10),
        _ => rng.between(1, 24 << 10),
    };
    let content = rng.bytes(usize::try_from(len).unwrap_or(0));
    save(disk, &path, &content)
}

/// Writes a file, and lets the disk take it: files are older than the accidents that happen to them.
fn save(disk: &MemDisk, path: &Path, content: &[u8]) -> io::Result<()> {
    disk.write_file(path, content)?;
    disk.open(path, Open::Write)?.sync()?;
    for directory in path.ancestors().skip(1) {
        disk.sync_dir(directory)?;
    }
    Ok(())
}
