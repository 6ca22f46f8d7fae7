//! The restore job: plan, make what this device can make, bring the rest, write.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carryall_core::{
    id::SnapshotId,
    key::VaultKeys,
    pack::OpenPack,
    record::{PackRecord, SnapshotRecord},
};
use carryall_store::{
    browse::{BrowseError, Library},
    index,
    rebuild::RebuildError,
    restore::{Plan, RestoreError, RestoreReport, Restorer},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

use super::{Engine, EngineError, absolute, backup::context, blocking, turn::Turn};
use crate::{
    api::{
        Failure, path,
        restore::{RestoreLine, RestoreProgress, RestoreRequest, RestoreSummary},
    },
    driver::World,
    exit::Exit,
    orders::Order,
};

/// How long to wait for somebody to come within reach, unless told otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Packs that are opened and written at a time.
const WRITERS: usize = 2;
/// Lines that may wait for a slow reader before progress is left out.
pub(super) const LINES_WAITING_MAX: usize = 16;

/// What looking into snapshots and restoring work with.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) world: World,
    pub(super) keys: VaultKeys,
    pub(super) patience: Duration,
    /// The right to fetch, once taken.
    guard: Option<Arc<Turn>>,
}

/// What is to be restored.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) snapshot: SnapshotId,
    pub(super) path: Vec<u8>,
    pub(super) target: PathBuf,
    pub(super) overwrite: bool,
}

type Lines = mpsc::Sender<RestoreLine>;

impl Engine {
    /// Writes files of a snapshot into a directory.
    pub async fn restore(
        &self,
        request: RestoreRequest,
    ) -> Result<mpsc::Receiver<RestoreLine>, EngineError> {
        let job = self
            .job(request.patience_secs.map(Duration::from_secs))
            .await?;
        let job = job.guarded(Arc::new(self.may_fetch(true).await?));
        let target = absolute(&request.to)?;
        let wanted = Wanted {
            snapshot: self.find_snapshot(&request.snapshot).await?,
            path: path::to_bytes(&request.path),
            target,
            overwrite: request.overwrite,
        };
        let order = Order {
            snapshot: wanted.snapshot,
            path: request.path,
            to: request.to,
            overwrite: request.overwrite,
        };
        if let Err(error) = self.remember_order(order.clone()) {
            // A full disk is no reason not to restore to another one.
            tracing::warn!(%error, "this restore does not outlive the node");
        }
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let outcome = engine.run_restore(&job, wanted, &lines).await;
            engine.settle_order(&order, outcome.as_ref().map(drop));
            let line = match outcome {
                Ok(summary) => RestoreLine::Summary(summary),
                Err(EngineError::OutOfReach(sentence)) => {
                    let going_on = "the restore goes on by itself while carryall run is running";
                    let error = EngineError::OutOfReach(format!("{sentence}; {going_on}"));
                    RestoreLine::Failure(Failure::from(&error))
                }
                Err(error) => RestoreLine::Failure(Failure::from(&error)),
            };
            // Whoever asked may have gone; the files are there all the same.
            let _ = lines.send(line).await;
        });
        Ok(receiver)
    }

    pub(super) async fn run_restore(
        &self,
        job: &Job,
        wanted: Wanted,
        lines: &Lines,
    ) -> Result<RestoreSummary, EngineError> {
        let began = Instant::now();
        let Wanted {
            snapshot,
            path,
            target,
            overwrite,
        } = wanted;
        let read = move |library: &Library<'_>| Ok(library.snapshot(snapshot)?);
        let record = self.browse(job, read).await?;
        let read = move |library: &Library<'_>| Ok(Plan::new(library, &record, &path)?);
        let plan = self.browse(job, read).await?;
        let files = plan.files();
        let key = job.keys.chunk_key();
        let restorer = blocking(move || Ok(Restorer::new(plan, &target, overwrite, &key)?)).await?;
        let restorer = Arc::new(restorer);
        let missing = Arc::new(AtomicU64::new(0));
        let progress = tell(restorer.clone(), missing.clone(), files, lines.clone());
        let written = self.write_all(job, &restorer, &missing).await;
        progress.abort();
        // The task lets go of the restorer before it is finished.
        let _ = progress.await;
        // What is not complete is gone on with later, unless friends have nothing to do with it.
        match written {
            Err(error) if error.is_passing() => return Err(error),
            _ => {}
        }
        let report = blocking(move || Ok(Arc::into_inner(restorer).map(Restorer::finish))).await?;
        written?;
        summary(report.ok_or(EngineError::Gone)?, snapshot, began)
    }

    /// Feeds the restorer: first what this device can make itself, then what friends bring.
    async fn write_all(
        &self,
        job: &Job,
        restorer: &Arc<Restorer>,
        missing: &AtomicU64,
    ) -> Result<(), EngineError> {
        let (working, feeding) = (job.clone(), restorer.clone());
        let wanted = blocking(move || write_local(&working, &feeding)).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut fetch = self
            .fetch(wanted, job.patience, self.guard_of(job).await?)
            .await?;
        let mut writers: JoinSet<Result<(), EngineError>> = JoinSet::new();
        missing.store(fetch.missing() as u64, Ordering::Relaxed);
        while let Some(arrival) = fetch.next().await? {
            missing.store(fetch.missing() as u64, Ordering::Relaxed);
            if writers.len() >= WRITERS
                && let Some(written) = writers.join_next().await
            {
                written.map_err(|_| EngineError::Gone)??;
            }
            let (keys, feeding) = (job.keys.clone(), restorer.clone());
            let fetched = job.world.fetched.clone();
            writers.spawn_blocking(move || {
                let memory = write(&keys, &feeding, &arrival.pack, arrival.ciphertext)?;
                fetched.give_back(memory);
                Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written.map_err(|_| EngineError::Gone)??;
        }
        Ok(())
    }

    /// Returns a snapshot's record, if need be brought from friends.
    pub(super) async fn record(&self, id: SnapshotId) -> Result<SnapshotRecord, EngineError> {
        let job = self.job(None).await?;
        self.browse(&job, move |library: &Library<'_>| Ok(library.snapshot(id)?))
            .await
    }

    pub(super) async fn job(&self, patience: Option<Duration>) -> Result<Job, EngineError> {
        let world = self.world().await?;
        let keys = world
            .inbox
            .look(|node, _| node.vault_keys().cloned())
            .await?;
        let keys = keys.ok_or(EngineError::NoKeys)?;
        Ok(Job {
            world,
            keys,
            patience: patience.unwrap_or(PATIENCE),
            guard: None,
        })
    }

    async fn guard_of(&self, job: &Job) -> Result<Arc<Turn>, EngineError> {
        match &job.guard {
            Some(guard) => Ok(guard.clone()),
            None => Ok(Arc::new(self.may_fetch(false).await?)),
        }
    }

    /// Looks into the library; folder lists that are not here are brought from friends first.
    pub(super) async fn browse<T: Send + 'static>(
        &self,
        job: &Job,
        read: impl Fn(&Library<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
    ) -> Result<T, EngineError> {
        let read = Arc::new(read);
        loop {
            let (working, reading) = (job.clone(), read.clone());
            let outcome = blocking(move || {
                let context = context(&working.world.store, &working.keys);
                let library = Library::new(&context)?;
                match reading(&library) {
                    Ok(found) => Ok(Ok(found)),
                    Err(
                        EngineError::Browse(BrowseError::Absent(packs))
                        | EngineError::Restore(RestoreError::Browse(BrowseError::Absent(packs))),
                    ) => Ok(Err(packs)),
                    Err(error) => Err(error),
                }
            });
            match outcome.await? {
                Ok(found) => return Ok(found),
                Err(packs) => self.bring(job, packs).await?,
            }
        }
    }

    /// Brings metadata packs from friends, for good.
    pub(super) async fn bring(&self, job: &Job, packs: Vec<PackRecord>) -> Result<(), EngineError> {
        let mut fetch = self
            .fetch(packs, job.patience, self.guard_of(job).await?)
            .await?;
        while let Some(arrival) = fetch.next().await? {
            let working = job.clone();
            blocking(move || {
                let context = context(&working.world.store, &working.keys);
                Ok(index::keep(&context, arrival.pack.id, &arrival.ciphertext)?)
            })
            .await?;
        }
        let store = job.world.store.clone();
        blocking(move || Ok(store.spool.sync()?)).await
    }
}

impl Job {
    /// Works with a right to fetch that was taken before.
    pub(super) fn guarded(mut self, guard: Arc<Turn>) -> Self {
        self.guard = Some(guard);
        self
    }
}

/// Feeds all packs that this device has or can make, and returns the others.
fn write_local(job: &Job, restorer: &Restorer) -> Result<Vec<PackRecord>, EngineError> {
    let context = context(&job.world.store, &job.keys);
    let rebuilder = &job.world.rebuilder;
    let mut wanted = Vec::new();
    for pack in restorer.needed() {
        match rebuilder.pack(&context, pack.id) {
            Ok(ciphertext) => {
                write(&job.keys, restorer, &pack, ciphertext.into())?;
            }
            Err(RebuildError::SourceChanged(_) | RebuildError::Absent(_)) => wanted.push(pack),
            Err(error) => {
                tracing::warn!(%error, "a pack can't be made here");
                wanted.push(pack);
            }
        }
    }
    rebuilder.clear();
    Ok(wanted)
}

/// Opens a pack and writes what it contributes. Returns its memory for the next one.
fn write(
    keys: &VaultKeys,
    restorer: &Restorer,
    pack: &PackRecord,
    ciphertext: Vec<u8>,
) -> Result<Vec<u8>, EngineError> {
    let (id, epoch) = (pack.id, pack.epoch);
    let pack_keys = keys.pack_keys(epoch).ok_or(BrowseError::NoKey(epoch))?;
    let opened = OpenPack::open(&pack_keys, ciphertext);
    let opened = opened.map_err(|source| BrowseError::Open { pack: id, source })?;
    restorer.feed(&id, &keys.chunk_key(), &opened)?;
    Ok(opened.into_buffer())
}

/// Tells how far a restore is, until it is aborted.
fn tell(
    restorer: Arc<Restorer>,
    missing: Arc<AtomicU64>,
    files_total: u64,
    lines: Lines,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (bytes_total, bytes) = restorer.progress();
            let packs_missing = missing.load(Ordering::Relaxed);
            let progress = RestoreProgress {
                files: restorer.files_done(),
                bytes,
                files_total,
                bytes_total,
                packs_missing,
            };
            // A reader that is too slow for all of it misses some.
            let _ = lines.try_send(RestoreLine::Progress(progress));
            sleep(PROGRESS_EVERY).await;
        }
    })
}

fn summary(
    report: RestoreReport,
    snapshot: SnapshotId,
    began: Instant,
) -> Result<RestoreSummary, EngineError> {
    let mut failed: Vec<String> = report.failed.iter().map(ToString::to_string).collect();
    let unlisted = report.failures.saturating_sub(failed.len() as u64);
    if unlisted > 0 {
        failed.push(format!("and {unlisted} more"));
    }
    Ok(RestoreSummary {
        files: report.files,
        bytes: report.bytes,
        seconds: began.elapsed().as_secs_f64(),
        snapshot,
        kept: Vec::new(),
        exit: if failed.is_empty() {
            Exit::Done
        } else {
            Exit::Partial
        },
        failed,
    })
}
