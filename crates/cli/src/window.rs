//! A window on snapshots: a read-only file system whose files come from wherever their content is, a
//! stretch at a time.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use carryall_core::id::SnapshotId;
use carryall_daemon::{
    api::{
        path,
        snapshot::{ListEntry, ListKind, ListLine, Snapshots},
    },
    exit::Exit,
};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};

use crate::{
    client::{Client, query},
    error::CommandError,
    ui,
};

/// What lies in a snapshot never changes.
const FOREVER: Duration = Duration::from_secs(3600);
/// How long the list of snapshots is believed.
const LIST_FRESH: Duration = Duration::from_secs(5);
/// The name that leads to the newest snapshot.
const LATEST: &str = "latest";

/// The file system.
#[derive(Debug)]
pub(crate) struct Window {
    client: Client,
    owner: (u32, u32),
    tree: Mutex<Tree>,
}

#[derive(Debug)]
struct Tree {
    /// By inode number, less one.
    things: Vec<Thing>,
    /// What is in a directory, once it was listed.
    listed: BTreeMap<u64, Arc<Vec<Name>>>,
    /// The inode of each snapshot.
    snapshots: BTreeMap<SnapshotId, u64>,
    /// The inode of the link to the newest one.
    latest: Option<u64>,
    /// When the list came.
    refreshed: Option<Instant>,
}

/// A name in a directory.
#[derive(Clone, Debug)]
struct Name {
    name: OsString,
    inode: u64,
    kind: FileType,
}

/// Something with an inode.
#[derive(Clone, Debug)]
struct Thing {
    parent: u64,
    attributes: FileAttr,
    /// Where it lies; nothing for the root and for the link to the newest snapshot.
    place: Option<(SnapshotId, String)>,
    target: OsString,
}

impl Window {
    pub(crate) fn new(client: Client) -> Self {
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let mut tree = Tree {
            things: Vec::new(),
            listed: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            latest: None,
            refreshed: None,
        };
        let root = attributes(FileType::Directory, 0o555, owner, UNIX_EPOCH, 0);
        tree.add(1, root, None, OsString::new());
        Self {
            client,
            owner,
            tree: Mutex::new(tree),
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Things are only added, whole.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is in a directory.
    fn list(&self, inode: u64) -> Result<Arc<Vec<Name>>, Errno> {
        let thing = self.tree().thing(inode).ok_or(Errno::ENOENT)?;
        if thing.attributes.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let Some((snapshot, at)) = thing.place else {
            return self.list_snapshots();
        };
        if let Some(names) = self.tree().listed.get(&inode) {
            return Ok(names.clone());
        }
        let snapshot_text = snapshot.to_string();
        let route = query("/v1/ls", &[("snapshot", &snapshot_text), ("path", &at)]);
        let mut entries: Vec<ListEntry> = Vec::new();
        let read = self.client.get_stream(&route, |line: ListLine| match line {
            ListLine::Entry(entry) => {
                entries.push(entry);
                Ok(())
            }
            ListLine::Failure(failure) => Err(failure.into()),
        });
        read.map_err(|error| errno(&error))?;
        let mut tree = self.tree();
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            let bytes = path::to_bytes(&entry.path);
            let name = bytes
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap_or_default();
            let kind = kind(entry.kind);
            let target = path::to_bytes(entry.target.as_deref().unwrap_or_default());
            let length = match entry.kind {
                ListKind::Symlink => target.len() as u64,
                _ => entry.bytes,
            };
            let mode = entry.mode & 0o555;
            let owner = (entry.uid, entry.gid);
            let attributes = attributes(kind, mode, owner, time(entry.mtime_ms), length);
            let place = Some((snapshot, entry.path));
            let inode = tree.add(inode, attributes, place, OsString::from_vec(target));
            let name = OsStr::from_bytes(name).to_owned();
            names.push(Name { name, inode, kind });
        }
        let names = Arc::new(names);
        tree.listed.insert(inode, names.clone());
        Ok(names)
    }

    /// Returns a directory for each snapshot, named by when it was made, and a link to the newest.
    fn list_snapshots(&self) -> Result<Arc<Vec<Name>>, Errno> {
        {
            let tree = self.tree();
            let fresh = tree.refreshed.is_some_and(|at| at.elapsed() < LIST_FRESH);
            if let Some(names) = tree.listed.get(&1).filter(|_| fresh) {
                return Ok(names.clone());
            }
        }
        let list: Result<Snapshots, CommandError> = self.client.get("/v1/snapshots");
        let list = list.map_err(|error| errno(&error))?;
        let mut tree = self.tree();
        let mut names: Vec<Name> = Vec::new();
        for snapshot in &list.snapshots {
            let kind = FileType::Directory;
            let made = time(i64::try_from(snapshot.time.0).unwrap_or(0));
            let inode = match tree.snapshots.get(&snapshot.id) {
                Some(inode) => *inode,
                None => {
                    let attributes = attributes(kind, 0o555, self.owner, made, 0);
                    let place = Some((snapshot.id, String::new()));
                    let inode = tree.add(1, attributes, place, OsString::new());
                    tree.snapshots.insert(snapshot.id, inode);
                    inode
                }
            };
            let mut name = OsString::from(ui::file_time(snapshot.time.0));
            if names.iter().any(|other| other.name == name) {
                name.push(format!(" {}", snapshot.id.short()));
            }
            names.push(Name { name, inode, kind });
        }
        if let Some(newest) = names.last().map(|it| it.name.clone()) {
            let inode = tree.lead_to(newest, self.owner);
            let (name, kind) = (LATEST.into(), FileType::Symlink);
            names.push(Name { name, inode, kind });
        }
        let names = Arc::new(names);
        tree.listed.insert(1, names.clone());
        tree.refreshed = Some(Instant::now());
        Ok(names)
    }

    fn find(&self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let names = self.list(parent)?;
        let found = names.iter().find(|it| it.name == name);
        let inode = found.ok_or(Errno::ENOENT)?.inode;
        Ok(self.tree().thing(inode).ok_or(Errno::ENOENT)?.attributes)
    }

    fn content(&self, inode: u64, offset: u64, bytes: u32) -> Result<Vec<u8>, Errno> {
        let thing = self.tree().thing(inode).ok_or(Errno::ENOENT)?;
        let (snapshot, at) = thing.place.ok_or(Errno::EISDIR)?;
        let parameters = [
            ("snapshot", snapshot.to_string()),
            ("path", at),
            ("offset", offset.to_string()),
            ("bytes", bytes.to_string()),
        ];
        let parameters: Vec<(&str, &str)> = (parameters.iter())
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let read = self.client.get_bytes(&query("/v1/read", &parameters));
        read.map_err(|error| errno(&error))
    }
}

impl Tree {
    fn add(
        &mut self,
        parent: u64,
        mut attributes: FileAttr,
        place: Option<(SnapshotId, String)>,
        target: OsString,
    ) -> u64 {
        let inode = self.things.len() as u64 + 1;
        attributes.ino = INodeNo(inode);
        self.things.push(Thing {
            parent,
            attributes,
            place,
            target,
        });
        inode
    }

    /// Has the link lead to the newest snapshot. Returns its inode.
    fn lead_to(&mut self, newest: OsString, owner: (u32, u32)) -> u64 {
        let (kind, length) = (FileType::Symlink, newest.len() as u64);
        let mut attributes = attributes(kind, 0o777, owner, SystemTime::now(), length);
        let Some(inode) = self.latest else {
            let inode = self.add(1, attributes, None, newest);
            self.latest = Some(inode);
            return inode;
        };
        attributes.ino = INodeNo(inode);
        if let Some(link) = Self::place(inode).and_then(|at| self.things.get_mut(at))
            && link.target != newest
        {
            (link.attributes, link.target) = (attributes, newest);
        }
        inode
    }

    /// Returns where a thing is in the list.
    fn place(inode: u64) -> Option<usize> {
        usize::try_from(inode.checked_sub(1)?).ok()
    }

    fn thing(&self, inode: u64) -> Option<Thing> {
        self.things.get(Self::place(inode)?).cloned()
    }
}

/// The list of snapshots changes; what is in them doesn't.
fn fresh(parent: INodeNo) -> Duration {
    if parent == INodeNo::ROOT {
        LIST_FRESH
    } else {
        FOREVER
    }
}

impl Filesystem for Window {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent.0, name) {
            Ok(attributes) => reply.entry(&fresh(parent), &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree().thing(inode.0) {
            Some(thing) => reply.attr(&fresh(INodeNo(thing.parent)), &thing.attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.tree().thing(inode.0) {
            Some(thing) if thing.attributes.kind == FileType::Symlink => {
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
        match self.content(inode.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
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
            Err(error) => return reply.error(error),
        };
        let parent = self.tree().thing(inode.0).map_or(1, |it| it.parent);
        let dots = [(inode.0, "."), (parent, "..")];
        let dots = dots.map(|(inode, name)| (inode, FileType::Directory, OsStr::new(name)));
        let names = names
            .iter()
            .map(|it| (it.inode, it.kind, it.name.as_os_str()));
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

fn attributes(
    kind: FileType,
    mode: u16,
    (uid, gid): (u32, u32),
    mtime: SystemTime,
    size: u64,
) -> FileAttr {
    FileAttr {
        ino: INodeNo::ROOT,
        size,
        blocks: size.div_ceil(512),
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind,
        perm: mode,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid,
        gid,
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

fn time(ms: i64) -> SystemTime {
    let span = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 {
        UNIX_EPOCH.checked_sub(span)
    } else {
        UNIX_EPOCH.checked_add(span)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// Returns what programs that read the files are told. The node's log says more.
fn errno(error: &CommandError) -> Errno {
    match error.exit {
        Exit::OutOfReach => Errno::EHOSTUNREACH,
        Exit::Busy => Errno::EAGAIN,
        Exit::Usage => Errno::ENOENT,
        _ => Errno::EIO,
    }
}
