//! Opening a part of a pack: one chunk from the few segments that hold it.
//!
//! The synthetic IV can't be checked without the whole pack. What stands for it: the key commitment,
//! each segment's tag and place, and the chunk's id.

use alloc::vec::Vec;
use core::ops::Range;

use ring::aead::Aad;
use zeroize::Zeroizing;

use super::{
    HEADER_BYTES, LINE_BYTES, OpenError, PREAMBLE_BYTES, SEGMENT_BYTES, TAG_BYTES, associated,
    header_bytes, nonce,
    open::{expanded, opening, parse_header, u32_at},
    plain_bytes,
};
use crate::{
    compression::Expander,
    key::{ChunkKey, PackKeys},
    limits::PACK_CHUNKS_MAX,
    record::PackedChunk,
};

/// Reads parts of one sealed pack. It says which bytes of the ciphertext it needs; whoever has them
/// reads them.
pub struct PackReader {
    cipher: ring::aead::LessSafeKey,
    associated: [u8; 48],
    epoch: u16,
    /// Padded plain length of the pack.
    padded: usize,
}

impl core::fmt::Debug for PackReader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PackReader({} bytes)", self.padded)
    }
}

impl PackReader {
    /// How many bytes from the beginning of the ciphertext [`Self::new`] needs.
    pub const PREAMBLE_BYTES: usize = PREAMBLE_BYTES;

    /// Begins to read a pack of `sealed_bytes` bytes that begins with `preamble`.
    pub fn new(keys: &PackKeys, sealed_bytes: usize, preamble: &[u8]) -> Result<Self, OpenError> {
        let padded = plain_bytes(sealed_bytes).ok_or(OpenError::Length)?;
        if preamble.len() != PREAMBLE_BYTES {
            return Err(OpenError::Length);
        }
        let (cipher, siv) = opening(keys, preamble)?;
        Ok(Self {
            cipher,
            associated: associated(&siv),
            epoch: keys.epoch(),
            padded,
        })
    }

    /// Returns where the ciphertext of a plain range lies, whole segments, or nothing when the pack
    /// is shorter.
    pub fn sealed_range(&self, plain: &Range<usize>) -> Option<Range<usize>> {
        if plain.is_empty() || plain.end > self.padded {
            return None;
        }
        let at = |segment: usize| PREAMBLE_BYTES + segment * (SEGMENT_BYTES + TAG_BYTES);
        let last = (plain.end - 1) / SEGMENT_BYTES;
        let last_bytes = SEGMENT_BYTES.min(self.padded - last * SEGMENT_BYTES);
        Some(at(plain.start / SEGMENT_BYTES)..at(last) + last_bytes + TAG_BYTES)
    }

    /// Opens a plain range. `sealed` are the bytes that [`Self::sealed_range`] names.
    pub fn open(
        &self,
        plain: &Range<usize>,
        mut sealed: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let range = self.sealed_range(plain).ok_or(OpenError::Length)?;
        if sealed.len() != range.len() {
            return Err(OpenError::Length);
        }
        let first = plain.start / SEGMENT_BYTES;
        let mut opened = Zeroizing::new(Vec::with_capacity(range.len()));
        for (i, bytes) in sealed.chunks_mut(SEGMENT_BYTES + TAG_BYTES).enumerate() {
            let segment = first + i;
            let last = (segment + 1) * SEGMENT_BYTES >= self.padded;
            let segment = self
                .cipher
                .open_in_place(nonce(segment, last), Aad::from(&self.associated), bytes)
                .map_err(|_| OpenError::Damaged)?;
            opened.extend_from_slice(segment);
        }
        let start = plain.start - first * SEGMENT_BYTES;
        opened.truncate(start + plain.len());
        opened.drain(..start);
        Ok(opened)
    }

    /// Returns the plain range of the whole header, given the plain bytes of
    /// [`Self::header_start`].
    pub fn header_range(&self, start: &[u8]) -> Result<Range<usize>, OpenError> {
        let count = u32_at(start, 8)? as usize;
        if count > PACK_CHUNKS_MAX {
            return Err(OpenError::Malformed);
        }
        Ok(0..header_bytes(count))
    }

    /// Returns the plain range that says how long the header is.
    pub const fn header_start() -> Range<usize> {
        0..HEADER_BYTES
    }

    /// Returns the lines of a pack's plain header.
    pub fn lines(&self, header: &[u8]) -> Result<Vec<PackedChunk>, OpenError> {
        Ok(parse_header(self.epoch, header)?.0)
    }

    /// Returns a chunk's content from its stored bytes, after checking it against its id.
    pub fn chunk(key: &ChunkKey, chunk: &PackedChunk, stored: &[u8]) -> Result<Vec<u8>, OpenError> {
        if stored.len() != chunk.stored_bytes as usize {
            return Err(OpenError::Length);
        }
        let mut expander = Expander::new();
        Ok(expanded(key, chunk, stored, &mut expander)?.into_owned())
    }
}

/// Returns the plain range of the stored bytes of chunk `position` in a pack with these lines, in
/// order, or nothing if there is no such chunk.
pub fn stored_range(lines: &[PackedChunk], position: usize) -> Option<Range<usize>> {
    let chunk = lines.get(position)?;
    let before: usize = lines[..position]
        .iter()
        .map(|chunk| chunk.stored_bytes as usize)
        .sum();
    let start = HEADER_BYTES + lines.len() * LINE_BYTES + before;
    Some(start..start + chunk.stored_bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::tests::{contents, sealed, vault};

    #[test]
    fn a_chunk_opens_from_its_segments_alone() {
        let vault = vault();
        let (keys, key) = (vault.sealing_keys().unwrap(), vault.chunk_key());
        let pack = sealed(&vault, &contents());
        let preamble = &pack.bytes[..PackReader::PREAMBLE_BYTES];
        let reader = PackReader::new(&keys, pack.bytes.len(), preamble).unwrap();
        let open = |plain: &Range<usize>| {
            let sealed = reader.sealed_range(plain).unwrap();
            reader.open(plain, pack.bytes[sealed].to_vec()).unwrap()
        };
        let start = open(&PackReader::header_start());
        let header = open(&reader.header_range(&start).unwrap());
        let lines = reader.lines(&header).unwrap();
        assert_eq!(lines, pack.chunks);
        for (position, raw) in contents().iter().enumerate() {
            let stored = open(&stored_range(&lines, position).unwrap());
            let chunk = PackReader::chunk(&key, &lines[position], &stored).unwrap();
            assert_eq!(&chunk, raw);
        }
        assert_eq!(stored_range(&lines, lines.len()), None);
    }

    #[test]
    fn segments_do_not_open_elsewhere() {
        let vault = vault();
        let keys = vault.sealing_keys().unwrap();
        let pack = sealed(&vault, &contents());
        let preamble = &pack.bytes[..PREAMBLE_BYTES];
        let reader = PackReader::new(&keys, pack.bytes.len(), preamble).unwrap();
        let second = SEGMENT_BYTES..SEGMENT_BYTES + 1;
        let first = pack.bytes[reader.sealed_range(&(0..1)).unwrap()].to_vec();
        assert_eq!(reader.open(&second, first.clone()), Err(OpenError::Damaged));
        assert_eq!(
            reader.open(&(0..1), first[1..].to_vec()),
            Err(OpenError::Length)
        );
        assert_eq!(reader.sealed_range(&(0..reader.padded + 1)), None);
        assert_eq!(reader.sealed_range(&(5..5)), None);
        assert_eq!(
            PackReader::new(&keys, pack.bytes.len() + 1, preamble).unwrap_err(),
            OpenError::Length
        );
        assert_eq!(
            PackReader::new(&keys, pack.bytes.len(), &preamble[1..]).unwrap_err(),
            OpenError::Length
        );
    }
}
