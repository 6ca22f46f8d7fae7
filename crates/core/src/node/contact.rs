//! Contacts: who is near, and whether there is a reason to dial.
//!
//! No work, no connection. A reason is a shard to put or to get back, a proof that is due, or news.

use alloc::{collections::BTreeMap, vec::Vec};
use core::net::SocketAddr;

use super::Node;
use crate::{
    event::{Effect, Gate},
    id::{DeviceId, MemberId},
    limits,
    message::Refusal,
    policy::Bulk,
    time::{Span, Timestamp},
};

/// What is known of reaching one device.
#[derive(Clone, Debug, Default)]
struct Contact {
    addresses: Vec<SocketAddr>,
    /// Digest of what it knows, by its last beacon or our last encounter.
    news: Option<[u8; 4]>,
    /// When that digest was first heard.
    news_since: Option<Timestamp>,
    /// When its beacon was last heard.
    near: Option<Timestamp>,
    last_met: Option<Timestamp>,
    /// It is not dialled again before then.
    not_before: Timestamp,
    /// Dials and encounters in a row that brought nothing.
    failures: u32,
    dialling: bool,
    no_room: Option<(Refusal, Timestamp)>,
    bar: Option<Bar>,
    /// It said that we don't belong, and when.
    turned_away: Option<Timestamp>,
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

/// Who is near or was.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    contacts: BTreeMap<DeviceId, Contact>,
    /// Something changed that may be a reason to dial.
    touched: bool,
    /// When to look again without anything changing.
    look_at: Option<Timestamp>,
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
        self.contacts.entry(device).or_default().dialling = false;
    }

    pub(crate) fn met(&mut self, device: DeviceId, now: Timestamp) {
        let contact = self.contacts.entry(device).or_default();
        contact.last_met = Some(now);
        contact.turned_away = None;
    }

    /// An encounter ended. If both had nothing left to do, the peer knew then what we knew.
    /// `progress`: it brought something, so the next one may come soon.
    pub(crate) fn parted(
        &mut self,
        device: DeviceId,
        news: Option<[u8; 4]>,
        progress: bool,
        now: Timestamp,
    ) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = false;
        if let Some(news) = news {
            contact.news = Some(news);
            contact.last_met = Some(now);
        }
        contact.failures = if progress { 0 } else { contact.failures + 1 };
        contact.not_before = now + backoff(contact.failures, limits::REDIAL_AFTER);
        self.touched = true;
    }

    pub(crate) fn turned_away(&mut self, device: DeviceId, now: Timestamp) {
        self.contacts.entry(device).or_default().turned_away = Some(now);
    }

    pub(crate) fn dial_failed(&mut self, device: DeviceId) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = false;
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

    /// Has the contacts looked at again then, if not before.
    fn look_at(&mut self, at: Timestamp) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// Returns when a device was last met, if it was since the start.
    pub(crate) fn last_met(&self, device: DeviceId) -> Option<Timestamp> {
        self.contacts.get(&device)?.last_met
    }

    /// Returns why a device has no room for us, if it said so lately.
    pub(crate) fn refusal(&self, device: DeviceId, now: Timestamp) -> Option<Refusal> {
        let (reason, until) = self.contacts.get(&device)?.no_room?;
        (until > now).then_some(reason)
    }

    /// Tells whether a device's beacon was heard lately.
    pub(crate) fn is_near(&self, device: DeviceId, now: Timestamp) -> bool {
        let near = self.contacts.get(&device).and_then(|contact| contact.near);
        near.is_some_and(|near| now.since(near) <= limits::NEAR_VALID)
    }
}

impl Node {
    pub(crate) fn circle_news(&self) -> [u8; 4] {
        self.circle.news()
    }

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
        if contact.addresses != addresses {
            // It started anew or moved: what failed before says nothing, and a dial that is under way
            // goes where it no longer is.
            contact.addresses = addresses;
            contact.bar = None;
            contact.dialling = false;
            contact.failures = 0;
            contact.not_before = now;
        }
        self.contacts.touch();
    }

    /// Dials whoever there is a reason to dial.
    pub(super) fn make_contacts(&mut self) {
        let due = self.contacts.look_at.is_some_and(|at| at <= self.now);
        if !self.contacts.touched && !due {
            return;
        }
        self.contacts.touched = false;
        self.contacts.look_at = None;
        let (own, devices) = (self.device, self.circle.devices());
        let devices: Vec<_> = devices.filter(|(device, _)| *device != own).collect();
        for (device, member) in devices {
            self.make_contact(member, device);
        }
    }

    fn make_contact(&mut self, member: MemberId, device: DeviceId) {
        if self
            .encounters
            .values()
            .any(|encounter| encounter.peer == device)
        {
            return;
        }
        let contact = self
            .contacts
            .contacts
            .get(&device)
            .cloned()
            .unwrap_or_default();
        if contact.dialling {
            return;
        }
        let near = contact
            .near
            .is_some_and(|near| self.now.since(near) <= limits::NEAR_VALID);
        let Some(reason) = self.reason(member, device, &contact) else {
            if let Some(bar) = contact.bar.filter(|bar| bar.until > self.now) {
                self.contacts.look_at(bar.until);
            }
            return;
        };
        let mut earliest = contact.not_before;
        if let Some(turned_away) = contact.turned_away {
            earliest = earliest.max(turned_away + limits::REACH_AGAIN);
        }
        if near && reason == Reason::News && self.device > device {
            // The other one has the same reason and dials first.
            let heard = contact.news_since.unwrap_or(self.now);
            earliest = earliest.max(heard + limits::DIAL_DEFER);
        }
        let mut addresses = if near { contact.addresses } else { Vec::new() };
        if let Some((_, known)) = self.circle.addresses(device) {
            addresses.extend(known.direct.iter().copied());
        }
        let mut seen = alloc::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() {
            return;
        }
        if earliest > self.now {
            return self.contacts.look_at(earliest);
        }
        // Somebody waits for what we want back.
        let longest = if near || self.fetch_wants(device) {
            limits::REDIAL_AFTER
        } else {
            limits::REACH_AGAIN
        };
        let now = self.now;
        let contact = self.contacts.contacts.entry(device).or_default();
        contact.dialling = true;
        contact.not_before = now + backoff(contact.failures, longest);
        self.effect(Effect::Dial {
            device,
            addresses,
            gate: Gate::Circle,
        });
    }

    fn reason(&mut self, member: MemberId, device: DeviceId, contact: &Contact) -> Option<Reason> {
        let room = contact.no_room.is_none_or(|(_, until)| until <= self.now);
        let bar = contact.bar.filter(|bar| bar.until > self.now);
        if bar.is_none_or(|bar| bar.fetch) && self.fetch_wants(device) {
            return Some(Reason::Work);
        }
        if self.paused_until().is_some() {
            return None;
        }
        let bulk = self
            .bulk_at_best()
            .min(bar.map_or(Bulk::Everything, |bar| bar.bulk));
        let puts = room && member != self.member && self.wants_anything(member, bulk);
        let audits = bulk != Bulk::Nothing && self.audit_due(device);
        if member != self.member && (puts || audits) {
            return Some(Reason::Work);
        }
        let news = contact.news.is_none_or(|news| news != self.circle_news());
        news.then_some(Reason::News)
    }

    pub(super) fn contact_timeout(&self) -> Option<Timestamp> {
        self.contacts.look_at
    }
}
