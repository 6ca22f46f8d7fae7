//! Two nodes on the loopback interface, for tests.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use carryall_core::{
    event::{Gate, LinkId},
    gate::Alpn,
    id::DeviceId,
};
use carryall_net::{Net, NetConfig, NetEvent};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// The protocol name that test nodes share.
pub(crate) const ALPN: Alpn = *b"0123456789abcdef";

/// A node with its events.
pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) device: DeviceId,
    pub(crate) events: mpsc::Receiver<NetEvent>,
    lanes: bool,
}

/// Returns a port number that is free in UDP, and in TCP for lanes: not one of those which the kernel
/// gives to connections, since on a busy machine one in some is taken, and stays so for a minute.
fn free_number() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    let mut numbers = std::iter::repeat_with(|| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(97) % COUNT;
        FIRST + (process + step) % COUNT
    });
    let is_free = |number: &u16| {
        let address = (Ipv4Addr::LOCALHOST, *number);
        UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
    };
    numbers.find(is_free).unwrap()
}

/// Returns the configuration of a node that never leaves this machine.
pub(crate) fn config(seed: u8) -> NetConfig {
    NetConfig {
        bind: vec![(Ipv4Addr::LOCALHOST, free_number()).into()],
        dial_timeout: Duration::from_secs(3),
        beacon: None,
        ..NetConfig::loopback([seed; 32])
    }
}

impl Node {
    /// Starts a node whose circle gate is open.
    pub(crate) async fn start(config: NetConfig) -> Self {
        let secret = iroh::SecretKey::from_bytes(&config.device_secret);
        let lanes = config.lanes;
        let (net, events) = Net::start(config).await.unwrap();
        net.set_gates(vec![(ALPN, Gate::Circle)]);
        Self {
            net,
            device: DeviceId(*secret.public().as_bytes()),
            events,
            lanes,
        }
    }

    /// Returns the next event; a test that waits for half a minute has failed. How often a link is
    /// measured depends on the machine.
    pub(crate) async fn next(&mut self) -> NetEvent {
        loop {
            let event = timeout(Duration::from_secs(30), self.events.recv())
                .await
                .expect("an event comes in time")
                .expect("the network runs");
            // Signs of life and measurements come whenever they like.
            if !matches!(
                event,
                NetEvent::LinkMeasured { .. } | NetEvent::Alive { .. }
            ) {
                return event;
            }
        }
    }

    /// Returns the next link that comes up.
    pub(crate) async fn link_up(&mut self) -> (LinkId, DeviceId) {
        loop {
            if let NetEvent::LinkUp { link, peer, .. } = self.next().await {
                return (link, peer);
            }
        }
    }

    /// Waits for the end of a link and returns what came before it.
    pub(crate) async fn link_down(&mut self, gone: LinkId) -> Vec<NetEvent> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                NetEvent::LinkDown { link } if link == gone => return before,
                event => before.push(event),
            }
        }
    }

    /// Returns where this node can be dialled.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.net.addresses()
    }

    /// Dials `other`, waits for a lane if both want one, and returns both ends of the link.
    pub(crate) async fn meet(&mut self, other: &mut Self) -> (LinkId, LinkId) {
        self.net
            .dial(other.device, &other.addresses(), Gate::Circle, ALPN);
        let (here, peer) = self.link_up().await;
        assert_eq!(peer, other.device);
        let (there, peer) = other.link_up().await;
        assert_eq!(peer, self.device);
        if self.lanes && other.lanes {
            wait_for(|| self.net.has_lane(here) && other.net.has_lane(there)).await;
        }
        (here, there)
    }
}

/// Waits until something is so; a test that waits for half a minute has failed.
pub(crate) async fn wait_for(so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it is so in time");
}

/// Returns two nodes, whose shards go on lanes or on QUIC streams.
pub(crate) async fn pair(lanes: bool) -> (Node, Node) {
    let node = |seed| {
        Node::start(NetConfig {
            lanes,
            ..config(seed)
        })
    };
    (node(1).await, node(2).await)
}

/// Returns bytes that look random but are the same every time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
