//! The score of a policy: how soon data was safe, how much was lost, and what it cost.

use std::collections::BTreeMap;

use carryall_core::time::{Span, Timestamp};

use super::station::Foretold;

/// Sums over runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    pub(super) runs: u64,
    /// How long each data pack waited until friends alone could rebuild it, in seconds.
    waits: Vec<u32>,
    /// Data packs that were never safe while they could have been.
    pub(super) never: u64,
    /// Bytes at all midnights that were looked at, and how many of them friends could rebuild.
    pub(super) midnight: [u64; 2],
    /// Packs at those midnights, and how many were called safe while a fault that nobody could know of
    /// yet had made them unrebuildable.
    pub(super) called: [u64; 2],
    /// Packs that were safe and are lost.
    pub(super) lost: u64,
    /// Packs that were lost before they were safe.
    pub(super) lost_early: u64,
    /// How long packs that had been safe were kept, in days.
    pub(super) pack_days: u64,
    /// Bytes of data and metadata at those midnights, of their shards on shelves, and in trash.
    pub(super) space: [u64; 3],
    /// The same for settled packs: bytes that their shards take, and should.
    pub(super) settled: [u64; 2],
    /// How long data packs waited until some friends had something of them, and until as many as shall
    /// have, in seconds; `u32::MAX` for those that still wait.
    spreads: [Vec<u32>; 2],
    /// Bytes that friends took along for others.
    carried: u64,
    /// Bytes over near links and over far ones.
    pub(super) bytes: [u64; 2],
    /// How long restores took from the first day of the new machine, in seconds.
    restores: Vec<u32>,
    /// Restores that were not over at the end.
    pub(super) unrestored: u64,
    /// Restores that took a while, as foretold at their beginning and as they were, in seconds from
    /// then. What no habit told is foretold as never.
    foretold: Vec<Forecast>,
    /// Links that came up.
    pub(super) links: u64,
    /// Ends of encounters, each of which knew who the other is.
    pub(super) hellos: u64,
    /// Machines that dropped shards: when, and when they were named first.
    cheats: BTreeMap<(u64, usize), (Timestamp, Option<Timestamp>)>,
}

/// What was foretold of one restore, and what became of it, in days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    pub(super) by: f64,
    pub(super) at_the_latest: f64,
    pub(super) after: f64,
}

impl Score {
    /// A data pack was safe after so long.
    pub(super) fn waited(&mut self, wait: Span) {
        self.waits.push(seconds(wait));
    }

    pub(super) fn restored(&mut self, after: Span) {
        self.restores.push(seconds(after));
    }

    /// A restore is over of which something was foretold.
    pub(super) fn came_true(&mut self, foretold: Foretold, now: Timestamp) {
        let since = |at: Timestamp| days(seconds(at.since(foretold.at)));
        let forecast = Forecast {
            by: foretold.by.map_or(f64::INFINITY, since),
            at_the_latest: foretold.at_the_latest.map_or(f64::INFINITY, since),
            after: since(now),
        };
        self.foretold.push(forecast);
    }

    /// So long a pack waited until some friends had something of it, and until all who shall have; nothing
    /// if it still does.
    pub(super) fn spread(&mut self, waits: [Option<Span>; 2]) {
        for (all, wait) in self.spreads.iter_mut().zip(waits) {
            all.push(wait.map_or(u32::MAX, seconds));
        }
    }

    pub(super) fn carried(&mut self, bytes: u64) {
        self.carried += bytes;
    }

    pub(super) fn moved(&mut self, far: bool, bytes: u64) {
        self.bytes[usize::from(far)] += bytes;
    }

    /// A machine began to drop shards.
    pub(super) fn cheated(&mut self, station: usize, now: Timestamp) {
        self.cheats.entry((0, station)).or_insert((now, None));
    }

    /// A machine could not show a shard.
    pub(super) fn named(&mut self, station: usize, now: Timestamp) {
        if let Some((_, named)) = self.cheats.get_mut(&(0, station)) {
            named.get_or_insert(now);
        }
    }

    /// Returns how many machines cheated, and how many of them were named.
    pub(super) fn cheats(&self) -> (usize, usize) {
        let named = self.cheats.values().filter(|it| it.1.is_some());
        (self.cheats.len(), named.count())
    }

    /// Adds another run, or several.
    pub(super) fn add(&mut self, other: Self) {
        let runs = self.runs;
        self.runs += other.runs;
        self.waits.extend(other.waits);
        for (all, more) in self.spreads.iter_mut().zip(other.spreads) {
            all.extend(more);
        }
        self.carried += other.carried;
        self.never += other.never;
        self.lost += other.lost;
        self.lost_early += other.lost_early;
        self.pack_days += other.pack_days;
        self.restores.extend(other.restores);
        self.unrestored += other.unrestored;
        self.foretold.extend(other.foretold);
        self.links += other.links;
        self.hellos += other.hellos;
        add(&mut self.midnight, &other.midnight);
        add(&mut self.called, &other.called);
        add(&mut self.space, &other.space);
        add(&mut self.settled, &other.settled);
        add(&mut self.bytes, &other.bytes);
        let cheats = other.cheats.into_iter();
        (self.cheats).extend(cheats.map(|((run, at), it)| ((runs + run, at), it)));
    }

    /// Returns all waits in days, shortest first; what was never safe waited for ever.
    pub(super) fn waits(&self) -> Vec<f64> {
        sorted_days(&self.waits, self.never)
    }

    /// Returns how long it took until some friends had something of a pack, in days, shortest first.
    pub(super) fn spreads(&self) -> Vec<f64> {
        sorted_days(&self.spreads[0], 0)
    }

    /// Returns the same until as many had as shall have.
    pub(super) fn settles(&self) -> Vec<f64> {
        sorted_days(&self.spreads[1], 0)
    }

    /// Returns how many gigabytes a run had carried.
    pub(super) fn carried_gb(&self) -> f64 {
        self.carried as f64 / 1e9 / self.runs.max(1) as f64
    }

    /// Returns how long restores took, in days, shortest first.
    pub(super) fn restores(&self) -> Vec<f64> {
        sorted_days(&self.restores, self.unrestored)
    }

    /// Returns what was foretold of the restores that are over.
    pub(super) fn foretold(&self) -> &[Forecast] {
        &self.foretold
    }

    /// Returns how many forecasts there are of restores that took a day or more, their middle, the
    /// middle of what became of them in days, and the shares that were over by what was foretold as
    /// likely and as the latest.
    pub(super) fn forecasts(&self) -> (usize, [f64; 2], [f64; 2]) {
        let long = || self.foretold.iter().filter(|it| it.after >= 1.0);
        let middle = |value: fn(&Forecast) -> f64| {
            let mut all: Vec<f64> = long().map(value).collect();
            all.sort_by(f64::total_cmp);
            quantile(&all, 500)
        };
        let count = long().count();
        let share = |value: fn(&Forecast) -> bool| {
            long().filter(|it| value(it)).count() as f64 / count.max(1) as f64
        };
        (
            count,
            [middle(|it| it.by), middle(|it| it.after)],
            [
                share(|it| it.after <= it.by),
                share(|it| it.after <= it.at_the_latest),
            ],
        )
    }

    /// Returns packs lost that had been safe, per million years of a pack.
    pub(super) fn lost_per_million(&self) -> f64 {
        self.lost as f64 * 1e6 * 365.0 / self.pack_days.max(1) as f64
    }

    /// Returns the bytes that settled packs take, for each byte that they should.
    pub(super) fn settled(&self) -> f64 {
        self.settled[0] as f64 / self.settled[1].max(1) as f64
    }

    /// Returns how many gigabytes a run moved, over near links and over far ones.
    pub(super) fn moved_gb(&self) -> [f64; 2] {
        self.bytes
            .map(|bytes| bytes as f64 / 1e9 / self.runs.max(1) as f64)
    }

    /// Returns the bytes on shelves for a byte of data.
    pub(super) fn space(&self) -> f64 {
        self.space[1] as f64 / self.space[0].max(1) as f64
    }

    /// Returns the share of data that friends could rebuild at midnight.
    pub(super) fn safe_at_midnight(&self) -> f64 {
        self.midnight[1] as f64 / self.midnight[0].max(1) as f64
    }
}

fn add(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// Returns waits in days, shortest first, with so many that never ended.
fn sorted_days(waits: &[u32], never: u64) -> Vec<f64> {
    let ever = |wait: &u32| match *wait {
        u32::MAX => f64::INFINITY,
        wait => days(wait),
    };
    let never = usize::try_from(never).unwrap_or(0);
    let never = std::iter::repeat_n(f64::INFINITY, never);
    let mut waits: Vec<f64> = waits.iter().map(ever).chain(never).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

fn seconds(span: Span) -> u32 {
    u32::try_from(span.0 / 1000).unwrap_or(u32::MAX)
}

fn days(seconds: u32) -> f64 {
    f64::from(seconds) / 86_400.0
}

/// Returns what so many of a thousand values don't exceed.
pub(super) fn quantile(sorted: &[f64], per_mille: usize) -> f64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}
