//! A vault's parts for tests, on a disk or in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use carryall_core::{
    id::PackId,
    key::VaultKeys,
    pack::OpenPack,
    record::{NodeKind, PackKind, PackRecord},
    time::{Span, Timestamp},
};
use carryall_store::{
    backup::{self, BackupError, BackupReport, Context, Request, Unwatched},
    browse::Library,
    catalogue::Catalogue,
    disk::{Disk, DiskFile, DiskLock, Metadata, Open},
    mem_disk::MemDisk,
    os_disk::OsDisk,
    rebuild::Rebuilder,
    restore::{Plan, RestoreError, RestoreReport, Restorer},
    spool::Spool,
};

/// When the first backup is made: so late that every file's times have settled.
pub(crate) const BEGIN: Timestamp = Timestamp(4_000_000_000_000);

/// The parts of a vault.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) keys: VaultKeys,
    pub(crate) catalogue: Catalogue,
    pub(crate) spool: Spool,
    pub(crate) workers: usize,
    pub(crate) data_shards: u8,
    pub(crate) previews: bool,
    pub(crate) late_bytes: u64,
    /// Backups so far, so that each has a time of its own.
    now: AtomicU64,
}

impl Home {
    /// Makes or opens a home on the operating system's disk.
    pub(crate) fn on_disk(path: &Path) -> Self {
        Self::with_spool(path, 1 << 30)
    }

    /// Makes or opens a home with a spool of at most `cap` bytes.
    pub(crate) fn with_spool(path: &Path, cap: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        Self::open(Arc::new(OsDisk), path, cap, 2)
    }

    /// Makes or opens a home on a disk in memory.
    pub(crate) fn in_memory(disk: &MemDisk) -> Self {
        disk.create_dir_all(Path::new("/home")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        Self::open(Arc::new(disk.clone()), Path::new("/home"), 1 << 30, 0)
    }

    /// Makes a home on a disk where some files change whenever they are read.
    pub(crate) fn restless(disk: &MemDisk, files: Vec<PathBuf>) -> Self {
        let restless = Restless {
            inner: disk.clone(),
            files,
        };
        disk.create_dir_all(Path::new("/home")).unwrap();
        Self::open(Arc::new(restless), Path::new("/home"), 1 << 30, 0)
    }

    fn open(disk: Arc<dyn Disk>, path: &Path, cap: u64, workers: usize) -> Self {
        let catalogue = Catalogue::open(disk.clone(), &path.join("catalogue.redb")).unwrap();
        if catalogue.needs_rebuild().unwrap() {
            let mut batch = catalogue.batch().unwrap();
            batch.complete().unwrap();
            batch.commit().unwrap();
        }
        Self {
            path: path.to_path_buf(),
            catalogue,
            spool: Spool::open(disk.clone(), &path.join("spool"), cap).unwrap(),
            disk,
            keys: VaultKeys::generate([3; 96]),
            workers,
            data_shards: 1,
            previews: true,
            late_bytes: 1 << 30,
            now: AtomicU64::new(0),
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            disk: &*self.disk,
            home: &self.path,
            keys: &self.keys,
            catalogue: &self.catalogue,
            spool: &self.spool,
        }
    }

    /// Runs a backup, each at a time of its own from [`BEGIN`] on.
    pub(crate) fn run(
        &self,
        roots: &[&Path],
        on_pack: &mut dyn FnMut(&PackRecord),
    ) -> Result<BackupReport, BackupError> {
        let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
        let number = self.now.fetch_add(1, Ordering::Relaxed);
        let known = self.catalogue.snapshots()?.len() as u64;
        let request = Request {
            roots: &roots,
            now: BEGIN + Span::millis(1000 * (number + known)),
            data_shards: &|kind| {
                if kind == PackKind::Metadata {
                    1
                } else {
                    self.data_shards
                }
            },
            previews: self.previews,
            late_bytes: self.late_bytes,
            workers: self.workers,
        };
        backup::run(&self.context(), &request, &Unwatched, on_pack)
    }

    pub(crate) fn try_back_up(&self, roots: &[&Path]) -> Result<BackupReport, BackupError> {
        self.run(roots, &mut |_| {})
    }

    pub(crate) fn back_up(&self, roots: &[&Path]) -> BackupReport {
        let mut announced = Vec::new();
        let report = self
            .run(roots, &mut |pack| announced.push(pack.clone()))
            .unwrap();
        assert_eq!(announced, report.packs);
        report
    }

    pub(crate) fn remember(&self, root: &Path) {
        use std::os::unix::ffi::OsStrExt;
        let mut batch = self.catalogue.batch().unwrap();
        batch
            .remember_root(root.as_os_str().as_bytes(), Timestamp(1))
            .unwrap();
        batch.commit().unwrap();
    }

    pub(crate) fn try_restore(
        &self,
        target: &Path,
        path: &[u8],
        overwrite: bool,
    ) -> Result<RestoreReport, RestoreError> {
        let library = Library::new(&self.context())?;
        let head = library.snapshots()?.pop().unwrap();
        let record = library.snapshot(head.snapshot)?;
        let plan = Plan::new(&library, &record, path)?;
        let restorer = Restorer::new(plan, target, overwrite, &self.keys.chunk_key())?;
        for pack in restorer.needed() {
            self.feed(&restorer, &pack);
        }
        Ok(restorer.finish())
    }

    /// Restores the newest snapshot from what is here.
    pub(crate) fn restore(&self, target: &Path) -> RestoreReport {
        self.try_restore(target, b"/", false).unwrap()
    }

    /// Feeds a pack to a restorer, made here.
    pub(crate) fn feed(&self, restorer: &Restorer, pack: &PackRecord) {
        let bytes = Rebuilder::new().pack(&self.context(), pack.id).unwrap();
        let keys = self.keys.pack_keys(pack.epoch).unwrap();
        let open = OpenPack::open(&keys, bytes.to_vec()).unwrap();
        restorer
            .feed(&pack.id, &self.keys.chunk_key(), &open)
            .unwrap();
    }

    /// Makes every pack, as a friend would get them.
    pub(crate) fn all_packs(&self) -> BTreeMap<PackId, Vec<u8>> {
        let rebuilder = Rebuilder::new();
        self.pack_ids()
            .into_iter()
            .map(|id| (id, rebuilder.pack(&self.context(), id).unwrap().to_vec()))
            .collect()
    }

    pub(crate) fn pack_ids(&self) -> BTreeSet<PackId> {
        self.catalogue
            .packs()
            .unwrap()
            .into_iter()
            .map(|(_, pack)| pack.id)
            .collect()
    }

    /// Counts spooled packs that the catalogue does not know.
    pub(crate) fn stray_packs(&self) -> usize {
        let known = self.pack_ids();
        self.spool
            .list()
            .iter()
            .filter(|(pack, _)| !known.contains(pack))
            .count()
    }

    /// Compares every file of the newest snapshot with the source, through the packs.
    pub(crate) fn verify(&self, folder: &Path) {
        let packs = self.all_packs();
        let context = self.context();
        let library = Library::new(&context).unwrap();
        let head = library.snapshots().unwrap().pop().unwrap();
        let record = library.snapshot(head.snapshot).unwrap();
        let key = self.keys.chunk_key();
        let mut contents = BTreeMap::new();
        for (id, bytes) in packs {
            let (_, record) = self.catalogue.pack_by_id(id).unwrap().unwrap();
            let keys = self.keys.pack_keys(record.epoch).unwrap();
            let open = OpenPack::open(&keys, bytes).unwrap();
            for (position, chunk) in open.chunks().iter().enumerate() {
                contents.insert(chunk.id, open.chunk(&key, position).unwrap().into_owned());
            }
        }
        let mut files = 0;
        library
            .walk(&record, b"/", &mut |path, node| {
                if let NodeKind::File { content, .. } = &node.kind {
                    let saved: Vec<u8> = content
                        .iter()
                        .flat_map(|chunk| contents[&chunk.id].clone())
                        .collect();
                    let mut names = path.split(|&byte| byte == b'/').skip(2);
                    let path = names.try_fold(folder.to_path_buf(), |path, name| {
                        Some(path.join(std::str::from_utf8(name).ok()?))
                    });
                    let file = self.disk.open(&path.unwrap(), Open::Read).unwrap();
                    let mut now = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                    assert_eq!(file.read_at(&mut now, 0).unwrap(), now.len());
                    assert!(saved == now);
                    files += 1;
                }
                true
            })
            .unwrap();
        assert_eq!(files, record.files);
    }
}

/// A disk on which some files change each time that they are read.
#[derive(Debug)]
struct Restless {
    inner: MemDisk,
    files: Vec<PathBuf>,
}

#[derive(Debug)]
struct RestlessFile {
    inner: Box<dyn DiskFile>,
    disk: MemDisk,
    path: PathBuf,
}

impl DiskFile for RestlessFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buffer, offset)?;
        let mut first = [0];
        self.inner.read_at(&mut first, 0)?;
        let file = self.disk.open(&self.path, Open::Write)?;
        file.write_at(&[first[0] ^ 1], 0)?;
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn metadata(&self) -> io::Result<Metadata> {
        self.inner.metadata()
    }
}

impl Disk for Restless {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.inner.open(path, how)?;
        if self.files.iter().all(|file| file != path) {
            return Ok(inner);
        }
        Ok(Box::new(RestlessFile {
            inner,
            disk: self.inner.clone(),
            path: path.to_path_buf(),
        }))
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.read_link(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn room(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.inner.room(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
}
