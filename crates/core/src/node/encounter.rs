//! One encounter: from hello to farewell over one link.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::num::NonZeroU64;

use super::{Node, audit::Audit, carry::Outbox, contact::Parting, entrust::Carrying, load::Put};
use crate::{
    event::{Effect, Gate, LinkClass, LinkId, Notice},
    id::{DeviceId, MemberId, PackId, ShardId},
    limits,
    link::LinkFacts,
    message::{Farewell, Hello, Message, PROTOCOL_VERSION, Refusal},
    plan::Queue,
    policy::{Bulk, Terms},
    time::{Span, Timestamp},
};

/// How far an encounter has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// We knocked and wait for the welcome.
    Knocking,
    /// A guest may knock.
    AwaitingKnock,
    /// We admit the guest as soon as our entry of this sequence number is durable.
    Admitting(u64),
    /// Waiting for the peer's hello.
    AwaitingHello,
    /// Both have said hello: work.
    Open,
    /// A farewell was said; the link will go down.
    Closing,
}

/// A shard on its way to the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) pack: PackId,
    pub(crate) index: u8,
    pub(crate) bytes: u32,
}

/// One encounter.
#[derive(Debug)]
pub(crate) struct Encounter {
    pub(crate) peer: DeviceId,
    pub(crate) member: Option<MemberId>,
    pub(crate) dialled: bool,
    pub(crate) gate: Gate,
    pub(crate) class: LinkClass,
    pub(crate) facts: LinkFacts,
    /// What each end makes of the link, as it was said last.
    pub(crate) our_terms: Terms,
    pub(crate) their_terms: Terms,
    /// How fast shards may go out, as the shell knows it.
    pub(crate) rate: Option<NonZeroU64>,
    pub(crate) stage: Stage,
    /// When the link came up.
    pub(crate) since: Timestamp,
    /// How much of each feed the peer has, as far as we know.
    pub(crate) theirs: BTreeMap<DeviceId, u64>,
    /// The peer lacks entries of others that wait for company, and until when they do.
    pub(crate) untold: bool,
    pub(crate) relay_due: Timestamp,
    /// Ours, asked or streaming or not yet confirmed.
    pub(crate) sends: BTreeMap<ShardId, Outgoing>,
    /// Shards that we were asked for and are streaming.
    pub(crate) serves: BTreeSet<ShardId>,
    /// Shards that the peer puts on our shelf, or among our parcels.
    pub(crate) receives: BTreeSet<ShardId>,
    /// Ours, on their way to be carried by the peer.
    pub(crate) carries: BTreeMap<ShardId, Carrying>,
    /// The peer carries no more for us in this encounter.
    pub(crate) carries_closed: bool,
    /// What it shall carry, once that was thought about.
    pub(crate) parcels: Option<VecDeque<Put>>,
    /// Whom the peer will probably meet within a week, in thousandths.
    pub(crate) expects: BTreeMap<MemberId, u32>,
    /// What we carried for the peer, on its way to it, and whose it is.
    pub(crate) deliveries: BTreeMap<ShardId, MemberId>,
    /// What we carry for it beside.
    pub(super) outbox: Outbox,
    /// What of that it did not take.
    pub(crate) turned_down: BTreeSet<ShardId>,
    /// Shards that we asked back.
    pub(crate) fetches: BTreeMap<ShardId, (PackId, u8)>,
    /// Where we stand among the packs to fetch.
    /// What we asked the peer to show.
    pub(super) audit: Audit,
    /// Proofs that we are making for the peer.
    pub(crate) proving: usize,
    /// What to put, and of which generation the queue is.
    pub(crate) queue: Queue,
    pub(crate) planned: Option<u64>,
    /// How many streams of our shards were opened.
    pub(crate) streams: i32,
    pub(crate) no_room: Option<Refusal>,
    /// Shards of this many bytes and more are more than what is left of the peer's offer.
    pub(crate) room_below: u32,
    pub(crate) idle_said: bool,
    pub(crate) idle_heard: bool,
    /// Since when both have been idle.
    pub(crate) quiet_since: Option<Timestamp>,
    /// When the peer last said something.
    pub(crate) last_heard: Timestamp,
    pub(crate) last_ping: Timestamp,
    /// When there was last any sign of life.
    pub(crate) last_sign: Timestamp,
    /// When it was asked for one, if none has come since.
    pub(crate) asked: Option<Timestamp>,
    /// Our hello waits until an older link to the same peer is gone, so that what came over that one
    /// is on the disk before more of the same shard is offered.
    hello_owed: bool,
    /// The peer's hello, which waits with ours.
    hello_held: Option<Hello>,
    /// It was given up for silence.
    lost: bool,
    /// Something was told, moved or proved.
    pub(crate) progress: bool,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Encounter {
    fn new(peer: DeviceId, dialled: bool, gate: Gate, facts: LinkFacts, now: Timestamp) -> Self {
        Self {
            peer,
            member: None,
            dialled,
            gate,
            class: facts.judge(None),
            facts,
            our_terms: Terms::default(),
            their_terms: Terms::default(),
            rate: None,
            stage: Stage::AwaitingHello,
            since: now,
            theirs: BTreeMap::new(),
            untold: false,
            relay_due: now,
            sends: BTreeMap::new(),
            serves: BTreeSet::new(),
            receives: BTreeSet::new(),
            carries: BTreeMap::new(),
            carries_closed: false,
            parcels: None,
            expects: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            outbox: Outbox::default(),
            turned_down: BTreeSet::new(),
            fetches: BTreeMap::new(),
            audit: Audit::default(),
            proving: 0,
            queue: Queue::default(),
            planned: None,
            streams: 0,
            no_room: None,
            room_below: u32::MAX,
            idle_said: false,
            idle_heard: false,
            quiet_since: None,
            last_heard: now,
            last_ping: now,
            last_sign: now,
            asked: None,
            hello_owed: false,
            hello_held: None,
            lost: false,
            progress: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Returns when to tell what others wrote, if some of it waits.
    pub(crate) fn relay_at(&self) -> Option<Timestamp> {
        (self.untold && self.is_open()).then_some(self.relay_due)
    }

    /// Nothing of ours is under way. What the peer asked of us is the peer's to wait for.
    fn is_still(&self) -> bool {
        self.sends.is_empty()
            && self.carries.is_empty()
            && self.deliveries.is_empty()
            && self.fetches.is_empty()
            && self.audit.is_still()
    }

    /// Returns how much of the bulk may go over the link: what both ends allow.
    pub(crate) fn bulk(&self) -> Bulk {
        self.our_terms.bulk.min(self.their_terms.bulk)
    }

    /// Shards that nobody asked back are under way, or are going back to the peer.
    pub(crate) fn moves_shards(&self) -> bool {
        !self.sends.is_empty()
            || !self.carries.is_empty()
            || !self.deliveries.is_empty()
            || !self.serves.is_empty()
            || !self.receives.is_empty()
    }

    /// No shard is under way, so that the peer's disk and the link are free for proofs.
    pub(super) fn is_calm(&self) -> bool {
        !self.moves_shards() && self.fetches.is_empty()
    }

    fn is_busy(&self) -> bool {
        !self.is_still() || !self.serves.is_empty() || !self.receives.is_empty() || self.proving > 0
    }

    /// Something is to come from the peer, so that silence means something. One that only has not
    /// said that it is idle may be waiting for its disk, for hours.
    fn is_awaited(&self) -> bool {
        !self.is_open() || self.is_busy()
    }

    /// Notes a sign of life.
    fn sign(&mut self, now: Timestamp) {
        self.last_sign = now;
        self.asked = None;
    }

    /// Returns when to send the next ping.
    fn ping_at(&self) -> Timestamp {
        let usual = self.last_heard.max(self.last_ping) + limits::PING_AFTER;
        if self.is_awaited() && self.asked.is_none() {
            usual.min(self.last_sign + limits::PING_BUSY)
        } else {
            usual
        }
    }

    /// Returns when the peer counts as gone, if nothing comes until then.
    fn dead_at(&self) -> Timestamp {
        let silent = self.last_heard + limits::LIVENESS;
        match self.asked.filter(|_| self.is_awaited()) {
            Some(asked) => silent.min(asked + limits::PONG_WAIT),
            None => silent,
        }
    }

    /// Tells whether a sign of life is overdue, though not by as much that the link is given up.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        self.stage != Stage::Closing && now.since(self.last_sign) > limits::PING_BUSY
    }
}

impl Node {
    pub(super) fn link_up(
        &mut self,
        link: LinkId,
        peer: DeviceId,
        dialled: bool,
        gate: Gate,
        facts: LinkFacts,
    ) {
        self.contacts.connected(peer);
        if peer == self.device {
            return self.effect(Effect::Close {
                link,
                farewell: Farewell::Done,
            });
        }
        let mut encounter = Encounter::new(peer, dialled, gate, facts, self.now);
        if gate != Gate::Circle {
            encounter.stage = if dialled {
                Stage::Knocking
            } else {
                Stage::AwaitingKnock
            };
            self.encounters.insert(link, encounter);
            if dialled {
                self.say_knock(link, gate);
            }
            return;
        }
        if let Some((old, theirs, silent)) = self.circle_link(peer) {
            // Both dialled at once: the lower id's call stands. The same side again, or a silent link:
            // the peer lost the old one.
            let we_are_lower = self.device < peer;
            if !silent && theirs != dialled && dialled != we_are_lower {
                return self.effect(Effect::Close {
                    link,
                    farewell: Farewell::Done,
                });
            }
            if silent || theirs == dialled {
                self.give_up(old);
            } else {
                self.close(old, Farewell::Done);
            }
        }
        encounter.hello_owed = self.encounters.values().any(|it| it.peer == peer);
        let ready = !encounter.hello_owed;
        self.encounters.insert(link, encounter);
        if ready {
            self.say_hello(link);
        }
    }

    /// Something came from the peer.
    pub(super) fn alive(&mut self, link: LinkId) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.sign(self.now);
        }
    }

    /// Returns the link to a peer, which side dialled, and whether it is silent.
    fn circle_link(&self, peer: DeviceId) -> Option<(LinkId, bool, bool)> {
        let mut links = self.encounters.iter();
        let (link, encounter) = links
            .find(|(_, encounter)| encounter.peer == peer && encounter.stage != Stage::Closing)?;
        Some((*link, encounter.dialled, encounter.is_silent(self.now)))
    }

    /// More is known of a link: what it was taken for may have been wrong.
    pub(super) fn measured(&mut self, link: LinkId, facts: LinkFacts) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.facts = facts;
        self.judge_link(link);
    }

    /// Judges a link anew.
    fn judge_link(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let mut class = encounter.facts.judge(Some(encounter.class));
        if encounter.their_terms.metered && encounter.their_terms.bulk == Bulk::Nothing {
            class = LinkClass::Metered;
        }
        if class == encounter.class {
            return;
        }
        encounter.class = class;
        if let (Some(member), true) = (encounter.member, encounter.is_open()) {
            let device = encounter.peer;
            self.notify(Notice::Judged {
                device,
                member,
                link: class,
            });
        }
    }

    /// The peer says what it makes of the link.
    fn terms(&mut self, link: LinkId, terms: Terms) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.their_terms = terms;
        encounter.planned = None;
        self.judge_link(link);
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.remove(&link) else {
            return;
        };
        self.unpromise_link(link);
        self.delivery_over(&encounter);
        self.fetch_link_gone(link);
        self.read_link_gone(link);
        // What was stored without a receipt is offered again, and then signed for.
        let gone = self.inventory.clear_pending_of(encounter.peer);
        for other in self.encounters.values() {
            for shard in other.sends.keys().filter(|_| other.peer == encounter.peer) {
                self.inventory.note_pending(other.peer, *shard);
            }
        }
        gone.into_iter().for_each(|pack| self.replan(pack));
        if let Some(member) = encounter.member {
            self.notify(Notice::Parted {
                device: encounter.peer,
                member,
                sent: encounter.bytes_sent,
                received: encounter.bytes_received,
            });
            self.note_encounter(&encounter);
        }
        let peer = encounter.peer;
        let others = self.encounters.iter().filter(|(_, it)| it.peer == peer);
        let others: Vec<LinkId> = others.map(|(link, _)| *link).collect();
        let lost = encounter.stage != Stage::Closing || encounter.lost;
        let knowledge = self.knowledge();
        let calm = encounter.idle_said && encounter.idle_heard && !encounter.untold;
        let told = calm.then_some(knowledge);
        self.contacts.parted(
            peer,
            told,
            Parting {
                progress: encounter.progress,
                lost: lost && others.is_empty(),
                until: encounter.last_sign,
            },
            self.now,
        );
        self.bar(&encounter);
        if let Some(reason) = encounter.no_room {
            self.contacts
                .no_room(encounter.peer, reason, self.now + limits::NO_ROOM_WAIT);
        }
        if let [only] = others[..]
            && let Some(next) = self.encounters.get_mut(&only)
            && core::mem::take(&mut next.hello_owed)
            && next.stage != Stage::Closing
        {
            let held = next.hello_held.take();
            self.say_hello(only);
            if let Some(hello) = held {
                self.hello(only, hello);
            }
        }
    }

    /// Closes without a word, once: the peer is out of reach.
    fn give_up(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if encounter.stage != Stage::Closing {
            encounter.stage = Stage::Closing;
            encounter.lost = true;
            self.effect(Effect::GiveUp { link });
        }
    }

    /// Gives up the link to a peer that was heard elsewhere while the link is silent.
    pub(super) fn leave_silent(&mut self, peer: DeviceId) {
        let now = self.now;
        let silent = (self.encounters.iter())
            .find(|(_, it)| it.peer == peer && it.gate == Gate::Circle && it.is_silent(now));
        if let Some((link, _)) = silent {
            self.give_up(*link);
        }
    }

    /// Says farewell and closes, once.
    pub(super) fn close(&mut self, link: LinkId, farewell: Farewell) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if encounter.stage != Stage::Closing {
            encounter.stage = Stage::Closing;
            self.effect(Effect::Close { link, farewell });
        }
    }

    pub(super) fn say_hello(&mut self, link: LinkId) {
        let terms = self.come_to_terms(link);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            circle: self.circle.id(),
            time: self.now,
            certificate: self.identity.certificate.clone(),
            admission: self.circle.admission(self.member).cloned(),
            tips: self.tips(),
            terms,
        };
        self.send(link, Message::Hello(hello));
    }

    pub(super) fn message(&mut self, link: LinkId, message: Message) {
        let now = self.now;
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.last_heard = now;
        encounter.sign(now);
        let stage = encounter.stage;
        let owed = encounter.hello_owed;
        if !matches!(
            message,
            Message::Idle | Message::Ping(_) | Message::Pong(_) | Message::Farewell(_)
        ) {
            encounter.idle_heard = false;
            encounter.quiet_since = None;
        }
        encounter.progress |= matches!(
            message,
            Message::Entries(_) | Message::Stored { .. } | Message::Proof { .. }
        );
        match (stage, message) {
            (Stage::Closing, _) => {}
            (_, Message::Ping(number)) => self.send(link, Message::Pong(number)),
            (_, Message::Pong(_)) => {}
            (_, Message::Farewell(farewell)) => self.farewell(link, farewell),
            (Stage::AwaitingHello, Message::Hello(hello)) if owed => {
                encounter.hello_held = Some(hello);
            }
            (Stage::AwaitingHello, Message::Hello(hello)) => self.hello(link, hello),
            (Stage::AwaitingKnock, Message::Knock(knock)) => self.knocked(link, knock),
            (Stage::Knocking, Message::Welcome(welcome)) => self.welcomed(link, welcome),
            (Stage::Open, message) => self.open_message(link, message),
            _ => self.close(link, Farewell::ProtocolError),
        }
    }

    fn open_message(&mut self, link: LinkId, message: Message) {
        match message {
            Message::Entries(entries) => self.entries(link, entries),
            Message::Put {
                shard,
                bytes,
                owner,
                kind: _,
            } => self.put(link, shard, bytes, owner),
            Message::Accept { shard, offset } => self.accepted(link, shard, offset),
            Message::Refuse { shard, reason } => self.refused(link, shard, reason),
            Message::Stored { shard } => self.stored(link, shard),
            Message::Get { shard, offset } => self.asked(link, shard, offset),
            Message::Missing { shard } => self.missing(link, shard),
            Message::Challenge { nonce, probes } => self.challenged(link, nonce, probes),
            Message::Proof {
                nonce,
                shard,
                group,
                proof,
            } => {
                if !self.part_shown(link, nonce, (shard, group), proof.as_ref()) {
                    self.proof(link, nonce, shard, group, proof);
                }
            }
            Message::Terms(terms) => self.terms(link, terms),
            Message::Expecting(expected) => self.expecting(link, expected),
            Message::Carry { shard, bytes } => self.carry(link, shard, bytes),
            Message::Idle => {
                if let Some(encounter) = self.encounters.get_mut(&link) {
                    encounter.idle_heard = true;
                }
            }
            _ => self.close(link, Farewell::ProtocolError),
        }
    }

    fn hello(&mut self, link: LinkId, hello: Hello) {
        if hello.version != PROTOCOL_VERSION {
            return self.close(link, Farewell::Version(PROTOCOL_VERSION));
        }
        if hello.circle != self.circle.id() {
            return self.close(link, Farewell::ForeignCircle);
        }
        let Some(peer) = self.encounters.get(&link).map(|encounter| encounter.peer) else {
            return;
        };
        if hello.tips.len() > limits::DEVICES_MAX {
            return self.close(link, Farewell::ProtocolError);
        }
        let Some(member) = self.recognise(link, peer, &hello) else {
            return self.close(link, Farewell::NotAMember);
        };
        self.terms(link, hello.terms);
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.member = Some(member);
        encounter.stage = Stage::Open;
        for tip in &hello.tips {
            encounter.theirs.insert(tip.device, tip.len);
        }
        let class = encounter.class;
        self.notify(Notice::Met {
            device: peer,
            member,
            link: class,
        });
        self.contacts.met(peer, self.now);
        self.is_back(peer);
        self.note_heard(peer);
        self.consider_chances();
        self.tell_news(link);
        self.say_expecting(link);
    }

    /// Returns whose device the peer is, if it belongs here.
    fn recognise(&mut self, link: LinkId, peer: DeviceId, hello: &Hello) -> Option<MemberId> {
        if self.circle.certificate(peer) == Some(&hello.certificate) {
            // It was checked when it came first.
            return self.circle.member_of(peer);
        }
        let certificate = hello.certificate.verify().ok()?;
        if certificate.device != peer {
            return None;
        }
        if !self.circle.is_member(certificate.member)
            && let Some(admission) = &hello.admission
            && self.circle.vouch(admission).is_ok()
        {
            self.replan_all();
        }
        // A guest knows nobody yet. The door opened to the invite's secret, so it is a member's. Nor
        // does a device whose disk lost the others' feeds; it tells nothing before it knows who
        // asks. The feeds that the peer sends now must prove that it belongs here.
        let door = |it: &Encounter| it.dialled && it.gate != Gate::Circle;
        let knows_nobody = self.circle.founder().is_none();
        let trusted = knows_nobody || self.encounters.get(&link).is_some_and(door);
        let introduced = self.circle.introduce(&hello.certificate).ok();
        introduced.or_else(|| trusted.then_some(certificate.member))
    }

    fn farewell(&mut self, link: LinkId, farewell: Farewell) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let by = encounter.peer;
        if encounter.stage == Stage::Knocking {
            self.turned_away(by, farewell);
        }
        if farewell != Farewell::Done {
            self.notify(Notice::TurnedAway { by, farewell });
            self.contacts.turned_away(by, self.now);
        }
        self.close(link, Farewell::Done);
    }

    /// Does for one link whatever can be done now.
    pub(super) fn work(&mut self, link: LinkId) {
        if !self.encounters.get(&link).is_some_and(Encounter::is_open) {
            return;
        }
        self.keep_terms(link);
        if !self.encounters.get(&link).is_some_and(Encounter::is_open) {
            return;
        }
        self.fetch_from(link);
        self.read_from(link);
        self.put_on(link);
        self.deliver(link);
        self.entrust(link);
        self.probe(link);
        self.rest(link);
    }

    /// Notes that something was said: whether we are idle has to be said again.
    pub(super) fn stir(&mut self, link: LinkId) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.idle_said = false;
            encounter.quiet_since = None;
        }
    }

    /// Notes that the encounter was worth it.
    pub(super) fn progress(&mut self, link: LinkId) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.progress = true;
        }
    }

    /// Says that we are idle when we are, and notes when both have been.
    fn rest(&mut self, link: LinkId) {
        let now = self.now;
        let waiting = !self.receipts.is_empty()
            || self.is_entrusting()
            || self.outcomes.values().any(|outcomes| !outcomes.is_empty())
            || self.disk_wait().is_some_and(|until| now < until)
            || self.is_reading(link);
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if !encounter.is_still() || waiting {
            encounter.idle_said = false;
            encounter.quiet_since = None;
            return;
        }
        if !encounter.idle_said {
            encounter.idle_said = true;
            self.send(link, Message::Idle);
            return;
        }
        if encounter.idle_heard && !encounter.is_busy() {
            encounter.quiet_since.get_or_insert(now);
        } else {
            encounter.quiet_since = None;
        }
    }

    /// Closes what is done, pings what is silent, gives up what is dead.
    pub(super) fn watch_encounters(&mut self) {
        let now = self.now;
        let mut dead = Vec::new();
        let mut closing = Vec::new();
        let mut pings = Vec::new();
        for (link, encounter) in &mut self.encounters {
            if encounter.stage == Stage::Closing {
                continue;
            }
            let done = (encounter.quiet_since)
                .is_some_and(|since| now >= since + patience(encounter.dialled));
            if now >= encounter.dead_at() {
                dead.push(*link);
            } else if done {
                closing.push(*link);
            } else if now >= encounter.ping_at() {
                encounter.last_ping = now;
                encounter.asked.get_or_insert(now);
                pings.push(*link);
            }
        }
        for link in dead {
            self.give_up(link);
        }
        for link in closing {
            self.close(link, Farewell::Done);
        }
        for link in pings {
            self.nonce += 1;
            self.send(link, Message::Ping(self.nonce));
        }
    }

    pub(super) fn encounter_timeout(&self) -> Option<Timestamp> {
        let live = self
            .encounters
            .values()
            .filter(|encounter| encounter.stage != Stage::Closing);
        let disk = self.disk_wait().filter(|until| *until > self.now);
        let waits = disk.into_iter().chain(self.reading_until());
        let waits = waits.filter(|_| !self.encounters.is_empty());
        live.flat_map(|encounter| {
            let (ping, dead) = (encounter.ping_at(), encounter.dead_at());
            let quiet = encounter
                .quiet_since
                .map(|since| since + patience(encounter.dialled));
            [
                Some(ping.min(dead)),
                quiet,
                encounter.audit.timeout(),
                encounter.relay_at(),
            ]
        })
        .flatten()
        .chain(waits)
        .min()
    }
}

/// The dialler closes an idle link; the other side only if it doesn't.
fn patience(dialled: bool) -> Span {
    if dialled {
        limits::IDLE_CLOSE
    } else {
        Span(limits::IDLE_CLOSE.0 * 20)
    }
}
