//! Lanes: where none comes about, where one breaks or is tampered with, and what outsiders see of one.
//!
//! All through a middlebox that forwards the datagrams and the connections of one port.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod node;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use carryall_core::{
    event::{Gate, LinkId, TransferError},
    id::ShardId,
    message::ShardHeader,
};
use carryall_net::{NetConfig, NetEvent, ShardSource, ShardTarget};
use node::{ALPN, Node, config, noise, wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// What lies between two nodes.
struct Middlebox {
    address: SocketAddr,
    /// All that passed on connections.
    seen: Arc<Mutex<Vec<u8>>>,
    /// Whether to flip a bit from now on.
    tampers: Arc<AtomicBool>,
    /// Where connections come in; closed where they are not forwarded.
    listener: Option<TcpListener>,
    /// Forwards connections, and ends them when dropped.
    connections: JoinSet<()>,
    _datagrams: JoinSet<()>,
}

impl Middlebox {
    /// Forwards datagrams to `target`.
    async fn before(target: SocketAddr) -> Self {
        let (front, listener) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The same number for both, which another test may have for datagrams.
            if let Ok(front) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (front, listener);
            }
        };
        let back = UdpSocket::bind("[::1]:0").await.unwrap();
        back.connect(target).await.unwrap();
        let address = front.local_addr().unwrap();
        let mut datagrams = JoinSet::new();
        datagrams.spawn(async move {
            let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
            let mut caller = None;
            loop {
                tokio::select! {
                    came = front.recv_from(&mut there) => {
                        let (bytes, from) = came.unwrap();
                        caller = Some(from);
                        let _ = back.send(&there[..bytes]).await;
                    }
                    came = back.recv(&mut here) => {
                        if let (Ok(bytes), Some(caller)) = (came, caller) {
                            let _ = front.send_to(&here[..bytes], caller).await;
                        }
                    }
                }
            }
        });
        Self {
            address,
            seen: Arc::default(),
            tampers: Arc::default(),
            listener: Some(listener),
            connections: JoinSet::new(),
            _datagrams: datagrams,
        }
    }

    /// Forwards connections too, each until it ends or [`Self::cut`].
    fn forward_connections(&mut self, target: SocketAddr) {
        let listener = self.listener.take().unwrap();
        let (seen, tampers) = (self.seen.clone(), self.tampers.clone());
        self.connections.spawn(async move {
            let mut forwarding = JoinSet::new();
            loop {
                let (front, _) = listener.accept().await.unwrap();
                let (seen, tampers) = (seen.clone(), tampers.clone());
                forwarding.spawn(async move {
                    let Ok(back) = TcpStream::connect(target).await else {
                        return;
                    };
                    let ((from_a, to_a), (from_b, to_b)) = (front.into_split(), back.into_split());
                    tokio::select! {
                        () = copy(from_a, to_b, &seen, &tampers) => {}
                        () = copy(from_b, to_a, &seen, &tampers) => {}
                    }
                });
            }
        });
    }

    /// Ends all connections; datagrams go on.
    fn cut(&mut self) {
        self.connections.abort_all();
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    seen: &Mutex<Vec<u8>>,
    tampers: &AtomicBool,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if tampers.load(Ordering::Relaxed) {
            buffer[bytes / 2] ^= 1;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..bytes]);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

/// Returns two nodes that can't reach each other but through a middlebox: they speak other protocols.
async fn walled() -> (Node, Node) {
    let at = |seed, bind: &str| NetConfig {
        bind: vec![bind.parse().unwrap()],
        ..config(seed)
    };
    (
        Node::start(at(1, "127.0.0.1:0")).await,
        Node::start(at(2, "[::1]:0")).await,
    )
}

/// Meets through a middlebox.
async fn meet(a: &mut Node, b: &mut Node, middlebox: &Middlebox) -> (LinkId, LinkId) {
    a.net
        .dial(b.device, &[middlebox.address], Gate::Circle, ALPN);
    (a.link_up().await.0, b.link_up().await.0)
}

/// Sends a shard and returns what came of it.
async fn send(
    (a, here): (&mut Node, LinkId),
    (b, there): (&mut Node, LinkId),
    content: &[u8],
) -> Result<(), TransferError> {
    let shard = ShardId(*blake3::hash(content).as_bytes());
    let bytes = u32::try_from(content.len()).unwrap();
    let target = ShardTarget::Memory { before: Vec::new() };
    b.net.expect_shard(there, shard, (bytes, 0), target);
    let header = ShardHeader {
        shard,
        offset: 0,
        bytes,
    };
    let source = ShardSource::Memory(content.to_vec().into());
    a.net.send_shard(here, header, source, 0);
    loop {
        if let NetEvent::ShardReceived { outcome, .. } = b.next().await {
            return outcome;
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[tokio::test]
async fn where_connections_do_not_get_through_shards_go_on_streams() {
    let (mut a, mut b) = walled().await;
    let mut middlebox = Middlebox::before(b.addresses()[0]).await;
    drop(middlebox.listener.take());
    let (here, there) = meet(&mut a, &mut b, &middlebox).await;
    let content = noise(1, 3 << 20);
    assert_eq!(
        send((&mut a, here), (&mut b, there), &content).await,
        Ok(())
    );
    assert!(!a.net.has_lane(here) && !b.net.has_lane(there));
}

#[tokio::test]
async fn outsiders_see_random_bytes() {
    let (mut a, mut b) = walled().await;
    let mut middlebox = Middlebox::before(b.addresses()[0]).await;
    middlebox.forward_connections(b.addresses()[0]);
    let (here, there) = meet(&mut a, &mut b, &middlebox).await;
    wait_for(|| a.net.has_lane(here) && b.net.has_lane(there)).await;
    let content = noise(2, 1 << 20);
    for _ in 0..2 {
        assert_eq!(
            send((&mut a, here), (&mut b, there), &content).await,
            Ok(())
        );
    }
    let seen = middlebox.seen.lock().unwrap();
    assert!(seen.len() > 2 << 20, "the shard went on the lane, twice");
    let shard = *blake3::hash(&content).as_bytes();
    for known in [&shard[..8], a.device.as_bytes(), b.device.as_bytes()] {
        assert!(!contains(&seen, known));
    }
    for place in (0..content.len()).step_by(65_521) {
        let end = content.len().min(place + 16);
        assert!(!contains(&seen, &content[place..end]), "at {place}");
    }
}

#[tokio::test]
async fn a_lane_that_is_tampered_with_ends_the_link_and_nothing_wrong_is_taken() {
    let (mut a, mut b) = walled().await;
    let mut middlebox = Middlebox::before(b.addresses()[0]).await;
    middlebox.forward_connections(b.addresses()[0]);
    let (here, there) = meet(&mut a, &mut b, &middlebox).await;
    wait_for(|| a.net.has_lane(here) && b.net.has_lane(there)).await;
    middlebox.tampers.store(true, Ordering::Relaxed);
    let content = noise(3, 1 << 20);
    let outcome = send((&mut a, here), (&mut b, there), &content).await;
    assert_eq!(outcome, Err(TransferError::LinkLost));
    b.link_down(there).await;
    a.link_down(here).await;
}

#[tokio::test]
async fn lanes_that_break_again_and_again_are_done_without() {
    let (mut a, mut b) = walled().await;
    let target = b.addresses()[0];
    for _ in 0..2 {
        let mut middlebox = Middlebox::before(target).await;
        middlebox.forward_connections(target);
        let (here, there) = meet(&mut a, &mut b, &middlebox).await;
        wait_for(|| a.net.has_lane(here) && b.net.has_lane(there)).await;
        middlebox.cut();
        a.link_down(here).await;
        b.link_down(there).await;
    }
    let mut middlebox = Middlebox::before(target).await;
    middlebox.forward_connections(target);
    let (here, there) = meet(&mut a, &mut b, &middlebox).await;
    let content = noise(4, 3 << 20);
    assert_eq!(
        send((&mut a, here), (&mut b, there), &content).await,
        Ok(())
    );
    assert!(!a.net.has_lane(here) && middlebox.seen.lock().unwrap().is_empty());
}
