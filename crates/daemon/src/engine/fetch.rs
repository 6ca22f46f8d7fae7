//! Bringing packs of ours back: from this disk if it can, else from friends.

use std::{sync::Arc, time::Duration};

use carryall_core::{event::Command, record::PackRecord};
use tokio::{sync::mpsc, time::timeout};

use super::{Engine, EngineError, retrace, turn::Turn};
use crate::driver::{Arrival, World};

/// Packs that wait for the reader: each takes some 17 MB.
const ARRIVALS_WAITING_MAX: usize = 1;
/// How often to look whether somebody who has something came within reach.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A fetch under way; packs stop coming when it is dropped.
#[derive(Debug)]
pub(super) struct Fetch {
    world: World,
    arrivals: mpsc::Receiver<Arrival>,
    missing: usize,
    patience: Duration,
    _alone: Arc<Turn>,
}

impl Engine {
    /// Asks for packs. Only one fetch can be under way; `guard` is the right to it.
    pub(super) async fn fetch(
        &self,
        packs: Vec<PackRecord>,
        patience: Duration,
        guard: Arc<Turn>,
    ) -> Result<Fetch, EngineError> {
        let world = self.world().await?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS_WAITING_MAX);
        world.fetched.read_by(sender);
        let missing = packs.len();
        world.inbox.command(Command::Fetch { packs }).await??;
        Ok(Fetch {
            world,
            arrivals,
            missing,
            patience,
            _alone: guard,
        })
    }

    /// Takes the right to fetch: for somebody who asked, or for what the node learns by itself.
    pub(super) async fn may_fetch(&self, asked: bool) -> Result<Turn, EngineError> {
        let turn = self.0.fetching.take(asked).await;
        turn.map_err(|_| EngineError::UnderWay("a restore"))
    }
}

impl Fetch {
    /// Returns the next pack; nothing once all came. Gives up when for the whole patience no pack
    /// came and nobody who has one was in reach.
    pub(super) async fn next(&mut self) -> Result<Option<Arrival>, EngineError> {
        if self.missing == 0 {
            return Ok(None);
        }
        if self.world.net.is_none() {
            return Err(self.out_of_reach().await?);
        }
        let mut waited = Duration::ZERO;
        loop {
            match timeout(LOOK_EVERY, self.arrivals.recv()).await {
                Ok(Some(arrival)) => {
                    self.missing -= 1;
                    return Ok(Some(arrival));
                }
                Ok(None) => return Err(EngineError::Gone),
                Err(_) => {
                    waited = if self.is_moving() {
                        Duration::ZERO
                    } else {
                        waited + LOOK_EVERY
                    }
                }
            }
            if waited >= self.patience {
                return Err(self.out_of_reach().await?);
            }
        }
    }

    /// Returns how many packs are still to come.
    pub(super) const fn missing(&self) -> usize {
        self.missing
    }

    /// Tells whether shards are coming in.
    fn is_moving(&self) -> bool {
        let transfers = self
            .world
            .net
            .as_ref()
            .map(|net| net.transfers())
            .unwrap_or_default();
        transfers
            .iter()
            .any(|it| it.direction == carryall_net::Direction::Receiving)
    }

    /// Says whom to meet for what is still missing.
    async fn out_of_reach(&self) -> Result<EngineError, EngineError> {
        let look = |node: &mut carryall_core::node::Node, now| {
            let view = node.retrace(now);
            let mut away = Vec::new();
            for holder in &view.holders {
                let owner = node.circle().member_of(holder.device);
                let members = node.members(now);
                if let Some(member) = members.into_iter().find(|it| Some(it.member) == owner)
                    && !member.devices.iter().any(|device| device.near)
                    && !away.contains(&member.petname)
                {
                    away.push(member.petname);
                }
            }
            (view, away)
        };
        let (view, away) = self.world.inbox.look(look).await?;
        let wanted = view.packs_missing;
        let mut sentence = format!("{wanted} packs are not in reach now; what came was kept");
        let disks: Vec<String> = view.couriers.iter().map(retrace::disk).collect();
        let ways: Vec<String> = [("meet", away), ("plug in", disks)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(verb, names)| format!("{verb} {}", retrace::either(&names)))
            .collect();
        if !ways.is_empty() {
            sentence.push_str(&format!("; {}", ways.join(" or ")));
        } else if view.packs_nowhere > 0 {
            sentence.push_str("; nobody we know of has enough of them");
        }
        Ok(EngineError::OutOfReach(sentence))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.world.inbox.order(Command::StopFetch);
        self.world.fetched.close();
    }
}
