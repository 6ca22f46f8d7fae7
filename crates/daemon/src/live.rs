//! The part of the engine that runs: the core with its driver, on an open store and maybe a net.
//!
//! It can be stopped and started again within one engine: joining a circle does that.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use carryall_core::{
    event::{Command, Notice},
    node::Node,
};
use carryall_net::{Net, NetConfig, NetError, NetEvent};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
    time::{Duration, Instant, sleep},
};

use crate::{
    clock,
    config::{Bind, Config},
    driver::{Driver, Inbox, World},
    engine::EngineError,
    machine, pause,
    petnames::Petnames,
    rules,
    store::Store,
};

/// How long to wait for workers to let go of the store.
const LET_GO_PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether they did.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running core.
#[derive(Debug)]
pub(crate) struct Live {
    world: World,
    driver: JoinHandle<()>,
    /// What goes on beside it.
    beside: Vec<JoinHandle<()>>,
}

impl Live {
    /// Starts the core on a store that was read into `node`.
    pub(crate) async fn start(
        mut node: Node,
        store: Arc<Store>,
        config: watch::Receiver<Config>,
        petnames: &Petnames,
        notices: broadcast::Sender<Notice>,
        online: bool,
    ) -> Result<Self, EngineError> {
        for (member, name) in petnames.iter() {
            node.learn_petname(*member, name.clone());
        }
        let (net, net_events) = if online {
            let secret = store.vault.identity().device_secret;
            let settings = config.borrow().clone();
            let (net, events) = listen(secret, &settings).await?;
            (Some(net), Some(events))
        } else {
            (None, None)
        };
        let now = clock::now();
        let until = pause::load(store.vault.home(), now);
        let pause = node.command(now, Command::Pause { until });
        debug_assert!(pause.is_ok(), "a pause is never refused");
        node.start(now);
        let (inbox, inputs) = Inbox::new();
        let world = World::new(store, net, notices, inbox);
        let mut beside = Vec::new();
        if online {
            let heard = world.notices.subscribe();
            beside.push(tokio::spawn(rules::follow(world.clone(), config)));
            beside.push(tokio::spawn(machine::watch(world.clone(), heard)));
        }
        let driver = Driver::new(node, world.clone(), inputs);
        let driver = tokio::spawn(driver.run(net_events));
        Ok(Self {
            world,
            driver,
            beside,
        })
    }

    /// Returns what the driver acts on.
    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// Stops the core. All that it promised is on disk when this returns, and nobody else uses the
    /// store, unless a worker is stuck on a disk.
    pub(crate) async fn stop(self) -> Arc<Store> {
        let Self {
            world,
            driver,
            beside,
        } = self;
        for task in beside {
            task.abort();
            // It ends at its next pause, and lets go of the store.
            let _ = task.await;
        }
        world.inbox.stop();
        if let Err(error) = driver.await {
            tracing::error!(%error, "the driver broke down");
        }
        // Whoever waits for packs hears that none come any more.
        world.fetched.close();
        let store = world.store.clone();
        drop(world);
        let deadline = Instant::now() + LET_GO_PATIENCE;
        while Arc::strong_count(&store) > 1 && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        store
    }
}

/// Opens the links' socket. The preferred port may be in use by another node of this machine; then
/// any free one does.
async fn listen(
    secret: [u8; 32],
    config: &Config,
) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let at = |port: u16| {
        let mut net = match config.bind {
            Bind::All => NetConfig::new(secret),
            Bind::Loopback => NetConfig::loopback(secret),
        };
        net.bind = bind(config.bind, port);
        if let Some(beacon) = &mut net.beacon {
            beacon.port = config.beacon_port;
        }
        net
    };
    if config.port != 0
        && let Ok(started) = Net::start(at(config.port)).await
    {
        return Ok(started);
    }
    Net::start(at(0)).await
}

fn bind(bind: Bind, port: u16) -> Vec<SocketAddr> {
    match bind {
        Bind::Loopback => vec![(Ipv4Addr::LOCALHOST, port).into()],
        // Both families of every interface, if no port is asked for.
        Bind::All if port == 0 => Vec::new(),
        Bind::All => {
            vec![
                (Ipv4Addr::UNSPECIFIED, port).into(),
                (Ipv6Addr::UNSPECIFIED, port).into(),
            ]
        }
    }
}
