//! Whole nodes against each other, in memory: a shell that can't fail, unless told to.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format, vec,
};
use core::num::NonZeroU64;
use std::println;

use super::*;
use crate::{
    entry::{DeviceClass, Subject},
    event::{Gate, LinkClass, Sink, Source, TransferError},
    id::{CircleId, InviteId, SnapshotId},
    invite::InviteSecret,
    key::{Names, Words},
    link::{LinkFacts, Route},
    meeting::{Meeting, Network, Whereabouts},
    message::{GroupProof, Refusal},
    placement, proof,
    record::{Coding, PackKind},
    shard,
    time::Span,
};

mod aboard;
mod audits;
mod clock;
mod courier;
mod crowd;
mod fetch;
mod forget;
mod free;
mod heritage;
mod order;
mod outlook;
mod parcels;
mod presence;
mod reach;
mod read;
mod remove;
mod repair;
mod replay;
mod room;
mod scale;
mod scrub;
mod terms;
mod trash;
mod words;

extern crate std;

/// One device: a node and the shell around it.
struct Host {
    node: Node,
    up: bool,
    feeds: BTreeMap<DeviceId, Vec<SignedEntry>>,
    shelf: BTreeMap<(MemberId, ShardId), Vec<u8>>,
    trash: BTreeMap<(MemberId, ShardId), Vec<u8>>,
    parcels: BTreeMap<(MemberId, ShardId), Vec<u8>>,
    packs: BTreeMap<PackId, (PackRecord, Vec<u8>)>,
    expected: BTreeMap<(LinkId, ShardId), Sink>,
    fetched: BTreeMap<(PackId, u8), Vec<u8>>,
    restored: BTreeMap<PackId, Vec<u8>>,
    notices: Vec<Notice>,
    meetings: Vec<Meeting>,
    /// Answers every challenge with bytes it doesn't have.
    liar: bool,
    scrubbed: usize,
    unspooled: BTreeSet<PackId>,
    /// Answers no challenge at all.
    mute: bool,
    /// Answers so much later than it could.
    tardy: Span,
    /// Its disk takes nothing.
    full: bool,
    /// Packs of which something lies aside.
    aside: BTreeSet<PackId>,
    nothing_fits_aside: bool,
    /// Shards that came back.
    fetches: usize,
    read: BTreeMap<(ShardId, u32), Vec<u8>>,
}

/// Devices on one network.
struct World {
    hosts: BTreeMap<DeviceId, Host>,
    links: BTreeMap<LinkId, (DeviceId, DeviceId)>,
    queue: VecDeque<(DeviceId, Event)>,
    /// What happens later.
    later: Vec<(Timestamp, DeviceId, Event)>,
    now: Timestamp,
    next_link: u64,
    shard_bytes: u64,
    control_bytes: u64,
    /// Shards get stuck on the way.
    cut_off_bulk: bool,
    /// Shards that wait to be let through; nothing: all pass at once.
    waiting: Option<Vec<(DeviceId, LinkId, ShardId, Source)>>,
    /// What a device knows of its links from the start, if they are not near.
    facts: BTreeMap<DeviceId, LinkFacts>,
    rates: BTreeMap<(DeviceId, LinkId), Option<NonZeroU64>>,
    /// Nothing arrives, and no dial succeeds.
    silent: bool,
    dials: usize,
    /// How often anybody told a peer of entries of one feed.
    tellings: usize,
    /// How many groups anybody was asked to show.
    proofs: usize,
}

fn words(at: u8) -> Words {
    Words::generate([at; 16])
}

fn identity(at: u8) -> Identity {
    let names = Names {
        member: &format!("member {at}"),
        device: "laptop",
    };
    let root = words(at).root();
    Identity::create(&root, [at; 32], names, DeviceClass::Laptop, Timestamp(1)).unwrap()
}

impl World {
    /// A circle of its founder alone.
    fn new() -> (Self, DeviceId) {
        let now = Timestamp(1_700_000_000_000);
        let mut world = Self {
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            queue: VecDeque::new(),
            later: Vec::new(),
            now,
            next_link: 0,
            shard_bytes: 0,
            control_bytes: 0,
            cut_off_bulk: false,
            waiting: None,
            facts: BTreeMap::new(),
            rates: BTreeMap::new(),
            silent: false,
            dials: 0,
            tellings: 0,
            proofs: 0,
        };
        let (identity, entries) = found(identity(1), &[1; 32], now);
        let device = world.add(identity, entries);
        (world, device)
    }

    /// A circle of `count` members, joined by invites.
    fn circle(count: u8) -> (Self, Vec<DeviceId>) {
        let (mut world, founder) = Self::new();
        let mut devices = vec![founder];
        for at in 2..=count {
            let device = world.add(identity(at), Vec::new());
            world.join(founder, device, at, &format!("friend {at}"));
            devices.push(device);
        }
        world.everybody_near();
        world.run(Span::secs(30));
        (world, devices)
    }

    fn add(&mut self, identity: Identity, entries: Vec<SignedEntry>) -> DeviceId {
        let device = identity.device();
        let mut node = Node::new(identity, device.0, self.now);
        for entry in &entries {
            node.replay(entry).unwrap();
        }
        node.start(self.now);
        let host = Host {
            node,
            up: true,
            feeds: BTreeMap::from([(device, entries)]),
            shelf: BTreeMap::new(),
            trash: BTreeMap::new(),
            parcels: BTreeMap::new(),
            packs: BTreeMap::new(),
            expected: BTreeMap::new(),
            fetched: BTreeMap::new(),
            restored: BTreeMap::new(),
            notices: Vec::new(),
            meetings: Vec::new(),
            liar: false,
            scrubbed: 0,
            unspooled: BTreeSet::new(),
            mute: false,
            tardy: Span::default(),
            full: false,
            aside: BTreeSet::new(),
            nothing_fits_aside: false,
            fetches: 0,
            read: BTreeMap::new(),
        };
        self.hosts.insert(device, host);
        self.settle();
        device
    }

    fn join(&mut self, inviter: DeviceId, guest: DeviceId, secret: u8, petname: &str) {
        let secret = InviteSecret([secret; 16]);
        let id = secret.id();
        let petname = String::from(petname);
        self.command(inviter, Command::Invite { id, petname })
            .unwrap();
        self.knock(inviter, guest, secret, id);
        self.run(Span::secs(10));
    }

    fn knock(&mut self, door: DeviceId, guest: DeviceId, secret: InviteSecret, id: InviteId) {
        let circle = Some(self.circle_id(door));
        let doors = vec![(door, vec![])];
        let (gate, secret) = (Gate::Invite(id), Some(secret));
        self.command(
            guest,
            Command::Knock {
                circle,
                gate,
                secret,
                doors,
            },
        )
        .unwrap();
    }

    fn circle_id(&self, device: DeviceId) -> CircleId {
        self.hosts[&device].node.circle().id()
    }

    fn command(&mut self, device: DeviceId, command: Command) -> Result<(), CommandRefused> {
        let now = self.now;
        let result = self.host(device).node.command(now, command);
        self.settle();
        result
    }

    fn host(&mut self, device: DeviceId) -> &mut Host {
        self.hosts.get_mut(&device).unwrap()
    }

    fn node(&self, device: DeviceId) -> &Node {
        &self.hosts[&device].node
    }

    /// Lets everybody who is up hear everybody else's beacon.
    fn everybody_near(&mut self) {
        let up: Vec<(DeviceId, [u8; 4])> = self
            .hosts
            .iter()
            .filter(|(_, it)| it.up)
            .map(|(id, it)| (*id, it.node.news()))
            .collect();
        for (listener, _) in &up {
            for (device, news) in up.iter().filter(|(device, _)| device != listener) {
                let addresses = vec!["127.0.0.1:1".parse().unwrap()];
                let near = Event::Near {
                    device: *device,
                    news: *news,
                    addresses,
                };
                self.queue.push_back((*listener, near));
            }
        }
        self.settle();
    }

    /// Lets time pass, with a beacon every ten seconds.
    fn run(&mut self, span: Span) {
        let end = self.now + span;
        let mut beacon = self.now + Span::secs(10);
        while self.now < end {
            let due = self
                .hosts
                .values()
                .filter(|it| it.up)
                .filter_map(|it| it.node.poll_timeout())
                .min();
            let later = self.later.iter().map(|(at, ..)| *at).min();
            let due = due.into_iter().chain(later).min();
            let next = due.unwrap_or(end).min(beacon).min(end);
            self.now = next.max(self.now + Span::millis(1));
            let devices: Vec<DeviceId> = self.hosts.keys().copied().collect();
            for device in devices {
                let now = self.now;
                let host = self.host(device);
                if host.up && host.node.poll_timeout().is_some_and(|due| due <= now) {
                    host.node.handle_timeout(now);
                }
            }
            let now = self.now;
            for (_, device, event) in self.later.extract_if(.., |(at, ..)| *at <= now) {
                self.queue.push_back((device, event));
            }
            self.settle();
            if self.now >= beacon {
                beacon = self.now + Span::secs(10);
                self.everybody_near();
            }
        }
    }

    /// Does all effects and delivers all events until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let devices: Vec<DeviceId> = self.hosts.keys().copied().collect();
            for device in devices {
                while let Some(effect) = self.host(device).node.poll_effect() {
                    self.act(device, effect);
                }
            }
            let Some((device, event)) = self.queue.pop_front() else {
                return;
            };
            let now = self.now;
            let host = self.host(device);
            if host.up {
                host.node.handle_event(now, event);
            }
        }
    }

    fn tell(&mut self, device: DeviceId, event: Event) {
        self.queue.push_back((device, event));
    }

    fn other(&self, link: LinkId, device: DeviceId) -> Option<DeviceId> {
        let (one, two) = *self.links.get(&link)?;
        Some(if one == device { two } else { one })
    }

    fn deliver(&mut self, from: DeviceId, link: LinkId, message: Message) {
        self.control_bytes += crate::codec::encode(&message).len() as u64 + 4;
        if self.silent {
            return;
        }
        if let Some(to) = self.other(link, from) {
            self.tell(to, Event::Message { link, message });
        }
    }

    fn cut(&mut self, link: LinkId) {
        if let Some((one, two)) = self.links.remove(&link) {
            self.tell(one, Event::LinkDown { link });
            self.tell(two, Event::LinkDown { link });
        }
    }

    fn switch_off(&mut self, device: DeviceId) {
        self.host(device).up = false;
        let ends = self
            .links
            .iter()
            .filter(|(_, (one, two))| *one == device || *two == device);
        let links: Vec<LinkId> = ends.map(|(link, _)| *link).collect();
        links.into_iter().for_each(|link| self.cut(link));
        self.settle();
    }

    fn act(&mut self, me: DeviceId, effect: Effect) {
        match effect {
            Effect::Dial { device, gate, .. } => {
                self.dials += 1;
                if self.silent || !self.hosts.get(&device).is_some_and(|host| host.up) {
                    return self.tell(me, Event::DialFailed { device });
                }
                self.next_link += 1;
                let link = LinkId(self.next_link);
                self.links.insert(link, (me, device));
                let facts = |end| self.facts.get(&end).copied().unwrap_or(LinkFacts::near());
                let (ours, theirs) = (facts(me), facts(device));
                let up = |peer, dialled, facts| Event::LinkUp {
                    link,
                    peer,
                    dialled,
                    gate,
                    facts,
                };
                self.tell(me, up(device, true, ours));
                self.tell(device, up(me, false, theirs));
            }
            Effect::Send { link, message } => self.deliver(me, link, message),
            Effect::SendEntries {
                link,
                device,
                from,
                to,
            } => {
                self.tellings += 1;
                let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
                let entries = self.hosts[&me].feeds[&device][range].to_vec();
                for run in entries.chunks(8) {
                    self.deliver(me, link, Message::Entries(run.to_vec()));
                }
            }
            Effect::Close { link, farewell } => {
                self.deliver(me, link, Message::Farewell(farewell));
                self.cut(link);
            }
            Effect::GiveUp { link } => {
                // The other end finds out by itself.
                self.links.remove(&link);
                self.tell(me, Event::LinkDown { link });
            }
            Effect::Reserve { link, shard, .. } => {
                let outcome = match self.hosts[&me].full {
                    true => Err(Refusal::DiskFull),
                    false => Ok(0),
                };
                let answer = Event::Reserved {
                    link,
                    shard,
                    outcome,
                };
                self.tell(me, answer);
            }
            Effect::Receive {
                link, shard, sink, ..
            } => {
                self.host(me).expected.insert((link, shard), sink);
            }
            Effect::SendShard {
                link,
                shard,
                source,
                ..
            } => match &mut self.waiting {
                Some(waiting) => waiting.push((me, link, shard, source)),
                None => self.stream(me, link, shard, source),
            },
            Effect::Limit { link, rate } => drop(self.rates.insert((me, link), rate)),
            Effect::Prove {
                link,
                nonce,
                shard,
                owner,
                group,
            } => {
                let proof = self.prove(me, owner, shard, group);
                let answer = Event::Proof {
                    link,
                    nonce,
                    shard,
                    group,
                    proof,
                };
                self.proofs += 1;
                match &self.hosts[&me] {
                    host if host.mute => {}
                    host if host.tardy == Span::default() => self.tell(me, answer),
                    host => self.later.push((self.now + host.tardy, me, answer)),
                }
            }
            Effect::Append {
                device,
                from,
                entries,
                own,
            } => {
                let feed = self.host(me).feeds.entry(device).or_default();
                assert_eq!(feed.len() as u64, from, "appends continue the feed");
                feed.extend(entries);
                let len = feed.len() as u64;
                if own && !self.hosts[&me].full {
                    self.tell(me, Event::Appended { len });
                }
            }
            Effect::Discard { owner, shards, .. } => {
                self.host(me).move_shards(owner, &shards, true);
                self.tell(me, Event::Discarded { owner, shards });
            }
            Effect::Retrieve { owner, shards } => {
                self.host(me).move_shards(owner, &shards, false);
                self.tell(me, Event::Retrieved { owner, shards });
            }
            Effect::Erase { owner, shards } => {
                for shard in &shards {
                    self.host(me).trash.remove(&(owner, *shard)).unwrap();
                }
                self.tell(me, Event::Erased { owner, shards });
            }
            Effect::DropParcels { owner, shards } => {
                for shard in &shards {
                    self.host(me).parcels.remove(&(owner, *shard)).unwrap();
                }
                self.tell(me, Event::ParcelsDropped { owner, shards });
            }
            Effect::KeepDays { .. } => {}
            Effect::Respool { pack } => {
                let good = self.host(me).open(&pack);
                let sealed = self.host(me).restored.remove(&pack.id);
                if let Some(sealed) = sealed.filter(|_| good) {
                    self.host(me).packs.insert(pack.id, (pack.clone(), sealed));
                }
                let pack = pack.id;
                self.tell(me, Event::Respooled { pack, good });
            }
            Effect::Scrub { owner, shard } => {
                let host = self.host(me);
                let whole = |it: &Vec<u8>| blake3::hash(it).as_bytes() == shard.as_bytes();
                let good = host.shelf.get(&(owner, shard)).is_some_and(whole);
                host.scrubbed += 1;
                if !good {
                    host.shelf.remove(&(owner, shard));
                    self.tell(me, Event::ShardLost { owner, shard });
                }
                self.tell(me, Event::Scrubbed { good });
            }
            Effect::PackFetched { pack } => {
                let good = self.host(me).open(&pack);
                self.tell(
                    me,
                    Event::PackUsed {
                        pack: pack.id,
                        good,
                    },
                );
            }
            Effect::PartRead { shard, group, data } => {
                self.host(me).read.insert((shard, group), data);
            }
            Effect::SetAside { pack } => {
                let host = self.host(me);
                let good = !host.nothing_fits_aside;
                if good {
                    host.aside.insert(pack);
                } else {
                    host.fetched.retain(|(it, _), _| *it != pack);
                }
                self.tell(me, Event::SetAside { pack, good });
            }
            Effect::DropAside { pack } => assert!(self.host(me).aside.remove(&pack)),
            Effect::Notify(notice) => self.host(me).notices.push(notice),
            Effect::Remember { meeting } => self.host(me).meetings.push(meeting),
            Effect::Unspool { pack } => drop(self.host(me).unspooled.insert(pack)),
            Effect::Adopt { .. } => {}
        }
    }

    fn stream(&mut self, me: DeviceId, link: LinkId, id: ShardId, source: Source) {
        if self.cut_off_bulk {
            return;
        }
        let bytes = match source {
            Source::Shelf { owner } => self.hosts[&me].kept(owner, id).unwrap().clone(),
            Source::Parcel { owner } => self.hosts[&me].parcels[&(owner, id)].clone(),
            Source::Own { pack, index } => {
                let Some((record, sealed)) = self.hosts[&me].packs.get(&pack) else {
                    self.tell(me, Event::PackBroken { pack });
                    let outcome = Err(TransferError::SourceChanged);
                    let shard = id;
                    return self.tell(
                        me,
                        Event::Sent {
                            link,
                            shard,
                            outcome,
                        },
                    );
                };
                cut(sealed, &record.coding)[usize::from(index)].clone()
            }
        };
        self.shard_bytes += bytes.len() as u64;
        self.tell(
            me,
            Event::Sent {
                link,
                shard: id,
                outcome: Ok(()),
            },
        );
        let Some(peer) = self.other(link, me) else {
            return;
        };
        let Some(sink) = self.host(peer).expected.remove(&(link, id)) else {
            return;
        };
        match sink {
            Sink::Shelf { owner } => drop(self.host(peer).shelf.insert((owner, id), bytes)),
            Sink::Parcel { owner } => {
                drop(self.host(peer).parcels.insert((owner, id), bytes));
            }
            Sink::Fetch { pack, index } => {
                self.host(peer).fetches += 1;
                self.host(peer).fetched.insert((pack, index), bytes);
            }
        }
        self.tell(
            peer,
            Event::Received {
                link,
                shard: id,
                outcome: Ok(()),
            },
        );
    }

    fn prove(&self, me: DeviceId, owner: MemberId, id: ShardId, group: u32) -> Option<GroupProof> {
        let host = &self.hosts[&me];
        let bytes = host.kept(owner, id)?;
        let mut proof = prove(bytes, group)?;
        if host.liar {
            proof.data[0] ^= 1;
        }
        Some(proof)
    }

    /// Makes a pack of pseudo-random bytes at a device.
    fn back_up(&mut self, device: DeviceId, seed: u8, kind: PackKind, bytes: usize) -> PackId {
        let mut sealed = vec![0; bytes];
        blake3::Hasher::new_keyed(&[seed; 32])
            .finalize_xof()
            .fill(&mut sealed);
        let k = placement::data_shards(kind, self.node(device).friends());
        let coding = Coding::new(k, bytes).unwrap();
        let shards = cut(&sealed, &coding);
        let record = PackRecord {
            id: PackId(*blake3::hash(&sealed).as_bytes()),
            epoch: 0,
            kind,
            bytes: u32::try_from(bytes).unwrap(),
            made: self.now,
            newest: self.now,
            coding,
            shards: shards
                .iter()
                .map(|it| ShardId(*blake3::hash(it).as_bytes()))
                .collect(),
        };
        let id = record.id;
        self.host(device).packs.insert(id, (record.clone(), sealed));
        self.command(
            device,
            Command::AddPack {
                pack: record,
                available: true,
            },
        )
        .unwrap();
        id
    }

    fn safe(&self, device: DeviceId) -> bool {
        let safety = self.node(device).safety(self.now);
        safety.packs > 0 && safety.bytes_only_here() == 0
    }
}

impl Host {
    fn open(&mut self, record: &PackRecord) -> bool {
        let have: Vec<(u8, Vec<u8>)> = (0..record.coding.n)
            .filter_map(|index| Some((index, self.fetched.remove(&(record.id, index))?)))
            .collect();
        let have: Vec<(u8, &[u8])> = have.iter().map(|(at, it)| (*at, it.as_slice())).collect();
        let Ok(sealed) = shard::rebuild(&record.coding, &have, record.bytes as usize) else {
            return false;
        };
        let good = blake3::hash(&sealed).as_bytes() == record.id.as_bytes();
        self.restored.insert(record.id, sealed.to_vec());
        good
    }

    fn kept(&self, owner: MemberId, shard: ShardId) -> Option<&Vec<u8>> {
        let key = (owner, shard);
        self.shelf.get(&key).or_else(|| self.trash.get(&key))
    }

    fn move_shards(&mut self, owner: MemberId, shards: &[ShardId], to_trash: bool) {
        let (from, to) = match to_trash {
            true => (&mut self.shelf, &mut self.trash),
            false => (&mut self.trash, &mut self.shelf),
        };
        for shard in shards {
            let key = (owner, *shard);
            to.insert(key, from.remove(&key).unwrap());
        }
    }

    fn kept_bytes(&self, owner: MemberId) -> usize {
        self.shelf
            .iter()
            .filter(|((whose, _), _)| *whose == owner)
            .map(|(_, it)| it.len())
            .sum()
    }
}

fn prove(bytes: &[u8], group: u32) -> Option<GroupProof> {
    let (_, values) = proof::group_values(bytes);
    let start = group as usize * limits::GROUP_BYTES;
    let data = bytes[start..bytes.len().min(start + limits::GROUP_BYTES)].to_vec();
    proof::prove(&values, bytes.len() as u64, group, data).ok()
}

fn cut(sealed: &[u8], coding: &Coding) -> Vec<Vec<u8>> {
    shard::encode(sealed, coding)
        .unwrap()
        .into_iter()
        .map(|it| it.to_vec())
        .collect()
}

#[test]
fn founder_invites_and_all_know_all() {
    let (world, devices) = World::circle(4);
    for device in &devices {
        assert_eq!(world.node(*device).circle().members().count(), 4);
        assert_eq!(world.node(*device).news(), world.node(devices[0]).news());
    }
    let names: Vec<String> = world
        .node(devices[0])
        .members(world.now)
        .into_iter()
        .map(|it| it.petname)
        .collect();
    assert!(names.contains(&String::from("friend 3")), "{names:?}");
    assert!(world.links.is_empty(), "idle links are closed");
}

#[test]
fn alone_nothing_is_safe() {
    let (mut world, device) = World::new();
    world.back_up(device, 9, PackKind::Large, 100_000);
    world.run(Span::hours(1));
    let safety = world.node(device).safety(world.now);
    assert_eq!(
        (safety.packs, safety.bytes_only_here(), safety.target),
        (1, 100_000, 0)
    );
}

#[test]
fn one_friend_makes_it_safe_only_by_proof() {
    let (mut world, devices) = World::circle(2);
    world.host(devices[1]).liar = true;
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(5));
    let owner = world.node(devices[0]).member();
    assert_eq!(
        world.hosts[&devices[1]].kept_bytes(owner),
        100_000,
        "the shard lies there"
    );
    assert!(
        !world.safe(devices[0]),
        "but what can't be proved doesn't count"
    );
    let named =
        |it: &Notice| matches!(it, Notice::NotProved { holder, .. } if *holder == devices[1]);
    assert!(
        world.hosts[&devices[0]].notices.iter().any(named),
        "the liar is named"
    );

    let (mut world, devices) = World::circle(2);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(5));
    assert!(world.safe(devices[0]));
    let all = |it: &Notice| matches!(it, Notice::AllSafe { .. });
    assert_eq!(
        world.hosts[&devices[0]]
            .notices
            .iter()
            .filter(|it| all(it))
            .count(),
        1
    );
}

#[test]
fn five_members_settle_on_k_of_n() {
    let (mut world, devices) = World::circle(5);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.back_up(devices[0], 8, PackKind::Metadata, 5_000);
    world.run(Span::secs(60));
    let owner = world.node(devices[0]).member();
    let kept = |at: usize| world.hosts[&devices[at]].kept_bytes(owner);
    assert!(
        (1..5).all(|at| kept(at) >= 5_000 + 50_000),
        "metadata everywhere, a half each"
    );
    let safety = world.node(devices[0]).safety(world.now);
    assert_eq!(
        (safety.health_min, safety.target),
        (3, 3),
        "any two of four friends suffice"
    );
    assert_eq!(safety.packs_below_target, 0);
}

#[test]
fn nothing_new_moves_no_shard_and_few_bytes() {
    let (mut world, devices) = World::circle(3);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    let (shards, control) = (world.shard_bytes, world.control_bytes);
    world.run(Span::hours(19));
    assert_eq!(world.shard_bytes, shards);
    assert_eq!(
        world.control_bytes, control,
        "nothing to tell, no connection"
    );
    world.run(Span::days(1));
    assert_eq!(world.shard_bytes, shards);
    assert!(world.control_bytes > control, "proofs are renewed");
    assert!(world.safe(devices[0]));
}

#[test]
fn proofs_grow_old() {
    let (mut world, devices) = World::circle(2);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(30));
    assert!(world.safe(devices[0]));
    world.switch_off(devices[1]);
    world.run(Span::days(29));
    assert!(world.safe(devices[0]));
    world.run(Span::days(2));
    assert!(!world.safe(devices[0]), "a month without proof is not safe");
    world.host(devices[1]).up = true;
    world.run(Span::secs(60));
    assert!(world.safe(devices[0]));
}

#[test]
fn offers_are_never_overrun() {
    let (mut world, devices) = World::circle(2);
    let owner = world.node(devices[0]).member();
    world
        .command(
            devices[1],
            Command::Offer {
                to: owner,
                bytes: 250_000,
            },
        )
        .unwrap();
    world.run(Span::secs(20));
    for seed in 0..5 {
        world.back_up(devices[0], seed, PackKind::Large, 100_000);
    }
    world.run(Span::secs(60));
    assert_eq!(world.hosts[&devices[1]].kept_bytes(owner), 200_000);
    assert!(!world.safe(devices[0]));
    world
        .command(
            devices[1],
            Command::Offer {
                to: owner,
                bytes: 1_000_000,
            },
        )
        .unwrap();
    world.run(Span::secs(60));
    assert!(world.safe(devices[0]), "a larger offer is used at once");
}

#[test]
fn an_invite_is_good_for_one_member() {
    let (mut world, founder) = World::new();
    let first = world.add(identity(2), Vec::new());
    world.join(founder, first, 7, "first");
    let second = world.add(identity(3), Vec::new());
    let secret = InviteSecret([7; 16]);
    let id = secret.id();
    world.knock(founder, second, secret, id);
    world.run(Span::secs(10));
    assert_eq!(world.node(founder).circle().members().count(), 2);
    let refused = |it: &Notice| {
        matches!(
            it,
            Notice::TurnedAway {
                farewell: Farewell::InviteUsed,
                ..
            }
        )
    };
    assert!(world.hosts[&second].notices.iter().any(refused));
}

#[test]
fn a_friend_completes_an_invite_for_the_inviter() {
    let (mut world, devices) = World::circle(2);
    let secret = InviteSecret([9; 16]);
    let id = secret.id();
    world
        .command(
            devices[0],
            Command::Invite {
                id,
                petname: String::from("guest"),
            },
        )
        .unwrap();
    world.run(Span::secs(20));
    world.switch_off(devices[0]);
    let guest = world.add(identity(3), Vec::new());
    world.knock(devices[1], guest, secret, id);
    world.run(Span::secs(20));
    assert_eq!(world.node(guest).circle().members().count(), 3);
}

#[test]
fn words_and_one_friend_bring_everything_back() {
    for survivor in [1, 2] {
        let (mut world, devices) = World::circle(3);
        let packs: BTreeSet<PackId> = (0..20)
            .map(|at| world.back_up(devices[0], at, PackKind::Large, 50_000))
            .collect();
        world.run(Span::secs(60));
        assert!(world.safe(devices[0]));
        let records: Vec<PackRecord> = world.hosts[&devices[0]]
            .packs
            .values()
            .map(|(record, _)| record.clone())
            .collect();
        for lost in [0, 3 - survivor] {
            world.switch_off(devices[lost]);
        }

        let names = Names {
            member: "member 1",
            device: "new laptop",
        };
        let root = words(1).root();
        let identity =
            Identity::recover(&root, [99; 32], names, DeviceClass::Laptop, world.now).unwrap();
        let device = world.add(identity, Vec::new());
        world.join(devices[survivor], device, 50, "");
        world.run(Span::secs(20));
        assert!(
            world.node(device).vault_keys().is_some(),
            "the words open the vault"
        );
        world
            .command(device, Command::Fetch { packs: records })
            .unwrap();
        world.run(Span::secs(20));
        let restored: BTreeSet<PackId> = world.hosts[&device].restored.keys().copied().collect();
        assert_eq!(restored, packs);
        assert_eq!(world.node(device).wanted_packs().count(), 0);
    }
}

#[test]
fn three_of_six_friends_bring_a_coded_pack_back() {
    let (mut world, devices) = World::circle(7);
    world.back_up(devices[0], 1, PackKind::Large, 90_000);
    world.run(Span::secs(120));
    let record = world.hosts[&devices[0]]
        .packs
        .values()
        .next()
        .unwrap()
        .0
        .clone();
    assert_eq!(record.coding.k, 3);
    for lost in [0, 1, 3, 5] {
        world.switch_off(devices[lost]);
    }
    let names = Names {
        member: "member 1",
        device: "new laptop",
    };
    let identity = Identity::recover(
        &words(1).root(),
        [99; 32],
        names,
        DeviceClass::Laptop,
        world.now,
    );
    let device = world.add(identity.unwrap(), Vec::new());
    world.join(devices[2], device, 50, "");
    world.run(Span::secs(20));
    world
        .command(
            device,
            Command::Fetch {
                packs: vec![record.clone()],
            },
        )
        .unwrap();
    world.run(Span::secs(60));
    assert!(world.hosts[&device].restored.contains_key(&record.id));
    println!("{} bytes of control messages", world.control_bytes);
}

#[test]
fn a_link_is_judged_anew_when_more_is_known_of_it() {
    let (mut world, devices) = World::circle(2);
    world.cut_off_bulk = true;
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    let link = *world.links.keys().next().unwrap();
    let class = |world: &World| world.node(devices[0]).encounters[&link].class;
    assert_eq!(class(&world), LinkClass::Lan);
    for (rtt_us, route, expected) in [
        (60_000, Route::OnLink, LinkClass::Direct),
        (60_000, Route::OnLink, LinkClass::Direct),
        (400, Route::Routed, LinkClass::Lan),
    ] {
        let facts = LinkFacts {
            rtt_us: Some(rtt_us),
            route,
            ..LinkFacts::near()
        };
        world.tell(devices[0], Event::Measured { link, facts });
        world.settle();
        assert_eq!(class(&world), expected);
    }
    let judged = |it: &&Notice| matches!(it, Notice::Judged { .. });
    let notices = &world.hosts[&devices[0]].notices;
    assert_eq!(
        notices.iter().filter(judged).count(),
        2,
        "only what changed"
    );
}

#[test]
fn a_device_without_membership_is_turned_away() {
    let (mut world, founder) = World::new();
    let (other, entries) = found(identity(5), &[5; 32], world.now);
    let stranger = world.add(other, entries);
    world.next_link += 1;
    let link = LinkId(world.next_link);
    world.links.insert(link, (stranger, founder));
    let (gate, facts) = (Gate::Circle, LinkFacts::near());
    world.tell(
        stranger,
        Event::LinkUp {
            link,
            peer: founder,
            dialled: true,
            gate,
            facts,
        },
    );
    world.tell(
        founder,
        Event::LinkUp {
            link,
            peer: stranger,
            dialled: false,
            gate,
            facts,
        },
    );
    world.settle();
    assert!(world.links.is_empty());
    assert_eq!(
        world.hosts[&founder].feeds.len(),
        1,
        "nothing was told or taken"
    );
    assert_eq!(world.hosts[&stranger].feeds.len(), 1);
}

/// Found by the simulator, seed 1: a shard that was repaired after a failed proof was not asked for a
/// proof again, so it was offered again and again, in one encounter after the other.
#[test]
fn a_lost_shard_is_put_again_and_proved() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    let pack = world.back_up(owner, 1, PackKind::Metadata, 5000);
    world.run(Span::secs(30));
    assert!(world.safe(owner));
    let (member, shard) = (world.node(owner).member(), ShardId(pack.0));
    world.host(holder).shelf.remove(&(member, shard)).unwrap();
    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(5));
    assert!(!world.safe(owner), "a proof failed");
    world.tell(
        holder,
        Event::ShardLost {
            owner: member,
            shard,
        },
    );
    world.run(Span::secs(60));
    assert!(world.safe(owner));
    let links = world.next_link;
    world.run(Span::secs(300));
    assert_eq!(world.next_link, links, "nothing is left to do");
}

/// As above, with a holder that insists on having what it can't prove.
#[test]
fn a_liar_is_not_asked_forever() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    world.back_up(owner, 1, PackKind::Metadata, 5000);
    world.run(Span::secs(30));
    world.host(holder).liar = true;
    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(120));
    assert!(!world.safe(owner));
    let links = world.next_link;
    world.run(Span::secs(300));
    assert_eq!(world.next_link, links);
}

/// Found by the simulator, seed 4: the holder waited for ever for a shard that the owner could not make
/// any more, and the link never closed.
#[test]
fn a_sender_that_cant_make_a_shard_says_so() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    world.switch_off(holder);
    let pack = world.back_up(owner, 1, PackKind::Large, 300_000);
    world.host(owner).packs.remove(&pack);
    world.host(holder).up = true;
    world.run(Span::secs(60));
    assert!(world.node(holder).underway().is_empty());
    assert!(world.links.is_empty());
}

/// Found by the simulator, seed 2: others' feeds are not synced, so a power cut may lose all of them.
/// The device then knew nobody, turned everybody away but the founder, and never learnt better.
#[test]
fn a_device_that_lost_the_others_feeds_learns_them_from_anybody() {
    let (mut world, devices) = World::circle(3);
    let (founder, friend, loser) = (devices[0], devices[1], devices[2]);
    world.switch_off(founder);
    world.switch_off(loser);
    let now = world.now;
    let host = world.host(loser);
    let own = host.feeds.remove(&loser).unwrap();
    let mut node = Node::new(host.node.identity().clone(), [9; 32], now);
    own.iter().for_each(|entry| node.replay(entry).unwrap());
    node.start(now);
    host.feeds = BTreeMap::from([(loser, own)]);
    (host.node, host.up) = (node, true);
    assert_eq!(world.node(loser).circle().members().count(), 0);
    world.run(Span::secs(60));
    assert_eq!(world.node(loser).circle().members().count(), 3);
    assert_eq!(world.node(loser).tips(), world.node(friend).tips());
}

/// A home restored from an image of last week must not write on where friends know more.
#[test]
fn an_old_disk_never_forks_its_feed() {
    let (mut world, devices) = World::circle(2);
    let old: Vec<SignedEntry> = world.hosts[&devices[0]].feeds[&devices[0]].clone();
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    let known = world.hosts[&devices[1]].feeds[&devices[0]].len();
    assert!(known > old.len());
    world.switch_off(devices[0]);
    let again = world.hosts[&devices[0]].node.identity().clone();
    world.add(again, old);
    world.everybody_near();
    world.run(Span::secs(60));
    world.back_up(devices[0], 8, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    let (ours, theirs) = (
        &world.hosts[&devices[0]].feeds[&devices[0]],
        &world.hosts[&devices[1]].feeds[&devices[0]],
    );
    assert_eq!(ours, theirs);
    assert!(ours.len() > known);
    let forked = |it: &Notice| matches!(it, Notice::Forked { .. });
    assert!(!world.hosts[&devices[1]].notices.iter().any(forked));
}

/// Found by the simulator, seed 17: one shard that did not fit the rest of an offer kept all smaller
/// ones away.
#[test]
fn what_fits_the_rest_of_an_offer_is_put_there() {
    let (mut world, devices) = World::circle(2);
    let to = world.node(devices[0]).member();
    let offer = Command::Offer { to, bytes: 150_000 };
    world.command(devices[1], offer).unwrap();
    world.run(Span::secs(20));
    world.switch_off(devices[1]);
    world.back_up(devices[0], 1, PackKind::Large, 10_000);
    world.run(Span::secs(1));
    world.back_up(devices[0], 2, PackKind::Large, 200_000);
    world.host(devices[1]).up = true;
    world.run(Span::secs(60));
    assert_eq!(world.hosts[&devices[1]].kept_bytes(to), 10_000);
}

/// Found by the simulator, seed 15: the farewell of an encounter in which all was told counted as
/// something new, so the two met again and again until a beacon told them better.
#[test]
fn who_parted_calmly_has_nothing_to_tell() {
    let (mut world, devices) = World::circle(2);
    let stale = world.node(devices[1]).news();
    world.back_up(devices[0], 1, PackKind::Large, 10_000);
    world.run(Span::secs(30));
    assert_ne!(world.node(devices[0]).news(), stale);
    let links = world.next_link;
    for (listener, device) in [(devices[0], devices[1]), (devices[1], devices[0])] {
        let addresses = vec!["127.0.0.1:1".parse().unwrap()];
        world.tell(
            listener,
            Event::Near {
                device,
                news: stale,
                addresses,
            },
        );
    }
    for _ in 0..8 {
        // Too short for a beacon.
        world.run(Span::secs(9));
    }
    assert!(world.next_link <= links + 2, "{}", world.next_link - links);
}
