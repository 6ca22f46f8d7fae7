//! The beacon on the air: says that we are here, hears who else is.
//!
//! What a beacon means is the core's business. Here it is sealed, sent on every interface, heard,
//! opened and answered; beacons of strangers cost one look-up and leave no trace.

mod listen;
mod sockets;
mod timetable;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use carryall_core::{
    beacon::{BEACON_BYTES, Beacon, BeaconSeed, BeaconTable, Flags, Heard, NONCE_BYTES, Who},
    id::DeviceId,
    limits,
    time::Timestamp,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{config::BeaconConfig, event::NetEvent, gauge::Metered, place::Place};
use listen::{Caught, Sieve};
use sockets::{Mouth, Sockets};
use timetable::{Need, Timetable};

/// Answers within [`crate::Rhythm::reply`], over all peers. Above it everybody waits: those who come in
/// a crowd hear us anyway.
const ANSWERED_MAX: usize = 64;

/// What our beacons say, and under which names.
#[derive(Clone, Debug)]
pub struct BeaconVoice {
    /// Who speaks.
    pub device: DeviceId,
    /// The first is the device's own; a guest also speaks under the invite's, who lost every device
    /// under the rendezvous'. Empty: we only listen.
    pub seeds: Vec<BeaconSeed>,
    /// Said with every beacon: [`Flags::LOW_BATTERY`]. [`Flags::METERED`] is added where it costs.
    pub flags: Flags,
    /// Digest of what this node knows.
    pub news: [u8; 4],
    /// Nothing to do and nobody unknown near: the slower rhythm suffices.
    pub idle: bool,
    /// How many devices near are known: the more, the rarer each speaks.
    pub crowd: usize,
}

impl BeaconVoice {
    const fn need(&self) -> Need {
        Need {
            idle: self.idle,
            crowd: self.crowd,
        }
    }
}

/// What the beacon is told while it runs.
#[derive(Debug)]
pub(crate) enum Order {
    /// Speak like this, listen for those; for the same as before if none are named.
    Voice(BeaconVoice, Option<BeaconTable>),
    /// Speak now, and twice more soon.
    Announce,
}

/// The ports of the endpoint, by address family.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkPorts {
    pub(crate) v4: Option<u16>,
    pub(crate) v6: Option<u16>,
}

/// One running beacon.
pub(crate) struct Speaker {
    config: BeaconConfig,
    ports: LinkPorts,
    events: mpsc::Sender<NetEvent>,
    place: watch::Receiver<Place>,
    metered: watch::Receiver<Metered>,
    sieve: Arc<Sieve>,
    sockets: Sockets,
    /// The epoch in which the sockets were opened.
    epoch: Option<u32>,
    timetable: Timetable,
    voice: Option<BeaconVoice>,
    answered: BTreeMap<(Who, DeviceId), Instant>,
    boot: u32,
    seq: u32,
}

impl Speaker {
    pub(crate) fn new(
        config: BeaconConfig,
        ports: LinkPorts,
        events: mpsc::Sender<NetEvent>,
        mut place: watch::Receiver<Place>,
        metered: watch::Receiver<Metered>,
    ) -> Self {
        let sieve = Arc::new(Sieve::new(config.loopback_only));
        let interfaces = place.borrow_and_update().interfaces.clone();
        let sockets = Sockets::open(&config, &interfaces, &sieve);
        let timetable = Timetable::new(config.rhythm.clone());
        // Greater at every start, also at the second one within a second.
        let start = since_1970();
        Self {
            config,
            ports,
            events,
            place,
            metered,
            sieve,
            sockets,
            epoch: None,
            timetable,
            voice: None,
            answered: BTreeMap::new(),
            boot: u32::try_from(start.as_secs()).unwrap_or(u32::MAX),
            seq: start.subsec_nanos(),
        }
    }

    /// Speaks and listens until nobody gives orders any more.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            let due = self.timetable.due();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                caught = self.sockets.hear() => self.hear(&caught).await,
                changed = self.place.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.reopen();
                    self.timetable.announce(Instant::now(), random);
                }
                () = at(due) => {
                    self.speak().await;
                    let need = self.voice.as_ref().map_or(Need::default(), BeaconVoice::need);
                    self.timetable.spoken(Instant::now(), need, random);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let burst = match order {
            Order::Voice(voice, table) => {
                let before = self.voice.as_ref();
                let renamed = before.is_none_or(|before| before.seeds != voice.seeds);
                if before.is_some_and(|before| before.news != voice.news) {
                    self.timetable.hasten(Instant::now(), random);
                }
                if let Some(table) = table {
                    self.sieve.set(table);
                }
                self.voice = Some(voice);
                renamed
            }
            Order::Announce => self.voice.is_some(),
        };
        if burst {
            self.timetable.announce(Instant::now(), random);
        }
    }

    /// Speaks on every interface under every seed. Whoever has just come asks for answers, and who
    /// looks for somebody where few are; who only shows that it is still there doesn't.
    async fn speak(&mut self) {
        let Some(voice) = &self.voice else {
            return;
        };
        let asks = !voice.idle && voice.crowd < limits::CROWD;
        let kind = match self.timetable.is_burst() || asks {
            true => Flags::HELLO,
            false => Flags::default(),
        };
        let epoch = voice.seeds.first().map(|seed| seed.epoch(now()));
        if self.epoch != epoch {
            // The source port changes with the token, else it would tie tokens together.
            if self.epoch.is_some() {
                self.reopen();
            }
            self.epoch = epoch;
        } else if self.sockets.are_incomplete() {
            self.reopen();
        }
        let Some(voice) = &self.voice else {
            return;
        };
        self.seq = self.seq.saturating_add(1);
        for seed in &voice.seeds {
            for mouth in self.sockets.mouths() {
                for target in &mouth.targets {
                    if let Some(packet) = self.seal(voice, seed, kind, mouth) {
                        mouth.say(&packet, *target).await;
                    }
                }
            }
        }
    }

    async fn hear(&mut self, Caught { heard, from }: &Caught) {
        let Some(voice) = &self.voice else {
            return;
        };
        let mut address = *from;
        address.set_port(heard.beacon.quic_port);
        // A daemon that is too busy for beacons hears the next one.
        let _ = self.events.try_send(NetEvent::BeaconSeen {
            who: heard.who,
            beacon: heard.beacon,
            skew: heard.skew,
            address,
        });
        // Whoever knocks by a shared seed can't know ours.
        let seed = match heard.who {
            Who::Device(_) => voice.seeds.first().copied(),
            who => self.sieve.seed(who),
        };
        if let Some(seed) = seed
            && heard.beacon.flags.has(Flags::HELLO)
            && self.may_answer(heard)
        {
            self.answer(seed, *from).await;
        }
    }

    /// Allows one answer per peer and interval.
    fn may_answer(&mut self, heard: &Heard) -> bool {
        let (now, pause) = (Instant::now(), self.config.rhythm.reply);
        self.answered
            .retain(|_, last| now.duration_since(*last) < pause);
        let peer = (heard.who, heard.beacon.device);
        if self.answered.contains_key(&peer) || self.answered.len() >= ANSWERED_MAX {
            return false;
        }
        self.answered.insert(peer, now);
        true
    }

    /// Answers a hello to its sender alone.
    async fn answer(&mut self, seed: BeaconSeed, to: SocketAddr) {
        self.seq = self.seq.saturating_add(1);
        let (Some(voice), Some(mouth)) = (&self.voice, self.sockets.mouth_towards(to)) else {
            return;
        };
        if let Some(packet) = self.seal(voice, &seed, Flags::REPLY, mouth) {
            mouth.say(&packet, to).await;
        }
    }

    /// Returns a packet of our present beacon; nothing where no link could come in.
    fn seal(
        &self,
        voice: &BeaconVoice,
        seed: &BeaconSeed,
        kind: Flags,
        mouth: &Mouth,
    ) -> Option<[u8; BEACON_BYTES]> {
        let port = match mouth.interface.ip.is_ipv4() {
            true => self.ports.v4,
            false => self.ports.v6,
        };
        let costs = match self.metered.borrow().covers(Some(&mouth.interface)) {
            true => Flags::METERED,
            false => Flags::default(),
        };
        let beacon = Beacon {
            flags: voice.flags.with(kind).with(costs),
            quic_port: port?,
            boot: self.boot,
            seq: self.seq,
            device: voice.device,
            news: voice.news,
        };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        Some(beacon.seal(seed, now(), nonce))
    }

    fn reopen(&mut self) {
        let interfaces = self.place.borrow_and_update().interfaces.clone();
        self.sockets = Sockets::open(&self.config, &interfaces, &self.sieve);
    }
}

/// Waits until a moment, or for ever.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn since_1970() -> Duration {
    // A clock before 1970 is as wrong as one that stands at it.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn now() -> Timestamp {
    Timestamp(u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX))
}

/// Returns randomness for waits; a machine without any keeps even time.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
