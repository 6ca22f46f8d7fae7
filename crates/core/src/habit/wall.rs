//! The clock on the wall: local time in hours, days and weeks.

use crate::{
    meeting::Meeting,
    time::{Span, Timestamp},
};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Hours of a week.
pub(super) const WEEK: i64 = 7 * 24;
/// The first day of 1970 was a Thursday; Monday is 0.
const FIRST_WEEKDAY: i64 = 3;

/// A moment as a clock on the wall showed it: milliseconds since 1970 in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wall(i64);

impl Wall {
    /// Returns what the clocks showed where local time was so far ahead of UTC.
    pub(super) fn at(time: Timestamp, offset_minutes: i16) -> Self {
        let utc = i64::try_from(time.0).unwrap_or(i64::MAX / 2);
        Self(utc.min(i64::MAX / 2) + i64::from(offset_minutes) * MINUTE_MS)
    }

    /// Returns the first and the last moment of a meeting.
    pub(super) fn of(meeting: &Meeting) -> (Self, Self) {
        let last = meeting.start + Span(meeting.length.0.saturating_sub(1));
        let offset = meeting.offset_minutes;
        (Self::at(meeting.start, offset), Self::at(last, offset))
    }

    /// Returns the number of the hour.
    pub(super) fn hour(self) -> i64 {
        self.0.div_euclid(HOUR_MS)
    }

    /// Returns the number of the day.
    pub(super) fn day(self) -> i64 {
        self.hour().div_euclid(24)
    }

    /// Returns the minute of the day.
    pub(super) fn minute(self) -> i64 {
        self.0.div_euclid(MINUTE_MS).rem_euclid(24 * 60)
    }

    /// Returns the time at which an hour begins, given how far local time is ahead of UTC.
    pub(super) fn hour_begins(hour: i64, offset_minutes: i16) -> Timestamp {
        let local = hour.saturating_mul(HOUR_MS);
        let utc = local.saturating_sub(i64::from(offset_minutes) * MINUTE_MS);
        Timestamp(u64::try_from(utc).unwrap_or(0))
    }
}

/// Returns the weekday of a day, Monday being 0.
pub(super) fn weekday(day: i64) -> usize {
    // Between 0 and 6.
    (day + FIRST_WEEKDAY).rem_euclid(7) as usize
}
