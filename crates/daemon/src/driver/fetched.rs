//! Shards of our own packs on their way back, and who waits for the packs.
//!
//! Shards wait in memory, at most [`limits::PACKS_IN_FLIGHT_MAX`] packs' worth: the core counts
//! them, and counts a pack only as done when its reader has taken it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use carryall_core::{
    event::Event,
    id::{PackId, ShardId},
    record::PackRecord,
    shard,
};
use tokio::sync::mpsc;

use super::Inbox;

#[cfg(doc)]
use carryall_core::limits;

/// A pack that came back: its record and its verified ciphertext.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Which pack.
    pub(crate) pack: PackRecord,
    /// Its ciphertext; its BLAKE3 hash is the pack's id.
    pub(crate) ciphertext: Bytes,
}

/// The shards that are here. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    whole: BTreeMap<PackId, BTreeMap<u8, Bytes>>,
    partial: BTreeMap<ShardId, Bytes>,
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
    pub(super) fn add(&self, pack: PackId, index: u8, content: Bytes) {
        let mut state = self.state();
        if state.reader.is_some() {
            state.whole.entry(pack).or_default().insert(index, content);
        }
    }

    /// Keeps the beginning of a shard whose link broke.
    pub(super) fn add_partial(&self, shard: ShardId, content: Bytes) {
        let mut state = self.state();
        if state.reader.is_some() && !content.is_empty() {
            state.partial.insert(shard, content);
        }
    }

    /// Takes the beginning of a shard, `offset` bytes of it, from an earlier try.
    pub(super) fn take_partial(&self, shard: ShardId, offset: u32) -> Option<Bytes> {
        let offset = usize::try_from(offset).ok()?;
        let mut content = self.state().partial.remove(&shard).unwrap_or_default();
        (content.len() >= offset).then(|| content.split_to(offset))
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
        let inbox = inbox.clone();
        tokio::task::spawn_blocking(move || {
            let id = pack.id;
            let rebuilt = rebuild(&pack, &shards);
            drop(shards);
            let good = rebuilt.is_some();
            if let (Some(ciphertext), Some(reader)) = (rebuilt, reader) {
                // A reader that has gone needs no more packs, and has told the core so.
                let _ = reader.blocking_send(Arrival { pack, ciphertext });
            }
            inbox.tell(Event::PackUsed { pack: id, good });
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the ciphertext, or nothing if these shards don't make this pack.
fn rebuild(pack: &PackRecord, shards: &BTreeMap<u8, Bytes>) -> Option<Bytes> {
    if pack.coding.k == 1 {
        // The shard is the pack, and was verified as such when it came.
        let (shard, content) = (pack.shards.first()?, shards.get(&0)?);
        return (shard.0 == pack.id.0).then(|| content.clone());
    }
    let shards: Vec<(u8, &[u8])> = shards
        .iter()
        .map(|(index, b)| (*index, b.as_ref()))
        .collect();
    let bytes = usize::try_from(pack.bytes).ok()?;
    let ciphertext = shard::rebuild(&pack.coding, &shards, bytes)
        .inspect_err(|error| tracing::warn!(pack = %pack.id.short(), %error, "can't rebuild"))
        .ok()?;
    (shard::shard_id(&ciphertext).0 == pack.id.0).then(|| ciphertext.into())
}
