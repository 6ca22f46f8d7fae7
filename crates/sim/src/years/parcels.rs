//! How soon friends hold a pack, by how many of them may carry the same shard to the same member.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use super::{
    cast::Setting,
    life::{self, Lived},
    report::days,
    score::{Score, quantile},
    trace::Trace,
    world::FEW,
};
use crate::{checker::Violation, seeds};

/// So many carriers at most, one after the other.
const CARRIERS: [usize; 4] = [0, 1, 2, 3];

/// What parcels are worth.
#[derive(Debug)]
pub struct Carried {
    setting: Setting,
    days: u32,
    /// Whether homes can be reached over the internet, how many carry, and what came of it.
    rows: Vec<(bool, usize, Score)>,
    /// Promises that were not kept, with the seed.
    pub violations: Vec<(u64, Violation)>,
}

/// Lives through so many days of each seed with every number of carriers: as homes are, and as if none
/// could be reached over the internet.
pub fn carry(setting: Setting, days: u32, seeds: std::ops::Range<u64>) -> Carried {
    let kinds = [true, false].into_iter();
    let kinds = kinds.flat_map(|open| CARRIERS.map(|carriers| (open, carriers)));
    let rows = kinds.map(|(open, carriers)| (open, carriers, Score::default()));
    let all = Mutex::new(Carried {
        setting,
        days,
        rows: rows.collect(),
        violations: Vec::new(),
    });
    seeds::for_each(seeds, |seed| {
        for row in 0..2 * CARRIERS.len() {
            let (open, carriers) = (row < CARRIERS.len(), CARRIERS[row % CARRIERS.len()]);
            let Lived { score, violations } = one(setting, days, seed, open, carriers);
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.rows[row].2.add(score);
            let violations = violations.into_iter().map(|it| (seed, it));
            all.violations.extend(violations);
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Lives through the same days as with any other number of carriers.
pub(super) fn one(setting: Setting, days: u32, seed: u64, open: bool, carriers: usize) -> Lived {
    let mut trace = Trace::new(setting, 1, seed).until(days);
    if !open {
        trace.cast.open.fill(false);
    }
    life::live_with(&trace, seed, None, carriers)
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {}, {} days, {} seeds | carriers | {FEW} friends hold a pack after, p50 | p75 | p90 | all of its shards, p50 | LAN, GB a run | WAN | carried |\n|---|---|---|---|---|---|---|---|---|",
            self.setting.name(),
            self.days,
            self.rows.first().map_or(0, |it| it.2.runs),
        )?;
        for (open, carriers, score) in &self.rows {
            let (few, full) = (score.spreads(), score.settles());
            let [lan, wan] = score.moved_gb();
            let place = if *open { "as it is" } else { "no internet" };
            write!(
                f,
                "\n| {place} | {carriers} | {} | {} | {} | {} | {lan:.0} | {wan:.0} | {:.0} |",
                days(quantile(&few, 500)),
                days(quantile(&few, 750)),
                days(quantile(&few, 900)),
                days(quantile(&full, 500)),
                score.carried_gb(),
            )?;
        }
        let packs = self.rows.first().map_or(0, |it| it.2.spreads().len());
        write!(f, "\n\n{packs} packs in each row")
    }
}
