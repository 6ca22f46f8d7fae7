use alloc::vec;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const EPOCH: u64 = EPOCH_SECS * 1000;
const OWN: DeviceId = DeviceId([200; 32]);

fn seed(n: u8) -> BeaconSeed {
    BeaconSeed::from([n; 32])
}

fn beacon(n: u8) -> Beacon {
    Beacon {
        flags: Flags::HELLO.with(Flags::METERED),
        quic_port: 47_470,
        boot: 7,
        seq: 3,
        device: DeviceId([n; 32]),
        news: [1, 2, 3, 4],
    }
}

fn table(now: Timestamp, around: u32) -> BeaconTable {
    let seeds = (1..=50).map(|n| (Who::Device(DeviceId([n; 32])), seed(n)));
    let shared = [
        (
            Who::Invite(InviteId([9; 32])),
            BeaconSeed::invite(&InviteId([9; 32])),
        ),
        (Who::Rendezvous(MemberId([8; 32])), seed(108)),
    ];
    BeaconTable::new(OWN, seeds.chain(shared), now, around)
}

#[test]
fn a_friend_is_recognised() {
    let table = table(NOW, EPOCHS_AROUND);
    for n in [1, 17, 50] {
        let packet = beacon(n).seal(&seed(n), NOW, [n; 12]);
        let heard = table.open(&packet, NOW).unwrap();
        assert_eq!(heard.who, Who::Device(DeviceId([n; 32])));
        assert_eq!(heard.beacon, beacon(n));
    }
    let invite = BeaconSeed::invite(&InviteId([9; 32]));
    let heard = table
        .open(&beacon(77).seal(&invite, NOW, [0; 12]), NOW)
        .unwrap();
    assert_eq!(heard.who, Who::Invite(InviteId([9; 32])));
    assert_eq!(heard.beacon.device, DeviceId([77; 32]));
    let heard = table
        .open(&beacon(78).seal(&seed(108), NOW, [0; 12]), NOW)
        .unwrap();
    assert_eq!(heard.who, Who::Rendezvous(MemberId([8; 32])));
}

#[test]
fn strangers_are_not() {
    let table = table(NOW, EPOCHS_AROUND);
    assert_eq!(
        table.open(&beacon(51).seal(&seed(51), NOW, [0; 12]), NOW),
        None
    );
    // A friend can't speak for another one.
    assert_eq!(
        table.open(&beacon(2).seal(&seed(1), NOW, [0; 12]), NOW),
        None
    );
    // Our own voice, under a seed that many share.
    let echo = Beacon {
        device: OWN,
        ..beacon(1)
    };
    assert_eq!(table.open(&echo.seal(&seed(108), NOW, [0; 12]), NOW), None);
}

#[test]
fn clocks_may_differ_by_one_epoch() {
    let packet = beacon(1).seal(&seed(1), NOW, [0; 12]);
    let known = |now, around| table(now, around).open(&packet, now).is_some();
    for now in [NOW.0 - EPOCH, NOW.0 + EPOCH] {
        assert!(known(Timestamp(now), EPOCHS_AROUND));
    }
    for now in [NOW.0 - 2 * EPOCH, NOW.0 + 2 * EPOCH] {
        assert!(!known(Timestamp(now), EPOCHS_AROUND));
        assert!(known(Timestamp(now), EPOCHS_AROUND_RESCUE));
    }
    for now in [NOW.0 - 96 * EPOCH, NOW.0 + 96 * EPOCH] {
        assert!(known(Timestamp(now), EPOCHS_AROUND_RESCUE));
    }
    assert!(!known(Timestamp(NOW.0 + 97 * EPOCH), EPOCHS_AROUND_RESCUE));
}

#[test]
fn a_beacon_tells_the_time_of_its_sender() {
    let table = table(NOW, EPOCHS_AROUND_RESCUE);
    for skew in [-96, -20, -1, 0, 1, 20, 96_i64] {
        let then = NOW.0.checked_add_signed(skew * EPOCH as i64).unwrap();
        let packet = beacon(1).seal(&seed(1), Timestamp(then), [0; 12]);
        let heard = table.open(&packet, NOW).unwrap();
        assert_eq!(i64::from(heard.skew), skew);
    }
}

#[test]
fn an_old_table_does_not_accept_old_packets() {
    let packet = beacon(1).seal(&seed(1), NOW, [0; 12]);
    let table = table(NOW, EPOCHS_AROUND);
    assert!(table.open(&packet, Timestamp(NOW.0 + EPOCH)).is_some());
    assert!(table.open(&packet, Timestamp(NOW.0 + 2 * EPOCH)).is_none());
    assert!(!table.is_stale(Timestamp(NOW.0 + EPOCH - 1)));
    assert!(table.is_stale(Timestamp(NOW.0 + EPOCH)));
    assert!(table.is_stale(Timestamp(NOW.0 - 1)));
}

/// A fresh table must last until it is called stale, whatever the seed's offset.
#[test]
fn a_table_lasts_until_it_is_stale() {
    let table = table(NOW, EPOCHS_AROUND);
    for n in 1..=50 {
        for later in [1, EPOCH / 2, EPOCH - 1] {
            let now = Timestamp(NOW.0 + later);
            let packet = beacon(n).seal(&seed(n), now, [0; 12]);
            assert!(table.open(&packet, now).is_some(), "{n} after {later}");
        }
    }
}

#[test]
fn devices_do_not_change_in_step() {
    let changes: BTreeSet<_> = (1..=50)
        .map(|n| {
            let first = seed(n).epoch(NOW);
            (0..EPOCH_SECS).find(|secs| seed(n).epoch(Timestamp(NOW.0 + secs * 1000)) != first)
        })
        .collect();
    assert!(changes.len() > 40, "{changes:?}");
}

/// Who listens in two places, or twice in one, has nothing to put together.
#[test]
fn packets_share_no_bytes() {
    let packets = [
        beacon(1).seal(&seed(1), NOW, [1; 12]),
        beacon(1).seal(&seed(1), Timestamp(NOW.0 + EPOCH), [2; 12]),
        beacon(2).seal(&seed(2), NOW, [3; 12]),
    ];
    for (i, one) in packets.iter().enumerate() {
        assert!(!one.windows(8).any(|w| w == [1; 8] && i != 0));
        for other in &packets[..i] {
            let parts: BTreeSet<_> = other.windows(8).collect();
            assert!(!one.windows(8).any(|part| parts.contains(part)));
        }
    }
}

#[test]
fn replays_are_refused() {
    let table = table(NOW, EPOCHS_AROUND);
    let mut guard = BeaconGuard::new();
    let mut hear = |boot, seq, nonce| {
        let beacon = Beacon {
            boot,
            seq,
            ..beacon(1)
        };
        let packet = beacon.seal(&seed(1), NOW, [nonce; 12]);
        guard.admit(&table.open(&packet, NOW).unwrap())
    };
    assert!(hear(7, 3, 0));
    assert!(!hear(7, 3, 0), "the same packet");
    assert!(hear(7, 3, 1), "the same beacon over another socket");
    assert!(hear(7, 4, 2));
    assert!(!hear(7, 3, 3), "an older count");
    assert!(!hear(6, 9, 4), "an older start");
    assert!(hear(8, 0, 5), "a new start");
}

#[test]
fn the_guard_stays_small() {
    let table = table(NOW, EPOCHS_AROUND);
    let mut guard = BeaconGuard::new();
    for i in 0..5000_u32 {
        let mut device = [0; 32];
        device[..4].copy_from_slice(&i.to_le_bytes());
        let beacon = Beacon {
            device: DeviceId(device),
            ..beacon(1)
        };
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&i.to_le_bytes());
        let packet = beacon.seal(&seed(108), NOW, nonce);
        assert!(guard.admit(&table.open(&packet, NOW).unwrap()));
    }
    assert!(guard.seen.len() == REPLAYS_MAX && guard.order.len() == REPLAYS_MAX);
    assert!(guard.counters.len() <= SENDERS_MAX);
}

#[test]
fn the_edges_of_time_are_no_trouble() {
    for now in [Timestamp(0), Timestamp(u64::MAX)] {
        let packet = beacon(1).seal(&seed(1), now, [0; 12]);
        assert!(
            table(now, EPOCHS_AROUND_RESCUE)
                .open(&packet, now)
                .is_some()
        );
    }
}

/// An independent implementation of the cipher, and the bytes as documented.
#[test]
fn golden_packet() {
    use chacha20poly1305::{
        ChaCha20Poly1305, KeyInit,
        aead::{Aead, Payload},
    };

    let packet = beacon(1).seal(&seed(1), NOW, [6; 12]);
    let golden = include_str!("../../../../testdata/protocol/beacon-v1.txt");
    assert_eq!(crate::id::hex(&packet), golden.trim());

    let epoch = seed(1).epoch(NOW);
    let derive = |purpose: &[u8]| {
        let input = [purpose, &epoch.to_le_bytes()].concat();
        *blake3::keyed_hash(&[1; 32], &input).as_bytes()
    };
    assert_eq!(packet[..16], derive(b"carryall beacon token v1")[..16]);
    let cipher = ChaCha20Poly1305::new(&derive(b"carryall beacon key v1").into());
    let sealed = Payload {
        msg: &packet[28..],
        aad: &packet[..16],
    };
    let plain = cipher.decrypt(&[6; 12].into(), sealed).unwrap();
    let mut expected = vec![1, 9];
    expected.extend(47_470_u16.to_le_bytes());
    expected.extend([7, 0, 0, 0, 3, 0, 0, 0]);
    expected.extend([1; 32]);
    expected.extend([1, 2, 3, 4]);
    expected.extend(epoch.to_le_bytes());
    assert_eq!(plain, expected);
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        flags: u8, quic_port: u16, boot: u32, seq: u32, news: [u8; 4], nonce: [u8; 12],
        secs in 0..4_000_000_000_u64,
    ) {
        let beacon = Beacon { flags: Flags(flags), quic_port, boot, seq, news, ..beacon(1) };
        let now = Timestamp(secs * 1000);
        let heard = table(now, EPOCHS_AROUND).open(&beacon.seal(&seed(1), now, nonce), now);
        prop_assert_eq!(heard.map(|heard| heard.beacon), Some(beacon));
    }

    #[test]
    fn any_damage_is_noticed(at in 0..BEACON_BYTES, bit in 0..8_u8) {
        let mut packet = beacon(1).seal(&seed(1), NOW, [0; 12]);
        packet[at] ^= 1 << bit;
        prop_assert_eq!(table(NOW, EPOCHS_AROUND).open(&packet, NOW), None);
    }

    #[test]
    fn any_packet_is_read_without_panic(mut packet in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        if known && packet.len() >= 16 {
            let good = beacon(1).seal(&seed(1), NOW, [0; 12]);
            packet[..16].copy_from_slice(&good[..16]);
        }
        prop_assert_eq!(table(NOW, EPOCHS_AROUND).open(&packet, NOW), None);
    }
}
