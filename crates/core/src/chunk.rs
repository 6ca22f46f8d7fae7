//! Cutting content into chunks, and naming them.
//!
//! FastCDC with normalised chunking (Xia et al., "The Design of Fast Content-Defined Chunking for
//! Data Deduplication Based Storage Systems", 2020) over a private gear table. A position's hash
//! covers exactly the 64 bytes before it, so a cut depends on nothing else than these bytes and the
//! length of the chunk so far; that lets several positions be examined at a time.

use alloc::boxed::Box;

use crate::{
    id::ChunkId,
    key::{ChunkKey, VaultKeys},
    limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MEAN, CHUNK_BYTES_MIN},
};

/// Bytes that a gear hash covers: each step shifts it by one of its 64 bits.
const WINDOW: usize = 64;
/// Below the mean length, a cut needs 22 zero bits at the top of the hash...
const HARD: u64 = 1 << (64 - 22);
/// ...and above it 18: normalisation level 2 around the 20 bits of a 1 MiB mean.
const EASY: u64 = 1 << (64 - 18);
/// Positions that are examined in one go by each of the lanes.
const LANE: usize = 4096;

/// Cuts content into chunks. Two chunkers of one vault cut alike.
#[derive(Clone)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
}

impl core::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Chunker")
    }
}

impl Chunker {
    /// Makes the chunker of a vault.
    pub fn new(vault: &VaultKeys) -> Self {
        let mut output = blake3::Hasher::new_keyed(&vault.chunker_secret()).finalize_xof();
        let mut gear = Box::new([0; 256]);
        for entry in gear.iter_mut() {
            let mut bytes = [0; 8];
            output.fill(&mut bytes);
            *entry = u64::from_le_bytes(bytes);
        }
        Self { gear }
    }

    /// Returns the length of the chunk that `buffer` begins with, or nothing when more bytes are
    /// needed to tell. `end` says that the content ends with the buffer; then nothing is returned
    /// only for an empty one. [`CHUNK_BYTES_MAX`] bytes always suffice.
    pub fn cut(&self, buffer: &[u8], end: bool) -> Option<usize> {
        let far = buffer.len().min(CHUNK_BYTES_MAX);
        if far > CHUNK_BYTES_MIN {
            let middle = far.min(CHUNK_BYTES_MEAN);
            let found = self
                .find(buffer, CHUNK_BYTES_MIN, middle, HARD)
                .or_else(|| self.find(buffer, middle, far, EASY));
            if found.is_some() {
                return found;
            }
        }
        if far == CHUNK_BYTES_MAX {
            Some(CHUNK_BYTES_MAX)
        } else if end && far > 0 {
            Some(far)
        } else {
            None
        }
    }

    /// Returns the first cut after `from` and not after `to` whose hash is below `limit`.
    fn find(&self, buffer: &[u8], from: usize, to: usize, limit: u64) -> Option<usize> {
        let mut at = from;
        while to - at >= 4 * LANE {
            if self.any_below(buffer, at, limit) {
                // Which of the lanes is first is rarely asked: once per chunk.
                return self.find_serially(buffer, at, at + 4 * LANE, limit);
            }
            at += 4 * LANE;
        }
        self.find_serially(buffer, at, to, limit)
    }

    /// Returns the hash of the window that ends before `at`.
    fn hash_before(&self, buffer: &[u8], at: usize) -> u64 {
        buffer[at - WINDOW..at]
            .iter()
            .fold(0, |hash, &byte| self.step(hash, byte))
    }

    #[inline(always)]
    fn step(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.gear[usize::from(byte)])
    }

    fn find_serially(&self, buffer: &[u8], from: usize, to: usize, limit: u64) -> Option<usize> {
        let mut hash = self.hash_before(buffer, from);
        for (i, &byte) in buffer[from..to].iter().enumerate() {
            hash = self.step(hash, byte);
            if hash < limit {
                return Some(from + i + 1);
            }
        }
        None
    }

    /// Tells whether there is a cut in the four lanes that begin at `at`. One lane alone would wait
    /// for its own last step most of the time.
    fn any_below(&self, buffer: &[u8], at: usize, limit: u64) -> bool {
        let lane = |i: usize| &buffer[at + i * LANE..at + (i + 1) * LANE];
        let mut hashes: [u64; 4] =
            core::array::from_fn(|i| self.hash_before(buffer, at + i * LANE));
        let bytes = lane(0).iter().zip(lane(1)).zip(lane(2)).zip(lane(3));
        for (((&a, &b), &c), &d) in bytes {
            hashes[0] = self.step(hashes[0], a);
            hashes[1] = self.step(hashes[1], b);
            hashes[2] = self.step(hashes[2], c);
            hashes[3] = self.step(hashes[3], d);
            if hashes[0] < limit || hashes[1] < limit || hashes[2] < limit || hashes[3] < limit {
                return true;
            }
        }
        false
    }
}

/// Returns the id of a chunk: its BLAKE3 hash under the vault's key.
pub fn chunk_id(key: &ChunkKey, raw: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(&key.0, raw).as_bytes())
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::golden::assert_golden;

    fn chunker(seed: u8) -> Chunker {
        Chunker::new(&VaultKeys::generate([seed; 96]))
    }

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    fn lengths(chunker: &Chunker, mut content: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(length) = chunker.cut(content, true) {
            lengths.push(length);
            content = &content[length..];
        }
        lengths
    }

    /// The definition, position by position.
    fn plain_cut(chunker: &Chunker, buffer: &[u8]) -> usize {
        let far = buffer.len().min(CHUNK_BYTES_MAX);
        for at in CHUNK_BYTES_MIN + 1..=far {
            let limit = if at <= CHUNK_BYTES_MEAN { HARD } else { EASY };
            if chunker.hash_before(buffer, at) < limit {
                return at;
            }
        }
        far
    }

    #[test]
    fn cuts_are_as_defined() {
        let chunker = chunker(1);
        let content = noise(2, 5 << 20);
        let mut rest = &content[..];
        for length in lengths(&chunker, &content) {
            assert_eq!(length, plain_cut(&chunker, rest));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn lengths_are_bounded_and_around_the_mean() {
        let lengths = lengths(&chunker(1), &noise(3, 48 << 20));
        let all_but_last = &lengths[..lengths.len() - 1];
        assert!(
            all_but_last
                .iter()
                .all(|length| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(length))
        );
        let mean = (48 << 20) / lengths.len();
        assert!((800 << 10..1_600 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn constant_content_is_cut_at_the_maximum() {
        let zeros = vec![0; 9 << 20];
        let lengths = lengths(&chunker(1), &zeros);
        assert_eq!(lengths.iter().sum::<usize>(), zeros.len());
        // All windows are alike, so the first cut is at an end of a range or nowhere.
        assert!(
            lengths[0] == CHUNK_BYTES_MAX
                || lengths[0] == CHUNK_BYTES_MEAN + 1
                || lengths[0] == CHUNK_BYTES_MIN + 1
        );
    }

    #[test]
    fn small_content_is_one_chunk() {
        let chunker = chunker(1);
        assert_eq!(chunker.cut(&[], true), None);
        assert_eq!(chunker.cut(&[], false), None);
        for bytes in [1, 63, 64, 65, CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MIN] {
            let content = noise(4, bytes);
            assert_eq!(chunker.cut(&content, true), Some(bytes));
            assert_eq!(chunker.cut(&content, false), None);
        }
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let chunker = chunker(1);
        let before = noise(5, 20 << 20);
        let mut after = before.clone();
        after.splice(100..100, [1, 2, 3]);
        let ids = |content: &[u8]| {
            let mut at = 0;
            let mut ids = Vec::new();
            for length in lengths(&chunker, content) {
                ids.push(blake3::hash(&content[at..at + length]));
                at += length;
            }
            ids
        };
        let (before, after) = (ids(&before), ids(&after));
        let same = after.iter().filter(|id| before.contains(id)).count();
        assert!(same + 3 >= before.len(), "{same} of {}", before.len());
    }

    #[test]
    fn another_vault_cuts_and_names_differently() {
        let content = noise(6, 8 << 20);
        assert_ne!(
            lengths(&chunker(1), &content),
            lengths(&chunker(2), &content)
        );
        let key = |seed| VaultKeys::generate([seed; 96]).chunk_key();
        assert_ne!(chunk_id(&key(1), b"x"), chunk_id(&key(2), b"x"));
    }

    #[test]
    fn cuts_never_change() {
        let vault = VaultKeys::generate([1; 96]);
        let golden = include_str!("../../../testdata/format/chunk.txt");
        let cuts = format!("{:?}", lengths(&chunker(1), &noise(7, 8 << 20)));
        let id = chunk_id(&vault.chunk_key(), b"carryall");
        assert_golden(golden, &[("cuts", cuts), ("chunk_id", format!("{id}"))]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn lanes_agree_with_the_definition(
            seed: u64,
            bytes in CHUNK_BYTES_MIN..CHUNK_BYTES_MIN + (400 << 10),
            period in 1_usize..70_000,
        ) {
            let chunker = chunker(9);
            let content: Vec<u8> = noise(seed, period).into_iter().cycle().take(bytes).collect();
            prop_assert_eq!(chunker.cut(&content, true), Some(plain_cut(&chunker, &content)));
            // A cut that is found early stays where it is when more content comes.
            if let Some(length) = chunker.cut(&content, false) {
                let mut longer = content.clone();
                longer.extend(noise(seed ^ 1, 1000));
                prop_assert_eq!(chunker.cut(&longer, true), Some(length));
            }
        }

        #[test]
        fn rare_limits_are_found_in_every_lane(seed: u64, limit_bits in 44_u32..58) {
            let chunker = chunker(9);
            let content = noise(seed, 5 * LANE + 1000);
            let limit = 1 << limit_bits;
            prop_assert_eq!(
                chunker.find(&content, WINDOW, content.len(), limit),
                chunker.find_serially(&content, WINDOW, content.len(), limit)
            );
        }
    }
}
