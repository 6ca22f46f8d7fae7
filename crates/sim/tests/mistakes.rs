//! Each checker finds the mistake that it is there for.

use carryall_sim::{Faults, Mistake, Options, Scenario, run};

/// Runs a circle with a mistake in its hosts; returns the names of the checkers that complained.
fn complaints(mistake: Option<Mistake>, seed: u64, faults: Faults) -> Vec<&'static str> {
    complaints_of(3, mistake, seed, faults)
}

fn complaints_of(
    devices: usize,
    mistake: Option<Mistake>,
    seed: u64,
    faults: Faults,
) -> Vec<&'static str> {
    let scenario = Scenario::Family;
    let options = Options {
        seed,
        days: 3,
        devices,
        scenario,
        faults,
        mistake,
    };
    let mut names: Vec<_> = run(&options, false)
        .violations
        .iter()
        .map(|it| it.checker)
        .collect();
    names.dedup();
    names
}

fn restarts() -> Faults {
    Faults {
        restart_per_mille: 1000,
        ..Faults::default()
    }
}

#[test]
fn hosts_without_mistakes_have_no_complaints() {
    assert_eq!(complaints(None, 1, restarts()), Vec::<&str>::new());
}

#[test]
fn a_promise_before_the_sync_is_found() {
    let names = complaints(Some(Mistake::PromiseBeforeSync), 1, Faults::default());
    assert!(names.contains(&"durability"), "{names:?}");
}

#[test]
fn an_entry_told_before_it_is_written_is_found() {
    let names = complaints(Some(Mistake::TellUnwritten), 1, restarts());
    assert!(names.contains(&"durability"), "{names:?}");
}

#[test]
fn a_snapshot_that_comes_back_otherwise_is_found() {
    let names = complaints(Some(Mistake::WrongContent), 1, Faults::default());
    assert_eq!(names, ["recovery"]);
}

#[test]
fn news_that_is_held_back_is_found() {
    let names = complaints(Some(Mistake::HoldBackNews), 1, Faults::default());
    assert!(names.contains(&"convergence"), "{names:?}");
}

#[test]
fn shards_that_move_without_need_are_found() {
    let names = complaints(Some(Mistake::RepeatShards), 1, Faults::default());
    assert!(names.contains(&"quiet"), "{names:?}");
}

#[test]
fn an_overrun_quota_is_found() {
    let names = complaints(Some(Mistake::ForgetShelf), 1, restarts());
    assert!(names.contains(&"quota"), "{names:?}");
}

#[test]
fn a_release_that_is_carried_out_at_once_is_found() {
    let names = complaints_of(5, Some(Mistake::EraseAtOnce), 1, Faults::default());
    assert!(names.contains(&"trash"), "{names:?}");
}
