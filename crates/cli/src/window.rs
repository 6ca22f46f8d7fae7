//! A window on snapshots: folders and files whose content comes from wherever it is, a stretch at a
//! time. FUSE and WebDAV show the same one.

#[cfg(target_os = "linux")]
pub(crate) mod fuse;
pub(crate) mod webdav;

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

use crate::{
    client::{Client, query},
    error::CommandError,
    ui,
};

/// The inode of the directory of all snapshots.
const ROOT: u64 = 1;
/// How long the list of snapshots is believed.
const LIST_FRESH: Duration = Duration::from_secs(5);
/// The name that leads to the newest snapshot.
const LATEST: &str = "latest";

/// Why there is nothing to see. The node's log says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blind {
    /// There is nothing of that name.
    Missing,
    /// What was to be listed is no directory.
    NotADirectory,
    /// What was to be read is no file.
    NotAFile,
    /// Nobody in reach has it.
    OutOfReach,
    /// The node is about something else.
    Busy,
    /// Something else went wrong.
    Failed,
}

impl From<CommandError> for Blind {
    fn from(error: CommandError) -> Self {
        match error.exit {
            Exit::OutOfReach => Self::OutOfReach,
            Exit::Busy => Self::Busy,
            Exit::Usage => Self::Missing,
            _ => Self::Failed,
        }
    }
}

/// The window.
#[derive(Debug)]
pub(crate) struct Window {
    client: Client,
    /// Pictures are seen as their previews.
    previews: bool,
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
    kind: ListKind,
}

/// Something with an inode.
#[derive(Clone, Debug)]
struct Thing {
    inode: u64,
    parent: u64,
    kind: ListKind,
    /// Permission bits; nobody may write.
    mode: u16,
    /// Numeric owner and group.
    owner: (u32, u32),
    modified: SystemTime,
    bytes: u64,
    /// What is seen of it is its preview.
    preview: bool,
    /// Where it lies; nothing for the root and for the link to the newest snapshot.
    place: Option<(SnapshotId, String)>,
    /// Where a symbolic link leads.
    target: OsString,
}

impl Thing {
    /// Returns a directory that no list tells of: that of all snapshots, or the top of one.
    fn directory(parent: u64, owner: (u32, u32), modified: SystemTime) -> Self {
        Self {
            inode: 0,
            parent,
            kind: ListKind::Directory,
            mode: 0o555,
            owner,
            modified,
            bytes: 0,
            preview: false,
            place: None,
            target: OsString::new(),
        }
    }

    /// Returns what a list says of a name.
    fn listed(parent: u64, snapshot: SnapshotId, entry: ListEntry, previews: bool) -> Self {
        let target = path::to_bytes(entry.target.as_deref().unwrap_or_default());
        let preview = entry.preview.filter(|_| previews);
        Self {
            inode: 0,
            parent,
            kind: entry.kind,
            mode: entry.mode & 0o555,
            owner: (entry.uid, entry.gid),
            modified: time(entry.mtime_ms),
            bytes: match entry.kind {
                ListKind::Symlink => target.len() as u64,
                _ => preview.map_or(entry.bytes, u64::from),
            },
            preview: preview.is_some(),
            place: Some((snapshot, entry.path)),
            target: OsString::from_vec(target),
        }
    }
}

impl Window {
    /// Opens a window; with `previews`, pictures are seen as those.
    pub(crate) fn new(client: Client, previews: bool) -> Self {
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
        tree.add(Thing::directory(ROOT, owner, UNIX_EPOCH));
        Self {
            client,
            previews,
            owner,
            tree: Mutex::new(tree),
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Things are only added, whole.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thing(&self, inode: u64) -> Result<Thing, Blind> {
        self.tree().thing(inode).cloned().ok_or(Blind::Missing)
    }

    /// Returns what is in a directory.
    fn list(&self, inode: u64) -> Result<Arc<Vec<Name>>, Blind> {
        let thing = self.thing(inode)?;
        if thing.kind != ListKind::Directory {
            return Err(Blind::NotADirectory);
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
        self.client
            .get_stream(&route, |line: ListLine| match line {
                ListLine::Entry(entry) => {
                    entries.push(entry);
                    Ok(())
                }
                ListLine::Failure(failure) => Err(failure.into()),
            })?;
        let mut tree = self.tree();
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            let bytes = path::to_bytes(&entry.path);
            let name = bytes
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap_or_default();
            let name = OsStr::from_bytes(name).to_owned();
            let kind = entry.kind;
            let inode = tree.add(Thing::listed(inode, snapshot, entry, self.previews));
            names.push(Name { name, inode, kind });
        }
        let names = Arc::new(names);
        tree.listed.insert(inode, names.clone());
        Ok(names)
    }

    /// Returns a directory for each snapshot, named by when it was made, and a link to the newest.
    fn list_snapshots(&self) -> Result<Arc<Vec<Name>>, Blind> {
        {
            let tree = self.tree();
            let fresh = tree.refreshed.is_some_and(|at| at.elapsed() < LIST_FRESH);
            if let Some(names) = tree.listed.get(&ROOT).filter(|_| fresh) {
                return Ok(names.clone());
            }
        }
        let list: Snapshots = self.client.get("/v1/snapshots")?;
        let mut tree = self.tree();
        let mut names: Vec<Name> = Vec::new();
        for snapshot in &list.snapshots {
            let kind = ListKind::Directory;
            let inode = match tree.snapshots.get(&snapshot.id) {
                Some(inode) => *inode,
                None => {
                    let made = time(i64::try_from(snapshot.time.0).unwrap_or(0));
                    let inode = tree.add(Thing {
                        place: Some((snapshot.id, String::new())),
                        ..Thing::directory(ROOT, self.owner, made)
                    });
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
            let (name, kind) = (LATEST.into(), ListKind::Symlink);
            names.push(Name { name, inode, kind });
        }
        let names = Arc::new(names);
        tree.listed.insert(ROOT, names.clone());
        tree.refreshed = Some(Instant::now());
        Ok(names)
    }

    fn find(&self, parent: u64, name: &OsStr) -> Result<Thing, Blind> {
        let names = self.list(parent)?;
        let found = names.iter().find(|it| it.name == name);
        self.thing(found.ok_or(Blind::Missing)?.inode)
    }

    /// Reads a stretch of a file; less at its end.
    fn content(&self, inode: u64, offset: u64, bytes: u64) -> Result<Vec<u8>, Blind> {
        let thing = self.thing(inode)?;
        let (snapshot, at) = thing.place.ok_or(Blind::NotAFile)?;
        let parameters = [
            ("snapshot", snapshot.to_string()),
            ("path", at),
            ("offset", offset.to_string()),
            ("bytes", bytes.to_string()),
            ("preview", thing.preview.to_string()),
        ];
        let parameters: Vec<(&str, &str)> = (parameters.iter())
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        Ok(self.client.get_bytes(&query("/v1/read", &parameters))?)
    }
}

impl Tree {
    /// Adds a thing. Returns its inode.
    fn add(&mut self, thing: Thing) -> u64 {
        let inode = self.things.len() as u64 + 1;
        self.things.push(Thing { inode, ..thing });
        inode
    }

    /// Has the link lead to the newest snapshot. Returns its inode.
    fn lead_to(&mut self, newest: OsString, owner: (u32, u32)) -> u64 {
        let link = Thing {
            kind: ListKind::Symlink,
            mode: 0o777,
            bytes: newest.len() as u64,
            target: newest,
            ..Thing::directory(ROOT, owner, SystemTime::now())
        };
        let Some(inode) = self.latest else {
            let inode = self.add(link);
            self.latest = Some(inode);
            return inode;
        };
        if let Some(old) = Self::place(inode).and_then(|at| self.things.get_mut(at))
            && old.target != link.target
        {
            *old = Thing { inode, ..link };
        }
        inode
    }

    /// Returns where a thing is in the list.
    fn place(inode: u64) -> Option<usize> {
        usize::try_from(inode.checked_sub(1)?).ok()
    }

    fn thing(&self, inode: u64) -> Option<&Thing> {
        self.things.get(Self::place(inode)?)
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
