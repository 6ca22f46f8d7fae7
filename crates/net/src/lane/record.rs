//! Records: what passes on a lane, each sealed for itself.
//!
//! A sealed head of four bytes says what the record is and how long, the sealed body follows; a
//! record without a body is its head. AES-256-GCM, as on the QUIC link beside, with a counter as nonce.
//! Lengths lie in the sealed head: outsiders see a run of random bytes.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
/// Bytes of a sealed head.
pub(super) const HEAD_BYTES: usize = LENGTH_BYTES + TAG_BYTES;
/// Bytes of the longest record: few enough to lie in the cache while it is sealed and hashed.
pub(super) const RECORD_BYTES: usize = 128 << 10;
/// Bytes of the longest body.
pub(super) const BODY_BYTES_MAX: usize = RECORD_BYTES - HEAD_BYTES - TAG_BYTES;

/// What a record is. The numbers travel, so they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A shard begins; the body is its header.
    Begin = 1,
    /// Bytes of the shard that has begun.
    Data = 2,
    /// It ends, be it early.
    End = 3,
    /// A shard that came is here; the body is its number, in the order in which they began.
    Taken = 4,
    /// A shard that comes or came is not wanted; the body is its number.
    Stopped = 5,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Begin,
            2 => Self::Data,
            3 => Self::End,
            4 => Self::Taken,
            5 => Self::Stopped,
            _ => return None,
        })
    }
}

/// Returns how many bytes a record with such a body takes.
pub(super) const fn bytes(body: usize) -> usize {
    match body {
        0 => HEAD_BYTES,
        body => HEAD_BYTES + body + TAG_BYTES,
    }
}

/// Returns how long the body of a record is that has one.
pub(super) const fn body_bytes(record: &[u8]) -> usize {
    record.len().saturating_sub(HEAD_BYTES + TAG_BYTES)
}

/// Returns a record to be sealed around `body`.
pub(super) fn around(body: &[u8]) -> Vec<u8> {
    let mut record = vec![0; bytes(body.len())];
    record[HEAD_BYTES..HEAD_BYTES + body.len()].copy_from_slice(body);
    record
}

/// Returns how many bytes follow a head that announces such a body.
pub(super) const fn following(body: usize) -> usize {
    bytes(body) - HEAD_BYTES
}

/// One direction's key and the number of the next nonce. No nonce is used twice: a key lives as long
/// as its lane.
#[derive(Debug)]
struct Direction {
    key: LessSafeKey,
    next: u64,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
            next: 0,
        })
    }

    fn nonce(&mut self) -> Option<Nonce> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next.to_be_bytes());
        self.next = self.next.checked_add(1)?;
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

/// Seals what goes.
#[derive(Debug)]
pub(super) struct Sealer(Direction);

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        Direction::new(key).map(Self)
    }

    /// Seals a record in place: room for the head, the body, and room for a tag unless the body is
    /// empty. Nothing if it is longer than peers accept.
    pub(super) fn seal(&mut self, kind: Kind, record: &mut [u8]) -> Option<()> {
        let (head, rest) = record.split_at_mut_checked(HEAD_BYTES)?;
        let body = rest.len().saturating_sub(TAG_BYTES);
        if rest.len() != following(body) || body > BODY_BYTES_MAX {
            return None;
        }
        let length = u32::try_from(body).ok()? | (kind as u32) << 24;
        let (plain, tag) = head.split_at_mut(LENGTH_BYTES);
        plain.copy_from_slice(&length.to_be_bytes());
        self.seal_part(plain, tag)?;
        if body > 0 {
            let (body, tag) = rest.split_at_mut(body);
            self.seal_part(body, tag)?;
        }
        Some(())
    }

    fn seal_part(&mut self, plain: &mut [u8], tag: &mut [u8]) -> Option<()> {
        let nonce = self.0.nonce()?;
        let sealed = self
            .0
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), plain);
        tag.copy_from_slice(sealed.ok()?.as_ref());
        Some(())
    }
}

/// Opens what comes.
#[derive(Debug)]
pub(super) struct Opener(Direction);

impl Opener {
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        Direction::new(key).map(Self)
    }

    /// Opens a head: what the record is, and how long its body. Nothing if it isn't authentic.
    pub(super) fn head(&mut self, head: &mut [u8; HEAD_BYTES]) -> Option<(Kind, usize)> {
        let plain = self.body(head)?;
        let length = u32::from_be_bytes(plain.try_into().ok()?);
        let kind = Kind::from_byte(length.to_be_bytes()[0])?;
        let body = usize::try_from(length & 0x00ff_ffff).ok()?;
        (body <= BODY_BYTES_MAX).then_some((kind, body))
    }

    /// Opens a body and its tag in place. Nothing if it isn't authentic.
    pub(super) fn body<'a>(&mut self, sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let nonce = self.0.nonce()?;
        self.0.key.open_in_place(nonce, Aad::empty(), sealed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Sealer, Opener) {
        let key = [7; 32];
        (Sealer::new(&key).unwrap(), Opener::new(&key).unwrap())
    }

    fn open(opener: &mut Opener, record: &[u8]) -> Option<(Kind, Vec<u8>)> {
        let (head, rest) = record.split_at(HEAD_BYTES);
        let (kind, body) = opener.head(&mut head.try_into().unwrap())?;
        assert_eq!(rest.len(), following(body));
        if body == 0 {
            return Some((kind, Vec::new()));
        }
        opener
            .body(&mut rest.to_vec())
            .map(|body| (kind, body.to_vec()))
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let (mut sealer, mut opener) = ends();
        for (kind, length) in [
            (Kind::Begin, 40),
            (Kind::Data, 1),
            (Kind::Data, BODY_BYTES_MAX),
            (Kind::End, 0),
            (Kind::Taken, 8),
            (Kind::Stopped, 8),
        ] {
            let body = vec![length as u8; length];
            let mut record = around(&body);
            sealer.seal(kind, &mut record).unwrap();
            assert_eq!(record.len(), bytes(length));
            assert_eq!(open(&mut opener, &record), Some((kind, body)));
        }
    }

    #[test]
    fn a_record_altered_repeated_or_out_of_turn_is_none() {
        let sealed = |sealer: &mut Sealer| {
            let mut record = around(b"some bytes");
            sealer.seal(Kind::Data, &mut record).unwrap();
            record
        };
        let (mut sealer, mut opener) = ends();
        let (first, second) = (sealed(&mut sealer), sealed(&mut sealer));
        assert_ne!(first, second, "equal bytes look different each time");
        assert!(open(&mut opener, &first).is_some());
        assert_eq!(open(&mut opener, &first), None, "repeated");
        let (_, mut opener) = ends();
        assert_eq!(open(&mut opener, &second), None, "out of turn");
        for bit in 0..first.len() * 8 {
            let (_, mut opener) = ends();
            let mut altered = first.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&mut opener, &altered), None, "bit {bit}");
        }
    }

    #[test]
    fn nothing_longer_than_peers_accept_is_sealed() {
        let (mut sealer, _) = ends();
        let mut record = around(&vec![0; BODY_BYTES_MAX + 1]);
        assert_eq!(sealer.seal(Kind::Data, &mut record), None);
        assert_eq!(sealer.seal(Kind::Data, &mut [0; HEAD_BYTES + 3]), None);
        assert_eq!(sealer.seal(Kind::Data, &mut [0; 3]), None);
    }
}
