//! Shards of our own packs on their way back, and who waits for the packs.
//!
//! Shards of the few packs that are under way lie in memory. The core counts those packs, and has what
//! nobody in reach goes on with set aside on the disk. A pack counts only as done when its reader has
//! taken it, or when it is in the spool.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{event::Event, id::PackId, limits, record::PackRecord, shard};
use tokio::sync::mpsc;

use super::Inbox;
use crate::{quiet, store::Store};

/// Packs whose shards are kept in memory: twice as many as are under way at a time. What is beyond that
/// came for a fetch that was broken off.
const PACKS_MAX: usize = 2 * limits::PACKS_IN_FLIGHT_MAX;

/// A pack that came back: its record and its verified ciphertext.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which pack.
    pub(crate) pack: PackRecord,
    /// Its ciphertext; its BLAKE3 hash is the pack's id.
    pub(crate) ciphertext: Vec<u8>,
}

type Shards = BTreeMap<u8, Vec<u8>>;

/// The shards that are here. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    state: Arc<Mutex<State>>,
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<PackId, Shards>,
    /// Memory of shards and packs that were used, for those that follow: fresh memory costs a page
    /// fault every 4 KiB.
    spare: Vec<Vec<u8>>,
    reader: Option<mpsc::Sender<Arrival>>,
}

impl Fetched {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            state: Arc::default(),
            store,
        }
    }

    /// Makes `reader` the one who gets packs from now on, and forgets what came for the last one.
    pub(crate) fn read_by(&self, reader: mpsc::Sender<Arrival>) {
        *self.state() = State {
            reader: Some(reader),
            ..State::default()
        };
    }

    /// Forgets the reader and all that came for it. What lies aside stays there.
    pub(crate) fn close(&self) {
        *self.state() = State::default();
    }

    /// Keeps a whole, verified shard.
    pub(super) fn add(&self, pack: PackId, index: u8, content: Vec<u8>) {
        let mut state = self.state();
        state.shards.entry(pack).or_default().insert(index, content);
        if state.shards.len() > PACKS_MAX {
            // If it hits one that goes on, that can't be rebuilt, and begins anew.
            let other = state.shards.keys().find(|it| **it != pack).copied();
            other.and_then(|other| state.shards.remove(&other));
        }
    }

    /// Returns memory for a shard.
    pub(super) fn memory(&self) -> Vec<u8> {
        self.state().spare.pop().unwrap_or_default()
    }

    /// Takes memory back that was a shard or a pack.
    pub(crate) fn give_back(&self, mut memory: Vec<u8>) {
        memory.clear();
        let mut state = self.state();
        if state.reader.is_some() && state.spare.len() < limits::PACKS_IN_FLIGHT_MAX {
            state.spare.push(memory);
        }
    }

    /// Writes what came of a pack to the disk, and tells the core.
    pub(super) fn set_aside(&self, inbox: &Inbox, pack: PackId) {
        let shards = self.take(pack);
        let (fetched, inbox) = (self.clone(), inbox.clone());
        tokio::task::spawn_blocking(move || {
            let put = fetched.store.aside.put(pack, &shards);
            let put = put.inspect_err(|error| {
                tracing::warn!(pack = %pack.short(), %error, "can't set shards aside");
            });
            inbox.tell(Event::SetAside {
                pack,
                good: put.is_ok(),
            });
            for memory in shards.into_values() {
                fetched.give_back(memory);
            }
        });
    }

    /// Removes what lies aside of a pack.
    pub(super) fn drop_aside(&self, pack: PackId) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.aside.remove(pack) {
                tracing::warn!(pack = %pack.short(), %error, "can't clear what lies aside");
            }
        });
    }

    /// Rebuilds a pack whose shards are all here, verifies it, hands it to the reader, and tells the
    /// core once the reader has taken it.
    pub(super) fn complete(&self, inbox: &Inbox, pack: PackRecord) {
        let shards = self.take(pack.id);
        let reader = self.state().reader.clone();
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

    /// Rebuilds a pack whose shards are all here, puts it into the spool, and tells the core.
    pub(super) fn respool(&self, inbox: &Inbox, pack: PackRecord) {
        let shards = self.take(pack.id);
        let (inbox, fetched) = (inbox.clone(), self.clone());
        tokio::spawn(async move {
            let id = pack.id;
            let kept = quiet::blocking(move || Ok(fetched.keep(&pack, shards)));
            let good = kept.await.unwrap_or(false);
            inbox.tell(Event::Respooled { pack: id, good });
        });
    }

    /// Tells whether the pack is in the spool, durably.
    fn keep(&self, pack: &PackRecord, shards: Shards) -> bool {
        let Some(ciphertext) = self.rebuild(pack, shards) else {
            return false;
        };
        let spool = &self.store.spool;
        match spool.put(pack.id, &ciphertext).and_then(|()| spool.sync()) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(pack = %pack.id.short(), %error, "a repair has to wait");
                false
            }
        }
    }

    fn take(&self, pack: PackId) -> Shards {
        self.state().shards.remove(&pack).unwrap_or_default()
    }

    /// Returns the ciphertext, or nothing if the shards that are here don't make this pack.
    fn rebuild(&self, pack: &PackRecord, mut shards: Shards) -> Option<Vec<u8>> {
        if pack.coding.k == 1
            && let Some(content) = shards.remove(&0)
        {
            // The shard is the pack, and was verified as such when it came.
            return (pack.shards.first()?.0 == pack.id.0).then_some(content);
        }
        if shards.len() < usize::from(pack.coding.k) {
            match self.store.aside.get(pack) {
                Ok(aside) => shards.extend(aside),
                Err(error) => {
                    tracing::warn!(pack = %pack.id.short(), %error, "can't read what lies aside");
                }
            }
        }
        let ciphertext = decode(pack, &shards);
        for memory in shards.into_values() {
            self.give_back(memory);
        }
        ciphertext
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps are whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the ciphertext that these shards make, by index; nothing if it isn't this pack's.
fn decode(pack: &PackRecord, shards: &Shards) -> Option<Vec<u8>> {
    let slices: Vec<(u8, &[u8])> = (shards.iter())
        .map(|(index, shard)| (*index, shard.as_slice()))
        .collect();
    let bytes = usize::try_from(pack.bytes).ok()?;
    let ciphertext = shard::rebuild(&pack.coding, &slices, bytes)
        .inspect_err(|error| tracing::warn!(pack = %pack.id.short(), %error, "can't rebuild"))
        .ok()?;
    (shard::shard_id(&ciphertext).0 == pack.id.0).then_some(ciphertext)
}
