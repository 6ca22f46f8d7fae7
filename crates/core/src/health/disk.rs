//! What portable disks add to the health of a pack: half.
//!
//! Health is the least weight of losses that loses the pack, rounded down, less one. The owner weighs
//! one, and so does each other member; whoever goes takes along every disk that was last seen with them.
//! A disk that goes by itself weighs half. So one disk never makes safe what friends can't rebuild, two
//! weigh as one friend, and a disk with a friend who holds the pack too adds nothing, since one fire
//! takes both.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Indices, Spread, credited, health};
use crate::{id::MemberId, record::Coding};

/// What one portable disk holds of a pack, by proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskShare {
    /// With whom it was last seen; never the owner, whose house would burn with it.
    pub with: MemberId,
    /// The shards that lie there.
    pub indices: Indices,
}

/// What goes with one member.
#[derive(Clone, Copy, Debug, Default)]
struct Party {
    /// All that it has, its disks' included.
    whole: u32,
    /// The most that one of its disks has.
    disk: u32,
}

/// Returns the [health] of a pack with what lies on portable disks.
///
/// Members are credited first, disks with what they add: the result may be too low, never too high,
/// and never lower than without disks.
pub fn health_with_disks(coding: &Coding, spread: &Spread, disks: &[DiskShare]) -> u32 {
    let alone = health(coding, spread);
    if disks.iter().all(|disk| disk.indices.is_empty()) {
        return alone;
    }
    let parties = parties(coding, spread, disks);
    let total: u32 = parties.iter().map(|party| party.whole).sum();
    // Of copies every one has to go, of shards all but k - 1.
    let left = u32::from(coding.k).saturating_sub(1);
    let halves = cheapest(&parties, total.saturating_sub(left));
    alone.max(halves / 2)
}

/// Counts what each member has with its disks: no shard twice, or each copy once.
fn parties(coding: &Coding, spread: &Spread, disks: &[DiskShare]) -> Vec<Party> {
    let copies = coding.k == 1;
    let mut parties: BTreeMap<MemberId, Party> = (credited(coding, spread).into_iter())
        .map(|(member, whole)| (member, Party { whole, disk: 0 }))
        .collect();
    let mut counted = super::union(spread);
    for disk in disks {
        let adds = if copies {
            u32::from(!disk.indices.is_empty())
        } else {
            disk.indices.without(counted).len()
        };
        counted = counted.union(disk.indices);
        let party = parties.entry(disk.with).or_default();
        party.whole += adds;
        party.disk = party.disk.max(adds);
    }
    parties.into_values().collect()
}

/// Returns the least weight, in halves, of losses that take `wanted` of what all have.
fn cheapest(parties: &[Party], wanted: u32) -> u32 {
    // By weight: the most that can be taken for it.
    let mut most = alloc::vec![0; 2 * parties.len() + 1];
    for party in parties {
        for weight in (1..most.len()).rev() {
            let with_disk = most[weight - 1] + party.disk;
            let with_all = weight.checked_sub(2).map_or(0, |at| most[at] + party.whole);
            most[weight] = most[weight].max(with_disk).max(with_all);
        }
    }
    let enough = most.iter().position(|taken| *taken >= wanted);
    enough.map_or(0, |weight| u32::try_from(weight).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(at: u8) -> MemberId {
        MemberId([at; 32])
    }

    fn set(mask: u8) -> Indices {
        let mut set = Indices::default();
        (0..8).for_each(|bit| set.set(bit, mask >> bit & 1 == 1));
        set
    }

    fn coding(k: u8) -> Coding {
        Coding {
            k,
            n: 8,
            shard_bytes: 64,
        }
    }

    fn spread(of: &[u8]) -> Spread {
        let members = (0..).zip(of);
        members.map(|(at, mask)| (member(at), set(*mask))).collect()
    }

    fn found(k: u8, friends: &[u8], disks: &[(u8, u8)]) -> u32 {
        let disks: Vec<DiskShare> = (disks.iter())
            .map(|(with, mask)| DiskShare {
                with: member(*with),
                indices: set(*mask),
            })
            .collect();
        health_with_disks(&coding(k), &spread(friends), &disks)
    }

    #[test]
    fn two_disks_weigh_as_one_friend() {
        assert_eq!(found(1, &[], &[(0, 1)]), 0, "one disk makes nothing safe");
        assert_eq!(found(1, &[], &[(0, 1), (0, 1)]), 1);
        assert_eq!(found(1, &[], &[(0, 1), (1, 1)]), 1);
        assert_eq!(found(1, &[1], &[]), 1);
        assert_eq!(found(1, &[1, 0], &[(1, 1)]), 1);
        assert_eq!(found(1, &[1, 0], &[(1, 1), (1, 1)]), 2);
    }

    #[test]
    fn a_disk_with_who_holds_it_too_burns_with_it() {
        assert_eq!(found(1, &[1], &[(0, 1), (0, 1), (0, 1)]), 1);
        assert_eq!(found(2, &[0b11, 0], &[(0, 0b1100)]), 1);
    }

    #[test]
    fn shards_on_disks_fill_up_what_friends_hold() {
        assert_eq!(found(2, &[0b1, 0], &[(1, 0b10)]), 0, "half is not enough");
        assert_eq!(found(2, &[0b1, 0b10], &[]), 1);
        assert_eq!(found(2, &[0b1, 0b10, 0], &[(2, 0b100)]), 1);
        assert_eq!(found(2, &[0b1, 0b10, 0], &[(2, 0b100), (2, 0b1000)]), 2);
        // What friends hold already adds nothing when it lies on a disk, too.
        assert_eq!(found(2, &[0b1, 0b10, 0], &[(2, 0b1), (2, 0b10)]), 1);
    }

    /// The exact answer by trying all losses.
    fn exact(k: u8, friends: &[u8], disks: &[(u8, u8)]) -> u32 {
        let (people, lone) = (friends.len() as u32, disks.len() as u32);
        let weighs = |gone: u32, lost: u32| {
            let stays = |at: u8| gone >> at & 1 == 0;
            let of_friends = (0..).zip(friends).filter(|(at, _)| stays(*at));
            let left = (0..).zip(disks);
            let left = left.filter(|(at, (with, _))| lost >> at & 1 == 0 && stays(*with));
            let all = of_friends.map(|(_, mask)| *mask);
            let all = all.chain(left.map(|(_, (_, mask))| *mask));
            let union = all.fold(0, |sum, mask| sum | mask);
            let lost_with_it = union.count_ones() < u32::from(k);
            lost_with_it.then_some(2 * gone.count_ones() + lost.count_ones())
        };
        let all = (0..1 << people).flat_map(|gone| (0..1 << lone).map(move |lost| (gone, lost)));
        all.filter_map(|(gone, lost)| weighs(gone, lost))
            .min()
            .unwrap_or(0)
            / 2
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_rule_says(
            k in 1_u8..5,
            friends in proptest::collection::vec(0_u8..=255, 4),
            disks in proptest::collection::vec((0_u8..4, 0_u8..=255), 0..4),
        ) {
            let one = |mask: u8| if k == 1 { mask & 1 } else { mask };
            let friends: Vec<u8> = friends.into_iter().map(one).collect();
            let disks: Vec<(u8, u8)> = disks.into_iter().map(|(at, mask)| (at, one(mask))).collect();
            let (ours, truth) = (found(k, &friends, &disks), exact(k, &friends, &disks));
            let alone = health(&coding(k), &spread(&friends));
            proptest::prop_assert!(ours <= truth, "{} > {}", ours, truth);
            proptest::prop_assert!(ours >= alone);
            // Two disks are one friend at most, and one makes nothing safe.
            let of_disks = u32::try_from(disks.len().div_ceil(2)).unwrap();
            proptest::prop_assert!(truth <= exact(k, &friends, &[]) + of_disks);
            proptest::prop_assert!(disks.len() > 1 || alone > 0 || ours == 0);
            if k == 1 {
                proptest::prop_assert_eq!(ours, truth);
            }
        }
    }
}
