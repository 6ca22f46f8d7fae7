//! What the driver, its workers and the engine's jobs act on.

use std::sync::Arc;

use carryall_core::event::Notice;
use carryall_net::Net;
use carryall_store::rebuild::Rebuilder;
use tokio::sync::{Notify, broadcast};

use super::{Fetched, Inbox, Parts};
use crate::{meter::Meter, packs::Room, store::Store};

/// What the driver acts on. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The disks.
    pub(crate) store: Arc<Store>,
    /// The links; nothing while commands work without a node.
    pub(crate) net: Option<Net>,
    /// Who wants to know what happens.
    pub(crate) notices: broadcast::Sender<Notice>,
    /// Packs that came back from friends.
    pub(crate) fetched: Fetched,
    /// Parts of packs that are to be read.
    pub(crate) parts: Parts,
    /// Makes our own packs again.
    pub(crate) rebuilder: Arc<Rebuilder>,
    /// Room for packs in memory.
    pub(crate) room: Room,
    /// How fast shards go.
    pub(crate) meter: Meter,
    /// Rings when this machine's addresses changed.
    pub(crate) moved: Arc<Notify>,
    /// The driver's inbox.
    pub(crate) inbox: Inbox,
}

impl World {
    /// Puts the parts together; nothing is under way yet.
    pub(crate) fn new(
        store: Arc<Store>,
        net: Option<Net>,
        notices: broadcast::Sender<Notice>,
        inbox: Inbox,
    ) -> Self {
        Self {
            fetched: Fetched::new(store.clone()),
            store,
            net,
            notices,
            parts: Parts::default(),
            rebuilder: Arc::default(),
            room: Room::default(),
            meter: Meter::default(),
            moved: Arc::default(),
            inbox,
        }
    }
}
