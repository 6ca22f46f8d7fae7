//! Shards: a sealed pack cut into `n` pieces of which any `k` rebuild it.
//!
//! With `k` = 1 the one shard is the pack itself. Otherwise the ciphertext, padded with zeros, is cut
//! into `k` equal pieces, and Reed-Solomon adds `n - k` more. The code works on columns of 64 bytes,
//! so it runs over narrow stripes that stay in the processor's cache and never over whole shards.

use alloc::{borrow::Cow, collections::BTreeSet, vec, vec::Vec};
use core::ops::Range;

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use thiserror::Error;

use crate::{
    id::ShardId,
    limits::{DATA_SHARDS_MAX, SEALED_BYTES_MAX},
    record::Coding,
};

/// The code's granule: only shard lengths that are multiples of it are stable across versions.
const GRANULE: usize = 64;
/// Width of a stripe when encoding, in bytes of each shard.
const STRIPE_BYTES: usize = 16 << 10;
/// Memory of one stripe when decoding. Each call of the decoder costs milliseconds before its first
/// byte, so its stripes are wide: some sixteen calls for a pack (measured best).
const DECODE_BYTES: usize = 4 << 20;

/// Why a pack can't be coded or rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// Nobody cuts a pack like this.
    #[error("impossible coding")]
    Coding,
    /// There is no shard with that index.
    #[error("no such shard")]
    Index,
    /// A shard is not as long as the coding says, or given twice.
    #[error("shard of a wrong length or index")]
    Shard,
    /// Fewer than `k` shards.
    #[error("{found} shards are here, {needed} are needed")]
    TooFew {
        /// How many distinct ones there are.
        found: usize,
        /// How many it takes.
        needed: u8,
    },
}

impl Coding {
    /// Returns how a pack of `pack_bytes` is cut for `k` data shards: `n` is 2k + 2 so that repair
    /// finds fresh shards after two losses, or 1 for whole copies.
    pub fn new(k: u8, pack_bytes: usize) -> Result<Self, CodeError> {
        if k == 0 || k > DATA_SHARDS_MAX || pack_bytes == 0 || pack_bytes > SEALED_BYTES_MAX {
            return Err(CodeError::Coding);
        }
        let (n, bytes) = if k == 1 {
            (1, pack_bytes)
        } else {
            let piece = pack_bytes.div_ceil(usize::from(k));
            (2 * k + 2, piece.next_multiple_of(GRANULE))
        };
        Ok(Self {
            k,
            n,
            shard_bytes: u32::try_from(bytes).map_err(|_| CodeError::Coding)?,
        })
    }

    /// Checks a coding that was read from somewhere against the length of its pack.
    pub fn check(&self, pack_bytes: usize) -> Result<(), CodeError> {
        // `n` is free within reason: later versions may want other surpluses.
        let expected = Self::new(self.k, pack_bytes)?;
        let whole = self.k == 1 && self.n == 1;
        let coded = self.k > 1 && self.n > self.k;
        if (whole || coded) && self.shard_bytes == expected.shard_bytes {
            Ok(())
        } else {
            Err(CodeError::Coding)
        }
    }

    const fn bytes(&self) -> usize {
        self.shard_bytes as usize
    }

    const fn recovery(&self) -> usize {
        (self.n - self.k) as usize
    }
}

/// Returns the part of a ciphertext that data shard `index` holds. The last ones may be short or
/// empty: zeros follow.
fn data_range(coding: &Coding, index: usize, pack_bytes: usize) -> Range<usize> {
    let start = pack_bytes.min(index * coding.bytes());
    start..pack_bytes.min(start + coding.bytes())
}

/// Returns the id of a shard's bytes.
pub fn shard_id(bytes: &[u8]) -> ShardId {
    ShardId(*blake3::hash(bytes).as_bytes())
}

/// Returns all `n` shards of a ciphertext, by index. Data shards are borrowed where they need no
/// padding.
pub fn encode<'a>(ciphertext: &'a [u8], coding: &Coding) -> Result<Vec<Cow<'a, [u8]>>, CodeError> {
    coding.check(ciphertext.len())?;
    let mut shards: Vec<Cow<'a, [u8]>> = (0..usize::from(coding.k))
        .map(|index| data_shard(ciphertext, coding, index))
        .collect();
    // A copy of an empty vector has no room: each is made by itself.
    let mut recovery: Vec<Vec<u8>> = (0..coding.recovery())
        .map(|_| Vec::with_capacity(coding.bytes()))
        .collect();
    recovery_stripes(ciphertext, coding, |index, stripe| {
        recovery[index].extend_from_slice(stripe);
    })?;
    shards.extend(recovery.into_iter().map(Cow::Owned));
    Ok(shards)
}

/// Returns one shard of a ciphertext.
pub fn encode_one<'a>(
    ciphertext: &'a [u8],
    coding: &Coding,
    index: u8,
) -> Result<Cow<'a, [u8]>, CodeError> {
    coding.check(ciphertext.len())?;
    if index >= coding.n {
        return Err(CodeError::Index);
    }
    if index < coding.k {
        return Ok(data_shard(ciphertext, coding, usize::from(index)));
    }
    let wanted = usize::from(index - coding.k);
    let mut shard = Vec::with_capacity(coding.bytes());
    recovery_stripes(ciphertext, coding, |index, stripe| {
        if index == wanted {
            shard.extend_from_slice(stripe);
        }
    })?;
    Ok(Cow::Owned(shard))
}

/// Returns the ids of all `n` shards of a ciphertext, by index, without keeping the shards.
pub fn shard_ids(ciphertext: &[u8], coding: &Coding) -> Result<Vec<ShardId>, CodeError> {
    coding.check(ciphertext.len())?;
    let mut ids: Vec<ShardId> = (0..usize::from(coding.k))
        .map(|index| shard_id(&data_shard(ciphertext, coding, index)))
        .collect();
    let mut hashers = vec![blake3::Hasher::new(); coding.recovery()];
    recovery_stripes(ciphertext, coding, |index, stripe| {
        hashers[index].update(stripe);
    })?;
    ids.extend(
        hashers
            .iter()
            .map(|hasher| ShardId(*hasher.finalize().as_bytes())),
    );
    Ok(ids)
}

fn data_shard<'a>(ciphertext: &'a [u8], coding: &Coding, index: usize) -> Cow<'a, [u8]> {
    let piece = &ciphertext[data_range(coding, index, ciphertext.len())];
    if piece.len() == coding.bytes() {
        return Cow::Borrowed(piece);
    }
    let mut shard = Vec::with_capacity(coding.bytes());
    shard.extend_from_slice(piece);
    shard.resize(coding.bytes(), 0);
    Cow::Owned(shard)
}

/// Computes the recovery shards stripe by stripe: `take` gets each one's index, from 0, and bytes.
fn recovery_stripes(
    ciphertext: &[u8],
    coding: &Coding,
    mut take: impl FnMut(usize, &[u8]),
) -> Result<(), CodeError> {
    if coding.recovery() == 0 {
        return Ok(());
    }
    let k = usize::from(coding.k);
    let mut encoder: Option<ReedSolomonEncoder> = None;
    let mut short = [0; STRIPE_BYTES];
    for start in (0..coding.bytes()).step_by(STRIPE_BYTES) {
        let width = STRIPE_BYTES.min(coding.bytes() - start);
        let encoder = sized(&mut encoder, k, coding.recovery(), width)?;
        for index in 0..k {
            let piece = &ciphertext[data_range(coding, index, ciphertext.len())];
            let stripe = &piece[start.min(piece.len())..piece.len().min(start + width)];
            let added = if stripe.len() == width {
                encoder.add_original_shard(stripe)
            } else {
                short.fill(0);
                short[..stripe.len()].copy_from_slice(stripe);
                encoder.add_original_shard(&short[..width])
            };
            added.map_err(|_| CodeError::Coding)?;
        }
        let result = encoder.encode().map_err(|_| CodeError::Coding)?;
        for (index, stripe) in result.recovery_iter().enumerate() {
            take(index, stripe);
        }
    }
    Ok(())
}

/// Returns the encoder, made or resized for stripes of this width.
fn sized(
    encoder: &mut Option<ReedSolomonEncoder>,
    k: usize,
    recovery: usize,
    width: usize,
) -> Result<&mut ReedSolomonEncoder, CodeError> {
    match encoder {
        Some(encoder) => {
            encoder
                .reset(k, recovery, width)
                .map_err(|_| CodeError::Coding)?;
            Ok(encoder)
        }
        None => {
            let made = ReedSolomonEncoder::new(k, recovery, width);
            Ok(encoder.insert(made.map_err(|_| CodeError::Coding)?))
        }
    }
}

/// Rebuilds a ciphertext of `pack_bytes` bytes from any `k` shards, each with its index. The shards
/// were verified against their ids before; the result must still be checked against the pack's id.
pub fn rebuild(
    coding: &Coding,
    shards: &[(u8, &[u8])],
    pack_bytes: usize,
) -> Result<Vec<u8>, CodeError> {
    coding.check(pack_bytes)?;
    let mut seen = BTreeSet::new();
    for (index, bytes) in shards {
        if *index >= coding.n || bytes.len() != coding.bytes() || !seen.insert(*index) {
            return Err(CodeError::Shard);
        }
    }
    if shards.len() < usize::from(coding.k) {
        return Err(CodeError::TooFew {
            found: shards.len(),
            needed: coding.k,
        });
    }
    let mut pack = vec![0; coding.bytes() * usize::from(coding.k)];
    let mut data = 0;
    for (index, bytes) in shards.iter().filter(|(index, _)| *index < coding.k) {
        let start = usize::from(*index) * coding.bytes();
        pack[start..start + bytes.len()].copy_from_slice(bytes);
        data += 1;
    }
    if data < usize::from(coding.k) {
        restore_stripes(coding, shards, &mut pack)?;
    }
    pack.truncate(pack_bytes);
    Ok(pack)
}

/// Fills in the data shards that are missing from `pack`.
fn restore_stripes(
    coding: &Coding,
    shards: &[(u8, &[u8])],
    pack: &mut [u8],
) -> Result<(), CodeError> {
    let k = usize::from(coding.k);
    let stripe_bytes = DECODE_BYTES / usize::from(coding.n).next_power_of_two();
    let mut decoder: Option<ReedSolomonDecoder> = None;
    for start in (0..coding.bytes()).step_by(stripe_bytes) {
        let width = stripe_bytes.min(coding.bytes() - start);
        let decoder = match &mut decoder {
            Some(decoder) => {
                decoder
                    .reset(k, coding.recovery(), width)
                    .map_err(|_| CodeError::Coding)?;
                decoder
            }
            none => none.insert(
                ReedSolomonDecoder::new(k, coding.recovery(), width)
                    .map_err(|_| CodeError::Coding)?,
            ),
        };
        for (index, bytes) in shards {
            let stripe = &bytes[start..start + width];
            let index = usize::from(*index);
            let added = match index.checked_sub(k) {
                None => decoder.add_original_shard(index, stripe),
                Some(recovery) => decoder.add_recovery_shard(recovery, stripe),
            };
            added.map_err(|_| CodeError::Shard)?;
        }
        let result = decoder.decode().map_err(|_| CodeError::Coding)?;
        for (index, stripe) in result.restored_original_iter() {
            let at = index * coding.bytes() + start;
            pack[at..at + width].copy_from_slice(stripe);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;
    use crate::{golden::assert_golden, id::hex};

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    #[test]
    fn any_k_shards_rebuild() {
        let pack = noise(1, 100_003);
        let coding = Coding::new(3, pack.len()).unwrap();
        let shards = encode(&pack, &coding).unwrap();
        assert_eq!(shards.len(), 8);
        for a in 0..8_u8 {
            for b in a + 1..8 {
                for c in b + 1..8 {
                    let some = [a, b, c].map(|i| (i, &*shards[usize::from(i)]));
                    assert_eq!(rebuild(&coding, &some, pack.len()).unwrap(), pack);
                }
            }
        }
    }

    #[test]
    fn one_data_shard_is_the_pack_itself() {
        let pack = noise(2, 12_345);
        let coding = Coding::new(1, pack.len()).unwrap();
        assert_eq!((coding.n, coding.bytes()), (1, pack.len()));
        let shards = encode(&pack, &coding).unwrap();
        assert!(matches!(shards[..], [Cow::Borrowed(shard)] if core::ptr::eq(shard, &*pack)));
        let id = crate::pack::pack_id(&pack).0;
        assert_eq!(shard_ids(&pack, &coding).unwrap(), [ShardId(id)]);
        assert_eq!(rebuild(&coding, &[(0, &pack)], pack.len()).unwrap(), pack);
    }

    #[test]
    fn shards_never_change() {
        let pack = noise(3, 70_001);
        let ids = |k| {
            let coding = Coding::new(k, pack.len()).unwrap();
            let ids = shard_ids(&pack, &coding).unwrap();
            ids.iter()
                .map(|id| hex(&id.0[..8]))
                .collect::<Vec<String>>()
                .join(" ")
        };
        assert_golden(
            include_str!("../../../testdata/format/shard.txt"),
            &[
                ("k1", ids(1)),
                ("k2", ids(2)),
                ("k4", ids(4)),
                ("k7", ids(7)),
            ],
        );
    }

    /// Stripes give what the library gives for whole shards.
    #[test]
    fn stripes_do_not_show() {
        let pack = noise(4, 5 * STRIPE_BYTES * 3 + 1000);
        let coding = Coding::new(5, pack.len()).unwrap();
        let shards = encode(&pack, &coding).unwrap();
        let whole = reed_solomon_simd::encode(5, coding.recovery(), &shards[..5]).unwrap();
        assert_eq!(shards[5..], whole);
    }

    #[test]
    fn wide_packs_are_decoded_in_several_stripes() {
        let pack = noise(5, 2 * DECODE_BYTES);
        let coding = Coding::new(2, pack.len()).unwrap();
        let shards = encode(&pack, &coding).unwrap();
        let some = [(5, &*shards[5]), (3, &*shards[3])];
        assert!(rebuild(&coding, &some, pack.len()).unwrap() == pack);
    }

    #[test]
    fn the_widest_coding_works() {
        let pack = noise(6, 9_999);
        let coding = Coding::new(DATA_SHARDS_MAX, pack.len()).unwrap();
        let shards = encode(&pack, &coding).unwrap();
        let last: Vec<(u8, &[u8])> = (coding.n - coding.k..coding.n)
            .map(|index| (index, &*shards[usize::from(index)]))
            .collect();
        assert_eq!(rebuild(&coding, &last, pack.len()).unwrap(), pack);
    }

    #[test]
    fn impossible_codings_are_refused() {
        for (k, bytes) in [
            (0, 100),
            (DATA_SHARDS_MAX + 1, 100),
            (2, 0),
            (2, SEALED_BYTES_MAX + 1),
        ] {
            assert_eq!(Coding::new(k, bytes), Err(CodeError::Coding));
        }
        let good = Coding::new(2, 1000).unwrap();
        let bad = [
            Coding { n: 2, ..good },
            Coding { n: 0, ..good },
            Coding { k: 1, ..good },
            Coding { k: 6, ..good },
            Coding {
                shard_bytes: 576,
                ..good
            },
            Coding {
                shard_bytes: u32::MAX,
                ..good
            },
        ];
        for coding in bad {
            assert_eq!(coding.check(1000), Err(CodeError::Coding), "{coding:?}");
            assert_eq!(encode(&[1; 1000], &coding), Err(CodeError::Coding));
            assert_eq!(rebuild(&coding, &[], 1000), Err(CodeError::Coding));
        }
        assert_eq!(encode_one(&[1; 1000], &good, 6), Err(CodeError::Index));
    }

    #[test]
    fn wrong_shards_are_refused() {
        let pack = noise(7, 1000);
        let coding = Coding::new(2, pack.len()).unwrap();
        let shards = encode(&pack, &coding).unwrap();
        let (first, last) = (&*shards[0], &*shards[5]);
        let (found, needed) = (1, 2);
        for (some, error) in [
            (vec![], CodeError::TooFew { found: 0, needed }),
            (vec![(0, first)], CodeError::TooFew { found, needed }),
            (vec![(0, first), (0, first)], CodeError::Shard),
            (vec![(0, first), (6, last)], CodeError::Shard),
            (vec![(0, first), (5, &last[1..])], CodeError::Shard),
        ] {
            assert_eq!(rebuild(&coding, &some, pack.len()), Err(error));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn all_forms_agree_and_rebuild(
            k in 1_u8..12,
            bytes in 1_usize..120_000,
            seed: u64,
            order: u64,
        ) {
            let pack = noise(seed, bytes);
            let coding = Coding::new(k, bytes).unwrap();
            let shards = encode(&pack, &coding).unwrap();
            let ids = shard_ids(&pack, &coding).unwrap();
            prop_assert_eq!(shards.len(), usize::from(coding.n));
            for (index, (shard, id)) in (0..).zip(shards.iter().zip(&ids)) {
                prop_assert_eq!(shard_id(shard), *id);
                prop_assert_eq!(&encode_one(&pack, &coding, index).unwrap(), shard);
            }
            let mut some: Vec<(u8, &[u8])> = (0..).zip(shards.iter().map(|s| &**s)).collect();
            let salt = order.to_le_bytes();
            some.sort_by_key(|(index, _)| *blake3::keyed_hash(&[*index; 32], &salt).as_bytes());
            // One more than needed does no harm.
            some.truncate(usize::from(k) + usize::from(coding.n > k && seed % 2 == 0));
            prop_assert_eq!(rebuild(&coding, &some, bytes).unwrap(), pack);
        }
    }
}
