//! Holders that drop some of what they say they keep: how soon are they named?

use std::sync::{Mutex, PoisonError};

use super::{
    cast::{Cast, Spot},
    fate::Blow,
    life::Life,
    trace::Happening,
};
use carryall_core::{limits, time::Span};

use crate::{seeds, world::BEGIN};

/// Packs that the liar has a shard of.
const PACKS: u8 = 200;
/// Days before it drops any.
const HONEST: u32 = 3;
/// Days until we stop looking.
const PATIENCE: u32 = 45;
/// The liar's machine.
const LIAR: usize = 1;

/// When a liar was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// In which meeting after the lie; nothing if it was not.
    pub meeting: Option<u32>,
    /// After how many days.
    pub days: Option<u32>,
}

/// Three friends meet for an hour every so many days; one drops so many of its shards, in a thousand,
/// one at least.
pub fn lie(seed: u64, share: u32, every: u32) -> Named {
    let mut life = Life::begin(Cast::of_laptops(3), seed, limits::CARRIERS_MAX);
    let mut meetings = 0;
    for day in 0..HONEST + PATIENCE {
        let at = |hour: u64| BEGIN + Span::days(day.into()) + Span::hours(hour);
        let meets = day < HONEST || (day - HONEST).is_multiple_of(every);
        if day == HONEST {
            life.at(at(6), Happening::Blow(Blow::Cheat(LIAR, share)));
        }
        if meets {
            for machine in 0..3 {
                life.at(at(10), Happening::Wake(machine, Spot::Office));
            }
            if day == 0 {
                life.at(at(10), Happening::Save(0, PACKS));
            }
            for machine in 0..3 {
                life.at(at(11), Happening::Sleep(machine));
            }
            meetings += u32::from(day >= HONEST);
        }
        if life.named() > 0 {
            return Named {
                meeting: Some(meetings),
                days: Some(day - HONEST),
            };
        }
    }
    Named {
        meeting: None,
        days: None,
    }
}

/// Tries many seeds.
pub fn lies(seeds: std::ops::Range<u64>, share: u32, every: u32) -> Vec<Named> {
    let all = Mutex::new(Vec::new());
    seeds::for_each(seeds, |seed| {
        let named = lie(seed, share, every);
        all.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(named);
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
