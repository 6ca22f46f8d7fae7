//! Contacts: who is near, and whether there is a reason to dial.
//!
//! No work, no connection. A reason is a shard to put or to get back, a proof that is due, or news.
//! Whoever is heard is dialled where it was heard. Whoever isn't may be in reach all the same, since
//! not every network carries beacons: for a moment after this device has arrived somewhere, and while
//! a link that broke may become whole again, known addresses are tried eagerly, later slowly.

mod address;
mod clock;
mod gossip;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{cmp::Reverse, net::SocketAddr};

use self::{
    address::{Heard, same_network},
    gossip::{Gossip, is_gossip},
};
use super::Node;
use crate::{
    event::{Effect, Gate},
    id::{DeviceId, MemberId},
    limits,
    message::Refusal,
    policy::Bulk,
    time::{Span, Timestamp},
};

/// Digests of what somebody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// Of all that is worth an encounter to everybody. Beacons carry it.
    pub(crate) news: [u8; 4],
    /// Of all that devices of our member wrote: for those devices it is all worth an encounter.
    pub(crate) own: [u8; 4],
}

/// What is known of reaching one device.
#[derive(Clone, Copy, Debug, Default)]
struct Contact {
    /// When a beacon last made up for dials that failed.
    believed: Option<Timestamp>,
    /// Digest of what it knows, by its last beacon or our last encounter.
    news: Option<[u8; 4]>,
    /// Digest of what devices of our member wrote, when it was met last and knew it all.
    own: Option<[u8; 4]>,
    /// When the digest of its news was first heard.
    news_since: Option<Timestamp>,
    /// Where we are now, nothing was heard of it yet: that digest may be old.
    unheard: bool,
    /// How many epochs its clock is ahead of ours, by its last beacon.
    skew: i32,
    /// When its beacon was last heard.
    near: Option<Timestamp>,
    last_met: Option<Timestamp>,
    /// It is not dialled again before then.
    not_before: Timestamp,
    /// Dials and encounters in a row that brought nothing.
    failures: u32,
    /// The last dial failed.
    unreached: bool,
    /// When the dial began that is under way.
    dialling: Option<Timestamp>,
    /// Until then it is dialled in a quick rhythm.
    eager_until: Timestamp,
    /// Its last link broke in the midst of things.
    lost: bool,
    /// Until then they are to be gone on with.
    lost_until: Timestamp,
    no_room: Option<(Refusal, Timestamp)>,
    bar: Option<Bar>,
    /// It said that we don't belong, and when.
    turned_away: Option<Timestamp>,
}

impl Contact {
    fn is_near(&self, now: Timestamp, valid: Span) -> bool {
        self.near.is_some_and(|near| now.since(near) <= valid)
    }

    /// Tells whether it would probably answer: its beacon was heard lately, or it was met.
    fn is_in_reach(&self, now: Timestamp, valid: Span) -> bool {
        let met = |at| !self.unreached && now.since(at) <= valid;
        self.is_near(now, valid) || self.last_met.is_some_and(met)
    }

    fn is_eager(&self, now: Timestamp) -> bool {
        now < self.eager_until
    }

    /// Tells whether something was written since, by us or another device of our member.
    fn lacks(&self, own: [u8; 4]) -> bool {
        self.own.is_some_and(|known| known != own)
    }

    /// Returns how long to wait for the next dial from one that begins now.
    fn rest(&self, now: Timestamp, near: bool, wanted: bool) -> Span {
        if self.is_eager(now) {
            return limits::REDIAL_LOST;
        }
        // Somebody waits for what we want back.
        let longest = match near || wanted {
            true => limits::REDIAL_AFTER,
            false => limits::SEEK_AGAIN,
        };
        backoff(self.failures, longest)
    }
}

/// What the terms of the last encounter left no hope for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// So much of the bulk may go.
    pub(crate) bulk: Bulk,
    /// Whether what we want back may come.
    pub(crate) fetch: bool,
    /// When to see whether that is still so.
    pub(crate) until: Timestamp,
}

/// Why a device should be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// It has heard something that we haven't, or the other way round.
    News,
    /// We have shards for it, or want some back, or a proof.
    Work,
}

/// How an encounter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// It brought something, so the next one may come soon.
    pub(crate) progress: bool,
    /// The link broke before both were done.
    pub(crate) lost: bool,
    /// When there was the last sign of life.
    pub(crate) until: Timestamp,
}

/// Somebody who may be dialled now.
struct Candidate {
    device: DeviceId,
    reason: Reason,
    near: bool,
    /// It is near, or answered lately.
    in_reach: bool,
    /// Dials in a row that came to nothing.
    failures: u32,
    addresses: Vec<SocketAddr>,
}

/// Who is near or was.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    contacts: BTreeMap<DeviceId, Contact>,
    /// Where their beacons came from, and where they were met.
    heard: BTreeMap<DeviceId, Heard>,
    /// Where this device can be dialled itself.
    own: Vec<SocketAddr>,
    /// When a device with the same time was last heard.
    timely: Option<Timestamp>,
    /// When this device arrived where it is.
    arrived: Timestamp,
    /// Something changed that may be a reason to dial.
    touched: bool,
    /// When to look again without anything changing.
    look_at: Option<Timestamp>,
    /// There was a reason to dial somebody when last looked.
    wanting: bool,
    /// How many devices were near when last looked.
    crowd: usize,
    /// How many were in reach, by a beacon or by an encounter.
    company: usize,
    gossip: Gossip,
}

/// Returns how long to wait after so many failures in a row: twice as long each time.
fn backoff(failures: u32, longest: Span) -> Span {
    let wait = limits::MEET_AGAIN.0.saturating_mul(1 << failures.min(16));
    Span(wait.min(longest.0))
}

impl Contacts {
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    pub(crate) fn connected(&mut self, device: DeviceId) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = None;
        contact.unreached = false;
        // There is room for another dial.
        self.touched = true;
    }

    /// A device was reached at this address.
    pub(crate) fn reached(&mut self, device: DeviceId, address: SocketAddr, now: Timestamp) {
        self.heard.entry(device).or_default().note(address, now);
    }

    pub(crate) fn met(&mut self, device: DeviceId, now: Timestamp) {
        let contact = self.contacts.entry(device).or_default();
        contact.last_met = Some(now);
        contact.turned_away = None;
    }

    /// An encounter ended. If both had nothing left to do, the peer knew then what we know.
    pub(crate) fn parted(
        &mut self,
        device: DeviceId,
        told: Option<Knowledge>,
        Parting {
            progress,
            lost,
            until,
        }: Parting,
        now: Timestamp,
    ) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = None;
        contact.unheard = false;
        if let Some(Knowledge { news, own }) = told {
            (contact.news, contact.own) = (Some(news), Some(own));
            contact.last_met = contact.last_met.max(Some(until));
        }
        contact.failures = if progress { 0 } else { contact.failures + 1 };
        let before = contact.not_before;
        contact.not_before = now + backoff(contact.failures, limits::REDIAL_AFTER);
        if lost {
            // Links that break again and again without use are not worth the hurry.
            if progress || !contact.lost {
                contact.lost_until = now + limits::LOST_FOR;
                contact.eager_until = contact.lost_until;
            }
            if contact.is_eager(now) {
                // Not faster than dials are, be the link up for ever so short.
                let soon = now + limits::REDIAL_LOST;
                contact.not_before = before.min(soon).max(now);
            }
        } else {
            (contact.eager_until, contact.lost_until) = (now, now);
        }
        contact.lost = lost;
        self.touched = true;
    }

    pub(crate) fn turned_away(&mut self, device: DeviceId, now: Timestamp) {
        self.contacts.entry(device).or_default().turned_away = Some(now);
    }

    pub(crate) fn dial_failed(&mut self, device: DeviceId) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = None;
        contact.unreached = true;
        contact.failures += 1;
        self.touched = true;
    }

    pub(crate) fn no_room(&mut self, device: DeviceId, reason: Refusal, until: Timestamp) {
        self.contacts.entry(device).or_default().no_room = Some((reason, until));
    }

    pub(crate) fn bar(&mut self, device: DeviceId, bar: Bar) {
        self.contacts.entry(device).or_default().bar = Some(bar);
    }

    /// The terms of all links may be better now.
    pub(crate) fn unbar(&mut self) {
        for contact in self.contacts.values_mut() {
            contact.bar = None;
        }
        self.touched = true;
    }

    pub(crate) fn forget_no_room(&mut self, device: DeviceId) {
        self.contacts.entry(device).or_default().no_room = None;
        self.touched = true;
    }

    /// Takes where this device can be dialled.
    pub(crate) fn set_own(&mut self, own: Vec<SocketAddr>) {
        self.own = own;
    }

    /// Returns what is known of reaching a device.
    fn of(&self, device: DeviceId) -> Contact {
        self.contacts.get(&device).copied().unwrap_or_default()
    }

    /// Returns when a device was last met, if it was since the start.
    pub(crate) fn last_met(&self, device: DeviceId) -> Option<Timestamp> {
        self.contacts.get(&device)?.last_met
    }

    /// Tells whether a device said last that we don't belong.
    pub(crate) fn has_turned_away(&self, device: DeviceId) -> bool {
        let contact = self.contacts.get(&device);
        contact.is_some_and(|contact| contact.turned_away.is_some())
    }

    /// Returns why a device has no room for us, if it said so lately.
    pub(crate) fn refusal(&self, device: DeviceId, now: Timestamp) -> Option<Refusal> {
        let (reason, until) = self.contacts.get(&device)?.no_room?;
        (until > now).then_some(reason)
    }

    /// Tells whether a device's beacon was heard lately.
    pub(crate) fn is_near(&self, device: DeviceId, now: Timestamp) -> bool {
        let contact = self.contacts.get(&device);
        contact.is_some_and(|contact| contact.is_near(now, self.near_valid()))
    }

    /// Returns for how long a beacon tells that a device is near.
    fn near_valid(&self) -> Span {
        let each = limits::NEAR_VALID_EACH.0.saturating_mul(self.crowd as u64);
        Span(limits::NEAR_VALID.0.max(each))
    }

    /// Returns how many devices were near when last looked.
    pub(crate) const fn crowd(&self) -> usize {
        self.crowd
    }

    /// Tells whether so many devices were near when last looked that they have to take turns.
    const fn is_crowd(&self) -> bool {
        self.crowd >= limits::CROWD
    }

    /// Looks how many devices are near.
    fn count(&mut self, now: Timestamp) {
        let valid = self.near_valid();
        let contacts = || self.contacts.values();
        self.crowd = contacts().filter(|it| it.is_near(now, valid)).count();
        self.company = (contacts().filter(|it| it.is_in_reach(now, valid))).count();
    }

    /// Tells whether there was a reason to dial somebody when last looked.
    pub(crate) const fn is_wanting(&self) -> bool {
        self.wanting
    }

    /// Counts the dials under way, all of them or to those that are near now.
    fn dials(&self, near: Option<Timestamp>) -> usize {
        let valid = self.near_valid();
        let counts = |it: &&Contact| near.is_none_or(|now| it.is_near(now, valid));
        let dialled = self.contacts.values().filter(|it| it.dialling.is_some());
        dialled.filter(counts).count()
    }

    /// Has the contacts looked at again then, if not before.
    fn look_again(&mut self, at: Timestamp) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }
}

impl Node {
    /// A beacon of a device was heard.
    pub(super) fn near(&mut self, device: DeviceId, news: [u8; 4], addresses: Vec<SocketAddr>) {
        if device == self.device {
            return;
        }
        let now = self.now;
        let contact = self.contacts.contacts.entry(device).or_default();
        if contact.news != Some(news) {
            contact.news_since = Some(now);
        }
        contact.news = Some(news);
        contact.near = Some(now);
        contact.unheard = false;
        let heard = self.contacts.heard.entry(device).or_default();
        let mut new = false;
        for address in addresses {
            new |= heard.note(address, now);
        }
        let long_ago = |believed| now.since(believed) >= limits::BELIEVE_AGAIN;
        if new {
            contact.bar = None;
        }
        if (new || contact.unreached) && contact.believed.is_none_or(long_ago) {
            // It started anew, moved or is back, and a dial that is under way may go where it no longer
            // is. Not believed more often, since beacons can be
            // replayed from elsewhere.
            contact.believed = Some(now);
            contact.dialling = None;
            contact.not_before = now;
        } else if contact.is_eager(now)
            && (contact.dialling).is_none_or(|since| now.since(since) >= limits::REDIAL_HEARD)
        {
            // The way is free again, while a dial under way still waits to repeat itself.
            contact.dialling = None;
            contact.not_before = now;
        }
        self.leave_silent(device);
        self.contacts.touch();
    }

    /// This device came into a network, woke up, or got another address: who is in reach is to be
    /// found out anew. Some of those whom no beacon tells of are dialled where they were last known.
    pub(super) fn arrived(&mut self) {
        let now = self.now;
        self.contacts.arrived = now;
        for contact in self.contacts.contacts.values_mut() {
            contact.near = None;
            contact.believed = None;
            // What went out before may have got lost for want of a network, and would take the room
            // of those who are here.
            contact.dialling = None;
        }
        let (knowledge, mut known) = (self.knowledge(), Vec::new());
        for (device, member) in self.devices_of_others() {
            let contact = self.contacts.of(device);
            let addresses = self.known_addresses(device, false);
            if addresses.is_empty() {
                continue;
            }
            let own = &self.contacts.own;
            let here =
                (addresses.iter()).any(|address| own.iter().any(|own| same_network(own, address)));
            let work = self.reason(member, device, &contact, knowledge) == Some(Reason::Work);
            known.push((Reverse((work, here, contact.last_met)), device));
        }
        known.sort_unstable();
        for (rank, (Reverse((work, ..)), device)) in known.into_iter().enumerate() {
            let contact = self.contacts.contacts.entry(device).or_default();
            if rank >= limits::REACH_MAX {
                if work {
                    // What was in vain elsewhere, or while there was no network, says nothing here.
                    contact.failures = 0;
                    contact.not_before = contact.not_before.min(now + limits::HEAR_FIRST);
                }
                continue;
            }
            contact.failures = 0;
            contact.unheard = true;
            contact.not_before = now;
            contact.eager_until = contact.eager_until.max(now + limits::REACH_FOR);
        }
        self.contacts.touch();
    }

    fn devices_of_others(&self) -> Vec<(DeviceId, MemberId)> {
        let devices = self.circle.devices();
        devices
            .filter(|(device, _)| *device != self.device)
            .collect()
    }

    /// Dials whoever there is a reason to dial, so many at a time.
    pub(super) fn make_contacts(&mut self) {
        let due = self.contacts.look_at.is_some_and(|at| at <= self.now);
        if !self.contacts.touched && !due {
            return;
        }
        self.contacts.touched = false;
        self.contacts.look_at = None;
        self.contacts.wanting = false;
        self.contacts.gossip.wanted = false;
        self.contacts.count(self.now);
        let knowledge = self.knowledge();
        let met: BTreeSet<DeviceId> = self.encounters.values().map(|it| it.peer).collect();
        let mut candidates = Vec::new();
        for (device, member) in self.devices_of_others() {
            if !met.contains(&device) {
                candidates.extend(self.candidate(member, device, knowledge));
            }
        }
        let crowd = self.contacts.is_crowd();
        let (gossip, mut candidates): (Vec<_>, Vec<_>) =
            (candidates.into_iter()).partition(|it| is_gossip(it.reason, it.in_reach, crowd));
        candidates.extend(self.gossip(gossip));
        // Among those for whom the same speaks, whoever was in vain less often: else a few who sleep
        // take all the room from those who are awake.
        candidates.sort_by_key(|it| (Reverse((it.near, it.reason)), it.failures));
        for candidate in candidates {
            // Who finds no room is looked at again when a dial ends. Dials of the silent take none
            // from those who are heard.
            let under_way = self.contacts.dials(candidate.near.then_some(self.now));
            if under_way < limits::DIALS_MAX {
                self.dial(candidate);
            }
        }
    }

    /// Returns how to dial a device whom we aren't meeting if there is a reason to do so now, or notes when to
    /// look again.
    fn candidate(
        &mut self,
        member: MemberId,
        device: DeviceId,
        knowledge: Knowledge,
    ) -> Option<Candidate> {
        let now = self.now;
        let contact = self.contacts.of(device);
        let valid = self.contacts.near_valid();
        let near = contact.is_near(now, valid);
        let in_reach = contact.is_in_reach(now, valid);
        let Some(reason) = self.reason(member, device, &contact, knowledge) else {
            let bar = contact.bar.map(|bar| bar.until).filter(|at| *at > now);
            for at in bar.into_iter().chain(self.respite_of(device)) {
                self.contacts.look_again(at);
            }
            return None;
        };
        self.contacts.wanting |= near || reason == Reason::Work;
        let gossip = is_gossip(reason, in_reach, self.contacts.is_crowd());
        self.contacts.gossip.wanted |= gossip;
        if contact.dialling.is_some() {
            return None;
        }
        let mut earliest = contact.not_before;
        if let Some(turned_away) = contact.turned_away {
            earliest = earliest.max(turned_away + limits::REACH_AGAIN);
        }
        if near && reason == Reason::News && self.device > device {
            // The other one has the same reason and dials first.
            let heard = contact.news_since.unwrap_or(now);
            earliest = earliest.max(heard + limits::DIAL_DEFER);
        }
        if !near && reason == Reason::News {
            // A beacon may tell that nothing is new, or those of many that there is a crowd to ask.
            let heard = match self.may_be_crowded() {
                true => limits::COUNT_FIRST,
                false => limits::HEAR_FIRST,
            };
            earliest = earliest.max(self.contacts.arrived + heard);
        }
        if earliest > now {
            self.contacts.look_again(earliest);
            return None;
        }
        let addresses = self.known_addresses(device, near);
        if addresses.is_empty() {
            return None;
        }
        Some(Candidate {
            device,
            reason,
            near,
            in_reach,
            failures: contact.failures,
            addresses,
        })
    }

    /// Returns where to dial a device, best first.
    fn known_addresses(&self, device: DeviceId, near: bool) -> Vec<SocketAddr> {
        let oldest = self.now.0.saturating_sub(self.contacts.near_valid().0);
        let since = Timestamp(if near { oldest } else { 0 });
        let heard = self.contacts.heard.get(&device);
        let told = self.circle.addresses(device);
        let told = told.into_iter().flat_map(|(_, known)| &known.direct);
        let known = heard.into_iter().flat_map(|heard| heard.since(since));
        let mut addresses = Vec::new();
        for address in known.chain(told.copied()) {
            if addresses.len() < limits::ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    fn dial(&mut self, candidate: Candidate) {
        let (now, device) = (self.now, candidate.device);
        let wanted = self.fetch_wants(device);
        let contact = self.contacts.contacts.entry(device).or_default();
        contact.dialling = Some(now);
        contact.not_before = now + contact.rest(now, candidate.near, wanted);
        let patience = match now < contact.lost_until || (contact.is_eager(now) && !candidate.near)
        {
            true => limits::REDIAL_LOST,
            false => limits::DIAL_PATIENCE,
        };
        self.effect(Effect::Dial {
            device,
            addresses: candidate.addresses,
            gate: Gate::Circle,
            patience,
        });
    }

    /// Returns why to dial a device, if there is any reason.
    fn reason(
        &mut self,
        member: MemberId,
        device: DeviceId,
        contact: &Contact,
        knowledge: Knowledge,
    ) -> Option<Reason> {
        let room = contact.no_room.is_none_or(|(_, until)| until <= self.now);
        let bar = contact.bar.filter(|bar| bar.until > self.now);
        let wanted = self.fetch_wants(device) || self.reads_want(device);
        if bar.is_none_or(|bar| bar.fetch) && wanted {
            return Some(Reason::Work);
        }
        if self.paused_until().is_some() {
            return None;
        }
        if self.now < contact.lost_until {
            return Some(Reason::Work);
        }
        let bulk = self
            .bulk_at_best()
            .min(bar.map_or(Bulk::Everything, |bar| bar.bulk));
        let puts = room && member != self.member && self.wants_anything(member, bulk);
        let audits = bulk != Bulk::Nothing && self.audit_due(device);
        let all = bulk == Bulk::Everything;
        let repairs = all && self.repair_wants(device);
        let carries = all && self.carries_for(device, member);
        if member != self.member && (puts || audits || repairs || carries) {
            return Some(Reason::Work);
        }
        let differs = match contact.news {
            // Where a crowd's beacons are heard, who is silent isn't here.
            Some(_)
                if contact.unheard && contact.is_eager(self.now) && !self.contacts.is_crowd() =>
            {
                true
            }
            Some(theirs) => theirs != knowledge.news,
            None => contact.is_eager(self.now),
        };
        let differs = differs || member == self.member && contact.lacks(knowledge.own);
        differs.then_some(Reason::News)
    }

    pub(super) fn contact_timeout(&self) -> Option<Timestamp> {
        self.contacts.look_at
    }
}
