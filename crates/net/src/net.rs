//! The node's side of the network: one endpoint, its links, its beacon.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carryall_core::{
    beacon::BeaconTable,
    event::{Gate, LinkId, TransferError},
    gate::Alpn,
    id::{DeviceId, ShardId},
    message::{Farewell, Message, ShardHeader},
};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    endpoint::{BindError, Connection, PortmapperConfig, QuicTransportConfig, VarInt, presets},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    accept::{self, Gates},
    beacon::{BeaconVoice, LinkPorts, Order, Speaker},
    config::{NetConfig, Reach},
    congestion::ByDistance,
    event::{NetEvent, Transfer},
    gauge::Metered,
    interface,
    lane::Door,
    link::{Code, Expected, Link},
    part::Parts,
    place::{self, Place},
    send,
    shard::{ShardSource, ShardTarget},
};

/// Events that may wait for the daemon. With frames of 64 KiB that is at most 16 MiB.
const EVENTS_WAITING_MAX: usize = 256;
/// Shard streams that a peer may have open: what both sides may have in flight, and as many again.
const SHARD_STREAMS_MAX: u32 = 16;
/// How long a farewell may hold up a close.
const CLOSE_WAIT: Duration = Duration::from_millis(300);

/// Why the network could not start.
#[derive(Debug, Error)]
pub enum NetError {
    /// No socket could be opened for links.
    #[error("can't listen for links on {addresses:?}: {source}")]
    Bind {
        /// Where; empty for every interface.
        addresses: Vec<SocketAddr>,
        /// Why not.
        source: io::Error,
    },
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The link is gone, or never was.
    #[error("no such link")]
    NoLink,
    /// The message is longer than peers accept.
    #[error("message too long")]
    TooLong,
    /// Too much waits already. The link is closed.
    #[error("peer reads too slowly")]
    PeerTooSlow,
}

/// A handle to the network. Clones share it; [`Net::close`] ends it for all.
#[derive(Clone, Debug)]
pub struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    dial_timeout: Duration,
    gates: Gates,
    links: Mutex<BTreeMap<LinkId, Arc<Link>>>,
    /// The newest dial of each device.
    dials: Mutex<BTreeMap<DeviceId, AbortHandle>>,
    next_link: AtomicU64,
    metered: watch::Sender<Metered>,
    events: mpsc::Sender<NetEvent>,
    parts: Parts,
    /// The door for lanes, where they are wanted.
    lanes: Option<Door>,
    beacon: mpsc::UnboundedSender<Order>,
}

impl Net {
    /// Starts listening. No gate is open until [`Net::set_gates`].
    pub async fn start(config: NetConfig) -> Result<(Self, mpsc::Receiver<NetEvent>), NetError> {
        let endpoint = bind(&config).await?;
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let (beacon, heard) = mpsc::unbounded_channel();
        let net = Self(Arc::new(Inner {
            endpoint,
            dial_timeout: config.dial_timeout,
            gates: Gates::default(),
            links: Mutex::default(),
            dials: Mutex::default(),
            next_link: AtomicU64::new(1),
            metered: watch::Sender::default(),
            events,
            parts: Parts::default(),
            lanes: config.lanes.then(Door::default),
            beacon,
        }));
        tokio::spawn(accept::run(net.clone()));
        let (place, known) = watch::channel(Place::look());
        tokio::spawn(place::watch(place));
        if let Some(beacon) = config.beacon {
            let events = net.0.events.clone();
            let metered = net.0.metered.subscribe();
            let speaker = Speaker::new(beacon, net.ports(), events, known.clone(), metered);
            // A node that was closed is silent.
            tokio::spawn(net.0.endpoint.closed().run_until(speaker.run(heard)));
        }
        tokio::spawn(net.clone().follow(known));
        Ok((net, receiver))
    }

    /// Tells the transport and the daemon when interfaces come, go or change addresses, and when this
    /// machine wakes up.
    async fn follow(self, mut place: watch::Receiver<Place>) {
        let mut known = (self.addresses(), place.borrow().clone());
        while let Some(Ok(())) = self.until_closed(place.changed()).await {
            let now = place.borrow_and_update().clone();
            self.drop_stranded(&now.interfaces);
            self.0.endpoint.network_change().await;
            let found = (self.addresses(), now);
            if found != known {
                known = found;
                let addresses = known.0.clone();
                self.tell(NetEvent::Arrived { addresses }).await;
            }
        }
    }

    /// Gives up links whose own address this machine no longer has: nothing comes back on them, which
    /// the transport would find out much later.
    fn drop_stranded(&self, interfaces: &[interface::Interface]) {
        let here = |ip| interfaces.iter().any(|interface| interface.ip == ip);
        for link in self.links().values() {
            if link.local().is_some_and(|ip| !here(ip)) {
                link.give_up(Code::GivenUp);
            }
        }
    }

    async fn until_closed<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.endpoint.closed().run_until(future).await
    }

    /// Sets what our beacons say and whose we recognise. New seeds begin a burst.
    pub fn set_beacon(&self, voice: BeaconVoice, table: BeaconTable) {
        self.order(Order::Voice(voice, Some(table)));
    }

    /// Sets what the beacon says, and nothing about whom it listens for.
    pub fn set_voice(&self, voice: BeaconVoice) {
        self.order(Order::Voice(voice, None));
    }

    /// Begins a burst of beacons: something changed that others should hear of soon.
    pub fn announce(&self) {
        self.order(Order::Announce);
    }

    fn order(&self, order: Order) {
        // Nobody takes orders where the beacon is off.
        let _ = self.0.beacon.send(order);
    }

    fn ports(&self) -> LinkPorts {
        let sockets = self.0.endpoint.bound_sockets();
        let port = |v4: bool| {
            let socket = sockets.iter().find(|socket| socket.is_ipv4() == v4);
            socket.map(SocketAddr::port)
        };
        LinkPorts {
            v4: port(true),
            v6: port(false),
        }
    }

    /// Opens these gates to whoever knows their protocol names, and no others. Links that are up
    /// stay up.
    pub fn set_gates(&self, gates: Vec<(Alpn, Gate)>) {
        // The handshake gets the names too: it is the last to check, after `accept`.
        let alpns = gates.iter().map(|(alpn, _)| alpn.to_vec()).collect();
        self.0.gates.set(gates);
        self.0.endpoint.set_alpns(alpns);
    }

    /// Dials a device by a gate, whose protocol name is `alpn`. Answered by [`NetEvent::LinkUp`] or
    /// [`NetEvent::DialFailed`]. Links to that device which are still up are given up first, since
    /// a dead path of theirs would be preferred to the new one. A dial of that device which is still
    /// under way ends without an answer.
    pub fn dial(&self, device: DeviceId, addresses: &[SocketAddr], gate: Gate, alpn: Alpn) {
        self.dial_within(device, addresses, (gate, alpn), self.0.dial_timeout);
    }

    /// Dials as [`Net::dial`] does, but fails after `patience`.
    pub fn dial_within(
        &self,
        device: DeviceId,
        addresses: &[SocketAddr],
        (gate, alpn): (Gate, Alpn),
        patience: Duration,
    ) {
        for link in self.links().values().filter(|link| link.peer == device) {
            link.give_up(Code::GivenUp);
        }
        let net = self.clone();
        let addresses = addresses.to_vec();
        let dialling = tokio::spawn(async move {
            match net.connect(device, &addresses, &alpn, patience).await {
                // On a task of its own, which the next dial doesn't end.
                Some(connection) => {
                    drop(tokio::spawn(async move {
                        net.link_up(connection, (true, gate)).await;
                    }));
                }
                None => net.tell(NetEvent::DialFailed { device }).await,
            }
        });
        let mut dials = self.0.dials.lock().unwrap_or_else(PoisonError::into_inner);
        dials.retain(|_, dial| !dial.is_finished());
        if let Some(former) = dials.insert(device, dialling.abort_handle()) {
            former.abort();
        }
    }

    async fn connect(
        &self,
        device: DeviceId,
        addresses: &[SocketAddr],
        alpn: &[u8],
        patience: Duration,
    ) -> Option<Connection> {
        let id = EndpointId::from_bytes(device.as_bytes()).ok()?;
        let target = addresses
            .iter()
            .fold(EndpointAddr::new(id), |target, address| {
                target.with_ip_addr(*address)
            });
        let dialled = timeout(patience, self.0.endpoint.connect(target, alpn)).await;
        match dialled {
            Ok(Ok(connection)) => Some(connection),
            Ok(Err(error)) => {
                tracing::debug!(device = %device.short(), %error, "dial failed");
                None
            }
            Err(_) => {
                tracing::debug!(device = %device.short(), "dial timed out");
                None
            }
        }
    }

    /// Says something on a link, after what was said before. A peer that leaves megabytes unread
    /// is cut off.
    pub fn send(&self, link: LinkId, message: &Message) -> Result<(), SendError> {
        let link = self.link(link).ok_or(SendError::NoLink)?;
        let sent = link.outbox.send(message);
        if sent == Err(SendError::PeerTooSlow) {
            link.give_up(Code::TooSlow);
        }
        sent
    }

    /// Says something on a link once the peer has read enough of what was said before: for long
    /// runs of entries. Never to be awaited where events are read, else two nodes could wait for
    /// each other.
    pub async fn send_patiently(&self, link: LinkId, message: &Message) -> Result<(), SendError> {
        let link = self.link(link).ok_or(SendError::NoLink)?;
        link.outbox.send_patiently(message).await
    }

    /// Says farewell and closes within a second. Answered by [`NetEvent::LinkDown`].
    pub fn close_link(&self, link: LinkId, farewell: Farewell) {
        let Some(link) = self.link(link) else { return };
        link.outbox.end(farewell);
        tokio::spawn(async move {
            let _ = timeout(CLOSE_WAIT, link.connection.closed()).await;
            link.give_up(Code::Farewell);
        });
    }

    /// Closes a link at once, without a word: the peer is silent. Answered by
    /// [`NetEvent::LinkDown`].
    pub fn give_up(&self, link: LinkId) {
        if let Some(link) = self.link(link) {
            link.give_up(Code::GivenUp);
        }
    }

    /// Sends a shard on a stream of its own. Answered by [`NetEvent::ShardSent`]. More urgent
    /// streams go first.
    pub fn send_shard(
        &self,
        link: LinkId,
        header: ShardHeader,
        source: ShardSource,
        priority: i32,
    ) {
        let net = self.clone();
        match self.link(link) {
            Some(link) => tokio::spawn(send::send(link, header, source, priority)),
            None => tokio::spawn(async move {
                let event = NetEvent::ShardSent {
                    link,
                    shard: header.shard,
                    bytes: 0,
                    outcome: Err(TransferError::LinkLost),
                };
                net.tell(event).await;
            }),
        };
    }

    /// Sends shards on a link no faster than `rate` bytes per second from now on, all of them
    /// together; without a limit if it is nothing.
    pub fn limit(&self, link: LinkId, rate: Option<NonZeroU64>) {
        if let Some(link) = self.link(link) {
            link.pace.set(rate);
        }
    }

    /// Expects the peer's stream for a shard of `bytes` bytes, from `offset` on. Answered by
    /// [`NetEvent::ShardReceived`]. Call it before the peer is asked to send: streams that nobody
    /// expects are stopped. A shard that is expected twice is expected, and answered, as said last.
    pub fn expect_shard(
        &self,
        link: LinkId,
        shard: ShardId,
        (bytes, offset): (u32, u32),
        target: ShardTarget,
    ) {
        let expected = Expected {
            bytes,
            offset,
            target,
        };
        let unmet = match self.link(link) {
            Some(found) => found
                .expect(shard, expected)
                .map_err(|unmet| (found, unmet)),
            None => {
                let content = match expected.target {
                    ShardTarget::Memory { before } => before,
                    ShardTarget::Sink(_) => Vec::new(),
                };
                let net = self.clone();
                let event = NetEvent::ShardReceived {
                    link,
                    shard,
                    bytes: 0,
                    outcome: Err(TransferError::LinkLost),
                    content,
                };
                tokio::spawn(async move { net.tell(event).await });
                return;
            }
        };
        if let Err((link, unmet)) = unmet {
            tokio::spawn(async move { link.tell_unreceived(shard, unmet.target).await });
        }
    }

    /// Stops expecting a shard: the peer said that none comes. Nothing is answered.
    pub fn unexpect_shard(&self, link: LinkId, shard: ShardId) {
        if let Some(link) = self.link(link) {
            drop(link.take_expected(shard));
        }
    }

    /// Returns how far each shard under way has come.
    pub fn transfers(&self) -> Vec<Transfer> {
        let links = self.links();
        links.values().flat_map(|link| link.transfers()).collect()
    }

    /// Returns the addresses at which this node can be dialled from this machine's networks; those
    /// of the loopback interface only where there are no others.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let interfaces = interface::configured().unwrap_or_default();
        let mut addresses = Vec::new();
        for bound in self.0.endpoint.bound_sockets() {
            if !bound.ip().is_unspecified() {
                addresses.push(bound);
                continue;
            }
            let same_family = interfaces
                .iter()
                .filter(|interface| interface.ip.is_ipv4() == bound.is_ipv4());
            addresses.extend(
                same_family
                    .filter(|interface| !interface.is_link_local_v6())
                    .map(|interface| SocketAddr::new(interface.ip, bound.port())),
            );
        }
        // To other machines, loopback addresses would mean themselves.
        if addresses.iter().any(|address| !address.ip().is_loopback()) {
            addresses.retain(|address| !address.ip().is_loopback());
        }
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// Returns a peer's address as seen from here: what the peer may want to know about itself.
    /// Nothing through a relay or when the link is gone.
    pub fn remote(&self, link: LinkId) -> Option<SocketAddr> {
        self.link(link)?.remote()
    }

    /// Tells whether a link's shards go on a lane of their own.
    pub fn has_lane(&self, link: LinkId) -> bool {
        self.link(link).is_some_and(|link| link.lane().is_some())
    }

    /// Sets on which interfaces this device pays by the byte. Links that are up hear of it within
    /// seconds.
    pub fn set_metered(&self, metered: Metered) {
        self.0.metered.send_replace(metered);
    }

    /// Closes every link and stops listening. A peer that is gone already does not hold this up for
    /// longer than a farewell may.
    pub async fn close(&self) {
        let _ = timeout(CLOSE_WAIT, self.0.endpoint.close()).await;
    }

    /// Runs a new connection as a link until it is gone.
    pub(crate) async fn link_up(&self, connection: Connection, door: (bool, Gate)) {
        let id = LinkId(self.0.next_link.fetch_add(1, Ordering::Relaxed));
        let events = self.0.events.clone();
        let (link, outgoing, transfers) =
            Link::new(id, door, connection, events, self.0.parts.clone());
        self.links().insert(id, Arc::clone(&link));
        let lanes = self.0.lanes.clone();
        let lanes = lanes.map(|door| (door, self.0.endpoint.bound_sockets()));
        link.run(outgoing, transfers, self.0.metered.subscribe(), lanes)
            .await;
        self.links().remove(&id);
        if self.links_up() == 0 {
            self.0.parts.clear();
        }
        self.tell(NetEvent::LinkDown { link: id }).await;
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    pub(crate) fn links_up(&self) -> usize {
        self.links().len()
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.0.gates
    }

    pub(crate) fn dial_timeout(&self) -> Duration {
        self.0.dial_timeout
    }

    async fn tell(&self, event: NetEvent) {
        // Nobody listens any more: the node is going down.
        let _ = self.0.events.send(event).await;
    }

    fn link(&self, link: LinkId) -> Option<Arc<Link>> {
        self.links().get(&link).cloned()
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<LinkId, Arc<Link>>> {
        // A map of links is whole at any time.
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the endpoint. Receive windows stay at their defaults: larger ones kill connections on
/// loss (1024 gaps per stream is a hard limit of the transport).
async fn bind(config: &NetConfig) -> Result<Endpoint, NetError> {
    let Reach::Lan = config.reach;
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(SHARD_STREAMS_MAX))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(ByDistance::default()))
        .build();
    let failed = |source| NetError::Bind {
        addresses: config.bind.clone(),
        source,
    };
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&config.device_secret))
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .max_tls_tickets(0)
        .transport_config(transport);
    if !config.bind.is_empty() {
        builder = builder.clear_ip_transports();
    }
    for address in &config.bind {
        builder = builder
            .bind_addr(*address)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    }
    builder.bind().await.map_err(|error| {
        failed(match error {
            BindError::Sockets { source, .. } => source,
            error => io::Error::other(error),
        })
    })
}
