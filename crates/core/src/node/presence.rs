//! Presence: who is near now, and since when. It is written down as a meeting when it ends, and in
//! pieces while it goes on.
//!
//! Devices connect only when there is work, so a beacon counts as much as an encounter.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Node, encounter::Encounter};
use crate::{
    event::{Effect, LinkClass},
    id::{DeviceId, MemberId},
    limits,
    meeting::{Meeting, Network, Whereabouts},
    time::{Span, Timestamp},
};

/// One device, for as long as it is near.
#[derive(Debug)]
struct Presence {
    member: MemberId,
    /// Since when, or until when it is written down.
    since: Timestamp,
    /// When it was last heard.
    heard: Timestamp,
    whereabouts: Whereabouts,
    /// The best link there was; nothing while there were only beacons.
    class: Option<LinkClass>,
    linked: Span,
    sent: u64,
    received: u64,
    /// Something of it is written down.
    written: bool,
}

impl Presence {
    /// Returns when something is to be written down of it, unless it is heard of before.
    fn due(&self) -> Timestamp {
        let piece = self.since + limits::MEETING_PIECE;
        piece.min(self.heard + limits::MEETING_GAP)
    }

    /// Returns what is not written down yet, if that says anything.
    fn take_piece(&mut self, device: DeviceId) -> Option<Meeting> {
        let length = self.heard.since(self.since);
        let piece = Meeting {
            device,
            member: self.member,
            class: self.class.unwrap_or(LinkClass::Lan),
            network: self.whereabouts.network,
            start: self.since,
            offset_minutes: self.whereabouts.offset_minutes,
            length,
            linked: self.linked,
            sent: self.sent,
            received: self.received,
        };
        let news = !self.written || length > Span(0) || piece.bytes() > 0;
        self.since = self.heard;
        (self.linked, self.sent, self.received) = (Span(0), 0, 0);
        self.written = true;
        news.then_some(piece)
    }
}

/// Who is near, and where we are.
#[derive(Debug, Default)]
pub(crate) struct Presences {
    near: BTreeMap<DeviceId, Presence>,
    whereabouts: Whereabouts,
}

impl Node {
    /// Takes a meeting of an earlier run, or a piece of one, before anything else happens.
    pub fn learn_meeting(&mut self, meeting: Meeting) {
        self.habits.add(meeting);
    }

    /// Writes down the meetings that go on, and the day so far: the process is about to end.
    pub fn leave(&mut self, now: Timestamp) {
        self.advance(now);
        let links: Vec<_> = self.encounters.keys().copied().collect();
        links.into_iter().for_each(|link| self.link_down(link));
        self.write_down(|_| true);
        self.presences.near.clear();
        if self.observe_at().is_some() {
            self.keep_days();
        }
    }

    /// Returns where this device is.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.presences.whereabouts
    }

    /// A device was heard: it is near.
    pub(super) fn note_heard(&mut self, device: DeviceId) {
        let open = self.encounters.values().filter(|it| it.peer == device);
        let since = open.map(|it| it.since).min().unwrap_or(self.now);
        self.present(device, since, self.now);
    }

    /// Notes that a device was near between these times. Returns its presence, unless it is none of the
    /// circle's.
    fn present(
        &mut self,
        device: DeviceId,
        since: Timestamp,
        heard: Timestamp,
    ) -> Option<&mut Presence> {
        let member = self.circle.member_of(device)?;
        if device == self.device {
            return None;
        }
        let whereabouts = self.presences.whereabouts;
        let was_gone = |it: &Presence| since.since(it.heard) >= limits::MEETING_GAP;
        if self.presences.near.get(&device).is_some_and(was_gone) {
            self.write_down(|it| it == device);
            self.presences.near.remove(&device);
        }
        let presence = self.presences.near.entry(device).or_insert(Presence {
            member,
            since,
            heard,
            whereabouts,
            class: None,
            linked: Span(0),
            sent: 0,
            received: 0,
            written: false,
        });
        presence.heard = presence.heard.max(heard);
        Some(presence)
    }

    /// An encounter ended in which both sides knew each other: with the last sign of life, however long
    /// this machine slept before it noticed.
    pub(super) fn note_encounter(&mut self, encounter: &Encounter) {
        let until = encounter.last_sign;
        let linked = until.since(encounter.since);
        if let Some(presence) = self.present(encounter.peer, encounter.since, until) {
            presence.linked = Span(presence.linked.0 + linked.0);
            presence.sent += encounter.bytes_sent;
            presence.received += encounter.bytes_received;
            let class = presence.class.unwrap_or(encounter.class);
            presence.class = Some(class.min(encounter.class));
        }
    }

    /// This device is somewhere else, or the clocks there changed.
    pub(super) fn moved(&mut self, whereabouts: Whereabouts) {
        let before = self.presences.whereabouts.network;
        if before == Network::UNKNOWN {
            // It may have taken a moment to find out.
            let near = self.presences.near.values_mut();
            near.for_each(|it| it.whereabouts = whereabouts);
        } else if before != whereabouts.network {
            // Who is met here is met anew.
            self.write_down(|_| true);
            self.presences.near.clear();
        }
        self.presences.whereabouts = whereabouts;
    }

    /// Writes down what ended, and what has lasted for long.
    pub(super) fn watch_presences(&mut self) {
        let now = self.now;
        for encounter in self.encounters.values().filter(|it| it.is_open()) {
            if let Some(presence) = self.presences.near.get_mut(&encounter.peer) {
                presence.heard = presence.heard.max(encounter.last_sign);
            }
        }
        let due: Vec<DeviceId> = (self.presences.near.iter())
            .filter(|(_, it)| it.due() <= now)
            .map(|(device, _)| *device)
            .collect();
        if due.is_empty() {
            return;
        }
        self.write_down(|device| due.contains(&device));
        let gone = |it: &Presence| now.since(it.heard) >= limits::MEETING_GAP;
        self.presences.near.retain(|_, it| !gone(it));
    }

    fn write_down(&mut self, which: impl Fn(DeviceId) -> bool) {
        let mut pieces = Vec::new();
        for (device, presence) in &mut self.presences.near {
            if which(*device) {
                pieces.extend(presence.take_piece(*device));
            }
        }
        for meeting in pieces {
            self.habits.add(meeting);
            self.effect(Effect::Remember { meeting });
        }
    }

    pub(super) fn presence_timeout(&self) -> Option<Timestamp> {
        self.presences.near.values().map(Presence::due).min()
    }
}
