//! Range proofs: that a holder has bytes of a shard, checked against nothing but the shard's id.
//!
//! A shard's id is its BLAKE3 hash, and BLAKE3 is a binary tree. Its nodes above groups of
//! [`GROUP_BYTES`] bytes are kept by the holder as one chaining value per group; a proof is one group
//! and the siblings on its way to the root, as in Bao. The verifier needs the id and the length.

use alloc::vec::Vec;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use thiserror::Error;

use crate::{id::ShardId, limits::GROUP_BYTES, message::GroupProof};

/// Why a proof does not hold, or can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The shard has no such group.
    #[error("no such group in the shard")]
    NoSuchGroup,
    /// The group's bytes are not as many as the shard's length says.
    #[error("a group of a wrong length")]
    Length,
    /// The path is not as long as the tree is high, or there are not as many values as groups.
    #[error("wrong number of hashes")]
    Shape,
    /// The bytes are not those of the shard.
    #[error("the bytes don't belong to the shard")]
    Mismatch,
}

/// Returns how many groups a shard of `bytes` bytes has: at least one.
pub const fn groups(bytes: u64) -> u64 {
    if bytes == 0 {
        1
    } else {
        bytes.div_ceil(GROUP_BYTES as u64)
    }
}

/// Returns how long a group of a shard of `bytes` bytes is, or nothing if there is no such group.
pub fn group_bytes(bytes: u64, group: u32) -> Option<usize> {
    if u64::from(group) >= groups(bytes) {
        return None;
    }
    let start = u64::from(group) * GROUP_BYTES as u64;
    usize::try_from((bytes - start).min(GROUP_BYTES as u64)).ok()
}

/// Returns the chaining value of one group, for the holder's own scrubbing: `data` is sound if this
/// equals the kept value.
pub fn group_value(group: u32, data: &[u8]) -> Result<[u8; 32], ProofError> {
    if data.is_empty() || data.len() > GROUP_BYTES {
        return Err(ProofError::Length);
    }
    Ok(group_hasher(u64::from(group))
        .update(data)
        .finalize_non_root())
}

fn group_hasher(group: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(group * GROUP_BYTES as u64);
    hasher
}

/// Hashes a shard as its bytes arrive and keeps every group's chaining value.
#[derive(Clone, Debug)]
pub struct GroupHasher {
    values: Vec<[u8; 32]>,
    current: blake3::Hasher,
    /// Bytes in the current group.
    filled: usize,
}

impl Default for GroupHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupHasher {
    /// Begins a shard.
    pub fn new() -> Self {
        Self {
            values: Vec::new(),
            current: blake3::Hasher::new(),
            filled: 0,
        }
    }

    /// Goes on after the leading groups whose values are given. If these were one group and no byte
    /// follows, the id can't be told from its value: [`Self::finish`] then gives one of no shard.
    pub fn resume(values: Vec<[u8; 32]>) -> Self {
        Self {
            current: group_hasher(values.len() as u64),
            values,
            filled: 0,
        }
    }

    /// Returns the values of the leading groups so far; the last one follows with [`Self::finish`].
    pub fn values(&self) -> &[[u8; 32]] {
        &self.values
    }

    /// Takes the shard's next bytes. Multiples of [`GROUP_BYTES`] are fastest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == GROUP_BYTES {
                // Only now it is certain that this group is not the whole shard.
                self.values.push(self.current.finalize_non_root());
                self.current = group_hasher(self.values.len() as u64);
                self.filled = 0;
            }
            let (some, rest) = bytes.split_at(bytes.len().min(GROUP_BYTES - self.filled));
            self.current.update(some);
            self.filled += some.len();
            bytes = rest;
        }
    }

    /// Returns how many bytes were taken.
    pub fn bytes(&self) -> u64 {
        (self.values.len() * GROUP_BYTES + self.filled) as u64
    }

    /// Returns the shard's id and one chaining value for each of its [`groups`]; none for a shard
    /// without bytes.
    pub fn finish(mut self) -> (ShardId, Vec<[u8; 32]>) {
        if self.values.is_empty() {
            let id = ShardId(*self.current.finalize().as_bytes());
            if self.filled > 0 {
                self.values.push(self.current.finalize_non_root());
            }
            return (id, self.values);
        }
        if self.filled > 0 {
            self.values.push(self.current.finalize_non_root());
        }
        let id = match &self.values[..] {
            [value] => *value,
            values => root(values),
        };
        (ShardId(id), self.values)
    }
}

/// Returns the id of a shard and the chaining values of its groups.
pub fn group_values(shard: &[u8]) -> (ShardId, Vec<[u8; 32]>) {
    let mut hasher = GroupHasher::new();
    hasher.update(shard);
    hasher.finish()
}

/// Tells whether kept values are those of a shard. Values of a single group can't be told from the
/// id, since the root is hashed differently: check the data then.
pub fn values_match(shard: &ShardId, values: &[[u8; 32]]) -> bool {
    values.len() > 1 && root(values) == shard.0
}

/// Returns how many of `groups` are in the left subtree: the largest power of two below.
const fn left_groups(groups: usize) -> usize {
    groups.div_ceil(2).next_power_of_two()
}

/// Returns the hash of at least two groups that are the whole input.
fn root(values: &[[u8; 32]]) -> [u8; 32] {
    let (left, right) = values.split_at(left_groups(values.len()));
    *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
}

/// Returns the chaining value of at least one group.
fn subtree(values: &[[u8; 32]]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left_groups(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// Makes the proof of one group, from the shard's kept values, its length, and the group's bytes as
/// they are on disk now. Whether the bytes are still sound is the verifier's to find out.
pub fn prove(
    values: &[[u8; 32]],
    bytes: u64,
    group: u32,
    data: Vec<u8>,
) -> Result<GroupProof, ProofError> {
    let expected = group_bytes(bytes, group).ok_or(ProofError::NoSuchGroup)?;
    if data.len() != expected {
        return Err(ProofError::Length);
    }
    if bytes == 0 || values.len() as u64 != groups(bytes) {
        return Err(ProofError::Shape);
    }
    let mut path = Vec::new();
    let (mut values, mut at) = (values, group as usize);
    while values.len() > 1 {
        let (left, right) = values.split_at(left_groups(values.len()));
        if at < left.len() {
            path.push(subtree(right));
            values = left;
        } else {
            path.push(subtree(left));
            at -= left.len();
            values = right;
        }
    }
    // Found from the root down; told from the leaf up.
    path.reverse();
    Ok(GroupProof { data, path })
}

/// Checks a proof that `group` of a shard of `bytes` bytes is in the prover's hands.
pub fn verify(
    shard: &ShardId,
    bytes: u64,
    group: u32,
    proof: &GroupProof,
) -> Result<(), ProofError> {
    let expected = group_bytes(bytes, group).ok_or(ProofError::NoSuchGroup)?;
    if proof.data.len() != expected || expected == 0 {
        return Err(ProofError::Length);
    }
    let turns = turns(groups(bytes), u64::from(group));
    if proof.path.len() != turns.len() {
        return Err(ProofError::Shape);
    }
    let found = if turns.is_empty() {
        *blake3::hash(&proof.data).as_bytes()
    } else {
        climb(u64::from(group), proof, &turns)
    };
    if found == shard.0 {
        Ok(())
    } else {
        Err(ProofError::Mismatch)
    }
}

/// Returns the way from the root to a group, from the leaf up: whether it is in the right subtree.
fn turns(mut groups: u64, mut group: u64) -> Vec<bool> {
    let mut turns = Vec::new();
    while groups > 1 {
        let left = groups.div_ceil(2).next_power_of_two();
        let right = group >= left;
        turns.push(right);
        if right {
            group -= left;
            groups -= left;
        } else {
            groups = left;
        }
    }
    turns.reverse();
    turns
}

/// Returns the root that a proof leads to.
fn climb(group: u64, proof: &GroupProof, turns: &[bool]) -> [u8; 32] {
    let mut value = group_hasher(group).update(&proof.data).finalize_non_root();
    let steps = proof.path.iter().zip(turns).enumerate();
    for (height, (sibling, &right)) in steps {
        let (left, right) = if right {
            (sibling, &value)
        } else {
            (&value, sibling)
        };
        value = if height + 1 == turns.len() {
            *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
        } else {
            merge_subtrees_non_root(left, right, Mode::Hash)
        };
    }
    value
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    fn group_of(shard: &[u8], group: u32) -> Vec<u8> {
        let start = group as usize * GROUP_BYTES;
        shard[start..shard.len().min(start + GROUP_BYTES)].to_vec()
    }

    #[test]
    fn ids_are_blake3_hashes_and_every_group_proves() {
        let group = GROUP_BYTES;
        let lengths = [
            1,
            64,
            1024,
            1025,
            group - 1,
            group,
            group + 1,
            2 * group,
            2 * group + 1,
            3 * group,
            5 * group + 7,
            8 * group,
            11 * group + 1024,
            16 * group,
        ];
        for length in lengths {
            let shard = noise(length as u64, length);
            let (id, values) = group_values(&shard);
            assert_eq!(id.0, *blake3::hash(&shard).as_bytes(), "{length}");
            assert_eq!(values.len() as u64, groups(length as u64));
            assert_eq!(values_match(&id, &values), values.len() > 1);
            for at in 0..u32::try_from(values.len()).unwrap() {
                let data = group_of(&shard, at);
                assert_eq!(group_value(at, &data), Ok(values[at as usize]));
                let proof = prove(&values, length as u64, at, data).unwrap();
                assert_eq!(verify(&id, length as u64, at, &proof), Ok(()));
            }
        }
    }

    #[test]
    fn an_empty_shard_has_an_id_and_no_proofs() {
        let (id, values) = group_values(&[]);
        assert_eq!(id.0, *blake3::hash(&[]).as_bytes());
        assert!(values.is_empty());
        assert_eq!(prove(&values, 0, 0, Vec::new()), Err(ProofError::Shape));
        let proof = GroupProof {
            data: Vec::new(),
            path: Vec::new(),
        };
        assert_eq!(verify(&id, 0, 0, &proof), Err(ProofError::Length));
    }

    #[test]
    fn a_proof_holds_for_its_place_only() {
        let shard = noise(1, 5 * GROUP_BYTES);
        let bytes = shard.len() as u64;
        let (id, values) = group_values(&shard);
        let proof = prove(&values, bytes, 2, group_of(&shard, 2)).unwrap();
        for group in [0, 1, 3] {
            assert_eq!(
                verify(&id, bytes, group, &proof),
                Err(ProofError::Mismatch),
                "{group}"
            );
        }
        assert_eq!(verify(&id, bytes, 4, &proof), Err(ProofError::Shape));
        assert_eq!(verify(&id, bytes, 5, &proof), Err(ProofError::NoSuchGroup));
        assert_eq!(
            verify(&id, bytes, u32::MAX, &proof),
            Err(ProofError::NoSuchGroup)
        );
    }

    #[test]
    fn an_inner_node_is_not_taken_for_data() {
        // Two chaining values are 64 bytes, but no group of a longer shard is that short.
        let shard = noise(2, 2 * GROUP_BYTES);
        let (id, values) = group_values(&shard);
        let forged = GroupProof {
            data: values.concat(),
            path: Vec::new(),
        };
        assert!(verify(&id, shard.len() as u64, 0, &forged).is_err());
        assert_eq!(verify(&id, 64, 0, &forged), Err(ProofError::Mismatch));
    }

    /// Once, resuming after the last group of a shard panicked.
    #[test]
    fn a_resumed_shard_may_be_complete() {
        for count in 1..6 {
            let shard = noise(5, count * GROUP_BYTES);
            let (id, values) = group_values(&shard);
            for kept in 1..=count {
                let mut hasher = GroupHasher::resume(values[..kept].to_vec());
                hasher.update(&shard[kept * GROUP_BYTES..]);
                assert_eq!(hasher.bytes(), shard.len() as u64);
                let found = hasher.finish();
                assert_eq!(found.1, values);
                // A lone group is hashed differently as a root.
                assert_eq!(found.0 == id, count > 1, "{kept} of {count}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pieces_make_the_same_id(
            length in 0_usize..10 * GROUP_BYTES,
            cuts in proptest::collection::vec(1_usize..40_000, 1..20),
        ) {
            let shard = noise(3, length);
            let mut hasher = GroupHasher::new();
            let mut rest = &shard[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (some, after) = rest.split_at(rest.len().min(*cut));
                hasher.update(some);
                rest = after;
            }
            prop_assert_eq!(hasher.bytes(), length as u64);
            let (id, values) = hasher.finish();
            prop_assert_eq!(id.0, *blake3::hash(&shard).as_bytes());
            prop_assert_eq!((id, values), group_values(&shard));
        }

        #[test]
        fn any_change_is_noticed(
            length in 1_usize..6 * GROUP_BYTES,
            pick: u32,
            at: proptest::sample::Index,
            bit in 0_u8..8,
        ) {
            let shard = noise(4, length);
            let bytes = length as u64;
            let (id, values) = group_values(&shard);
            let group = pick % u32::try_from(values.len()).unwrap();
            let proof = prove(&values, bytes, group, group_of(&shard, group)).unwrap();
            prop_assert_eq!(verify(&id, bytes, group, &proof), Ok(()));
            let mut changed = proof.clone();
            let place = at.index(proof.data.len() + 32 * proof.path.len());
            if let Some(byte) = changed.data.get_mut(place) {
                *byte ^= 1 << bit;
            } else {
                let place = place - proof.data.len();
                changed.path[place / 32][place % 32] ^= 1 << bit;
            }
            prop_assert_eq!(verify(&id, bytes, group, &changed), Err(ProofError::Mismatch));
            let mut longer = proof.clone();
            longer.path.push([0; 32]);
            prop_assert_eq!(verify(&id, bytes, group, &longer), Err(ProofError::Shape));
        }

        #[test]
        fn arbitrary_proofs_never_panic(
            shard: [u8; 32],
            bytes in 0_u64..1 << 40,
            group: u32,
            data in proptest::collection::vec(any::<u8>(), 0..100),
            path in proptest::collection::vec(any::<[u8; 32]>(), 0..50),
        ) {
            let values = path.clone();
            let _ = prove(&values, bytes, group, data.clone());
            let proof = GroupProof { data, path };
            prop_assert!(verify(&ShardId(shard), bytes, group, &proof).is_err());
        }
    }
}
