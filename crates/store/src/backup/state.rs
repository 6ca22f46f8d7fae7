//! What one backup leaves for the next one, beside the memory of each directory.
//!
//! It lies in the catalogue and is an aid only: without it the next snapshot lists all packs anew.

use std::sync::{Mutex, PoisonError};

use carryall_core::{
    codec::encode,
    id::{ChunkId, SnapshotId},
    record::{Root, SegmentRef},
};
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Batch, Catalogue, CatalogueError, View},
    freed::Freed,
    scan::{CachedDirectory, CachedNode, Memory},
};

/// Version of [`State`].
const VERSION: u16 = 1;
/// Where the state lies among the directories. Their own keys are hashes.
const STATE_KEY: [u8; 16] = *b"state of backups";
/// Where the number of broken packs lies.
const GENERATION_KEY: [u8; 16] = *b"packs broken yet";

/// A published segment and the packs that it lists, by their ordinals in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) segment: SegmentRef,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// What the last snapshot was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) snapshot: Option<SnapshotId>,
    pub(crate) roots: Vec<Root>,
    /// The roots as the walk remembers names, in the same order.
    pub(crate) nodes: Vec<CachedNode>,
    pub(crate) segments: Vec<Listed>,
    /// How many packs had broken by then: a broken one must not stay listed.
    pub(crate) generation: u64,
}

impl State {
    /// Reads the state that the last backup left.
    pub(crate) fn load(view: &View<'_>) -> Result<Self, CatalogueError> {
        let bytes = view.directory(&STATE_KEY)?.unwrap_or_default();
        Ok(match postcard::from_bytes::<(u16, Self)>(&bytes) {
            Ok((VERSION, state)) => state,
            _ => Self::default(),
        })
    }

    /// Leaves the state for the next backup.
    pub(crate) fn store(&self, batch: &mut Batch<'_>) -> Result<(), CatalogueError> {
        let bytes = encode(&(VERSION, self));
        batch.put_directories([(&STATE_KEY, Some(bytes.as_slice()))])
    }

    /// Returns the ordinal of the first pack that no segment lists.
    pub(crate) fn listed_to(&self) -> u32 {
        self.segments.last().map_or(0, |listed| listed.to)
    }
}

/// Returns how many packs have broken since the catalogue was made.
pub(crate) fn generation(view: &View<'_>) -> Result<u64, CatalogueError> {
    let bytes = view.directory(&GENERATION_KEY)?.unwrap_or_default();
    Ok(bytes.try_into().map_or(0, u64::from_le_bytes))
}

/// Counts packs that broke.
pub(crate) fn set_generation(batch: &mut Batch<'_>, generation: u64) -> Result<(), CatalogueError> {
    let bytes = generation.to_le_bytes();
    batch.put_directories([(&GENERATION_KEY, Some(bytes.as_slice()))])
}

/// Tells whether a key is none of a directory.
pub(super) fn is_reserved(key: &[u8; 16]) -> bool {
    *key == STATE_KEY || *key == GENERATION_KEY
}

/// Returns the key under which a directory is remembered.
pub(crate) fn directory_key(path: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
    key
}

/// The catalogue as the walk sees it.
#[derive(Debug)]
pub(super) struct Remembered<'a> {
    view: View<'a>,
    generation: u64,
    freed: Freed,
    /// Freed files that are there again.
    back: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Remembered<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, freed: Freed) -> Result<Self, CatalogueError> {
        let view = catalogue.view()?;
        let generation = generation(&view)?;
        Ok(Self {
            view,
            generation,
            freed,
            back: Mutex::default(),
        })
    }

    /// Returns the freed files that the walk found at their places.
    pub(super) fn into_back(self) -> Vec<Vec<u8>> {
        // Whole paths are pushed.
        self.back
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the directory at `path` as the last walk knew it. A memory that can't be read costs reading
/// the files again, nothing else.
pub(crate) fn directory(view: &View<'_>, path: &[u8]) -> Option<CachedDirectory> {
    let bytes = view.directory(&directory_key(path)).ok()??;
    CachedDirectory::from_bytes(&bytes)
}

impl Memory for Remembered<'_> {
    fn directory(&self, path: &[u8]) -> Option<CachedDirectory> {
        directory(&self.view, path)
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn knows(&self, chunk: &ChunkId) -> bool {
        matches!(self.view.find_chunk(chunk), Ok(Some(_)))
    }

    fn freed(&self) -> &Freed {
        &self.freed
    }

    fn is_back(&self, path: &[u8]) {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        back.push(path.to_vec());
    }
}
