//! The list brings everything back, nobody is on it for nothing, and who is met soon comes first.

use alloc::vec;

use proptest::prelude::*;

use super::*;

fn device(at: u8) -> DeviceId {
    DeviceId([at; 32])
}

fn indices(all: &[u8]) -> Indices {
    let mut set = Indices::default();
    all.iter().for_each(|index| set.insert(*index));
    set
}

type Gives<'a> = (u8, &'a [u8]);

/// Packs as what they lack and who has which of their shards.
fn missing(packs: &[(u32, &[Gives<'_>])]) -> Missing {
    Missing::new(packs.iter().map(|(lacking, given)| {
        let given = given.iter().map(|(at, all)| (device(*at), indices(all)));
        (100, *lacking, given.collect())
    }))
}

fn all_cost_the_same(_: usize, _: u64) -> Span {
    Span(0)
}

#[test]
fn one_who_has_enough_is_better_than_two_who_have_it_together() {
    let missing = missing(&[
        (2, &[(1, &[0]), (2, &[1]), (3, &[0, 1])]),
        (2, &[(1, &[0]), (2, &[1]), (3, &[0, 1])]),
    ]);
    assert_eq!(missing.groups.len(), 1, "both packs are alike");
    assert_eq!(missing.cover(all_cost_the_same), [2]);
    assert!(missing.instead_of(2, &[false, false, true]).is_empty());
    assert_eq!(missing.brought(2, &[false; 3]), (400, 2));
}

#[test]
fn who_is_met_tomorrow_is_better_than_who_is_met_next_month() {
    let missing = missing(&[(1, &[(1, &[0]), (2, &[0])])]);
    let waits = [Span::days(30), Span::days(1)];
    assert_eq!(missing.cover(|device, _| waits[device]), [1]);
    assert_eq!(missing.instead_of(1, &[false, true]), [0]);
}

#[test]
fn a_machine_that_seems_replaced_is_needed_only_when_nothing_comes_back_without() {
    let given = |all: &[Gives<'_>]| -> BTreeMap<DeviceId, Indices> {
        let all = all.iter().map(|(at, all)| (device(*at), indices(all)));
        all.collect()
    };
    let replaced = |it: &DeviceId| *it == device(1);
    let two = given(&[(1, &[0]), (2, &[1])]);
    let rest = without_needless(two.clone(), 1, replaced);
    assert_eq!(rest, given(&[(2, &[1])]));
    assert_eq!(without_needless(two.clone(), 2, replaced), two);
}

#[test]
fn what_nobody_can_bring_sends_nobody_anywhere() {
    let missing = missing(&[(2, &[(1, &[0]), (2, &[0])]), (0, &[(1, &[0])])]);
    assert_eq!(missing, Missing::default());
    assert!(missing.cover(all_cost_the_same).is_empty());
}

#[test]
fn a_pack_is_whole_when_the_last_shard_that_it_needs_comes() {
    let missing = missing(&[(2, &[(1, &[0]), (2, &[1]), (3, &[2])]), (1, &[(3, &[5])])]);
    let days = |all: [u64; 3]| all.map(|day| Some(Span::days(day)));
    assert_eq!(missing.whole_at(&days([1, 2, 3])), Some(Span::days(3)));
    assert_eq!(missing.whole_at(&days([4, 2, 1])), Some(Span::days(2)));
    assert_eq!(
        missing.whole_at(&[Some(Span(1)), Some(Span(2)), None]),
        None
    );
}

/// Up to six devices have shards of up to eight packs.
fn packs() -> impl Strategy<Value = Vec<(u32, Vec<Vec<u8>>)>> {
    let given = prop::collection::vec(prop::collection::vec(0_u8..6, 0..3), 6);
    prop::collection::vec((1_u32..4, given), 0..8)
}

proptest! {
    #[test]
    fn the_list_brings_all_and_nobody_is_on_it_for_nothing(packs in packs(), costs in prop::array::uniform6(0_u64..50)) {
        let missing = Missing::new(packs.into_iter().map(|(lacking, given)| {
            let given = given.iter().enumerate().filter(|(_, all)| !all.is_empty());
            let given = given.map(|(at, all)| (device(u8::try_from(at).unwrap()), indices(all)));
            (64, lacking, given.collect())
        }));
        let cost = |at: usize, _| Span::days(costs[at]);
        let order = missing.cover(cost);
        let mut chosen = vec![false; missing.devices.len()];
        for at in &order {
            prop_assert!(!chosen[*at]);
            chosen[*at] = true;
        }
        prop_assert!(missing.is_covered(&chosen));
        for at in order {
            chosen[at] = false;
            prop_assert!(!missing.is_covered(&chosen), "{at} is needless");
            let mut all = chosen.clone();
            all[at] = true;
            for other in missing.instead_of(at, &all) {
                chosen[other] = true;
                prop_assert!(missing.is_covered(&chosen));
                chosen[other] = false;
            }
            chosen[at] = true;
        }
    }
}
