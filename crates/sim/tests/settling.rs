//! Thick first, thin later: the room that a backup takes once all friends were met.

use carryall_sim::{Settled, settle};

fn settled(friends: usize, days: u64) -> Settled {
    settle(1, friends, days).expect("no promise is broken")
}

#[test]
fn the_surplus_of_the_first_friend_comes_back_after_its_days_in_the_trash() {
    let settled = settled(4, 45);
    let (first, last) = (settled.bytes[0], *settled.bytes.last().unwrap());
    assert!(first > settled.target * 6 / 5, "{settled:?}");
    // A month in the trash first.
    assert_eq!(settled.bytes[29], first, "{settled:?}");
    assert!(settled.trash[29] > 0, "{settled:?}");
    assert!(last * 100 <= settled.target * 105, "{settled:?}");
    assert!(last >= settled.target, "{settled:?}");
    // A tenth a day at most, but one shard in any case.
    let steps = settled.bytes.windows(2).map(|days| days[0] - days[1]);
    let steps: Vec<u64> = steps.filter(|step| *step > 0).collect();
    assert!(steps.len() > 2, "{settled:?}");
    assert!(steps.iter().all(|step| *step <= first / 8), "{settled:?}");
}

#[test]
fn more_friends_than_fresh_shards_end_with_one_shard_each() {
    let settled = settled(10, 60);
    let last = *settled.bytes.last().unwrap();
    assert!(last * 100 <= settled.target * 105, "{settled:?}");
    assert!(last >= settled.target, "{settled:?}");
}
