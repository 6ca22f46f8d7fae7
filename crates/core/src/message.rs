//! The messages of an encounter, and nothing else.
//!
//! They travel length-prefixed on one stream per link. Shard bytes do not: each shard has a stream
//! of its own that opens with a [`ShardHeader`].

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{Signature, Signed},
    entry::{DeviceCertificate, MemberCard, SignedEntry, Tip},
    id::{CircleId, InviteId, MemberId, ShardId},
    policy::Terms,
    record::PackKind,
    time::Timestamp,
};

/// Version of the protocol. Another one is refused politely.
pub const PROTOCOL_VERSION: u16 = 3;

/// Everything that two devices say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// First on every link between members: who I am and what I know.
    Hello(Hello),
    /// First from a guest: please admit me, or my new device.
    Knock(Knock),
    /// The answer to a knock: you are in. A `Hello` follows.
    Welcome(Welcome),
    /// The sender will not go on, and closes.
    Farewell(Farewell),
    /// Feed entries that the receiver lacks: runs of one feed, in order.
    Entries(Vec<SignedEntry>),
    /// May I send you this shard?
    Put {
        /// The shard.
        shard: ShardId,
        /// Its length.
        bytes: u32,
        /// Its owner.
        owner: MemberId,
        /// What it belongs to, so that the holder can serve what is most urgent first.
        kind: PackKind,
    },
    /// Yes, from this offset on. A shard stream follows.
    Accept {
        /// The shard.
        shard: ShardId,
        /// Bytes of it that the holder has from an earlier, broken try.
        offset: u32,
    },
    /// No.
    Refuse {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: Refusal,
    },
    /// The shard is verified and durable here. The receipt follows as a feed entry.
    Stored {
        /// The shard.
        shard: ShardId,
    },
    /// Send me this shard from this offset on. A shard stream or `Missing` follows.
    Get {
        /// The shard.
        shard: ShardId,
        /// Where to begin.
        offset: u32,
    },
    /// I don't have that shard, or may not give it to you.
    Missing {
        /// The shard.
        shard: ShardId,
    },
    /// Show me these ranges.
    Challenge {
        /// Answers repeat it.
        nonce: u64,
        /// Shards, and which group of [`crate::limits::GROUP_BYTES`] of each.
        probes: Vec<(ShardId, u32)>,
    },
    /// One answer to a challenge.
    Proof {
        /// From the challenge.
        nonce: u64,
        /// The shard.
        shard: ShardId,
        /// The group's index.
        group: u32,
        /// The range and its path to the shard's id; nothing if the shard can't be read.
        proof: Option<GroupProof>,
    },
    /// I have nothing to do now and nothing under way. When both say so, the dialler closes.
    Idle,
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// The sender's terms changed.
    Terms(Terms),
    /// Whom the sender will probably meet within a week, in tenths of a chance, without those of whom
    /// it expects nothing.
    Expecting(Vec<(MemberId, u8)>),
    /// May I send you this shard of mine, for somebody else? An entry of mine will say for whom.
    Carry {
        /// The shard.
        shard: ShardId,
        /// Its length.
        bytes: u32,
    },
}

/// See [`Message::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The sender's circle.
    pub circle: CircleId,
    /// The sender's clock.
    pub time: Timestamp,
    /// The sender's certificate, for receivers that lack its feed.
    pub certificate: Signed<DeviceCertificate>,
    /// The entry that admitted the sender's member, for receivers that haven't heard of it.
    pub admission: Option<SignedEntry>,
    /// The sender's version vector.
    pub tips: Vec<Tip>,
    /// What the sender makes of this link.
    pub terms: Terms,
}

/// See [`Message::Knock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The circle; nothing when it is not known: by rendezvous the words are all that is left.
    pub circle: Option<CircleId>,
    /// The invite; nothing when a member who lost every device knocks by rendezvous.
    pub invite: Option<InviteId>,
    /// The guest's card.
    pub card: Signed<MemberCard>,
    /// The guest's device.
    pub certificate: Signed<DeviceCertificate>,
    /// The invite key's signature over the [`crate::entry::Claim`].
    pub claim: Option<Signature>,
}

/// See [`Message::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The circle.
    pub circle: CircleId,
    /// The circle's shared secret, from which ALPNs follow.
    pub circle_secret: [u8; 32],
    /// What the inviter calls the guest.
    pub petname: String,
}

/// Why somebody ends the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Farewell {
    /// All done.
    Done,
    /// Another protocol version.
    Version(u16),
    /// Another circle.
    ForeignCircle,
    /// Not a member, or removed.
    NotAMember,
    /// The invite is unknown here.
    InviteUnknown,
    /// The invite is too old.
    InviteExpired,
    /// The invite was claimed before.
    InviteUsed,
    /// The knock's signatures don't hold.
    InviteForged,
    /// A message broke the protocol.
    ProtocolError,
    /// The member, or the circle, has as many devices as there can be.
    TooManyDevices,
}

/// Why a shard is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It is here already; the receipt says so, or soon will.
    Have,
    /// The owner's offer is used up.
    OfferUsedUp,
    /// The disk is at its floor of free space.
    DiskFull,
    /// Too much is under way already; ask again.
    Busy,
    /// The owner is not a member.
    NotAMember,
    /// The sender does not own it, and its owner has not said that the sender brings it.
    Unaddressed,
}

/// A range of a shard with the hashes that tie it to the shard's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProof {
    /// The group's bytes.
    pub data: Vec<u8>,
    /// Sibling chaining values from the leaf to the root.
    pub path: Vec<[u8; 32]>,
}

/// The first 40 bytes of a shard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardHeader {
    /// The shard.
    pub shard: ShardId,
    /// Offset of the first byte that follows.
    pub offset: u32,
    /// Length of the whole shard.
    pub bytes: u32,
}

impl ShardHeader {
    /// Encoded length in bytes.
    pub const BYTES: usize = 40;

    /// Returns the encoding: id, then offset and length in little-endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(self.shard.as_bytes());
        bytes[32..36].copy_from_slice(&self.offset.to_le_bytes());
        bytes[36..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    /// Returns the header; any 40 bytes are one. Lengths are checked against what was agreed.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut shard = [0; 32];
        shard.copy_from_slice(&bytes[..32]);
        Self {
            shard: ShardId(shard),
            offset: word(32),
            bytes: word(36),
        }
    }
}
