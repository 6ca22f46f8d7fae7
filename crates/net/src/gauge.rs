//! What is measured of a link: the way it takes, its shortest round trip, what it can carry.
//!
//! Nothing is judged here. The core is told the facts when the link comes up, and again when they
//! have become others.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use carryall_core::link::{LinkFacts, Route};
use tokio::time::Instant;

use crate::interface::Interface;

/// Goodput is measured over this long at least: shorter, and buffers on the way look like speed.
const GOODPUT_OVER: Duration = Duration::from_secs(2);
/// In hundredths: who waits for the link for less of that time is not limited by it.
const WAITED_PERCENT: u32 = 70;

/// On which interfaces this device pays by the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Metered {
    /// On none.
    #[default]
    Nowhere,
    /// On those with these numbers of the operating system.
    On(BTreeSet<u32>),
    /// On all.
    Everywhere,
}

impl Metered {
    pub(crate) fn covers(&self, interface: Option<&Interface>) -> bool {
        match self {
            Self::Nowhere => false,
            Self::On(indexes) => interface.is_some_and(|it| indexes.contains(&it.index)),
            Self::Everywhere => true,
        }
    }
}

/// A look at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The peer's address on the path in use; nothing through a relay.
    pub(crate) remote: Option<SocketAddr>,
    /// Ours, as far as the system says.
    pub(crate) local: Option<IpAddr>,
    /// The shortest known; nothing before the first answer.
    pub(crate) rtt: Option<Duration>,
    /// Bytes that went out on the path and were not lost.
    pub(crate) carried: u64,
    /// How often the path was full, so that it dropped something.
    pub(crate) congestions: u64,
    /// For how long shards waited until the transport took more, all of them together.
    pub(crate) waited: Duration,
    /// When this was so.
    pub(crate) at: Instant,
}

/// What the looks at one link amount to.
#[derive(Debug)]
pub(crate) struct Gauge {
    facts: LinkFacts,
    way: (Option<SocketAddr>, Option<IpAddr>),
    since: Sample,
}

impl Gauge {
    /// Begins with a first look.
    pub(crate) fn new(sample: Sample, interfaces: &[Interface], metered: &Metered) -> Self {
        let mut gauge = Self {
            facts: LinkFacts::default(),
            way: (sample.remote, sample.local),
            since: sample,
        };
        gauge.take_way(&sample, interfaces, metered);
        gauge.take_rtt(&sample);
        gauge
    }

    /// Tells whether the way is another one than before, so that interfaces must be looked up.
    pub(crate) fn moved(&self, sample: &Sample) -> bool {
        self.way != (sample.remote, sample.local)
    }

    /// Takes another look at the same way.
    pub(crate) fn look(&mut self, sample: Sample) {
        self.take_rtt(&sample);
        let over = sample.at.duration_since(self.since.at);
        if over < GOODPUT_OVER {
            return;
        }
        let waited = sample.waited.saturating_sub(self.since.waited);
        let full = sample.congestions > self.since.congestions
            && waited.as_millis() * 100 >= over.as_millis() * u128::from(WAITED_PERCENT);
        if full {
            let carried = u128::from(sample.carried.saturating_sub(self.since.carried));
            let goodput = carried * 1000 / over.as_millis().max(1);
            let goodput = u64::try_from(goodput).unwrap_or(u64::MAX);
            self.facts.goodput = self.facts.goodput.max(Some(goodput));
        }
        self.since = sample;
    }

    /// Returns what is known.
    pub(crate) const fn facts(&self) -> LinkFacts {
        self.facts
    }

    fn take_way(&mut self, sample: &Sample, interfaces: &[Interface], metered: &Metered) {
        let remote = sample.remote.map(|remote| remote.ip().to_canonical());
        let local = sample.local.map(|local| local.to_canonical());
        let here = |ip: IpAddr| interfaces.iter().find(|interface| interface.ip == ip);
        let on_link = remote.and_then(|remote| {
            interfaces
                .iter()
                .find(|interface| interface.reaches(remote))
        });
        self.facts.route = match remote {
            None => Route::Relayed,
            Some(ip) if ip.is_loopback() || here(ip).is_some() => Route::SameMachine,
            Some(_) if on_link.is_some() => Route::OnLink,
            Some(_) => Route::Routed,
        };
        self.facts.metered = metered.covers(local.and_then(here).or(on_link));
    }

    fn take_rtt(&mut self, sample: &Sample) {
        let Some(rtt) = sample.rtt else { return };
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.facts.rtt_us = Some(self.facts.rtt_us.map_or(rtt, |known| known.min(rtt)));
    }
}

/// Tells whether facts differ by so much that somebody should hear of it.
pub(crate) fn differ(told: &LinkFacts, now: &LinkFacts) -> bool {
    let shorter = match (told.rtt_us, now.rtt_us) {
        (Some(told), Some(now)) => now < told - told / 8,
        (told, now) => told != now,
    };
    let more = match (told.goodput, now.goodput) {
        (Some(told), Some(now)) => now > told.saturating_add(told / 4),
        (told, now) => told != now,
    };
    shorter || more || (told.route, told.metered) != (now.route, now.metered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> [Interface; 1] {
        [Interface {
            index: 2,
            ip: "192.168.1.7".parse().unwrap(),
            prefix: 24,
            broadcast: None,
        }]
    }

    fn sample(remote: &str, ms: u64) -> Sample {
        Sample {
            remote: Some(remote.parse().unwrap()),
            local: None,
            rtt: Some(Duration::from_millis(ms)),
            carried: 0,
            congestions: 0,
            waited: Duration::ZERO,
            at: Instant::now(),
        }
    }

    #[test]
    fn ways() {
        let route = |remote: &str| {
            let gauge = Gauge::new(sample(remote, 1), &home(), &Metered::Nowhere);
            gauge.facts().route
        };
        assert_eq!(route("127.0.0.1:1"), Route::SameMachine);
        assert_eq!(route("[::ffff:127.0.0.1]:1"), Route::SameMachine);
        assert_eq!(route("192.168.1.7:1"), Route::SameMachine);
        assert_eq!(route("192.168.1.9:1"), Route::OnLink);
        assert_eq!(route("[::ffff:192.168.1.9]:1"), Route::OnLink);
        assert_eq!(route("203.0.113.9:1"), Route::Routed);
        let relayed = Sample {
            remote: None,
            ..sample("127.0.0.1:1", 1)
        };
        let gauge = Gauge::new(relayed, &home(), &Metered::Nowhere);
        assert_eq!(gauge.facts().route, Route::Relayed);
    }

    #[test]
    fn the_interface_tells_who_pays() {
        let metered = |sample: Sample, metered: &Metered| {
            Gauge::new(sample, &home(), metered).facts().metered
        };
        let far = Sample {
            local: Some("192.168.1.7".parse().unwrap()),
            ..sample("203.0.113.9:1", 9)
        };
        let near = sample("192.168.1.9:1", 1);
        let on = |index| Metered::On(BTreeSet::from([index]));
        assert!(metered(far, &on(2)) && metered(near, &on(2)));
        assert!(!metered(far, &on(3)) && !metered(near, &on(3)));
        assert!(metered(far, &Metered::Everywhere) && !metered(far, &Metered::Nowhere));
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        let mut gauge = Gauge::new(sample("192.168.1.9:1", 9), &home(), &Metered::Nowhere);
        for ms in [2, 80] {
            gauge.look(sample("192.168.1.9:1", ms));
        }
        assert_eq!(gauge.facts().rtt_us, Some(2000));
        assert!(gauge.moved(&sample("192.168.1.10:1", 1)));
        assert!(!gauge.moved(&sample("192.168.1.9:1", 1)));
    }

    #[test]
    fn goodput_is_what_a_full_link_carried() {
        let first = sample("192.168.1.9:1", 1);
        let mut gauge = Gauge::new(first, &home(), &Metered::Nowhere);
        let later = |secs: u64, carried, congestions, waited| Sample {
            carried,
            congestions,
            waited: Duration::from_secs(waited),
            at: first.at + Duration::from_secs(secs),
            ..first
        };
        gauge.look(later(2, 2_000_000, 0, 8));
        assert_eq!(gauge.facts().goodput, None, "the receiver was slow");
        gauge.look(later(4, 4_000_000, 1, 8));
        assert_eq!(gauge.facts().goodput, None, "nobody waited");
        gauge.look(later(5, 5_000_000, 1, 9));
        gauge.look(later(6, 6_000_000, 2, 10));
        assert_eq!(gauge.facts().goodput, Some(1_000_000));
        gauge.look(later(8, 6_000_000, 3, 12));
        assert_eq!(gauge.facts().goodput, Some(1_000_000), "the most counts");
    }

    #[test]
    fn small_differences_are_not_told() {
        let facts = |rtt_us, goodput| LinkFacts {
            rtt_us: Some(rtt_us),
            goodput: Some(goodput),
            ..LinkFacts::default()
        };
        let told = facts(1000, 1000);
        assert!(!differ(&told, &facts(900, 1200)));
        assert!(differ(&told, &facts(800, 1000)));
        assert!(differ(&told, &facts(1000, 1300)));
        assert!(differ(&LinkFacts::default(), &told));
    }
}
