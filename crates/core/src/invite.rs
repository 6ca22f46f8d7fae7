//! Invites: a secret that lets one person into the circle, and the link that carries it.
//!
//! A link is `http://carryall.localhost:4747/join#` and then the invite in base32 (RFC 4648, no
//! padding). The part after `#` is never sent over a network by a browser. Base32 has upper-case
//! letters and digits alone: QR codes store those in 5.5 bits a character, so the code is a sixth
//! smaller than with base64, and a link survives being typed, or shouted, in either case.

use alloc::{string::String, vec::Vec};
use core::{fmt, net::SocketAddr};

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    codec::{Signature, decode, encode},
    entry::Claim,
    id::{CircleId, DeviceId, InviteId},
    time::Timestamp,
};

/// What stands before the invite in a link.
pub const LINK_PREFIX: &str = "http://carryall.localhost:4747/join#";
/// Most devices that an invite names, the inviter's first.
pub const DOORS_MAX: usize = 4;
/// Most addresses of each.
pub const DOOR_ADDRESSES_MAX: usize = 8;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Longest link that is looked at, in bytes. A full one has less than half.
const LINK_BYTES_MAX: usize = 4096;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Why a text is no invite that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InviteError {
    /// It is something else.
    #[error("this is not an invite link")]
    NotAnInvite,
    /// It was once an invite link.
    #[error("the invite link is damaged or incomplete")]
    Damaged,
    /// A newer program made it.
    #[error("the invite link was made by a newer version of carryall")]
    TooNew,
    /// Its time is over.
    #[error("the invite has expired")]
    Expired,
}

/// The 128 random bits that an invite is worth. Whoever has them can join, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret(pub [u8; 16]);

impl InviteSecret {
    /// Returns the invite's public name.
    pub fn id(&self) -> InviteId {
        InviteId(self.key().verifying_key().to_bytes())
    }

    /// Signs a claim: the proof that its guest had the link.
    pub fn sign(&self, claim: &Claim) -> Signature {
        claim.sign(&self.key())
    }

    fn key(&self) -> SigningKey {
        let mut seed = blake3::derive_key("carryall 2026 invite key v1", &self.0);
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        key
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret")
    }
}

/// A device that can let the guest in, and where it was last.
pub type Door = (DeviceId, Vec<SocketAddr>);

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The circle.
    pub circle: CircleId,
    /// The capability.
    pub secret: InviteSecret,
    /// From then on it is refused. Whole seconds.
    pub expires: Timestamp,
    /// The inviter's device, then others that may be met first; 1 to [`DOORS_MAX`].
    pub doors: Vec<Door>,
}

/// The invite as encoded: the version is outside, so that it can be read of any version.
#[derive(Serialize, Deserialize)]
struct Wire {
    circle: CircleId,
    secret: [u8; 16],
    expires_secs: u64,
    doors: Vec<Door>,
}

impl Invite {
    /// Returns the device that made the invite.
    pub fn inviter(&self) -> Option<DeviceId> {
        self.doors.first().map(|(device, _)| *device)
    }

    /// Returns the link. Doors and addresses beyond the limits are left out.
    pub fn to_link(&self) -> String {
        let doors = (self.doors.iter().take(DOORS_MAX))
            .map(|(device, addresses)| {
                let addresses = addresses.iter().take(DOOR_ADDRESSES_MAX);
                (*device, addresses.copied().collect())
            })
            .collect();
        let mut bytes = Vec::from([VERSION]);
        bytes.extend(encode(&Wire {
            circle: self.circle,
            secret: self.secret.0,
            expires_secs: self.expires.as_secs(),
            doors,
        }));
        bytes.extend(checksum(&bytes));
        let mut link = String::from(LINK_PREFIX);
        to_base32(&bytes, &mut link);
        bytes.zeroize();
        link
    }

    /// Returns the invite that a text carries: the whole link, or what stands after its `#`, with any
    /// white space and line breaks that mail programs put in and around.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, InviteError> {
        let invite = Self::from_bytes(&payload(text)?)?;
        if now >= invite.expires {
            return Err(InviteError::Expired);
        }
        Ok(invite)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InviteError> {
        let (body, sum) =
            (bytes.split_last_chunk::<CHECKSUM_BYTES>()).ok_or(InviteError::Damaged)?;
        if checksum(body) != *sum {
            return Err(InviteError::Damaged);
        }
        let (version, wire) = body.split_first().ok_or(InviteError::Damaged)?;
        if *version != VERSION {
            return Err(InviteError::TooNew);
        }
        let wire: Wire = decode("invite", wire).map_err(|_| InviteError::Damaged)?;
        let bounded = (1..=DOORS_MAX).contains(&wire.doors.len())
            && (wire.doors.iter()).all(|(_, addresses)| addresses.len() <= DOOR_ADDRESSES_MAX);
        if !bounded {
            return Err(InviteError::Damaged);
        }
        Ok(Self {
            circle: wire.circle,
            secret: InviteSecret(wire.secret),
            expires: Timestamp(wire.expires_secs.saturating_mul(1000)),
            doors: wire.doors,
        })
    }
}

/// Returns the bytes that the text carries.
fn payload(text: &str) -> Result<Vec<u8>, InviteError> {
    if text.len() > LINK_BYTES_MAX {
        return Err(InviteError::NotAnInvite);
    }
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let compact = compact.trim_matches(|c: char| "<>()[]\"'`.,;".contains(c));
    let fragment = match compact.split_once('#') {
        Some((page, fragment)) if page.ends_with("/join") => fragment,
        Some(_) => return Err(InviteError::NotAnInvite),
        // Some programs cut a link at the `#`.
        None if compact.ends_with("/join") => return Err(InviteError::Damaged),
        None if compact.bytes().all(|c| digit(c).is_some()) && compact.len() >= 32 => compact,
        None => return Err(InviteError::NotAnInvite),
    };
    from_base32(fragment).ok_or(InviteError::Damaged)
}

/// Returns the bytes by which a mistyped or shortened link is told from a good one.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("carryall 2026 invite checksum v1");
    hasher.update(bytes);
    let mut sum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

fn to_base32(bytes: &[u8], text: &mut String) {
    for group in bytes.chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(bits);
        for index in 0..(group.len() * 8).div_ceil(5) {
            let digit = (bits >> (35 - 5 * index)) & 31;
            let digit = usize::try_from(digit).unwrap_or_default();
            text.push(char::from(ALPHABET[digit]));
        }
    }
}

/// Returns the bytes, if the text is base32 as [`to_base32`] writes it, in either case.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes() {
        bits = bits << 5 | u32::from(digit(c)?);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    // Fewer bits than a digit are left, all zero, or the text was cut or changed.
    (count < 5 && bits == 0).then_some(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a'),
        b'2'..=b'7' => Some(c - b'2' + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
