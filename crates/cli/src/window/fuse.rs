//! The window as a file system, through the kernel's FUSE.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::Duration};

use carryall_daemon::api::snapshot::ListKind;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};

use super::{Blind, LIST_FRESH, ROOT, Thing, Window};

/// What lies in a snapshot never changes.
const FOREVER: Duration = Duration::from_secs(3600);

/// The list of snapshots changes; what is in them doesn't.
const fn fresh(parent: u64) -> Duration {
    if parent == ROOT { LIST_FRESH } else { FOREVER }
}

impl Filesystem for Window {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent.0, name) {
            Ok(thing) => reply.entry(&fresh(parent.0), &attributes(&thing), Generation(0)),
            Err(blind) => reply.error(errno(blind)),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.thing(inode.0) {
            Ok(thing) => reply.attr(&fresh(thing.parent), &attributes(&thing)),
            Err(blind) => reply.error(errno(blind)),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.thing(inode.0) {
            Ok(thing) if thing.kind == ListKind::Symlink => {
                reply.data(thing.target.as_bytes());
            }
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // What was read once may be read again from the page cache: it never changes.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(inode.0, offset, size.into()) {
            Ok(bytes) => reply.data(&bytes),
            Err(blind) => reply.error(errno(blind)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = match self.list(inode.0) {
            Ok(names) => names,
            Err(blind) => return reply.error(errno(blind)),
        };
        let parent = self.thing(inode.0).map_or(ROOT, |it| it.parent);
        let dots = [(inode.0, "."), (parent, "..")];
        let dots = dots.map(|(inode, name)| (inode, FileType::Directory, OsStr::new(name)));
        let names = names
            .iter()
            .map(|it| (it.inode, kind(it.kind), it.name.as_os_str()));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let all = dots.into_iter().chain(names).enumerate().skip(skipped);
        for (at, (inode, kind, name)) in all {
            if reply.add(INodeNo(inode), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn attributes(thing: &Thing) -> FileAttr {
    let (kind, modified) = (kind(thing.kind), thing.modified);
    FileAttr {
        ino: INodeNo(thing.inode),
        size: thing.bytes,
        blocks: thing.bytes.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind,
        perm: thing.mode,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: thing.owner.0,
        gid: thing.owner.1,
        rdev: 0,
        flags: 0,
        blksize: 128 << 10,
    }
}

const fn kind(kind: ListKind) -> FileType {
    match kind {
        ListKind::File => FileType::RegularFile,
        ListKind::Directory => FileType::Directory,
        ListKind::Symlink => FileType::Symlink,
    }
}

/// Returns what programs that read the files are told.
const fn errno(blind: Blind) -> Errno {
    match blind {
        Blind::Missing => Errno::ENOENT,
        Blind::NotADirectory => Errno::ENOTDIR,
        Blind::NotAFile => Errno::EISDIR,
        Blind::OutOfReach => Errno::EHOSTUNREACH,
        Blind::Busy => Errno::EAGAIN,
        Blind::Failed => Errno::EIO,
    }
}
