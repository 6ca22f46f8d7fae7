//! Pausing: no calls, no shards, no snapshots by itself. What the owner asks for is done.

use carryall_core::{event::Command, time::Timestamp};
use tokio::time::sleep;

use super::{Engine, EngineError};
use crate::{api::pause::Pause, clock, pause};

impl Engine {
    /// Pauses until then, also across restarts; nothing ends the pause.
    pub async fn pause(&self, until: Option<Timestamp>) -> Result<Pause, EngineError> {
        let until = until.filter(|until| *until > clock::now());
        pause::save(self.home(), until).map_err(EngineError::Home)?;
        self.command(Command::Pause { until }).await?;
        Ok(Pause { until })
    }

    /// Waits until no pause is under way.
    pub(crate) async fn pause_over(&self) {
        while let Some(until) = self.paused_until().await {
            // Looked at again in between, since it may end early.
            sleep(clock::until(until)).await;
        }
    }

    async fn paused_until(&self) -> Option<Timestamp> {
        let world = self.world().await.ok()?;
        let until = world.inbox.look(|node, _| node.paused_until()).await.ok()?;
        until.filter(|until| *until > clock::now())
    }
}
