//! How fast shards go: bytes per peer and direction, and their rate between two looks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::id::DeviceId;
use carryall_net::{Direction, Transfer};
use tokio::time::{Duration, Instant};

/// A look at a rate that is younger than this repeats the one before.
const LOOK_MIN: Duration = Duration::from_millis(400);

type Way = (DeviceId, Direction);

/// One way's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Bytes that went since the way became busy.
    pub(crate) done: u64,
    /// Those, and what is left of the shards under way.
    pub(crate) total: u64,
    /// Bytes per second, lately.
    pub(crate) rate: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    finished: u64,
    seen: u64,
    seen_at: Instant,
    rate: u64,
}

/// Counts bytes. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Mutex<BTreeMap<Way, Count>>>);

impl Meter {
    /// Adds the bytes of a shard that is over.
    pub(crate) fn add(&self, peer: DeviceId, direction: Direction, bytes: u32) {
        let mut counts = self.counts();
        let fresh = Count {
            finished: 0,
            seen: 0,
            seen_at: Instant::now(),
            rate: 0,
        };
        let count = counts.entry((peer, direction)).or_insert(fresh);
        count.finished += u64::from(bytes);
    }

    /// Forgets a peer: the encounter is over.
    pub(crate) fn forget(&self, peer: DeviceId) {
        self.counts().retain(|(of, _), _| *of != peer);
    }

    /// Returns the state of every way on which something is under way now.
    pub(crate) fn read(&self, underway: &[Transfer]) -> BTreeMap<Way, Reading> {
        let now = Instant::now();
        let mut counts = self.counts();
        let mut readings: BTreeMap<Way, Reading> = BTreeMap::new();
        for transfer in underway {
            let reading = readings
                .entry((transfer.peer, transfer.direction))
                .or_default();
            reading.done += u64::from(transfer.done);
            reading.total += u64::from(transfer.bytes.max(transfer.done));
        }
        for (way, reading) in &mut readings {
            let fresh = Count {
                finished: 0,
                seen: 0,
                seen_at: now,
                rate: 0,
            };
            let count = counts.entry(*way).or_insert(fresh);
            reading.done += count.finished;
            reading.total += count.finished;
            let elapsed = now.duration_since(count.seen_at);
            if elapsed >= LOOK_MIN {
                let bytes = u128::from(reading.done.saturating_sub(count.seen));
                let rate = bytes * 1000 / elapsed.as_millis().max(1);
                count.rate = u64::try_from(rate).unwrap_or(u64::MAX);
                (count.seen, count.seen_at) = (reading.done, now);
            }
            reading.rate = count.rate;
        }
        readings
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Way, Count>> {
        // Counts are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use carryall_core::{event::LinkId, id::ShardId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_are_bytes_over_time() {
        let (meter, peer) = (Meter::default(), DeviceId([1; 32]));
        let transfer = |done| Transfer {
            link: LinkId(1),
            peer,
            shard: ShardId([2; 32]),
            direction: Direction::Sending,
            done,
            bytes: 1000,
        };
        let way = (peer, Direction::Sending);
        assert_eq!(meter.read(&[transfer(0)])[&way].rate, 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(meter.read(&[transfer(500)])[&way].rate, 500);
        meter.add(peer, Direction::Sending, 1000);
        tokio::time::advance(Duration::from_secs(2)).await;
        let reading = meter.read(&[transfer(500)])[&way];
        assert_eq!(
            (reading.done, reading.total, reading.rate),
            (1500, 2000, 500)
        );
        assert!(meter.read(&[]).is_empty());
    }
}
