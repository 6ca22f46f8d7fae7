//! The drill: some files come back from friends alone and are compared, when asked and every quarter.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use carryall_core::{
    drill::{Budget, Drills},
    event::Notice,
    id::PackId,
    pack::OpenPack,
};
use carryall_store::{
    browse::{BrowseError, Library},
    drill::{Drill, DrillReport},
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};

use super::{
    Engine, EngineError,
    backup::context,
    blocking,
    restore::{Job, PATIENCE},
};
use crate::{clock, drills, driver::Arrival, founding};

/// How often to look whether a drill is due while friends prove nothing.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Friends who are met have other things to do first.
const REST: Duration = Duration::from_secs(2);

/// On whose behalf a drill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The owner's, who waits for it.
    Owner,
    /// Nobody's: it gives way to whoever wants something back.
    Nobody,
}

/// Has drills by itself, until the engine stops.
pub(super) async fn keep_drilling(engine: Engine) {
    let mut notices = engine.notices();
    loop {
        tokio::select! {
            () = engine.stopped() => return,
            () = something_proved(&mut notices) => {}
            () = sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = engine.stopped() => return,
            () = sleep(REST) => {}
        }
        match engine.drill_if_due().await {
            // Without keys, without friends, or while somebody restores: later.
            Ok(())
            | Err(EngineError::NoKeys | EngineError::UnderWay(_) | EngineError::OutOfReach(_)) => {}
            Err(error) => tracing::warn!(%error, "a drill was cut short"),
        }
    }
}

/// Waits until a friend shows something that it keeps.
async fn something_proved(notices: &mut Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice::Proved { .. }) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // The engine is gone, and this task with it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Engine {
    async fn drill_if_due(&self) -> Result<(), EngineError> {
        let drills = self.drills().await?;
        let look = move |node: &mut carryall_core::node::Node, now| node.drill(&drills, now);
        let budget = self.world().await?.inbox.look(look).await?;
        match budget {
            Some(budget) => self.drill(budget, Wish::Nobody).await.map(drop),
            None => Ok(()),
        }
    }

    /// Returns what is remembered of drills.
    pub(super) async fn drills(&self) -> Result<Drills, EngineError> {
        let home = self.home().to_owned();
        blocking(move || Ok(drills::load(&home))).await
    }

    /// Brings some files back from friends, compares them with what the catalogue says, and remembers
    /// the outcome.
    pub(super) async fn drill(
        &self,
        budget: Budget,
        wish: Wish,
    ) -> Result<DrillReport, EngineError> {
        let guard = Arc::new(self.may_fetch(wish != Wish::Nobody).await?);
        let job = self.job(None).await?;
        let reach = job.world.inbox.look(|node, now| node.packs_in_reach(now));
        let reach = reach.await?;
        let seed = founding::random()?;
        let planning = job.clone();
        let plan = blocking(move || plan(&planning, budget, &reach, seed)).await?;
        let packs: Vec<_> = plan.packs().cloned().collect();
        if packs.is_empty() {
            let nobody = "friends in reach don't have all of any file that fits a drill";
            return Err(EngineError::OutOfReach(nobody.to_owned()));
        }
        self.remember(|drills| drills.tried = Some(clock::now()))
            .await?;
        let mut fetch = self.fetch(packs, PATIENCE, guard).await?;
        let mut plan = plan;
        loop {
            let arrival = tokio::select! {
                biased;
                () = self.0.fetching.wanted(), if wish == Wish::Nobody => {
                    return Err(EngineError::UnderWay("a restore"));
                }
                arrival = fetch.next() => arrival?,
            };
            let Some(arrival) = arrival else { break };
            let working = job.clone();
            plan = blocking(move || Ok(take(&working, plan, arrival))).await?;
        }
        drop(fetch);
        let keys = job.keys;
        let report = blocking(move || Ok(plan.finish(&keys.chunk_key()))).await?;
        let (files, bytes, failed) = (report.files, report.bytes, report.failed.len() as u64);
        self.remember(|drills| drills.note(clock::now(), (files, bytes), failed))
            .await?;
        self.notify(Notice::Drilled {
            files,
            bytes,
            failed,
        });
        Ok(report)
    }

    async fn remember(&self, change: impl FnOnce(&mut Drills)) -> Result<(), EngineError> {
        let mut drills = self.drills().await?;
        change(&mut drills);
        let home = self.home().to_owned();
        blocking(move || drills::save(&home, &drills).map_err(EngineError::Home)).await
    }
}

/// Chooses files of the newest snapshot.
fn plan(
    job: &Job,
    budget: Budget,
    reach: &BTreeSet<PackId>,
    seed: [u8; 32],
) -> Result<Drill, EngineError> {
    let context = context(&job.world.store, &job.keys);
    let library = Library::new(&context)?;
    let head = library.snapshots()?.pop().ok_or(EngineError::NoSnapshot)?;
    let mut rng = ChaCha20Rng::from_seed(seed);
    let is_there = |pack| reach.contains(&pack);
    let mut chance = |below: u64| rng.next_u64() % below.max(1);
    match Drill::new(&library, &head, budget, &is_there, &mut chance) {
        // Only lists that are here tell what there is to choose.
        Err(BrowseError::Absent(_)) => Err(EngineError::OutOfReach(
            "the folder lists are not on this device; browse the snapshot first".to_owned(),
        )),
        planned => Ok(planned?),
    }
}

/// Takes a pack that came. One that can't be opened leaves its files without their content.
fn take(job: &Job, mut plan: Drill, arrival: Arrival) -> Drill {
    let Arrival { pack, ciphertext } = arrival;
    let Some(keys) = job.keys.pack_keys(pack.epoch) else {
        return plan;
    };
    match OpenPack::open(&keys, ciphertext) {
        Ok(opened) => plan.feed(pack.id, &job.keys.chunk_key(), opened),
        Err(error) => tracing::warn!(pack = %pack.id.short(), %error, "a pack can't be opened"),
    }
    plan
}
