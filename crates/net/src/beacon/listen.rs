//! Listening: many packets at a time, and few of them worth more than a look.
//!
//! Anybody on the network can send anything to the beacon's port. What isn't a friend's costs a share
//! of a system call and a look-up; under a flood, packets are taken in gulps, so that the process is
//! woken a few hundred times a second and no more.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use carryall_core::beacon::{BEACON_BYTES, BeaconGuard, BeaconSeed, BeaconTable, Heard, Who};
use noq_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep},
};

/// Pause after a socket error, so that a broken socket does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// So many packets of no use within [`FLOOD_LOOK`] make a flood.
const FLOOD_PACKETS: u32 = 100;
/// See [`FLOOD_PACKETS`].
const FLOOD_LOOK: Duration = Duration::from_millis(100);
/// Pause between two gulps of a flood. Twice as long would overrun the buffers that most kernels
/// allow.
const GULP: Duration = Duration::from_millis(3);

/// A beacon of somebody known, heard for the first time.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) heard: Heard,
    pub(super) from: SocketAddr,
}

/// What tells friends' beacons from the rest. Shared by all sockets.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// A socket on every address also hears groups that others joined elsewhere.
    local_only: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    table: Option<BeaconTable>,
    guard: BeaconGuard,
}

impl Sieve {
    pub(super) fn new(local_only: bool) -> Self {
        Self {
            local_only,
            state: Mutex::default(),
        }
    }

    /// Sets whose beacons to listen for.
    pub(super) fn set(&self, table: BeaconTable) {
        self.with(|state| state.table = Some(table));
    }

    /// Returns the seed that is listened to for `who`.
    pub(super) fn seed(&self, who: Who) -> Option<BeaconSeed> {
        self.with(|state| state.table.as_ref()?.seed(who))
    }

    /// Passes on what is worth it of a batch. Returns how many packets were not.
    fn sift<'a>(
        &self,
        batch: impl Iterator<Item = (&'a [u8], SocketAddr)>,
        caught: &mpsc::Sender<Caught>,
    ) -> u32 {
        let now = super::now();
        self.with(|state| {
            let State { table, guard } = state;
            if let Some(stale) = table.as_mut().filter(|table| table.is_stale(now)) {
                *stale = stale.renewed(now);
            }
            let mut useless = 0;
            for (bytes, from) in batch {
                let heard = table.as_ref().and_then(|table| {
                    let packet: &[u8; BEACON_BYTES] = bytes.try_into().ok()?;
                    let strange = self.local_only && !from.ip().is_loopback();
                    if strange || !table.knows(packet) || guard.has_seen(packet) {
                        return None;
                    }
                    let heard = table.open(packet, now)?;
                    guard.admit(&heard).then_some(heard)
                });
                match heard {
                    // A node that is too busy for beacons hears the next one.
                    Some(heard) => drop(caught.try_send(Caught { heard, from })),
                    None => useless += 1,
                }
            }
            useless
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // The state is whole between any two statements that could panic.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Passes on friends' beacons until the sockets are dropped.
pub(super) async fn listen(
    socket: Arc<UdpSocket>,
    sieve: Arc<Sieve>,
    caught: mpsc::Sender<Caught>,
) {
    let reader = match UdpSocketState::new((&*socket).into()) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::warn!(%error, "can't listen for beacons");
            return;
        }
    };
    // One byte more, to tell a longer packet from a beacon; the kernel may join packets of one sender.
    let length = (BEACON_BYTES + 1) * reader.gro_segments().get();
    let mut buffer = vec![0; length * BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut flood = Flood::new(Instant::now());
    loop {
        let read = socket.async_io(Interest::READABLE, || {
            let mut slices: Vec<_> = buffer.chunks_mut(length).map(IoSliceMut::new).collect();
            reader.recv((&*socket).into(), &mut slices, &mut metas)
        });
        let count = match read.await {
            Ok(count) => count,
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::debug!(%error, "beacon socket");
                    sleep(ERROR_PAUSE).await;
                }
                continue;
            }
        };
        let received = buffer.chunks(length).zip(&metas).take(count);
        let packets = received.flat_map(|(bytes, meta)| {
            let bytes = &bytes[..meta.len.min(length)];
            bytes
                .chunks(meta.stride.max(1))
                .map(|packet| (packet, meta.addr))
        });
        let useless = sieve.sift(packets, &caught);
        if flood.note(useless, Instant::now()) && count < BATCH_SIZE {
            sleep(GULP).await;
        }
    }
}

/// Tells a flood from the usual noise.
#[derive(Debug)]
struct Flood {
    since: Instant,
    useless: u32,
    is_on: bool,
}

impl Flood {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            useless: 0,
            is_on: false,
        }
    }

    /// Notes packets of no use. Tells whether they make a flood.
    fn note(&mut self, useless: u32, now: Instant) -> bool {
        self.useless = self.useless.saturating_add(useless);
        if now.duration_since(self.since) >= FLOOD_LOOK {
            self.is_on = self.useless >= FLOOD_PACKETS;
            (self.since, self.useless) = (now, 0);
        }
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use carryall_core::{
        beacon::{Beacon, EPOCHS_AROUND, Flags, NONCE_BYTES},
        id::DeviceId,
    };

    use super::*;

    fn at() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn only_friends_and_each_packet_once() {
        let seed = BeaconSeed::from([1; 32]);
        let friend = DeviceId([1; 32]);
        let beacon = |seq| Beacon {
            flags: Flags::HELLO,
            quic_port: 9,
            boot: 1,
            seq,
            device: friend,
            news: [0; 4],
        };
        let now = super::super::now();
        let packet = |seq: u32| {
            let mut nonce = [0; NONCE_BYTES];
            nonce[..4].copy_from_slice(&seq.to_le_bytes());
            beacon(seq).seal(&seed, now, nonce)
        };
        let sieve = Sieve::new(true);
        let (sender, mut caught) = mpsc::channel(16);
        let (one, two) = (packet(1), packet(2));
        assert_eq!(
            sieve.sift([(&one[..], at())].into_iter(), &sender),
            1,
            "no table yet"
        );
        let known = [(Who::Device(friend), seed)];
        sieve.set(BeaconTable::new(
            DeviceId([2; 32]),
            known,
            now,
            EPOCHS_AROUND,
        ));
        let mut forged = packet(3);
        forged[BEACON_BYTES - 1] ^= 1;
        let elsewhere = ([10, 0, 0, 1], 9).into();
        let batch: [(&[u8], SocketAddr); 7] = [
            (&one, at()),
            (&one, at()),
            (&[7; BEACON_BYTES], at()),
            (&one[1..], at()),
            (&forged, at()),
            (&two, elsewhere),
            (&two, at()),
        ];
        assert_eq!(sieve.sift(batch.into_iter(), &sender), 5);
        for seq in [1, 2] {
            assert_eq!(caught.try_recv().unwrap().heard.beacon.seq, seq);
        }
        assert!(caught.try_recv().is_err());
    }

    #[test]
    fn a_flood_begins_and_ends() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        assert!(!flood.note(50, start));
        assert!(!flood.note(10, start + FLOOD_LOOK), "the usual noise");
        assert!(!flood.note(500, start + FLOOD_LOOK));
        assert!(flood.note(1, start + 2 * FLOOD_LOOK));
        assert!(!flood.note(1, start + 3 * FLOOD_LOOK));
    }
}
