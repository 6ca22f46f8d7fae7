//! A disk in memory that loses power, tears, rots, fills up and fails when told to.
//!
//! Tests and the simulator run the store on it. It is never random by itself: the same calls and
//! the same seeds give the same disk.

mod content;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use carryall_core::time::Timestamp;

use self::content::Content;
use crate::disk::{Disk, DiskFile, DiskLock, FileKind, Metadata, Open};

/// Size that [`Disk::room`] tells for a disk without a limit.
const ROOM_UNLIMITED: u64 = 1 << 40;
/// Names that wait for a sync before the disk writes the older half back by itself, as kernels do.
const PENDING_MAX: usize = 4096;

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Everything, as if the kernel had written all of it back just in time.
    All,
    /// What was synced, and nothing else.
    Synced,
    /// What was synced; of the rest each sector and each name by chance.
    Torn {
        /// Decides the chances.
        seed: u64,
    },
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemDisk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Arc<Node>,
    state: Mutex<State>,
    used: Arc<AtomicU64>,
}

/// Everything but nodes. Its lock is also that of all names; it is taken before a node's.
#[derive(Debug, Default)]
struct State {
    /// Changes of names that are not on stable storage, in order.
    pending: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    unreadable: BTreeSet<u64>,
    next_ino: u64,
    ops: u64,
    now_ns: u64,
    capacity: Option<u64>,
    freeze_after: Option<u64>,
    fill_after: Option<u64>,
}

#[derive(Debug)]
struct Node {
    ino: u64,
    attributes: Mutex<Attributes>,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
struct Attributes {
    mode: u16,
    mtime_ns: i128,
    ctime_ns: i128,
}

#[derive(Debug)]
enum Body {
    File(Mutex<Content>),
    Directory(Mutex<Names>),
    Symlink(PathBuf),
    Special,
}

#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<OsString, Arc<Node>>,
    durable: BTreeMap<OsString, Arc<Node>>,
}

/// Names that change together or not at all: one of them, or the two of a rename.
#[derive(Debug)]
struct NameChange {
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    directory: Arc<Node>,
    name: OsString,
    node: Option<Arc<Node>>,
}

/// A small generator (SplitMix64): crashes need chance, not secrecy.
#[derive(Debug)]
struct Coins(u64);

impl Coins {
    /// Returns a number below `sides`.
    fn toss(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemDisk {
    /// Makes an empty disk without a limit.
    pub fn new() -> Self {
        let used = Arc::new(AtomicU64::new(0));
        Self::with_root(Arc::new(Node::directory(1)), used, State::at_ino(2))
    }

    fn with_root(root: Arc<Node>, used: Arc<AtomicU64>, state: State) -> Self {
        let state = Mutex::new(state);
        Self {
            inner: Arc::new(Inner { root, state, used }),
        }
    }

    /// Sets the disk's clock, from which modification times come.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now_ns = now.0.saturating_mul(1_000_000);
    }

    /// Limits the content of all files together, in bytes, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Returns the bytes in use.
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// Returns the number of changing operations so far: writes, syncs, names.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Cuts the power once [`Self::ops`] has reached `ops`: from then on everything fails and
    /// nothing changes, until [`Self::crash`] gives the disk that is found afterwards.
    pub fn freeze_after(&self, ops: u64) {
        self.state().freeze_after = Some(ops);
    }

    /// Undoes [`Self::freeze_after`]: not the power failed but the process died. What it had not
    /// synced is there, and still not synced.
    pub fn thaw(&self) {
        self.state().freeze_after = None;
    }

    /// Lets there be no room once [`Self::ops`] has reached `ops`, or room again. Writes and new
    /// names fail then; removals, renames and syncs do not.
    pub fn fill_after(&self, ops: Option<u64>) {
        self.state().fill_after = ops;
    }

    /// Lets reads of a file fail, or succeed again.
    pub fn fail_reads(&self, path: &Path, fail: bool) -> io::Result<()> {
        let mut state = self.state();
        let ino = self.find(path)?.ino;
        if fail {
            state.unreadable.insert(ino);
        } else {
            state.unreadable.remove(&ino);
        }
        Ok(())
    }

    /// Flips one bit of a file, counted from its start. Tells whether there was such a bit.
    pub fn rot(&self, path: &Path, bit: u64) -> io::Result<bool> {
        let _state = self.state();
        let node = self.find(path)?;
        Ok(guard(node.content()?).rot(bit))
    }

    /// Returns the disk that is found after a crash now. This one is left as it is.
    pub fn crash(&self, survival: Survival) -> Self {
        let state = self.state();
        let mut coins = Coins(match survival {
            Survival::Torn { seed } => seed,
            Survival::All | Survival::Synced => 0,
        });
        // Which pending names make it is decided first, in a copy of the durable names.
        let kept: Vec<&NameChange> = state
            .pending
            .iter()
            .filter(|_| match survival {
                Survival::All => true,
                Survival::Synced => false,
                Survival::Torn { .. } => coins.toss(2) == 0,
            })
            .collect();
        let used = Arc::new(AtomicU64::new(0));
        let root = self.inner.root.survivor(survival, &kept, &mut coins, &used);
        let next = State {
            next_ino: state.next_ino,
            now_ns: state.now_ns,
            capacity: state.capacity,
            unreadable: state.unreadable.clone(),
            ..State::default()
        };
        Self::with_root(root, used, next)
    }

    /// Puts everything on stable storage, as kernels do by themselves within a minute.
    pub fn write_back(&self) {
        let mut state = self.state();
        for change in std::mem::take(&mut state.pending) {
            change.settle();
        }
        self.inner.root.write_back();
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(true)?;
        let body = Body::Symlink(target.to_owned());
        self.add(&mut state, path, body).map(drop)
    }

    /// Makes something that is neither file, directory nor symbolic link, such as a FIFO.
    pub fn special(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(true)?;
        self.add(&mut state, path, Body::Special).map(drop)
    }

    /// Sets permission bits and modification time.
    pub fn set_attributes(&self, path: &Path, mode: u16, mtime_ns: i128) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?;
        let ctime_ns = state.tick();
        *guard(&self.find(path)?.attributes) = Attributes {
            mode,
            mtime_ns,
            ctime_ns,
        };
        Ok(())
    }

    /// Returns the whole content of a file.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let bytes = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut content = vec![0; bytes];
        let count = file.read_at(&mut content, 0)?;
        content.truncate(count);
        Ok(content)
    }

    /// Writes a whole file, with its directories, without syncing anything.
    pub fn write_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.create_dir_all(parent)?;
        }
        let file = self.open(path, Open::Write)?;
        file.set_len(0)?;
        file.write_at(content, 0)
    }

    /// Returns the paths of all files, links and special files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        let _state = self.state();
        let mut paths = Vec::new();
        self.inner.root.walk(Path::new("/"), &mut paths);
        paths
    }

    fn state(&self) -> MutexGuard<'_, State> {
        guard(&self.inner.state)
    }

    /// Finds what a path names. The caller holds the state's lock.
    fn find(&self, path: &Path) -> io::Result<Arc<Node>> {
        let mut here = self.inner.root.clone();
        for component in path.components() {
            here = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => here.child(name)?,
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            };
        }
        Ok(here)
    }

    fn find_parent<'a>(&self, path: &'a Path) -> io::Result<(Arc<Node>, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = self.find(parent)?;
        parent.names()?;
        Ok((parent, name))
    }

    /// Adds a name that must not exist.
    fn add(&self, state: &mut State, path: &Path, body: Body) -> io::Result<Arc<Node>> {
        let (directory, name) = self.find_parent(path)?;
        if guard(directory.names()?).live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.next_ino += 1;
        let mode = match body {
            Body::Directory(_) => 0o700,
            Body::Symlink(_) => 0o777,
            Body::File(_) | Body::Special => 0o600,
        };
        let now = state.tick();
        let node = Arc::new(Node::new(state.next_ino, mode, now, body));
        let cell = Cell {
            directory,
            name: name.to_owned(),
            node: Some(node.clone()),
        };
        state.change(vec![cell]);
        Ok(node)
    }

    fn remove(&self, path: &Path, directory: bool) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?;
        let (parent, name) = self.find_parent(path)?;
        let node = parent.child(name)?;
        match (&node.body, directory) {
            (Body::Directory(names), true) if !guard(names).live.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (Body::Directory(_), false) => return Err(io::ErrorKind::IsADirectory.into()),
            (Body::Directory(_), true) | (_, false) => {}
            (_, true) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        state.change(vec![Cell {
            directory: parent,
            name: name.to_owned(),
            node: None,
        }]);
        Ok(())
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.check_power()?;
        let found = self.find(path);
        let node = match (found, how) {
            (Ok(_), Open::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(node), _) => match node.body {
                Body::File(_) => node,
                Body::Symlink(_) => return Err(io::Error::other("a symbolic link")),
                Body::Directory(_) | Body::Special => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            },
            (Err(error), Open::Read) => return Err(error),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            (Err(_), Open::Write | Open::New) => {
                state.begin(true)?;
                let content = Content::new(self.inner.used.clone());
                self.add(&mut state, path, Body::File(Mutex::new(content)))?
            }
        };
        Ok(Box::new(MemFile {
            disk: self.clone(),
            node,
            writable: how != Open::Read,
        }))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        state.check_power()?;
        Ok(self.find(path)?.metadata())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        state.check_power()?;
        let node = self.find(path)?;
        Ok(guard(node.names()?).live.keys().cloned().collect())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.state();
        state.check_power()?;
        match &self.find(path)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut here = PathBuf::from("/");
        for component in path.components() {
            here.push(component);
            match self.find(&here) {
                Ok(node) => drop(node.names()?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    state.begin(true)?;
                    let body = Body::Directory(Mutex::default());
                    self.add(&mut state, &here, body)?;
                }
                Err(error) => return Err(error),
            }
        }
        state.check_power()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?;
        let (old_parent, old_name) = self.find_parent(from)?;
        let (new_parent, new_name) = self.find_parent(to)?;
        let node = old_parent.child(old_name)?;
        if let Ok(replaced) = new_parent.child(new_name) {
            if matches!(replaced.body, Body::Directory(_)) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if replaced.ino == node.ino {
                return Ok(());
            }
        }
        let gone = Cell {
            directory: old_parent,
            name: old_name.to_owned(),
            node: None,
        };
        let come = Cell {
            directory: new_parent,
            name: new_name.to_owned(),
            node: Some(node),
        };
        state.change(vec![gone, come]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.remove(path, false)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.remove(path, true)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?;
        let node = self.find(path)?;
        node.names()?;
        state.sync_names(&node);
        Ok(())
    }

    fn room(&self, path: &Path) -> io::Result<(u64, u64)> {
        let state = self.state();
        state.check_power()?;
        if !path.has_root() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let total = state.capacity.unwrap_or(ROOM_UNLIMITED);
        let free = if state.is_full() {
            0
        } else {
            total.saturating_sub(self.used())
        };
        Ok((free, total))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if self.metadata(path).is_err() {
            self.open(path, Open::Write)?;
        }
        if !self.state().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    node: Arc<Node>,
    writable: bool,
}

impl MemFile {
    /// Counts a changing operation and stamps the file.
    fn begin(&self, needs_room: bool) -> io::Result<MutexGuard<'_, State>> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.disk.state();
        state.begin(needs_room)?;
        let now = state.tick();
        let mut attributes = guard(&self.node.attributes);
        attributes.mtime_ns = now;
        attributes.ctime_ns = now;
        Ok(state)
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.check_power()?;
        if state.unreadable.contains(&self.node.ino) {
            return Err(io::Error::other("unreadable sector"));
        }
        drop(state);
        Ok(guard(self.node.content()?).read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = self.begin(true)?;
        let mut content = guard(self.node.content()?);
        if content.write(bytes, offset, state.capacity) < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.state().check_power()?;
        Ok(guard(self.node.content()?).len)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let grows = bytes > self.len()?;
        let _state = self.begin(grows)?;
        guard(self.node.content()?).set_len(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(false)?;
        guard(self.node.content()?).sync();
        Ok(())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.disk.state().check_power()?;
        Ok(self.node.metadata())
    }
}

impl State {
    fn at_ino(next_ino: u64) -> Self {
        Self {
            next_ino,
            ..Self::default()
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.freeze_after.is_some_and(|limit| self.ops >= limit) {
            return Err(io::Error::other("power lost"));
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.fill_after.is_some_and(|limit| self.ops >= limit)
    }

    /// Counts a changing operation, or refuses it.
    fn begin(&mut self, needs_room: bool) -> io::Result<()> {
        self.check_power()?;
        if needs_room && self.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.ops += 1;
        Ok(())
    }

    /// Returns the time, never the same one twice.
    fn tick(&mut self) -> i128 {
        self.now_ns += 1;
        i128::from(self.now_ns)
    }

    fn change(&mut self, cells: Vec<Cell>) {
        for cell in &cells {
            if let Body::Directory(names) = &cell.directory.body {
                put(&mut guard(names).live, cell);
            }
        }
        self.pending.push(NameChange { cells });
        if self.pending.len() > PENDING_MAX {
            let newer = self.pending.split_off(PENDING_MAX / 2);
            for change in std::mem::replace(&mut self.pending, newer) {
                change.settle();
            }
        }
    }

    /// Settles every pending change of a directory, and what came before it in the same places.
    fn sync_names(&mut self, directory: &Arc<Node>) {
        let mut places = BTreeSet::new();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let touched = change.cells.iter().any(|cell| {
                cell.directory.ino == directory.ino
                    || places.contains(&(cell.directory.ino, cell.name.clone()))
            });
            if touched {
                let cells = change.cells.iter();
                places.extend(cells.map(|cell| (cell.directory.ino, cell.name.clone())));
                settled.push(change);
            } else {
                left.push(change);
            }
        }
        settled.iter().rev().for_each(NameChange::settle);
        left.reverse();
        self.pending = left;
    }
}

impl NameChange {
    fn settle(&self) {
        for cell in &self.cells {
            if let Body::Directory(names) = &cell.directory.body {
                put(&mut guard(names).durable, cell);
            }
        }
    }
}

impl Node {
    fn new(ino: u64, mode: u16, now_ns: i128, body: Body) -> Self {
        let attributes = Mutex::new(Attributes {
            mode,
            mtime_ns: now_ns,
            ctime_ns: now_ns,
        });
        Self {
            ino,
            attributes,
            body,
        }
    }

    fn directory(ino: u64) -> Self {
        Self::new(ino, 0o700, 0, Body::Directory(Mutex::default()))
    }

    fn names(&self) -> io::Result<&Mutex<Names>> {
        match &self.body {
            Body::Directory(names) => Ok(names),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn content(&self) -> io::Result<&Mutex<Content>> {
        match &self.body {
            Body::File(content) => Ok(content),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn child(&self, name: &OsStr) -> io::Result<Arc<Self>> {
        let names = guard(self.names()?);
        let node = names.live.get(name).cloned();
        node.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn metadata(&self) -> Metadata {
        let attributes = *guard(&self.attributes);
        let (kind, bytes) = match &self.body {
            Body::File(content) => (FileKind::File, guard(content).len),
            Body::Directory(_) => (FileKind::Directory, 0),
            Body::Symlink(target) => (FileKind::Symlink, target.as_os_str().len() as u64),
            Body::Special => (FileKind::Other, 0),
        };
        Metadata {
            kind,
            bytes,
            mode: attributes.mode,
            uid: 0,
            gid: 0,
            mtime_ns: attributes.mtime_ns,
            ctime_ns: attributes.ctime_ns,
            dev: 1,
            ino: self.ino,
            links: 1,
        }
    }

    fn write_back(&self) {
        match &self.body {
            Body::File(content) => guard(content).sync(),
            Body::Directory(names) => {
                guard(names)
                    .live
                    .values()
                    .for_each(|node| node.write_back());
            }
            Body::Symlink(_) | Body::Special => {}
        }
    }

    fn walk(&self, here: &Path, paths: &mut Vec<PathBuf>) {
        match &self.body {
            Body::Directory(names) => {
                for (name, node) in &guard(names).live {
                    node.walk(&here.join(name), paths);
                }
            }
            _ => paths.push(here.to_owned()),
        }
    }

    /// Returns what is left of a node and all below it after a crash.
    fn survivor(
        &self,
        survival: Survival,
        kept: &[&NameChange],
        coins: &mut Coins,
        used: &Arc<AtomicU64>,
    ) -> Arc<Self> {
        let body = match &self.body {
            Body::File(content) => {
                let image = guard(content).survivor(survival, coins, used.clone());
                Body::File(Mutex::new(image))
            }
            Body::Directory(names) => {
                let mut durable = guard(names).durable.clone();
                let cells = kept.iter().flat_map(|change| &change.cells);
                for cell in cells.filter(|cell| cell.directory.ino == self.ino) {
                    put(&mut durable, cell);
                }
                let live: BTreeMap<_, _> = durable
                    .into_iter()
                    .map(|(name, node)| (name, node.survivor(survival, kept, coins, used)))
                    .collect();
                let durable = live.clone();
                Body::Directory(Mutex::new(Names { live, durable }))
            }
            Body::Symlink(target) => Body::Symlink(target.clone()),
            Body::Special => Body::Special,
        };
        Arc::new(Self {
            ino: self.ino,
            attributes: Mutex::new(*guard(&self.attributes)),
            body,
        })
    }
}

fn put(names: &mut BTreeMap<OsString, Arc<Node>>, cell: &Cell) {
    match &cell.node {
        Some(node) => names.insert(cell.name.clone(), node.clone()),
        None => names.remove(&cell.name),
    };
}

/// Locks; a panic elsewhere left nothing half done that matters to a test.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
