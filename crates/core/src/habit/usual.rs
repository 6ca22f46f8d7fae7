//! The usual: the days and the hour at which a member is met, if there are any.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    WEIGHT, per_mille,
    wall::{Wall, weekday},
    weight,
};
use crate::{
    limits,
    meeting::{Meeting, Network},
};

/// Days on which somebody must have been met before anything is called usual; of a certain weekday,
/// in so many weeks.
const DAYS_MIN: u32 = 3;
/// A weekday is usual if this share of its days had a meeting, in thousandths.
const DAY_SHARE: u32 = 500;
/// An hour is usual if this share of the meetings begins around it, in thousandths.
const HOUR_SHARE: u32 = 500;
/// A network is usual if this share of the meetings was there, in thousandths.
const NETWORK_SHARE: u32 = 750;
/// So far from each other may beginnings be that are around the same hour, in minutes.
const AROUND_MINUTES: i64 = 60;
/// What began the evening before and ends before this minute of the day belongs to the evening.
const NIGHT_ENDS_MINUTE: i64 = 5 * 60;
const DAY_MINUTES: i64 = 24 * 60;

/// When a member is usually met, in local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usual {
    /// On which days.
    pub days: Days,
    /// Around which hour of the day, 0 to 23, if they mostly begin around the same.
    pub hour: Option<u8>,
    /// On which network, if mostly on the same.
    pub network: Option<Network>,
}

/// Days on which somebody is usually met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Days {
    /// Nearly every day.
    Most,
    /// Monday to Friday.
    Weekdays,
    /// Saturdays and Sundays.
    Weekends,
    /// One to three days of the week, Monday being 0.
    These(Vec<u8>),
}

impl Days {
    fn have(&self, day: i64) -> bool {
        let weekday = weekday(day);
        match self {
            Self::Most => true,
            Self::Weekdays => weekday < 5,
            Self::Weekends => weekday >= 5,
            Self::These(days) => days.iter().any(|it| usize::from(*it) == weekday),
        }
    }
}

/// How often somebody was met on one day of the week.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    met: u64,
    all: u64,
    days_met: u32,
}

impl Usual {
    pub(super) fn new<'a>(
        meetings: impl Iterator<Item = &'a Meeting> + Clone,
        now: Wall,
    ) -> Option<Self> {
        let today = now.day();
        let oldest = today - 7 * i64::from(limits::HABIT_WEEKS);
        let known_since = Wall::of(meetings.clone().next()?).0.day().max(oldest);
        let days = days_met(meetings.clone(), oldest, today);
        let usual_days = usual_days(&days, known_since, today)?;
        let beginnings = days
            .iter()
            .filter(|(day, _)| usual_days.have(**day))
            .filter_map(|(day, minute)| Some((age_weight(*day, today), (*minute)?)));
        Some(Self {
            hour: usual_hour(&beginnings.collect::<Vec<_>>()),
            network: usual_network(meetings, today),
            days: usual_days,
        })
    }
}

fn age_weight(day: i64, today: i64) -> u64 {
    weight((today - day).max(0).unsigned_abs() / 7)
}

/// Returns the days with a meeting, and the minute at which the first of the day began; nothing where
/// it went on from the day before.
fn days_met<'a>(
    meetings: impl Iterator<Item = &'a Meeting>,
    oldest: i64,
    today: i64,
) -> BTreeMap<i64, Option<i64>> {
    let mut days = BTreeMap::new();
    for (first, last) in meetings.map(Wall::of) {
        let night = last.minute() < NIGHT_ENDS_MINUTE && last.day() > first.day();
        let last_day = (last.day() - i64::from(night)).min(today);
        for day in first.day().max(oldest)..=last_day {
            let begins = (day == first.day()).then(|| first.minute());
            let known = days.entry(day).or_insert(begins);
            *known = (*known).min(begins);
        }
    }
    days
}

fn usual_days(days: &BTreeMap<i64, Option<i64>>, known_since: i64, today: i64) -> Option<Days> {
    let days_met = u32::try_from(days.len()).unwrap_or(u32::MAX);
    if days_met < DAYS_MIN {
        return None;
    }
    let mut shares = [Share::default(); 7];
    for day in known_since..=today {
        let share = &mut shares[weekday(day)];
        if days.contains_key(&day) {
            share.met += age_weight(day, today);
            share.days_met += 1;
        } else if day == today {
            // It isn't over yet.
            continue;
        }
        share.all += age_weight(day, today);
    }
    if shares.iter().any(|share| share.all == 0) {
        // Not even a week is known.
        let all = (today - known_since + 1).unsigned_abs();
        return (per_mille(days_met.into(), all) >= 2 * 1000 / 3).then_some(Days::Most);
    }
    let is_usual = |at: usize| per_mille(shares[at].met, shares[at].all) >= DAY_SHARE;
    let at_work = (0..5).filter(|at| is_usual(*at)).count();
    let free = (5..7).filter(|at| is_usual(*at)).count();
    match (at_work, free) {
        (4.., 0) => Some(Days::Weekdays),
        (0, 2) => Some(Days::Weekends),
        (work, free) if work + free >= 4 => Some(Days::Most),
        _ => {
            let sure = |at: &usize| is_usual(*at) && shares[*at].days_met >= DAYS_MIN;
            let days: Vec<u8> = (0..7)
                .filter(sure)
                .filter_map(|at| u8::try_from(at).ok())
                .collect();
            (!days.is_empty()).then_some(Days::These(days))
        }
    }
}

/// Returns the hour around which most meetings begin, from weights and minutes of the day.
fn usual_hour(beginnings: &[(u64, i64)]) -> Option<u8> {
    if beginnings.len() < DAYS_MIN as usize {
        return None;
    }
    let all: u64 = beginnings.iter().map(|(weight, _)| weight).sum();
    let around = |center: i64| {
        let (mut weights, mut sum) = (0_u64, 0_i128);
        for (weight, minute) in beginnings {
            let ahead =
                (minute - center + DAY_MINUTES / 2).rem_euclid(DAY_MINUTES) - DAY_MINUTES / 2;
            if ahead.abs() <= AROUND_MINUTES {
                weights += weight;
                sum += i128::from(*weight) * i128::from(ahead);
            }
        }
        let mean = sum / i128::from(weights.max(1));
        (weights, center + i64::try_from(mean).unwrap_or(0))
    };
    let best = beginnings.iter().map(|(_, minute)| around(*minute));
    let (weights, minute) = best.max()?;
    if per_mille(weights, all) < HOUR_SHARE {
        return None;
    }
    u8::try_from((minute + 30).div_euclid(60).rem_euclid(24)).ok()
}

fn usual_network<'a>(meetings: impl Iterator<Item = &'a Meeting>, today: i64) -> Option<Network> {
    let mut networks: BTreeMap<Network, u64> = BTreeMap::new();
    for meeting in meetings {
        let weight = age_weight(Wall::of(meeting).0.day(), today).min(WEIGHT);
        *networks.entry(meeting.network).or_default() += weight;
    }
    let all = networks.values().sum();
    let (network, weight) = networks.into_iter().max_by_key(|(_, weight)| *weight)?;
    (network != Network::UNKNOWN && per_mille(weight, all) >= NETWORK_SHARE).then_some(network)
}
