//! The world of the years: stations with real nodes, links that are as fast as they are, disks that
//! take what they are told, and nothing else. It decides nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use carryall_core::{
    entry::{Addresses, SignedEntry},
    event::{Command, Effect, Event, Gate, LinkId, Notice, Sink, Source, TransferError},
    id::{DeviceId, MemberId, ShardId},
    limits,
    meeting::{Network, Whereabouts},
    message::{Message, Refusal},
    placement,
    record::PackKind,
    time::{Span, Timestamp},
};

use super::{
    cast::{Cast, Spot},
    link::{Flight, Link, Way},
    packs::{Condition, Packs, WEIGHT},
    score::Score,
    station::{Rescue, Station},
};
use crate::{queue::Queue, rng::Rng};

/// What is new at a station is told by a beacon so soon.
const BEACON_SOON: Span = Span::secs(45);
/// A beacon goes out this often in any case: seldom enough to simulate years of them, often enough that
/// a meeting stays one meeting.
const BEACON_AGAIN: Span = Span::secs(25 * 60);
/// A node that wants to be woken in the past is woken after this long.
const SPIN: Span = Span::millis(20);
/// So many friends are asked for how soon they had something of a pack.
pub(super) const FEW: usize = 4;
/// Bytes of entries in a message.
const FRAME_BYTES: usize = limits::FRAME_BYTES_MAX - 1024;

/// What happens to a station.
#[derive(Debug)]
enum Deed {
    Event(usize, Event),
    Wake(usize),
    Beacon(usize),
    Landed(u64),
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) cast: Cast,
    pub(super) stations: Vec<Station>,
    pub(super) packs: Packs,
    pub(super) score: Score,
    pub(super) rng: Rng,
    devices: HashMap<DeviceId, usize>,
    feeds: HashMap<DeviceId, Vec<SignedEntry>>,
    links: BTreeMap<LinkId, Link>,
    flights: BTreeMap<u64, Flight>,
    numbers: u64,
    queue: Queue<Deed>,
    /// What happens now, in order.
    soon: VecDeque<(usize, Event)>,
    dirty: Vec<usize>,
}

impl World {
    pub(super) fn new(cast: Cast, now: Timestamp, rng: Rng) -> Self {
        Self {
            now,
            cast,
            stations: Vec::new(),
            packs: Packs::default(),
            score: Score::default(),
            rng,
            devices: HashMap::new(),
            feeds: HashMap::new(),
            links: BTreeMap::new(),
            flights: BTreeMap::new(),
            numbers: 0,
            queue: Queue::new(),
            soon: VecDeque::new(),
            dirty: Vec::new(),
        }
    }

    /// Adds a machine that is asleep, and returns its number.
    pub(super) fn add(&mut self, mut station: Station, entries: Vec<SignedEntry>) -> usize {
        for entry in &entries {
            station
                .node
                .replay(entry)
                .expect("what was written just now");
        }
        station.node.start(self.now);
        let number = self.stations.len();
        self.devices.insert(station.device, number);
        self.feeds.insert(station.device, entries);
        self.stations.push(station);
        self.act(number);
        number
    }

    /// Lets time pass.
    pub(super) fn run_until(&mut self, until: Timestamp) {
        self.settle();
        while let Some((at, deed)) = self.queue.pop(until) {
            self.now = self.now.max(at);
            match deed {
                Deed::Event(station, event) => self.soon.push_back((station, event)),
                Deed::Wake(station) => self.wake_node(station, at),
                Deed::Beacon(station) => self.beacon(station, at),
                Deed::Landed(flight) => self.landed(flight),
            }
            self.settle();
        }
        self.now = self.now.max(until);
    }

    /// Has a station's node do something.
    pub(super) fn command(&mut self, station: usize, command: Command) -> bool {
        let it = &mut self.stations[station];
        let clock = it.clock(self.now);
        let done = it.node.command(clock, command).is_ok();
        self.act(station);
        self.settle();
        done
    }

    /// A machine wakes up somewhere.
    pub(super) fn wake(&mut self, station: usize, spot: Spot) {
        let it = &mut self.stations[station];
        if it.gone || it.spot.is_some() {
            return;
        }
        it.spot = Some(spot);
        let network = Network([spot.network(); 8]);
        let whereabouts = Whereabouts {
            network,
            offset_minutes: 0,
        };
        let addresses = Addresses {
            direct: self.address(station).into_iter().collect(),
            relay: None,
        };
        self.soon.push_back((station, Event::Moved { whereabouts }));
        self.settle();
        // Whoever is elsewhere knows from our feed where to dial.
        self.command(station, Command::Locate { addresses });
        self.soon.push_back((station, Event::Arrived));
        self.settle();
        for other in self.company(station) {
            self.hear(station, other);
            self.hear(other, station);
        }
        self.schedule_beacon(station, BEACON_AGAIN);
        self.settle();
    }

    /// A machine falls asleep.
    pub(super) fn sleep(&mut self, station: usize) {
        let ends = self
            .links
            .iter()
            .filter(|(_, it)| it.ends.contains(&station));
        let links: Vec<LinkId> = ends.map(|(link, _)| *link).collect();
        for link in links {
            self.cut(link);
        }
        self.settle();
        self.stations[station].spot = None;
        self.stations[station].beacon = None;
    }

    /// A machine is never seen again.
    pub(super) fn lose(&mut self, station: usize) {
        self.sleep(station);
        self.stations[station].gone = true;
        self.packs.wipe(station, self.now);
    }

    /// Returns who is awake in the same place.
    pub(super) fn company(&self, station: usize) -> Vec<usize> {
        let Some(spot) = self.stations[station].spot else {
            return Vec::new();
        };
        let others = self.stations.iter().enumerate();
        others
            .filter(|(at, it)| *at != station && it.spot == Some(spot))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns how a station reaches another one now.
    fn way(&self, from: usize, to: usize) -> Option<Way> {
        let (from, to) = (self.stations[from].spot?, self.stations[to].spot?);
        if from == to {
            return Some(Way::Near(from));
        }
        let open = matches!(to, Spot::Home(home) if self.cast.open[home]);
        open.then_some(Way::Far)
    }

    /// Returns where a machine is dialled while it is awake. Machines in one place are in one network.
    fn address(&self, station: usize) -> Option<SocketAddr> {
        let network = self.stations[station].spot?.network();
        let [.., a, b] = station.to_be_bytes();
        Some(([10, network, a, b], 4747).into())
    }

    /// Tells whether a machine reaches another one now.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        from != to && self.way(from, to).is_some()
    }

    fn hear(&mut self, listener: usize, speaker: usize) {
        let it = &self.stations[speaker];
        if it.node.identity().circle.is_none() {
            return;
        }
        let event = Event::Near {
            device: it.device,
            news: it.node.news(),
            addresses: self.address(speaker).into_iter().collect(),
        };
        self.soon.push_back((listener, event));
    }

    fn schedule_beacon(&mut self, station: usize, after: Span) {
        let at = self.now + after;
        let it = &mut self.stations[station];
        if it.spot.is_some() && it.beacon.is_none_or(|known| known > at) {
            it.beacon = Some(at);
            self.queue.push(at, Deed::Beacon(station));
        }
    }

    fn beacon(&mut self, station: usize, at: Timestamp) {
        if self.stations[station].beacon != Some(at) {
            return;
        }
        self.stations[station].beacon = None;
        for other in self.company(station) {
            self.hear(other, station);
        }
        self.schedule_beacon(station, BEACON_AGAIN);
    }

    fn wake_node(&mut self, station: usize, at: Timestamp) {
        let it = &mut self.stations[station];
        if it.wake != Some(at) || it.spot.is_none() {
            return;
        }
        it.wake = None;
        let clock = it.clock(self.now);
        it.node.handle_timeout(clock);
        self.act(station);
    }

    /// Does everything that is to be done now.
    fn settle(&mut self) {
        while let Some((station, event)) = self.soon.pop_front() {
            let it = &mut self.stations[station];
            if it.gone || it.spot.is_none() && !is_heard_asleep(&event) {
                continue;
            }
            let clock = it.clock(self.now);
            it.node.handle_event(clock, event);
            self.act(station);
        }
        for station in std::mem::take(&mut self.dirty) {
            let it = &mut self.stations[station];
            let due = it.due().filter(|_| it.spot.is_some());
            let due = due.map(|at| if at <= self.now { self.now + SPIN } else { at });
            if due.is_some_and(|at| it.wake.is_none_or(|known| known > at || known <= self.now)) {
                it.wake = due;
                self.queue
                    .push(due.unwrap_or(self.now), Deed::Wake(station));
            }
        }
    }

    fn act(&mut self, station: usize) {
        while let Some(effect) = self.stations[station].node.poll_effect() {
            self.perform(station, effect);
        }
        if !self.dirty.contains(&station) {
            self.dirty.push(station);
        }
    }

    fn tell(&mut self, station: usize, event: Event) {
        self.soon.push_back((station, event));
    }

    fn say(&mut self, from: usize, link: LinkId, message: Message) {
        let Some(it) = self.links.get(&link) else {
            return;
        };
        let (to, delay) = (it.other(from), it.way.delay());
        let event = Event::Message { link, message };
        if delay == Span(0) {
            self.tell(to, event);
        } else {
            self.queue.push(self.now + delay, Deed::Event(to, event));
        }
    }

    /// Cuts a link. What of shards has come is kept.
    fn cut(&mut self, link: LinkId) {
        let Some(it) = self.links.remove(&link) else {
            return;
        };
        let flights: Vec<u64> = (self.flights.iter())
            .filter(|(_, flight)| flight.link == link)
            .map(|(number, _)| *number)
            .collect();
        for number in flights {
            if let Some(flight) = self.flights.remove(&number) {
                let came = flight.arrived(self.now);
                let to = &mut self.stations[flight.to];
                to.expected.remove(&(link, flight.shard));
                to.partial.insert(flight.shard, came);
            }
        }
        for end in it.ends {
            // What was said before arrives before.
            match it.way.delay() {
                Span(0) => self.tell(end, Event::LinkDown { link }),
                delay => {
                    let at = self.now + delay;
                    self.queue
                        .push(at, Deed::Event(end, Event::LinkDown { link }));
                }
            }
        }
    }

    fn dial(&mut self, from: usize, device: DeviceId, gate: Gate) {
        let to = self.devices.get(&device).copied();
        let found = to.and_then(|to| Some((to, self.way(from, to)?)));
        let Some((to, way)) = found else {
            return self.tell(from, Event::DialFailed { device });
        };
        self.numbers += 1;
        let link = LinkId(self.numbers);
        self.links.insert(link, Link::new(from, to, way));
        self.score.links += 1;
        for (end, peer, dialled) in [(from, to, true), (to, from, false)] {
            let peer = self.stations[peer].device;
            let event = Event::LinkUp {
                link,
                peer,
                dialled,
                gate,
                facts: way.facts(),
            };
            self.tell(end, event);
        }
    }

    fn perform(&mut self, me: usize, effect: Effect) {
        match effect {
            Effect::Dial { device, gate, .. } => self.dial(me, device, gate),
            Effect::Send { link, message } => self.say(me, link, message),
            Effect::SendEntries {
                link,
                device,
                from,
                to,
            } => self.say_entries(me, link, device, from, to),
            Effect::Close { link, farewell } => {
                self.say(me, link, Message::Farewell(farewell));
                self.cut(link);
            }
            Effect::GiveUp { link } => self.cut(link),
            Effect::Append {
                device,
                from,
                entries,
                own,
            } => {
                let feed = self.feeds.entry(device).or_default();
                if own {
                    feed.truncate(usize::try_from(from).unwrap_or(usize::MAX));
                    feed.extend(entries);
                    let len = feed.len() as u64;
                    self.tell(me, Event::Appended { len });
                }
                self.schedule_beacon(me, BEACON_SOON);
            }
            Effect::Reserve {
                link,
                shard,
                parcel,
                ..
            } => self.reserve(me, link, shard, parcel),
            Effect::Receive {
                link, shard, sink, ..
            } => {
                self.stations[me].expected.insert((link, shard), sink);
            }
            Effect::SendShard {
                link,
                shard,
                offset,
                source,
                ..
            } => self.send_shard(me, link, shard, offset, source),
            Effect::Limit { link, rate } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.limit(me, rate);
                }
            }
            Effect::Prove {
                link,
                nonce,
                shard,
                owner,
                group,
            } => self.prove(me, link, nonce, shard, owner, group),
            Effect::Discard { owner, shards, .. } => {
                let shards = self.move_shards(me, shards, true);
                self.tell(me, Event::Discarded { owner, shards });
            }
            Effect::Retrieve { owner, shards } => {
                let shards = self.move_shards(me, shards, false);
                self.tell(me, Event::Retrieved { owner, shards });
            }
            Effect::Erase { owner, shards } => {
                for shard in &shards {
                    self.packs.remove(me, *shard);
                }
                self.tell(me, Event::Erased { owner, shards });
            }
            Effect::DropParcels { owner, shards } => {
                for shard in &shards {
                    self.stations[me].parcels.remove(&(owner, *shard));
                }
                self.tell(me, Event::ParcelsDropped { owner, shards });
            }
            Effect::PackFetched { pack } => {
                let indices = self.stations[me]
                    .fetched
                    .remove(&pack.id)
                    .unwrap_or_default();
                let good = self.packs.rebuilds(&pack, &indices);
                self.tell(
                    me,
                    Event::PackUsed {
                        pack: pack.id,
                        good,
                    },
                );
            }
            Effect::Respool { pack } => {
                let fetched = self.stations[me].fetched.remove(&pack.id);
                let good = self.packs.rebuilds(&pack, &fetched.unwrap_or_default());
                let pack = pack.id;
                self.tell(me, Event::Respooled { pack, good });
            }
            Effect::PartRead { .. } => {}
            Effect::SetAside { pack } => self.tell(me, Event::SetAside { pack, good: true }),
            Effect::DropAside { pack } => drop(self.stations[me].fetched.remove(&pack)),
            Effect::Scrub { owner, shard } => {
                // Who drops shards does not look for them.
                let dropped = self.packs.copy(me, shard).map(|it| it.condition);
                let good = dropped == Some(Condition::Dropped) || self.read(me, owner, shard);
                self.tell(me, Event::Scrubbed { good });
            }
            Effect::Notify(notice) => self.noticed(me, notice),
            Effect::KeepDays { .. }
            | Effect::Remember { .. }
            | Effect::Adopt { .. }
            | Effect::Unspool { .. } => {}
        }
    }

    fn say_entries(&mut self, me: usize, link: LinkId, device: DeviceId, from: u64, to: u64) {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        let entries = self
            .feeds
            .get(&device)
            .and_then(|feed| feed.get(at(from)..at(to)));
        let mut run = Vec::new();
        let mut bytes = 0;
        for entry in entries.unwrap_or_default().to_vec() {
            bytes += entry.bytes.len() + 80;
            if bytes > FRAME_BYTES && !run.is_empty() {
                self.say(me, link, Message::Entries(std::mem::take(&mut run)));
                bytes = entry.bytes.len() + 80;
            }
            run.push(entry);
        }
        if !run.is_empty() {
            self.say(me, link, Message::Entries(run));
        }
    }

    fn reserve(&mut self, me: usize, link: LinkId, shard: ShardId, parcel: bool) {
        let there = !parcel && self.packs.copy(me, shard).is_some();
        let it = &self.stations[me];
        let outcome = if there {
            Err(Refusal::Have)
        } else if it.full {
            Err(Refusal::DiskFull)
        } else {
            Ok(it.partial.get(&shard).copied().unwrap_or(0))
        };
        let event = Event::Reserved {
            link,
            shard,
            outcome,
        };
        self.tell(me, event);
    }

    fn send_shard(&mut self, me: usize, link: LinkId, shard: ShardId, offset: u32, source: Source) {
        let readable = match source {
            Source::Own { .. } | Source::Parcel { .. } => true,
            Source::Shelf { owner } => self.read(me, owner, shard),
        };
        let bytes = self
            .packs
            .of(shard)
            .map_or(0, |it| it.record.coding.shard_bytes);
        let Some(it) = self.links.get_mut(&link).filter(|_| readable) else {
            let outcome = Err(TransferError::Disk);
            let event = Event::Sent {
                link,
                shard,
                outcome,
            };
            return self.tell(me, event);
        };
        let left = bytes.saturating_sub(offset);
        let (start, end) = it.send(me, left, self.now);
        let to = it.other(me);
        self.numbers += 1;
        let flight = Flight {
            link,
            from: me,
            to,
            shard,
            offset,
            bytes: left,
            start,
            end,
        };
        self.flights.insert(self.numbers, flight);
        self.queue.push(end, Deed::Landed(self.numbers));
    }

    /// Reads a whole shard from the shelf. What is damaged is found out, and told.
    fn read(&mut self, me: usize, owner: MemberId, shard: ShardId) -> bool {
        let good = self.packs.copy(me, shard).map(|it| it.condition) == Some(Condition::Good);
        if !good {
            self.packs.remove(me, shard);
            self.tell(me, Event::ShardLost { owner, shard });
        }
        good
    }

    fn landed(&mut self, number: u64) {
        let Some(flight) = self.flights.remove(&number) else {
            return;
        };
        let Flight {
            link,
            from,
            to,
            shard,
            bytes,
            ..
        } = flight;
        let far = self.links.get(&link).is_some_and(|it| it.way == Way::Far);
        self.score.moved(far, u64::from(bytes) * WEIGHT);
        let outcome = Ok(());
        let sent = Event::Sent {
            link,
            shard,
            outcome,
        };
        self.tell(from, sent);
        self.stations[to].partial.remove(&shard);
        match self.stations[to].expected.remove(&(link, shard)) {
            Some(Sink::Shelf { .. }) => {
                let member = self.stations[to].member;
                self.packs.keep(to, member, shard);
                self.spread(shard);
            }
            Some(Sink::Parcel { owner }) => {
                self.score.carried(u64::from(bytes) * WEIGHT);
                self.stations[to].parcels.insert((owner, shard));
            }
            Some(Sink::Fetch { pack, index }) => {
                let fetched = self.stations[to].fetched.entry(pack).or_default();
                fetched.insert(index);
            }
            None => return,
        }
        let received = Event::Received {
            link,
            shard,
            outcome,
        };
        self.tell(to, received);
    }

    /// Notes how long it took until friends had something of a pack.
    fn spread(&mut self, shard: ShardId) {
        let (now, others) = (self.now, self.cast.people.len() - 1);
        let id = self.packs.of(shard).map(|it| it.record.id);
        let Some(pack) = id.and_then(|id| self.packs.get_mut(id)) else {
            return;
        };
        let record = &pack.record;
        let holders = pack.holders();
        let all = placement::members_target(record.kind, &record.coding, others);
        for (spread, enough) in pack.spread.iter_mut().zip([FEW, all]) {
            if holders >= enough {
                spread.get_or_insert(now);
            }
        }
    }

    fn prove(
        &mut self,
        me: usize,
        link: LinkId,
        nonce: u64,
        shard: ShardId,
        owner: MemberId,
        group: u32,
    ) {
        let condition = self.packs.copy(me, shard).map(|it| it.condition);
        let seen = match condition {
            Some(Condition::Good) => true,
            // One group of many is damaged.
            Some(Condition::Rotten) => {
                let bytes = self.packs.of(shard).map_or(0, |it| it.shard_bytes());
                self.rng.below(bytes / limits::GROUP_BYTES as u64 + 1) > 0
            }
            Some(Condition::Dropped) | None => false,
        };
        let proof = self.packs.prove(shard).filter(|_| seen);
        if !seen && condition != Some(Condition::Dropped) {
            self.read(me, owner, shard);
        }
        let event = Event::Proof {
            link,
            nonce,
            shard,
            group,
            proof,
        };
        self.tell(me, event);
    }

    fn move_shards(&mut self, me: usize, shards: Vec<ShardId>, trashed: bool) -> Vec<ShardId> {
        let mut moved = shards;
        moved.retain(|shard| match self.packs.copy(me, *shard) {
            Some(copy) if copy.condition != Condition::Dropped => {
                copy.trashed = trashed;
                true
            }
            _ => false,
        });
        moved
    }

    fn noticed(&mut self, me: usize, notice: Notice) {
        match notice {
            Notice::Met { .. } => self.score.hellos += 1,
            Notice::PackSafe { pack } if self.stations[me].is_desk => {
                let now = self.now;
                if let Some(pack) = self.packs.get_mut(pack)
                    && pack.safe.is_none()
                {
                    pack.safe = Some(now);
                    if pack.record.kind != PackKind::Metadata {
                        self.score.waited(now.since(pack.record.made));
                    }
                }
            }
            Notice::NotProved { holder, .. } => {
                if let Some(holder) = self.devices.get(&holder) {
                    self.score.named(*holder, self.now);
                }
            }
            Notice::Fetched { pack } => {
                if let Some(Rescue { wanted, .. }) = &mut self.stations[me].rescue {
                    wanted.remove(&pack);
                }
                if let Some(pack) = self.packs.get(pack).filter(|_| self.stations[me].is_desk) {
                    let pack = pack.record.clone();
                    let clock = self.stations[me].clock(self.now);
                    // The files are back where they were, and the next backup finds them.
                    let available = true;
                    let command = Command::AddPack { pack, available };
                    let _ = self.stations[me].node.command(clock, command);
                }
            }
            _ => {}
        }
    }
}

/// Tells whether a machine that was switched off takes an event all the same: a link of its has ended, or
/// its own disk answers what it began, which it does before or after the sleep.
const fn is_heard_asleep(event: &Event) -> bool {
    matches!(
        event,
        Event::LinkDown { .. }
            | Event::Appended { .. }
            | Event::Discarded { .. }
            | Event::Retrieved { .. }
            | Event::Erased { .. }
            | Event::ParcelsDropped { .. }
            | Event::PackUsed { .. }
            | Event::Respooled { .. }
            | Event::SetAside { .. }
            | Event::Scrubbed { .. }
            | Event::ShardLost { .. }
    )
}
