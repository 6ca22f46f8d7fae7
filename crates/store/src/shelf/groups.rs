//! The chaining values of a shard's groups: a level of BLAKE3's own tree.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use carryall_core::limits::GROUP_BYTES;

pub(super) type GroupValue = [u8; 32];

/// Returns how many groups a shard has.
pub(super) fn group_count(bytes: u32) -> usize {
    (bytes as usize).div_ceil(GROUP_BYTES)
}

/// Hashes groups one after the other as their bytes come.
#[derive(Debug)]
pub(super) struct GroupHasher {
    bytes: u32,
    values: Vec<GroupValue>,
    hasher: blake3::Hasher,
    /// Bytes of the group that is not whole yet.
    filled: usize,
}

impl GroupHasher {
    /// Goes on after the groups whose values are given.
    pub(super) fn new(bytes: u32, values: Vec<GroupValue>) -> Self {
        let hasher = hasher_at(values.len());
        Self {
            bytes,
            values,
            hasher,
            filled: 0,
        }
    }

    pub(super) fn values(&self) -> &[GroupValue] {
        &self.values
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(GROUP_BYTES - self.filled));
            self.hasher.update(part);
            self.filled += part.len();
            let done = self.values.len() * GROUP_BYTES + self.filled;
            if self.filled == GROUP_BYTES || done == self.bytes as usize {
                self.end_group();
            }
            bytes = rest;
        }
    }

    fn end_group(&mut self) {
        // A shard of one group is its own root.
        let value = if group_count(self.bytes) == 1 {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        };
        self.values.push(value);
        self.hasher = hasher_at(self.values.len());
        self.filled = 0;
    }
}

fn hasher_at(group: usize) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset((group * GROUP_BYTES) as u64);
    hasher
}

/// Returns the hash of the whole shard.
pub(super) fn root(values: &[GroupValue]) -> GroupValue {
    match values {
        [] => *blake3::hash(&[]).as_bytes(),
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
        }
    }
}

/// Returns the siblings of a group from the leaf to the root.
pub(super) fn path(values: &[GroupValue], group: usize) -> Vec<GroupValue> {
    if values.len() < 2 {
        return Vec::new();
    }
    let split = left_len(values.len());
    let (left, right) = values.split_at(split);
    let (mut path, sibling) = if group < split {
        (self::path(left, group), subtree(right))
    } else {
        (self::path(right, group - split), subtree(left))
    };
    path.push(sibling);
    path
}

fn subtree(values: &[GroupValue]) -> GroupValue {
    match values {
        [] => [0; 32],
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left subtree is the largest power of two that leaves something for the right one.
fn left_len(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}
