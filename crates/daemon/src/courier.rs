//! Couriers: portable disks are found where they are mounted, and served by themselves.

mod aboard;
mod mounts;
mod put;
mod take;
mod visit;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use carryall_core::{event::Notice, id::DeviceId};
use carryall_store::courier::{self, DIRECTORY, beneath::Beneath};
use tokio::task::{JoinHandle, spawn_blocking};

use self::visit::End;
use crate::engine::Engine;

/// How long after an error of its disk a courier that is still there is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Where couriers are looked for, and which are here.
#[derive(Debug, Default)]
pub(crate) struct Couriers {
    /// Directories that the owner named.
    named: Mutex<Vec<PathBuf>>,
    here: Mutex<BTreeMap<DeviceId, Here>>,
}

/// A courier that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    /// Where.
    pub(crate) path: PathBuf,
    /// Whether all is done, and it may be unplugged.
    pub(crate) synced: bool,
}

impl Couriers {
    /// Looks for couriers in these directories too.
    pub(crate) fn look_at(&self, paths: Vec<PathBuf>) {
        locked(&self.named).extend(paths);
    }

    /// Returns the couriers that are plugged in.
    pub(crate) fn here(&self) -> BTreeMap<DeviceId, Here> {
        locked(&self.here).clone()
    }

    fn note(&self, courier: DeviceId, path: &Path, synced: bool) {
        let path = path.to_owned();
        locked(&self.here).insert(courier, Here { path, synced });
    }

    fn forget(&self, courier: DeviceId) {
        locked(&self.here).remove(&courier);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both are replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves every courier that is plugged in, until the engine stops.
pub(crate) async fn keep_serving(engine: Engine) {
    let mut visits: BTreeMap<PathBuf, JoinHandle<End>> = BTreeMap::new();
    // Those that can't be served are told of once, until they are unplugged; what the disk refused is
    // tried again later.
    let mut refused: BTreeMap<PathBuf, Option<Instant>> = BTreeMap::new();
    let table = Arc::new(mounts::Table::watch());
    loop {
        let named = locked(&engine.couriers().named).clone();
        let found = spawn_blocking(move || find(named)).await;
        let found = found.unwrap_or_default();
        refused.retain(|path, until| {
            found.contains(path) && until.is_none_or(|until| until > Instant::now())
        });
        let ended: Vec<PathBuf> = (visits.iter())
            .filter(|(_, task)| task.is_finished())
            .map(|(path, _)| path.clone())
            .collect();
        for path in ended {
            let Some(task) = visits.remove(&path) else {
                continue;
            };
            match task.await {
                Ok(End::Refused(what)) => {
                    engine.notify(Notice::CourierProblem { what });
                    refused.insert(path, None);
                }
                Ok(End::Failed(what)) => {
                    engine.notify(Notice::CourierProblem { what });
                    refused.insert(path, Some(Instant::now() + TRY_AGAIN));
                }
                Ok(End::Gone(what)) => engine.notify(Notice::CourierProblem { what }),
                Ok(End::Later) => {}
                Err(error) => {
                    tracing::error!(%error, "a visit at a courier broke down");
                    refused.insert(path, None);
                }
            }
        }
        if engine.is_stopping() {
            break;
        }
        let paused = engine.is_paused().await;
        // Most machines have no courier most of the time, and then nothing wakes them for it.
        let restless = !found.is_empty() || !locked(&engine.couriers().named).is_empty();
        for path in found {
            if !paused && !visits.contains_key(&path) && !refused.contains_key(&path) {
                let task = spawn_blocking({
                    let (engine, path) = (engine.clone(), path.clone());
                    move || visit::visit(&engine, &path)
                });
                visits.insert(path, task);
            }
        }
        let restless = restless || !visits.is_empty();
        tokio::select! {
            () = engine.stopped() => {}
            () = changed(&table, restless) => {}
        }
    }
    for (_, task) in visits {
        // A visit looks now and then whether it is to end.
        let _ = task.await;
    }
}

/// Waits until something was mounted or unmounted; if `restless`, only a while.
async fn changed(table: &Arc<mounts::Table>, restless: bool) {
    loop {
        let table = table.clone();
        let told = spawn_blocking(move || table.changed()).await;
        if restless || told.unwrap_or(true) {
            return;
        }
    }
}

/// Returns the directories in which a courier lies.
fn find(named: Vec<PathBuf>) -> BTreeSet<PathBuf> {
    let places = mounts::places().into_iter().chain(named);
    places.filter(|place| is_courier(place)).collect()
}

fn is_courier(place: &Path) -> bool {
    Beneath::open(place).is_ok_and(|disk| courier::is_there(&disk, Path::new(DIRECTORY)))
}
