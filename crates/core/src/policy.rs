//! What may travel over which link, at which hour, and how fast.
//!
//! Bulk goes near, trickles far. Feeds and heads are small and go over every link at any time; shards
//! and their proofs are bulk.

use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{
    event::LinkClass,
    time::{Span, Timestamp},
};

/// What a far link is used for by default, in bytes per second: 8 Mbit/s, which leaves room on a
/// home's uplink.
pub const FAR_RATE: NonZeroU64 = NonZeroU64::new(1 << 20).expect("a megabyte is something");
/// On a busy machine shards go at most this fast, in bytes per second: a tenth of a processor's work.
pub const BUSY_RATE: NonZeroU64 = NonZeroU64::new(8 << 20).expect("a megabyte is something");
/// Below this charge, in percent, a battery is low; and it is until it has reached the second.
const LOW_BATTERY: (u8, u8) = (20, 25);
/// A machine is busy when other programs take this share of its processors, in percent; and it is
/// until they take less than the second.
const BUSY: (u8, u8) = (90, 75);

const HOUR: u64 = Span::hours(1).0;

/// Hours of the day by the owner's clock, from one full hour to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u8,
    to: u8,
}

impl Hours {
    /// The whole day.
    pub const ALWAYS: Self = Self { from: 0, to: 0 };

    /// Returns the hours from `from` until `to`, each 0 to 24, over midnight if `to` is earlier; the
    /// whole day if they are the same. Nothing if one is no hour.
    pub fn new(from: u8, to: u8) -> Option<Self> {
        let (from, to) = ((from <= 24).then_some(from)?, (to <= 24).then_some(to)?);
        let hours = Self {
            from: from % 24,
            to: to % 24,
        };
        Some(if hours.from == hours.to {
            Self::ALWAYS
        } else {
            hours
        })
    }

    /// Returns the first hour, and the one that ends them. The same twice means the whole day.
    pub const fn bounds(self) -> (u8, u8) {
        (self.from, self.to)
    }

    fn contain(self, hour: u8) -> bool {
        match (self.from, self.to) {
            (from, to) if from == to => true,
            (from, to) if from < to => (from..to).contains(&hour),
            (from, to) => hour >= from || hour < to,
        }
    }
}

/// What may travel over links of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether shards may, and not feeds and heads alone.
    pub bulk: bool,
    /// At most so many bytes of shards per second go out on one link.
    pub rate: Option<NonZeroU64>,
    /// When they do. What the owner wants back comes at any hour.
    pub hours: Hours,
}

/// The owner's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For near links.
    pub lan: Rule,
    /// For far links.
    pub direct: Rule,
    /// For links through somebody's relay.
    pub relay: Rule,
    /// For links that cost by the byte.
    pub metered: Rule,
    /// How far the owner's clock is ahead of UTC, in seconds.
    pub utc_offset: i32,
}

impl Default for Policy {
    fn default() -> Self {
        let near = Rule {
            bulk: true,
            rate: None,
            hours: Hours::ALWAYS,
        };
        let far = Rule {
            rate: Some(FAR_RATE),
            ..near
        };
        let trickle = Rule { bulk: false, ..far };
        Self {
            lan: near,
            direct: far,
            relay: trickle,
            metered: trickle,
            utc_offset: 0,
        }
    }
}

impl Policy {
    /// Returns the rule for links of a class.
    pub const fn rule(&self, class: LinkClass) -> &Rule {
        match class {
            LinkClass::Lan => &self.lan,
            LinkClass::Direct => &self.direct,
            LinkClass::Relay => &self.relay,
            LinkClass::Metered => &self.metered,
        }
    }

    /// Tells whether shards may go over links of a class at this hour.
    pub(crate) fn is_open(&self, class: LinkClass, now: Timestamp) -> bool {
        let rule = self.rule(class);
        rule.bulk && rule.hours.contain(self.local_hour(now))
    }

    /// Returns when the hours for links of a class begin or end next; nothing if they never do.
    pub(crate) fn next_change(&self, class: LinkClass, now: Timestamp) -> Option<Timestamp> {
        let rule = self.rule(class);
        if !rule.bulk || rule.hours == Hours::ALWAYS {
            return None;
        }
        let into = self.local_ms(now) % HOUR;
        let next = now + Span(HOUR - into);
        let open = self.is_open(class, now);
        (0..24)
            .map(|hours| next + Span::hours(hours))
            .find(|at| self.is_open(class, *at) != open)
    }

    fn local_ms(&self, now: Timestamp) -> u64 {
        now.0
            .saturating_add_signed(i64::from(self.utc_offset) * 1000)
    }

    fn local_hour(&self, now: Timestamp) -> u8 {
        u8::try_from(self.local_ms(now) / HOUR % 24).unwrap_or(0)
    }
}

/// How much of the bulk may go over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bulk {
    /// None.
    Nothing,
    /// Metadata, what friends could not rebuild yet, and what somebody wants back.
    Urgent,
    /// All of it.
    #[default]
    Everything,
}

/// What one end of a link has to say about it: the word of the stricter end counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How much of the bulk it sends and takes.
    pub bulk: Bulk,
    /// How many bytes of shards per second it sends and takes at most.
    pub rate: Option<NonZeroU64>,
    /// Whether it pays for the link by the byte.
    pub metered: bool,
}

/// How the machine is doing, by the shell's last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The battery's charge in percent while it is being drained; nothing on mains.
    pub battery: Option<u8>,
    /// The share of all processors that other programs took lately, in percent.
    pub others_cpu: u8,
}

/// What of the machine's state makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strain {
    pub(crate) low_battery: bool,
    pub(crate) busy: bool,
}

impl Strain {
    /// Returns the strain after a look at the machine; at a bound it stays as it was.
    pub(crate) fn after(self, machine: Machine) -> Self {
        let low = |charge| {
            let (falls, rises) = LOW_BATTERY;
            charge < if self.low_battery { rises } else { falls }
        };
        let (begins, ends) = BUSY;
        let bound = if self.busy { ends } else { begins };
        Self {
            low_battery: machine.battery.is_some_and(low),
            busy: machine.others_cpu >= bound,
        }
    }

    /// Returns the strain as it is for a link to another node of the same machine: that node's work
    /// is what keeps the machine busy.
    pub(crate) const fn within_machine(self) -> Self {
        Self {
            busy: false,
            ..self
        }
    }

    /// Returns the terms under this strain.
    pub(crate) fn ease(self, terms: Terms) -> Terms {
        // Sending fast and sleeping costs a battery less than sending slowly: it sends less.
        let bulk = if self.low_battery {
            Bulk::Urgent
        } else {
            Bulk::Everything
        };
        let rate = self.busy.then_some(BUSY_RATE);
        Terms {
            bulk: terms.bulk.min(bulk),
            rate: lower(terms.rate, rate),
            ..terms
        }
    }
}

/// Returns the lower of two rates; nothing is no limit.
pub(crate) fn lower(one: Option<NonZeroU64>, other: Option<NonZeroU64>) -> Option<NonZeroU64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NIGHT: Timestamp = Timestamp(1_700_000_000_000 / 86_400_000 * 86_400_000);

    fn nightly(utc_offset: i32) -> Policy {
        let mut policy = Policy {
            utc_offset,
            ..Policy::default()
        };
        policy.direct.hours = Hours::new(22, 7).unwrap();
        policy
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let policy = Policy::default();
        assert_eq!(policy.lan.rate, None);
        assert_eq!(policy.direct.rate, Some(FAR_RATE));
        for (class, open) in [
            (LinkClass::Lan, true),
            (LinkClass::Direct, true),
            (LinkClass::Relay, false),
            (LinkClass::Metered, false),
        ] {
            assert_eq!(policy.is_open(class, NIGHT), open);
            assert_eq!(policy.next_change(class, NIGHT), None);
        }
    }

    #[test]
    fn hours_go_over_midnight_by_the_owners_clock() {
        let direct = LinkClass::Direct;
        let at = |hour| NIGHT + Span::hours(hour) + Span::millis(1);
        let policy = nightly(0);
        for hour in 0..24 {
            let open = policy.is_open(direct, at(hour));
            assert_eq!(open, !(7..22).contains(&hour), "{hour}");
        }
        assert_eq!(
            policy.next_change(direct, at(3)),
            Some(NIGHT + Span::hours(7))
        );
        assert_eq!(
            policy.next_change(direct, at(23)),
            Some(NIGHT + Span::hours(31))
        );
        let ahead = nightly(5 * 3600 + 1800);
        let opens = NIGHT + Span::hours(16) + Span::secs(1800);
        assert_eq!(ahead.next_change(direct, at(12)), Some(opens));
        assert!(ahead.is_open(direct, opens));
        assert!(!ahead.is_open(direct, Timestamp(opens.0 - 1)));
        assert!(nightly(-8 * 3600).is_open(direct, at(7)), "23:00 there");
        assert!(policy.is_open(LinkClass::Lan, at(12)));
    }

    #[test]
    fn hours_are_hours() {
        assert_eq!(Hours::new(7, 25), None);
        assert_eq!(Hours::new(0, 24), Some(Hours::ALWAYS));
        assert_eq!(Hours::new(8, 8), Some(Hours::ALWAYS));
        assert_eq!(Hours::new(22, 24).unwrap().bounds(), (22, 0));
    }

    #[test]
    fn strain_begins_and_ends_at_different_points() {
        let on = |battery| Machine {
            battery,
            others_cpu: 0,
        };
        let mut strain = Strain::default().after(on(Some(20)));
        assert_eq!(strain, Strain::default());
        for (charge, low) in [(Some(19), true), (Some(24), true), (Some(25), false)] {
            strain = strain.after(on(charge));
            assert_eq!(strain.low_battery, low, "{charge:?}");
        }
        strain = strain.after(on(Some(3))).after(on(None));
        assert!(!strain.low_battery, "on mains");
        for (others_cpu, busy) in [(89, false), (90, true), (75, true), (74, false)] {
            strain = strain.after(Machine {
                battery: None,
                others_cpu,
            });
            assert_eq!(strain.busy, busy, "{others_cpu}");
        }
    }

    #[test]
    fn strain_only_makes_terms_stricter() {
        let strained = Strain {
            low_battery: true,
            busy: true,
        };
        let terms = strained.ease(Terms::default());
        assert_eq!((terms.bulk, terms.rate), (Bulk::Urgent, Some(BUSY_RATE)));
        let strict = Terms {
            bulk: Bulk::Nothing,
            rate: NonZeroU64::new(5),
            metered: true,
        };
        assert_eq!(strained.ease(strict), strict);
        assert_eq!(Strain::default().ease(strict), strict);
        let within = strained.within_machine().ease(Terms::default());
        assert_eq!((within.bulk, within.rate), (Bulk::Urgent, None));
    }

    proptest! {
        #[test]
        fn the_next_change_is_the_first(
            from in 0..24_u8,
            to in 0..24_u8,
            utc_offset in -50_400..50_400_i32,
            now in 1_600_000_000_000..1_900_000_000_000_u64,
        ) {
            let mut policy = Policy { utc_offset, ..Policy::default() };
            policy.direct.hours = Hours::new(from, to).unwrap();
            let (class, now) = (LinkClass::Direct, Timestamp(now));
            let open = policy.is_open(class, now);
            match policy.next_change(class, now) {
                None => prop_assert_eq!(from, to),
                Some(at) => {
                    prop_assert!(at > now && at <= now + Span::hours(24));
                    prop_assert_eq!(policy.is_open(class, at), !open);
                    prop_assert_eq!(policy.is_open(class, Timestamp(at.0 - 1)), open);
                }
            }
        }
    }
}
