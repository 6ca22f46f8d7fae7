//! Our own packs in memory: read from the spool or made again from the source files, and cut.
//!
//! At most [`SHARDS_IN_MEMORY`] at a time, over all peers: this bounds a node's memory while it sends.

use std::sync::Arc;

use bytes::Bytes;
use carryall_core::{
    event::{Command, TransferError},
    id::PackId,
    node::Node,
};
use carryall_store::rebuild::{self, RebuildError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{clock, driver::World, engine::context};

/// How many shards of our own are in memory while they are sent.
const SHARDS_IN_MEMORY: usize = 4;

/// Room for shards in memory. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARDS_IN_MEMORY)))
    }
}

/// A shard of our own in memory, with its share of the room.
#[derive(Debug)]
pub(crate) struct Loaded {
    shard: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Loaded {
    /// Returns the shard's bytes.
    pub(crate) const fn shard(&self) -> &Bytes {
        &self.shard
    }
}

/// Makes a shard of one of our own packs, once there is room for it.
pub(crate) async fn load(world: &World, pack: PackId, index: u8) -> Result<Loaded, TransferError> {
    let room = world
        .room
        .0
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| TransferError::Disk)?;
    let keys = world.inbox.look(|node, _| node.vault_keys().cloned()).await;
    let keys = keys.ok().flatten().ok_or(TransferError::Disk)?;
    let (store, rebuilder) = (world.store.clone(), world.rebuilder.clone());
    let made = tokio::task::spawn_blocking(move || {
        let context = context(&store, &keys);
        rebuilder
            .shard(&context, pack, index)
            .map_err(|error| transfer_error(&error))
    });
    let shard = made.await.unwrap_or(Err(TransferError::Disk))?;
    Ok(Loaded { shard, _room: room })
}

/// Forgets a pack whose sources changed, if nobody can rebuild it: the next snapshot saves anew what
/// is left of them.
pub(crate) fn forget_if_lost(world: &World, node: &Node, pack: PackId) {
    let lost = node.packs().filter(|record| record.id == pack);
    let Some(keys) = node.vault_keys().cloned() else {
        return;
    };
    if node.retrace_of(lost, clock::now()).packs_nowhere == 0 {
        return;
    }
    let (store, inbox) = (world.store.clone(), world.inbox.clone());
    tokio::task::spawn_blocking(move || {
        match rebuild::forget_broken(&context(&store, &keys), pack) {
            Ok(()) => inbox.order(Command::DropPack { pack }),
            Err(error) => tracing::error!(%error, "can't forget a lost pack"),
        }
    });
}

fn transfer_error(error: &RebuildError) -> TransferError {
    match error {
        RebuildError::SourceChanged(_) | RebuildError::Absent(_) | RebuildError::Unknown(_) => {
            tracing::warn!(%error, "a pack can't be made again");
            TransferError::SourceChanged
        }
        error => {
            tracing::error!(%error, "can't make a pack");
            TransferError::Disk
        }
    }
}
