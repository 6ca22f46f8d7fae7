//! The courier: a portable disk that carries feeds and parcels between members who don't meet.
//!
//! It is a mailbox and nothing else: it never speaks. Whoever of the circle sees it reads what others
//! left there, leaves what they should get, and goes. What lies on it is signed by who wrote it, or
//! named by its hash, and sealed under a key that only the circle has: a finder sees lengths.
//!
//! This module knows what is written on such a disk, never how it gets there. Which parcels should be
//! on it is decided in [`crate::node`].

mod seal;
#[cfg(test)]
mod tests;

use alloc::{string::String, vec::Vec};

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::seal::{DiskKey, SealError};
use crate::{
    codec::{DecodeError, Signed, Statement, decode, encode},
    entry::SignedEntry,
    id::{DeviceId, EntryHash, MemberId, ShardId},
    key::{self, Root, context},
    limits,
    message::GroupProof,
    proof,
    time::Timestamp,
};

/// Version of all that is written on a courier.
pub const COURIER_VERSION: u16 = 1;
/// First bytes of a label: a disk may be known as Carryall's, not whose it is.
pub const LABEL_MAGIC: &[u8; 7] = b"CRYDISK";
/// Length of the circle's secret sealed to somebody: HPKE's encapsulated key, the secret, the tag.
const WAY_BACK_BYTES: usize = 32 + 32 + 16;
/// Longest label, in bytes: room for what newer versions may add.
pub const LABEL_BYTES_MAX: usize = 16 << 10;
/// Longest bill, in bytes.
pub const BILL_BYTES_MAX: usize = 32 << 20;
/// Most parcels of one bill: about a hundred bytes each.
pub const PARCELS_MAX: usize = 1 << 18;
/// Longest record of a log, in bytes.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// About so many bytes of entries or proofs make one record.
pub const RECORD_BYTES: usize = 1 << 20;

/// What an owner says about a courier, signed by the courier's own key: only who made the disk has
/// it, so nobody else can call the disk theirs, and remove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourierCard {
    /// The courier: the public half of its key.
    pub courier: DeviceId,
    /// Whose disk it is.
    pub member: MemberId,
    /// The owner's name for it.
    pub name: String,
    /// How much may be put on it, in bytes.
    pub bytes: u64,
    /// When it was made.
    pub issued: Timestamp,
}

impl Statement for CourierCard {
    const DOMAIN: &'static str = "carryall courier v1";
    const BYTES_MAX: usize = 512;

    fn signer(&self) -> [u8; 32] {
        self.courier.0
    }
}

/// What the label says to members of the circle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Whose disk it is.
    pub card: Signed<CourierCard>,
    /// The courier's signing key, sealed to its owner's inventory key.
    pub secret: Vec<u8>,
}

/// Why a label can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Not a label at all, or not a whole one.
    #[error("its label is damaged")]
    Damaged,
    /// A newer program made the disk.
    #[error("its format has version {0}, this program reads up to {COURIER_VERSION}")]
    TooNew(u16),
    /// Another circle's.
    #[error("it belongs to another circle")]
    ForeignCircle,
    /// Somebody else's words.
    #[error("whoever has these words did not make it")]
    ForeignWords,
}

/// A label taken apart: magic, version, salt, a check of the key, the way back, the sealed rest.
struct Parts<'a> {
    salt: &'a [u8; 32],
    check: &'a [u8; 16],
    /// The circle's secret, sealed to its owner's recovery key: the 12 words open the disk.
    way_back: &'a [u8; WAY_BACK_BYTES],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, LabelError> {
        let rest = bytes.strip_prefix(LABEL_MAGIC).ok_or(LabelError::Damaged)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(LabelError::Damaged)?;
        let version = u16::from_le_bytes(*version);
        if version > COURIER_VERSION {
            return Err(LabelError::TooNew(version));
        }
        let (salt, rest) = rest.split_first_chunk().ok_or(LabelError::Damaged)?;
        let (check, rest) = rest.split_first_chunk().ok_or(LabelError::Damaged)?;
        let (way_back, sealed) = rest.split_first_chunk().ok_or(LabelError::Damaged)?;
        Ok(Self {
            salt,
            check,
            way_back,
            sealed,
        })
    }
}

/// For whom a new courier's secrets are sealed.
#[derive(Clone, Copy, Debug)]
pub struct Readers<'a> {
    /// The circle's secret.
    pub circle_secret: &'a [u8; 32],
    /// The owner's X25519 inventory key.
    pub inventory: &'a [u8; 32],
    /// The owner's X25519 recovery key.
    pub recovery: &'a [u8; 32],
}

/// Returns for what the rest of a label is sealed: a way back that has rotted is found by whoever opens the
/// label, long before anybody needs it.
fn place_of_label(way_back: &[u8]) -> Vec<u8> {
    [b"label", way_back].concat()
}

impl Label {
    /// Makes a courier with a new key out of 32 random bytes. Returns its label and how that is written.
    pub fn create(
        member: MemberId,
        name: String,
        bytes: u64,
        issued: Timestamp,
        readers: Readers<'_>,
        seed: [u8; 32],
    ) -> Result<(Self, Vec<u8>), key::WrapError> {
        let rng = &mut ChaCha20Rng::from_seed(seed);
        let (mut secret, mut salt) = (Zeroizing::new([0; 32]), [0; 32]);
        rng.fill_bytes(&mut *secret);
        rng.fill_bytes(&mut salt);
        let signing = SigningKey::from_bytes(&secret);
        let card = CourierCard {
            courier: DeviceId(signing.verifying_key().to_bytes()),
            member,
            name,
            bytes,
            issued,
        };
        let for_owner = context::COURIER_SECRET.as_bytes();
        let for_words = context::COURIER_WAY_BACK.as_bytes();
        let label = Self {
            card: Signed::new(&card, &signing),
            secret: key::seal_to(readers.inventory, for_owner, &*secret, rng)?,
        };
        let way_back = key::seal_to(readers.recovery, for_words, readers.circle_secret, rng)?;
        let key = DiskKey::new(readers.circle_secret, &salt);
        let written = label.to_bytes(&key, &salt, &way_back);
        Ok((label, written))
    }

    /// Returns how the label is written; see [`Parts`].
    fn to_bytes(&self, key: &DiskKey, salt: &[u8; 32], way_back: &[u8]) -> Vec<u8> {
        let mut bytes = LABEL_MAGIC.to_vec();
        bytes.extend_from_slice(&COURIER_VERSION.to_le_bytes());
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(&key.check());
        bytes.extend_from_slice(way_back);
        bytes.extend_from_slice(&key.seal(&place_of_label(way_back), &encode(self)));
        bytes
    }

    /// Returns the circle's secret from a label, by the words of the disk's owner. Only they can tell
    /// that it is theirs.
    pub fn way_back(bytes: &[u8], words: &Root) -> Result<Zeroizing<[u8; 32]>, LabelError> {
        let sealed = Parts::of(bytes)?.way_back;
        let info = context::COURIER_WAY_BACK.as_bytes();
        let secret = key::open_with(words.recovery_secret(), info, sealed);
        let secret = secret.ok().and_then(|it| it.try_into().ok());
        secret.map(Zeroizing::new).ok_or(LabelError::ForeignWords)
    }

    /// Reads a label with the circle's secret. Returns the key of everything else on the disk.
    pub fn open(bytes: &[u8], circle_secret: &[u8; 32]) -> Result<(Self, DiskKey), LabelError> {
        let parts = Parts::of(bytes)?;
        let key = DiskKey::new(circle_secret, parts.salt);
        if key.check() != *parts.check {
            return Err(LabelError::ForeignCircle);
        }
        let plain = key
            .open(&place_of_label(parts.way_back), parts.sealed)
            .map_err(|SealError| LabelError::Damaged)?;
        let label = decode("courier label", &plain).map_err(|_| LabelError::Damaged)?;
        Ok((label, key))
    }
}

/// A shard that waits on a courier for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Parcel {
    /// The shard.
    pub shard: ShardId,
    /// Its length.
    pub bytes: u32,
    /// Who shall keep it.
    pub to: MemberId,
}

/// Shards that a holder is to show the next time it sees the courier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who is asked.
    pub holder: DeviceId,
    /// Random: with each shard it gives the group to be shown.
    pub seed: [u8; 32],
    /// When it was asked: so old the proof is at most.
    pub time: Timestamp,
    /// Which, at most [`limits::RECEIPT_SHARDS_MAX`].
    pub shards: Vec<ShardId>,
}

/// Bill of lading: what one device has put on a courier, and wants to see. The newest one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// The disk: a bill can't be carried over to another one.
    pub courier: DeviceId,
    /// The device that wrote it, for its member.
    pub device: DeviceId,
    /// Grows with every bill of this device on this disk.
    pub generation: u64,
    /// In the order in which they should be taken. All of them were whole when this was written.
    pub parcels: Vec<Parcel>,
    /// What holders are asked to show.
    pub asks: Vec<Ask>,
}

impl Statement for Bill {
    const DOMAIN: &'static str = "carryall bill v1";
    const BYTES_MAX: usize = BILL_BYTES_MAX;

    fn signer(&self) -> [u8; 32] {
        self.device.0
    }
}

impl Bill {
    /// Reads a bill from a courier, and checks who signed it and for which disk.
    pub fn open(signed: &Signed<Self>, courier: DeviceId) -> Result<Self, DecodeError> {
        let bill = signed.verify()?;
        let fits = bill.courier == courier && bill.parcels.len() <= PARCELS_MAX;
        fits.then_some(bill)
            .ok_or(DecodeError::Malformed("bill of a courier"))
    }
}

/// Entries of one feed, one record of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Whose feed.
    pub device: DeviceId,
    /// The number of the first.
    pub from: u64,
    /// The entries.
    pub entries: Vec<SignedEntry>,
}

/// What a holder shows, one record of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Why these groups and no others.
    pub basis: Basis,
    /// Shards of the reader, with the group that follows from the basis.
    pub proofs: Vec<(ShardId, GroupProof)>,
}

/// From what it follows which group of a shard is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Basis {
    /// From the holder's receipt for the shard, at this position of its feed: it can't know the group
    /// before it has signed.
    Receipt(u64),
    /// From the owner's [`Ask`] with this seed.
    Ask([u8; 32]),
}

/// Returns which group of a shard of `bytes` bytes is to be shown. `seed` is the hash of the receipt's
/// entry, or that of an [`Ask`].
pub fn group_to_show(seed: &[u8; 32], shard: &ShardId, bytes: u32) -> u32 {
    let mut hasher = blake3::Hasher::new_derive_key(context::RECEIPT_PROOF);
    hasher.update(seed).update(shard.as_bytes());
    let mut draw = [0; 8];
    hasher.finalize_xof().fill(&mut draw);
    let groups = u64::from(bytes).div_ceil(limits::GROUP_BYTES as u64).max(1);
    u32::try_from(u64::from_le_bytes(draw) % groups).unwrap_or(0)
}

/// Tells whether a proof shows the group of a shard that follows from `seed`.
pub fn shows(seed: &[u8; 32], shard: &ShardId, bytes: u32, shown: &GroupProof) -> bool {
    let group = group_to_show(seed, shard, bytes);
    proof::verify(shard, u64::from(bytes), group, shown).is_ok()
}

/// A receipt that was signed for parcels: what is shown with it follows from its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// Its position in our feed.
    pub seq: u64,
    /// The entry's hash.
    pub hash: EntryHash,
    /// The shards.
    pub shards: Vec<ShardId>,
}
