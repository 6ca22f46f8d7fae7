//! The engine: one open home, and everything that can be asked of it.
//!
//! A running node and a command without one use the same engine; the second has no net.

mod backup;
mod check;
mod courier;
mod drill;
mod error;
mod fetch;
mod find;
mod free;
mod join;
mod people;
mod read;
mod recall;
mod rest;
mod restore;
mod resume;
mod retention;
mod retrace;
mod snapshots;
mod status;
mod turn;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use carryall_core::{event::Notice, node::Node};
use tokio::sync::{Notify, RwLock, broadcast, watch};

pub(crate) use self::backup::context;
pub use self::error::EngineError;
use self::read::Looking;
use self::turn::Turns;
use crate::{
    clock,
    config::Config,
    courier::{self as couriers, Couriers},
    driver::World,
    founding,
    live::Live,
    orders::Orders,
    petnames::Petnames,
    serve::{self, Listener},
    store::Store,
    watch::Watch,
};

/// Notices that a slow listener may lag behind before it misses some.
const NOTICES_WAITING_MAX: usize = 1024;

/// How an engine is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether it meets other devices.
    pub net: bool,
}

/// One open home. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: PathBuf,
    online: bool,
    config: watch::Sender<Config>,
    configuring: Mutex<()>,
    petnames: Mutex<Petnames>,
    notices: broadcast::Sender<Notice>,
    stopped: watch::Sender<bool>,
    /// Nothing while the core changes circles.
    live: RwLock<Option<Live>>,
    /// Held by the work of which only one may be under way.
    backing_up: Arc<tokio::sync::Mutex<()>>,
    fetching: Turns,
    orders: Mutex<Orders>,
    /// Told when an order came or was given up.
    ordered: Notify,
    looking: Mutex<Looking>,
    couriers: Couriers,
}

/// Opens the vault in a home directory and starts its core. Must be called within a tokio runtime.
pub async fn open(home: &Path, options: OpenOptions) -> Result<Engine, EngineError> {
    let config = Config::load(home)?;
    let petnames = Petnames::load(home);
    let (notices, _) = broadcast::channel(NOTICES_WAITING_MAX);
    let (stopped, _) = watch::channel(false);
    let owned = home.to_owned();
    let settings = config.clone();
    let (node, store) = blocking(move || read(crate::store::vault(&owned)?, &settings)).await?;
    let inner = Inner {
        home: home.to_owned(),
        online: options.net,
        config: watch::Sender::new(config),
        configuring: Mutex::default(),
        petnames: Mutex::new(petnames),
        notices,
        stopped,
        live: RwLock::new(None),
        backing_up: Arc::default(),
        fetching: Turns::default(),
        orders: Mutex::new(Orders::load(home)),
        ordered: Notify::new(),
        looking: Mutex::default(),
        couriers: Couriers::default(),
    };
    let engine = Engine(Arc::new(inner));
    engine.start(node, store, options.net).await?;
    // What friends must bring for it comes later, while the node runs.
    if let Err(error) = engine.repair_index(Duration::ZERO).await {
        tracing::warn!(%error, "the index is incomplete: carryall check --rebuild-index");
    }
    engine.publish_newest().await?;
    Ok(engine)
}

/// Reads a vault into a core.
fn read(
    vault: carryall_store::vault::Vault,
    config: &Config,
) -> Result<(Node, Arc<Store>), EngineError> {
    let identity = vault.identity();
    if identity.circle.is_none() && !identity.vault.is_empty() {
        // A joining that was cut short: the device is in no circle, so it founds one again.
        founding::found_circle(&vault)?;
    }
    let identity = vault.identity();
    let mut node = Node::new(identity.clone(), founding::random()?, clock::now());
    let store = Store::open(vault, config, &mut node)?;
    if let Some(circle) = identity
        .circle
        .filter(|_| store.feeds.len(identity.device()) == 0)
    {
        let entries = founding::beginning(&identity, circle)?;
        store.feeds.append(identity.device(), 0, &entries)?;
        for entry in &entries {
            // Whoever admitted us wrote who we are; a refusal shows up as an empty circle.
            let _ = node.replay(entry);
        }
    }
    Ok((node, Arc::new(store)))
}

impl Engine {
    /// Returns the API without its socket: for callers in this very process.
    pub fn router(&self) -> Router {
        serve::router(self.clone())
    }

    /// Serves the API on loopback, watches remembered folders, and meets friends, until
    /// [`Engine::stop`]. `ready` is told the API's port.
    pub async fn serve(&self, ready: impl FnOnce(u16)) -> Result<(), EngineError> {
        let port = self.config().api_port;
        let listener = Listener::bind(port).await.map_err(EngineError::Listen)?;
        ready(listener.port());
        let watch = Watch::start(self.clone());
        let recalling = tokio::spawn(recall::keep_recalling(self.clone()));
        let carrying = tokio::spawn(couriers::keep_serving(self.clone()));
        let drilling = tokio::spawn(drill::keep_drilling(self.clone()));
        let restoring = tokio::spawn(resume::keep_restoring(self.clone()));
        let served = listener.run(&self.0.home, self.clone()).await;
        self.stop();
        watch.finish().await;
        // A task that broke down has ended too.
        let _ = recalling.await;
        let _ = drilling.await;
        let _ = restoring.await;
        let _ = carrying.await;
        self.close().await;
        served.map_err(EngineError::Listen)
    }

    /// Stops the core. All that it promised is on disk when this returns.
    pub async fn close(&self) {
        self.stop();
        let live = self.0.live.write().await.take();
        if let Some(live) = live {
            drop(live.stop().await);
        }
    }

    /// Asks [`Engine::serve`] to end.
    pub fn stop(&self) {
        self.0.stopped.send_replace(true);
    }

    /// Tells whether the engine is to end.
    pub fn is_stopping(&self) -> bool {
        *self.0.stopped.borrow()
    }

    /// Waits until the engine is to end.
    pub async fn stopped(&self) {
        // The sender lives as long as this engine does.
        let _ = self
            .0
            .stopped
            .subscribe()
            .wait_for(|stopped| *stopped)
            .await;
    }

    /// Returns the notices from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    /// Returns the home directory.
    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// Tells whether this engine meets other devices.
    pub fn is_online(&self) -> bool {
        self.0.online
    }

    /// Returns the settings.
    pub fn config(&self) -> Config {
        self.0.config.borrow().clone()
    }

    /// Changes a setting and returns all of them.
    pub fn configure(&self, key: &str, value: &str) -> Result<Config, EngineError> {
        // One change at a time.
        let _turn = locked(&self.0.configuring);
        let mut config = self.config();
        config.set(key, value)?;
        config.save(&self.0.home)?;
        self.0.config.send_replace(config.clone());
        Ok(config)
    }

    /// Returns the remembered folders, raw bytes.
    pub(crate) async fn roots(&self) -> Result<Vec<Vec<u8>>, EngineError> {
        let store = self.world().await?.store;
        let roots = blocking(move || Ok(store.catalogue.roots()?)).await?;
        Ok(roots.into_iter().map(|(root, _)| root).collect())
    }

    pub(crate) fn petnames(&self) -> MutexGuard<'_, Petnames> {
        locked(&self.0.petnames)
    }

    /// Returns what the driver acts on.
    pub(crate) async fn world(&self) -> Result<World, EngineError> {
        let live = self.0.live.read().await;
        Ok(live.as_ref().ok_or(EngineError::Gone)?.world().clone())
    }

    pub(crate) fn notify(&self, notice: Notice) {
        // Without listeners there is nobody to tell.
        let _ = self.0.notices.send(notice);
    }

    async fn start(&self, node: Node, store: Arc<Store>, net: bool) -> Result<(), EngineError> {
        let (config, petnames) = (self.0.config.subscribe(), self.petnames().clone());
        let notices = self.0.notices.clone();
        let live = Live::start(node, store, config, &petnames, notices, net).await?;
        *self.0.live.write().await = Some(live);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Settings and petnames are replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the path that a text stands for, if it says all of the way: the node runs somewhere else than
/// whoever asks.
fn absolute(text: &str) -> Result<PathBuf, EngineError> {
    let named = crate::api::path::to_path(text);
    match named.is_absolute() {
        true => Ok(named),
        false => Err(EngineError::RelativePath(text.to_owned())),
    }
}

/// Runs work that waits for disks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(%error, "a worker broke down");
            Err(EngineError::Gone)
        }
    }
}
