//! What devices write into their feeds.
//!
//! A feed is one device's signed, hash-chained, append-only log. An entry's kind is a number and its
//! body is opaque bytes to whoever does not know that kind: old programs keep, chain and pass on
//! entries of new kinds without understanding them.

use alloc::{string::String, vec::Vec};
use core::net::SocketAddr;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{DecodeError, Signature, Signed, Statement, bytes, decode, encode},
    courier::CourierCard,
    id::{CircleId, DeviceId, EntryHash, InviteId, MemberId, ShardId, SnapshotId, Stem},
    limits,
    roll::Numbers,
    time::Timestamp,
};

/// Version of the feed format.
pub const FEED_VERSION: u16 = 1;
/// Signature domain of feed entries.
pub const ENTRY_DOMAIN: &str = "carryall entry v1";

/// One entry of a feed, as signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FEED_VERSION`].
    pub version: u16,
    /// The circle this feed belongs to.
    pub circle: CircleId,
    /// The author.
    pub device: DeviceId,
    /// Position in the feed, from 0.
    pub seq: u64,
    /// Hash of the entry before it, [`EntryHash::NONE`] at 0.
    pub prev: EntryHash,
    /// The author's clock.
    pub time: Timestamp,
    /// Number of the body's kind.
    pub kind: u16,
    /// The encoded body.
    #[serde(with = "bytes")]
    pub body: Vec<u8>,
}

/// An entry as it lies on disk and travels: the signed bytes, kept as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEntry {
    /// The encoded [`Entry`].
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
    /// The author's signature under [`ENTRY_DOMAIN`].
    pub signature: Signature,
}

impl SignedEntry {
    /// Returns the hash that the next entry names as its predecessor.
    pub fn hash(&self) -> EntryHash {
        EntryHash(*blake3::hash(&self.bytes).as_bytes())
    }

    /// Returns the entry after checking length, encoding, version and signature. The chain is the
    /// reader's to check.
    pub fn verify(&self) -> Result<Entry, DecodeError> {
        let entry = self.read()?;
        self.check_signature(&entry)?;
        Ok(entry)
    }

    /// Returns what somebody says that the entry's author wrote: nothing to believe, but enough to see
    /// whether it is of interest.
    pub(crate) fn read(&self) -> Result<Entry, DecodeError> {
        if self.bytes.len() > limits::ENTRY_BYTES_MAX {
            return Err(DecodeError::TooLong("entry"));
        }
        let entry: Entry = decode("entry", &self.bytes)?;
        if entry.version != FEED_VERSION {
            let (found, known) = (entry.version, FEED_VERSION);
            return Err(DecodeError::TooNew {
                what: "entry",
                found,
                known,
            });
        }
        Ok(entry)
    }

    /// Checks that the author of `entry`, which was read from this, signed it.
    pub fn check_signature(&self, entry: &Entry) -> Result<(), DecodeError> {
        let author = entry.device.as_bytes();
        if !(self.signature).verifies(author, ENTRY_DOMAIN, &self.bytes) {
            return Err(DecodeError::BadSignature("entry"));
        }
        Ok(())
    }
}

/// How it is checked that the author of an entry, which was read from a signed one, signed it: the
/// outcome is that of [`SignedEntry::check_signature`].
pub type CheckSignature = fn(&SignedEntry, &Entry) -> Result<(), DecodeError>;

/// How many entries of a feed somebody has, and the hash of the last: one line of a version vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// The feed's author.
    pub device: DeviceId,
    /// Number of entries held.
    pub len: u64,
    /// Hash of the last one.
    pub hash: EntryHash,
}

/// The number of [`Body::Audited`].
const AUDITED: u16 = 18;

/// The kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// 1: the founding of the circle. Only in the founder's feed.
    Founded(Founding),
    /// 2: the author's certificate and beacon seed. Always entry 0 of a feed; a later one renews
    /// either.
    Certified(Certified),
    /// 3: the author's member's card, when it changes.
    Card(Signed<MemberCard>),
    /// 4: a blessing.
    Admitted(Admission),
    /// 5: a removal. Remove wins.
    Revoked(Revocation),
    /// 6: an invite is open, so that any member can complete it.
    Invited(Invitation),
    /// 7: how much the author keeps for a member.
    Offered(Offer),
    /// 8: where the author can be reached.
    Located(Addresses),
    /// 9: the vault's keys, wrapped to the recovery key and to devices of the author's member.
    Wrapped(Wraps),
    /// 10: a sealed [`crate::record::HeadRecord`].
    Head(Vec<u8>),
    /// 13: shards that the author's member no longer needs at a holder.
    Released(Release),
    /// 14: the author's member takes releases back.
    Vetoed(Veto),
    /// 15: how far the author has done what a device of another member released or vetoed.
    Obeyed(Obedience),
    /// 16: a sealed [`ForgetList`]: snapshots that the author's member forgets, or remembers again.
    Forgotten(Vec<u8>),
    /// 17: shards that the author keeps, or no longer keeps, for a member.
    Held(Receipts),
    /// 18: a sealed [`AuditList`]: what the author proved about a holder.
    Audited(Vec<u8>),
    /// 19: a portable disk of the author's member carries for the circle.
    Courier(Signed<CourierCard>),
    /// 21: a sealed [`crate::told::Told`]: whom the author met.
    Met(Vec<u8>),
    /// 22: a friend carries shards to a member.
    Entrusted(Entrustment),
    /// 23: it need not any more.
    Recalled(Recall),
    /// 24: a sealed [`AboardList`]: what the author put on a courier, read back from it, or took off.
    Aboard(Vec<u8>),
    /// 25: a courier is with the author's member, and was last seen with another one.
    Sighted(DeviceId),
    /// A kind that this program does not know. Kept and passed on.
    Unknown(u16),
}

impl Body {
    /// Returns the kind's number and the encoded body.
    pub fn to_parts(&self) -> (u16, Vec<u8>) {
        match self {
            Self::Founded(body) => (1, encode(body)),
            Self::Certified(body) => (2, encode(body)),
            Self::Card(body) => (3, encode(body)),
            Self::Admitted(body) => (4, encode(body)),
            Self::Revoked(body) => (5, encode(body)),
            Self::Invited(body) => (6, encode(body)),
            Self::Offered(body) => (7, encode(body)),
            Self::Located(body) => (8, encode(body)),
            Self::Wrapped(body) => (9, encode(body)),
            Self::Head(body) => (10, encode(body)),
            Self::Released(body) => (13, encode(body)),
            Self::Vetoed(body) => (14, encode(body)),
            Self::Obeyed(body) => (15, encode(body)),
            Self::Forgotten(body) => (16, encode(body)),
            Self::Held(body) => (17, encode(body)),
            Self::Audited(body) => (AUDITED, encode(body)),
            Self::Courier(body) => (19, encode(body)),
            Self::Met(body) => (21, encode(body)),
            Self::Entrusted(body) => (22, encode(body)),
            Self::Recalled(body) => (23, encode(body)),
            Self::Aboard(body) => (24, encode(body)),
            Self::Sighted(body) => (25, encode(body)),
            Self::Unknown(kind) => (*kind, Vec::new()),
        }
    }

    /// Returns the body of an entry.
    pub fn from_entry(entry: &Entry) -> Result<Self, DecodeError> {
        let bytes = &entry.body;
        Ok(match entry.kind {
            1 => Self::Founded(decode("founding", bytes)?),
            2 => Self::Certified(decode("device certificate", bytes)?),
            3 => Self::Card(decode("member card", bytes)?),
            4 => Self::Admitted(decode("admission", bytes)?),
            5 => Self::Revoked(decode("revocation", bytes)?),
            6 => Self::Invited(decode("invitation", bytes)?),
            7 => Self::Offered(decode("offer", bytes)?),
            8 => Self::Located(decode("addresses", bytes)?),
            9 => Self::Wrapped(decode("wrapped keys", bytes)?),
            10 => Self::Head(decode("head", bytes)?),
            13 => Self::Released(decode("release", bytes)?),
            14 => Self::Vetoed(decode("veto", bytes)?),
            15 => Self::Obeyed(decode("obedience", bytes)?),
            16 => Self::Forgotten(decode("forgotten snapshots", bytes)?),
            17 => Self::Held(decode("receipts", bytes)?),
            AUDITED => Self::Audited(decode("audits", bytes)?),
            19 => Self::Courier(decode("courier", bytes)?),
            21 => Self::Met(decode("told meetings", bytes)?),
            22 => Self::Entrusted(decode("entrustment", bytes)?),
            23 => Self::Recalled(decode("recall", bytes)?),
            24 => Self::Aboard(decode("what is aboard", bytes)?),
            25 => Self::Sighted(decode("sighting", bytes)?),
            kind => Self::Unknown(kind),
        })
    }
}

impl Entry {
    /// Tells whether this is worth an encounter by itself to everybody. Outcomes of audits are not: only
    /// devices of the author's member can read them, and they are found out anew after a loss.
    pub const fn is_news(&self) -> bool {
        self.kind != AUDITED
    }
}

/// The founding of a circle, signed by a key that is destroyed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Public half of the founding key.
    pub key: [u8; 32],
    /// Makes the circle's id unique.
    pub salt: [u8; 16],
    /// The first member.
    pub founder: MemberId,
    /// The founding key's signature over `founder`'s bytes, under [`Founding::DOMAIN`].
    pub signature: Signature,
}

impl Founding {
    /// Signature domain of a founding.
    pub const DOMAIN: &'static str = "carryall founding v1";

    /// Founds a circle. `key` is to be forgotten afterwards.
    pub fn sign(key: &SigningKey, salt: [u8; 16], founder: MemberId) -> Self {
        Self {
            key: key.verifying_key().to_bytes(),
            salt,
            founder,
            signature: Signature::sign(key, Self::DOMAIN, founder.as_bytes()),
        }
    }

    /// Tells whether this founds `circle`: the id matches and the founding key signed.
    pub fn founds(&self, circle: &CircleId) -> bool {
        self.circle() == *circle
            && self
                .signature
                .verifies(&self.key, Self::DOMAIN, self.founder.as_bytes())
    }

    /// Returns the circle's id: BLAKE3 in key-derivation mode over version, key, salt and founder.
    /// The founder is in it so that not even a kept founding key can found the circle twice.
    pub fn circle(&self) -> CircleId {
        let mut hasher = blake3::Hasher::new_derive_key("carryall 2026 circle id v1");
        hasher.update(&FEED_VERSION.to_le_bytes());
        hasher.update(&self.key);
        hasher.update(&self.salt);
        hasher.update(self.founder.as_bytes());
        CircleId(*hasher.finalize().as_bytes())
    }
}

/// What sort of machine a device is. It tells others what to expect of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceClass {
    /// A machine that comes and goes.
    Laptop,
    /// A machine that is mostly on.
    Nas,
    /// A phone.
    Phone,
    /// A portable disk; its proofs last longer and count less.
    Courier,
}

/// A member's statement that a device is theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCertificate {
    /// The owner, whose root key signs this.
    pub member: MemberId,
    /// The device's Ed25519 public key.
    pub device: DeviceId,
    /// The device's X25519 public key: keys are wrapped to it.
    pub sealing_key: [u8; 32],
    /// What sort of machine it is.
    pub class: DeviceClass,
    /// The owner's name for it.
    pub name: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends, for couriers.
    pub expires: Option<Timestamp>,
}

impl Statement for DeviceCertificate {
    const DOMAIN: &'static str = "carryall device v1";
    const BYTES_MAX: usize = 512;

    fn signer(&self) -> [u8; 32] {
        self.member.0
    }
}

/// Entry 0 of every feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The author's certificate.
    pub certificate: Signed<DeviceCertificate>,
    /// Seed of the author's beacon tokens. Only members read feeds.
    pub beacon_seed: [u8; 32],
}

/// What a member is to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCard {
    /// Whose card, and who signs it.
    pub member: MemberId,
    /// X25519 public key whose private half only the 12 words give.
    pub recovery_key: [u8; 32],
    /// X25519 public key to which holders seal their receipts.
    pub inventory_key: [u8; 32],
    /// Seed of the beacon by which friends recognise this member when all devices are lost. It
    /// follows from the words.
    pub rendezvous: [u8; 32],
    /// How the member calls themself. Untrusted text.
    pub name: String,
    /// The newest card counts.
    pub issued: Timestamp,
}

impl Statement for MemberCard {
    const DOMAIN: &'static str = "carryall member v1";
    const BYTES_MAX: usize = 512;

    fn signer(&self) -> [u8; 32] {
        self.member.0
    }
}

/// A blessing: from now on `card.member` belongs to the circle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Who is admitted.
    pub card: Signed<MemberCard>,
    /// Their first device.
    pub certificate: Signed<DeviceCertificate>,
    /// The invite that was claimed.
    pub invite: InviteId,
    /// The invite key's signature over [`Claim`], under [`Claim::DOMAIN`].
    pub claim: Signature,
}

/// What a guest signs with the invite's key. It names the guest, so the admission proves to
/// everybody that the holder of the invite asked for just this member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The circle to join.
    pub circle: CircleId,
    /// Who joins.
    pub member: MemberId,
    /// With which device.
    pub device: DeviceId,
}

impl Claim {
    /// Signature domain of claims.
    pub const DOMAIN: &'static str = "carryall claim v1";

    /// Returns the invite key's signature over this claim.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        Signature::sign(key, Self::DOMAIN, &encode(self))
    }

    /// Tells whether the holder of `invite`'s secret signed this claim.
    pub fn is_signed(&self, invite: &InviteId, signature: &Signature) -> bool {
        signature.verifies(invite.as_bytes(), Self::DOMAIN, &encode(self))
    }
}

/// Who is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A person with all devices.
    Member(MemberId),
    /// One device.
    Device(DeviceId),
}

/// A removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who is removed.
    pub subject: Subject,
    /// How many entries of each of the subject's feeds the author had seen. What the subject
    /// admitted or revoked later falls with it; a feed that is not listed had not been seen at all.
    pub seen: Vec<(DeviceId, u64)>,
}

/// An open invite. Its secret never travels in a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The public key of the invite.
    pub id: InviteId,
    /// From then on it is refused.
    pub expires: Timestamp,
    /// What the inviter calls the guest.
    pub petname: String,
}

/// Storage is a grant between two: the author keeps up to `bytes` for `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// For whom.
    pub to: MemberId,
    /// How much, in bytes of shards.
    pub bytes: u64,
}

/// Where a device can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Addresses and ports, at most [`limits::ADDRESSES_MAX`].
    pub direct: Vec<SocketAddr>,
    /// A relay's URL.
    pub relay: Option<String>,
}

/// To whom keys are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WrapTarget {
    /// The recovery key, which the 12 words give.
    Recovery,
    /// A device's sealing key.
    Device(DeviceId),
}

/// The vault's keys, once per reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wraps {
    /// Readers, and the HPKE-sealed [`crate::key::VaultKeys`] for each.
    pub wraps: Vec<(WrapTarget, Vec<u8>)>,
}

/// Shards that a holder keeps for a member, sealed so that only that member reads which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts {
    /// The owner of the shards.
    pub owner: MemberId,
    /// A [`ReceiptList`] sealed to the owner's inventory key.
    #[serde(with = "bytes")]
    pub sealed: Vec<u8>,
}

/// What a holder says about an owner's shards. Only durable shards are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptList {
    /// Newly held. Each gets the next number on the holder's [roll](crate::roll).
    pub held: Vec<Stem>,
    /// No longer held.
    pub dropped: Vec<Stem>,
}

/// What an owner proved about a holder, sealed to its own inventory key. Shards are named by their
/// numbers on the holder's roll: every shard is proved every two weeks, for as long as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// The holder.
    pub holder: DeviceId,
    /// When the proofs were checked, by the author's clock.
    pub time: Timestamp,
    /// Shards of which a random range was shown.
    pub proved: Numbers,
    /// Shards of which it could not be shown.
    pub failed: Numbers,
    /// The beginning of a hash over the names of all these shards: a holder that shows us two different
    /// feeds has not proved to one of our devices what it signed for to another.
    pub check: [u8; 8],
}

/// Shards that their owner no longer needs at one holder. They go to the holder's trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Who is to let go of them.
    pub holder: DeviceId,
    /// How many entries of the holder's feed the author had seen: what it signs for later it was given
    /// again, and keeps.
    pub seen: u64,
    /// A [`ReleaseList`] sealed to the holder's sealing key.
    pub to_holder: Vec<u8>,
    /// The same, sealed to the owner's inventory key: all its devices stop counting these shards.
    pub to_owner: Vec<u8>,
}

/// See [`Release`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseList {
    /// The shards, at most [`limits::RELEASE_SHARDS_MAX`].
    pub shards: Vec<ShardId>,
}

/// What a device of an owner takes back. Holders bring all that they have of that owner in their trash
/// back onto the shelf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// Devices of the owner, and how much of each one's feed is meant: releases before that are void.
    pub released: Vec<(DeviceId, u64)>,
}

/// What a holder has done. Written after shards have moved, so that a release is not carried out
/// again on shards that came back since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obedience {
    /// The device that released or vetoed.
    pub author: DeviceId,
    /// Everything before this position of its feed is done.
    pub upto: u64,
}

/// Snapshots that an owner no longer lists, sealed to its own inventory key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetList {
    /// Which, at most [`limits::FORGET_SNAPSHOTS_MAX`].
    pub snapshots: Vec<SnapshotId>,
    /// Whether they are forgotten from now on, or listed again.
    pub forgotten: bool,
}

/// Parcels: shards of the author's member that a friend carries to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrustment {
    /// Who carries them.
    pub carrier: DeviceId,
    /// To whom.
    pub to: MemberId,
    /// A [`ParcelList`] sealed to the carrier's sealing key.
    pub to_carrier: Vec<u8>,
    /// The same, sealed to the addressee's inventory key: it takes nothing else from the carrier.
    pub to_addressee: Vec<u8>,
    /// The same, sealed to the owner's inventory key: what is on its way, for all its devices.
    pub to_owner: Vec<u8>,
}

/// Parcels that need not be carried any more. Whoever has them drops them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Who carries them.
    pub carrier: DeviceId,
    /// To whom.
    pub to: MemberId,
    /// A [`ParcelList`] sealed to the carrier's sealing key.
    pub to_carrier: Vec<u8>,
    /// The same, sealed to the owner's inventory key.
    pub to_owner: Vec<u8>,
}

/// See [`Entrustment`] and [`Recall`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelList {
    /// The shards, at most [`limits::ENTRUSTED_SHARDS_MAX`].
    pub shards: Vec<Stem>,
}

/// What became of shards of the author's member on a courier, for one addressee, sealed to its own
/// inventory key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboardList {
    /// The disk.
    pub courier: DeviceId,
    /// To whom the shards are addressed.
    pub to: MemberId,
    /// By the author's clock.
    pub time: Timestamp,
    /// Shards that lie there from now on.
    pub put: Vec<Stem>,
    /// Shards that were read back whole.
    pub read: Vec<Stem>,
    /// Shards that no longer lie there.
    pub gone: Vec<Stem>,
}
