//! What theory says where it can say anything, against the generators that the years are made of.

use carryall_core::{
    id::MemberId,
    record::PackKind,
    time::{Span, Timestamp},
};

use super::packs::{Condition, Copy, Packs};
use crate::rng::Rng;

/// Rates of MoSAIC's chain, per unit of time: contributors are met, the internet is reached, a device
/// fails.
const MEET: u64 = 1000;
const REACH: u64 = 10;
const FAIL: u64 = 1;
/// A unit of time, in milliseconds: long, so that rounding does not count.
const UNIT: u64 = 1_000_000_000_000;

/// The probability that a data item is lost, by MoSAIC's chain (Courtès et al., PRDC 2007): its owner
/// gives copies to contributors as they are met, and whoever reaches the internet first saves it.
fn chain(owner: bool, to_make: u32, copies: u32) -> f64 {
    let (meet, reach, fail) = (MEET as f64, REACH as f64, FAIL as f64);
    if !owner && copies == 0 {
        return 1.0;
    }
    let holders = f64::from(copies + u32::from(owner));
    let meets = if owner && to_make > 0 { meet } else { 0.0 };
    let mut lost = 0.0;
    if meets > 0.0 {
        lost += meets * chain(true, to_make - 1, copies + 1);
    }
    if owner {
        lost += fail * chain(false, 0, copies);
    }
    if copies > 0 {
        lost += f64::from(copies) * fail * chain(owner, to_make, copies - 1);
    }
    lost / (meets + holders * (reach + fail))
}

/// Plays it, with the waits of the years.
fn is_lost(copies: u32, rng: &mut Rng) -> bool {
    let wait = |rate: u64, rng: &mut Rng| rng.wait(Span(UNIT / rate)).0;
    let owner_fails = wait(FAIL, rng);
    let mut saved = wait(REACH, rng) < owner_fails;
    let mut met = 0;
    for _ in 0..copies {
        met += wait(MEET, rng);
        if met < owner_fails {
            saved |= wait(REACH, rng) < wait(FAIL, rng);
        }
    }
    !saved
}

#[test]
fn exponential_meetings_reproduce_the_mosaic_bound() {
    let alone = chain(true, 0, 0);
    // The gains of the paper's chain at these rates, for 1, 2 and 4 copies.
    for (copies, gain) in [(1, 9.9), (2, 50.0), (4, 83.0)] {
        let ours = alone / chain(true, copies, 0);
        assert!((ours / gain - 1.0).abs() < 0.02, "{copies}: {ours}");
    }
    for (copies, trials) in [(0, 100_000), (1, 600_000), (2, 2_500_000)] {
        let mut rng = Rng::new(1).fork("mosaic", copies.into());
        let lost = (0..trials).filter(|_| is_lost(copies, &mut rng)).count();
        let played = lost as f64 / f64::from(trials);
        let theory = chain(true, copies, 0);
        assert!(
            (played / theory - 1.0).abs() < 0.05,
            "{copies}: {played} {theory}"
        );
    }
}

#[test]
fn static_availability_is_the_binomial() {
    let mut rng = Rng::new(2);
    let owner = MemberId([9; 32]);
    for (k, holders, up) in [(1_u8, 3_u8, 240), (2, 4, 700), (4, 8, 600)] {
        let mut packs = Packs::default();
        packs.make(owner, PackKind::Large, k, Timestamp(0), &mut rng);
        let pack = &mut packs.all[0];
        pack.copies = (0..holders)
            .map(|at| Copy {
                station: at.into(),
                member: MemberId([at; 32]),
                index: if k == 1 { 0 } else { at },
                condition: Condition::Good,
                trashed: false,
            })
            .collect();
        let trials = 100_000;
        let mut rebuildable = 0;
        for _ in 0..trials {
            for copy in &mut pack.copies {
                copy.condition = match rng.chance(up) {
                    true => Condition::Good,
                    false => Condition::Dropped,
                };
            }
            rebuildable += u32::from(pack.is_rebuildable(false));
        }
        let p = f64::from(up) / 1000.0;
        let choose = |n: u8, r: u8| {
            (0..r)
                .map(|i| f64::from(n - i) / f64::from(i + 1))
                .product()
        };
        let tail: f64 = (k..=holders)
            .map(|r| {
                let ways: f64 = choose(holders, r);
                ways * p.powi(r.into()) * (1.0 - p).powi((holders - r).into())
            })
            .sum();
        let played = f64::from(rebuildable) / f64::from(trials);
        assert!(
            (played / tail - 1.0).abs() < 0.02,
            "{k} of {holders}: {played} {tail}"
        );
    }
}
