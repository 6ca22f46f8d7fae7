//! The heads of one feed that stay in memory, so that snapshots are found again.
//!
//! A stolen device may publish thousands, with whatever dates, to make its owner's good ones be dropped.
//! Its entries come after the good ones, and their dates are believed only between the last date
//! before them and now. So whatever it publishes falls on the days for which it was really in the
//! wrong hands; and each day has room for its first heads and the last one, not for a flood.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    entry::Entry,
    id::DeviceId,
    limits,
    time::{Span, Timestamp},
};

/// A sealed head that a device published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The device that made the snapshot.
    pub device: DeviceId,
    /// Position of the entry in its feed: the order of heads, since clocks jump.
    pub seq: u64,
    /// The device's clock.
    pub time: Timestamp,
    /// The sealed [`crate::record::HeadRecord`].
    pub sealed: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// By position, each with its date as far as that was believed.
    heads: VecDeque<(Timestamp, Head)>,
    /// Bytes of all of them.
    bytes: usize,
    /// The latest date so far, as far as it is believed.
    latest: Timestamp,
    /// Bytes of those of its day.
    bytes_of_day: usize,
    /// How many of them there are.
    of_day: usize,
}

impl Heads {
    pub(super) const fn new() -> Self {
        Self {
            heads: VecDeque::new(),
            bytes: 0,
            latest: Timestamp(0),
            bytes_of_day: 0,
            of_day: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Head> {
        self.heads.iter().map(|(_, head)| head)
    }

    /// Keeps the head in the next entry, and lets go of another one if there is no room.
    pub(super) fn keep(&mut self, entry: &Entry, sealed: Vec<u8>, now: Timestamp) {
        let day = |time: Timestamp| time.0 / Span::days(1).0;
        let time = entry.time.min(now).max(self.latest);
        if day(time) > day(self.latest) {
            (self.bytes_of_day, self.of_day) = (0, 0);
        }
        self.latest = time;
        let full = self.bytes_of_day + sealed.len() > limits::DAY_HEAD_BYTES_MAX;
        if full
            && self.of_day > 1
            && let Some((_, last)) = self.heads.pop_back()
        {
            self.count(&last, false);
        }
        let head = Head {
            device: entry.device,
            seq: entry.seq,
            time: entry.time,
            sealed,
        };
        self.count(&head, true);
        self.heads.push_back((time, head));
        let old = |believed: Timestamp| time.since(believed).0 > limits::HEADS_KEPT.0;
        while self.bytes > limits::FEED_HEAD_BYTES_MAX
            && self
                .heads
                .front()
                .is_some_and(|(believed, _)| old(*believed))
        {
            let oldest = self.heads.pop_front();
            self.bytes -= oldest.map_or(0, |(_, head)| head.sealed.len());
        }
    }

    /// Counts a head of the latest day in, or out.
    fn count(&mut self, head: &Head, comes: bool) {
        let bytes = head.sealed.len();
        let change = |of: &mut usize, by| {
            *of = match comes {
                true => *of + by,
                false => of.saturating_sub(by),
            };
        };
        change(&mut self.bytes, bytes);
        change(&mut self.bytes_of_day, bytes);
        change(&mut self.of_day, 1);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::id::{CircleId, EntryHash};

    const DAY: u64 = Span::days(1).0;
    const HEAD: usize = 350;

    fn published(heads: &mut Heads, seq: u64, time: u64, now: u64) {
        let entry = Entry {
            version: 1,
            circle: CircleId([0; 32]),
            device: DeviceId([1; 32]),
            seq,
            prev: EntryHash::NONE,
            time: Timestamp(time),
            kind: 10,
            body: Vec::new(),
        };
        heads.keep(&entry, vec![0; HEAD], Timestamp(now));
    }

    fn seqs(heads: &Heads) -> Vec<u64> {
        heads.iter().map(|head| head.seq).collect()
    }

    #[test]
    fn a_flood_of_any_dates_displaces_nothing_of_the_days_before() {
        let mut heads = Heads::new();
        let begin = 20_000 * DAY;
        for hour in 0..30 * 24 {
            let at = begin + hour * DAY / 24;
            published(&mut heads, hour, at, at);
        }
        let good = seqs(&heads);
        assert_eq!(good.len(), 30 * 24);
        // For a month, each of its days, from the past and the future by turns.
        let mut seq = 30 * 24;
        for day in 30..60 {
            let now = begin + day * DAY;
            for at in 0..2000 {
                let time = if at % 2 == 0 {
                    at * DAY
                } else {
                    now + at * DAY
                };
                published(&mut heads, seq, time, now);
                seq += 1;
            }
        }
        let kept = seqs(&heads);
        assert_eq!(kept[..good.len()], good);
        assert!(kept.contains(&(seq - 1)), "and the newest");
        assert!(heads.bytes <= 30 * limits::DAY_HEAD_BYTES_MAX + good.len() * HEAD);
        assert_eq!(heads.bytes, kept.len() * HEAD);
    }

    #[test]
    fn who_comes_back_after_months_brings_all() {
        let mut heads = Heads::new();
        let now = 20_100 * DAY;
        for hour in 0..90 * 24 {
            published(&mut heads, hour, 20_000 * DAY + hour * DAY / 24, now);
        }
        assert_eq!(seqs(&heads).len(), 90 * 24);
    }

    #[test]
    fn in_the_end_the_oldest_go() {
        let mut heads = Heads::new();
        for hour in 0..365 * 24 {
            let at = hour * DAY / 24;
            published(&mut heads, hour, at, at);
        }
        let kept = seqs(&heads);
        assert_eq!(kept.len(), limits::FEED_HEAD_BYTES_MAX / HEAD);
        assert_eq!(kept.last(), Some(&(365 * 24 - 1)));
    }
}
