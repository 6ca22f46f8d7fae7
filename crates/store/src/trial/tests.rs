//! Every promise of the store, with the power cut at every write, sync and change of a name.

mod home;
mod shelf;

use crate::{catalogue, days, feeds, history, vault};

/// Cuts the power in the midst of something, and tells how often.
type Scenario = fn() -> u64;

/// What is done when the power fails.
const SCENARIOS: [(&str, Scenario); 19] = [
    (
        "a vault is made, and its identity replaced",
        vault::tests::founding,
    ),
    ("own entries are appended", feeds::tests::appending),
    (
        "others' feeds come between own entries",
        feeds::tests::merging,
    ),
    ("meetings are written down", history::tests::remembering),
    ("observed days are counted", days::tests::counting),
    ("shards are received", crate::shelf::tests::receiving),
    ("a shard that was cut off is resumed", shelf::resuming),
    (
        "shards go to the trash and come back",
        crate::shelf::tests::discarding,
    ),
    ("the trash is emptied", shelf::emptying),
    ("a damaged shard leaves, and comes anew", shelf::replacing),
    (
        "packs are spooled, then named",
        catalogue::tests::committing,
    ),
    ("a first backup", home::backing_up),
    ("a backup of what changed", home::backing_up_again),
    ("folders are remembered and forgotten", home::choosing),
    (
        "snapshots are forgotten, and their packs pruned",
        home::pruning,
    ),
    ("files are freed", home::freeing),
    ("the catalogue is made anew", home::rebuilding),
    ("everything is learnt from a friend", home::recovering),
    (
        "a pack comes back for repair, and leaves the spool",
        home::repairing,
    ),
];

/// What the issue asks for.
const CUTS: u64 = 20_000;

/// Cuts the power in each of the scenarios, also a second time while the first cut is recovered from.
#[test]
fn nothing_acknowledged_is_lost_in_twenty_thousand_cuts() {
    let mut sum = 0;
    for (name, scenario) in SCENARIOS {
        println!("{name} …");
        let began = std::time::Instant::now();
        let cuts = scenario();
        println!(
            "{name}: {cuts} cuts in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        sum += cuts;
    }
    println!("{} scenarios, {sum} cuts", SCENARIOS.len());
    assert!(sum >= CUTS, "{sum} cuts");
}
