//! Compression of chunks, each on its own, and never twice decided.
//!
//! Whether a chunk is stored raw is recorded with it. A rebuilt pack repeats the recorded choice and
//! never asks again, so the rule of thumb below may change at any time; the encoder may not.

use alloc::{vec, vec::Vec};

use thiserror::Error;
use zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

use crate::limits::CHUNK_BYTES_MAX;

/// The encoder as pack headers name it: zstd's version number and the level. It stands for all
/// parameters: one shot, one thread, nothing known before, content size on, checksum off, window log 22.
pub const CODEC: u32 = ZSTD_VERSION * 100 + LEVEL as u32;

/// zstd 1.5.7, pinned by Cargo.lock: another version may write other bytes.
const ZSTD_VERSION: u32 = 10_507;
const LEVEL: i32 = 3;
/// A whole chunk fits the window, on every platform.
const WINDOW_LOG: u32 = 22;
/// A gain below this many per cent is not worth the time to decompress.
const GAIN_PERCENT_MIN: usize = 3;

/// Below this length a chunk is tried at once; sampling it would cost as much.
const PROBED_BYTES_MIN: usize = 16 << 10;
/// How many pieces of a chunk are sampled...
const SAMPLES: usize = 64;
/// ...and how long each is, in bytes.
const SAMPLE_BYTES: usize = 256;
/// Bytes that look as if drawn from at least this many of 256 equally likely values hold at least
/// 7.8 bits each: no entropy coder gains 3 % on them.
const HOPELESS_VALUES: u64 = 224;

/// Why a stored chunk can't be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// Not a zstd frame, or not of the promised length.
    #[error("malformed compressed chunk")]
    Malformed,
}

/// Compresses chunks, with a buffer and a context that it keeps: a fresh one for each chunk costs a
/// small file more than compressing it. What a context did before doesn't show in its output, which
/// the encoder's own fuzzers check and the tests here too.
#[derive(Default)]
pub struct Compressor {
    frame: Vec<u8>,
    context: Option<CCtx<'static>>,
}

impl core::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// Makes a compressor.
    pub const fn new() -> Self {
        Self {
            frame: Vec::new(),
            context: None,
        }
    }

    /// Returns what to store for a chunk: a frame where that gains enough, else the chunk itself.
    pub fn store<'a>(&'a mut self, raw: &'a [u8]) -> &'a [u8] {
        if hopeless(raw) {
            return raw;
        }
        // What does not fit here would be stored raw anyway.
        let worth = raw.len() - (raw.len() * GAIN_PERCENT_MIN).div_ceil(100);
        self.frame(raw, worth).unwrap_or(raw)
    }

    /// Returns the frame of a chunk, whatever it gains: to repeat a recorded choice. Nothing if it
    /// is not shorter than the chunk, which is never recorded.
    pub fn again<'a>(&'a mut self, raw: &[u8]) -> Option<&'a [u8]> {
        self.frame(raw, raw.len().saturating_sub(1))
    }

    fn frame(&mut self, raw: &[u8], bytes_max: usize) -> Option<&[u8]> {
        if self.frame.len() < bytes_max {
            self.frame.resize(bytes_max.max(CHUNK_BYTES_MAX / 16), 0);
        }
        if self.context.is_none() {
            self.context = CCtx::try_create();
        }
        let context = self.context.as_mut()?;
        context.reset(ResetDirective::SessionAndParameters).ok()?;
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::ContentSizeFlag(true),
            CParameter::ChecksumFlag(false),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        let bytes = context.compress2(&mut self.frame[..bytes_max], raw).ok()?;
        Some(&self.frame[..bytes])
    }
}

/// Expands stored chunks, with a context that it keeps: unlike an encoder's, a decoder's output does
/// not depend on what came before.
#[derive(Default)]
pub struct Expander {
    context: Option<DCtx<'static>>,
}

impl core::fmt::Debug for Expander {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Expander")
    }
}

impl Expander {
    /// Makes an expander.
    pub const fn new() -> Self {
        Self { context: None }
    }

    /// Expands a frame into exactly `raw_bytes` bytes at the end of `out`; leaves `out` as it was
    /// if that fails. A frame that would expand to more is cut off, so a hostile one costs no
    /// memory.
    pub fn expand(
        &mut self,
        stored: &[u8],
        raw_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ExpandError> {
        if raw_bytes > CHUNK_BYTES_MAX {
            return Err(ExpandError::Malformed);
        }
        if self.context.is_none() {
            self.context = DCtx::try_create();
        }
        let start = out.len();
        out.resize(start + raw_bytes, 0);
        let expanded = self
            .context
            .as_mut()
            .and_then(|context| context.decompress(&mut out[start..], stored).ok());
        if expanded == Some(raw_bytes) {
            Ok(())
        } else {
            out.truncate(start);
            Err(ExpandError::Malformed)
        }
    }
}

/// Tells whether a chunk's bytes are spread so evenly that compressing it would be in vain. The
/// measure is the collision entropy of a sample, which never exceeds the true entropy per byte.
fn hopeless(raw: &[u8]) -> bool {
    if raw.len() < PROBED_BYTES_MIN {
        return false;
    }
    let mut counts = [0_u64; 256];
    let stride = (raw.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        for &byte in &raw[sample * stride..][..SAMPLE_BYTES] {
            counts[usize::from(byte)] += 1;
        }
    }
    let total = (SAMPLES * SAMPLE_BYTES) as u64;
    let collisions: u64 = counts.iter().map(|count| count * count).sum();
    total * total >= collisions * HOPELESS_VALUES
}

/// Tells whether this build's encoder writes the bytes that the format's golden vectors have. If
/// not, packs with compressed chunks can't be rebuilt here and must be spooled.
pub fn encoder_is_golden() -> bool {
    let mut compressor = Compressor::new();
    zstd_safe::version_number() == ZSTD_VERSION
        && GOLDEN.iter().all(|(make, hash)| {
            compressor
                .again(&make())
                .is_some_and(|frame| crate::id::hex(blake3::hash(frame).as_bytes()) == *hash)
        })
}

/// A source of a golden vector, and the BLAKE3 hash of its frame.
type Golden = (fn() -> Vec<u8>, &'static str);

/// Four kinds of data: runs, text-like, structured numbers, and noise over half an alphabet.
const GOLDEN: [Golden; 4] = [
    (
        golden_runs,
        "ad3633e364749cb0792cd2b9c40dbbe1b474a5b4121f88595e681981bbaa340f",
    ),
    (
        golden_words,
        "d85909f853a6802afdc537763fe0ee953018e3209056ff98620f11531b935716",
    ),
    (
        golden_numbers,
        "f29a5d43cd17d0437ba4add8c349a1ab98cb2bec1951cd55d1f32f37b3484cf2",
    ),
    (
        golden_noise,
        "d23cf3a779747bc152fe4c0743dfc4d0a0f4424d029b9f5d87458f18c0d8997e",
    ),
];

fn golden_runs() -> Vec<u8> {
    let mut raw = vec![0; 100_000];
    for (i, byte) in raw.iter_mut().enumerate() {
        *byte = u8::try_from(i / 777 % 251).unwrap_or(0);
    }
    raw
}

fn golden_words() -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [
        b"shard ",
        b"holder ",
        b"receipt ",
        b"audit ",
        b"the ",
        b"of ",
        b"encounter ",
        b"\n",
    ];
    let noise = golden_stream(40_000);
    let mut raw = Vec::new();
    for byte in noise {
        raw.extend_from_slice(WORDS[usize::from(byte & 7)]);
    }
    raw
}

fn golden_numbers() -> Vec<u8> {
    let noise = golden_stream(65_536);
    let mut raw = Vec::new();
    let mut value = 0_u32;
    for byte in noise {
        value = value.wrapping_add(u32::from(byte));
        raw.extend_from_slice(&value.to_le_bytes());
    }
    raw
}

fn golden_noise() -> Vec<u8> {
    golden_stream(300_000)
        .iter()
        .map(|byte| byte & 15)
        .collect()
}

/// Returns the first bytes of BLAKE3's output for a fixed input.
fn golden_stream(bytes: usize) -> Vec<u8> {
    let mut raw = vec![0; bytes];
    blake3::Hasher::new()
        .update(b"carryall golden stream")
        .finalize_xof()
        .fill(&mut raw);
    raw
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_encoder_writes_what_it_always_wrote() {
        for (make, hash) in GOLDEN {
            let raw = make();
            let mut compressor = Compressor::new();
            let frame = compressor.again(&raw).unwrap();
            let found = crate::id::hex(blake3::hash(frame).as_bytes());
            assert_eq!(found, hash, "{} bytes of {}", frame.len(), raw.len());
        }
        assert!(encoder_is_golden());
    }

    #[test]
    fn what_gains_is_stored_as_a_frame() {
        let mut compressor = Compressor::new();
        for (make, _) in GOLDEN {
            let raw = make();
            let stored = compressor.store(&raw).to_vec();
            assert!(stored.len() * 100 <= raw.len() * 97);
            // The rule of thumb and the recorded choice agree.
            assert_eq!(compressor.again(&raw), Some(&stored[..]));
        }
    }

    #[test]
    fn noise_is_stored_raw() {
        let mut compressor = Compressor::new();
        for bytes in [1, 2, 100, 5_000, PROBED_BYTES_MIN, 1 << 20] {
            let raw = golden_stream(bytes);
            assert_eq!(compressor.store(&raw), raw);
        }
        assert_eq!(compressor.again(&golden_stream(5_000)), None);
    }

    #[test]
    fn half_noise_is_still_compressed() {
        let mut raw = golden_stream(500_000);
        raw.extend(golden_words());
        assert!(!hopeless(&raw));
        assert!(Compressor::new().store(&raw).len() < raw.len());
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        let raw = golden_runs();
        let mut compressor = Compressor::new();
        let frame = compressor.again(&raw).unwrap();
        let mut expander = Expander::new();
        let mut out = b"before".to_vec();
        for lie in [0, raw.len() - 1, raw.len() + 1, CHUNK_BYTES_MAX + 1] {
            let refused = expander.expand(frame, lie, &mut out);
            assert_eq!(refused, Err(ExpandError::Malformed));
            assert_eq!(out, b"before");
        }
        expander.expand(frame, raw.len(), &mut out).unwrap();
        assert_eq!(out[6..], raw);
    }

    proptest! {
        #[test]
        fn chunks_round_trip(
            alphabet in 1_u16..=256,
            raw in proptest::collection::vec(any::<u8>(), 1..40_000),
        ) {
            let raw: Vec<u8> = raw
                .iter()
                .map(|&byte| u8::try_from(u16::from(byte) % alphabet).unwrap())
                .collect();
            let mut compressor = Compressor::new();
            let stored = compressor.store(&raw);
            prop_assert!(stored.len() <= raw.len());
            if stored.len() < raw.len() {
                let mut out = Vec::new();
                Expander::new().expand(stored, raw.len(), &mut out).unwrap();
                prop_assert_eq!(out, raw);
            }
        }

        /// Chunks that share pieces, so that what was left of an earlier one would tempt the encoder.
        #[test]
        fn what_came_before_does_not_show(
            chunks in proptest::collection::vec(
                (0_usize..4, 0_usize..200_000, 1_usize..300_000, any::<bool>()), 2..12),
        ) {
            let sources: Vec<Vec<u8>> = GOLDEN.iter().map(|(make, _)| make()).collect();
            let mut kept = Compressor::new();
            for (source, start, bytes, noisy) in chunks {
                let source = &sources[source];
                let start = start % source.len();
                let mut raw = source[start..source.len().min(start + bytes)].to_vec();
                if noisy {
                    raw.extend(golden_stream(bytes.min(20_000)));
                }
                let fresh = Compressor::new().again(&raw).map(<[u8]>::to_vec);
                prop_assert_eq!(kept.again(&raw), fresh.as_deref());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            stored in proptest::collection::vec(any::<u8>(), 0..300),
            raw_bytes in 0_usize..100_000,
        ) {
            let _ = Expander::new().expand(&stored, raw_bytes, &mut Vec::new());
        }

        #[test]
        fn changed_frames_never_panic(at: proptest::sample::Index, bit in 0_u8..8) {
            let raw = golden_runs();
            let mut compressor = Compressor::new();
            let mut frame = compressor.again(&raw).unwrap().to_vec();
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            let _ = Expander::new().expand(&frame, raw.len(), &mut Vec::new());
        }
    }
}
