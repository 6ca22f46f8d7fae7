//! The open vault with all its parts.

use std::{path::Path, sync::Arc};

use carryall_core::{
    id::DeviceId,
    limits,
    node::Node,
    record::{PackKind, PackRecord},
};
use carryall_store::{
    aside::Aside,
    catalogue::Catalogue,
    feeds::Feeds,
    history::{History, HistoryError},
    os_disk::OsDisk,
    shelf::Shelf,
    spool::Spool,
    vault::Vault,
};

use crate::{config::Config, engine::EngineError};

/// The parts of a vault, open for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Store {
    /// The home directory and the lock on it.
    pub(crate) vault: Arc<Vault>,
    /// What everybody said.
    pub(crate) feeds: Feeds,
    /// Whom we met; nothing while the disk can't read it, since only habits depend on it.
    pub(crate) history: Option<Arc<History>>,
    /// Shards kept for others.
    pub(crate) shelf: Arc<Shelf>,
    /// Shards carried to others.
    pub(crate) parcels: Arc<Shelf>,
    /// Own packs that can't be rebuilt.
    pub(crate) spool: Arc<Spool>,
    /// Shards of own packs on their way back.
    pub(crate) aside: Arc<Aside>,
    /// The rebuildable index.
    pub(crate) catalogue: Arc<Catalogue>,
}

impl Store {
    /// Opens the parts of a vault and tells a core what lies in them.
    pub(crate) fn open(
        vault: Vault,
        config: &Config,
        node: &mut Node,
    ) -> Result<Self, EngineError> {
        let history = match vault.history() {
            Ok(history) => Some(Arc::new(history)),
            Err(error @ HistoryError::TooNew { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "nothing is known of earlier meetings");
                None
            }
        };
        let shelf = Arc::new(vault.shelf(config.keep_free)?);
        let parcels = Arc::new(vault.parcels(config.keep_free)?);
        let spool = Arc::new(vault.spool(config.spool_cap)?);
        let aside = Arc::new(vault.aside(limits::ASIDE_FLOOR_BYTES)?);
        let catalogue = Arc::new(vault.catalogue()?);
        teach_packs(&catalogue, &spool, node)?;
        let store = Self {
            feeds: open_feeds(&vault, node)?,
            vault: Arc::new(vault),
            history,
            shelf,
            parcels,
            spool,
            aside,
            catalogue,
        };
        store.teach(node)?;
        Ok(store)
    }

    /// Opens the feeds anew, after they were replaced on disk, and tells a core all as [`Self::open`]
    /// does. All else stays open.
    pub(crate) fn with_new_feeds(&self, node: &mut Node) -> Result<Self, EngineError> {
        teach_packs(&self.catalogue, &self.spool, node)?;
        let store = Self {
            feeds: open_feeds(&self.vault, node)?,
            vault: self.vault.clone(),
            history: self.history.clone(),
            shelf: self.shelf.clone(),
            parcels: self.parcels.clone(),
            spool: self.spool.clone(),
            aside: self.aside.clone(),
            catalogue: self.catalogue.clone(),
        };
        store.teach(node)?;
        Ok(store)
    }

    /// Tells a core what lies on the disks beside packs and feeds.
    fn teach(&self, node: &mut Node) -> Result<(), EngineError> {
        if let Some(history) = &self.history
            && let Err(error) = history.read(&mut |meeting| node.learn_meeting(meeting))
        {
            tracing::warn!(%error, "not all is known of earlier meetings");
        }
        for kept in self.shelf.list() {
            node.learn_kept(kept.owner, kept.shard, kept.bytes);
        }
        for parcel in self.parcels.list() {
            node.learn_parcel(parcel.owner, parcel.shard, parcel.bytes);
        }
        for (kept, trashed) in self.shelf.trash() {
            node.learn_trashed(kept.owner, kept.shard, trashed);
        }
        for (pack, shards) in self.aside.list() {
            node.learn_aside(pack, shards);
        }
        node.learn_days(self.vault.days()?);
        Ok(())
    }

    /// Returns our packs, and whether this device may be able to make them.
    pub(crate) fn packs(&self) -> Result<Vec<(PackRecord, bool)>, EngineError> {
        packs(&self.catalogue, &self.spool)
    }
}

fn packs(catalogue: &Catalogue, spool: &Spool) -> Result<Vec<(PackRecord, bool)>, EngineError> {
    let mut packs = Vec::new();
    for (ordinal, pack) in catalogue.packs()? {
        let here = spool.contains(pack.id) || catalogue.sources(ordinal)?.is_some();
        packs.push((pack, here));
    }
    Ok(packs)
}

/// Tells a core which packs are ours, before it hears from the feeds where they are: so each of a
/// million words finds its place at once.
fn teach_packs(catalogue: &Catalogue, spool: &Spool, node: &mut Node) -> Result<(), EngineError> {
    for (pack, available) in packs(catalogue, spool)? {
        if pack.kind == PackKind::Large && spool.contains(pack.id) {
            node.learn_respooled(pack.id);
        }
        node.learn_pack(pack, available);
    }
    Ok(())
}

fn open_feeds(vault: &Vault, node: &mut Node) -> Result<Feeds, EngineError> {
    let mut refused = |device: DeviceId, seq, error| {
        tracing::debug!(device = %device.short(), seq, %error, "entry is of no use");
    };
    let mut replay = node.replaying(&mut refused);
    let feeds = vault.feeds(&mut |device, _, entry| replay.take(device, entry))?;
    replay.finish();
    feeds.check_own()?;
    for cut in feeds.cuts() {
        let device = cut.device.short();
        tracing::warn!(%device, kept = cut.kept, bytes = cut.bytes, "cut a torn feed");
    }
    Ok(feeds)
}

/// Opens the vault in a home directory on the operating system's disk.
pub(crate) fn vault(home: &Path) -> Result<Vault, EngineError> {
    Ok(Vault::open(Arc::new(OsDisk), home)?)
}
