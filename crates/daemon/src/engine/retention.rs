//! Forgetting snapshots by rules or by name, pruning what none needs, and taking both back.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    event::{Command, Notice},
    head::open_head,
    id::{DeviceId, SnapshotId},
    limits,
    node::Node,
    retention::{self, Dated, Verdict},
};
use carryall_store::{catalogue::SnapshotRow, free, prune};

use super::{Engine, EngineError, backup::context, blocking, restore::PATIENCE};
use crate::{
    api::retention::{ForgetReport, ForgetRequest, Judged, PruneReport, PruneRequest},
    clock,
};

impl Engine {
    /// Forgets snapshots: they are no longer listed. What only they need stays until a prune.
    pub async fn forget(&self, request: ForgetRequest) -> Result<ForgetReport, EngineError> {
        if request.rules.are_empty() && request.snapshots.is_empty() {
            return Err(EngineError::NoRules);
        }
        let _turn = self.turn()?;
        let mut named = BTreeSet::new();
        for snapshot in &request.snapshots {
            named.insert(self.find_snapshot(snapshot).await?);
        }
        let world = self.world().await?;
        let store = world.store.clone();
        let rows = blocking(move || Ok(store.catalogue.snapshots()?)).await?;
        let places = world.inbox.look(|node, _| Places::of(node)).await?;
        let dated: Vec<Dated> = rows.iter().map(|row| places.date(row)).collect();
        let verdicts = if request.rules.are_empty() {
            let keep = |row: &SnapshotRow| Verdict {
                id: row.id,
                kept: Some(retention::Reason::Within),
            };
            rows.iter().map(keep).collect()
        } else {
            retention::judge(&dated, &request.rules, clock::now())
        };
        let verdicts: BTreeMap<SnapshotId, Verdict> =
            verdicts.into_iter().map(|it| (it.id, it)).collect();
        let last = rows.last().map(|row| row.id);
        if last.is_some_and(|last| named.contains(&last)) {
            return Err(EngineError::NewestSnapshot);
        }
        let store = world.store.clone();
        let holder = blocking(move || {
            let freed = store.vault.freed()?;
            Ok(free::held_by(&store.catalogue, &freed)?)
        });
        if holder.await?.is_some_and(|holder| named.contains(&holder)) {
            return Err(EngineError::HoldsFreed);
        }
        // What a device that was removed made last may go.
        let newest = retention::newest_of_each(&dated).into_iter();
        let mut newest = newest.filter(|(device, _)| places.devices.contains(device));
        if newest.any(|(_, newest)| named.contains(&newest)) {
            return Err(EngineError::NewestSnapshot);
        }
        let judged = rows.iter().rev().map(|row| {
            let kept = verdicts.get(&row.id).and_then(|verdict| verdict.kept);
            Judged {
                id: row.id,
                time: row.head.time,
                kept: kept.filter(|_| !named.contains(&row.id)),
            }
        });
        let snapshots: Vec<Judged> = judged.collect();
        let gone: Vec<SnapshotId> = (snapshots.iter())
            .filter(|it| it.kept.is_none())
            .map(|it| it.id)
            .collect();
        let forgotten = gone.len() as u64;
        if !request.dry_run && forgotten > 0 {
            let forget = Command::Forget {
                snapshots: gone,
                forgotten: true,
            };
            self.command(forget).await?;
            self.drop_forgotten().await?;
        }
        Ok(ForgetReport {
            snapshots,
            forgotten,
            dry_run: request.dry_run,
        })
    }

    /// Forgets by the rules in the settings, if there are any, and gives up what no snapshot needs since.
    pub(super) async fn tidy(&self) -> Result<(), EngineError> {
        let rules = self.config().keep.rules(clock::utc_offset());
        if rules.are_empty() {
            return Ok(());
        }
        let forget = ForgetRequest {
            rules,
            ..ForgetRequest::default()
        };
        let snapshots = self.forget(forget).await?.forgotten;
        if snapshots > 0 {
            let pruned = self.prune(PruneRequest::default()).await?;
            let bytes = pruned.bytes_at_friends;
            tracing::info!(snapshots, bytes, "forgotten by the rules in the settings");
            self.notify(Notice::Tidied { snapshots, bytes });
        }
        Ok(())
    }

    /// Releases the packs that no listed snapshot needs.
    pub async fn prune(&self, request: PruneRequest) -> Result<PruneReport, EngineError> {
        let _turn = self.turn()?;
        if request.undo {
            return self.undo().await;
        }
        let world = self.world().await?;
        let keys = world.inbox.look(|node, _| node.vault_keys().cloned());
        let keys = keys.await?.ok_or(EngineError::NoKeys)?;
        let (store, working) = (world.store.clone(), keys.clone());
        let mut found = blocking(move || Ok(prune::find(&context(&store, &working))?)).await?;
        let unneeded = std::mem::take(&mut found.packs);
        let split = world.inbox.look(move |node, now| {
            unneeded
                .into_iter()
                .partition::<Vec<_>, _>(|pack| node.may_release(pack, now))
        });
        let (released, young) = split.await?;
        found.kept += young.len() as u64;
        found.packs = released;
        let packs: Vec<_> = found.packs.iter().map(|pack| pack.id).collect();
        let looked = packs.clone();
        let held = world.inbox.look(move |node, _| node.held_of(&looked));
        let report = PruneReport {
            packs: packs.len() as u64,
            bytes: found.packs.iter().map(|pack| u64::from(pack.bytes)).sum(),
            bytes_at_friends: held.await?,
            packs_kept: found.kept,
            dead_bytes: found.dead_bytes,
            remembered: 0,
            days: limits::TRASH_DAYS,
            dry_run: request.dry_run,
        };
        if !request.dry_run && !packs.is_empty() {
            // First the word to friends: if this is cut short, the next prune finds the same packs.
            let release = Command::Release {
                packs: packs.clone(),
            };
            self.command(release).await?;
            let store = world.store.clone();
            blocking(move || Ok(prune::drop_packs(&context(&store, &keys), &packs)?)).await?;
        }
        Ok(report)
    }

    /// Takes back all that was released and forgotten, as far as friends still have it.
    async fn undo(&self) -> Result<PruneReport, EngineError> {
        let world = self.world().await?;
        let forgotten = world.inbox.look(|node, _| node.forgotten()).await?;
        self.command(Command::Veto).await?;
        let snapshots: Vec<SnapshotId> = forgotten.iter().copied().collect();
        let remember = Command::Forget {
            snapshots,
            forgotten: false,
        };
        self.command(remember).await?;
        self.recall(PATIENCE).await?;
        let store = world.store.clone();
        let rows = blocking(move || Ok(store.catalogue.snapshots()?)).await?;
        let back = rows.iter().filter(|row| forgotten.contains(&row.id));
        Ok(PruneReport {
            remembered: back.count() as u64,
            days: limits::TRASH_DAYS,
            ..PruneReport::default()
        })
    }

    /// Takes forgotten snapshots off the list: they come back onto it whenever the index is learnt.
    pub(super) async fn drop_forgotten(&self) -> Result<(), EngineError> {
        let world = self.world().await?;
        let forgotten = world.inbox.look(|node, _| node.forgotten()).await?;
        if forgotten.is_empty() {
            return Ok(());
        }
        let store = world.store;
        blocking(move || {
            let mut rows = store.catalogue.snapshots()?;
            rows.retain(|row| forgotten.contains(&row.id));
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = store.catalogue.batch()?;
            for row in rows {
                batch.remove_snapshot(row.id, row.head.time)?;
            }
            Ok(batch.commit()?)
        })
        .await
    }

    /// Nobody else backs up, forgets or prunes meanwhile.
    pub(super) fn turn(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, EngineError> {
        let backing_up = self.0.backing_up.clone();
        backing_up
            .try_lock_owned()
            .map_err(|_| EngineError::UnderWay("a backup"))
    }
}

/// Which of our devices made which snapshot.
struct Places {
    own: DeviceId,
    /// Ours, without those that were removed.
    devices: BTreeSet<DeviceId>,
    /// Where snapshots stand in feeds.
    heads: BTreeMap<SnapshotId, (DeviceId, u64)>,
}

impl Places {
    fn of(node: &mut Node) -> Self {
        let mut heads = BTreeMap::new();
        if let Some(keys) = node.vault_keys() {
            for head in node.circle().heads_of(node.member()) {
                if let Ok(opened) = open_head(keys, &head.sealed) {
                    // The first word counts: a snapshot can be published again, but not made again.
                    let place = heads
                        .entry(opened.snapshot)
                        .or_insert((head.device, head.seq));
                    if place.0 == head.device {
                        place.1 = place.1.min(head.seq);
                    }
                }
            }
        }
        Self {
            own: node.device(),
            devices: node.circle().devices_of(node.member()).collect(),
            heads,
        }
    }

    fn date(&self, row: &SnapshotRow) -> Dated {
        let place = self.heads.get(&row.id);
        Dated {
            id: row.id,
            time: row.head.time,
            device: place.map_or(self.own, |(device, _)| *device),
            place: place.map(|(_, seq)| *seq),
        }
    }
}
