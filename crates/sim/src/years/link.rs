//! Links of the years: how fast they are, and shards on their way.

use std::num::NonZeroU64;

use carryall_core::{
    event::LinkId,
    id::ShardId,
    link::{LinkFacts, Route},
    time::{Span, Timestamp},
};

use super::{cast::Spot, packs::WEIGHT};

/// What a home's uplink carries, in bytes per second.
const UPLINK: u64 = 3_000_000;
/// The round trip between two homes.
const FAR_RTT_US: u32 = 25_000;

/// How two machines reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In one place.
    Near(Spot),
    /// Over the internet.
    Far,
}

impl Way {
    /// Returns how fast it is, in bytes per second.
    pub(super) const fn speed(self) -> u64 {
        match self {
            Self::Near(Spot::Home(_)) => 40_000_000,
            Self::Near(Spot::Office) => 60_000_000,
            Self::Near(Spot::Cafe) => 5_000_000,
            Self::Far => UPLINK,
        }
    }

    /// Returns what a node measures.
    pub(super) fn facts(self) -> LinkFacts {
        match self {
            Self::Near(_) => LinkFacts::near(),
            Self::Far => LinkFacts {
                route: Route::Routed,
                rtt_us: Some(FAR_RTT_US),
                goodput: None,
                metered: false,
            },
        }
    }

    /// Returns how long a message takes.
    pub(super) const fn delay(self) -> Span {
        match self {
            Self::Near(_) => Span(0),
            Self::Far => Span::millis(FAR_RTT_US as u64 / 2000),
        }
    }
}

/// A link between two stations.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [usize; 2],
    pub(super) way: Way,
    /// When the shards of each end so far are through.
    busy: [Timestamp; 2],
    rate: [Option<NonZeroU64>; 2],
}

impl Link {
    pub(super) const fn new(one: usize, two: usize, way: Way) -> Self {
        Self {
            ends: [one, two],
            way,
            busy: [Timestamp(0); 2],
            rate: [None; 2],
        }
    }

    fn side(&self, station: usize) -> usize {
        usize::from(self.ends[1] == station)
    }

    pub(super) fn other(&self, station: usize) -> usize {
        self.ends[1 - self.side(station)]
    }

    pub(super) fn limit(&mut self, station: usize, rate: Option<NonZeroU64>) {
        let side = self.side(station);
        self.rate[side] = rate;
    }

    /// Returns when so many simulated bytes that a station sends now begin and end to arrive.
    pub(super) fn send(
        &mut self,
        station: usize,
        bytes: u32,
        now: Timestamp,
    ) -> (Timestamp, Timestamp) {
        let side = self.side(station);
        let limit = self.rate[side].map_or(u64::MAX, NonZeroU64::get);
        let speed = self.way.speed().min(limit).max(1);
        let start = self.busy[side].max(now);
        let span = Span((u64::from(bytes) * WEIGHT).saturating_mul(1000) / speed);
        self.busy[side] = start + span;
        (start, self.busy[side])
    }
}

/// A shard on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) link: LinkId,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shard: ShardId,
    /// Where it goes on from.
    pub(super) offset: u32,
    pub(super) bytes: u32,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Flight {
    /// Returns how many bytes of the shard are there at a time.
    pub(super) fn arrived(&self, now: Timestamp) -> u32 {
        let whole = self.end.since(self.start).0.max(1);
        let part = now.since(self.start).0.min(whole);
        let came = u64::from(self.bytes) * part / whole;
        self.offset + u32::try_from(came).unwrap_or(0)
    }
}
