//! Shards on their way to the trash, back and out of it, and parcels that go, in the order in which the core said so.

use carryall_core::{
    days::Days,
    event::Event,
    id::{MemberId, ShardId},
};
use carryall_store::shelf::ShelfError;

use super::World;

/// What is to be moved.
#[derive(Debug)]
pub(super) enum Shelving {
    Discard {
        owner: MemberId,
        shards: Vec<ShardId>,
        day: u32,
    },
    Retrieve {
        owner: MemberId,
        shards: Vec<ShardId>,
    },
    Erase {
        owner: MemberId,
        shards: Vec<ShardId>,
    },
    DropParcels {
        owner: MemberId,
        shards: Vec<ShardId>,
    },
    KeepDays(Days),
}

impl Shelving {
    /// Does it and tells the core what came of it.
    pub(super) fn perform(self, world: &World) {
        let shelf = &world.store.shelf;
        let event = match self {
            Self::Discard { owner, shards, day } => {
                let shards = unless_refused(shelf.discard(owner, &shards, day));
                Event::Discarded { owner, shards }
            }
            Self::Retrieve { owner, shards } => {
                let shards = unless_refused(shelf.retrieve(owner, &shards));
                Event::Retrieved { owner, shards }
            }
            Self::Erase { owner, shards } => {
                let shards = shelf.erase(owner, &shards);
                Event::Erased { owner, shards }
            }
            Self::DropParcels { owner, shards } => {
                let shards = world.store.parcels.remove_all(owner, &shards);
                Event::ParcelsDropped { owner, shards }
            }
            Self::KeepDays(days) => {
                if let Err(error) = world.store.vault.keep_days(&days) {
                    tracing::warn!(%error, "can't store the count of days; deletion takes longer");
                }
                return;
            }
        };
        world.inbox.tell(event);
    }
}

/// What the disk refuses to move stays where it is.
fn unless_refused(moved: Result<Vec<ShardId>, ShelfError>) -> Vec<ShardId> {
    moved.unwrap_or_else(|error| {
        tracing::error!(%error, "can't move shards to the trash or back");
        Vec::new()
    })
}
