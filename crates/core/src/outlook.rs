//! The outlook: when somebody will probably be met, when all will probably be safe, and when a loss
//! will probably be made good. A guess from habits; nothing counts as safe because of it.

use alloc::collections::BTreeMap;

use crate::{
    event::LinkClass,
    habit::Usual,
    health::Spread,
    id::{DeviceId, MemberId},
    meeting::Network,
    node::Node,
    time::{Span, Timestamp},
};

/// What will probably be, and by meeting whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// When.
    pub by: Timestamp,
    /// The member without whom it would be later.
    pub member: MemberId,
}

/// When a member is met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The hour in which a meeting becomes more likely than not; now, of whoever is near.
    pub next: Option<Timestamp>,
    /// The probability, in thousandths, of a meeting within a day.
    pub within_a_day: Option<u32>,
    /// The days and the hour at which they are usually met.
    pub usual: Option<Usual>,
    /// Whether that is mostly on the network on which we are now.
    pub usually_here: bool,
    /// How many bytes a meeting can move.
    pub bytes_per_meeting: Option<u64>,
}

/// How likely each other member is met within a week, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chances(BTreeMap<MemberId, u32>);

impl Chances {
    /// Returns how likely a member is met within a week; 0 for somebody who was never met.
    pub fn of(&self, member: MemberId) -> u32 {
        self.0.get(&member).copied().unwrap_or(0)
    }

    /// Returns the probability, in thousandths, that within a week somebody is met who could take a
    /// pack too: not `member`, and nobody who holds something of it. Of packs that are equally unsafe,
    /// those with the least chance elsewhere go to `member` first: the others can wait for somebody
    /// who is met often.
    pub fn elsewhere(&self, spread: &Spread, member: MemberId) -> u32 {
        if self.0.is_empty() {
            return 0;
        }
        let holds = |it: &MemberId| spread.get(it).is_some_and(|held| !held.is_empty());
        let missed = (self.0.iter())
            .filter(|(it, _)| **it != member && !holds(it))
            .fold(1000, |missed, (_, met)| {
                missed * (1000 - met.min(&1000)) / 1000
            });
        1000 - missed
    }
}

impl Node {
    /// Returns how likely each other member is met within a week. Nothing is expected of those who
    /// were never met.
    pub fn chances(&self, now: Timestamp) -> Chances {
        let others = self.circle.members().filter(|it| *it != self.member);
        let met = |it| Some((it, self.chance_of_meeting(it, Span::days(7), now)?));
        Chances(others.filter_map(met).collect())
    }

    /// Returns when a member is met.
    pub fn expected(&self, member: MemberId, now: Timestamp) -> Expected {
        let here = self.whereabouts();
        let offset = here.offset_minutes;
        let forecast = self.habits.forecast(member, now, offset);
        let usual = self.habits.usual(member, now, offset);
        let near = self.is_member_near(member, now);
        Expected {
            next: if near {
                Some(now)
            } else {
                forecast.as_ref().and_then(|it| it.next())
            },
            within_a_day: forecast.map(|it| it.within(Span::days(1))),
            usually_here: here.network != Network::UNKNOWN
                && usual.as_ref().and_then(|it| it.network) == Some(here.network),
            bytes_per_meeting: self.bytes_per_meeting(member, now),
            usual,
        }
    }

    /// Returns the probability, in thousandths, of a meeting with a member within `span`; nothing of
    /// somebody who was never met.
    pub fn chance_of_meeting(&self, member: MemberId, span: Span, now: Timestamp) -> Option<u32> {
        if self.is_member_near(member, now) {
            return Some(1000);
        }
        let offset = self.whereabouts().offset_minutes;
        let forecast = self.habits.forecast(member, now, offset)?;
        Some(forecast.within(span))
    }

    /// Returns when friends alone will probably be able to rebuild everything; nothing if they can
    /// now, if somebody is near who may take what is left, or if nobody's habits tell.
    pub fn safe_by(&self, now: Timestamp) -> Option<Outlook> {
        let bytes = self.safety(now).bytes_only_here();
        if bytes == 0 {
            return None;
        }
        let mut soonest: Option<Outlook> = None;
        for friend in self.members(now) {
            let room = friend
                .offered_to_me
                .saturating_sub(friend.bytes_held_for_me);
            if friend.refusal.is_some() || room < bytes {
                continue;
            }
            let member = friend.member;
            if self.is_member_near(member, now) {
                return None;
            }
            // Whoever is met first gets enough of everything.
            if let Some(by) = self.moved_by(member, bytes, now)
                && soonest.is_none_or(|it| by < it.by)
            {
                soonest = Some(Outlook { by, member });
            }
        }
        soonest
    }

    /// Returns when so many bytes will probably have gone to or come from a member.
    pub(crate) fn moved_by(
        &self,
        member: MemberId,
        bytes: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let next = self.expected(member, now).next?;
        let each = self.bytes_per_meeting(member, now).unwrap_or(u64::MAX);
        let more = bytes.div_ceil(each.max(1)).saturating_sub(1);
        if more == 0 {
            return Some(next);
        }
        let between = self.habits.interval(member, now)?;
        Some(next + Span(between.0.saturating_mul(more)))
    }

    /// Over the best class of links on which anything was moved.
    pub(crate) fn bytes_per_meeting(&self, member: MemberId, now: Timestamp) -> Option<u64> {
        let classes = [LinkClass::Lan, LinkClass::Direct];
        let by_class = |class| self.habits.bytes_per_meeting(member, class, now);
        classes.into_iter().find_map(by_class)
    }

    pub(crate) fn is_member_near(&self, member: MemberId, now: Timestamp) -> bool {
        (self.circle.devices_of(member)).any(|device| self.is_near(device, now))
    }

    pub(crate) fn is_near(&self, device: DeviceId, now: Timestamp) -> bool {
        let open = |it: &crate::node::Encounter| it.peer == device && it.is_open();
        self.encounters.values().any(open) || self.contacts.is_near(device, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Indices;

    #[test]
    fn who_holds_something_already_is_no_chance() {
        let member = |at| MemberId([at; 32]);
        let chances = Chances(
            [(1, 900), (2, 500), (3, 100)]
                .map(|(at, met)| (member(at), met))
                .into(),
        );
        let holding = |ats: &[u8]| -> Spread {
            let held = ats.iter().map(|at| (member(*at), Indices::first_n(1)));
            held.collect()
        };
        // Met now: the one who is hardly ever met.
        let nobody = chances.elsewhere(&holding(&[]), member(3));
        assert_eq!(nobody, 950);
        let often = chances.elsewhere(&holding(&[1]), member(3));
        assert_eq!(often, 500);
        assert_eq!(chances.elsewhere(&holding(&[1, 2]), member(3)), 0);
        assert_eq!(Chances::default().elsewhere(&holding(&[]), member(3)), 0);
        let empty = Spread::from([(member(1), Indices::default())]);
        assert_eq!(chances.elsewhere(&empty, member(3)), nobody);
    }
}
