//! Shards of our own packs that come back for a repair: rebuilt, they go into the spool.
//!
//! They wait in memory, at most [`PACKS_MAX`] packs' worth.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{event::Event, id::PackId, limits, record::PackRecord};

use super::{Inbox, fetched::decode};
use crate::{quiet, store::Store};

/// Twice as many as are under way at a time.
const PACKS_MAX: usize = 2 * limits::PACKS_IN_FLIGHT_MAX;

type Shards = BTreeMap<u8, Vec<u8>>;

/// The shards that are here. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repaired(Arc<Mutex<BTreeMap<PackId, Shards>>>);

impl Repaired {
    /// Keeps a whole, verified shard.
    pub(super) fn add(&self, pack: PackId, index: u8, content: Vec<u8>) {
        let mut shards = self.shards();
        shards.entry(pack).or_default().insert(index, content);
        while shards.len() > PACKS_MAX {
            // Repairs that were broken off left theirs here. If it hits one that goes on, it can't be
            // rebuilt, and begins anew.
            let other = shards.keys().find(|it| **it != pack).copied();
            if let Some(other) = other {
                shards.remove(&other);
            }
        }
    }

    /// Forgets all that came.
    pub(super) fn clear(&self) {
        self.shards().clear();
    }

    /// Rebuilds a pack whose shards are all here, puts it into the spool, and tells the core.
    pub(super) fn complete(&self, store: Arc<Store>, inbox: Inbox, pack: PackRecord) {
        let shards = self.shards().remove(&pack.id).unwrap_or_default();
        tokio::spawn(async move {
            let id = pack.id;
            let kept = quiet::blocking(move || Ok(keep(&store, &pack, &shards)));
            let good = kept.await.unwrap_or(false);
            inbox.tell(Event::Respooled { pack: id, good });
        });
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<PackId, Shards>> {
        // The map is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether the pack is in the spool, durably.
fn keep(store: &Store, pack: &PackRecord, shards: &Shards) -> bool {
    let Some(ciphertext) = decode(pack, shards) else {
        return false;
    };
    let put = store.spool.put(pack.id, &ciphertext);
    match put.and_then(|()| store.spool.sync()) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(pack = %pack.id.short(), %error, "a repair has to wait");
            false
        }
    }
}
