//! Health: how many members could vanish before a pack is lost.
//!
//! Health is counted on members, never on devices, and only on shards that a holder has proved. The
//! owner counts too: as long as friends alone can't rebuild the pack, its health is 0. What portable disks
//! add to that is counted in [`disk`].

pub mod disk;

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{id::MemberId, record::Coding};

/// A set of shard indices of one pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Indices(u128);

impl Indices {
    /// Adds an index; those above 127 are ignored, since no coding has them.
    pub fn insert(&mut self, index: u8) {
        self.0 |= 1_u128.checked_shl(u32::from(index)).unwrap_or(0);
    }

    /// Adds or removes an index.
    pub fn set(&mut self, index: u8, present: bool) {
        let bit = 1_u128.checked_shl(u32::from(index)).unwrap_or(0);
        self.0 = if present { self.0 | bit } else { self.0 & !bit };
    }

    /// Tells whether the index is in the set.
    pub fn contains(self, index: u8) -> bool {
        self.0 & 1_u128.checked_shl(u32::from(index)).unwrap_or(0) != 0
    }

    /// Returns how many indices the set has.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Tells whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the indices in either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the indices in this set and not in the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the smallest index, if any.
    pub fn first(self) -> Option<u8> {
        (self.0 != 0).then(|| u8::try_from(self.0.trailing_zeros()).unwrap_or(u8::MAX))
    }

    /// Returns the greatest index, if any.
    pub fn last(self) -> Option<u8> {
        let top = self.0.checked_ilog2()?;
        u8::try_from(top).ok()
    }

    /// Returns the set of the first `n` indices.
    pub fn first_n(n: u8) -> Self {
        Self(
            1_u128
                .checked_shl(u32::from(n))
                .map_or(u128::MAX, |bit| bit - 1),
        )
    }
}

/// Which shard indices of one pack each member has.
pub type Spread = BTreeMap<MemberId, Indices>;

/// Returns how many members have something.
pub fn holders(spread: &Spread) -> usize {
    spread
        .values()
        .filter(|indices| !indices.is_empty())
        .count()
}

/// Returns the distinct indices that friends have together.
pub fn union(spread: &Spread) -> Indices {
    spread
        .values()
        .fold(Indices::default(), |all, &one| all.union(one))
}

/// Returns how many members, the owner included, could vanish before the pack is lost; 0 when friends
/// alone can't rebuild it now.
///
/// Where an index lies with several members, it is credited to the one with the fewest: the result
/// may be too low then, never too high.
pub fn health(coding: &Coding, spread: &Spread) -> u32 {
    let k = u32::from(coding.k);
    let mut counts: Vec<u32> = credited(coding, spread)
        .into_iter()
        .map(|it| it.1)
        .collect();
    counts.sort_unstable();
    let mut left: u32 = counts.iter().sum();
    if left < k {
        return 0;
    }
    // The worst order of vanishing: whoever has most goes first.
    let mut vanished = 0;
    while let Some(count) = counts.pop() {
        left -= count;
        if left < k {
            break;
        }
        vanished += 1;
    }
    vanished + 1
}

/// Returns how many indices each member is credited with: each index once, or each copy where one
/// rebuilds all.
fn credited(coding: &Coding, spread: &Spread) -> Vec<(MemberId, u32)> {
    if coding.k == 1 {
        let one =
            |(member, indices): (&MemberId, &Indices)| (*member, u32::from(!indices.is_empty()));
        return spread.iter().map(one).collect();
    }
    let mut members: Vec<(MemberId, Indices)> = spread.iter().map(|(at, it)| (*at, *it)).collect();
    members.sort_by_key(|(_, indices)| indices.len());
    let mut taken = Indices::default();
    let credit = |(member, indices): (MemberId, Indices)| {
        let own = indices.without(taken);
        taken = taken.union(indices);
        (member, own.len())
    };
    members.into_iter().map(credit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(k: u8, n: u8) -> Coding {
        Coding {
            k,
            n,
            shard_bytes: 64,
        }
    }

    fn spread(members: &[&[u8]]) -> Spread {
        let mut spread = Spread::new();
        for (at, indices) in members.iter().enumerate() {
            let entry = spread
                .entry(MemberId([u8::try_from(at).unwrap(); 32]))
                .or_default();
            indices.iter().for_each(|&index| entry.insert(index));
        }
        spread
    }

    #[test]
    fn copies_count_one_each() {
        assert_eq!(health(&coding(1, 1), &spread(&[])), 0);
        assert_eq!(health(&coding(1, 1), &spread(&[&[0]])), 1);
        assert_eq!(health(&coding(1, 1), &spread(&[&[0], &[0], &[]])), 2);
    }

    #[test]
    fn one_thick_holder_is_one_person() {
        assert_eq!(
            health(&coding(3, 8), &spread(&[&[0, 1, 2, 3, 4, 5, 6, 7]])),
            1
        );
        assert_eq!(health(&coding(3, 8), &spread(&[&[0, 1]])), 0);
    }

    #[test]
    fn settled_pack_survives_the_loss_of_k_holders() {
        assert_eq!(health(&coding(2, 6), &spread(&[&[0], &[1], &[2], &[3]])), 3);
        assert_eq!(health(&coding(2, 6), &spread(&[&[0, 1], &[2], &[3]])), 2);
    }

    #[test]
    fn the_same_shard_twice_adds_no_second_shard() {
        assert_eq!(health(&coding(2, 6), &spread(&[&[0], &[0], &[0]])), 0);
    }

    /// The exact answer by trying every set of vanished members.
    fn exact(coding: &Coding, spread: &Spread) -> u32 {
        let members: alloc::vec::Vec<Indices> = spread.values().copied().collect();
        let enough = |gone: u32| {
            let mut union = Indices::default();
            let mut copies = 0;
            for (at, indices) in members.iter().enumerate() {
                if gone >> at & 1 == 0 {
                    union = union.union(*indices);
                    copies += u32::from(!indices.is_empty());
                }
            }
            if coding.k == 1 {
                copies >= 1
            } else {
                union.len() >= u32::from(coding.k)
            }
        };
        if !enough(0) {
            return 0;
        }
        let survives = |count: u32| {
            (0..1_u32 << members.len())
                .filter(|gone| gone.count_ones() == count)
                .all(enough)
        };
        1 + (1..)
            .take_while(|&count| count as usize <= members.len() && survives(count))
            .count() as u32
    }

    proptest::proptest! {
        #[test]
        fn never_too_high(k in 1_u8..5, masks in proptest::collection::vec(0_u8..=255, 0..6)) {
            let mut members = Spread::new();
            for (at, mask) in masks.iter().enumerate() {
                let entry = members.entry(MemberId([u8::try_from(at).unwrap(); 32])).or_default();
                let top = if k == 1 { 1 } else { 8 };
                (0..top).filter(|bit| mask >> bit & 1 == 1).for_each(|bit| entry.insert(bit));
            }
            let coding = coding(k, 8);
            let (ours, truth) = (health(&coding, &members), exact(&coding, &members));
            proptest::prop_assert!(ours <= truth, "{} > {}", ours, truth);
            let indices: u32 = members.values().map(|indices| indices.len()).sum();
            if k == 1 || indices == union(&members).len() {
                proptest::prop_assert_eq!(ours, truth);
            } else {
                proptest::prop_assert_eq!(ours == 0, truth == 0);
            }
        }
    }
}
