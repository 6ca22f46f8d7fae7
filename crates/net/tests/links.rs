//! Links between two nodes: meeting, talking, misbehaving, parting.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod node;

use std::time::Duration;

use carryall_core::{
    codec,
    event::Gate,
    id::{DeviceId, ShardId},
    link::Route,
    message::{Farewell, Message},
};
use carryall_net::{NetConfig, NetEvent, SendError};
use iroh::{Endpoint, EndpointAddr, RelayMode, endpoint::presets};
use node::{ALPN, Node, config, noise, pair};
use tokio::time::timeout;

/// Links alone: whether a lane comes beside one is for the tests of lanes.
fn plain(seed: u8) -> NetConfig {
    NetConfig {
        lanes: false,
        ..config(seed)
    }
}

#[tokio::test]
async fn messages_arrive_in_order_and_farewell_comes_last() {
    let (mut a, mut b) = pair(false).await;
    let (here, there) = a.meet(&mut b).await;
    for number in 0..1000 {
        a.net.send(here, &Message::Ping(number)).unwrap();
    }
    a.net.close_link(here, Farewell::Done);
    let heard = b.link_down(there).await;
    let mut expected: Vec<_> = (0..1000).map(Message::Ping).collect();
    expected.push(Message::Farewell(Farewell::Done));
    let messages: Vec<_> = heard
        .into_iter()
        .map(|event| match event {
            NetEvent::Message { message, .. } => message,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(messages, expected);
    assert_eq!(a.link_down(here).await, []);
    assert_eq!(
        a.net.send(here, &Message::Ping(0)),
        Err(SendError::NoLink),
        "a link that is gone says so"
    );
}

#[tokio::test]
async fn both_ends_know_key_gate_and_class() {
    let (mut a, mut b) = pair(false).await;
    a.net.dial(b.device, &b.addresses(), Gate::Circle, ALPN);
    let (first, second) = (a.device, b.device);
    for (node, peer, dials) in [(&mut a, second, true), (&mut b, first, false)] {
        let NetEvent::LinkUp {
            peer: found,
            dialled,
            gate,
            facts,
            remote,
            ..
        } = node.next().await
        else {
            panic!("the link comes up first")
        };
        assert_eq!((found, dialled), (peer, dials));
        assert_eq!((gate, facts.route), (Gate::Circle, Route::SameMachine));
        assert!(!facts.metered && facts.rtt_us.is_some());
        assert!(remote.unwrap().ip().is_loopback());
    }
}

#[tokio::test]
async fn a_stranger_gets_no_answer() {
    let (mut a, mut b) = pair(false).await;
    a.net
        .dial(b.device, &b.addresses(), Gate::Circle, *b"fedcba9876543210");
    let device = b.device;
    assert_eq!(a.next().await, NetEvent::DialFailed { device });
    assert!(b.events.try_recv().is_err(), "nothing happened at the door");
    // The door still works.
    a.meet(&mut b).await;
}

#[tokio::test]
async fn somebody_elses_address_is_a_failed_dial() {
    let (mut a, b) = pair(false).await;
    let device = DeviceId(*iroh::SecretKey::from_bytes(&[9; 32]).public().as_bytes());
    a.net.dial(device, &b.addresses(), Gate::Circle, ALPN);
    assert_eq!(a.next().await, NetEvent::DialFailed { device });
    // No point of the curve.
    let device = DeviceId([0xff; 32]);
    a.net.dial(device, &b.addresses(), Gate::Circle, ALPN);
    assert_eq!(a.next().await, NetEvent::DialFailed { device });
}

#[tokio::test]
async fn gates_rotate_while_links_stay() {
    let (mut a, mut b) = pair(false).await;
    let (here, there) = a.meet(&mut b).await;
    let next = *b"0000111122223333";
    b.net.set_gates(vec![(next, Gate::Circle)]);
    a.net.send(here, &Message::Ping(1)).unwrap();
    let message = Message::Ping(1);
    assert_eq!(
        b.next().await,
        NetEvent::Message {
            link: there,
            message
        }
    );
    a.net.dial(b.device, &b.addresses(), Gate::Circle, next);
    a.link_up().await;
    b.link_up().await;
}

#[tokio::test]
async fn close_then_redial_works_at_once() {
    let (mut a, mut b) = pair(false).await;
    for _ in 0..5 {
        let (here, _) = a.meet(&mut b).await;
        a.net.give_up(here);
        a.link_down(here).await;
        // Without waiting until the other end noticed.
        let (here, _) = a.meet(&mut b).await;
        // Nor for the old link: dialling gives it up.
        let (again, _) = a.meet(&mut b).await;
        assert_ne!(here, again);
        a.net.send(again, &Message::Ping(1)).unwrap();
        while !matches!(b.next().await, NetEvent::Message { .. }) {}
        a.net.close_link(again, Farewell::Done);
        a.link_down(again).await;
    }
}

#[tokio::test]
async fn a_node_that_vanishes_is_a_link_down() {
    let (mut a, mut b) = pair(false).await;
    let (here, _) = a.meet(&mut b).await;
    b.net.close().await;
    a.link_down(here).await;
}

/// A peer made of the bare transport, which can say anything.
struct Rascal(Endpoint);

impl Rascal {
    async fn start() -> Self {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        let builder = builder.clear_ip_transports().bind_addr("127.0.0.1:0");
        Self(builder.unwrap().bind().await.unwrap())
    }

    async fn dial(&self, node: &Node) -> iroh::endpoint::Connection {
        let id = iroh::EndpointId::from_bytes(node.device.as_bytes()).unwrap();
        let address = EndpointAddr::new(id).with_ip_addr(node.addresses()[0]);
        self.0.connect(address, &ALPN).await.unwrap()
    }
}

#[tokio::test]
async fn garbage_ends_the_link_and_nothing_else() {
    let mut node = Node::start(plain(1)).await;
    let rascal = Rascal::start().await;
    let ping = codec::encode(&Message::Ping(1));
    let mut long_number = 3_u32.to_le_bytes().to_vec();
    // Variant Ping, then a number in two bytes where one would do.
    long_number.extend([ping[0], 0x80, 0x00]);
    let mut torn = 9_u32.to_le_bytes().to_vec();
    torn.extend(&ping);
    let says: Vec<Vec<u8>> = vec![
        u32::MAX.to_le_bytes().to_vec(),
        (64_u32 * 1024 + 1).to_le_bytes().to_vec(),
        0_u32.to_le_bytes().to_vec(),
        [4_u32.to_le_bytes(), [0xff; 4]].concat(),
        long_number,
        torn,
        vec![1, 0],
        [&60_000_u32.to_le_bytes()[..], &noise(1, 60_000)].concat(),
    ];
    for bytes in says {
        let connection = rascal.dial(&node).await;
        let (link, _) = node.link_up().await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        let before = node.link_down(link).await;
        assert_eq!(before, [NetEvent::Garbage { link }], "after {bytes:?}");
        timeout(Duration::from_secs(5), connection.closed())
            .await
            .expect("the rascal is thrown out");
    }
    let mut friend = Node::start(plain(2)).await;
    friend.meet(&mut node).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let mut node = Node::start(plain(1)).await;
    let rascal = Rascal::start().await;
    let connection = rascal.dial(&node).await;
    let (link, _) = node.link_up().await;
    let (mut send, _unread) = connection.open_bi().await.unwrap();
    send.write_all(&1_u32.to_le_bytes()).await.unwrap();
    let probes = vec![(ShardId([0xaa; 32]), 0); 1000];
    let message = Message::Challenge { nonce: 1, probes };
    let mut said = 0_u32;
    while node.net.send(link, &message).is_ok() {
        said += 1;
        assert!(said < 1000, "33 MB wait for a peer that reads nothing");
        tokio::task::yield_now().await;
    }
    node.link_down(link).await;
}

#[tokio::test]
async fn a_patient_sender_waits_instead() {
    let (mut a, mut b) = pair(false).await;
    let (here, there) = a.meet(&mut b).await;
    let probes = vec![(ShardId([0xaa; 32]), 0); 1000];
    let message = Message::Challenge { nonce: 1, probes };
    let net = a.net.clone();
    let sender = tokio::spawn(async move {
        for _ in 0..400 {
            net.send_patiently(here, &message).await.unwrap();
        }
        net.send(here, &Message::Idle).unwrap();
    });
    let mut heard = 0;
    loop {
        match b.next().await {
            NetEvent::Message { link, message } if link == there => match message {
                Message::Challenge { .. } => heard += 1,
                Message::Idle => break,
                other => panic!("unexpected {other:?}"),
            },
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(heard, 400);
    sender.await.unwrap();
    // Who waits when the link goes is told so.
    b.net.give_up(there);
    a.link_down(here).await;
    assert_eq!(
        a.net.send_patiently(here, &Message::Idle).await,
        Err(SendError::NoLink)
    );
}
