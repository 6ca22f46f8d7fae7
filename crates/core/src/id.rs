//! Names of things: 32-byte newtypes, so that a shard can't be taken for a pack.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer).map(Self)
            }
        }

        impl $name {
            /// Returns the id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the first ten hexadecimal digits, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..5])
            }

            /// Returns the id that 64 hexadecimal digits spell, or nothing.
            pub fn from_hex(text: &str) -> Option<Self> {
                from_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
    };
}

id_type! {
    /// A circle: the hash of its founding key and salt. The grid identifier.
    CircleId
}
id_type! {
    /// A person: the Ed25519 public key derived from their 12 words.
    MemberId
}
id_type! {
    /// A machine or portable disk: its Ed25519 public key, which is also its QUIC endpoint id.
    DeviceId
}
id_type! {
    /// An invite: the Ed25519 public key derived from its secret.
    InviteId
}
id_type! {
    /// A piece of plain content: its BLAKE3 hash keyed by the vault, so that outsiders can't confirm a file.
    ChunkId
}
id_type! {
    /// A sealed pack: the BLAKE3 hash of its ciphertext.
    PackId
}
id_type! {
    /// One erasure-coded piece of a pack: the BLAKE3 hash of its bytes.
    ShardId
}
id_type! {
    /// One entry of a feed: the BLAKE3 hash of its signed bytes.
    EntryHash
}
id_type! {
    /// A snapshot: the chunk id of its record.
    SnapshotId
}

impl EntryHash {
    /// What the first entry of a feed names as its predecessor.
    pub const NONE: Self = Self([0; 32]);
}

/// The beginning of a shard's id, by which holders name it to its owner: long enough that no two shards
/// of an owner begin alike (one chance in 10¹³ among those of 100 TiB), and short, since receipts name
/// every shard once. No byte is ever believed by it: proofs are checked against the whole id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stem(pub [u8; 12]);

impl ShardId {
    /// Returns the beginning of the id.
    pub fn stem(&self) -> Stem {
        Stem(self.0.first_chunk().copied().unwrap_or_default())
    }
}

/// Returns `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Returns the bytes that exactly 64 hexadecimal digits spell, or nothing.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// Writes raw bytes into our own formats, and hexadecimal digits into those that people read.
fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&hex(bytes))
    } else {
        bytes.serialize(serializer)
    }
}

/// Reads what [`serialize`] wrote.
fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    if deserializer.is_human_readable() {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).ok_or_else(|| D::Error::custom("an id has 64 hexadecimal digits"))
    } else {
        <[u8; 32]>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let id = PackId(core::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        assert_eq!(PackId::from_hex(&alloc::format!("{id}")), Some(id));
        assert_eq!(PackId::from_hex("zz"), None);
        assert_eq!(PackId::from_hex(&"g".repeat(64)), None);
    }
}
