//! A forecast: how likely a member is met within some time.
//!
//! It asks the past: at this hour of the week, one, two, three weeks ago, how long was it then until
//! the next meeting? In the first weeks this hour of the past days counts a little too.

use alloc::vec::Vec;

use super::{
    WEIGHT, per_mille,
    wall::{WEEK, Wall},
    weight,
};
use crate::{
    limits,
    meeting::Meeting,
    time::{Span, Timestamp},
};

/// While fewer weeks than this are known, days count too.
const YOUNG_WEEKS: i64 = 3;
/// No wait is foreseen that is longer than this, in weeks.
const WEEKS_AHEAD_MAX: i64 = 26;

/// How long it took from some moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Hours until the next meeting; nothing if there was none in a week.
    wait: Option<i64>,
    /// Hours of which it is known whether there was one.
    seen: i64,
    weight: u64,
}

/// When a member may be met next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    now: Timestamp,
    offset_minutes: i16,
    /// This hour.
    hour: i64,
    samples: Vec<Sample>,
    /// The weight of the doubt: that the past says nothing.
    doubt: u64,
}

impl Forecast {
    pub(super) fn new<'a>(
        meetings: impl Iterator<Item = &'a Meeting>,
        now: Timestamp,
        offset_minutes: i16,
    ) -> Option<Self> {
        let mut hours: Vec<(i64, i64)> = meetings
            .map(Wall::of)
            .map(|(first, last)| (first.hour(), last.hour()))
            .collect();
        hours.sort_unstable();
        let known_since = hours.first()?.0;
        let hour = Wall::at(now, offset_minutes).hour();
        let wait = |then: i64| {
            let later = hours.iter().filter(|(_, last)| *last >= then);
            let waits = later.map(|(first, _)| (*first - then).max(0));
            // What lies ahead of now is not known yet.
            waits
                .min()
                .filter(|wait| *wait < WEEK && then + *wait <= hour)
        };
        let mut samples = Vec::new();
        let mut ask = |hours_ago: i64, period: i64, weight: u64| {
            let then = hour - hours_ago;
            // Before the first meeting nothing is known but that it came.
            let (wait, known) = (wait(then), then >= known_since);
            let seen = if known { hours_ago } else { 0 };
            if known || then + period > known_since {
                samples.push(Sample { wait, seen, weight });
            }
        };
        for week in 1..=i64::from(limits::HABIT_WEEKS) {
            ask(WEEK * week, WEEK, weight(week.unsigned_abs() - 1));
        }
        if known_since + YOUNG_WEEKS * WEEK > hour {
            let days = (1..7 * YOUNG_WEEKS).filter(|day| day % 7 != 0);
            days.for_each(|day| ask(24 * day, 24, WEIGHT / 7));
        }
        let doubt = WEIGHT / (1 + samples.len() as u64);
        Some(Self {
            now,
            offset_minutes,
            hour,
            samples,
            doubt,
        })
    }

    /// Returns the probability, in thousandths, that there is a meeting within `span` from now.
    pub fn within(&self, span: Span) -> u32 {
        let until = Wall::at(self.now + span, self.offset_minutes).hour();
        let hours = (until - self.hour).max(0);
        let (weeks, rest) = (hours / WEEK, hours % WEEK);
        let mut missed = 1000;
        if rest > 0 || weeks == 0 {
            missed -= u64::from(self.within_hours(rest));
        }
        for _ in 0..weeks.min(WEEKS_AHEAD_MAX) {
            missed = missed * self.week_missed() / 1000;
        }
        1000 - u32::try_from(missed).unwrap_or(1000)
    }

    /// Returns the beginning of the hour in which it becomes more likely than not that there was a
    /// meeting, which may be this hour; nothing if that is not within half a year.
    pub fn next(&self) -> Option<Timestamp> {
        let mut waits: Vec<i64> = self.samples.iter().filter_map(|it| it.wait).collect();
        waits.sort_unstable();
        let likely = waits.iter().find(|wait| self.within_hours(**wait) >= 500);
        let wait = match likely {
            Some(wait) => *wait,
            None => {
                let mut missed = 1000;
                let mut weeks = (1..=WEEKS_AHEAD_MAX).filter(|_| {
                    missed = missed * self.week_missed() / 1000;
                    missed <= 500
                });
                // At the hour at which they mostly are.
                waits.get(waits.len() / 2)? + WEEK * (weeks.next()? - 1)
            }
        };
        let hour = self.hour.saturating_add(wait);
        Some(Wall::hour_begins(hour, self.offset_minutes))
    }

    /// The probability that a whole week passes without a meeting.
    fn week_missed(&self) -> u64 {
        u64::from(1000 - self.within_hours(WEEK - 1))
    }

    /// For less than a week.
    fn within_hours(&self, hours: i64) -> u32 {
        let (mut met, mut all) = (0, self.doubt);
        for sample in &self.samples {
            let hit = sample.wait.is_some_and(|wait| wait <= hours);
            if hit || sample.seen > hours {
                all += sample.weight;
                met += if hit { sample.weight } else { 0 };
            }
        }
        per_mille(met, all)
    }
}
