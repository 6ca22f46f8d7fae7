//! Gossip: whom to dial for news alone, and when.
//!
//! Every receipt is news for everybody. If each of n devices near asked all others, it would cost n²
//! encounters. So each asks one at a time, chosen by chance, and rests before it asks the next: what
//! one knows, all know after about log n rounds. Who has work never waits for any of this.

use alloc::vec::Vec;

use rand_core::Rng;

use super::{Candidate, Reason};
use crate::{
    id::DeviceId,
    limits,
    node::Node,
    time::{Span, Timestamp},
};

/// Dials for news alone, to devices in reach.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    /// There was a reason for such a dial when last looked.
    pub(super) wanted: bool,
    /// When the next one may begin; nothing while there was no reason since the last.
    due: Option<Timestamp>,
    /// Whom the last one went to, and when.
    asked: Option<(DeviceId, Timestamp)>,
}

/// Returns how long to rest before a dial with so many devices near: not at all among few, else
/// between one and two times as long as it takes a crowd to dial in turn.
fn rest(near: usize, chance: u32) -> Span {
    if near < limits::CROWD {
        return Span(0);
    }
    let turn = (limits::GOSSIP_TURN.0).saturating_mul(near as u64);
    let least = turn.max(limits::GOSSIP_REST.0);
    Span(least + u64::from(chance) % least)
}

impl Node {
    /// Tells whether the circle has so many devices that those near may be a crowd.
    pub(super) fn may_be_crowded(&self) -> bool {
        self.circle.devices().nth(limits::CROWD).is_some()
    }

    /// Returns which of those who are near and have news to dial now, or notes when to look again.
    pub(super) fn gossip(&mut self, mut candidates: Vec<Candidate>) -> Option<Candidate> {
        let now = self.now;
        if !self.contacts.gossip.wanted {
            self.contacts.gossip.due = None;
        }
        if candidates.is_empty() {
            return None;
        }
        let counted = self.contacts.arrived + limits::COUNT_FIRST;
        if counted > now && self.may_be_crowded() {
            // How many are here is not known yet, and in a crowd those with work come first.
            self.contacts.look_again(counted);
            return None;
        }
        let near = self.contacts.company;
        let rng = &mut self.rng;
        let due = &mut self.contacts.gossip.due;
        let due = *due.get_or_insert_with(|| now + rest(near, rng.next_u32()));
        let earliest = due.max(self.contacts.answer_due());
        if earliest > now {
            self.contacts.look_again(earliest);
            return None;
        }
        let chosen = self.rng.next_u32() as usize % candidates.len();
        let chosen = candidates.swap_remove(chosen);
        let gossip = &mut self.contacts.gossip;
        (gossip.due, gossip.asked) = (None, Some((chosen.device, now)));
        Some(chosen)
    }
}

/// Tells whether a dial would be for news alone, to a device in reach or from the midst of a crowd.
/// Others are dialled where they may be, with little hope; there it takes many tries at a time, which a
/// crowd can't afford: its own members have most of the news.
pub(super) fn is_gossip(reason: Reason, in_reach: bool, crowd: bool) -> bool {
    reason == Reason::News && (in_reach || crowd)
}

impl super::Contacts {
    /// Returns until when to wait for the last dial for news, if it is still under way.
    fn answer_due(&self) -> Timestamp {
        let under_way = |device: &DeviceId| {
            let contact = self.contacts.get(device);
            contact.is_some_and(|contact| contact.dialling.is_some())
        };
        match self.gossip.asked.filter(|(device, _)| under_way(device)) {
            Some((_, since)) => since + limits::GOSSIP_REST,
            None => Timestamp(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_need_no_rest_and_many_rest_in_turn() {
        assert_eq!(rest(limits::CROWD - 1, u32::MAX), Span(0));
        for near in [limits::CROWD, 8, 50, 255] {
            let least = limits::GOSSIP_REST.0.max(100 * near as u64);
            for chance in [0, 1, 12_345, u32::MAX] {
                let rest = rest(near, chance).0;
                assert!((least..2 * least).contains(&rest), "{near}: {rest}");
            }
        }
    }
}
