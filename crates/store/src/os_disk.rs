//! The disk that the operating system offers. It never follows a symbolic link at the end of a path.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, OFlags};

use crate::disk::{Disk, DiskFile, DiskLock, FileKind, Metadata, Open};

/// The operating system's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile(File);

#[derive(Debug)]
struct OsLock {
    /// Closing it gives up the lock.
    _file: File,
}

impl DiskLock for OsLock {}

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn prefetch(&self) {
        // Advice, as below: where it is not taken somebody waits a little.
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::WillNeed);
    }

    fn uncache(&self) {
        let _ = rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed);
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(facts(&self.0.metadata()?))
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        // Without O_NONBLOCK the opening of a FIFO would wait for a writer; a regular file ignores it.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600).custom_flags(flags);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true).create(true);
            }
            Open::New => {
                options.write(true).create_new(true);
            }
        }
        regular(options.open(path)?)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(facts(&fs::symlink_metadata(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn room(&self, path: &Path) -> io::Result<(u64, u64)> {
        let mut here = path;
        loop {
            match rustix::fs::statvfs(here) {
                Ok(facts) => {
                    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
                    let total = facts.f_blocks.saturating_mul(facts.f_frsize);
                    return Ok((free, total));
                }
                Err(rustix::io::Errno::NOENT) => match here.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => here = parent,
                    Some(_) if here != Path::new(".") => here = Path::new("."),
                    _ => return Err(io::ErrorKind::NotFound.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?)
            .open(path)?;
        lock(file)
    }
}

/// Returns an open file as the store uses it, if it is a regular one.
pub(crate) fn regular(file: File) -> io::Result<Box<dyn DiskFile>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(Box::new(OsFile(file)))
}

/// Locks an open file.
pub(crate) fn lock(file: File) -> io::Result<Box<dyn DiskLock>> {
    match file.try_lock() {
        Ok(()) => Ok(Box::new(OsLock { _file: file })),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Translates what the system says about a file.
pub(crate) fn facts(found: &fs::Metadata) -> Metadata {
    let file_type = found.file_type();
    let kind = if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Directory
    } else if file_type.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    };
    let nanos = |secs: i64, rest: i64| i128::from(secs) * 1_000_000_000 + i128::from(rest);
    Metadata {
        kind,
        bytes: found.len(),
        mode: u16::try_from(found.mode() & 0o7777).expect("twelve bits fit"),
        uid: found.uid(),
        gid: found.gid(),
        mtime_ns: nanos(found.mtime(), found.mtime_nsec()),
        ctime_ns: nanos(found.ctime(), found.ctime_nsec()),
        dev: found.dev(),
        ino: found.ino(),
        links: found.nlink(),
    }
}
