//! Changes to the catalogue that happen together or not at all.

use std::{fmt, sync::Arc};

use carryall_core::{
    codec::encode,
    id::{ChunkId, PackId, SnapshotId},
    pack::Siv,
    record::{HeadRecord, IndexedPack, PackedChunk},
    time::Timestamp,
};
use redb::{Database, ReadableTable, WriteTransaction};

use crate::catalogue::{
    CHUNKS, CONTENTS, Catalogue, CatalogueError, ChunkPlace, DIRECTORIES, META, META_COMPLETE,
    META_NEXT, ORDINALS, PACKS, ROOTS, SIVS, SNAPSHOTS, SOURCES, SourceRun, chunk_key, commit,
    place_from, place_row, row::squeeze,
};

/// Open changes. Dropping it without [`Self::commit`] leaves the catalogue as it was.
pub struct Batch<'a> {
    catalogue: &'a Catalogue,
    transaction: WriteTransaction,
    next: u32,
    /// Dropped last, so that a failed database isn't opened anew before all let go of it.
    _database: Arc<Database>,
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        catalogue: &'a Catalogue,
        transaction: WriteTransaction,
        database: Arc<Database>,
    ) -> Result<Self, CatalogueError> {
        let next = (|| -> Result<_, redb::Error> {
            let table = transaction.open_table(META)?;
            Ok(table.get(META_NEXT)?.map_or(0, |row| row.value()))
        })();
        let next = catalogue.ours(next)?;
        let next =
            u32::try_from(next).map_err(|_| CatalogueError::Damaged(catalogue.path.clone()))?;
        Ok(Self {
            catalogue,
            transaction,
            next,
            _database: database,
        })
    }

    /// Adds a pack with its chunks and returns its ordinal; that of a known pack if it is known.
    /// A chunk that lies in another pack already is found in the newer one from now on.
    pub fn put_pack(&mut self, pack: &IndexedPack) -> Result<u32, CatalogueError> {
        let ordinal = self.next;
        let stored = store_pack(&self.transaction, ordinal, pack);
        match self.catalogue.ours(stored)? {
            Some(known) => Ok(known),
            None => {
                // Four billion packs of 16 MiB don't fit any disk.
                self.next = self.next.saturating_add(1);
                Ok(ordinal)
            }
        }
    }

    /// Remembers where a pack's chunks came from, so that it can be rebuilt.
    pub fn put_sources(&mut self, ordinal: u32, runs: &[SourceRun]) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(SOURCES)?;
            table.insert(ordinal, squeeze(&encode(&runs)).as_slice())?;
            Ok(())
        })();
        self.catalogue.ours(put)
    }

    /// Remembers a pack's synthetic IV, so that a pass over all of it is saved when it is rebuilt.
    pub fn put_siv(&mut self, ordinal: u32, siv: Siv) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            self.transaction.open_table(SIVS)?.insert(ordinal, &siv.0)?;
            Ok(())
        })();
        self.catalogue.ours(put)
    }

    /// Forgets where a pack's chunks came from: it can't be rebuilt any more.
    pub fn forget_sources(&mut self, pack: PackId) -> Result<(), CatalogueError> {
        let forgotten = (|| -> Result<_, redb::Error> {
            let ordinals = self.transaction.open_table(ORDINALS)?;
            let ordinal = ordinals.get(pack.as_bytes())?.map(|row| row.value());
            if let Some(ordinal) = ordinal {
                forget_sources(&self.transaction, ordinal)?;
            }
            Ok(())
        })();
        self.catalogue.ours(forgotten)
    }

    /// Forgets a pack, and every chunk that was found in it.
    pub fn remove_pack(&mut self, pack: PackId) -> Result<(), CatalogueError> {
        let ordinal = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(ORDINALS)?;
            Ok(table.remove(pack.as_bytes())?.map(|row| row.value()))
        })();
        let Some(ordinal) = self.catalogue.ours(ordinal)? else {
            return Ok(());
        };
        let contents = (|| -> Result<_, redb::Error> {
            self.transaction.open_table(PACKS)?.remove(ordinal)?;
            forget_sources(&self.transaction, ordinal)?;
            let mut table = self.transaction.open_table(CONTENTS)?;
            Ok(table.remove(ordinal)?.map(|row| row.value().to_vec()))
        })();
        let contents = self.catalogue.ours(contents)?.unwrap_or_default();
        let chunks: Vec<PackedChunk> = self.catalogue.decode(&contents)?;
        let removed = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(CHUNKS)?;
            for chunk in &chunks {
                let key = chunk_key(&chunk.id);
                let row = table.get(&key)?.map(|row| place_from(row.value()));
                if row.is_some_and(|place| place.pack == ordinal) {
                    table.remove(&key)?;
                }
            }
            Ok(())
        })();
        self.catalogue.ours(removed)
    }

    /// Returns where a chunk lies, this batch included.
    pub fn find_chunk(&self, chunk: &ChunkId) -> Result<Option<ChunkPlace>, CatalogueError> {
        let found = (|| -> Result<_, redb::Error> {
            let table = self.transaction.open_table(CHUNKS)?;
            let row = table.get(&chunk_key(chunk))?;
            Ok(row.map(|row| place_from(row.value())))
        })();
        self.catalogue.ours(found)
    }

    /// Replaces the scanner's memory of directories: keys and opaque bytes, none to forget one.
    pub fn put_directories<'b>(
        &mut self,
        directories: impl IntoIterator<Item = (&'b [u8; 16], Option<&'b [u8]>)>,
    ) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(DIRECTORIES)?;
            for (key, bytes) in directories {
                match bytes {
                    Some(bytes) => table.insert(key, squeeze(bytes).as_slice())?,
                    None => table.remove(key)?,
                };
            }
            Ok(())
        })();
        self.catalogue.ours(put)
    }

    /// Forgets the scanner's memory of every directory that `keep` refuses.
    pub fn retain_directories(
        &mut self,
        mut keep: impl FnMut(&[u8; 16]) -> bool,
    ) -> Result<(), CatalogueError> {
        let retained = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(DIRECTORIES)?;
            table.retain(|key, _| keep(key))?;
            Ok(())
        })();
        self.catalogue.ours(retained)
    }

    /// Remembers a folder, so that it is watched and saved from now on.
    pub fn remember_root(&mut self, path: &[u8], now: Timestamp) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(ROOTS)?;
            if table.get(path)?.is_none() {
                table.insert(path, now.0)?;
            }
            Ok(())
        })();
        self.catalogue.ours(put)
    }

    /// Forgets a folder. What was saved of it stays.
    pub fn forget_root(&mut self, path: &[u8]) -> Result<(), CatalogueError> {
        let removed = (|| -> Result<_, redb::Error> {
            self.transaction.open_table(ROOTS)?.remove(path)?;
            Ok(())
        })();
        self.catalogue.ours(removed)
    }

    /// Adds a snapshot.
    pub fn put_snapshot(&mut self, head: &HeadRecord) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(SNAPSHOTS)?;
            let key = (head.time.0, head.snapshot.as_bytes());
            table.insert(key, encode(head).as_slice())?;
            Ok(())
        })();
        self.catalogue.ours(put)
    }

    /// Drops a snapshot from the list.
    pub fn remove_snapshot(
        &mut self,
        snapshot: SnapshotId,
        time: Timestamp,
    ) -> Result<(), CatalogueError> {
        let removed = (|| -> Result<_, redb::Error> {
            let mut table = self.transaction.open_table(SNAPSHOTS)?;
            table.remove((time.0, snapshot.as_bytes()))?;
            Ok(())
        })();
        self.catalogue.ours(removed)
    }

    /// Says that the catalogue holds all there is to know: of a new vault, or after a rebuild.
    pub fn complete(&mut self) -> Result<(), CatalogueError> {
        self.put_meta(META_COMPLETE, 1)
    }

    /// Makes the changes durable, all of them.
    pub fn commit(mut self) -> Result<(), CatalogueError> {
        self.put_meta(META_NEXT, u64::from(self.next))?;
        commit(self.catalogue, self.transaction)
    }

    fn put_meta(&mut self, key: &str, value: u64) -> Result<(), CatalogueError> {
        let put = (|| -> Result<_, redb::Error> {
            self.transaction.open_table(META)?.insert(key, value)?;
            Ok(())
        })();
        self.catalogue.ours(put)
    }
}

fn forget_sources(transaction: &WriteTransaction, ordinal: u32) -> Result<(), redb::Error> {
    transaction.open_table(SOURCES)?.remove(ordinal)?;
    transaction.open_table(SIVS)?.remove(ordinal)?;
    Ok(())
}

/// Stores a pack's rows; returns its ordinal if it is known already.
fn store_pack(
    transaction: &WriteTransaction,
    ordinal: u32,
    pack: &IndexedPack,
) -> Result<Option<u32>, redb::Error> {
    let mut ordinals = transaction.open_table(ORDINALS)?;
    let known = ordinals
        .get(pack.pack.id.as_bytes())?
        .map(|row| row.value());
    if known.is_some() {
        return Ok(known);
    }
    ordinals.insert(pack.pack.id.as_bytes(), ordinal)?;
    let record = encode(&pack.pack);
    transaction
        .open_table(PACKS)?
        .insert(ordinal, record.as_slice())?;
    let contents = encode(&pack.chunks);
    transaction
        .open_table(CONTENTS)?
        .insert(ordinal, contents.as_slice())?;
    let mut rows: Vec<_> = pack
        .chunks
        .iter()
        .zip(0..)
        .map(|(chunk, index)| {
            let raw_bytes = chunk.raw_bytes;
            let pack = ordinal;
            (
                chunk_key(&chunk.id),
                ChunkPlace {
                    pack,
                    index,
                    raw_bytes,
                },
            )
        })
        .collect();
    // In order, neighbours share pages.
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut chunks = transaction.open_table(CHUNKS)?;
    for (key, place) in rows {
        chunks.insert(&key, &place_row(place))?;
    }
    Ok(None)
}
