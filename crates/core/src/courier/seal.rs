//! How everything small on a courier is sealed, and how its files are named.

use alloc::{string::String, vec::Vec};

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{id::hex, key::context};

/// Length of the synthetic IV.
const SIV_BYTES: usize = 32;
/// Length of the tag.
const TAG_BYTES: usize = 16;

/// Sealed under another key, for another place, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("sealed for another place, or damaged")]
pub struct SealError;

/// The key of one courier. All of the circle have it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DiskKey {
    siv: [u8; 32],
    enc: [u8; 32],
    name: [u8; 32],
    check: [u8; 32],
}

impl core::fmt::Debug for DiskKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DiskKey")
    }
}

impl DiskKey {
    /// What a sealed text is longer than the text.
    pub const OVERHEAD: usize = SIV_BYTES + TAG_BYTES;

    /// Derives the keys of the disk with this salt.
    pub fn new(circle_secret: &[u8; 32], salt: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context::COURIER);
        hasher.update(circle_secret).update(salt);
        let disk = Zeroizing::new(*hasher.finalize().as_bytes());
        let derive = |purpose: &[u8]| *blake3::keyed_hash(&disk, purpose).as_bytes();
        Self {
            siv: derive(b"siv"),
            enc: derive(b"enc"),
            name: derive(b"name"),
            check: derive(b"check"),
        }
    }

    /// Returns what tells that a key is this disk's, before anything is opened.
    pub(super) fn check(&self) -> [u8; 16] {
        let mut check = [0; 16];
        check.copy_from_slice(&self.check[..16]);
        check
    }

    /// Seals a text for one place of the disk. The same text at the same place gives the same bytes:
    /// what a pulled-out disk lost is written anew without ever using a nonce twice.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let siv = self.siv(place, plain);
        let mut sealed = Vec::with_capacity(plain.len() + Self::OVERHEAD);
        sealed.extend_from_slice(&siv);
        sealed.extend_from_slice(plain);
        let tag = self
            .cipher(&siv)
            .seal_in_place_separate_tag(nonce(), Aad::from(place), &mut sealed[SIV_BYTES..])
            .expect("what is sealed is far below the cipher's limit");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (siv, ciphertext) = sealed.split_first_chunk::<SIV_BYTES>().ok_or(SealError)?;
        let mut plain = ciphertext.to_vec();
        let length = self
            .cipher(siv)
            .open_in_place(nonce(), Aad::from(place), &mut plain)
            .map_err(|_| SealError)?
            .len();
        plain.truncate(length);
        // Hashes compare in constant time.
        let good = blake3::Hash::from(self.siv(place, &plain)) == *siv;
        good.then_some(plain).ok_or(SealError)
    }

    /// Returns the path of a file, below the directory for its kind: two digits, a slash, then a name
    /// that the oldest FAT takes. It tells nothing to who lacks the key.
    pub fn path(&self, kind: &str, id: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.name);
        hasher.update(&[u8::try_from(kind.len()).unwrap_or(u8::MAX)]);
        hasher.update(kind.as_bytes()).update(id);
        let digits = hex(&hasher.finalize().as_bytes()[..7]);
        let (fan, rest) = digits.split_at(2);
        let (stem, rest) = rest.split_at(8);
        let mut path = String::from(fan);
        path.push('/');
        path.push_str(stem);
        path.push('.');
        path.push_str(&rest[..3]);
        path
    }

    fn siv(&self, place: &[u8], plain: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.siv);
        hasher.update(&(place.len() as u64).to_le_bytes());
        hasher.update(place).update(plain);
        *hasher.finalize().as_bytes()
    }

    fn cipher(&self, siv: &[u8; 32]) -> LessSafeKey {
        let once = Zeroizing::new(*blake3::keyed_hash(&self.enc, siv).as_bytes());
        let key = UnboundKey::new(&ring::aead::CHACHA20_POLY1305, &*once)
            .expect("32 bytes are the key's length");
        LessSafeKey::new(key)
    }
}

/// The key is used once, so any nonce will do.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
