//! The one narrow door to a file system: what the store needs of a disk, and nothing more.
//!
//! The operating system implements it ([`crate::os_disk`]), and so does the simulator, whose disks
//! lose unsynced writes, tear, rot and fill up.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

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
    /// For reading; it must exist. A symbolic link at the end is refused.
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
    /// Returns the facts about the open file.
    fn metadata(&self) -> io::Result<Metadata>;
}

/// A file system.
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
    /// Returns free and total bytes of the file system that holds `path`.
    fn room(&self, path: &Path) -> io::Result<(u64, u64)>;
}
