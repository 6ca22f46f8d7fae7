//! Packs: many chunks sealed into one opaque block, the same block each time.
//!
//! SIV over the whole pack, then segments (docs/format.md). The plain pack is a header, the stored
//! chunks and zeros up to a bucket. A keyed hash of it is the synthetic IV; from that follows a key
//! which seals nothing else, so nonces can count from zero and a pack can be rebuilt bit by bit from
//! its sources. Friends see the bucket's length and nothing more.

mod open;
mod range;

use alloc::vec::Vec;
use core::ops::Range;

use ring::aead::{Aad, Nonce};
use thiserror::Error;

pub use self::{
    open::{OpenError, OpenPack},
    range::{PackReader, stored_range},
};
use crate::{
    compression::{CODEC, Compressor},
    id::{ChunkId, PackId},
    key::PackKeys,
    limits::{CHUNK_BYTES_MAX, PACK_BYTES, PACK_CHUNKS_MAX},
    record::PackedChunk,
};

/// Version of the pack format.
pub const PACK_VERSION: u16 = 1;

/// Length of the header before its lines, in bytes: version, epoch, codec and number of lines.
const HEADER_BYTES: usize = 12;
/// Length of one line: chunk id, raw and stored length.
const LINE_BYTES: usize = 40;
/// Length of what precedes the segments: the synthetic IV and the key commitment.
const PREAMBLE_BYTES: usize = 64;
/// Plain length of every segment but the last.
const SEGMENT_BYTES: usize = 64 << 10;
/// Length of a segment's tag.
const TAG_BYTES: usize = 16;
/// Smallest step of the padding, so that a pack with one tiny file is not telling.
const PAD_STEP_MIN: usize = 4 << 10;
/// Purpose and associated data of pack encryption.
const PURPOSE: &[u8] = b"pack";
const ASSOCIATED: &[u8; 16] = b"carryall pack v1";
static ZEROS: [u8; SEGMENT_BYTES] = [0; SEGMENT_BYTES];

/// Why a chunk was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddError {
    /// The pack has no room for it. Seal it and begin another.
    #[error("the pack is full")]
    Full,
    /// Longer than any chunk, or empty.
    #[error("the chunk's length is out of bounds")]
    Length,
    /// A rebuilt chunk is not as long as the recorded one: its source changed.
    #[error("the source of a chunk changed")]
    Changed,
    /// A rebuilt chunk compresses to another length: another encoder wrote it.
    #[error("the chunk was compressed by another encoder")]
    Encoder,
}

/// A pack's synthetic IV: what is in it, under the vault's keys. It lies open in the ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Siv(pub [u8; 32]);

/// A sealed pack.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPack {
    /// BLAKE3 of the ciphertext.
    pub id: PackId,
    /// By which it is told whether it comes out again.
    pub siv: Siv,
    /// The epoch whose keys sealed it.
    pub epoch: u16,
    /// The ciphertext.
    pub bytes: Vec<u8>,
    /// What is in it, in order.
    pub chunks: Vec<PackedChunk>,
}

impl core::fmt::Debug for SealedPack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SealedPack({:?}, {} chunks)", self.id, self.chunks.len())
    }
}

/// Gathers chunks until they fill a pack, then seals them. To be used again and again: it keeps its
/// buffer.
#[derive(Default)]
pub struct PackBuilder {
    chunks: Vec<PackedChunk>,
    /// Memory that was written once, be it for an earlier pack.
    payload: Vec<u8>,
    /// How much of it counts.
    filled: usize,
}

impl core::fmt::Debug for PackBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PackBuilder({} chunks)", self.chunks.len())
    }
}

impl PackBuilder {
    /// Makes an empty builder. It takes memory as chunks come.
    pub const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            payload: Vec::new(),
            filled: 0,
        }
    }

    /// Tells whether nothing was added since the last seal.
    pub const fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the lines of what was added.
    pub fn chunks(&self) -> &[PackedChunk] {
        &self.chunks
    }

    /// Returns the length of the plain pack so far, without padding.
    pub const fn plain_bytes(&self) -> usize {
        header_bytes(self.chunks.len()) + self.filled
    }

    /// Tells whether a chunk that is stored in `stored_bytes` bytes still fits.
    pub const fn fits(&self, stored_bytes: usize) -> bool {
        self.chunks.len() < PACK_CHUNKS_MAX
            && self.plain_bytes() + LINE_BYTES + stored_bytes <= PACK_BYTES
    }

    /// Adds a chunk as [`Compressor::store`] made it: `stored` is a frame, or the raw chunk where
    /// it is as long as `raw_bytes`.
    pub fn add(&mut self, id: ChunkId, raw_bytes: usize, stored: &[u8]) -> Result<(), AddError> {
        self.room(id, raw_bytes, stored.len())?
            .copy_from_slice(stored);
        Ok(())
    }

    /// Adds a chunk whose stored bytes, whatever lay there before, are to be written where this returns.
    fn room(
        &mut self,
        id: ChunkId,
        raw_bytes: usize,
        stored: usize,
    ) -> Result<&mut [u8], AddError> {
        let possible =
            (1..=CHUNK_BYTES_MAX).contains(&raw_bytes) && (1..=raw_bytes).contains(&stored);
        if !possible {
            return Err(AddError::Length);
        }
        if !self.fits(stored) {
            return Err(AddError::Full);
        }
        if self.payload.capacity() == 0 && stored > SEGMENT_BYTES {
            // A large chunk announces a full pack: grow once.
            self.payload.reserve_exact(PACK_BYTES);
        }
        self.chunks.push(PackedChunk {
            id,
            raw_bytes: length(raw_bytes),
            stored_bytes: length(stored),
        });
        let start = self.filled;
        self.filled += stored;
        if self.payload.len() < self.filled {
            self.payload.resize(self.filled, 0);
        }
        Ok(&mut self.payload[start..self.filled])
    }

    /// Adds a chunk as it was recorded, so that the same pack comes out again. The raw bytes come from
    /// a source that may have changed, which [`Self::seal_again`] finds out: each chunk by itself is not
    /// looked at, which saves a pass over every byte.
    pub fn add_again(
        &mut self,
        recorded: &PackedChunk,
        raw: &[u8],
        compressor: &mut Compressor,
    ) -> Result<(), AddError> {
        if length(raw.len()) != recorded.raw_bytes {
            return Err(AddError::Changed);
        }
        if let Some(room) = self.room_again(recorded)? {
            room.copy_from_slice(raw);
            return Ok(());
        }
        match compressor.again(raw) {
            Some(frame) if length(frame.len()) == recorded.stored_bytes => {
                self.add(recorded.id, raw.len(), frame)
            }
            _ => Err(AddError::Encoder),
        }
    }

    /// Adds a chunk that was recorded as stored raw, and returns where its bytes belong: its source is
    /// read straight into the pack. Nothing is added for a chunk that was compressed.
    pub fn room_again(&mut self, recorded: &PackedChunk) -> Result<Option<&mut [u8]>, AddError> {
        if recorded.stored_bytes != recorded.raw_bytes {
            return Ok(None);
        }
        let bytes = usize::try_from(recorded.raw_bytes).unwrap_or(usize::MAX);
        self.room(recorded.id, bytes, bytes).map(Some)
    }

    /// Seals what was added and empties the builder. `buffer` becomes the ciphertext: pass one that
    /// is no longer needed to save an allocation.
    pub fn seal(&mut self, keys: &PackKeys, buffer: Vec<u8>) -> SealedPack {
        let header = encode_header(keys.epoch(), &self.chunks);
        let plain = Plain::new(&header, &self.payload[..self.filled]);
        let (siv, mut named) = (plain.siv(keys), blake3::Hasher::new());
        let bytes = plain.seal(keys, siv, buffer, |sealed| {
            named.update(sealed);
        });
        self.filled = 0;
        SealedPack {
            id: PackId(*named.finalize().as_bytes()),
            siv,
            epoch: keys.epoch(),
            bytes,
            chunks: core::mem::take(&mut self.chunks),
        }
    }

    /// Seals a pack that was sealed before. Nothing comes out if it would be another one: a source has
    /// changed. Where its synthetic IV is known that shows before anything is sealed, and the ciphertext
    /// need not be hashed: equal IVs are equal plain packs, which the same key makes equal ciphertexts.
    /// Else its id tells.
    pub fn seal_again(
        &mut self,
        keys: &PackKeys,
        (id, known): (PackId, Option<Siv>),
        buffer: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let Some(known) = known else {
            let sealed = self.seal(keys, buffer);
            return (sealed.id == id).then_some(sealed.bytes);
        };
        let header = encode_header(keys.epoch(), &self.chunks);
        let plain = Plain::new(&header, &self.payload[..self.filled]);
        let siv = plain.siv(keys);
        let sealed = (siv == known).then(|| plain.seal(keys, siv, buffer, |_| ()));
        self.clear();
        sealed
    }

    /// Forgets what was added: after a failed rebuild.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.filled = 0;
    }
}

const fn header_bytes(chunks: usize) -> usize {
    HEADER_BYTES + chunks * LINE_BYTES
}

/// Returns a length that was checked to be at most [`PACK_BYTES`], or the largest, which is no
/// valid length.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Returns the padded length of a plain pack. All full packs have the same: one is closed when the
/// next chunk does not fit, so it is at most the longest chunk away from full. Others are padded to
/// 1/16 of the next power of two, which costs at most 1/8 (as Padmé does).
const fn padded(bytes: usize) -> usize {
    if bytes > PACK_BYTES - CHUNK_BYTES_MAX {
        return PACK_BYTES;
    }
    let step = bytes.next_power_of_two() / 16;
    let step = if step < PAD_STEP_MIN {
        PAD_STEP_MIN
    } else {
        step
    };
    bytes.next_multiple_of(step)
}

/// Returns the length of the ciphertext of a plain pack of `padded` bytes.
const fn sealed_bytes(padded: usize) -> usize {
    PREAMBLE_BYTES + padded + padded.div_ceil(SEGMENT_BYTES) * TAG_BYTES
}

/// Returns the padded plain length of a ciphertext, if a pack can be that long.
fn plain_bytes(sealed: usize) -> Option<usize> {
    let segments = sealed.checked_sub(PREAMBLE_BYTES)?;
    let count = segments.div_ceil(SEGMENT_BYTES + TAG_BYTES);
    let plain = segments.checked_sub(count * TAG_BYTES)?;
    let possible =
        plain > 0 && plain <= PACK_BYTES && padded(plain) == plain && sealed_bytes(plain) == sealed;
    possible.then_some(plain)
}

/// Returns the nonce of a segment: a big-endian counter and whether it is the last, as in the
/// STREAM construction of age.
fn nonce(segment: usize, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&(segment as u64).to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Returns what every segment of a pack is bound to.
fn associated(siv: &[u8; 32]) -> [u8; 48] {
    let mut data = [0; 48];
    data[..16].copy_from_slice(ASSOCIATED);
    data[16..].copy_from_slice(siv);
    data
}

fn encode_header(epoch: u16, chunks: &[PackedChunk]) -> Vec<u8> {
    let mut header = Vec::with_capacity(header_bytes(chunks.len()));
    header.extend_from_slice(&PACK_VERSION.to_le_bytes());
    header.extend_from_slice(&epoch.to_le_bytes());
    header.extend_from_slice(&CODEC.to_le_bytes());
    header.extend_from_slice(&length(chunks.len()).to_le_bytes());
    for chunk in chunks {
        header.extend_from_slice(chunk.id.as_bytes());
        header.extend_from_slice(&chunk.raw_bytes.to_le_bytes());
        header.extend_from_slice(&chunk.stored_bytes.to_le_bytes());
    }
    header
}

/// A plain pack in its three parts, never copied into one.
struct Plain<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    padded: usize,
}

impl<'a> Plain<'a> {
    fn new(header: &'a [u8], payload: &'a [u8]) -> Self {
        Self {
            header,
            payload,
            padded: padded(header.len() + payload.len()),
        }
    }

    fn siv(&self, keys: &PackKeys) -> Siv {
        let mut hasher = keys.0.siv_hasher(self.padded as u64);
        hasher.update(self.header).update(self.payload);
        let mut zeros = self.padded - self.header.len() - self.payload.len();
        while zeros > 0 {
            let some = zeros.min(ZEROS.len());
            hasher.update(&ZEROS[..some]);
            zeros -= some;
        }
        Siv(*hasher.finalize().as_bytes())
    }

    /// Appends a range of the plain pack to `out`.
    fn copy(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let end = out.len() + range.len();
        let mut start = range.start;
        for part in [self.header, self.payload] {
            if start < part.len() {
                out.extend_from_slice(&part[start..part.len().min(start + end - out.len())]);
            }
            start = start.saturating_sub(part.len());
        }
        out.resize(end, 0);
    }

    /// Copies and seals segment by segment. `sealed` sees all that comes out, each part while it is in the
    /// processor's cache.
    fn seal(
        &self,
        keys: &PackKeys,
        siv: Siv,
        mut out: Vec<u8>,
        mut sealed: impl FnMut(&[u8]),
    ) -> Vec<u8> {
        let once = keys.0.once_key(PURPOSE, &siv.0);
        let cipher = once.cipher();
        let associated = associated(&siv.0);
        let mut seen = 0;
        out.clear();
        out.reserve_exact(sealed_bytes(self.padded));
        out.extend_from_slice(&siv.0);
        out.extend_from_slice(once.commitment().as_bytes());
        for (segment, start) in (0..self.padded).step_by(SEGMENT_BYTES).enumerate() {
            let end = self.padded.min(start + SEGMENT_BYTES);
            let at = out.len();
            self.copy(start..end, &mut out);
            let nonce = nonce(segment, end == self.padded);
            let tag = cipher
                .seal_in_place_separate_tag(nonce, Aad::from(&associated), &mut out[at..])
                .expect("a segment is far below the cipher's limit");
            out.extend_from_slice(tag.as_ref());
            // Whole segments at a time: a hash is fastest from one power of two to the next.
            while out.len() - seen >= SEGMENT_BYTES {
                sealed(&out[seen..seen + SEGMENT_BYTES]);
                seen += SEGMENT_BYTES;
            }
        }
        sealed(&out[seen..]);
        out
    }
}

/// Returns the id of a ciphertext.
pub fn pack_id(ciphertext: &[u8]) -> PackId {
    PackId(*blake3::hash(ciphertext).as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::AeadInPlace as _};
    use proptest::prelude::*;

    use super::{open::parse, *};
    use crate::{
        chunk::chunk_id,
        compression::Expander,
        golden::assert_golden,
        id::{DeviceId, hex},
        key::VaultKeys,
    };

    pub(crate) fn vault() -> VaultKeys {
        VaultKeys::generate([1; 96])
    }

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    /// Chunks that are stored raw and compressed in turn.
    pub(crate) fn contents() -> Vec<Vec<u8>> {
        vec![
            noise(1, 300_000),
            vec![7; 500_000],
            noise(2, 1),
            b"hello hello hello hello hello hello".to_vec(),
            noise(3, 70_000),
        ]
    }

    pub(crate) fn sealed(vault: &VaultKeys, contents: &[Vec<u8>]) -> SealedPack {
        let mut builder = PackBuilder::new();
        let mut compressor = Compressor::new();
        for raw in contents {
            let id = chunk_id(&vault.chunk_key(), raw);
            builder.add(id, raw.len(), compressor.store(raw)).unwrap();
        }
        builder.seal(&vault.sealing_keys().unwrap(), Vec::new())
    }

    fn small() -> SealedPack {
        sealed(&vault(), &[b"carryall".to_vec(), vec![7; 5_000]])
    }

    fn open(bytes: &[u8]) -> Result<OpenPack, OpenError> {
        OpenPack::open(&vault().sealing_keys().unwrap(), bytes.to_vec())
    }

    #[test]
    fn a_pack_opens_and_is_rebuilt_bit_by_bit() {
        let vault = vault();
        let (keys, key) = (vault.sealing_keys().unwrap(), vault.chunk_key());
        let pack = sealed(&vault, &contents());
        assert_eq!(pack.id, pack_id(&pack.bytes));
        let open = open(&pack.bytes).unwrap();
        assert_eq!(open.chunks(), pack.chunks);
        let mut expander = Expander::new();
        for (position, raw) in contents().iter().enumerate() {
            assert_eq!(&*open.chunk(&key, position).unwrap(), raw.as_slice());
            let again = open.chunk_with(&key, position, &mut expander).unwrap();
            assert_eq!(&*again, raw.as_slice());
            assert_eq!(open.position(&pack.chunks[position].id), Some(position));
        }
        assert_eq!(open.chunk(&key, 5).unwrap_err(), OpenError::NoSuchChunk);
        let mut builder = PackBuilder::new();
        let mut compressor = Compressor::new();
        for (recorded, raw) in pack.chunks.iter().zip(contents()) {
            builder.add_again(recorded, &raw, &mut compressor).unwrap();
        }
        assert_eq!(builder.seal(&keys, open.into_buffer()), pack);
        assert!(builder.is_empty());
        for known in [None, Some(pack.siv)] {
            add_all_again(&mut builder, &pack, &contents());
            let again = builder.seal_again(&keys, (pack.id, known), vec![7; 99]);
            assert_eq!(again.as_ref(), Some(&pack.bytes));
            assert!(builder.is_empty());
        }
    }

    /// Adds chunks as a rebuild does: those that were stored raw are read into their place.
    fn add_all_again(builder: &mut PackBuilder, pack: &SealedPack, contents: &[Vec<u8>]) {
        let mut compressor = Compressor::new();
        for (recorded, raw) in pack.chunks.iter().zip(contents) {
            match builder.room_again(recorded).unwrap() {
                Some(room) => room.copy_from_slice(raw),
                None => (builder.add_again(recorded, raw, &mut compressor)).unwrap(),
            }
        }
    }

    #[test]
    fn a_changed_source_is_not_rebuilt() {
        let vault = vault();
        let pack = sealed(&vault, &contents());
        let (mut builder, mut compressor) = (PackBuilder::new(), Compressor::new());
        let mut changed = contents();
        changed[0][77] ^= 1;
        for (recorded, raw) in pack.chunks.iter().zip(&changed) {
            (builder.add_again(recorded, raw, &mut compressor)).unwrap();
        }
        let other = builder.seal(&vault.sealing_keys().unwrap(), Vec::new());
        assert_ne!(other.id, pack.id);
        assert_ne!(
            other.bytes[..32],
            pack.bytes[..32],
            "nothing is sealed with its key"
        );
        for known in [None, Some(pack.siv)] {
            add_all_again(&mut builder, &pack, &changed);
            let keys = vault.sealing_keys().unwrap();
            assert_eq!(
                builder.seal_again(&keys, (pack.id, known), Vec::new()),
                None
            );
            assert!(builder.is_empty(), "what was another pack is gone");
        }
        let mut again =
            |recorded: &PackedChunk, raw: &[u8]| builder.add_again(recorded, raw, &mut compressor);
        assert_eq!(again(&pack.chunks[0], &[]), Err(AddError::Changed));
        // Another encoder, as it shows: another length, or a frame where ours finds no gain.
        let mut other = pack.chunks[1];
        other.stored_bytes += 1;
        assert_eq!(again(&other, &contents()[1]), Err(AddError::Encoder));
        let mut gained = pack.chunks[0];
        gained.stored_bytes -= 1;
        assert_eq!(again(&gained, &contents()[0]), Err(AddError::Encoder));
    }

    #[test]
    fn packs_never_change() {
        let pack = small();
        assert_golden(
            include_str!("../../../testdata/format/pack.txt"),
            &[
                ("id", hex(&pack.id.0)),
                ("bytes", alloc::format!("{}", pack.bytes.len())),
                ("header", hex(&encode_header(pack.epoch, &pack.chunks))),
                ("preamble", hex(&pack.bytes[..PREAMBLE_BYTES])),
                ("first", hex(&pack.bytes[PREAMBLE_BYTES..][..64])),
                ("tag", hex(&pack.bytes[pack.bytes.len() - TAG_BYTES..])),
            ],
        );
    }

    /// Another implementation of the cipher, driven by docs/format.md, agrees with ring.
    #[test]
    fn the_cipher_is_chacha20_poly1305_as_others_write_it() {
        let vault = vault();
        let pack = sealed(&vault, &contents());
        let siv: [u8; 32] = pack.bytes[..32].try_into().unwrap();
        let epoch_key = vault.epochs[0].key;
        let enc = blake3::derive_key("carryall 2026 pack-enc v1", &epoch_key);
        let once = blake3::keyed_hash(&enc, &[b"pack", &siv[..]].concat());
        let commitment = blake3::keyed_hash(once.as_bytes(), b"commit");
        assert_eq!(&pack.bytes[32..64], commitment.as_bytes());
        let cipher = ChaCha20Poly1305::new(once.as_bytes().into());
        let associated = [b"carryall pack v1", &siv[..]].concat();
        let mut plain = Vec::new();
        let segments = pack.bytes[64..].chunks(65_536 + 16);
        let count = segments.len();
        for (i, segment) in segments.enumerate() {
            let mut nonce = [0; 12];
            nonce[3..11].copy_from_slice(&(i as u64).to_be_bytes());
            nonce[11] = u8::from(i + 1 == count);
            let (bytes, tag) = segment.split_at(segment.len() - 16);
            let mut bytes = bytes.to_vec();
            cipher
                .decrypt_in_place_detached(&nonce.into(), &associated, &mut bytes, tag.into())
                .unwrap();
            plain.extend(bytes);
        }
        let siv_key = blake3::derive_key("carryall 2026 pack-siv v1", &epoch_key);
        let length = (plain.len() as u64).to_le_bytes();
        let expected = blake3::keyed_hash(&siv_key, &[&length[..], &plain].concat());
        assert_eq!(*expected.as_bytes(), siv);
        let header = encode_header(0, &pack.chunks);
        assert_eq!(plain[..header.len()], header);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let pack = small();
        for at in 0..pack.bytes.len() {
            let mut changed = pack.bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let expected = if at < PREAMBLE_BYTES {
                OpenError::WrongKey
            } else {
                OpenError::Damaged
            };
            assert_eq!(open(&changed).unwrap_err(), expected, "byte {at}");
        }
        for cut in 0..pack.bytes.len() {
            assert!(open(&pack.bytes[..cut]).is_err());
        }
        let longer = [&pack.bytes[..], &[0]].concat();
        assert_eq!(open(&longer).unwrap_err(), OpenError::Length);
    }

    #[test]
    fn segments_can_not_be_swapped_dropped_or_repeated() {
        let pack = sealed(&vault(), &[noise(1, 300_000)]).bytes;
        let segment = |i: usize| {
            let start = PREAMBLE_BYTES + i * (SEGMENT_BYTES + TAG_BYTES);
            start..start + SEGMENT_BYTES + TAG_BYTES
        };
        let mut swapped = pack.clone();
        swapped[segment(0)].copy_from_slice(&pack[segment(1)]);
        swapped[segment(1)].copy_from_slice(&pack[segment(0)]);
        assert_eq!(open(&swapped).unwrap_err(), OpenError::Damaged);
        let mut repeated = pack.clone();
        repeated[segment(1)].copy_from_slice(&pack[segment(0)]);
        assert_eq!(open(&repeated).unwrap_err(), OpenError::Damaged);
        assert!(open(&pack[..segment(3).start]).is_err());
        assert!(open(&pack).is_ok());
    }

    #[test]
    fn another_epoch_or_vault_does_not_open() {
        let mut rotated = vault();
        rotated.rotate(DeviceId([1; 32]), [2; 32]);
        let pack = small();
        let opened = |keys: &PackKeys| OpenPack::open(keys, pack.bytes.clone()).map(|_| ());
        assert_eq!(
            opened(&rotated.sealing_keys().unwrap()),
            Err(OpenError::WrongKey)
        );
        assert_eq!(opened(&rotated.pack_keys(0).unwrap()), Ok(()));
        let other = VaultKeys::generate([9; 96]).sealing_keys().unwrap();
        assert_eq!(opened(&other), Err(OpenError::WrongKey));
    }

    #[test]
    fn lengths_are_padded_as_documented() {
        let lengths = (1..200_000)
            .step_by(97)
            .chain((1..PACK_BYTES).step_by(99_991))
            .chain([PACK_BYTES - CHUNK_BYTES_MAX, PACK_BYTES]);
        for bytes in lengths {
            let plain = padded(bytes);
            assert!(plain >= bytes && plain <= PACK_BYTES);
            assert_eq!(padded(plain), plain, "{bytes}");
            assert_eq!(plain_bytes(sealed_bytes(plain)), Some(plain));
            let full = bytes > PACK_BYTES - CHUNK_BYTES_MAX;
            let overhead = plain - bytes;
            assert!(
                full || overhead < PAD_STEP_MIN || overhead <= bytes / 8,
                "{bytes}"
            );
        }
        assert_eq!(padded(PACK_BYTES - CHUNK_BYTES_MAX + 1), PACK_BYTES);
        assert!(sealed_bytes(PACK_BYTES) <= crate::limits::SEALED_BYTES_MAX);
    }

    #[test]
    fn full_packs_have_one_length() {
        let vault = vault();
        let keys = vault.sealing_keys().unwrap();
        let content = noise(5, CHUNK_BYTES_MAX);
        let mut builder = PackBuilder::new();
        for step in [1_000_003, 3_999_999, CHUNK_BYTES_MAX] {
            while builder
                .add(ChunkId([0; 32]), step, &content[..step])
                .is_ok()
            {}
            assert!(!builder.fits(step));
            let pack = builder.seal(&keys, Vec::new());
            assert_eq!(pack.bytes.len(), sealed_bytes(PACK_BYTES));
        }
    }

    #[test]
    fn chunks_of_impossible_lengths_are_not_added() {
        let mut builder = PackBuilder::new();
        let id = ChunkId([0; 32]);
        assert_eq!(builder.add(id, 0, &[]), Err(AddError::Length));
        assert_eq!(builder.add(id, 1, &[1, 2]), Err(AddError::Length));
        assert_eq!(builder.add(id, 1, &[]), Err(AddError::Length));
        let long = vec![0; CHUNK_BYTES_MAX + 1];
        assert_eq!(builder.add(id, long.len(), &long), Err(AddError::Length));
        assert!(builder.is_empty());
    }

    #[test]
    fn tiny_chunks_are_bounded_in_number() {
        let mut builder = PackBuilder::new();
        for _ in 0..PACK_CHUNKS_MAX {
            builder.add(ChunkId([0; 32]), 1, &[1]).unwrap();
        }
        assert_eq!(builder.add(ChunkId([0; 32]), 1, &[1]), Err(AddError::Full));
        let pack = builder.seal(&vault().sealing_keys().unwrap(), Vec::new());
        assert_eq!(open(&pack.bytes).unwrap().chunks().len(), PACK_CHUNKS_MAX);
    }

    /// Seals a plain pack as only the owner could, with anything in it.
    fn forged(header: &[u8], payload: &[u8]) -> Result<OpenPack, OpenError> {
        let keys = vault().sealing_keys().unwrap();
        let plain = Plain::new(header, payload);
        open(&plain.seal(&keys, plain.siv(&keys), Vec::new(), |_| ()))
    }

    #[test]
    fn authentic_nonsense_is_refused() {
        let chunk = PackedChunk {
            id: ChunkId([1; 32]),
            raw_bytes: 4,
            stored_bytes: 4,
        };
        let good = encode_header(0, &[chunk]);
        assert!(forged(&good, b"data").is_ok());
        let changed = |at: usize, bytes: &[u8]| {
            let mut header = good.clone();
            header[at..at + bytes.len()].copy_from_slice(bytes);
            forged(&header, b"data").unwrap_err()
        };
        assert_eq!(changed(0, &[2, 0]), OpenError::TooNew(2));
        assert_eq!(changed(2, &[1]), OpenError::Malformed);
        assert_eq!(changed(4, &[1, 0, 0, 0]), OpenError::UnknownCodec(1));
        for count in [0, 2, 100_000, u32::MAX] {
            assert_eq!(changed(8, &count.to_le_bytes()), OpenError::Malformed);
        }
        for (raw, stored) in [
            (0, 0),
            (4, 0),
            (4, 5),
            (u32::MAX, u32::MAX),
            (5 << 20, 4),
            (4 << 20, 4 << 20),
        ] {
            let lengths = [u32::to_le_bytes(raw), u32::to_le_bytes(stored)].concat();
            assert_eq!(
                changed(44, &lengths),
                OpenError::Malformed,
                "{raw} {stored}"
            );
        }
        assert_eq!(forged(&good, b"data!").unwrap_err(), OpenError::Malformed);
        assert_eq!(forged(&[1], &[]).unwrap_err(), OpenError::UnknownCodec(0));
    }

    #[test]
    fn chunks_that_are_not_what_they_say_are_refused() {
        let key = vault().chunk_key();
        let mut compressor = Compressor::new();
        let bomb = compressor.again(&[0; 4 << 20]).unwrap();
        let chunk = PackedChunk {
            id: ChunkId([1; 32]),
            raw_bytes: length(bomb.len()) + 1,
            stored_bytes: length(bomb.len()),
        };
        let pack = forged(&encode_header(0, &[chunk]), bomb).unwrap();
        assert_eq!(pack.chunk(&key, 0).unwrap_err(), OpenError::DamagedChunk);
        let renamed = PackedChunk {
            id: chunk_id(&key, b"fact"),
            raw_bytes: 4,
            stored_bytes: 4,
        };
        let pack = forged(&encode_header(0, &[renamed]), b"lies").unwrap();
        assert_eq!(pack.chunk(&key, 0).unwrap_err(), OpenError::DamagedChunk);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn packs_round_trip(
            lengths in proptest::collection::vec(1_usize..50_000, 0..12),
            seed: u64,
            mask: u8,
        ) {
            let vault = vault();
            let key = vault.chunk_key();
            let contents: Vec<Vec<u8>> = lengths
                .iter()
                .zip(seed..=u64::MAX)
                .map(|(&length, seed)| noise(seed, length).iter().map(|b| b & mask).collect())
                .collect();
            let pack = sealed(&vault, &contents);
            prop_assert_eq!(&sealed(&vault, &contents), &pack);
            let open = open(&pack.bytes).unwrap();
            prop_assert_eq!(open.chunks().len(), contents.len());
            for (position, raw) in contents.iter().enumerate() {
                let chunk = open.chunk(&key, position).unwrap();
                prop_assert_eq!(&*chunk, raw.as_slice());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..9_000)) {
            prop_assert!(open(&bytes).is_err());
            let _ = parse(0, &bytes);
        }
    }
}
