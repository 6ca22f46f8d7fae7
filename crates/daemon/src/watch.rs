//! Watches remembered folders, and makes a snapshot by itself a quiet moment after a change.
//!
//! What the system does not report (network drives, too many folders to watch) is found by a look at
//! everything now and then. A watch that breaks only costs that time.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

use carryall_core::event::Notice;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    api::backup::BackupLine,
    engine::{Engine, EngineError},
};

/// How often to look for folders that are newly remembered.
const FOLDERS_EVERY: Duration = Duration::from_secs(5);
/// A folder that never rests is saved after so many quiet times all the same.
const UNREST_MAX: u32 = 30;

/// The watching task.
#[derive(Debug)]
pub(crate) struct Watch(Option<JoinHandle<()>>);

impl Watch {
    /// Starts watching, unless the owner does not want that.
    pub(crate) fn start(engine: Engine) -> Self {
        let watch = engine.config().watch;
        Self(watch.then(|| tokio::spawn(run(engine))))
    }

    /// Waits until the task has ended; the engine was told to stop.
    pub(crate) async fn finish(self) {
        if let Some(task) = self.0 {
            // A task that broke down has ended too.
            let _ = task.await;
        }
    }
}

async fn run(engine: Engine) {
    let config = engine.config();
    let quiet = Duration::from_secs(config.quiet_secs);
    let rescan = Duration::from_secs(config.rescan_secs);
    let (changes, mut changed) = mpsc::channel(1);
    let mut folders = Folders::new(engine.home(), changes);
    let mut notices = engine.notices();
    let mut look_at = Instant::now();
    let mut rescan_at = Instant::now() + rescan;
    // Since when something has changed, and when it will have rested. What changed while no node ran
    // is found by a look soon after the start.
    let mut unrest = Some((Instant::now(), Instant::now() + quiet));
    loop {
        let save_at = unrest.map_or(rescan_at, |(_, at)| at.min(rescan_at));
        tokio::select! {
            () = engine.stopped() => return,
            // A pack that broke holds more than what changed: the rest is saved anew.
            () = changed_source(&mut notices) => {
                let now = Instant::now();
                unrest.get_or_insert((now, now + quiet));
            }
            Some(()) = changed.recv() => {
                let now = Instant::now();
                let since = unrest.map_or(now, |(since, _)| since);
                unrest = Some((since, (now + quiet).min(since + quiet * UNREST_MAX)));
            }
            () = sleep_until(look_at) => {
                look_at = Instant::now() + FOLDERS_EVERY;
                if let Ok(roots) = engine.roots().await {
                    folders.follow(roots);
                }
            }
            () = rested(&engine, save_at) => {
                unrest = None;
                rescan_at = Instant::now() + rescan;
                save(&engine).await;
            }
        }
    }
}

/// Waits until then, and until the node does not pause.
async fn rested(engine: &Engine, at: Instant) {
    sleep_until(at).await;
    engine.pause_over().await;
}

/// Waits until a pack turns out to be broken.
async fn changed_source(notices: &mut broadcast::Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice::SourceChanged { .. }) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // The engine is gone, and this task with it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Makes a snapshot of what is remembered.
async fn save(engine: &Engine) {
    let mut lines = match engine.backup_quietly().await {
        Ok(lines) => lines,
        Err(EngineError::NothingRemembered | EngineError::NoKeys) => return,
        Err(error) => return tracing::warn!(%error, "no snapshot was made"),
    };
    while let Some(line) = lines.recv().await {
        match line {
            BackupLine::Progress(_) => {}
            BackupLine::Summary(summary) => {
                tracing::info!(snapshot = %summary.snapshot.short(), "saved what had changed");
            }
            BackupLine::Failure(failure) => {
                tracing::warn!(error = %failure.error, "no snapshot was made");
            }
        }
    }
}

/// The folders under watch.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(home: &Path, changes: mpsc::Sender<()>) -> Self {
        let home = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
        let heard = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let changing = !matches!(event.kind, EventKind::Access(_));
            // A home may lie in a remembered folder; what it writes is not news.
            let outside = event.paths.iter().any(|path| !path.starts_with(&home));
            if changing && outside {
                // One that waits already says the same.
                let _ = changes.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(heard)
            .inspect_err(|error| tracing::warn!(%error, "can't watch folders; looking hourly"))
            .ok();
        Self {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    /// Watches exactly these folders.
    fn follow(&mut self, roots: Vec<Vec<u8>>) {
        let roots: BTreeSet<PathBuf> = roots
            .into_iter()
            .map(|root| OsString::from_vec(root).into())
            .collect();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&roots) {
            // A folder that vanished is not watched any more anyhow.
            let _ = watcher.unwatch(gone);
        }
        self.watched
            .retain(|root| roots.contains(root) && root.exists());
        for root in roots {
            if self.watched.contains(&root) {
                continue;
            }
            match watcher.watch(&root, RecursiveMode::Recursive) {
                Ok(()) => {
                    self.watched.insert(root);
                }
                Err(error) => {
                    tracing::debug!(root = %root.display(), %error, "can't watch a folder");
                }
            }
        }
    }
}
