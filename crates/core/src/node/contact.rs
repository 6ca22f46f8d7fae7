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
    plan,
    time::Timestamp,
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
    last_dial: Option<Timestamp>,
    dialling: bool,
    no_room: Option<(Refusal, Timestamp)>,
    /// It said that we don't belong, and when.
    turned_away: Option<Timestamp>,
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
    pub(crate) fn parted(&mut self, device: DeviceId, news: Option<[u8; 4]>, now: Timestamp) {
        let contact = self.contacts.entry(device).or_default();
        contact.dialling = false;
        if let Some(news) = news {
            contact.news = Some(news);
            contact.last_met = Some(now);
            // It went well: something new may begin soon, but not at once.
            let soon = now
                .0
                .saturating_sub(limits::REDIAL_AFTER.0 - limits::MEET_AGAIN.0);
            contact.last_dial = Some(Timestamp(soon));
        }
        self.touched = true;
    }

    pub(crate) fn turned_away(&mut self, device: DeviceId, now: Timestamp) {
        self.contacts.entry(device).or_default().turned_away = Some(now);
    }

    pub(crate) fn dial_failed(&mut self, device: DeviceId) {
        self.contacts.entry(device).or_default().dialling = false;
        self.touched = true;
    }

    pub(crate) fn no_room(&mut self, device: DeviceId, reason: Refusal, until: Timestamp) {
        self.contacts.entry(device).or_default().no_room = Some((reason, until));
    }

    pub(crate) fn forget_no_room(&mut self, device: DeviceId) {
        self.contacts.entry(device).or_default().no_room = None;
        self.touched = true;
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
        contact.addresses = addresses;
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
            return;
        };
        // Somebody waits for what we want back.
        let wait = if near || self.fetch_wants(device) {
            limits::REDIAL_AFTER
        } else {
            limits::REACH_AGAIN
        };
        let mut earliest = contact.last_dial.map_or(self.now, |dial| dial + wait);
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
            let look = self
                .contacts
                .look_at
                .map_or(earliest, |at| at.min(earliest));
            self.contacts.look_at = Some(look);
            return;
        }
        let contact = self.contacts.contacts.entry(device).or_default();
        contact.dialling = true;
        contact.last_dial = Some(self.now);
        self.effect(Effect::Dial {
            device,
            addresses,
            gate: Gate::Circle,
        });
    }

    fn reason(&self, member: MemberId, device: DeviceId, contact: &Contact) -> Option<Reason> {
        let room = contact.no_room.is_none_or(|(_, until)| until <= self.now);
        let puts = room
            && member != self.member
            && plan::wants_anything(&self.inventory, self.view(), member);
        if puts || self.fetch_wants(device) || (member != self.member && self.audit_due(device)) {
            return Some(Reason::Work);
        }
        let news = contact.news.is_none_or(|news| news != self.circle_news());
        news.then_some(Reason::News)
    }

    pub(super) fn contact_timeout(&self) -> Option<Timestamp> {
        self.contacts.look_at
    }
}
