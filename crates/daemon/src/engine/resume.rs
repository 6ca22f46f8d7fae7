//! Going on with restores that are not done: by itself, whenever a friend comes near, until all is back.

use std::{sync::Arc, time::Duration};

use carryall_core::event::Notice;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Engine, EngineError, locked,
    restore::{LINES_WAITING_MAX, Wanted},
};
use crate::{
    api::{
        path,
        restore::{RestoreLine, StandingRestore, StopRestores, StoppedRestores},
    },
    exit::Exit,
    orders::{Order, Orders},
};

/// How long to leave the right to fetch to whoever wanted it.
const REST: Duration = Duration::from_secs(2);
/// How long one order waits for friends while another could go on.
const PATIENCE_AMONG_OTHERS: Duration = Duration::from_secs(60);
/// How long to wait after something went wrong that friends can't mend: a full disk, a folder that is
/// not there.
const FAILED_REST: Duration = Duration::from_secs(600);

/// Goes on with restores, until the engine stops.
pub(super) async fn keep_restoring(engine: Engine) {
    loop {
        let rest = match engine.next_order() {
            Some(order) => engine.go_on(&order).await,
            None => Duration::MAX,
        };
        tokio::select! {
            () = engine.stopped() => return,
            () = engine.0.ordered.notified() => {}
            () = sleep(rest) => {}
        }
    }
}

impl Engine {
    pub(super) fn orders(&self) -> std::sync::MutexGuard<'_, Orders> {
        locked(&self.0.orders)
    }

    fn next_order(&self) -> Option<Order> {
        let orders = self.orders();
        orders.iter().next().map(|standing| standing.order.clone())
    }

    /// Remembers an order, so that it outlives this process.
    pub(super) fn remember_order(&self, order: Order) -> Result<(), EngineError> {
        let added = self.orders().add(self.home(), order);
        self.0.ordered.notify_one();
        added.map_err(EngineError::Home)
    }

    /// Takes what came of an order: one that waits for friends stays.
    pub(super) fn settle_order(&self, order: &Order, outcome: Result<(), &EngineError>) {
        let waits = match outcome {
            Err(error) if error.is_passing() => Some(error.to_string()),
            _ => None,
        };
        let mut orders = self.orders();
        if waits.is_some() {
            orders.note_wait(order, waits);
            return;
        }
        if let Err(error) = orders.remove(self.home(), order) {
            tracing::warn!(%error, "a restore that is over will be begun again");
        }
        self.0.ordered.notify_one();
    }

    /// Goes on with an order until all is back, somebody else wants to fetch, or nothing goes on.
    /// Returns how long to rest.
    async fn go_on(&self, order: &Order) -> Duration {
        let outcome = tokio::select! {
            biased;
            () = self.stopped() => return REST,
            outcome = self.run_order(order) => outcome,
        };
        match &outcome {
            Ok(_) => self.settle_order(order, Ok(())),
            Err(error) => {
                let mut orders = self.orders();
                orders.note_wait(order, Some(error.to_string()));
                orders.turn();
            }
        }
        match outcome {
            Err(error) if error.is_passing() => REST,
            Err(error) => {
                tracing::warn!(%error, "a restore has to wait");
                FAILED_REST
            }
            Ok(()) => Duration::ZERO,
        }
    }

    async fn run_order(&self, order: &Order) -> Result<(), EngineError> {
        // Whoever asks for something goes first, and may take hours.
        let guard = Arc::new(self.may_fetch(false).await?);
        let alone = self.orders().iter().count() == 1;
        let patience = if alone {
            Duration::MAX
        } else {
            PATIENCE_AMONG_OTHERS
        };
        let job = self.job(Some(patience)).await?.guarded(guard);
        let (lines, mut told) = mpsc::channel(LINES_WAITING_MAX);
        let (engine, noted) = (self.clone(), order.clone());
        tokio::spawn(async move {
            while let Some(line) = told.recv().await {
                if let RestoreLine::Progress(progress) = line {
                    engine.orders().note(&noted, progress);
                }
            }
        });
        self.orders().note_wait(order, None);
        let summary = tokio::select! {
            biased;
            () = self.0.fetching.wanted() => return Err(EngineError::UnderWay("another restore")),
            () = self.given_up(order) => return Err(EngineError::UnderWay("a stop")),
            summary = self.run_restore(&job, Wanted::by(order), &lines) => summary?,
        };
        let failed = match summary.exit {
            Exit::Done => 0,
            _ => summary.failed.len() as u64,
        };
        self.notify(Notice::Restored {
            files: summary.files,
            bytes: summary.bytes,
            failed,
        });
        Ok(())
    }

    /// Waits until an order is given up.
    async fn given_up(&self, order: &Order) {
        while self.orders().iter().any(|it| it.order == *order) {
            self.0.ordered.notified().await;
        }
    }

    /// Returns the restores that are not done.
    pub(super) fn standing_restores(&self) -> Vec<StandingRestore> {
        let orders = self.orders();
        let standing = orders.iter().map(|standing| StandingRestore {
            snapshot: standing.order.snapshot,
            path: standing.order.path.clone(),
            to: standing.order.to.clone(),
            progress: standing.progress,
            waits: standing.waits.clone(),
        });
        standing.collect()
    }

    /// Gives up restores that are not done. What is back stays.
    pub fn stop_restores(&self, request: &StopRestores) -> Result<StoppedRestores, EngineError> {
        let stopped = self.orders().stop(self.home(), request.to.as_deref());
        self.0.ordered.notify_one();
        let restores = stopped.map_err(EngineError::Home)?;
        Ok(StoppedRestores { restores })
    }
}

impl Wanted {
    fn by(order: &Order) -> Self {
        Self {
            snapshot: order.snapshot,
            path: path::to_bytes(&order.path),
            target: path::to_path(&order.to),
            overwrite: order.overwrite,
        }
    }
}
