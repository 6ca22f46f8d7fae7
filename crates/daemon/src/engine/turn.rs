//! The right to fetch: packs of ours come back for one job at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    pin,
    sync::{Mutex, Notify, OwnedMutexGuard},
    time::{Instant, timeout},
};

/// How long to wait for somebody's restore to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often those who give way are told that somebody waits.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Who may fetch.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    free: Arc<Mutex<()>>,
    /// Somebody asked for what is fetched now.
    asked: Arc<AtomicBool>,
    /// Told while somebody waits: a drill of nobody's wish gives way.
    wanted: Arc<Notify>,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Arc::default(),
            asked: Arc::default(),
            wanted: Arc::default(),
            patience: PATIENCE,
        }
    }
}

/// The right to fetch, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    asked: Arc<AtomicBool>,
    _alone: OwnedMutexGuard<()>,
}

/// Somebody's restore goes on and on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken;

impl Turns {
    /// Waits in line. What the node learns by itself may take a while when nobody is reached, and is
    /// waited for however long; a restore that somebody asked for is not. `asked` tells what this one is.
    pub(super) async fn take(&self, asked: bool) -> Result<Turn, Taken> {
        let free = self.free.clone().lock_owned();
        pin!(free);
        let deadline = Instant::now() + self.patience;
        loop {
            self.wanted.notify_waiters();
            if let Ok(alone) = timeout(TELL_EVERY.min(self.patience), &mut free).await {
                return Ok(self.turn(alone, asked));
            }
            if Instant::now() >= deadline && self.asked.load(Ordering::Relaxed) {
                return Err(Taken);
            }
        }
    }

    /// Waits until somebody waits for the right.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    fn turn(&self, alone: OwnedMutexGuard<()>, asked: bool) -> Turn {
        self.asked.store(asked, Ordering::Relaxed);
        Turn {
            asked: self.asked.clone(),
            _alone: alone,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn what_the_node_learns_by_itself_is_waited_for() {
        let turns = Turns {
            patience: Duration::from_millis(5),
            ..Turns::default()
        };
        let learning = turns.take(false).await.unwrap();
        let waiting = turns.clone();
        let restore = tokio::spawn(async move { waiting.take(true).await });
        sleep(turns.patience * 10).await;
        assert!(!restore.is_finished(), "it waits in line");
        drop(learning);
        let restore = restore.await.unwrap().unwrap();
        // That one is somebody's own, and may take hours.
        assert_eq!(turns.take(true).await.err(), Some(Taken));
        drop(restore);
        assert!(turns.take(true).await.is_ok());
    }
}
