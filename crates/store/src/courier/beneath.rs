//! What lies beneath one directory, and nothing outside it: a disk from somebody's pocket is reached
//! through directory handles, and no symbolic link is followed anywhere.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self as sys, AtFlags, Dir, Mode, OFlags},
    io::Errno,
};

use crate::{
    disk::{Disk, DiskFile, DiskLock, Metadata, Open},
    os_disk::{facts, lock, regular},
};

/// Most names of one directory that are looked at.
const NAMES_MAX: usize = 1 << 16;

/// A directory and what lies beneath it. Paths are relative to it.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    /// Opens a directory. `path` itself is the owner's word, and may lead through links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = sys::open(path, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// Opens a directory beneath.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut here = self.root.try_clone()?;
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => here = subdirectory(&here, name)?,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(here)
    }

    /// Opens the directory that a path's last name lies in.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent)?, name))
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let (directory, name) = self.parent(path)?;
        // Without O_NONBLOCK the opening of a FIFO would wait for a writer.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        Ok(sys::openat(directory, name, flags, mode)?.into())
    }
}

fn subdirectory(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(sys::openat(parent, name, flags, Mode::empty())?)
}

impl Disk for Beneath {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let flags = match how {
            Open::Read => OFlags::RDONLY,
            Open::Write => OFlags::RDWR | OFlags::CREATE,
            Open::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        regular(self.open_file(path, flags)?)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        if path.file_name().is_none() {
            return Ok(facts(&File::from(self.directory(path)?).metadata()?));
        }
        #[cfg(target_os = "linux")]
        let look = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let look = OFlags::RDONLY;
        Ok(facts(&self.open_file(path, look)?.metadata()?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.directory(path)?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
            if names.len() >= NAMES_MAX {
                break;
            }
        }
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (directory, name) = self.parent(path)?;
        let target = sys::readlinkat(directory, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut here = self.root.try_clone()?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            match sys::mkdirat(&here, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => here = subdirectory(&here, name)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((old, from), (new, to)) = (self.parent(from)?, self.parent(to)?);
        Ok(sys::renameat(old, from, new, to)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(sys::unlinkat(directory, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        Ok(sys::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match sys::fsync(self.directory(path)?) {
            // Some file systems have no such thing: syncing a file there syncs its name.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            synced => Ok(synced?),
        }
    }

    fn room(&self, _path: &Path) -> io::Result<(u64, u64)> {
        let facts = sys::fstatvfs(&self.root)?;
        let size = facts.f_frsize;
        let free = facts.f_bavail.saturating_mul(size);
        Ok((free, facts.f_blocks.saturating_mul(size)))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        lock(self.open_file(path, OFlags::RDWR | OFlags::CREATE)?)
    }
}
