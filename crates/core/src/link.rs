//! Judging a link: near, far, through somebody, or paid by the byte.
//!
//! Only what was measured counts. A shared subnet proves nothing, since a VPN makes far things look
//! near; nor does a different one, since a router hides near things.

use crate::event::LinkClass;

/// A round trip shorter than this never left the house, whatever the route. Cables and switches
/// take a tenth of it; the rest is for busy machines.
const NEAR_RTT_US: u32 = 5_000;
/// A round trip longer than this is far even in the same subnet. Wi-Fi that saves power stays below
/// it once it is awake, few far links do.
const FAR_RTT_US: u32 = 20_000;
/// Between the two, a link that carries this much is near, in bytes per second: 40 Mbit/s, more
/// than what most homes send to the internet.
const NEAR_GOODPUT: u64 = 5_000_000;
/// A short round trip with less than this, in bytes per second, is no local network: 2 Mbit/s.
const FAR_GOODPUT: u64 = 250_000;

/// The way that a link takes, as far as addresses tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// It doesn't leave this machine.
    SameMachine,
    /// To an address in a subnet of ours.
    OnLink,
    /// To any other address.
    #[default]
    Routed,
    /// Through somebody's relay.
    Relayed,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// The way it takes.
    pub route: Route,
    /// The shortest round trip seen on this way, in microseconds: a queue or a busy processor makes
    /// single ones longer, nothing makes one shorter. Nothing before the first.
    pub rtt_us: Option<u32>,
    /// The most that the link carried while it, and not its ends, was the limit, in bytes per
    /// second. Nothing while that never happened.
    pub goodput: Option<u64>,
    /// Whether this device pays for it by the byte.
    pub metered: bool,
}

impl LinkFacts {
    /// Returns the facts of a link within one house, for worlds without real links.
    pub const fn near() -> Self {
        Self {
            route: Route::OnLink,
            rtt_us: Some(500),
            goodput: None,
            metered: false,
        }
    }

    /// Judges the link, the first time or anew. `before` is the last judgement: what was near stays
    /// so a little beyond the bounds, so that a link at a bound doesn't flap.
    pub fn judge(&self, before: Option<LinkClass>) -> LinkClass {
        match self.route {
            Route::SameMachine => LinkClass::Lan,
            _ if self.metered => LinkClass::Metered,
            Route::Relayed => LinkClass::Relay,
            Route::OnLink | Route::Routed if self.is_near(before) => LinkClass::Lan,
            Route::OnLink | Route::Routed => LinkClass::Direct,
        }
    }

    fn is_near(&self, before: Option<LinkClass>) -> bool {
        let Some(rtt) = self.rtt_us else {
            return false;
        };
        // A quarter more of a round trip, half of the goodput. What was far needs no more than what
        // was never judged: a first sample on a busy machine may have been wrong.
        let (rtt, needed) = match before {
            Some(LinkClass::Lan) => (rtt - rtt / 5, 1),
            _ => (rtt, 2),
        };
        let carries = |bound: u64| self.goodput.map(|goodput| goodput >= bound / 2 * needed);
        if rtt < NEAR_RTT_US {
            carries(FAR_GOODPUT).unwrap_or(true)
        } else if rtt < FAR_RTT_US {
            // The subnet decides only until something is known.
            carries(NEAR_GOODPUT).unwrap_or(self.route == Route::OnLink)
        } else {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(route: Route, rtt_us: u32, goodput: Option<u64>) -> LinkFacts {
        LinkFacts {
            route,
            rtt_us: Some(rtt_us),
            goodput,
            metered: false,
        }
    }

    fn first(route: Route, rtt_us: u32, goodput: Option<u64>) -> LinkClass {
        facts(route, rtt_us, goodput).judge(None)
    }

    #[test]
    fn a_vpn_is_far_and_a_routed_neighbour_near() {
        assert_eq!(
            first(Route::OnLink, 60_000, Some(625_000)),
            LinkClass::Direct
        );
        assert_eq!(first(Route::OnLink, 60_000, None), LinkClass::Direct);
        assert_eq!(first(Route::Routed, 500, Some(112_000_000)), LinkClass::Lan);
        assert_eq!(first(Route::Routed, 500, None), LinkClass::Lan);
    }

    #[test]
    fn a_busy_machine_is_near_all_the_same() {
        assert_eq!(first(Route::OnLink, 12_000, None), LinkClass::Lan);
        assert_eq!(first(Route::Routed, 4_000, None), LinkClass::Lan);
        let same = facts(Route::SameMachine, 500_000, Some(1));
        assert_eq!(same.judge(None), LinkClass::Lan);
    }

    #[test]
    fn goodput_decides_in_between() {
        for route in [Route::OnLink, Route::Routed] {
            assert_eq!(first(route, 12_000, Some(60_000_000)), LinkClass::Lan);
            assert_eq!(first(route, 12_000, Some(600_000)), LinkClass::Direct);
            assert_eq!(first(route, 1_000, Some(100_000)), LinkClass::Direct);
            assert_eq!(first(route, 45_000, Some(60_000_000)), LinkClass::Direct);
        }
        assert_eq!(first(Route::Routed, 12_000, None), LinkClass::Direct);
    }

    #[test]
    fn who_pays_by_the_byte_is_metered() {
        let paid = LinkFacts {
            metered: true,
            ..LinkFacts::near()
        };
        assert_eq!(paid.judge(None), LinkClass::Metered);
        let same = LinkFacts {
            route: Route::SameMachine,
            ..paid
        };
        assert_eq!(same.judge(None), LinkClass::Lan);
        let relayed = first(Route::Relayed, 500, None);
        assert_eq!(relayed, LinkClass::Relay);
        assert_eq!(LinkFacts::default().judge(None), LinkClass::Direct);
    }

    #[test]
    fn at_a_bound_the_judgement_stays() {
        let at_bound = facts(Route::Routed, NEAR_RTT_US, None);
        for class in [LinkClass::Lan, LinkClass::Direct] {
            assert_eq!(at_bound.judge(Some(class)), class);
        }
        let slow = facts(Route::Routed, 10_000, Some(NEAR_GOODPUT / 4 * 3));
        for class in [LinkClass::Lan, LinkClass::Direct] {
            assert_eq!(slow.judge(Some(class)), class);
        }
    }

    proptest! {
        #[test]
        fn a_judgement_repeated_is_the_same(
            rtt in any::<u32>(),
            goodput in any::<Option<u64>>(),
            on_link: bool,
            before in proptest::sample::select(&[LinkClass::Lan, LinkClass::Direct][..]),
        ) {
            let route = if on_link { Route::OnLink } else { Route::Routed };
            let facts = facts(route, rtt, goodput);
            let class = facts.judge(Some(before));
            prop_assert_eq!(facts.judge(Some(class)), class);
        }

        #[test]
        fn a_shorter_round_trip_is_never_farther(rtt in any::<u32>(), less in any::<u32>(), on_link: bool) {
            let route = if on_link { Route::OnLink } else { Route::Routed };
            let class = first(route, rtt, None);
            prop_assert!(first(route, rtt - rtt.min(less), None) <= class);
        }
    }
}
