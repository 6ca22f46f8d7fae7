//! The index of what this device knows about its own data: packs, chunks, sources, folders,
//! snapshots.
//!
//! It is only an index: it can be rebuilt from the identity, our own feed, the spool, the shelf and
//! the metadata packs, and is never the only copy of anything. It lies in redb with two-phase commit.
//! It is no place for secrets, and nothing in it is believed about other people.

mod backend;
mod batch;
mod row;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use carryall_core::{
    codec::decode,
    id::{ChunkId, PackId, SnapshotId},
    pack::Siv,
    record::{HeadRecord, PackRecord, PackedChunk},
    time::Timestamp,
};
use redb::{
    Builder, Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, TableError, Value, WriteTransaction,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use self::backend::DiskBackend;
pub use self::batch::Batch;
use crate::{
    disk::{Disk, Open, remove_if_there},
    error::{At, DiskError},
};

/// Version of the catalogue's tables.
const VERSION: u64 = 2;
/// Memory for pages: enough for the upper levels of every tree of a large vault.
const CACHE_BYTES: usize = 16 << 20;

/// Numbers: format version, next ordinal, whether the catalogue is complete.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Ordinal to encoded [`PackRecord`].
const PACKS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("packs");
/// Ordinal to encoded list of [`PackedChunk`]s.
const CONTENTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("contents");
/// Pack id to ordinal.
const ORDINALS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("ordinals");
/// First half of a chunk id to ordinal, index in the pack, plain length. The ids are keyed hashes
/// that nobody else can choose, so half of one is enough.
const CHUNKS: TableDefinition<'_, &[u8; 16], &[u8; 12]> = TableDefinition::new("chunks");
/// Ordinal to encoded list of [`SourceRun`]s, squeezed.
const SOURCES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sources");
/// Ordinal to synthetic IV, of packs whose sources are known. Catalogues from before it have none.
const SIVS: TableDefinition<'_, u32, &[u8; 32]> = TableDefinition::new("sivs");
/// Key of a directory to the scanner's memory of it, squeezed.
const DIRECTORIES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("directories");
/// Path of a remembered folder to when it was remembered.
const ROOTS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("roots");
/// Time and id of a snapshot to its encoded [`HeadRecord`].
const SNAPSHOTS: TableDefinition<'_, (u64, &[u8; 32]), &[u8]> = TableDefinition::new("snapshots");

const META_VERSION: &str = "version";
const META_NEXT: &str = "next ordinal";
const META_COMPLETE: &str = "complete";

/// Why the catalogue refused.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// It is not as it was written. Nothing is lost: `carryall check --rebuild-index` remakes it.
    #[error("the catalogue {} is damaged; `carryall check --rebuild-index` remakes it", .0.display())]
    Damaged(PathBuf),
    /// A newer program wrote it.
    #[error("the catalogue has format version {found}, this program reads up to {known}")]
    TooNew {
        /// The version found.
        found: u64,
        /// The newest version known here.
        known: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl CatalogueError {
    /// Tells whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_full())
    }
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The pack's ordinal.
    pub pack: u32,
    /// Index among the pack's chunks.
    pub index: u32,
    /// Plain length in bytes.
    pub raw_bytes: u32,
}

/// What must not have changed for a file to hold the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Length in bytes.
    pub bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Inode number.
    pub ino: u64,
}

/// Consecutive chunks of a pack that came from one stretch of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRun {
    /// Absolute path, raw bytes.
    pub path: Vec<u8>,
    /// The file as it was read.
    pub facts: FileFacts,
    /// Where the stretch begins in the file.
    pub offset: u64,
    /// Index of its first chunk in the pack.
    pub first: u32,
    /// Number of chunks.
    pub count: u32,
}

/// A snapshot as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The snapshot.
    pub id: SnapshotId,
    /// Where it lies.
    pub head: HeadRecord,
}

/// The catalogue of a vault.
#[derive(Debug)]
pub struct Catalogue {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    slot: Mutex<Slot>,
}

/// The open database. After an error of the disk redb wants to be closed and opened anew.
#[derive(Debug)]
struct Slot {
    database: Option<Arc<Database>>,
    /// The one before, until its last user lets go of it.
    previous: Weak<Database>,
}

impl Catalogue {
    /// Opens the catalogue and checks all of it. A missing or damaged one is made anew, empty, and
    /// [`Self::needs_rebuild`] then.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, CatalogueError> {
        let database = match open_database(&disk, path) {
            Err(CatalogueError::Damaged(_)) => {
                tracing::warn!(path = %path.display(), "catalogue is damaged, starting a new one");
                remove_if_there(&*disk, path)?;
                open_database(&disk, path)?
            }
            opened => opened?,
        };
        let slot = Mutex::new(Slot {
            database: Some(Arc::new(database)),
            previous: Weak::new(),
        });
        let path = path.to_owned();
        Ok(Self { disk, path, slot })
    }

    /// Tells whether the catalogue began empty and nobody has called [`Batch::complete`] since.
    pub fn needs_rebuild(&self) -> Result<bool, CatalogueError> {
        Ok(self.view()?.meta(META_COMPLETE)?.is_none())
    }

    /// Begins a batch of changes. Waits while another batch is open.
    pub fn batch(&self) -> Result<Batch<'_>, CatalogueError> {
        let database = self.database()?;
        let transaction = self.ours(database.begin_write())?;
        Batch::new(self, transaction, database)
    }

    /// Returns the catalogue as it is now, for many reads.
    pub fn view(&self) -> Result<View<'_>, CatalogueError> {
        let database = self.database()?;
        let transaction = self.ours(database.begin_read())?;
        let chunks = self.ours(transaction.open_table(CHUNKS))?;
        Ok(View {
            catalogue: self,
            chunks,
            transaction,
            _database: database,
        })
    }

    /// Returns where a chunk lies, if it is known.
    pub fn find_chunk(&self, chunk: &ChunkId) -> Result<Option<ChunkPlace>, CatalogueError> {
        self.view()?.find_chunk(chunk)
    }

    /// Returns the pack with an ordinal.
    pub fn pack(&self, ordinal: u32) -> Result<Option<PackRecord>, CatalogueError> {
        self.view()?.pack(ordinal)
    }

    /// Returns the ordinal and the record of a pack.
    pub fn pack_by_id(&self, pack: PackId) -> Result<Option<(u32, PackRecord)>, CatalogueError> {
        self.view()?.pack_by_id(pack)
    }

    /// Returns all packs by ordinal.
    pub fn packs(&self) -> Result<Vec<(u32, PackRecord)>, CatalogueError> {
        self.view()?.packs()
    }

    /// Returns the chunks of a pack, in order.
    pub fn contents(&self, ordinal: u32) -> Result<Option<Vec<PackedChunk>>, CatalogueError> {
        self.view()?.contents(ordinal)
    }

    /// Returns where a pack's chunks came from; nothing if that was not remembered.
    pub fn sources(&self, ordinal: u32) -> Result<Option<Vec<SourceRun>>, CatalogueError> {
        self.view()?.sources(ordinal)
    }

    /// Returns the remembered folders and when they were remembered.
    pub fn roots(&self) -> Result<Vec<(Vec<u8>, Timestamp)>, CatalogueError> {
        self.view()?.roots()
    }

    /// Returns all snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>, CatalogueError> {
        self.view()?.snapshots()
    }

    /// Empties the catalogue, which [`Self::needs_rebuild`] then.
    pub fn clear(&self) -> Result<(), CatalogueError> {
        let database = self.database()?;
        let transaction = self.ours(database.begin_write())?;
        self.ours(delete_tables(&transaction))?;
        self.ours(make_tables(&transaction))?;
        commit(self, transaction)
    }

    /// Returns the length of the file in bytes.
    pub fn bytes(&self) -> Result<u64, CatalogueError> {
        let facts = self.disk.metadata(&self.path);
        Ok(facts.at("look at", &self.path)?.bytes)
    }

    fn database(&self) -> Result<Arc<Database>, CatalogueError> {
        let mut slot = self.slot();
        if let Some(database) = &slot.database {
            return Ok(database.clone());
        }
        if slot.previous.strong_count() > 0 {
            let busy = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(busy).at("reopen", &self.path)?;
        }
        let database = Arc::new(open_database(&self.disk, &self.path)?);
        slot.database = Some(database.clone());
        Ok(database)
    }

    /// Translates an error, and closes the database if it takes nothing more after it.
    fn ours<T, E: Into<redb::Error>>(&self, result: Result<T, E>) -> Result<T, CatalogueError> {
        result.map_err(|error| {
            let error = error.into();
            if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
                let mut slot = self.slot();
                if let Some(database) = slot.database.take() {
                    slot.previous = Arc::downgrade(&database);
                }
            }
            translate(error, &self.path)
        })
    }

    fn decode<T: Serialize + DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CatalogueError> {
        decode("catalogue row", bytes).map_err(|_| CatalogueError::Damaged(self.path.clone()))
    }

    fn expand(&self, stored: &[u8]) -> Result<Vec<u8>, CatalogueError> {
        row::expand(stored).ok_or_else(|| CatalogueError::Damaged(self.path.clone()))
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // Both fields are replaced whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The catalogue at one moment.
pub struct View<'a> {
    catalogue: &'a Catalogue,
    chunks: ReadOnlyTable<&'static [u8; 16], &'static [u8; 12]>,
    transaction: ReadTransaction,
    /// Dropped last, so that a failed database isn't opened anew before all let go of it.
    _database: Arc<Database>,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl View<'_> {
    /// Returns where a chunk lies, if it is known.
    pub fn find_chunk(&self, chunk: &ChunkId) -> Result<Option<ChunkPlace>, CatalogueError> {
        let row = self.catalogue.ours(self.chunks.get(&chunk_key(chunk)))?;
        Ok(row.map(|row| place_from(row.value())))
    }

    /// Returns the pack with an ordinal.
    pub fn pack(&self, ordinal: u32) -> Result<Option<PackRecord>, CatalogueError> {
        self.row(PACKS, ordinal)
    }

    /// Returns the ordinal and the record of a pack.
    pub fn pack_by_id(&self, pack: PackId) -> Result<Option<(u32, PackRecord)>, CatalogueError> {
        let table = self.table(ORDINALS)?;
        let Some(ordinal) = self.catalogue.ours(table.get(pack.as_bytes()))? else {
            return Ok(None);
        };
        let ordinal = ordinal.value();
        Ok(self.pack(ordinal)?.map(|record| (ordinal, record)))
    }

    /// Returns all packs by ordinal.
    pub fn packs(&self) -> Result<Vec<(u32, PackRecord)>, CatalogueError> {
        let table = self.table(PACKS)?;
        let mut packs = Vec::new();
        for row in self.catalogue.ours(table.iter())? {
            let (ordinal, record) = self.catalogue.ours(row)?;
            packs.push((ordinal.value(), self.catalogue.decode(record.value())?));
        }
        Ok(packs)
    }

    /// Returns the ordinal that the next pack gets: above those of all packs there were.
    pub fn next_ordinal(&self) -> Result<u32, CatalogueError> {
        let next = self.meta(META_NEXT)?.unwrap_or(0);
        u32::try_from(next).map_err(|_| CatalogueError::Damaged(self.catalogue.path.clone()))
    }

    /// Returns the chunks of a pack, in order.
    pub fn contents(&self, ordinal: u32) -> Result<Option<Vec<PackedChunk>>, CatalogueError> {
        self.row(CONTENTS, ordinal)
    }

    /// Returns where a pack's chunks came from; nothing if that was not remembered.
    pub fn sources(&self, ordinal: u32) -> Result<Option<Vec<SourceRun>>, CatalogueError> {
        let table = self.table(SOURCES)?;
        let Some(stored) = self.catalogue.ours(table.get(ordinal))? else {
            return Ok(None);
        };
        let plain = self.catalogue.expand(stored.value())?;
        self.catalogue.decode(&plain).map(Some)
    }

    /// Returns a pack's synthetic IV; nothing if that was not remembered.
    pub fn siv(&self, ordinal: u32) -> Result<Option<Siv>, CatalogueError> {
        let table = match self.transaction.open_table(SIVS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => self.catalogue.ours(opened)?,
        };
        let row = self.catalogue.ours(table.get(ordinal))?;
        Ok(row.map(|row| Siv(*row.value())))
    }

    /// Returns the scanner's memory of a directory.
    pub fn directory(&self, key: &[u8; 16]) -> Result<Option<Vec<u8>>, CatalogueError> {
        let table = self.table(DIRECTORIES)?;
        let row = self.catalogue.ours(table.get(key))?;
        row.map(|row| self.catalogue.expand(row.value()))
            .transpose()
    }

    /// Returns the remembered folders and when they were remembered.
    pub fn roots(&self) -> Result<Vec<(Vec<u8>, Timestamp)>, CatalogueError> {
        let table = self.table(ROOTS)?;
        let mut roots = Vec::new();
        for row in self.catalogue.ours(table.iter())? {
            let (path, time) = self.catalogue.ours(row)?;
            roots.push((path.value().to_vec(), Timestamp(time.value())));
        }
        Ok(roots)
    }

    /// Returns all snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>, CatalogueError> {
        let table = self.table(SNAPSHOTS)?;
        let mut snapshots = Vec::new();
        for row in self.catalogue.ours(table.iter())? {
            let (key, head) = self.catalogue.ours(row)?;
            let id = SnapshotId(*key.value().1);
            let head = self.catalogue.decode(head.value())?;
            snapshots.push(SnapshotRow { id, head });
        }
        Ok(snapshots)
    }

    fn meta(&self, key: &str) -> Result<Option<u64>, CatalogueError> {
        let table = self.table(META)?;
        let row = self.catalogue.ours(table.get(key))?;
        Ok(row.map(|row| row.value()))
    }

    fn row<T: Serialize + DeserializeOwned>(
        &self,
        table: TableDefinition<'static, u32, &'static [u8]>,
        ordinal: u32,
    ) -> Result<Option<T>, CatalogueError> {
        let table = self.table(table)?;
        match self.catalogue.ours(table.get(ordinal))? {
            Some(row) => Ok(Some(self.catalogue.decode(row.value())?)),
            None => Ok(None),
        }
    }

    fn table<K: Key, V: Value>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, CatalogueError> {
        self.catalogue.ours(self.transaction.open_table(table))
    }
}

/// Opens or makes the database. Everything in it is checked against redb's checksums.
fn open_database(disk: &Arc<dyn Disk>, path: &Path) -> Result<Database, CatalogueError> {
    let file = disk.open(path, Open::Write).at("open", path)?;
    let is_new = file.is_empty().at("look at", path)?;
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(DiskBackend::new(file))
        .map_err(|error| translate(error.into(), path))?;
    let ready = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        make_tables(&transaction)?;
        two_phase(transaction)?;
        Ok(())
    };
    if is_new {
        ready().map_err(|error| translate(error, path))?;
        if let Some(directory) = path.parent() {
            disk.sync_dir(directory).at("sync", directory)?;
        }
    }
    let found = version(&database).map_err(|error| translate(error, path))?;
    match found {
        Some(VERSION) => Ok(database),
        Some(found) if found > VERSION => {
            let known = VERSION;
            Err(CatalogueError::TooNew { found, known })
        }
        _ => Err(CatalogueError::Damaged(path.to_owned())),
    }
}

fn version(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(META)?;
    Ok(table.get(META_VERSION)?.map(|row| row.value()))
}

fn make_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction
        .open_table(META)?
        .insert(META_VERSION, VERSION)?;
    transaction.open_table(PACKS)?;
    transaction.open_table(CONTENTS)?;
    transaction.open_table(ORDINALS)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(SOURCES)?;
    transaction.open_table(SIVS)?;
    transaction.open_table(DIRECTORIES)?;
    transaction.open_table(ROOTS)?;
    transaction.open_table(SNAPSHOTS)?;
    Ok(())
}

fn delete_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.delete_table(META)?;
    transaction.delete_table(PACKS)?;
    transaction.delete_table(CONTENTS)?;
    transaction.delete_table(ORDINALS)?;
    transaction.delete_table(CHUNKS)?;
    transaction.delete_table(SOURCES)?;
    transaction.delete_table(SIVS)?;
    transaction.delete_table(DIRECTORIES)?;
    transaction.delete_table(ROOTS)?;
    transaction.delete_table(SNAPSHOTS)?;
    Ok(())
}

fn commit(catalogue: &Catalogue, transaction: WriteTransaction) -> Result<(), CatalogueError> {
    catalogue.ours(two_phase(transaction))
}

/// Commits in two phases: one fsync would be enough for chance, but not for chosen content.
fn two_phase(mut transaction: WriteTransaction) -> Result<(), redb::CommitError> {
    transaction.set_two_phase_commit(true);
    transaction.commit()
}

/// What the disk refused is the disk's; everything else that redb says means damage, since the
/// tables and their types are constants.
fn translate(error: redb::Error, path: &Path) -> CatalogueError {
    let source = match error {
        redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            return CatalogueError::Damaged(path.to_owned());
        }
        redb::Error::Io(source) => source,
        redb::Error::PreviousIo => io::Error::other("an earlier error"),
        _ => return CatalogueError::Damaged(path.to_owned()),
    };
    CatalogueError::Disk(DiskError {
        action: "use",
        path: path.to_owned(),
        source,
    })
}

fn chunk_key(chunk: &ChunkId) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&chunk.as_bytes()[..16]);
    key
}

fn place_from(row: &[u8; 12]) -> ChunkPlace {
    let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    ChunkPlace {
        pack: word(0),
        index: word(4),
        raw_bytes: word(8),
    }
}

fn place_row(place: ChunkPlace) -> [u8; 12] {
    let mut row = [0; 12];
    row[..4].copy_from_slice(&place.pack.to_le_bytes());
    row[4..8].copy_from_slice(&place.index.to_le_bytes());
    row[8..].copy_from_slice(&place.raw_bytes.to_le_bytes());
    row
}
