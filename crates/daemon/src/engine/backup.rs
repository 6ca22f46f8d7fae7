//! The backup job: which folders, one at a time, and who hears of it.

use std::{
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    thread,
};

use carryall_core::{
    event::{Command, Notice},
    key::VaultKeys,
    placement,
    record::HeadRecord,
};
use carryall_store::{
    backup::{self, BackupReport, Context, Counts, Note, Progress, Request},
    os_disk::OsDisk,
};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Engine, EngineError, absolute, blocking};
use crate::{
    api::{
        Failure,
        backup::{BackupLine, BackupProgress, BackupRequest, BackupSummary},
    },
    clock,
    driver::World,
    exit::Exit,
    quiet,
    store::Store,
};

/// Lines that may wait for a slow reader before progress is left out.
const LINES_WAITING_MAX: usize = 16;
/// Most worker threads: beyond it the disk is the limit, and buffers cost memory.
const WORKERS_MAX: usize = 4;
/// Pictures that are read again for previews, in bytes, while somebody waits: about a second.
const LATE_BYTES_AWAITED: u64 = 64 << 20;
/// See [`LATE_BYTES_AWAITED`]; while nobody does: half a minute.
const LATE_BYTES_QUIET: u64 = 2 << 30;

/// Whether a backup may take what it can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// Somebody waits for it.
    Awaited,
    /// Nobody asked: it gives way.
    Quiet,
}

impl Engine {
    /// Remembers folders and makes a snapshot of all remembered ones.
    pub async fn backup(
        &self,
        request: BackupRequest,
    ) -> Result<mpsc::Receiver<BackupLine>, EngineError> {
        self.begin_backup(request, Haste::Awaited).await
    }

    /// Makes a snapshot of all remembered folders, and gives way to everything else meanwhile.
    pub(crate) async fn backup_quietly(&self) -> Result<mpsc::Receiver<BackupLine>, EngineError> {
        self.begin_backup(BackupRequest::default(), Haste::Quiet)
            .await
    }

    async fn begin_backup(
        &self,
        request: BackupRequest,
        haste: Haste,
    ) -> Result<mpsc::Receiver<BackupLine>, EngineError> {
        let busy = EngineError::UnderWay("a backup");
        let guard = self
            .0
            .backing_up
            .clone()
            .try_lock_owned()
            .map_err(|_| busy)?;
        let world = self.world().await?;
        let keys = world
            .inbox
            .look(|node, _| node.vault_keys().cloned())
            .await?;
        let keys = keys.ok_or(EngineError::NoKeys)?;
        let store = world.store.clone();
        let roots = blocking(move || remember(&store, &request.paths)).await?;
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let outcome = engine
                .run_backup(world, keys, (roots, haste), guard, lines.clone())
                .await;
            let line = match outcome {
                Ok(summary) => BackupLine::Summary(summary),
                Err(error) => BackupLine::Failure(Failure::from(&error)),
            };
            // Whoever asked may have gone; the snapshot is made all the same.
            let _ = lines.send(line).await;
            if engine.is_online()
                && let Err(error) = engine.tidy().await
            {
                tracing::warn!(%error, "can't forget by the rules in the settings");
            }
        });
        Ok(receiver)
    }

    async fn run_backup(
        &self,
        world: World,
        keys: VaultKeys,
        (roots, haste): (Vec<PathBuf>, Haste),
        guard: OwnedMutexGuard<()>,
        lines: mpsc::Sender<BackupLine>,
    ) -> Result<BackupSummary, EngineError> {
        let others = world.inbox.look(|node, _| node.friends()).await?;
        let (engine, working) = (self.clone(), world.clone());
        let previews = self.config().previews;
        let work = move || -> Result<BackupReport, EngineError> {
            let newest = working.store.catalogue.snapshots()?.pop();
            let watcher = Watcher {
                engine,
                lines,
                last: newest.map(|row| row.head),
            };
            let store = &working.store;
            let context = context(store, &keys);
            let request = Request {
                roots: &roots,
                now: clock::now(),
                data_shards: &|kind| placement::data_shards(kind, others),
                previews,
                late_bytes: match haste {
                    Haste::Awaited => LATE_BYTES_AWAITED,
                    Haste::Quiet => LATE_BYTES_QUIET,
                },
                workers: workers(),
            };
            let mut placed = |pack: &_| {
                let pack = Clone::clone(pack);
                working.inbox.order(Command::AddPack {
                    pack,
                    available: true,
                });
            };
            Ok(backup::run(&context, &request, &watcher, &mut placed)?)
        };
        let report = match haste {
            Haste::Awaited => blocking(work).await?,
            Haste::Quiet => quiet::blocking(work).await?,
        };
        if report.is_new {
            let head = report.sealed_head.clone();
            self.command(Command::Publish { head }).await?;
            self.notify(Notice::SnapshotMade {
                snapshot: report.snapshot,
            });
        }
        drop(guard);
        self.summary(report).await
    }

    async fn summary(&self, report: BackupReport) -> Result<BackupSummary, EngineError> {
        let (headline, verdict) = self.verdict().await?;
        let (unread, skipped): (Vec<Note>, Vec<Note>) = report
            .notes
            .iter()
            .cloned()
            .partition(|note| note.reason.is_loss());
        let sentences = |notes: Vec<Note>| notes.iter().map(ToString::to_string).collect();
        Ok(BackupSummary {
            files: report.head.files,
            bytes: report.head.bytes,
            new_bytes: report.counts.new_bytes,
            seconds: report.took.as_secs_f64(),
            snapshot: report.snapshot,
            skipped: sentences(skipped),
            unread: sentences(unread),
            headline,
            exit: if report.unread > 0 {
                Exit::Partial
            } else {
                verdict
            },
        })
    }
}

/// Returns what backup, rebuild and restore work with.
pub(crate) fn context<'a>(store: &'a Store, keys: &'a VaultKeys) -> Context<'a> {
    Context {
        disk: &OsDisk,
        home: store.vault.home(),
        keys,
        catalogue: &store.catalogue,
        spool: &store.spool,
    }
}

fn workers() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS_MAX)
}

/// Remembers these folders, and returns all remembered ones. A folder inside another one is covered
/// by it.
fn remember(store: &Store, paths: &[String]) -> Result<Vec<PathBuf>, EngineError> {
    let mut roots: Vec<PathBuf> = store
        .catalogue
        .roots()?
        .into_iter()
        .map(|(root, _)| to_path(root))
        .collect();
    for text in paths {
        let named = absolute(text)?;
        let resolved = fs::canonicalize(&named).map_err(|_| EngineError::NoFolder(named))?;
        if roots.iter().any(|root| resolved.starts_with(root)) {
            continue;
        }
        let mut batch = store.catalogue.batch()?;
        for covered in roots.extract_if(.., |root| root.starts_with(&resolved)) {
            batch.forget_root(covered.as_os_str().as_bytes())?;
        }
        batch.remember_root(resolved.as_os_str().as_bytes(), clock::now())?;
        batch.commit()?;
        roots.push(resolved);
    }
    if roots.is_empty() {
        return Err(EngineError::NothingRemembered);
    }
    Ok(roots)
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    Path::new(&std::ffi::OsString::from_vec(bytes)).to_owned()
}

/// Passes progress on, and the wish to stop back.
struct Watcher {
    engine: Engine,
    lines: mpsc::Sender<BackupLine>,
    /// The snapshot before, from which the total is guessed.
    last: Option<HeadRecord>,
}

impl Progress for Watcher {
    fn update(&self, counts: Counts) {
        let (files, bytes) = self
            .last
            .as_ref()
            .map_or((0, 0), |head| (head.files, head.bytes));
        let progress = BackupProgress {
            files: counts.files,
            bytes: counts.bytes,
            files_total: files.max(counts.files),
            bytes_total: bytes.max(counts.bytes),
            scanned: false,
        };
        // A reader that is too slow for all of it misses some.
        let _ = self.lines.try_send(BackupLine::Progress(progress));
    }

    fn is_stopped(&self) -> bool {
        self.engine.is_stopping()
    }
}
