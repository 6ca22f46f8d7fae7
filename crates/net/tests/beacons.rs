//! Meeting by beacon, on the loopback interface alone.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod node;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use carryall_core::{
    beacon::{
        BEACON_BYTES, Beacon, BeaconSeed, BeaconTable, EPOCHS_AROUND, EPOCHS_AROUND_RESCUE, Flags,
        Who,
    },
    event::Gate,
    id::{DeviceId, InviteId},
    time::{Span, Timestamp},
};
use carryall_net::{BeaconConfig, BeaconVoice, Metered, NetConfig, NetEvent, Rhythm};
use node::{ALPN, Node, config};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::timeout};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis().try_into().unwrap())
}

/// Returns a seed of this process, so that two runs of these tests on one machine are strangers.
fn seed(number: u8) -> BeaconSeed {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&[number]);
    BeaconSeed::from(*hasher.finalize().as_bytes())
}

/// A configuration whose beacons answer each peer once and speak on `port`.
fn beaconing(number: u8, port: u16) -> NetConfig {
    let rhythm = Rhythm {
        reply: Duration::from_secs(3600),
        ..Rhythm::default()
    };
    NetConfig {
        beacon: Some(BeaconConfig {
            port,
            loopback_only: true,
            rhythm,
            ..BeaconConfig::default()
        }),
        ..config(number)
    }
}

impl Node {
    fn speak(&self, seeds: &[BeaconSeed], listen: &[(Who, BeaconSeed)]) {
        self.tell([7; 4], seeds, listen);
    }

    fn tell(&self, news: [u8; 4], seeds: &[BeaconSeed], listen: &[(Who, BeaconSeed)]) {
        let voice = self.voice(news, seeds);
        let listen = listen.iter().copied();
        let table = BeaconTable::new(self.device, listen, now(), EPOCHS_AROUND);
        self.net.set_beacon(voice, table);
    }

    fn voice(&self, news: [u8; 4], seeds: &[BeaconSeed]) -> BeaconVoice {
        BeaconVoice {
            device: self.device,
            seeds: seeds.to_vec(),
            flags: Flags::default(),
            news,
            idle: false,
            crowd: 0,
        }
    }

    async fn seen(&mut self) -> (Who, Beacon, SocketAddr) {
        loop {
            if let NetEvent::BeaconSeen {
                who,
                beacon,
                address,
                ..
            } = self.next().await
            {
                return (who, beacon, address);
            }
        }
    }
}

#[tokio::test]
async fn friends_see_each_other_and_dial() {
    let mut a = Node::start(beaconing(1, 47_501)).await;
    let mut b = Node::start(beaconing(2, 47_501)).await;
    let mut stranger = Node::start(beaconing(3, 47_501)).await;
    a.speak(&[seed(1)], &[(Who::Device(b.device), seed(2))]);
    stranger.speak(&[seed(3)], &[]);
    b.speak(&[seed(2)], &[(Who::Device(a.device), seed(1))]);
    let (who, beacon, address) = a.seen().await;
    assert_eq!(who, Who::Device(b.device));
    assert_eq!((beacon.device, beacon.news), (b.device, [7; 4]));
    assert_eq!(vec![address], b.addresses());
    let (who, _, address) = b.seen().await;
    assert_eq!(who, Who::Device(a.device));
    b.net.dial(a.device, &[address], Gate::Circle, ALPN);
    b.link_up().await;
    a.link_up().await;
    assert!(
        stranger.events.try_recv().is_err(),
        "nobody is recognised without their seed"
    );
}

#[tokio::test]
async fn a_newcomer_is_answered_at_once() {
    let mut resident = Node::start(beaconing(1, 47_502)).await;
    let mut newcomer = Node::start(beaconing(2, 47_502)).await;
    let known = [(Who::Device(newcomer.device), seed(2))];
    // Its burst says nothing, as if it were over: without a seed it only listens.
    resident.speak(&[], &known);
    tokio::time::sleep(Duration::from_millis(50)).await;
    resident.speak(&[seed(1)], &known);
    let device = resident.device;
    newcomer.speak(&[seed(2)], &[(Who::Device(device), seed(1))]);
    resident.seen().await;
    loop {
        let (who, heard, _) = newcomer.seen().await;
        assert_eq!(who, Who::Device(device));
        if heard.flags.has(Flags::REPLY) {
            assert!(!heard.flags.has(Flags::HELLO), "answers are not answered");
            break;
        }
    }
}

#[tokio::test]
async fn a_guest_and_a_member_meet_under_the_invite() {
    let mut member = Node::start(beaconing(1, 47_503)).await;
    let mut guest = Node::start(beaconing(2, 47_503)).await;
    let mut invite = InviteId([5; 32]);
    invite.0[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let door = (Who::Invite(invite), BeaconSeed::invite(&invite));
    member.speak(&[seed(1)], &[door]);
    guest.speak(&[door.1], &[door]);
    let (who, beacon, _) = member.seen().await;
    assert_eq!((who, beacon.device), (door.0, guest.device));
    let (who, beacon, _) = guest.seen().await;
    assert_eq!((who, beacon.device), (door.0, member.device));
    assert!(beacon.flags.has(Flags::REPLY));
}

#[tokio::test]
async fn hellos_are_answered_once_and_replays_never() {
    let port = 47_504;
    let mut node = Node::start(beaconing(1, port)).await;
    let friend = DeviceId([0xfe; 32]);
    node.speak(&[seed(1)], &[(Who::Device(friend), seed(2))]);
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UdpSocket::from_std(socket.into()).unwrap();
    let group = BeaconConfig::default().group_v4;
    let hello = |seq: u32| {
        let beacon = Beacon {
            flags: Flags::HELLO,
            quic_port: 9,
            boot: 1,
            seq,
            device: friend,
            news: [0; 4],
        };
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&seq.to_le_bytes());
        beacon.seal(&seed(2), now(), nonce)
    };
    let first = hello(1);
    for packet in [first, first, hello(2), first, hello(3)] {
        socket.send_to(&packet, (group, port)).await.unwrap();
    }
    // What is no beacon disturbs nobody.
    for junk in [&[][..], &first[..95], &[0; BEACON_BYTES], &[1; 1400]] {
        socket.send_to(junk, (group, port)).await.unwrap();
    }
    socket.send_to(&hello(4), (group, port)).await.unwrap();
    for seq in 1..=4 {
        assert_eq!(node.seen().await.1.seq, seq, "each hello once, in order");
    }
    let mut buffer = [0; 200];
    let (length, _) = timeout(Duration::from_secs(10), socket.recv_from(&mut buffer))
        .await
        .expect("an answer")
        .unwrap();
    let us = [(Who::Device(node.device), seed(1))];
    let table = BeaconTable::new(friend, us, now(), EPOCHS_AROUND);
    let heard = table.open(&buffer[..length], now()).unwrap();
    assert!(heard.beacon.flags.has(Flags::REPLY));
    // All hellos have been handled by now, so a second answer would be on its way.
    let second = timeout(Duration::from_millis(300), socket.recv_from(&mut buffer)).await;
    assert!(second.is_err(), "one answer per peer and interval");
}

#[tokio::test]
async fn a_friend_with_another_time_is_heard_by_who_looks_for_it() {
    let port = 47_507;
    let mut node = Node::start(beaconing(1, port)).await;
    let friend = DeviceId([0xfe; 32]);
    let listen = [(Who::Device(friend), seed(2))];
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let group = SocketAddr::from((BeaconConfig::default().group_v4, port));
    let say = |seq: u32, hours: u64| {
        let beacon = Beacon {
            flags: Flags::default(),
            quic_port: 9,
            boot: 1,
            seq,
            device: friend,
            news: [0; 4],
        };
        let then = now() + Span::hours(hours);
        let packet = beacon.seal(&seed(2), then, [seq.to_le_bytes()[0]; 12]);
        socket.send_to(&packet, &group.into()).unwrap();
    };
    node.speak(&[], &listen);
    say(1, 5);
    say(2, 0);
    let (_, beacon, _) = node.seen().await;
    assert_eq!(beacon.seq, 2, "usually nobody looks so far");
    let voice = node.voice([7; 4], &[]);
    let table = BeaconTable::new(node.device, listen, now(), EPOCHS_AROUND_RESCUE);
    node.net.set_beacon(voice, table);
    say(3, 5);
    loop {
        if let NetEvent::BeaconSeen { beacon, skew, .. } = node.next().await {
            assert_eq!((beacon.seq, skew), (3, 20));
            break;
        }
    }
}

#[tokio::test]
async fn a_beacon_tells_where_its_sender_pays_by_the_byte() {
    let a = Node::start(beaconing(1, 47_508)).await;
    let mut b = Node::start(beaconing(2, 47_508)).await;
    b.speak(&[], &[(Who::Device(a.device), seed(1))]);
    a.speak(&[seed(1)], &[]);
    assert!(!b.seen().await.1.flags.has(Flags::METERED));
    a.net.set_metered(Metered::Everywhere);
    a.net.announce();
    while !b.seen().await.1.flags.has(Flags::METERED) {}
}

#[tokio::test]
async fn who_knows_something_new_says_so_soon() {
    let mut config = beaconing(1, 47_506);
    if let Some(beacon) = &mut config.beacon {
        // The next regular one is half a minute away.
        beacon.rhythm.burst = vec![Duration::ZERO];
        (beacon.rhythm.told, beacon.rhythm.told_again) = Default::default();
    }
    let a = Node::start(config).await;
    let mut b = Node::start(beaconing(2, 47_506)).await;
    b.speak(&[], &[(Who::Device(a.device), seed(1))]);
    a.speak(&[seed(1)], &[]);
    assert_eq!(b.seen().await.1.news, [7; 4]);
    a.tell([8; 4], &[seed(1)], &[]);
    while b.seen().await.1.news != [8; 4] {}
}

#[tokio::test]
async fn a_closed_node_is_silent() {
    let mut a = Node::start(beaconing(1, 47_505)).await;
    let b = Node::start(beaconing(2, 47_505)).await;
    b.net.close().await;
    a.speak(&[seed(1)], &[(Who::Device(b.device), seed(2))]);
    b.speak(&[seed(2)], &[]);
    let heard = timeout(Duration::from_millis(300), a.seen()).await;
    assert!(heard.is_err());
}
