//! Pacing: all shards that go out on one link, together, at no more than a given rate.

use std::{
    num::NonZeroU64,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// A slice is what goes out in this time: neither a burst that others on the line notice, nor a
/// packet at a time.
const SLICE: Duration = Duration::from_millis(25);
/// Smallest slice in bytes: less would waste most of a packet.
const SLICE_BYTES_MIN: u64 = 1024;
/// Who comes late, because the machine was busy, may catch up on so much. Beyond it the time is lost:
/// a pause must not lead to a burst.
const CATCH_UP: Duration = Duration::from_millis(50);

/// A link's pace. Bytes are let through in slices, each at its time.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: watch::Sender<Option<NonZeroU64>>,
    /// When the next slice may go.
    next: Mutex<Instant>,
}

impl Pace {
    /// Returns a pace without a limit.
    pub(crate) fn new() -> Self {
        Self {
            rate: watch::Sender::new(None),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Sets the rate in bytes per second; nothing is no limit. Who waits goes on by the new one.
    pub(crate) fn set(&self, rate: Option<NonZeroU64>) {
        self.rate.send_if_modified(|known| {
            let changed = *known != rate;
            if changed {
                *known = rate;
                *self.next() = Instant::now();
            }
            changed
        });
    }

    /// Waits until bytes may go, and returns how many: 1 to `most`.
    pub(crate) async fn admit(&self, most: usize) -> usize {
        if self.rate.borrow().is_none() {
            return most;
        }
        let mut changes = self.rate.subscribe();
        loop {
            let rate = *changes.borrow_and_update();
            let Some(rate) = rate else { return most };
            let (bytes, at) = take(&mut self.next(), Instant::now(), rate, most);
            tokio::select! {
                () = sleep_until(at) => return bytes,
                // The sender lives as long as this pace.
                _ = changes.changed() => {}
            }
        }
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        // An instant is whole at any time.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the next slice of at most `most` bytes: its length, and when it may go.
fn take(next: &mut Instant, now: Instant, rate: NonZeroU64, most: usize) -> (usize, Instant) {
    let slice = u128::from(rate.get()) * SLICE.as_millis() / 1000;
    let slice = slice.max(u128::from(SLICE_BYTES_MIN));
    let bytes = most.min(usize::try_from(slice).unwrap_or(usize::MAX));
    let at = (*next).max(now.checked_sub(CATCH_UP).unwrap_or(now));
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.get());
    *next = at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    (bytes, at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn rate(bytes: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(bytes)
    }

    /// Has `streams` streams push whole buffers through one pace, and returns what came through in
    /// that time.
    async fn bytes_through(pace: Arc<Pace>, streams: usize, over: Duration) -> u64 {
        let end = Instant::now() + over;
        let stream = |pace: Arc<Pace>| async move {
            let mut sent = 0;
            while Instant::now() < end {
                let mut left = 1 << 20;
                while left > 0 && Instant::now() < end {
                    let bytes = pace.admit(left).await;
                    left -= bytes;
                    sent += bytes as u64;
                }
            }
            sent
        };
        let streams: Vec<_> = (0..streams)
            .map(|_| tokio::spawn(stream(pace.clone())))
            .collect();
        let mut sent = 0;
        for stream in streams {
            sent += stream.await.unwrap();
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn all_streams_together_keep_the_rate() {
        for bytes in [30_000, 200_000, 5_000_000, 300_000_000] {
            for streams in [1, 4] {
                let pace = Arc::new(Pace::new());
                pace.set(rate(bytes));
                let sent = bytes_through(pace, streams, Duration::from_secs(10)).await;
                let (low, high) = (bytes * 10 * 98 / 100, bytes * 10 * 102 / 100);
                assert!((low..=high).contains(&sent), "{sent} at {bytes}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_followed_by_no_burst() {
        let pace = Arc::new(Pace::new());
        pace.set(rate(200_000));
        tokio::time::advance(Duration::from_secs(60)).await;
        let sent = bytes_through(pace, 4, Duration::from_millis(100)).await;
        assert!(sent <= 60_000, "{sent}");
    }

    #[test]
    fn slices_are_small() {
        let now = Instant::now();
        let slice = |bytes| take(&mut now.clone(), now, rate(bytes).unwrap(), 1 << 20).0;
        assert_eq!(slice(200_000), 5_000);
        assert_eq!(slice(100), 1024);
        assert_eq!(slice(u64::MAX), 1 << 20);
        assert_eq!(take(&mut now.clone(), now, rate(9).unwrap(), 3).0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_a_new_rate() {
        let pace = Arc::new(Pace::new());
        pace.set(rate(1));
        assert_eq!(pace.admit(1 << 20).await, 1024);
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.admit(1 << 20).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        pace.set(None);
        assert_eq!(waiting.await.unwrap(), 1 << 20);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
