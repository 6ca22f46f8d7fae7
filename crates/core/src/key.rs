//! Keys: what follows from the 12 words, what is random, and who may open what.
//!
//! Every derived key has a context string of its own in [`context`]; no key is used for two things.
//! Nothing here draws randomness: whoever calls passes it in.

mod identity;
mod words;
mod wrap;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::{
    identity::{Identity, NameError, Names},
    words::{Root, Words, WordsError},
    wrap::{UnwrapError, WrapError, open_with, seal_to, unwrap, wrap},
};
use crate::limits;

/// The context string of every key that is derived here, as BLAKE3's `derive_key` wants them:
/// hard-coded, unique and never reused for something else.
pub mod context {
    /// Words to the member's Ed25519 signing key.
    pub const ROOT_SIGN: &str = "carryall 2026 root-sign v1";
    /// Words to the member's X25519 recovery key.
    pub const RECOVERY: &str = "carryall 2026 recovery v1";
    /// Words to the seed of the member's rendezvous beacon.
    pub const RENDEZVOUS: &str = "carryall 2026 rendezvous v1";
    /// Epoch key to the key of a pack's synthetic IV.
    pub const PACK_SIV: &str = "carryall 2026 pack-siv v1";
    /// Epoch key to the key that pack keys follow from.
    pub const PACK_ENC: &str = "carryall 2026 pack-enc v1";
    /// Epoch key to the key of a head's synthetic IV.
    pub const HEAD_SIV: &str = "carryall 2026 head-siv v1";
    /// Epoch key to the key that head keys follow from.
    pub const HEAD_ENC: &str = "carryall 2026 head-enc v1";
    /// Lifetime key to the key of chunk ids.
    pub const CHUNK_ID: &str = "carryall 2026 chunk-id v1";
    /// Lifetime key to the chunker's gear table.
    pub const CHUNKER: &str = "carryall 2026 chunker v1";
    /// A seed to a new device's secrets.
    pub const IDENTITY: &str = "carryall 2026 identity v1";
    /// HPKE: the vault's keys for one reader.
    pub const WRAP: &str = "carryall 2026 wrap v1";
    /// HPKE: a holder's receipts for an owner.
    pub const RECEIPTS: &str = "carryall 2026 receipts v1";
    /// HPKE: what an owner proved about a holder, for itself.
    pub const AUDITS: &str = "carryall 2026 audits v1";

    /// HPKE: shards that an owner releases, for their holder and for the owner's other devices.
    pub const RELEASE: &str = "carryall 2026 release v1";
    /// HPKE: snapshots that an owner forgets, for itself.
    pub const FORGET: &str = "carryall 2026 forget v1";

    /// All of them, so that a test can see that no two are equal.
    pub const ALL: [&str; 15] = [
        ROOT_SIGN, RECOVERY, RENDEZVOUS, PACK_SIV, PACK_ENC, HEAD_SIV, HEAD_ENC, CHUNK_ID, CHUNKER,
        IDENTITY, WRAP, RECEIPTS, AUDITS, RELEASE, FORGET,
    ];
}

/// The vault's keys: random, never derived from the words, wrapped to each reader.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct VaultKeys {
    /// One key per epoch; the last one seals new packs. A removed device gets no later ones.
    pub epochs: Vec<[u8; 32]>,
    /// Lasts as long as the vault: chunk ids and the chunker's table follow from it, so that a new
    /// epoch does not upload everything again.
    pub lifetime: [u8; 32],
    /// X25519 secret that opens receipts.
    pub inventory: [u8; 32],
}

impl VaultKeys {
    /// Makes the keys of a new vault from 96 random bytes.
    pub fn generate(entropy: [u8; 96]) -> Self {
        let part = |at: usize| core::array::from_fn(|i| entropy[at + i]);
        Self {
            epochs: alloc::vec![part(0)],
            lifetime: part(32),
            inventory: part(64),
        }
    }

    /// Makes keys that open nothing: what a recovered device has until it finds its wraps.
    pub const fn empty() -> Self {
        Self {
            epochs: Vec::new(),
            lifetime: [0; 32],
            inventory: [0; 32],
        }
    }

    /// Tells whether there is no key to seal with.
    pub const fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Begins a new epoch with 32 random bytes. Tells whether there was room for one more, see
    /// [`limits::EPOCHS_MAX`].
    pub fn rotate(&mut self, entropy: [u8; 32]) -> bool {
        let room = self.epochs.len() < limits::EPOCHS_MAX;
        if room {
            self.epochs.push(entropy);
        }
        room
    }

    /// Returns the number of the epoch that seals now, or nothing without any.
    pub fn epoch(&self) -> Option<u16> {
        u16::try_from(self.epochs.len().checked_sub(1)?).ok()
    }

    /// Returns the keys of packs of `epoch`, or nothing when that epoch's key is not here.
    pub fn pack_keys(&self, epoch: u16) -> Option<PackKeys> {
        Some(PackKeys(EpochKeys::derive(
            self.epochs.get(usize::from(epoch))?,
            epoch,
            context::PACK_SIV,
            context::PACK_ENC,
        )))
    }

    /// Returns the keys that seal packs now, or nothing without any.
    pub fn sealing_keys(&self) -> Option<PackKeys> {
        self.pack_keys(self.epoch()?)
    }

    /// Returns the keys of heads of `epoch`, or nothing when that epoch's key is not here.
    pub fn head_keys(&self, epoch: u16) -> Option<HeadKeys> {
        Some(HeadKeys(EpochKeys::derive(
            self.epochs.get(usize::from(epoch))?,
            epoch,
            context::HEAD_SIV,
            context::HEAD_ENC,
        )))
    }

    /// Returns the key of chunk ids.
    pub fn chunk_key(&self) -> ChunkKey {
        ChunkKey(blake3::derive_key(context::CHUNK_ID, &self.lifetime))
    }

    /// Returns the secret of the chunker's gear table.
    pub fn chunker_secret(&self) -> [u8; 32] {
        blake3::derive_key(context::CHUNKER, &self.lifetime)
    }

    /// Returns the X25519 public key to which holders seal receipts.
    pub fn inventory_public(&self) -> [u8; 32] {
        wrap::public_of(&self.inventory)
    }
}

impl core::fmt::Debug for VaultKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "VaultKeys({} epochs)", self.epochs.len())
    }
}

/// The two keys of one epoch and purpose, as SIV sealing needs them: one makes the synthetic IV,
/// the other turns it into a key that is used once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct EpochKeys {
    /// Which epoch they belong to.
    pub(crate) epoch: u16,
    siv: [u8; 32],
    enc: [u8; 32],
}

impl EpochKeys {
    fn derive(secret: &[u8; 32], epoch: u16, siv: &str, enc: &str) -> Self {
        Self {
            epoch,
            siv: blake3::derive_key(siv, secret),
            enc: blake3::derive_key(enc, secret),
        }
    }

    /// Begins the synthetic IV of a plaintext of `bytes` bytes, which the caller feeds in.
    pub(crate) fn siv_hasher(&self, bytes: u64) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.siv);
        hasher.update(&bytes.to_le_bytes());
        hasher
    }

    /// Returns the key that seals the plaintext with this synthetic IV, and nothing else.
    pub(crate) fn once_key(&self, purpose: &[u8], siv: &[u8; 32]) -> OnceKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.enc);
        hasher.update(purpose).update(siv);
        OnceKey(*hasher.finalize().as_bytes())
    }
}

/// A key for exactly one plaintext.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct OnceKey(pub(crate) [u8; 32]);

impl OnceKey {
    /// Returns what binds a ciphertext to this key: ChaCha20-Poly1305 alone does not.
    pub(crate) fn commitment(&self) -> blake3::Hash {
        blake3::keyed_hash(&self.0, b"commit")
    }

    /// Returns the key in the form that the cipher wants.
    pub(crate) fn cipher(&self) -> ring::aead::LessSafeKey {
        let key = ring::aead::UnboundKey::new(&ring::aead::CHACHA20_POLY1305, &self.0)
            .expect("32 bytes are the key's length");
        ring::aead::LessSafeKey::new(key)
    }
}

/// What seals and opens the packs of one epoch.
#[derive(Clone)]
pub struct PackKeys(pub(crate) EpochKeys);

impl PackKeys {
    /// Returns the epoch.
    pub const fn epoch(&self) -> u16 {
        self.0.epoch
    }
}

impl core::fmt::Debug for PackKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PackKeys(epoch {})", self.0.epoch)
    }
}

/// What seals and opens the heads of one epoch.
#[derive(Clone)]
pub struct HeadKeys(pub(crate) EpochKeys);

impl core::fmt::Debug for HeadKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "HeadKeys(epoch {})", self.0.epoch)
    }
}

/// What makes chunk ids. Without it nobody can tell whether a known file is in the vault.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ChunkKey(pub(crate) [u8; 32]);

impl core::fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChunkKey")
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_contexts_are_equal() {
        let unique: BTreeSet<&str> = context::ALL.into_iter().collect();
        assert_eq!(unique.len(), context::ALL.len());
        // The list is complete: every string of the module above is in it.
        let source = include_str!("key.rs");
        let declared = source.matches(concat!("pub const", " ")).count() - 1;
        let functions = source.matches(concat!("pub const", " fn")).count();
        assert_eq!(declared - functions, context::ALL.len());
    }

    #[test]
    fn keys_of_purposes_and_epochs_differ() {
        let mut vault = VaultKeys::generate(core::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert!(vault.rotate([9; 32]));
        let mut seen = BTreeSet::new();
        for epoch in 0..2 {
            let (pack, head) = (
                vault.pack_keys(epoch).unwrap(),
                vault.head_keys(epoch).unwrap(),
            );
            for key in [pack.0.siv, pack.0.enc, head.0.siv, head.0.enc] {
                assert!(seen.insert(key));
            }
        }
        assert!(seen.insert(vault.chunk_key().0));
        assert!(seen.insert(vault.chunker_secret()));
        assert!(vault.pack_keys(2).is_none());
        assert_eq!(vault.sealing_keys().unwrap().epoch(), 1);
        assert!(VaultKeys::empty().sealing_keys().is_none());
    }

    #[test]
    fn epochs_are_bounded() {
        let mut vault = VaultKeys::generate([1; 96]);
        while vault.rotate([2; 32]) {}
        assert_eq!(vault.epochs.len(), limits::EPOCHS_MAX);
    }
}
