//! Habits: whom this device meets, and when, learnt from the meetings that it had.
//!
//! Everything is asked of the meetings themselves, so there is nothing that could drift from them.
//! Newer weeks count more: the weight of a week halves every four weeks. Hours and days are those of
//! the clock on the wall when and where the meeting was.

mod forecast;
#[cfg(test)]
mod tests;
mod usual;
mod wall;

use alloc::{collections::BTreeMap, vec::Vec};

use self::wall::Wall;
pub use self::{
    forecast::Forecast,
    usual::{Days, Usual},
};
use crate::{
    event::LinkClass,
    id::{DeviceId, MemberId},
    limits,
    meeting::Meeting,
    time::{Span, Timestamp},
};

/// What one meeting of this week weighs.
const WEIGHT: u64 = 1 << 16;
/// Weeks after which a meeting weighs half.
const HALF_LIFE_WEEKS: u64 = 4;
/// 2^(-n/4) of [`WEIGHT`].
const FADING: [u64; HALF_LIFE_WEEKS as usize] = [WEIGHT, 55_109, 46_341, 38_968];

/// Returns what something of so many weeks ago weighs.
fn weight(weeks: u64) -> u64 {
    let step = (weeks % HALF_LIFE_WEEKS) as usize;
    FADING[step]
        .checked_shr(u32::try_from(weeks / HALF_LIFE_WEEKS).unwrap_or(u32::MAX))
        .unwrap_or(0)
}

/// Returns `part` of `whole` in thousandths.
fn per_mille(part: u64, whole: u64) -> u32 {
    let share = u128::from(part) * 1000 / u128::from(whole.max(1));
    u32::try_from(share).unwrap_or(1000).min(1000)
}

/// All meetings that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Whole meetings, by start.
    members: BTreeMap<MemberId, Vec<Meeting>>,
    count: usize,
}

impl Habits {
    /// Takes a meeting, or a piece of one. The order does not matter, as long as there is room for
    /// all: of too many, the oldest are forgotten.
    pub fn add(&mut self, piece: Meeting) {
        let meetings = self.members.entry(piece.member).or_default();
        let mut whole = piece;
        let before = meetings.len();
        // Pieces come in order, nearly always, so what they continue is at the end.
        let mut at = before;
        while at > 0 {
            at -= 1;
            let other = &meetings[at];
            let (first, later) = if other.start <= whole.start {
                (other, &whole)
            } else {
                (&whole, other)
            };
            if first.continues_in(later) {
                let (mut first, later) = (*first, *later);
                first.take(&later);
                whole = first;
                meetings.remove(at);
                // What was too far away before may be near now.
                at = meetings.len();
            }
        }
        let order = |it: &Meeting| (it.start, it.device, it.network);
        let place = meetings.partition_point(|it| order(it) < order(&whole));
        meetings.insert(place, whole);
        if meetings.len() > limits::MEMBER_MEETINGS_MAX {
            meetings.remove(0);
        }
        self.count = self.count + meetings.len() - before;
        if self.count > limits::MEETINGS_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let first = |(member, meetings): (&MemberId, &Vec<Meeting>)| {
            meetings.first().map(|it| (it.start, *member))
        };
        let Some((_, member)) = self.members.iter().filter_map(first).min() else {
            return;
        };
        if let Some(meetings) = self.members.get_mut(&member) {
            meetings.remove(0);
            self.count -= 1;
            if meetings.is_empty() {
                self.members.remove(&member);
            }
        }
    }

    /// Returns all meetings, whole, member by member.
    pub fn meetings(&self) -> impl Iterator<Item = &Meeting> {
        self.members.values().flatten()
    }

    /// Returns how many meetings are remembered.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Tells whether nobody was ever met.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns when a member was last met with some device.
    pub fn last_met(&self, member: MemberId, device: DeviceId) -> Option<Timestamp> {
        let meetings = self.of(member).iter().filter(|it| it.device == device);
        meetings.map(Meeting::end).max()
    }

    /// Returns when a member may be met next; nothing of somebody who was never met over a link that
    /// carries packs. `offset_minutes`: how far local time is ahead of UTC now.
    pub fn forecast(
        &self,
        member: MemberId,
        now: Timestamp,
        offset_minutes: i16,
    ) -> Option<Forecast> {
        Forecast::new(self.carrying(member, now), now, offset_minutes)
    }

    /// Returns when a member is usually met; nothing when too little is known, or no habit shows.
    pub fn usual(&self, member: MemberId, now: Timestamp, offset_minutes: i16) -> Option<Usual> {
        Usual::new(self.carrying(member, now), Wall::at(now, offset_minutes))
    }

    /// Returns how much time usually lies between the beginnings of two meetings with a member; nothing
    /// before there were two.
    pub fn interval(&self, member: MemberId, now: Timestamp) -> Option<Span> {
        let starts = self.carrying(member, now).map(|it| it.start);
        let first = starts.clone().min()?;
        let known = weeks(now.since(first)).min(u64::from(limits::HABIT_WEEKS) - 1);
        let ages = starts.map(|start| weeks(now.since(start)));
        let met: u64 = ages.map(weight).sum();
        let all: u64 = (0..=known).map(weight).sum();
        let several = self.carrying(member, now).nth(1).is_some();
        let span = u128::from(Span::days(7).0) * u128::from(all) / u128::from(met.max(1));
        (several && met > 0).then(|| Span(u64::try_from(span).unwrap_or(u64::MAX)))
    }

    /// Returns how many bytes a meeting with a member can move over links of a class: its usual
    /// length at the rate that there was while connected. Nothing before any bytes were moved.
    pub fn bytes_per_meeting(
        &self,
        member: MemberId,
        class: LinkClass,
        now: Timestamp,
    ) -> Option<u64> {
        let (mut weights, mut length, mut bytes, mut linked) = (0_u128, 0_u128, 0_u128, 0_u128);
        for it in self.of(member) {
            if it.class != class || it.start > now {
                continue;
            }
            let weight = u128::from(weight(weeks(now.since(it.end()))));
            weights += weight;
            length += weight * u128::from(it.length.max(it.linked).0);
            if it.bytes() > 0 {
                bytes += weight * u128::from(it.bytes());
                linked += weight * u128::from(it.linked.0.max(1));
            }
        }
        if bytes == 0 || weights == 0 || linked == 0 {
            return None;
        }
        let length = length / weights;
        Some(u64::try_from(bytes.saturating_mul(length) / linked).unwrap_or(u64::MAX))
    }

    fn of(&self, member: MemberId) -> &[Meeting] {
        self.members.get(&member).map_or(&[], Vec::as_slice)
    }

    /// Meetings so far over links that carry packs. A clock that was ahead may have left some that lie
    /// in the future.
    fn carrying(&self, member: MemberId, now: Timestamp) -> impl Iterator<Item = &Meeting> + Clone {
        (self.of(member).iter()).filter(move |it| it.start <= now && it.carries())
    }
}

fn weeks(span: Span) -> u64 {
    span.0 / Span::days(7).0
}
