//! Opening a whole pack, and checking everything in it.

use alloc::{borrow::Cow, vec::Vec};

use ring::aead::{Aad, LessSafeKey};
use thiserror::Error;
use zeroize::Zeroize;

use super::{
    HEADER_BYTES, LINE_BYTES, PACK_VERSION, PREAMBLE_BYTES, PURPOSE, SEGMENT_BYTES, TAG_BYTES,
    associated, header_bytes, nonce, padded, plain_bytes,
};
use crate::{
    chunk::chunk_id,
    compression::{CODEC, Expander},
    id::ChunkId,
    key::{ChunkKey, PackKeys},
    limits::{CHUNK_BYTES_MAX, PACK_BYTES, PACK_CHUNKS_MAX},
    record::PackedChunk,
};

/// Why a pack, or a chunk of it, can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// No pack has this length.
    #[error("not a pack: impossible length")]
    Length,
    /// Sealed under another key.
    #[error("the pack is sealed under another key")]
    WrongKey,
    /// A bit of the ciphertext is not as it was sealed.
    #[error("the pack is damaged")]
    Damaged,
    /// Authentic, but not what a sealer writes.
    #[error("malformed pack header")]
    Malformed,
    /// Sealed by a newer program.
    #[error("the pack has format version {0}, this program reads 1")]
    TooNew(u16),
    /// Compressed by an encoder that is not known here.
    #[error("the pack uses the unknown codec {0}")]
    UnknownCodec(u32),
    /// There is no such chunk in the pack.
    #[error("no such chunk in the pack")]
    NoSuchChunk,
    /// A chunk's content is not what its id says.
    #[error("a chunk of the pack is damaged")]
    DamagedChunk,
}

/// An opened pack.
pub struct OpenPack {
    plain: Vec<u8>,
    chunks: Vec<PackedChunk>,
    /// Where each chunk's stored bytes begin.
    starts: Vec<usize>,
}

impl core::fmt::Debug for OpenPack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "OpenPack({} chunks)", self.chunks.len())
    }
}

impl OpenPack {
    /// Opens a pack in its own buffer. Nothing of it is given out before every bit was checked.
    pub fn open(keys: &PackKeys, mut bytes: Vec<u8>) -> Result<Self, OpenError> {
        let opened = open_in_place(keys, &mut bytes).and_then(|()| parse(keys.epoch(), &bytes));
        match opened {
            Ok((chunks, starts)) => Ok(Self {
                plain: bytes,
                chunks,
                starts,
            }),
            Err(error) => {
                // Some segments may be open already.
                bytes.zeroize();
                Err(error)
            }
        }
    }

    /// Returns the lines of the chunks, in order.
    pub fn chunks(&self) -> &[PackedChunk] {
        &self.chunks
    }

    /// Returns the position of a chunk among [`Self::chunks`].
    pub fn position(&self, id: &ChunkId) -> Option<usize> {
        self.chunks.iter().position(|chunk| chunk.id == *id)
    }

    /// Returns the content of the chunk at a position, after checking it against its id.
    pub fn chunk(&self, key: &ChunkKey, position: usize) -> Result<Cow<'_, [u8]>, OpenError> {
        self.chunk_with(key, position, &mut Expander::new())
    }

    /// Does the same with an expander that the caller keeps: worth it for many small chunks.
    pub fn chunk_with(
        &self,
        key: &ChunkKey,
        position: usize,
        expander: &mut Expander,
    ) -> Result<Cow<'_, [u8]>, OpenError> {
        let chunk = self.chunks.get(position).ok_or(OpenError::NoSuchChunk)?;
        let start = *self.starts.get(position).ok_or(OpenError::NoSuchChunk)?;
        let stored = &self.plain[start..start + chunk.stored_bytes as usize];
        expanded(key, chunk, stored, expander)
    }

    /// Returns the buffer for the next pack.
    pub fn into_buffer(self) -> Vec<u8> {
        self.plain
    }
}

/// Returns a chunk's content from its stored bytes, after checking it against its id.
pub(super) fn expanded<'a>(
    key: &ChunkKey,
    chunk: &PackedChunk,
    stored: &'a [u8],
    expander: &mut Expander,
) -> Result<Cow<'a, [u8]>, OpenError> {
    let raw = if chunk.stored_bytes == chunk.raw_bytes {
        Cow::Borrowed(stored)
    } else {
        let mut raw = Vec::new();
        expander
            .expand(stored, chunk.raw_bytes as usize, &mut raw)
            .map_err(|_| OpenError::DamagedChunk)?;
        Cow::Owned(raw)
    };
    if chunk_id(key, &raw) == chunk.id {
        Ok(raw)
    } else {
        Err(OpenError::DamagedChunk)
    }
}

/// Checks the commitment and returns what opens the segments.
pub(super) fn opening(
    keys: &PackKeys,
    preamble: &[u8],
) -> Result<(LessSafeKey, [u8; 32]), OpenError> {
    let mut siv = [0; 32];
    siv.copy_from_slice(&preamble[..32]);
    let once = keys.0.once_key(PURPOSE, &siv);
    // Hashes compare in constant time.
    let mut commitment = [0; 32];
    commitment.copy_from_slice(&preamble[32..PREAMBLE_BYTES]);
    if once.commitment() != commitment {
        return Err(OpenError::WrongKey);
    }
    Ok((once.cipher(), siv))
}

/// Turns a ciphertext into the padded plain pack, moving each segment to its place and hashing it
/// while it is in the processor's cache.
fn open_in_place(keys: &PackKeys, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    let padded = plain_bytes(bytes.len()).ok_or(OpenError::Length)?;
    let (cipher, siv) = opening(keys, &bytes[..PREAMBLE_BYTES])?;
    let associated = associated(&siv);
    let mut hasher = keys.0.siv_hasher(padded as u64);
    for (segment, start) in (0..padded).step_by(SEGMENT_BYTES).enumerate() {
        let end = padded.min(start + SEGMENT_BYTES);
        let sealed = PREAMBLE_BYTES + segment * (SEGMENT_BYTES + TAG_BYTES);
        let sealed_end = sealed + end - start + TAG_BYTES;
        cipher
            .open_within(
                nonce(segment, end == padded),
                Aad::from(&associated),
                &mut bytes[start..sealed_end],
                sealed - start..,
            )
            .map_err(|_| OpenError::Damaged)?;
        hasher.update(&bytes[start..end]);
    }
    bytes.truncate(padded);
    if hasher.finalize() != siv {
        return Err(OpenError::Damaged);
    }
    Ok(())
}

type Lines = (Vec<PackedChunk>, Vec<usize>);

/// Reads the header of a plain pack and checks that everything in it is as a sealer writes it.
pub(super) fn parse(epoch: u16, plain: &[u8]) -> Result<Lines, OpenError> {
    let (chunks, mut at) = parse_header(epoch, plain)?;
    let mut starts = Vec::with_capacity(chunks.len());
    for chunk in &chunks {
        starts.push(at);
        at += chunk.stored_bytes as usize;
    }
    let padding = plain.get(at..).ok_or(OpenError::Malformed)?;
    if padded(at) != plain.len() || padding.iter().any(|&byte| byte != 0) {
        return Err(OpenError::Malformed);
    }
    Ok((chunks, starts))
}

/// Reads the lines of a header; `plain` need not reach farther than the header. Returns them and
/// the header's length.
pub(super) fn parse_header(
    epoch: u16,
    plain: &[u8],
) -> Result<(Vec<PackedChunk>, usize), OpenError> {
    let short = |at: usize| match plain.get(at..at + 2) {
        Some(bytes) => Ok(u16::from_le_bytes([bytes[0], bytes[1]])),
        None => Err(OpenError::Malformed),
    };
    let version = short(0)?;
    if version != PACK_VERSION {
        return Err(OpenError::TooNew(version));
    }
    if short(2)? != epoch {
        return Err(OpenError::Malformed);
    }
    let codec = u32_at(plain, 4)?;
    if codec != CODEC {
        return Err(OpenError::UnknownCodec(codec));
    }
    let count = u32_at(plain, 8)? as usize;
    if count > PACK_CHUNKS_MAX {
        return Err(OpenError::Malformed);
    }
    let end = header_bytes(count);
    let lines = plain.get(HEADER_BYTES..end).ok_or(OpenError::Malformed)?;
    let mut chunks = Vec::with_capacity(count);
    let mut total = end;
    for line in lines.chunks_exact(LINE_BYTES) {
        let mut id = [0; 32];
        id.copy_from_slice(&line[..32]);
        let (raw_bytes, stored_bytes) = (u32_at(line, 32)?, u32_at(line, 36)?);
        let possible = raw_bytes > 0
            && raw_bytes as usize <= CHUNK_BYTES_MAX
            && stored_bytes > 0
            && stored_bytes <= raw_bytes;
        if !possible {
            return Err(OpenError::Malformed);
        }
        total += stored_bytes as usize;
        chunks.push(PackedChunk {
            id: ChunkId(id),
            raw_bytes,
            stored_bytes,
        });
    }
    if total > PACK_BYTES {
        return Err(OpenError::Malformed);
    }
    Ok((chunks, end))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, OpenError> {
    match bytes.get(at..at + 4) {
        Some(four) => Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]])),
        None => Err(OpenError::Malformed),
    }
}
