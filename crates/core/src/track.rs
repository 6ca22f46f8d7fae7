//! Track record: how often a holder could show what it said it keeps.
//!
//! It is kept by days, so that it comes out the same in whatever order the outcomes are heard of, and
//! so that what is long past is forgotten. A holder that fails is named and gets less; nothing that
//! others keep with us is ever touched because of it.

use alloc::collections::BTreeMap;

use crate::time::{Span, Timestamp};

/// What is older says nothing about a holder any more.
const MEMORY: Span = Span::days(90);
/// Failures are shown to people for this long.
pub const SHOWN: Span = Span::days(30);
/// A single failure is a bad sector, not a habit.
const FAILURES_MIN: u32 = 2;
/// A holder is trusted as if it had shown so many shards before the first.
const HEAD_START: u32 = 20;
/// One failure among so many probes is too many.
const PROBES_PER_FAILURE: u32 = 25;

const DAY: u64 = Span::days(1).0;

/// Probes and failures, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many probes had an outcome.
    pub asked: u32,
    /// How many of them the holder could not answer rightly.
    pub failed: u32,
}

impl Tally {
    /// Tells whether the holder fails so often that others should get what it could have got.
    pub fn is_doubtful(self) -> bool {
        let weight = self.failed.saturating_mul(PROBES_PER_FAILURE);
        self.failed >= FAILURES_MIN && weight >= self.asked.saturating_add(HEAD_START)
    }
}

/// The outcomes of probes at one holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// By days since 1970.
    days: BTreeMap<u64, Tally>,
}

impl Track {
    /// Adds outcomes of the day of `at`.
    pub fn note(&mut self, at: Timestamp, asked: usize, failed: usize) {
        let add = |sum: &mut u32, more: usize| {
            *sum = sum.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        };
        let tally = self.days.entry(at.0 / DAY).or_default();
        add(&mut tally.asked, asked);
        add(&mut tally.failed, failed);
        // Bounded, and the same in any order: the newest days stay.
        while self.days.len() as u64 > MEMORY.0 / DAY {
            self.days.pop_first();
        }
    }

    /// Returns the sum over `span` before `now`.
    pub fn over(&self, span: Span, now: Timestamp) -> Tally {
        let first = now.0.saturating_sub(span.0) / DAY;
        let mut sum = Tally::default();
        for tally in self.days.range(first..=now.0 / DAY).map(|(_, it)| it) {
            sum.asked = sum.asked.saturating_add(tally.asked);
            sum.failed = sum.failed.saturating_add(tally.failed);
        }
        sum
    }

    /// Returns the sum over all that is remembered.
    pub fn lately(&self, now: Timestamp) -> Tally {
        self.over(MEMORY, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(asked: u32, failed: u32) -> Tally {
        Tally { asked, failed }
    }

    #[test]
    fn one_bad_sector_is_no_doubt_and_every_twentieth_shard_is() {
        for (asked, failed, doubtful) in [
            (0, 0, false),
            (1, 1, false),
            (2, 2, true),
            (60, 1, false),
            (60, 3, false),
            (60, 4, true),
            (1000, 50, true),
            (1000, 10, false),
        ] {
            let found = tally(asked, failed).is_doubtful();
            assert_eq!(found, doubtful, "{failed} of {asked}");
        }
    }

    proptest::proptest! {
        #[test]
        fn order_does_not_matter(mut outcomes in proptest::collection::vec((0_u64..200, 0_usize..9), 0..300)) {
            let fold = |outcomes: &[(u64, usize)]| {
                let mut track = Track::default();
                for (day, failed) in outcomes {
                    track.note(Timestamp(day * DAY), 9, *failed);
                }
                track
            };
            let one = fold(&outcomes);
            outcomes.reverse();
            let now = Timestamp(outcomes.iter().map(|it| it.0).max().unwrap_or(0) * DAY);
            proptest::prop_assert_eq!(one.lately(now), fold(&outcomes).lately(now));
            let all: usize = outcomes.iter().filter(|it| it.0 * DAY + SHOWN.0 >= now.0).map(|it| it.1).sum();
            proptest::prop_assert_eq!(one.over(SHOWN, now).failed as usize, all);
        }
    }
}
