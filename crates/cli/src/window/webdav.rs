//! The window as a WebDAV share, for systems without FUSE.
//!
//! WebDAV knows no symbolic links: those that lead somewhere in the window are followed, the others are
//! not there. Nothing can be written: `door` lets no such method in.

mod door;

use std::{
    ffi::OsStr,
    io::SeekFrom,
    os::unix::ffi::OsStrExt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, Bytes};
use carryall_daemon::api::snapshot::ListKind;
use dav_server::{
    davpath::DavPath,
    fs::{
        DavDirEntry, DavFile, DavFileSystem, DavMetaData, FsError, FsFuture, FsStream, OpenOptions,
        ReadDirMeta,
    },
};
use futures_util::stream;
use tokio::task::spawn_blocking;

use super::{Blind, Name, ROOT, Thing, Window};

pub(crate) use door::Door;

/// Links that are followed on the way to one thing, as many as systems do.
const LINKS_MAX: usize = 40;
/// The last time that HTTP has a date for, well within the year 9999; in seconds since 1970.
const TIME_MAX_SECS: u64 = 253_000_000_000;

/// The share.
#[derive(Clone, Debug)]
struct Share(Arc<Window>);

impl Window {
    /// Returns what a path leads to from a directory, links followed.
    fn walk(&self, from: u64, path: &[u8]) -> Result<Thing, Blind> {
        let mut at = self.thing(from)?;
        let mut links = 0;
        let mut ahead: Vec<Vec<u8>> = steps(path).collect();
        while let Some(step) = ahead.pop() {
            if step == b".." {
                at = self.thing(at.parent)?;
                continue;
            }
            let found = self.find(at.inode, OsStr::from_bytes(&step))?;
            if found.kind != ListKind::Symlink {
                at = found;
                continue;
            }
            links += 1;
            let target = found.target.as_bytes();
            if links > LINKS_MAX || target.starts_with(b"/") {
                return Err(Blind::Missing);
            }
            ahead.extend(steps(target));
        }
        Ok(at)
    }
}

/// Returns the names in a path, the last one first.
fn steps(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let names = path.rsplit(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    names.map(<[u8]>::to_vec)
}

impl Share {
    /// Does something that waits for the node.
    fn ask<'a, T: Send + 'static>(
        &self,
        question: impl FnOnce(&Arc<Window>) -> Result<T, Blind> + Send + 'static,
    ) -> FsFuture<'a, T> {
        let window = self.0.clone();
        Box::pin(async move {
            let answer = spawn_blocking(move || question(&window)).await;
            let answer = answer.map_err(|_| FsError::GeneralFailure)?;
            answer.map_err(|blind| match blind {
                Blind::Missing | Blind::NotADirectory => FsError::NotFound,
                Blind::NotAFile => FsError::Forbidden,
                Blind::OutOfReach | Blind::Busy | Blind::Failed => FsError::GeneralFailure,
            })
        })
    }
}

impl DavFileSystem for Share {
    fn open<'a>(&'a self, path: &'a DavPath, _: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        let (path, share) = (path.as_bytes().to_vec(), self.clone());
        self.ask(move |window| {
            let thing = window.walk(ROOT, &path)?;
            if thing.kind != ListKind::File {
                return Err(Blind::NotAFile);
            }
            let file = Box::new(Reading {
                share,
                thing,
                at: 0,
            });
            Ok(file as Box<dyn DavFile>)
        })
    }

    fn read_dir<'a>(
        &'a self,
        path: &'a DavPath,
        _: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        let (path, share) = (path.as_bytes().to_vec(), self.clone());
        self.ask(move |window| {
            let directory = window.walk(ROOT, &path)?.inode;
            let names = window.list(directory)?;
            let entries = names.iter().map(|name| {
                let (share, name) = (share.clone(), name.clone());
                let entry = Box::new(Entry {
                    share,
                    directory,
                    name,
                });
                Ok(entry as Box<dyn DavDirEntry>)
            });
            let entries = stream::iter(entries.collect::<Vec<_>>());
            Ok(Box::pin(entries) as FsStream<Box<dyn DavDirEntry>>)
        })
    }

    fn metadata<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        let path = path.as_bytes().to_vec();
        self.ask(move |window| {
            let thing = window.walk(ROOT, &path)?;
            if thing.kind == ListKind::Directory {
                // Whoever is about to list it hears what went wrong; later it would look empty.
                window.list(thing.inode)?;
            }
            Ok(Box::new(thing) as Box<dyn DavMetaData>)
        })
    }
}

/// A name in a directory.
#[derive(Debug)]
struct Entry {
    share: Share,
    directory: u64,
    name: Name,
}

impl DavDirEntry for Entry {
    fn name(&self) -> Vec<u8> {
        self.name.name.as_bytes().to_vec()
    }

    fn metadata(&self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let (directory, name) = (self.directory, self.name.name.clone());
        self.share.ask(move |window| {
            let thing = window.walk(directory, name.as_bytes())?;
            Ok(Box::new(thing) as Box<dyn DavMetaData>)
        })
    }
}

impl DavMetaData for Thing {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn modified(&self) -> Result<SystemTime, FsError> {
        // A date that HTTP can't say would end the process.
        let last = UNIX_EPOCH + Duration::from_secs(TIME_MAX_SECS);
        Ok(self.modified.clamp(UNIX_EPOCH, last))
    }

    fn is_dir(&self) -> bool {
        self.kind == ListKind::Directory
    }
}

/// A file that is being read.
#[derive(Debug)]
struct Reading {
    share: Share,
    thing: Thing,
    /// Where to read on.
    at: u64,
}

impl DavFile for Reading {
    fn metadata(&mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let thing = self.thing.clone();
        Box::pin(async move { Ok(Box::new(thing) as Box<dyn DavMetaData>) })
    }

    fn read_bytes(&mut self, count: usize) -> FsFuture<'_, Bytes> {
        Box::pin(async move {
            let (inode, at) = (self.thing.inode, self.at);
            let read = self
                .share
                .ask(move |window| window.content(inode, at, count as u64));
            let read = read.await?;
            if read.is_empty() && at < self.thing.bytes {
                // Zeros would be sent in its place.
                return Err(FsError::GeneralFailure);
            }
            self.at += read.len() as u64;
            Ok(read.into())
        })
    }

    fn seek(&mut self, to: SeekFrom) -> FsFuture<'_, u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.thing.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        Box::pin(async move {
            self.at = at.ok_or(FsError::GeneralFailure)?;
            Ok(self.at)
        })
    }

    fn write_buf(&mut self, _: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        Box::pin(async { Err(FsError::Forbidden) })
    }

    fn write_bytes(&mut self, _: Bytes) -> FsFuture<'_, ()> {
        Box::pin(async { Err(FsError::Forbidden) })
    }

    fn flush(&mut self) -> FsFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_behind() {
        let names = |path: &[u8]| steps(path).collect::<Vec<_>>();
        assert_eq!(names(b"/a//./b/../c/"), [&b"c"[..], b"..", b"b", b"a"]);
        assert!(names(b"/").is_empty());
    }

    #[test]
    fn every_time_has_a_date() {
        let at = |modified| {
            let thing = Thing::directory(ROOT, (0, 0), modified);
            DavMetaData::modified(&thing).unwrap()
        };
        let ever = Duration::from_secs(1 << 40);
        assert_eq!(at(UNIX_EPOCH - ever), UNIX_EPOCH);
        assert!(at(UNIX_EPOCH + ever) < UNIX_EPOCH + ever);
        let now = SystemTime::now();
        assert_eq!(at(now), now);
    }
}
