//! What a file of a [`crate::mem_disk::MemDisk`] holds: now, and on stable storage.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::mem_disk::{Coins, Survival};

pub(super) const BLOCK_BYTES: u64 = 4096;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
const ZEROS: Block = [0; BLOCK_BYTES as usize];

type Block = [u8; BLOCK_BYTES as usize];

/// A sparse file. Blocks are shared with crash images until somebody writes to them.
#[derive(Debug)]
pub(super) struct Content {
    blocks: BTreeMap<u64, Arc<Block>>,
    pub(super) len: u64,
    /// Blocks touched since the last sync, as they are on stable storage.
    before: BTreeMap<u64, Option<Arc<Block>>>,
    synced_len: u64,
    /// Lengths that were set since the last sync: each of them is all there at once.
    set_lens: Vec<u64>,
    /// The length before writes grew the file: growth by writes comes piece by piece.
    written_from: u64,
    /// Bytes in use on the whole disk.
    used: Arc<AtomicU64>,
}

impl Content {
    pub(super) fn new(used: Arc<AtomicU64>) -> Self {
        Self {
            blocks: BTreeMap::new(),
            len: 0,
            before: BTreeMap::new(),
            synced_len: 0,
            set_lens: Vec::new(),
            written_from: 0,
            used,
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let left = self.len.saturating_sub(offset);
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < count {
            let (block, within) = place(offset + done as u64);
            let part = (count - done).min(BLOCK_BYTES as usize - within);
            let into = &mut buffer[done..done + part];
            match self.blocks.get(&block) {
                Some(bytes) => into.copy_from_slice(&bytes[within..within + part]),
                None => into.fill(0),
            }
            done += part;
        }
        count
    }

    /// Writes as much as there is room for, block by block, and returns how much that was.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, capacity: Option<u64>) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let (block, within) = place(offset + done as u64);
            let part = (bytes.len() - done).min(BLOCK_BYTES as usize - within);
            let from = &bytes[done..done + part];
            let old = self.blocks.get(&block).cloned();
            if old.is_none() {
                let full = |limit| self.used.load(Ordering::Relaxed) + BLOCK_BYTES > limit;
                if capacity.is_some_and(full) {
                    break;
                }
                self.used.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
            }
            self.before.entry(block).or_insert(old);
            let slot = self.blocks.entry(block).or_insert_with(|| Arc::new(ZEROS));
            Arc::make_mut(slot)[within..within + part].copy_from_slice(from);
            done += part;
            self.len = self.len.max(offset + done as u64);
        }
        done
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (last, within) = place(len);
            let first_gone = if within == 0 { last } else { last + 1 };
            for (block, bytes) in self.blocks.split_off(&first_gone) {
                self.before.entry(block).or_insert(Some(bytes));
                self.used.fetch_sub(BLOCK_BYTES, Ordering::Relaxed);
            }
            if within != 0
                && let Some(bytes) = self.blocks.get_mut(&last)
            {
                self.before.entry(last).or_insert(Some(bytes.clone()));
                Arc::make_mut(bytes)[within..].fill(0);
            }
        }
        self.len = len;
        self.written_from = len;
        self.set_lens.push(len);
    }

    pub(super) fn sync(&mut self) {
        self.before.clear();
        self.synced_len = self.len;
        self.set_lens.clear();
        self.written_from = self.len;
    }

    /// Flips one bit, on stable storage too. Holes have no bits to flip.
    pub(super) fn rot(&mut self, bit: u64) -> bool {
        let (block, within) = place(bit / 8);
        let mask = 1 << (bit % 8);
        if bit / 8 >= self.len {
            return false;
        }
        if let Some(Some(bytes)) = self.before.get_mut(&block) {
            Arc::make_mut(bytes)[within] ^= mask;
        }
        match self.blocks.get_mut(&block) {
            Some(bytes) => {
                Arc::make_mut(bytes)[within] ^= mask;
                true
            }
            None => false,
        }
    }

    /// Returns what is left after a crash.
    pub(super) fn survivor(
        &self,
        survival: Survival,
        coins: &mut Coins,
        used: Arc<AtomicU64>,
    ) -> Self {
        let mut image = Self::new(used);
        image.blocks = self.blocks.clone();
        image.len = match survival {
            Survival::All => self.len,
            Survival::Synced => self.synced_len,
            Survival::Torn { .. } if self.len == self.synced_len => self.len,
            Survival::Torn { .. } => self.torn_len(coins),
        };
        if survival != Survival::All {
            for (block, old) in &self.before {
                let live = self.blocks.get(block);
                let bytes = match survival {
                    Survival::Torn { .. } => torn_block(old.as_deref(), live, coins),
                    _ => old.clone(),
                };
                match bytes {
                    Some(bytes) => image.blocks.insert(*block, bytes),
                    None => image.blocks.remove(block),
                };
            }
        }
        // Nothing lies behind the end, so that a later growth shows zeros.
        let len = image.len;
        image.len = u64::MAX;
        image
            .used
            .fetch_add(image.blocks.len() as u64 * BLOCK_BYTES, Ordering::Relaxed);
        image.set_len(len);
        image.sync();
        image
    }

    /// One of the lengths that the file had since the last sync. While writes grow it, that may be
    /// any sector's edge.
    fn torn_len(&self, coins: &mut Coins) -> u64 {
        match coins.toss(4) {
            0 => self.len,
            1 => self.synced_len,
            2 => {
                let count = self.set_lens.len() as u64;
                let chosen = usize::try_from(coins.toss(count)).unwrap_or(0);
                self.set_lens.get(chosen).copied().unwrap_or(self.len)
            }
            _ => {
                let sector = SECTOR_BYTES as u64;
                let first = self.written_from / sector;
                let sectors = self.len / sector - first;
                let edge = (first + coins.toss(sectors + 1) + 1) * sector;
                edge.min(self.len)
            }
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let bytes = self.blocks.len() as u64 * BLOCK_BYTES;
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Takes each sector from the old or the new content.
fn torn_block(
    old: Option<&Block>,
    live: Option<&Arc<Block>>,
    coins: &mut Coins,
) -> Option<Arc<Block>> {
    let mut bytes = *old.unwrap_or(&ZEROS);
    let new = live.map_or(&ZEROS, |live| &**live);
    for at in (0..bytes.len()).step_by(SECTOR_BYTES) {
        if coins.toss(2) == 0 {
            bytes[at..at + SECTOR_BYTES].copy_from_slice(&new[at..at + SECTOR_BYTES]);
        }
    }
    (old.is_some() || live.is_some()).then(|| Arc::new(bytes))
}

/// Returns the block and the place within it of an offset.
fn place(offset: u64) -> (u64, usize) {
    let within = usize::try_from(offset % BLOCK_BYTES).expect("less than a block");
    (offset / BLOCK_BYTES, within)
}
