//! Heads: publishing our newest snapshot, and learning those that this device has forgotten.

use std::{sync::Arc, time::Duration};

use carryall_core::{
    event::Command,
    head::{open_head, seal_head},
    node::Node,
    record::HeadRecord,
};
use carryall_store::{
    backup::Context,
    browse::BrowseError,
    index::{self, Learnt},
};

use tokio::time::sleep;

use super::{Engine, EngineError, backup::context, blocking, restore::Job};

/// How often to look for snapshots that this device has not heard of.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long the node waits by itself for somebody who has what it wants to learn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Snapshots in a row that nobody in reach can tell of before the rest waits, too.
const MISSES_MAX: u32 = 8;

/// Learns snapshots of this member's other devices whenever one shows up, until the engine stops.
pub(super) async fn keep_recalling(engine: Engine) {
    let mut seen = None;
    loop {
        tokio::select! {
            () = engine.stopped() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let news = match engine.world().await {
            Ok(world) => world.inbox.look(|node, _| node.news()).await.ok(),
            Err(_) => None,
        };
        if news.is_none() || news == seen {
            continue;
        }
        let learnt = match engine.repair_index(PATIENCE).await {
            Ok(()) => engine.recall(PATIENCE).await,
            error => error,
        };
        match learnt {
            Ok(()) => seen = news,
            // Without keys, or while somebody restores: later.
            Err(EngineError::NoKeys | EngineError::UnderWay(_) | EngineError::OutOfReach(_)) => {}
            Err(error) => tracing::warn!(%error, "can't learn a snapshot"),
        }
    }
}

/// Whose heads are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// This device's.
    Device,
    /// Those of all devices of this member.
    Member,
}

/// Returns the heads that were published, opened, oldest first.
fn heads(node: &Node, whose: Whose) -> Vec<HeadRecord> {
    let Some(keys) = node.vault_keys() else {
        return Vec::new();
    };
    let published = node.circle().heads_of(node.member());
    let wanted = published.filter(|head| whose == Whose::Member || head.device == node.device());
    let forgotten = node.forgotten();
    let opened = wanted.filter_map(|head| {
        open_head(keys, &head.sealed)
            .inspect_err(|error| tracing::warn!(%error, "a head can't be opened"))
            .ok()
    });
    let listed = opened.filter(|head| !forgotten.contains(&head.snapshot));
    let mut heads: Vec<HeadRecord> = listed.collect();
    heads.sort_by_key(|head| head.time);
    heads
}

impl Engine {
    /// Publishes the newest snapshot if it was not yet: a crash or a change of circle came between.
    pub(super) async fn publish_newest(&self) -> Result<(), EngineError> {
        let world = self.world().await?;
        let store = world.store.clone();
        let newest = blocking(move || Ok(store.catalogue.snapshots()?.pop())).await?;
        let Some(newest) = newest else { return Ok(()) };
        let id = newest.id;
        let look = move |node: &mut Node, _| {
            let known = heads(node, Whose::Member)
                .iter()
                .any(|head| head.snapshot == id);
            let joined = node.identity().circle.is_some();
            let keys = node
                .vault_keys()
                .and_then(|keys| keys.head_keys(keys.epoch()?));
            keys.filter(|_| joined && !known)
        };
        if let Some(keys) = world.inbox.look(look).await? {
            let head = seal_head(&keys, &newest.head)?;
            self.command(Command::Publish { head }).await?;
        }
        Ok(())
    }

    /// Learns the snapshots of this member's devices that are not known here, with what friends
    /// have of them.
    pub(super) async fn recall(&self, patience: Duration) -> Result<(), EngineError> {
        let mut job = self.job(Some(patience)).await?;
        let heads = job
            .world
            .inbox
            .look(|node, _| heads(node, Whose::Member))
            .await?;
        let (mut any, mut misses, mut missed) = (false, 0, None);
        // The newest leads to the older ones.
        for head in heads.into_iter().rev() {
            let (working, known) = (job.clone(), head.snapshot);
            let is_known = blocking(move || {
                let snapshots = working.world.store.catalogue.snapshots()?;
                Ok(snapshots.iter().any(|row| row.id == known))
            });
            if is_known.await? {
                continue;
            }
            let learn = move |context: &Context<'_>| index::learn(context, &head);
            match self.study(&job, learn).await {
                Ok(()) => (any, misses) = (true, 0),
                // A stolen device may have made it up, to hide the others.
                Err(EngineError::Browse(error)) => {
                    tracing::warn!(%error, "a snapshot can't be learnt");
                }
                Err(error @ EngineError::OutOfReach(_)) => {
                    job.patience = Duration::ZERO;
                    missed.get_or_insert(error);
                    misses += 1;
                }
                Err(error) => return Err(error),
            }
            if misses == MISSES_MAX {
                break;
            }
        }
        if any {
            self.drop_forgotten().await?;
            self.tell_packs(&job).await?;
        }
        missed.map_or(Ok(()), Err)
    }

    /// Forgets the catalogue and learns it anew from this device's own heads.
    pub(super) async fn rebuild_index(&self) -> Result<(), EngineError> {
        let busy = EngineError::UnderWay("a backup");
        let _alone = self
            .0
            .backing_up
            .clone()
            .try_lock_owned()
            .map_err(|_| busy)?;
        let job = self.job(None).await?;
        let store = job.world.store.clone();
        blocking(move || Ok(store.catalogue.clear()?)).await?;
        self.complete_index(&job).await
    }

    /// Learns what a catalogue lacks that began empty: a new vault's nothing, a lost one's all.
    pub(super) async fn repair_index(&self, patience: Duration) -> Result<(), EngineError> {
        let store = self.world().await?.store;
        if !blocking(move || Ok(store.catalogue.needs_rebuild()?)).await? {
            return Ok(());
        }
        match self.job(Some(patience)).await {
            Ok(job) => self.complete_index(&job).await,
            // Without keys there is nothing to learn yet; recovering comes first.
            Err(EngineError::NoKeys) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn complete_index(&self, job: &Job) -> Result<(), EngineError> {
        let heads = job
            .world
            .inbox
            .look(|node, _| heads(node, Whose::Device))
            .await?;
        if heads.is_empty() {
            let store = job.world.store.clone();
            blocking(move || {
                let mut batch = store.catalogue.batch()?;
                batch.complete()?;
                Ok(batch.commit()?)
            })
            .await?;
        } else {
            self.study(job, move |context| index::rebuild(context, &heads))
                .await?;
            self.drop_forgotten().await?;
        }
        self.tell_packs(job).await
    }

    /// Learns until nothing is absent; what is, friends bring.
    async fn study(
        &self,
        job: &Job,
        learn: impl Fn(&Context<'_>) -> Result<Learnt, BrowseError> + Send + Sync + 'static,
    ) -> Result<(), EngineError> {
        let learn = Arc::new(learn);
        loop {
            let (working, learning) = (job.clone(), learn.clone());
            let learnt =
                blocking(move || Ok(learning(&context(&working.world.store, &working.keys))?));
            let absent = learnt.await?.absent;
            if absent.is_empty() {
                return Ok(());
            }
            self.bring(job, absent).await?;
        }
    }

    /// Tells the core about all packs in the catalogue.
    async fn tell_packs(&self, job: &Job) -> Result<(), EngineError> {
        let (store, inbox) = (job.world.store.clone(), job.world.inbox.clone());
        blocking(move || {
            for (pack, available) in store.packs()? {
                inbox.order(Command::AddPack { pack, available });
            }
            Ok(())
        })
        .await
    }
}
