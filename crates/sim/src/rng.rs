//! Chance, forked per purpose: what one part draws never moves what another part draws.

use carryall_core::time::Span;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// A generator that remembers what it was made from, so that it can be forked at any time.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    key: [u8; 32],
    stream: ChaCha8Rng,
}

impl Rng {
    /// Makes the root generator of a run.
    pub(crate) fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("carryall 2026 simulation seed v1");
        hasher.update(&seed.to_le_bytes());
        Self::from_key(*hasher.finalize().as_bytes())
    }

    fn from_key(key: [u8; 32]) -> Self {
        Self {
            key,
            stream: ChaCha8Rng::from_seed(key),
        }
    }

    /// Returns a generator for one purpose and one index. It does not depend on what was drawn.
    pub(crate) fn fork(&self, purpose: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(purpose.as_bytes());
        hasher.update(&index.to_le_bytes());
        Self::from_key(*hasher.finalize().as_bytes())
    }

    /// Returns a number below `bound`, 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias is below one in 2^40 for every bound used here.
        self.stream.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Returns a number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// Returns an index into something with `len` elements.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Is true so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// Returns how long something takes that happens at any moment alike, `mean` on average.
    pub(crate) fn wait(&mut self, mean: Span) -> Span {
        let uniform = (self.stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        Span((-(1.0 - uniform).ln() * mean.0 as f64) as u64)
    }

    /// Returns 32 bytes.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.stream.fill_bytes(&mut bytes);
        bytes
    }

    /// Returns `len` bytes that don't compress.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.fill_bytes(&mut bytes);
        bytes
    }
}
