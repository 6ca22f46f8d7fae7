//! Shards of our own packs on their way back, and who waits for the packs.
//!
//! Shards wait in memory, at most [`limits::PACKS_IN_FLIGHT_MAX`] packs' worth: the core counts
//! them, and counts a pack only as done when its reader has taken it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    event::Event,
    id::{PackId, ShardId},
    limits,
    record::PackRecord,
    shard,
};
use tokio::sync::mpsc;

use super::Inbox;

/// A pack that came back: its record and its verified ciphertext.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which pack.
    pub(crate) pack: PackRecord,
    /// Its ciphertext; its BLAKE3 hash is the pack's id.
    pub(crate) ciphertext: Vec<u8>,
}

/// Returns the ciphertext that these shards make, by index; nothing if it isn't this pack's.
pub(super) fn decode(pack: &PackRecord, shards: &BTreeMap<u8, Vec<u8>>) -> Option<Vec<u8>> {
    let slices: Vec<(u8, &[u8])> = (shards.iter())
        .map(|(index, shard)| (*index, shard.as_slice()))
        .collect();
    let bytes = usize::try_from(pack.bytes).ok()?;
    let ciphertext = shard::rebuild(&pack.coding, &slices, bytes)
        .inspect_err(|error| tracing::warn!(pack = %pack.id.short(), %error, "can't rebuild"))
        .ok()?;
    (shard::shard_id(&ciphertext).0 == pack.id.0).then_some(ciphertext)
}

/// The shards that are here. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    whole: BTreeMap<PackId, BTreeMap<u8, Vec<u8>>>,
    partial: BTreeMap<ShardId, Vec<u8>>,
    /// Memory of shards and packs that were used, for those that follow: fresh memory costs a page
    /// fault every 4 KiB.
    spare: Vec<Vec<u8>>,
    reader: Option<mpsc::Sender<Arrival>>,
}

impl Fetched {
    /// Makes `reader` the one who gets packs from now on, and forgets what came for the last one.
    pub(crate) fn read_by(&self, reader: mpsc::Sender<Arrival>) {
        *self.state() = State {
            reader: Some(reader),
            ..State::default()
        };
    }

    /// Forgets the reader and all that came for it.
    pub(crate) fn close(&self) {
        *self.state() = State::default();
    }

    /// Keeps a whole, verified shard.
    pub(super) fn add(&self, pack: PackId, index: u8, content: Vec<u8>) {
        let mut state = self.state();
        if state.reader.is_some() {
            state.whole.entry(pack).or_default().insert(index, content);
        }
    }

    /// Keeps the beginning of a shard whose link broke.
    pub(super) fn add_partial(&self, shard: ShardId, content: Vec<u8>) {
        let mut state = self.state();
        if state.reader.is_some() && !content.is_empty() {
            state.partial.insert(shard, content);
        }
    }

    /// Takes the beginning of a shard, `offset` bytes of it, from an earlier try, or memory for one.
    pub(super) fn take_partial(&self, shard: ShardId, offset: u32) -> Option<Vec<u8>> {
        let offset = usize::try_from(offset).ok()?;
        let mut state = self.state();
        let partial = state.partial.remove(&shard);
        let mut content = partial.or_else(|| state.spare.pop()).unwrap_or_default();
        drop(state);
        let long_enough = content.len() >= offset;
        content.truncate(offset);
        long_enough.then_some(content)
    }

    /// Takes memory back that was a shard or a pack.
    pub(crate) fn give_back(&self, mut memory: Vec<u8>) {
        memory.clear();
        let mut state = self.state();
        if state.reader.is_some() && state.spare.len() < limits::PACKS_IN_FLIGHT_MAX {
            state.spare.push(memory);
        }
    }

    /// Rebuilds a pack whose shards are all here, verifies it, hands it to the reader, and tells the
    /// core once the reader has taken it.
    pub(super) fn complete(&self, inbox: &Inbox, pack: PackRecord) {
        let (shards, reader) = {
            let mut state = self.state();
            (
                state.whole.remove(&pack.id).unwrap_or_default(),
                state.reader.clone(),
            )
        };
        let (inbox, fetched) = (inbox.clone(), self.clone());
        tokio::task::spawn_blocking(move || {
            let id = pack.id;
            let rebuilt = fetched.rebuild(&pack, shards);
            let good = rebuilt.is_some();
            if let (Some(ciphertext), Some(reader)) = (rebuilt, reader) {
                // A reader that has gone needs no more packs, and has told the core so.
                let _ = reader.blocking_send(Arrival { pack, ciphertext });
            }
            inbox.tell(Event::PackUsed { pack: id, good });
        });
    }

    /// Returns the ciphertext, or nothing if these shards don't make this pack.
    fn rebuild(&self, pack: &PackRecord, mut shards: BTreeMap<u8, Vec<u8>>) -> Option<Vec<u8>> {
        if pack.coding.k == 1 {
            // The shard is the pack, and was verified as such when it came.
            let (shard, content) = (pack.shards.first()?, shards.remove(&0)?);
            return (shard.0 == pack.id.0).then_some(content);
        }
        let ciphertext = decode(pack, &shards);
        for memory in shards.into_values() {
            self.give_back(memory);
        }
        ciphertext
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
