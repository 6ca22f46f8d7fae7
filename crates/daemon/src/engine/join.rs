//! Joining a circle: a new member's first step by an invite, and a recovered member's first step back, by
//! an invite or by words alone.
//!
//! A device that is alone in its circle leaves it, since nothing is lost with it. It stays out of any
//! circle while it knocks; if nobody lets it in, it founds a circle of its own again.

use std::{sync::Arc, time::Duration};

use carryall_core::{
    event::{Command, Gate, Notice},
    id::{CircleId, DeviceId, MemberId},
    invite::Invite,
    node::Node,
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, sleep, timeout_at},
};

use super::{Engine, EngineError, blocking, restore::PATIENCE};
use crate::{
    api::{
        Failure,
        invite::{JoinLine, JoinRequest},
    },
    clock, founding,
    store::Store,
};

/// How long to look for somebody who answers an invite, in seconds, unless told otherwise.
const PATIENCE_SECS: u64 = 60;
/// How long to wait for the circle's feeds once let in.
const FEEDS_PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether they came.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Feeds that bring nothing new for so long have arrived.
const QUIET: Duration = Duration::from_millis(700);

type Lines = mpsc::Sender<JoinLine>;

/// How a guest knocks with an invite.
fn by_invite(invite: Invite) -> Command {
    Command::Knock {
        circle: Some(invite.circle),
        gate: Gate::Invite(invite.secret.id()),
        secret: Some(invite.secret),
        doors: invite.doors,
    }
}

/// How a member knocks who has nothing but words: every friend nearby opens to who proves to be it.
fn by_words(member: MemberId) -> Command {
    Command::Knock {
        circle: None,
        gate: Gate::Rendezvous(member),
        secret: None,
        doors: Vec::new(),
    }
}

impl Engine {
    /// Joins the circle of an invite, or the one that a recovered member belongs to.
    pub async fn join(
        &self,
        request: JoinRequest,
    ) -> Result<mpsc::Receiver<JoinLine>, EngineError> {
        let invite = request.link.map(|link| Invite::parse(&link, clock::now()));
        let invite = invite.transpose()?;
        self.check_free(invite.as_ref().map(|it| it.circle)).await?;
        let look = |node: &mut Node, _| node.member();
        let member = self.world().await?.inbox.look(look).await?;
        let knock = invite.map_or_else(|| by_words(member), by_invite);
        let busy = EngineError::UnderWay("a backup");
        let backing_up = self
            .0
            .backing_up
            .clone()
            .try_lock_owned()
            .map_err(|_| busy)?;
        let busy = EngineError::UnderWay("a restore");
        let fetching = self.0.fetching.take(true).await.map_err(|_| busy)?;
        // Before anybody is met: the keys may be here the moment after the door opened.
        let recovering = self.world().await?.store.vault.identity().vault.is_empty();
        let (lines, receiver) = mpsc::channel(16);
        let (engine, patience) = (self.clone(), request.timeout_secs.unwrap_or(PATIENCE_SECS));
        tokio::spawn(async move {
            let outcome = engine.change_circle(knock, patience, &lines).await;
            drop((backing_up, fetching));
            let line = match outcome {
                Ok(by) => engine.settle_in(by, recovering, &lines).await,
                Err(error) => Err(error),
            };
            let line = line.unwrap_or_else(|error| JoinLine::Failure(Failure::from(&error)));
            // Whoever asked may have gone; the circle is joined all the same.
            let _ = lines.send(line).await;
        });
        Ok(receiver)
    }

    /// Refuses to leave a circle that has other members.
    async fn check_free(&self, wanted: Option<CircleId>) -> Result<(), EngineError> {
        let world = self.world().await?;
        let look = |node: &mut Node, _| (node.identity().circle, node.friends());
        match world.inbox.look(look).await? {
            (Some(circle), _) if Some(circle) == wanted => Err(EngineError::AlreadyIn),
            (Some(_), friends) if friends > 0 => Err(EngineError::CircleInUse),
            _ => Ok(()),
        }
    }

    /// Leaves the present circle, knocks, and goes back to a circle of one if nobody lets us in.
    async fn change_circle(
        &self,
        knock: Command,
        patience: u64,
        lines: &Lines,
    ) -> Result<DeviceId, EngineError> {
        let mut live = self.0.live.write().await;
        let old = live.take().ok_or(EngineError::Gone)?.stop().await;
        let (node, store) = blocking(move || outside(&old)).await?;
        drop(live);
        self.start(node, store, true).await?;
        let outcome = self.knock(knock, patience, lines).await;
        if outcome.is_err() {
            let mut live = self.0.live.write().await;
            let old = live.take().ok_or(EngineError::Gone)?.stop().await;
            let (node, store) = blocking(move || alone(&old)).await?;
            drop(live);
            self.start(node, store, self.0.online).await?;
        }
        outcome
    }

    /// Knocks until somebody lets us in, and returns whose device did.
    async fn knock(
        &self,
        knock: Command,
        patience: u64,
        lines: &Lines,
    ) -> Result<DeviceId, EngineError> {
        let mut notices = self.notices();
        self.command(knock).await?;
        say(lines, "Looking for somebody who can open the door ...").await;
        let deadline = Instant::now() + Duration::from_secs(patience);
        loop {
            match timeout_at(deadline, notices.recv()).await {
                Err(_) => return Err(EngineError::NobodyAnswered(patience)),
                Ok(Ok(Notice::Welcomed { by })) => return Ok(by),
                Ok(Ok(Notice::TurnedAway { farewell, .. })) => {
                    return Err(EngineError::TurnedAway(farewell));
                }
                Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return Err(EngineError::Gone),
            }
        }
    }

    /// Waits until we know the circle, and a recovered member its keys.
    async fn settle_in(
        &self,
        by: DeviceId,
        recovering: bool,
        lines: &Lines,
    ) -> Result<JoinLine, EngineError> {
        say(lines, "Welcome. Learning who is who ...").await;
        let world = self.world().await?;
        let deadline = Instant::now() + FEEDS_PATIENCE;
        let host = loop {
            let look = move |node: &mut Node, _| {
                let known = node.circle().is_member(node.member()) && node.vault_keys().is_some();
                let host = node.circle().member_of(by);
                (known, host.map(|host| node.petname(host)))
            };
            let (known, host) = world.inbox.look(look).await?;
            if known || Instant::now() > deadline {
                break host.unwrap_or_default();
            }
            sleep(LOOK_EVERY).await;
        };
        let keys = world
            .inbox
            .look(|node, _| node.vault_keys().is_some())
            .await?;
        if recovering && keys {
            say(lines, "Your keys are here. Learning what you had ...").await;
            self.wait_for_quiet(deadline).await?;
            self.recall(PATIENCE).await?;
        }
        self.publish_newest().await?;
        let recovered = recovering && keys;
        let look = |node: &mut Node, _| node.circle().id();
        let circle = world.inbox.look(look).await?;
        Ok(JoinLine::Summary {
            circle,
            by: host,
            recovered,
        })
    }
}

impl Engine {
    /// Waits until no more feed entries come in.
    async fn wait_for_quiet(&self, deadline: Instant) -> Result<(), EngineError> {
        let world = self.world().await?;
        let mut last = None;
        loop {
            let news = world.inbox.look(|node, _| node.news()).await?;
            if last == Some(news) || Instant::now() > deadline {
                return Ok(());
            }
            last = Some(news);
            sleep(QUIET).await;
        }
    }
}

async fn say(lines: &Lines, message: &str) {
    let message = message.to_owned();
    let _ = lines.send(JoinLine::Progress { message }).await;
}

/// Takes the device out of its circle, which has nobody else in it.
fn outside(old: &Store) -> Result<(Node, Arc<Store>), EngineError> {
    let mut identity = old.vault.identity();
    identity.circle = None;
    identity.circle_secret = [0; 32];
    old.vault.replace_identity(identity)?;
    founding::remove_feeds(old.vault.home())?;
    anew(old)
}

/// Puts the device back into a circle of its own; one without keys stays in none.
fn alone(old: &Store) -> Result<(Node, Arc<Store>), EngineError> {
    let identity = old.vault.identity();
    if identity.circle.is_none() && !identity.vault.is_empty() {
        founding::found_circle(&old.vault)?;
    } else {
        founding::remove_feeds(old.vault.home())?;
    }
    anew(old)
}

/// Returns a core for the identity as it is now, on feeds that were replaced.
fn anew(old: &Store) -> Result<(Node, Arc<Store>), EngineError> {
    let identity = old.vault.identity();
    let mut node = Node::new(identity, founding::random()?, clock::now());
    let store = old.with_new_feeds(&mut node)?;
    Ok((node, Arc::new(store)))
}
