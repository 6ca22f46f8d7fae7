//! Placement: which member should get which shard of a pack.
//!
//! Thick first: while friends together can't rebuild the pack, whoever is near gets the next distinct
//! shard, so that one friend alone ends with enough of them and three friends met together share the
//! work. Then each further member gets one shard of its own, up to 2k members.
//!
//! This module does not know who is near or how fast: see `plan`.

use crate::{
    health::{Indices, Spread, holders, union},
    id::MemberId,
    limits,
    record::{Coding, PackKind},
};

/// Returns how many data shards, `k`, a new pack gets, given the number of members other than the
/// owner.
///
/// Half of the friends, rounded up, can rebuild: k = max(1, floor(others / 2)) on 2k members.
/// Metadata is whole everywhere.
pub fn data_shards(kind: PackKind, others: usize) -> u8 {
    if kind == PackKind::Metadata {
        return 1;
    }
    u8::try_from(others / 2)
        .unwrap_or(u8::MAX)
        .clamp(1, limits::DATA_SHARDS_MAX)
}

/// Returns how many members should hold shards of a pack when all is done.
pub fn members_target(kind: PackKind, coding: &Coding, others: usize) -> usize {
    match kind {
        PackKind::Metadata => others,
        PackKind::Small | PackKind::Large => others.min(2 * usize::from(coding.k)),
    }
}

/// Returns the health that a pack has when all is done: 0 without friends.
pub fn health_target(kind: PackKind, coding: &Coding, others: usize) -> u32 {
    let members = members_target(kind, coding, others);
    let spare = (members + 1).saturating_sub(usize::from(coding.k));
    u32::try_from(spare).unwrap_or(u32::MAX)
}

/// Tells whether nobody should get another shard of a pack, of which so many members have something,
/// these distinct shards together.
pub fn is_settled(
    kind: PackKind,
    coding: &Coding,
    placed: Indices,
    holders: usize,
    others: usize,
) -> bool {
    let suffice = coding.k == 1 || placed.len() >= u32::from(coding.k);
    suffice && holders >= members_target(kind, coding, others)
}

/// Returns the index of the shard that `member` should get next, or nothing when it has its part.
///
/// `spread` is what members hold by receipt, plus what is on its way to them.
pub fn next_shard(
    kind: PackKind,
    coding: &Coding,
    spread: &Spread,
    member: MemberId,
    others: usize,
) -> Option<u8> {
    let own = spread.get(&member).copied().unwrap_or_default();
    let placed = union(spread);
    if is_settled(kind, coding, placed, holders(spread), others) {
        return None;
    }
    if coding.k == 1 {
        return own.is_empty().then_some(0);
    }
    let all = Indices::first_n(coding.n);
    if placed.len() < u32::from(coding.k) {
        return all.without(placed).first();
    }
    if !own.is_empty() {
        return None;
    }
    // A fresh shard if there is one; else one of whoever has most, who can do without it: that which
    // fewest others hold, so that each ends with a shard of their own.
    all.without(placed).first().or_else(|| {
        let thickest = spread.values().max_by_key(|indices| indices.len())?;
        let holders = |index: &u8| spread.values().filter(|it| it.contains(*index)).count();
        let choice = (0..coding.n).filter(|index| thickest.contains(*index));
        choice.min_by_key(holders)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(at: u8) -> MemberId {
        MemberId([at; 32])
    }

    fn cut(k: u8, n: u8) -> Coding {
        Coding {
            k,
            n,
            shard_bytes: 64,
        }
    }

    /// Gives members what they should have, in the order of `meetings`, until nobody wants more.
    fn place(coding: &Coding, others: usize, meetings: &[u8]) -> Spread {
        let mut spread = Spread::new();
        for &at in meetings {
            while let Some(index) = next_shard(PackKind::Large, coding, &spread, member(at), others)
            {
                spread.entry(member(at)).or_default().insert(index);
            }
        }
        spread
    }

    #[test]
    fn half_of_the_friends_rounded_up_suffices() {
        for others in 0..=120_usize {
            let k = data_shards(PackKind::Large, others);
            assert!(usize::from(k) <= others.div_ceil(2).max(1));
            assert_eq!(data_shards(PackKind::Metadata, others), 1);
        }
        assert_eq!(data_shards(PackKind::Small, 8), 4);
        assert_eq!(data_shards(PackKind::Small, 0), 1);
    }

    #[test]
    fn thick_first_then_one_each() {
        let cut = cut(3, 8);
        let spread = place(&cut, 6, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(spread[&member(1)].len(), 3);
        for at in 2..=6 {
            assert_eq!(spread[&member(at)].len(), 1);
        }
        assert_eq!(union(&spread).len(), 8);
    }

    #[test]
    fn more_friends_than_needed_get_nothing() {
        let spread = place(&cut(1, 1), 5, &[1, 2, 3, 4, 5]);
        assert_eq!(spread.len(), 2);
    }

    #[test]
    fn metadata_goes_to_everybody() {
        let mut spread = Spread::new();
        for at in 1..=5 {
            let index = next_shard(PackKind::Metadata, &cut(1, 1), &spread, member(at), 5);
            spread.entry(member(at)).or_default().insert(index.unwrap());
        }
        assert_eq!(spread.len(), 5);
    }

    proptest::proptest! {
        #[test]
        fn everybody_met_reaches_the_target(others in 1_usize..12, order in proptest::collection::vec(0_u8..12, 12..40)) {
            let k = data_shards(PackKind::Large, others);
            let cut = Coding::new(k, 1_000_000).unwrap();
            let mut meetings: alloc::vec::Vec<u8> =
                order.into_iter().filter(|&at| usize::from(at) < others).collect();
            meetings.extend(0..u8::try_from(others).unwrap());
            let spread = place(&cut, others, &meetings);
            proptest::prop_assert!(spread.len() <= others.min(2 * usize::from(k)).max(1));
            proptest::prop_assert!(crate::health::health(&cut, &spread) >= 1);
            if k > 1 {
                let settled = spread.len() == others.min(2 * usize::from(k));
                proptest::prop_assert!(settled, "{:?}", spread);
            }
        }
    }
}
