//! Thin later: what the first friends hold beyond their part, once others hold theirs.
//!
//! The first friend met gets enough shards to rebuild a pack alone. When as many members as a pack
//! shall have hold distinct shards, by proof, each keeps one and the rest is released. So it is when
//! more members hold some than shall: a friend who was away for so long that another one got its part
//! is back. This looks at proofs alone, and gives nothing up unless what stays, by itself, is all that
//! the pack shall have.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::cmp::Reverse;

use crate::{
    health::{Indices, Spread, health, holders},
    id::{DeviceId, MemberId},
    placement::{health_target, members_target},
    record::{Coding, PackKind},
    time::Span,
};

/// What a device says that it holds of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Whose device it is.
    pub member: MemberId,
    /// The device.
    pub device: DeviceId,
    /// The shard's index.
    pub index: u8,
    /// It was proved lately.
    pub proved: bool,
}

/// Returns the claims that a pack can do without. `claims` are those of members other than the owner;
/// where more of these hold some than shall, those go first whom `interval` says to be met most seldom.
pub fn surplus(
    kind: PackKind,
    coding: &Coding,
    claims: &[Claim],
    others: usize,
    interval: &dyn Fn(MemberId) -> Span,
) -> Vec<Claim> {
    if coding.k == 1 {
        return Vec::new();
    }
    let mut proved = Spread::new();
    for claim in claims.iter().filter(|claim| claim.proved) {
        proved.entry(claim.member).or_default().insert(claim.index);
    }
    let mut kept = one_each(&proved);
    let suffices = |kept: &BTreeMap<MemberId, u8>| {
        let spread = spread_of(kept);
        holders(&spread) >= members_target(kind, coding, others)
            && health(coding, &spread) >= health_target(kind, coding, others)
    };
    if !suffices(&kept) {
        return Vec::new();
    }
    let mut seldom: Vec<MemberId> = kept.keys().copied().collect();
    seldom.sort_by_cached_key(|member| Reverse(interval(*member)));
    for member in seldom {
        let index = kept.remove(&member);
        if let Some(index) = index.filter(|_| !suffices(&kept)) {
            kept.insert(member, index);
        }
    }
    let mut sorted = claims.to_vec();
    sorted.sort_unstable();
    let mut stays = BTreeSet::new();
    sorted.retain(|claim| match kept.get(&claim.member) {
        // One shard at one device of each member stays.
        Some(index) if claim.index == *index && claim.proved => !stays.insert(claim.member),
        Some(_) => true,
        // Whoever is spared goes with all; of whom nothing is proved, nothing is known.
        None => proved.contains_key(&claim.member),
    });
    sorted
}

fn spread_of(kept: &BTreeMap<MemberId, u8>) -> Spread {
    let one = |index: &u8| {
        let mut one = Indices::default();
        one.insert(*index);
        one
    };
    let kept = kept.iter();
    kept.map(|(member, index)| (*member, one(index))).collect()
}

/// Returns one index for each member, a different one as far as that goes: who has fewest chooses
/// first.
fn one_each(proved: &Spread) -> BTreeMap<MemberId, u8> {
    let mut members: Vec<(u32, MemberId, Indices)> = (proved.iter())
        .map(|(member, indices)| (indices.len(), *member, *indices))
        .collect();
    members.sort_unstable_by_key(|(count, member, _)| (*count, *member));
    let mut taken = Indices::default();
    let mut chosen = BTreeMap::new();
    for (_, member, indices) in members {
        let index = indices.without(taken).first().or_else(|| indices.first());
        if let Some(index) = index {
            taken.insert(index);
            chosen.insert(member, index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{health::union, placement::next_shard};

    fn claims(of: &[(u8, &[u8])]) -> Vec<Claim> {
        (of.iter())
            .flat_map(|(at, indices)| {
                indices.iter().map(|index| Claim {
                    member: MemberId([*at; 32]),
                    device: DeviceId([*at; 32]),
                    index: *index,
                    proved: true,
                })
            })
            .collect()
    }

    fn coding(k: u8) -> Coding {
        Coding {
            k,
            n: 2 * k + 2,
            shard_bytes: 64,
        }
    }

    fn given_up(k: u8, others: usize, claims: &[Claim]) -> Vec<(u8, u8)> {
        // Of these, the later ones are met more often.
        let interval = |member: MemberId| Span(100 - u64::from(member.0[0]));
        let surplus = surplus(PackKind::Large, &coding(k), claims, others, &interval);
        surplus
            .iter()
            .map(|it| (it.member.0[0], it.index))
            .collect()
    }

    #[test]
    fn the_first_friend_keeps_one_when_all_have_theirs() {
        let all = claims(&[(1, &[0, 1]), (2, &[2]), (3, &[3]), (4, &[4])]);
        assert_eq!(given_up(2, 4, &all), [(1, 1)]);
        // One is missing, or not proved: nothing goes.
        assert_eq!(given_up(2, 4, &all[..4]), []);
        let mut unproved = all.clone();
        unproved[4].proved = false;
        assert_eq!(given_up(2, 4, &unproved), []);
        assert_eq!(given_up(2, 5, &all), [(1, 1)]);
    }

    #[test]
    fn distinct_shards_stay_and_doubles_go() {
        let all = claims(&[(1, &[0, 1]), (2, &[0]), (3, &[3]), (4, &[4])]);
        assert_eq!(given_up(2, 4, &all), [(1, 0)]);
        // The same shard with two people is one shard: too few would stay.
        let all = claims(&[(1, &[0]), (2, &[0]), (3, &[3, 4]), (4, &[4])]);
        assert_eq!(given_up(2, 4, &all), []);
    }

    #[test]
    fn a_second_device_of_one_person_is_not_a_second_person() {
        let mut all = claims(&[(1, &[0]), (2, &[2]), (3, &[3]), (4, &[4])]);
        all.push(Claim {
            device: DeviceId([9; 32]),
            ..all[0]
        });
        assert_eq!(given_up(2, 4, &all), [(1, 0)]);
        assert_eq!(given_up(1, 4, &all), []);
    }

    #[test]
    fn of_more_holders_than_shall_be_whoever_is_met_most_seldom_is_spared() {
        let mut all = claims(&[(1, &[0]), (2, &[1]), (3, &[2]), (4, &[3]), (5, &[4])]);
        assert_eq!(given_up(2, 6, &all), [(1, 0)]);
        // Not while it is needed: two others have the same.
        all[3].index = 4;
        assert_eq!(given_up(2, 6, &all), [(4, 4)]);
        all[4].proved = false;
        assert_eq!(given_up(2, 6, &all), []);
    }

    proptest::proptest! {
        /// Whatever was met in which order, whatever is proved: what stays is enough, or all stays.
        #[test]
        fn what_stays_is_all_that_shall_be(
            others in 2_usize..14,
            order in proptest::collection::vec((0_u8..14, proptest::bool::weighted(0.9)), 0..40),
        ) {
            let k = crate::placement::data_shards(PackKind::Large, others);
            let coding = Coding::new(k, 1_000_000).unwrap();
            let mut spread = Spread::new();
            let mut all = Vec::new();
            for (at, proved) in order.into_iter().filter(|(at, _)| usize::from(*at) < others) {
                let (member, device) = (MemberId([at; 32]), DeviceId([at; 32]));
                while let Some(index) = next_shard(PackKind::Large, &coding, &spread, member, others) {
                    spread.entry(member).or_default().insert(index);
                    all.push(Claim { member, device, index, proved });
                }
            }
            let gone = surplus(PackKind::Large, &coding, &all, others, &|_| Span(0));
            let mut left = Spread::new();
            for claim in all.iter().filter(|claim| claim.proved && !gone.contains(claim)) {
                left.entry(claim.member).or_default().insert(claim.index);
            }
            if !gone.is_empty() {
                let target = members_target(PackKind::Large, &coding, others);
                proptest::prop_assert_eq!(holders(&left), target);
                proptest::prop_assert_eq!(union(&left).len() as usize, target);
                proptest::prop_assert_eq!(health(&coding, &left), health_target(PackKind::Large, &coding, others));
            }
            let proved = all.iter().all(|claim| claim.proved);
            if proved && k > 1 && spread.len() == members_target(PackKind::Large, &coding, others) {
                proptest::prop_assert_eq!(all.len() - gone.len(), spread.len());
            }
        }
    }
}
