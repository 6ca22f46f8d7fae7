//! The one narrow door to a file system: what the store needs of a disk, and nothing more.
//!
//! The operating system implements it ([`crate::os_disk`]), and so does the simulator, whose disks
//! lose unsynced writes, tear, rot and fill up.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::error::{At, DiskError};

/// What lies at a path; symbolic links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// The facts about a path that the store uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of hard links.
    pub links: u64,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist and be a regular file. A symbolic link at the end is refused.
    Read,
    /// For reading and writing; made if missing (mode 0600).
    Write,
    /// For reading and writing; it must not exist.
    New,
}

/// An open file. All methods take absolute offsets, so that threads can share it.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Tells whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Puts the content on stable storage (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Has the system read the content ahead, in the background, if it likes to.
    fn prefetch(&self) {}
    /// Lets the system's cache go of content that is on stable storage: nobody reads it soon.
    fn uncache(&self) {}
    /// Returns the facts about the open file.
    fn metadata(&self) -> io::Result<Metadata>;
}

/// An exclusive lock on a file, held until it is dropped.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// A file system. Content is on stable storage after [`DiskFile::sync`], names after
/// [`Disk::sync_dir`] of the directory they are in, and not before.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;
    /// Returns the facts about a path, without following a symbolic link at its end.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Returns the names in a directory, in any order, `.` and `..` left out.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;
    /// Returns where a symbolic link points.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Makes a directory and its parents (mode 0700); existing ones are fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing what `to` names, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Puts a directory's names on stable storage (fsync of the directory).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Returns free and total bytes of the file system that holds `path`, or would hold it.
    fn room(&self, path: &Path) -> io::Result<(u64, u64)>;
    /// Locks a file, made if missing, against other processes and other callers. Fails with
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds the lock.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Makes a directory and its missing parents, and puts their names on stable storage.
pub(crate) fn make_dir(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    let mut missing = Vec::new();
    let mut here = path;
    loop {
        match disk.metadata(here) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(here),
            Err(error) => return Err(error).at("look at", here),
        }
        match here.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => here = parent,
            _ => break,
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let made = (|| {
        disk.create_dir_all(path).at("make directory", path)?;
        for made in &missing {
            if let Some(parent) = made
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                disk.sync_dir(parent).at("sync", parent)?;
            }
        }
        Ok(())
    })();
    if made.is_err() {
        // A directory that is there is taken for a durable one, so none may stay that isn't.
        for made in &missing {
            let _ = disk.remove_dir(made);
        }
    }
    made
}

/// Replaces a file's content atomically and durably: after a crash it is the old or the new one.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    let written = (|| {
        remove_if_there(disk, &draft)?;
        let file = disk.open(&draft, Open::New).at("create", &draft)?;
        file.write_at(bytes, 0).at("write", &draft)?;
        file.sync().at("sync", &draft)?;
        disk.rename(&draft, path).at("rename", &draft)
    })();
    if written.is_err() {
        // What is left would only take room; the error that matters is the first one.
        let _ = disk.remove_file(&draft);
    }
    written?;
    match path.parent() {
        Some(parent) => disk.sync_dir(parent).at("sync", parent),
        None => Ok(()),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Reads exactly `buffer.len()` bytes at `offset`.
pub(crate) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}
