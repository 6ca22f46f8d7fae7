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

pub(crate) use self::identity::checked_name;
pub use self::{
    identity::{Identity, NameError, Names},
    words::{Root, Words, WordsError},
    wrap::{UnwrapError, WrapError, open_with, seal_to, unwrap, wrap},
};
use crate::{id::DeviceId, limits};

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
    /// An epoch's key to its number.
    pub const EPOCH: &str = "carryall 2026 epoch number v1";
    /// HPKE: the vault's keys for one reader.
    pub const WRAP: &str = "carryall 2026 wrap v1";
    /// HPKE: a holder's receipts for an owner.
    pub const RECEIPTS: &str = "carryall 2026 receipts v2";
    /// HPKE: what an owner proved about a holder, for itself.
    pub const AUDITS: &str = "carryall 2026 audits v2";
    /// HPKE: whom a device met, for its owner's other devices.
    pub const MEETINGS: &str = "carryall 2026 meetings v1";
    /// HPKE: shards that an owner releases, for their holder and for the owner's other devices.
    pub const RELEASE: &str = "carryall 2026 release v1";
    /// HPKE: shards that a friend carries, for it, for whom they are, and for the owner's devices.
    pub const PARCELS: &str = "carryall 2026 parcels v1";
    /// HPKE: what lies on a courier, for the owner of it.
    pub const ABOARD: &str = "carryall 2026 aboard v1";
    /// HPKE: snapshots that an owner forgets, for itself.
    pub const FORGET: &str = "carryall 2026 forget v1";
    /// The circle's secret and a courier's salt to all keys of that disk.
    pub const COURIER: &str = "carryall 2026 courier v1";
    /// HPKE: a courier's signing key, for its owner.
    pub const COURIER_SECRET: &str = "carryall 2026 courier secret v1";
    /// HPKE: the circle's secret on a courier, for its owner's recovery key.
    pub const COURIER_WAY_BACK: &str = "carryall 2026 courier way back v1";
    /// A receipt and a shard to the group that the holder shows with the receipt.
    pub const RECEIPT_PROOF: &str = "carryall 2026 receipt proof v1";

    /// All of them, so that a test can see that no two are equal.
    pub const ALL: [&str; 23] = [
        ROOT_SIGN,
        RECOVERY,
        RENDEZVOUS,
        PACK_SIV,
        PACK_ENC,
        HEAD_SIV,
        HEAD_ENC,
        CHUNK_ID,
        CHUNKER,
        IDENTITY,
        EPOCH,
        WRAP,
        RECEIPTS,
        AUDITS,
        MEETINGS,
        RELEASE,
        PARCELS,
        ABOARD,
        FORGET,
        COURIER,
        COURIER_SECRET,
        COURIER_WAY_BACK,
        RECEIPT_PROOF,
    ];
}

/// One epoch of a vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Epoch {
    /// By what packs and heads name it: 0 for the vault's first. The others follow from their keys,
    /// since several devices may begin one before they hear of each other.
    pub number: u16,
    /// The device that began it, and alone seals with it; nothing for the vault's first.
    #[zeroize(skip)]
    pub by: Option<DeviceId>,
    /// The secret.
    pub key: [u8; 32],
}

impl core::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Epoch({}, by {:?})", self.number, self.by)
    }
}

/// The vault's keys: random, never derived from the words, wrapped to each reader.
///
/// When a device of the owner is removed, each of the others begins an epoch of its own. So nobody has
/// to agree on anything, and no key that the removed device made or knew seals what comes later.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct VaultKeys {
    /// All that are known here, the vault's first among them.
    pub epochs: Vec<Epoch>,
    /// Number of the one that seals new packs here.
    pub sealing: u16,
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
            epochs: alloc::vec![Epoch {
                number: 0,
                by: None,
                key: part(0),
            }],
            sealing: 0,
            lifetime: part(32),
            inventory: part(64),
        }
    }

    /// Makes keys that open nothing: what a recovered device has until it finds its wraps.
    pub const fn empty() -> Self {
        Self {
            epochs: Vec::new(),
            sealing: 0,
            lifetime: [0; 32],
            inventory: [0; 32],
        }
    }

    /// Tells whether there is no key to seal with.
    pub const fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Begins an epoch of the device `by` with 32 random bytes, and seals with it from now on. Tells
    /// whether there was room for one more, see [`limits::EPOCHS_EACH_MAX`].
    pub fn rotate(&mut self, by: DeviceId, entropy: [u8; 32]) -> bool {
        let mut numbers = blake3::Hasher::new_derive_key(context::EPOCH);
        let mut numbers = numbers.update(&entropy).finalize_xof();
        let number = loop {
            let mut number = [0; 2];
            numbers.fill(&mut number);
            let number = u16::from_le_bytes(number);
            if !self.has(number) {
                break number;
            }
        };
        let room = self.add(Epoch {
            number,
            by: Some(by),
            key: entropy,
        });
        if room {
            self.sealing = number;
        }
        room
    }

    /// Takes the epochs that `author` began, out of the keys that it published. Tells whether any were
    /// new. No key is ever replaced, and no device takes the room of others.
    pub fn learn(&mut self, published: &Self, author: DeviceId) -> bool {
        let mut learned = false;
        for epoch in &published.epochs {
            if epoch.by == Some(author) && !self.has(epoch.number) {
                learned |= self.add(epoch.clone());
            }
        }
        learned
    }

    /// Returns the keys without those that other devices began, which is what `device` publishes.
    #[must_use]
    pub fn of(&self, device: DeviceId) -> Self {
        let mut keys = self.clone();
        keys.epochs
            .retain(|epoch| epoch.by.is_none_or(|by| by == device));
        if !keys.has(keys.sealing) {
            keys.sealing = 0;
        }
        keys
    }

    fn has(&self, number: u16) -> bool {
        self.epochs.iter().any(|epoch| epoch.number == number)
    }

    fn add(&mut self, epoch: Epoch) -> bool {
        let of_same = self.epochs.iter().filter(|it| it.by == epoch.by).count();
        let room = of_same < limits::EPOCHS_EACH_MAX && self.epochs.len() < limits::EPOCHS_MAX;
        if room {
            self.epochs.push(epoch);
        }
        room
    }

    /// Tells whether the keys fit together: the vault's first epoch is there and the one that seals, each
    /// number once, and not too many.
    pub(crate) fn is_sound(&self) -> bool {
        let mut numbers: Vec<u16> = self.epochs.iter().map(|epoch| epoch.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let first = |epoch: &Epoch| (epoch.number == 0) == epoch.by.is_none();
        numbers.len() == self.epochs.len()
            && self.epochs.len() <= limits::EPOCHS_MAX
            && self.epochs.iter().all(first)
            && self.has(0)
            && self.has(self.sealing)
    }

    /// Returns the number of the epoch that seals now, or nothing without any.
    pub fn epoch(&self) -> Option<u16> {
        (!self.is_empty()).then_some(self.sealing)
    }

    /// Returns the keys of packs of `epoch`, or nothing when that epoch's key is not here.
    pub fn pack_keys(&self, epoch: u16) -> Option<PackKeys> {
        Some(PackKeys(EpochKeys::derive(
            self.secret(epoch)?,
            epoch,
            context::PACK_SIV,
            context::PACK_ENC,
        )))
    }

    fn secret(&self, number: u16) -> Option<&[u8; 32]> {
        let epoch = self.epochs.iter().find(|epoch| epoch.number == number)?;
        Some(&epoch.key)
    }

    /// Returns the keys that seal packs now, or nothing without any.
    pub fn sealing_keys(&self) -> Option<PackKeys> {
        self.pack_keys(self.epoch()?)
    }

    /// Returns the keys of heads of `epoch`, or nothing when that epoch's key is not here.
    pub fn head_keys(&self, epoch: u16) -> Option<HeadKeys> {
        Some(HeadKeys(EpochKeys::derive(
            self.secret(epoch)?,
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

    const DEVICE: DeviceId = DeviceId([1; 32]);
    const OTHER: DeviceId = DeviceId([2; 32]);

    #[test]
    fn keys_of_purposes_and_epochs_differ() {
        let mut vault = VaultKeys::generate(core::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert!(vault.rotate(DEVICE, [9; 32]));
        let later = vault.epoch().unwrap();
        assert_ne!(later, 0);
        let mut seen = BTreeSet::new();
        for epoch in [0, later] {
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
        assert!(vault.pack_keys(later.wrapping_add(1)).is_none());
        assert_eq!(vault.sealing_keys().unwrap().epoch(), later);
        assert!(VaultKeys::empty().sealing_keys().is_none());
    }

    #[test]
    fn devices_that_begin_epochs_at_the_same_time_read_each_other() {
        let mut one = VaultKeys::generate([1; 96]);
        let mut two = one.clone();
        assert!(one.rotate(DEVICE, [2; 32]) && two.rotate(OTHER, [3; 32]));
        let sealing = (one.epoch(), two.epoch());
        assert_ne!(sealing.0, sealing.1);
        let (published, theirs) = (one.of(DEVICE), two.of(OTHER));
        assert!(one.learn(&theirs, OTHER) && two.learn(&published, DEVICE));
        assert!(!one.learn(&theirs, OTHER), "once");
        // Each goes on with its own, and has the other's.
        assert_eq!((one.epoch(), two.epoch()), sealing);
        for keys in [&one, &two] {
            assert!(keys.is_sound());
            assert!(keys.secret(sealing.0.unwrap()) == Some(&[2; 32]));
            assert!(keys.secret(sealing.1.unwrap()) == Some(&[3; 32]));
        }
        assert_eq!(one.of(DEVICE).epochs.len(), 2);
    }

    #[test]
    fn nobody_replaces_a_key_or_takes_the_room_of_others() {
        let mut vault = VaultKeys::generate([1; 96]);
        let mut forged = vault.clone();
        forged.epochs[0].key = [7; 32];
        forged.epochs[0].by = Some(OTHER);
        while forged.rotate(OTHER, [u8::try_from(forged.epochs.len()).unwrap(); 32]) {}
        // Not in the name of somebody else.
        assert!(!vault.learn(&forged, DEVICE));
        assert!(vault.learn(&forged, OTHER));
        assert!(vault.secret(0) == Some(&[1; 32]));
        assert!(vault.rotate(DEVICE, [3; 32]));
        assert_eq!(
            vault
                .epochs
                .iter()
                .filter(|it| it.by == Some(OTHER))
                .count(),
            limits::EPOCHS_EACH_MAX - 1
        );
    }

    #[test]
    fn epochs_are_bounded_and_their_wraps_fit_an_entry() {
        use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

        let mut vault = VaultKeys::generate([1; 96]);
        let mut draws = 0..=u8::MAX;
        while vault.rotate(DEVICE, [draws.next().unwrap(); 32]) {}
        assert_eq!(vault.epochs.len(), 1 + limits::EPOCHS_EACH_MAX);
        let reader = |at: usize| {
            let device = DeviceId([u8::try_from(at).unwrap(); 32]);
            let key = wrap::public_of(&[9; 32]);
            (crate::entry::WrapTarget::Device(device), key)
        };
        // All devices, and the recovery key.
        let readers: Vec<_> = (0..=limits::MEMBER_DEVICES_MAX).map(reader).collect();
        let wraps = wrap(&vault, &readers, &mut ChaCha20Rng::from_seed([1; 32])).unwrap();
        assert!(crate::codec::encode(&wraps).len() + 256 < limits::ENTRY_BYTES_MAX);
    }
}
