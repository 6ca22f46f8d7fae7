//! Observed days: how long a holder has had something in its trash.
//!
//! A wall clock can jump: a flat battery brings back 1970, somebody in the way of time servers brings
//! 2099. So days are counted, one at most for each day of the calendar, and each only after the device
//! itself has run for some hours: however a clock jumps, a count takes that long. A clock that stood
//! still, went back or jumped far freezes deletion for some counted days more. A device that sleeps
//! over a weekend can't tell that from a jump; its trash is emptied later, never sooner.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{DecodeError, decode, encode},
    limits,
    time::{Span, Timestamp},
};

/// Version of the encoding.
const DAYS_VERSION: u16 = 1;
/// Longest encoding, in bytes.
pub const DAYS_BYTES_MAX: usize = 64;

/// A count of days that this device has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    version: u16,
    count: u32,
    /// The day since 1970 that was counted last.
    day: u64,
    /// How long the device has run since.
    ran: Span,
    /// When it looked at the clock last.
    seen: Timestamp,
    /// Nothing is erased before the count is this high.
    thaw: u32,
}

impl Default for Days {
    fn default() -> Self {
        Self {
            version: DAYS_VERSION,
            count: 0,
            day: 0,
            ran: Span(0),
            seen: Timestamp(0),
            thaw: 0,
        }
    }
}

impl Days {
    /// Returns how many days were counted.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Tells whether deletion waits because the clock did something odd.
    pub const fn is_frozen(&self) -> bool {
        self.count < self.thaw
    }

    /// Begins to count after a time in which nothing had to be: the rest of this day is no day.
    pub fn begin(&mut self, now: Timestamp) {
        self.seen = now;
        self.day = day_of(now);
        self.ran = Span(0);
    }

    /// Takes what lies in the trash into account: a count that was lost must not begin below it.
    pub fn at_least(&mut self, count: u32) {
        self.count = self.count.max(count);
    }

    /// Returns when to look at the clock next.
    pub fn look_again(&self) -> Timestamp {
        self.seen + limits::OBSERVE_EVERY
    }

    /// Returns for how long the device has run since the last counted day.
    pub(crate) const fn ran(&self) -> Span {
        self.ran
    }

    /// Looks at the clock. Tells whether one more day is counted.
    pub fn observe(&mut self, now: Timestamp) -> bool {
        if now < self.seen {
            if self.seen.since(now) > limits::CLOCK_STEP_MAX {
                self.freeze();
                self.seen = now;
                self.day = day_of(now);
            }
            return false;
        }
        let step = now.since(self.seen);
        self.seen = now;
        if step > limits::CLOCK_STEP_MAX {
            self.freeze();
        } else if step <= limits::AWAKE_STEP_MAX {
            self.ran.0 += step.0;
        }
        if day_of(now) <= self.day || self.ran < limits::OBSERVED_DAY {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.day = day_of(now);
        self.ran = Span(0);
        true
    }

    fn freeze(&mut self) {
        self.thaw = self.count.saturating_add(limits::FREEZE_DAYS);
    }

    /// Returns the encoding.
    pub fn to_bytes(&self) -> alloc::vec::Vec<u8> {
        encode(self)
    }

    /// Returns the count that `bytes` encode.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > DAYS_BYTES_MAX {
            return Err(DecodeError::TooLong("count of days"));
        }
        let (found, _) = postcard::take_from_bytes::<u16>(bytes)
            .map_err(|_| DecodeError::Malformed("count of days"))?;
        if found != DAYS_VERSION {
            return Err(DecodeError::TooNew {
                what: "count of days",
                found,
                known: DAYS_VERSION,
            });
        }
        decode("count of days", bytes)
    }
}

const fn day_of(time: Timestamp) -> u64 {
    time.0 / Span::days(1).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(20_000 * 86_400_000 + 43_200_000);

    fn begun() -> Days {
        let mut days = Days::default();
        days.begin(NOON);
        days
    }

    /// Runs for some time, looking as often as a node does.
    fn run(days: &mut Days, from: Timestamp, span: Span) -> Timestamp {
        let end = from + span;
        let mut now = from;
        while now < end {
            now = (now + limits::OBSERVE_EVERY).min(end);
            days.observe(now);
        }
        now
    }

    #[test]
    fn a_machine_that_is_always_on_counts_every_day() {
        let mut days = begun();
        run(&mut days, NOON, Span::days(30));
        assert_eq!(days.count(), 30);
        assert!(!days.is_frozen());
    }

    #[test]
    fn a_laptop_counts_the_days_of_its_use_in_spite_of_weekends() {
        let mut days = begun();
        let mut thawed = 0;
        for day in 1..=28_u64 {
            let morning = NOON + Span::days(day);
            if day % 7 < 5 {
                run(&mut days, morning, Span::hours(8));
                thawed += u32::from(!days.is_frozen());
            }
        }
        assert_eq!(days.count(), 20);
        assert!(thawed >= 8, "{thawed}");
    }

    #[test]
    fn a_jump_counts_nothing_and_freezes() {
        let mut days = begun();
        let far = run(&mut days, NOON, Span::hours(3)) + Span::days(26_000);
        days.observe(far);
        assert_eq!(days.count(), 0);
        assert!(days.is_frozen());
        let now = run(&mut days, far, Span::hours(8));
        assert_eq!(days.count(), 1);
        assert!(days.is_frozen());
        // And back: frozen anew, and it goes on counting.
        days.observe(NOON + Span::days(2));
        assert!(days.is_frozen() && days.count() == 1);
        assert!(now > far);
        run(&mut days, NOON + Span::days(2), Span::days(5));
        assert_eq!(days.count(), 6);
        assert!(!days.is_frozen());
    }

    #[test]
    fn a_clock_that_went_back_a_little_waits() {
        let mut days = begun();
        let later = run(&mut days, NOON, Span::hours(11));
        for minutes in (0..600).step_by(10) {
            days.observe(NOON + Span::secs(60 * minutes));
        }
        assert_eq!(days.count(), 0);
        run(&mut days, later, Span::hours(2));
        assert_eq!(days.count(), 1);
    }

    #[test]
    fn a_lost_count_goes_on_above_what_lies_in_the_trash() {
        let mut days = Days::default();
        days.at_least(57);
        assert_eq!(days.count(), 57);
    }

    #[test]
    fn golden() {
        let mut days = begun();
        run(&mut days, NOON, Span::days(3));
        let bytes = days.to_bytes();
        assert_eq!(Days::from_bytes(&bytes), Ok(days));
        crate::golden::assert_golden(
            include_str!("../../../testdata/format/days.txt"),
            &[("days", crate::id::hex(&bytes))],
        );
        let mut newer = bytes.clone();
        newer[0] += 1;
        assert!(matches!(
            Days::from_bytes(&newer),
            Err(DecodeError::TooNew { found: 2, .. })
        ));
    }

    proptest::proptest! {
        /// However a clock jumps, a counted day costs hours of running.
        #[test]
        fn no_clock_hastens_it(jumps in proptest::collection::vec((-400_i64..400, 0_u64..40), 1..60)) {
            let mut days = begun();
            let (mut now, mut ran) = (NOON, Span(0));
            for (hours, steps) in jumps {
                now = Timestamp(now.0.saturating_add_signed(hours * 3_600_000));
                days.observe(now);
                // A jump forward this small is taken for running.
                ran.0 += limits::AWAKE_STEP_MAX.0;
                for _ in 0..steps {
                    now = now + limits::OBSERVE_EVERY;
                    ran.0 += limits::OBSERVE_EVERY.0;
                    days.observe(now);
                }
            }
            proptest::prop_assert!(u64::from(days.count()) * limits::OBSERVED_DAY.0 <= ran.0);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(0_u8.., 0..80)) {
            if let Ok(days) = Days::from_bytes(&bytes) {
                proptest::prop_assert_eq!(days.to_bytes(), bytes);
            }
        }
    }
}
