//! The order of encounters as built, beside others.

use carryall_sim::compare;

/// Few weeks, always the same; `carryall-sim --compare` takes more of them.
const SEEDS: u64 = 2;

#[test]
fn the_plan_makes_new_packs_safe_no_later_than_other_orders() {
    let comparison = compare(SEEDS, 5).expect("nothing goes wrong in these weeks");
    let [(_, plan), others @ ..] = &comparison.rows;
    assert!(plan.packs() > 80, "{comparison}");
    assert!(plan.share_safe() > 0.5, "{comparison}");
    for (_, other) in others {
        assert_eq!(other.packs(), plan.packs());
        assert!(plan.mean() < other.mean(), "{comparison}");
    }
}
