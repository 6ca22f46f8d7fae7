//! Fifty days and nights of circles, by fixed seeds, and every seed that ever found something.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use carryall_sim::{Options, Outcome, run};

/// How many seeds are run each time.
const SEEDS: u64 = 50;
/// How many at a time.
const THREADS: usize = 2;

fn outcome(seed: u64) -> Outcome {
    run(&Options::from_seed(seed), false)
}

fn assert_kept(seed: u64, outcome: &Outcome) {
    let broken: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    assert!(
        broken.is_empty(),
        "replay with `carryall-sim --seed {seed}`:\n{}",
        broken.join("\n")
    );
}

#[test]
fn fifty_seeds_keep_every_promise() {
    let next = AtomicU64::new(1);
    let work = || {
        let (mut restored, mut snapshots) = (0, 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return (restored, snapshots);
            }
            let outcome = outcome(seed);
            assert_kept(seed, &outcome);
            restored += outcome.report.restored;
            snapshots += outcome.report.snapshots;
        }
    };
    let sums: Vec<(u64, u64)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a seed failed, see above"))
            .collect()
    });
    let restored: u64 = sums.iter().map(|sum| sum.0).sum();
    let snapshots: u64 = sums.iter().map(|sum| sum.1).sum();
    // The checkers must have had something to check.
    assert!(
        restored > SEEDS && snapshots > 10 * SEEDS,
        "{restored} of {snapshots} restored"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 7] {
        let (one, two) = (outcome(seed), outcome(seed));
        assert_eq!(one.report, two.report);
        assert_eq!(one.violations, two.violations);
    }
    assert_ne!(outcome(3).report.trace, outcome(7).report.trace);
}
