//! One link: a connection with its control stream, the shards it expects and those under way.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use carryall_core::{
    event::{Gate, LinkClass, LinkId, TransferError},
    id::{DeviceId, ShardId},
};
use iroh::{
    TransportAddr,
    endpoint::{Connection, RecvStream, SendStream, VarInt},
};
use tokio::sync::mpsc;

use crate::{
    control::{self, Outbox, Outgoing},
    event::{Direction, NetEvent, Transfer},
    interface,
    judge::judge,
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
    state: Mutex<State>,
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
            state: Mutex::new(State {
                expected: BTreeMap::new(),
                under_way: BTreeMap::new(),
                busy: Some(busy),
            }),
        };
        (Arc::new(link), outgoing, idle)
    }

    /// Runs the link from `LinkUp` to the moment before `LinkDown`.
    pub(crate) async fn run(
        self: &Arc<Self>,
        outgoing: Outgoing,
        mut transfers_over: mpsc::Receiver<()>,
    ) {
        let up = NetEvent::LinkUp {
            link: self.id,
            peer: self.peer,
            dialled: self.dialled,
            gate: self.gate,
            class: self.class(),
            remote: self.remote(),
        };
        if self.events.send(up).await.is_err() {
            return;
        }
        tokio::join!(
            self.converse(outgoing),
            receive::accept(self),
            self.connection.closed()
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

    async fn converse(&self, outgoing: Outgoing) {
        if let Ok((send, receive)) = self.control_stream().await {
            let _ = send.set_priority(i32::MAX);
            tokio::join!(
                control::write(&self.connection, send, outgoing),
                control::read(&self.connection, self.id, receive, &self.events)
            );
        }
    }

    async fn control_stream(
        &self,
    ) -> Result<(SendStream, RecvStream), iroh::endpoint::ConnectionError> {
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
                Bytes::new()
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
        self.path().0
    }

    /// Returns the round-trip time of the path in use.
    pub(crate) fn rtt(&self) -> Duration {
        self.path().1
    }

    /// Judges the path in use.
    pub(crate) fn class(&self) -> LinkClass {
        let (remote, rtt) = self.path();
        judge(remote, rtt, &interface::list().unwrap_or_default())
    }

    fn path(&self) -> (Option<SocketAddr>, Duration) {
        let paths = self.connection.paths();
        let path = paths
            .iter()
            .find(|path| path.is_selected())
            .or_else(|| paths.iter().next());
        path.map_or((None, Duration::MAX), |path| {
            let remote = match path.remote_addr() {
                TransportAddr::Ip(addr) => Some(*addr),
                _ => None,
            };
            (remote, path.rtt())
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
