//! The directory that a restore writes into, and nothing outside it.
//!
//! Everything goes through directory handles, one component at a time, and a symbolic link is never
//! followed: neither a name in a tree nor a link that lies in the target can lead out of it. Files
//! come into being under a name of our own and are renamed when they are complete, so a name that
//! exists is a file that is whole.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use carryall_core::id::hex;
use rustix::{
    fs::{self as sys, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid},
    io::Errno,
};

use super::Failure;

/// Directory handles kept open. A path is walked from the nearest open ancestor.
const HANDLES_MAX: usize = 128;

/// Owner, permissions and time that a restored thing gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_ns: i128,
}

/// What already lies at a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    /// A regular file of this length and modification time.
    File {
        bytes: u64,
        mtime_ns: i128,
    },
    Symlink {
        target: Vec<u8>,
    },
    Directory,
    Other,
}

/// A directory inside the target, by its number in the plan; 0 is the target itself.
pub(super) type DirectoryNumber = u32;

/// An open target directory.
#[derive(Debug)]
pub(super) struct Target {
    root: Arc<OwnedFd>,
    /// Whether owners can be given away.
    privileged: bool,
    handles: Mutex<BTreeMap<DirectoryNumber, Arc<OwnedFd>>>,
}

/// An incomplete file, open for writing.
#[derive(Debug)]
pub(super) struct Part {
    fd: OwnedFd,
}

impl Target {
    /// Opens `path`, made if missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let root = sys::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            root: Arc::new(root),
            privileged: rustix::process::geteuid().is_root(),
            handles: Mutex::new(BTreeMap::new()),
        })
    }

    /// Returns the handle of a directory. `parent` tells each directory's parent and name.
    pub(super) fn directory<'a>(
        &self,
        number: DirectoryNumber,
        parent: &impl Fn(DirectoryNumber) -> (DirectoryNumber, &'a [u8]),
    ) -> Result<Arc<OwnedFd>, Failure> {
        let mut missing = Vec::new();
        let mut at = number;
        let mut fd = loop {
            if at == 0 {
                break Arc::clone(&self.root);
            }
            if let Some(fd) = self.lock().get(&at) {
                break Arc::clone(fd);
            }
            missing.push(at);
            at = parent(at).0;
        };
        while let Some(next) = missing.pop() {
            fd = Arc::new(open_directory(&fd, parent(next).1)?);
            let mut handles = self.lock();
            if handles.len() >= HANDLES_MAX {
                handles.clear();
            }
            handles.insert(next, Arc::clone(&fd));
        }
        Ok(fd)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<DirectoryNumber, Arc<OwnedFd>>> {
        // A panic elsewhere can't leave a map of handles half changed.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what lies at `name`.
    pub(super) fn existing(&self, directory: &OwnedFd, name: &[u8]) -> Result<Existing, Failure> {
        let stat = match sys::statat(directory, os(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Existing::File {
                bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000
                    + i128::from(stat.st_mtime_nsec),
            },
            FileType::Directory => Existing::Directory,
            FileType::Symlink => Existing::Symlink {
                target: sys::readlinkat(directory, os(name), Vec::new())?.into_bytes(),
            },
            _ => Existing::Other,
        })
    }

    /// Makes the directory `name`, open to its owner only until [`Self::finish_directory`].
    /// Returns whether it is new.
    pub(super) fn make_directory(&self, directory: &OwnedFd, name: &[u8]) -> Result<bool, Failure> {
        match sys::mkdirat(directory, os(name), Mode::RWXU) {
            Ok(()) => Ok(true),
            // It must be a true directory, which opening it finds out.
            Err(Errno::EXIST) => open_directory(directory, name).map(|_| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the file or link `name`; a directory stays and is a failure.
    pub(super) fn remove(&self, directory: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
        match sys::unlinkat(directory, os(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the incomplete file that is to become `name`, made with `bytes` of holes if missing.
    pub(super) fn part(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        bytes: u64,
    ) -> Result<Part, Failure> {
        let fd = sys::openat(
            directory,
            part_name(name).as_str(),
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        if bytes > 0 {
            sys::ftruncate(&fd, bytes)?;
        }
        Ok(Part { fd })
    }

    /// Returns the names of all incomplete files that an earlier restore left in a directory.
    pub(super) fn parts(&self, directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Failure> {
        let mut parts = Vec::new();
        for entry in sys::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if is_part_name(name) {
                parts.push(name.to_vec());
            }
        }
        Ok(parts)
    }

    /// Opens an incomplete file that an earlier restore left, for reading and writing; nothing if it is
    /// something else.
    pub(super) fn left_part(&self, directory: &OwnedFd, part: &[u8]) -> Option<Part> {
        let how = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = sys::openat(directory, os(part), how, Mode::empty()).ok()?;
        let found = sys::fstat(&fd).ok()?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        is_file.then_some(Part { fd })
    }

    /// Removes what is there of the incomplete file `name`, if anything.
    pub(super) fn remove_part(&self, directory: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
        self.remove(directory, part_name(name).as_bytes())
    }

    /// Gives a complete file its attributes and then its name. Without `replace` a name that is
    /// taken is a failure, and the incomplete file is removed.
    pub(super) fn finish(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        part: Part,
        attributes: &Attributes,
        replace: bool,
    ) -> Result<(), Failure> {
        self.dress(&part.fd, attributes)?;
        drop(part);
        let from = part_name(name);
        let moved = if replace {
            sys::renameat(directory, from.as_str(), directory, os(name))
        } else {
            rename_new(directory, from.as_str(), name)
        };
        moved.map_err(|error| {
            // What is left would never be looked at again; failing to remove it changes nothing.
            let _ = sys::unlinkat(directory, from.as_str(), AtFlags::empty());
            error.into()
        })
    }

    /// Makes the symbolic link `name`.
    pub(super) fn symlink(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        target: &[u8],
        attributes: &Attributes,
    ) -> Result<(), Failure> {
        sys::symlinkat(os(target), directory, os(name))?;
        if self.privileged {
            sys::chownat(
                directory,
                os(name),
                Some(Uid::from_raw(attributes.uid)),
                Some(Gid::from_raw(attributes.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        sys::utimensat(
            directory,
            os(name),
            &times(attributes.mtime_ns),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(())
    }

    /// Makes `name` another name of an already complete file.
    pub(super) fn hard_link(
        &self,
        of: (&OwnedFd, &[u8]),
        directory: &OwnedFd,
        name: &[u8],
    ) -> Result<(), Failure> {
        sys::linkat(of.0, os(of.1), directory, os(name), AtFlags::empty())?;
        Ok(())
    }

    /// Gives a directory its attributes, once nothing more is made in it.
    pub(super) fn finish_directory(
        &self,
        directory: &OwnedFd,
        attributes: &Attributes,
    ) -> Result<(), Failure> {
        self.dress(directory, attributes)
    }

    fn dress(&self, fd: &OwnedFd, attributes: &Attributes) -> Result<(), Failure> {
        let mut mode = attributes.mode & 0o7777;
        if self.privileged {
            sys::fchown(
                fd,
                Some(Uid::from_raw(attributes.uid)),
                Some(Gid::from_raw(attributes.gid)),
            )?;
        } else if mode & 0o6000 != 0 && !self.owned_as_recorded(fd, attributes)? {
            // Somebody else's set-uid program must not become ours.
            mode &= 0o1777;
        }
        sys::fchmod(fd, Mode::from_raw_mode(mode.into()))?;
        sys::futimens(fd, &times(attributes.mtime_ns))?;
        Ok(())
    }

    fn owned_as_recorded(&self, fd: &OwnedFd, attributes: &Attributes) -> Result<bool, Failure> {
        let stat = sys::fstat(fd)?;
        Ok(stat.st_uid == attributes.uid && stat.st_gid == attributes.gid)
    }
}

impl Part {
    /// Fills `buffer` from `offset` on. Tells whether there was so much.
    pub(super) fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> bool {
        while !buffer.is_empty() {
            match rustix::io::pread(self.fd.as_fd(), &mut *buffer, offset) {
                Ok(0) => return false,
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(self.fd.as_fd(), bytes, offset) {
                Ok(0) => return Err(Failure::Full),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Refuses names that aren't one plain component.
pub(super) fn check_name(name: &[u8]) -> Result<(), Failure> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|&b| b == b'/' || b == 0)
    {
        return Err(Failure::BadName);
    }
    Ok(())
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// The name of an incomplete file: of fixed length, since `name` may have 255 bytes already.
pub(super) fn part_name(name: &[u8]) -> String {
    let hash = blake3::hash(name);
    format!(".carryall-{}.part", hex(&hash.as_bytes()[..8]))
}

fn is_part_name(name: &[u8]) -> bool {
    name.strip_prefix(b".carryall-")
        .and_then(|rest| rest.strip_suffix(b".part"))
        .is_some_and(|middle| middle.len() == 16 && middle.iter().all(u8::is_ascii_hexdigit))
}

fn open_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Failure> {
    check_name(name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::openat(parent, os(name), flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => Failure::NotDirectory,
        error => error.into(),
    })
}

/// Renames without replacing; file systems that can't promise that get a look first.
fn rename_new(directory: &OwnedFd, from: &str, name: &[u8]) -> Result<(), Errno> {
    match sys::renameat_with(directory, from, directory, os(name), RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return result,
    }
    match sys::statat(directory, os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => sys::renameat(directory, from, directory, os(name)),
        Err(error) => Err(error),
    }
}

fn times(mtime_ns: i128) -> Timestamps {
    let seconds = mtime_ns.div_euclid(1_000_000_000);
    let nanos = mtime_ns.rem_euclid(1_000_000_000);
    let limit = if seconds < 0 { i64::MIN } else { i64::MAX };
    let modified = sys::Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(limit),
        tv_nsec: i64::try_from(nanos).unwrap_or_default() as _,
    };
    let accessed = sys::Timespec {
        tv_sec: 0,
        tv_nsec: sys::UTIME_OMIT as _,
    };
    Timestamps {
        last_access: accessed,
        last_modification: modified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"../x", b"a\0"] {
            assert_eq!(
                check_name(name),
                Err(Failure::BadName),
                "{}",
                name.escape_ascii()
            );
        }
        for name in [&b"..."[..], b"..a", b"a b", b"\xff", b"two\nlines"] {
            assert_eq!(check_name(name), Ok(()), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn incomplete_files_are_known_by_their_names_alone() {
        let long = part_name(&[b'x'; 255]);
        assert!(long.len() < 64);
        assert!(is_part_name(long.as_bytes()));
        assert_ne!(long, part_name(b"y"));
        for name in [
            &b".carryall-.part"[..],
            b".carryall-0123456789abcdeg.part",
            b"a.part",
        ] {
            assert!(!is_part_name(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        let times = times(-1);
        assert_eq!(times.last_modification.tv_sec, -1);
        assert_eq!(times.last_modification.tv_nsec, 999_999_999);
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced_behind_its_back() {
        let place = tempfile::tempdir().unwrap();
        let target = Target::open(place.path()).unwrap();
        let root = target.directory(0, &|_| (0, &b""[..])).unwrap();
        let part = target.part(&root, b"a", 3).unwrap();
        part.write_at(b"new", 0).unwrap();
        std::fs::write(place.path().join("a"), b"old").unwrap();
        let attributes = Attributes {
            mode: 0o644,
            ..Attributes::default()
        };
        let taken = target.finish(&root, b"a", part, &attributes, false);
        assert_eq!(taken, Err(Failure::NameTaken));
        assert_eq!(std::fs::read(place.path().join("a")).unwrap(), b"old");
        assert_eq!(
            std::fs::read_dir(place.path()).unwrap().count(),
            1,
            "no leftover"
        );
    }
}
