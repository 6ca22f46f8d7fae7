//! One link: a connection with its control stream, the shards it expects and those under way.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use carryall_core::{
    event::{Gate, LinkId, TransferError},
    id::{DeviceId, ShardId},
};
use iroh::{
    TransportAddr,
    endpoint::{Connection, ConnectionError, LocalTransportAddr, RecvStream, SendStream, VarInt},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    congestion,
    control::{self, Outbox, Outgoing},
    event::{Direction, NetEvent, Transfer},
    gauge::{self, Gauge, Metered, Sample},
    interface,
    lane::{self, Door, Intake, Lane, Secrets},
    pace::Pace,
    part::Parts,
    receive,
    shard::ShardTarget,
};

/// Codes with which connections close and streams stop. They travel, so they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// All was said.
    Farewell = 0,
    /// What came was no message.
    Garbage = 1,
    /// The peer reads too slowly.
    TooSlow = 2,
    /// The control stream ended without a close.
    ControlOver = 3,
    /// The link was given up: silent, or about to be dialled anew.
    GivenUp = 4,
    /// The lane broke.
    LaneBroke = 5,
    /// Nobody expects this shard, or not like this.
    Unexpected = 16,
    /// The shard's bytes are wrong, or there is no room for them.
    Refused = 17,
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}

/// First and longest pause between two looks at a link; each is twice the one before. The handshake
/// on a busy machine says little about a link, the quiet moments after it more.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_secs(2);

/// When to look whether a link is near: the handshake on a busy machine takes longer than the way.
const LANE_LOOKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];
/// A lane that ends is followed by its link's close, or it broke.
const CLOSE_WAIT: Duration = Duration::from_millis(300);

/// How often to see whether something came.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// A shard that the peer has been told to send.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Its whole length.
    pub(crate) bytes: u32,
    /// Where the stream must begin.
    pub(crate) offset: u32,
    /// Where it goes.
    pub(crate) target: ShardTarget,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: DeviceId,
    pub(crate) dialled: bool,
    pub(crate) gate: Gate,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) events: mpsc::Sender<NetEvent>,
    /// How fast shards go out.
    pub(crate) pace: Pace,
    pub(crate) parts: Parts,
    lane: OnceLock<Arc<Lane>>,
    state: Mutex<State>,
    /// For how long shards have waited until the transport took more, in microseconds.
    waited_us: AtomicU64,
}

#[derive(Debug)]
struct State {
    expected: BTreeMap<ShardId, Expected>,
    under_way: BTreeMap<(Direction, ShardId), (Arc<AtomicU32>, u32)>,
    /// Every transfer holds a clone; `LinkDown` waits for all of them. Nothing once the link ends.
    busy: Option<mpsc::Sender<()>>,
}

/// A transfer's hold on its link, and its progress. Dropped when its outcome has been told.
#[derive(Debug)]
pub(crate) struct Progress {
    link: Arc<Link>,
    key: (Direction, ShardId),
    done: Arc<AtomicU32>,
    start: u32,
    _busy: mpsc::Sender<()>,
}

impl Progress {
    /// Adds bytes that went or came.
    pub(crate) fn add(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of this try.
    pub(crate) fn bytes(&self) -> u32 {
        self.done.load(Ordering::Relaxed).saturating_sub(self.start)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.link.state();
        // A newer transfer of the same shard may have taken the place.
        if let Some((done, _)) = state.under_way.get(&self.key)
            && Arc::ptr_eq(done, &self.done)
        {
            state.under_way.remove(&self.key);
        }
    }
}

impl Link {
    pub(crate) fn new(
        id: LinkId,
        (dialled, gate): (bool, Gate),
        connection: Connection,
        events: mpsc::Sender<NetEvent>,
        parts: Parts,
    ) -> (Arc<Self>, Outgoing, mpsc::Receiver<()>) {
        let (outbox, outgoing) = control::queue();
        let (busy, idle) = mpsc::channel(1);
        let link = Self {
            id,
            peer: DeviceId(*connection.remote_id().as_bytes()),
            dialled,
            gate,
            connection,
            outbox,
            events,
            pace: Pace::new(),
            parts,
            lane: OnceLock::new(),
            state: Mutex::new(State {
                expected: BTreeMap::new(),
                under_way: BTreeMap::new(),
                busy: Some(busy),
            }),
            waited_us: AtomicU64::new(0),
        };
        (Arc::new(link), outgoing, idle)
    }

    /// Runs the link from `LinkUp` to the moment before `LinkDown`.
    pub(crate) async fn run(
        self: &Arc<Self>,
        outgoing: Outgoing,
        mut transfers_over: mpsc::Receiver<()>,
        metered: watch::Receiver<Metered>,
        lanes: Option<(Door, Vec<SocketAddr>)>,
    ) {
        let gauge = self.gauge(self.sample(), &metered);
        let up = NetEvent::LinkUp {
            link: self.id,
            peer: self.peer,
            dialled: self.dialled,
            gate: self.gate,
            facts: gauge.facts(),
            remote: self.remote(),
        };
        if self.events.send(up).await.is_err() {
            return;
        }
        tokio::join!(
            self.converse(outgoing),
            receive::accept(self),
            self.watch(gauge, metered),
            self.listen(),
            self.open_lane(lanes)
        );
        self.outbox.close();
        let unmet = {
            let mut state = self.state();
            state.busy = None;
            std::mem::take(&mut state.expected)
        };
        for (shard, expected) in unmet {
            self.tell_unreceived(shard, expected.target).await;
        }
        // No message comes through this channel: it ends when the last transfer drops its hold.
        let _ = transfers_over.recv().await;
    }

    /// Opens a lane if the link is near, and takes shards on it until it or the link ends.
    async fn open_lane(self: &Arc<Self>, lanes: Option<(Door, Vec<SocketAddr>)>) {
        let Some((door, addresses)) = lanes else {
            return;
        };
        if !door.trusts(&self.peer) {
            return;
        }
        let opened = tokio::select! {
            opened = self.claim_lane(&door, &addresses) => opened,
            _ = self.connection.closed() => return,
        };
        let Some((lane, intake)) = opened else { return };
        let _ = self.lane.set(Arc::clone(&lane));
        intake.run().await;
        lane.end();
        let broke = match timeout(CLOSE_WAIT, self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => {
                close.error_code == Code::LaneBroke.into()
            }
            Ok(_) => false,
            Err(_) => true,
        };
        if broke {
            tracing::debug!(peer = %self.peer.short(), "a lane broke");
            door.distrust(self.peer);
            self.give_up(Code::LaneBroke);
        }
    }

    async fn claim_lane(
        self: &Arc<Self>,
        door: &Door,
        addresses: &[SocketAddr],
    ) -> Option<(Arc<Lane>, Intake)> {
        let secrets = Secrets::of(&self.connection, self.dialled)?;
        let stream = if self.dialled {
            lane::dial(self.near().await?, &secrets).await?
        } else {
            door.wait(&secrets, addresses).await?
        };
        let (lane, reader) = Lane::new(stream, secrets);
        let lane = Arc::new(lane);
        let intake = Intake::new(Arc::clone(&lane), Arc::clone(self), reader);
        Some((lane, intake))
    }

    /// Returns the peer's address if the link turns out to be near. A far one gets no lane: there the
    /// wire is the limit, and a path through somebody's NAT has no way for a second connection.
    async fn near(&self) -> Option<SocketAddr> {
        for pause in LANE_LOOKS {
            sleep(pause).await;
            let sample = self.sample();
            if sample.rtt.is_some_and(|rtt| rtt < congestion::FAR_RTT) {
                return sample.remote;
            }
        }
        None
    }

    /// Returns the lane, once there is one.
    pub(crate) fn lane(&self) -> Option<&Arc<Lane>> {
        self.lane.get()
    }

    /// Counts what came from the peer: datagrams, and bytes on the lane.
    fn heard(&self) -> u64 {
        let lane = self.lane().map_or(0, |lane| lane.heard());
        self.connection.stats().udp_rx.datagrams.wrapping_add(lane)
    }

    /// Tells that something came from the peer, be it only an acknowledgement, until the link ends.
    async fn listen(&self) {
        let mut heard = self.heard();
        loop {
            tokio::select! {
                () = sleep(LISTEN_EVERY) => {}
                _ = self.connection.closed() => return,
            }
            let now = self.heard();
            if now != heard {
                heard = now;
                // Where events wait in a queue, there are signs of life enough.
                let _ = self.events.try_send(NetEvent::Alive { link: self.id });
            }
        }
    }

    /// Looks at the link now and then until it is gone, and tells what has become different.
    async fn watch(&self, mut gauge: Gauge, mut metered: watch::Receiver<Metered>) {
        let mut told = gauge.facts();
        let mut pause = LOOK_FIRST;
        loop {
            tokio::select! {
                _ = self.connection.closed() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LOOK_LAST);
            let sample = self.sample();
            if gauge.moved(&sample) || metered.has_changed().unwrap_or(false) {
                metered.mark_unchanged();
                gauge = self.gauge(sample, &metered);
            } else {
                gauge.look(sample);
            }
            if gauge::differ(&told, &gauge.facts()) {
                told = gauge.facts();
                let (link, facts) = (self.id, told);
                let event = NetEvent::LinkMeasured { link, facts };
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    fn gauge(&self, sample: Sample, metered: &watch::Receiver<Metered>) -> Gauge {
        let interfaces = interface::list().unwrap_or_default();
        Gauge::new(sample, &interfaces, &metered.borrow())
    }

    /// Notes that a shard waited until the transport took more.
    pub(crate) fn note_wait(&self, wait: Duration) {
        let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Ordering::Relaxed);
    }

    async fn converse(&self, outgoing: Outgoing) {
        if let Ok((send, receive)) = self.control_stream().await {
            let _ = send.set_priority(i32::MAX);
            tokio::join!(
                control::write(&self.connection, send, outgoing),
                control::read(&self.connection, self.id, receive, &self.events)
            );
        }
    }

    async fn control_stream(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        if self.dialled {
            self.connection.open_bi().await
        } else {
            self.connection.accept_bi().await
        }
    }

    /// Registers what the peer is about to send. A shard that is expected twice is expected as
    /// said last.
    pub(crate) fn expect(&self, shard: ShardId, expected: Expected) -> Result<(), Expected> {
        let mut state = self.state();
        if state.busy.is_none() {
            return Err(expected);
        }
        state.expected.insert(shard, expected);
        Ok(())
    }

    /// Takes what was registered for `shard`.
    pub(crate) fn take_expected(&self, shard: ShardId) -> Option<Expected> {
        self.state().expected.remove(&shard)
    }

    /// Notes a transfer that begins at `offset`; nothing once the link ends.
    pub(crate) fn begin(
        self: &Arc<Self>,
        direction: Direction,
        shard: ShardId,
        (offset, bytes): (u32, u32),
    ) -> Option<Progress> {
        let done = Arc::new(AtomicU32::new(offset));
        let mut state = self.state();
        let busy = state.busy.clone()?;
        state
            .under_way
            .insert((direction, shard), (Arc::clone(&done), bytes));
        Some(Progress {
            link: Arc::clone(self),
            key: (direction, shard),
            done,
            start: offset,
            _busy: busy,
        })
    }

    /// Returns how far each shard under way has come.
    pub(crate) fn transfers(&self) -> Vec<Transfer> {
        let state = self.state();
        let transfers = state.under_way.iter();
        transfers
            .map(|(&(direction, shard), (done, bytes))| Transfer {
                link: self.id,
                peer: self.peer,
                shard,
                direction,
                done: done.load(Ordering::Relaxed),
                bytes: *bytes,
            })
            .collect()
    }

    /// Answers an expectation that no stream met.
    pub(crate) async fn tell_unreceived(&self, shard: ShardId, target: ShardTarget) {
        let content = match target {
            ShardTarget::Memory { before } => before,
            ShardTarget::Sink(sink) => {
                let _ = tokio::task::spawn_blocking(move || sink.suspend()).await;
                Vec::new()
            }
        };
        let event = NetEvent::ShardReceived {
            link: self.id,
            shard,
            bytes: 0,
            outcome: Err(TransferError::LinkLost),
            content,
        };
        let _ = self.events.send(event).await;
    }

    /// Closes the connection at once. Nothing that is queued is said any more.
    pub(crate) fn give_up(&self, code: Code) {
        self.connection.close(code.into(), b"");
    }

    /// Returns the peer's address as seen from here; nothing through a relay.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.sample().remote
    }

    /// Returns our own address on the path in use, as far as the system tells.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.sample().local.map(|ip| ip.to_canonical())
    }

    /// Looks at the path in use.
    fn sample(&self) -> Sample {
        let mut sample = Sample {
            remote: None,
            local: None,
            rtt: None,
            carried: 0,
            congestions: 0,
            waited: Duration::from_micros(self.waited_us.load(Ordering::Relaxed)),
            at: Instant::now(),
        };
        let paths = self.connection.paths();
        let selected = paths.iter().find(|path| path.is_selected());
        if let Some(path) = selected.or_else(|| paths.iter().next()) {
            let stats = path.stats();
            if let TransportAddr::Ip(address) = path.remote_addr() {
                sample.remote = Some(*address);
            }
            if let LocalTransportAddr::Ip(local) = path.local_addr() {
                sample.local = *local;
            }
            let shortest = congestion::shortest_rtt(&self.connection, path.id());
            sample.rtt = Some(shortest.map_or(stats.rtt, |shortest| shortest.min(stats.rtt)));
            sample.carried = stats.sent_bytes.saturating_sub(stats.lost_bytes);
            sample.congestions = stats.congestion_events;
        }
        if let Some(lane) = self.lane() {
            sample.carried += lane.carried();
        }
        sample
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
