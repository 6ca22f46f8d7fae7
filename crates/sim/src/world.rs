//! People and places: who is where, and when.
//!
//! Being in reach means being in the same place. At home everybody is alone, except in a family.

use carryall_core::time::{Span, Timestamp};

use crate::{options::Scenario, rng::Rng};

/// Midnight of a Monday.
pub(crate) const BEGIN: Timestamp = Timestamp(1_780_272_000_000);
/// The machine that never leaves home in a family.
const ALWAYS_HOME: usize = 0;

/// Somewhere where people meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// At its tables one sits for an hour.
    Cafe,
    /// A desk from nine to five.
    Office,
    /// The family's home.
    Home,
    /// A room in an office where some have a meeting or coffee.
    Room(u8),
}

impl Place {
    /// Returns the number of the network there: an office has one for all its rooms.
    pub(crate) fn network(self) -> u8 {
        match self {
            Self::Cafe => 1,
            Self::Office | Self::Room(_) => 2,
            Self::Home => 3,
        }
    }
}

/// A time that somebody spends at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) place: Place,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// Returns where a machine meets others on one day, in order and without overlap.
pub(crate) fn stays(scenario: Scenario, machine: usize, day: u32, rng: &mut Rng) -> Vec<Stay> {
    let weekend = day % 7 >= 5;
    let mut stay = |place, hour_from: u64, hour_to: u64, minutes_min, minutes_max| {
        let start = rng.between(hour_from * 60, hour_to * 60);
        let length = rng.between(minutes_min, minutes_max);
        let from = BEGIN + Span::days(day.into()) + Span::secs(start * 60 + rng.below(60));
        Stay {
            place,
            from,
            to: from + Span::secs(length * 60),
        }
    };
    match scenario {
        Scenario::Cafe => {
            let morning = stay(Place::Cafe, 9, 12, 10, 100);
            let evening = stay(Place::Cafe, 15, 20, 5, 180);
            let mut stays = Vec::new();
            stays.extend(rng.chance(500).then_some(morning));
            stays.extend(rng.chance(700).then_some(evening));
            stays
        }
        Scenario::Office if weekend => Vec::new(),
        Scenario::Office => {
            let desk = stay(Place::Office, 8, 10, 240, 540);
            rng.chance(800).then_some(desk).into_iter().collect()
        }
        Scenario::Family if machine == ALWAYS_HOME => {
            let from = BEGIN + Span::days(day.into());
            vec![Stay {
                place: Place::Home,
                from,
                to: from + Span::days(1),
            }]
        }
        Scenario::Family => {
            let evening = stay(Place::Home, 17, 21, 30, 180);
            rng.chance(850).then_some(evening).into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_in_two_places() {
        for scenario in [Scenario::Cafe, Scenario::Office, Scenario::Family] {
            for machine in 0..5_usize {
                let mut last = BEGIN;
                for day in 0..30 {
                    let mut rng = Rng::new(machine as u64).fork("day", day.into());
                    for stay in stays(scenario, machine, day, &mut rng) {
                        assert!(last <= stay.from && stay.from < stay.to);
                        last = stay.to;
                    }
                }
            }
        }
    }
}
