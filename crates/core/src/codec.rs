//! Strict encoding: one way to write each value, and no second way to read it.
//!
//! Everything on disk and on the wire is postcard. A decoder here refuses trailing bytes and
//! encodings that it would not have written itself, so that a signature or hash over bytes is a
//! signature or hash over meaning.

pub(crate) mod bytes;

use alloc::vec::Vec;
use core::marker::PhantomData;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Why bytes from outside were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end early, say impossible lengths or name unknown variants.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Valid, but not the encoding we would have written, or bytes are left over.
    #[error("non-canonical {0}")]
    NonCanonical(&'static str),
    /// Longer than the limit for its kind.
    #[error("oversized {0}")]
    TooLong(&'static str),
    /// Written by a newer version of the format.
    #[error("{what} has format version {found}, this program reads up to {known}")]
    TooNew {
        /// What was read.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// The signature does not verify.
    #[error("bad signature on {0}")]
    BadSignature(&'static str),
}

/// Returns the encoding of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("encoding into memory can't fail")
}

/// Returns the value that `bytes` encode; `what` names it in errors.
pub fn decode<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let (value, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| DecodeError::Malformed(what))?;
    let written = postcard::serialize_with_flavor(&value, Awaited(bytes));
    if !rest.is_empty() || written != Ok(()) {
        return Err(DecodeError::NonCanonical(what));
    }
    Ok(value)
}

/// Takes no other bytes than those that are still to come.
struct Awaited<'a>(&'a [u8]);

impl postcard::ser_flavors::Flavor for Awaited<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(postcard::Error::SerializeBufferFull),
        }
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// Signs `bytes` under `domain`, a string that no other kind of signed bytes uses.
    pub fn sign(key: &SigningKey, domain: &str, bytes: &[u8]) -> Self {
        let whole = key.sign(&statement(domain, bytes)).to_bytes();
        let (mut head, mut tail) = ([0; 32], [0; 32]);
        head.copy_from_slice(&whole[..32]);
        tail.copy_from_slice(&whole[32..]);
        Self(head, tail)
    }

    /// Tells whether `key` (an Ed25519 public key) signed `bytes` under `domain`.
    pub fn verifies(&self, key: &[u8; 32], domain: &str, bytes: &[u8]) -> bool {
        let mut whole = [0; 64];
        whole[..32].copy_from_slice(&self.0);
        whole[32..].copy_from_slice(&self.1);
        let signature = ed25519_dalek::Signature::from_bytes(&whole);
        VerifyingKey::from_bytes(key).is_ok_and(|key| {
            key.verify_strict(&statement(domain, bytes), &signature)
                .is_ok()
        })
    }
}

/// The signed message: length-prefixed domain, then the bytes.
fn statement(domain: &str, bytes: &[u8]) -> Vec<u8> {
    let mut statement = Vec::with_capacity(1 + domain.len() + bytes.len());
    statement.push(u8::try_from(domain.len()).expect("domains are short constants"));
    statement.extend_from_slice(domain.as_bytes());
    statement.extend_from_slice(bytes);
    statement
}

/// A statement of type `T` as it was signed: the bytes are kept and passed on as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// The encoding of `T` that was signed.
    pub bytes: Vec<u8>,
    /// The signature over `T::DOMAIN` and the bytes.
    pub signature: Signature,
    #[serde(skip)]
    kind: PhantomData<T>,
}

/// What can be signed on its own.
pub trait Statement: Serialize + DeserializeOwned {
    /// The signature's domain, unique to this type.
    const DOMAIN: &'static str;
    /// Longest encoding accepted, in bytes.
    const BYTES_MAX: usize;
    /// Returns the public key that must have signed this statement.
    fn signer(&self) -> [u8; 32];
}

impl<T: Statement> Signed<T> {
    /// Signs `statement`. The key must be the statement's own signer's.
    pub fn new(statement: &T, key: &SigningKey) -> Self {
        let bytes = encode(statement);
        let signature = Signature::sign(key, T::DOMAIN, &bytes);
        Self {
            bytes,
            signature,
            kind: PhantomData,
        }
    }

    /// Returns the statement after checking length, encoding and signature.
    pub fn verify(&self) -> Result<T, DecodeError> {
        if self.bytes.len() > T::BYTES_MAX {
            return Err(DecodeError::TooLong(T::DOMAIN));
        }
        let statement: T = decode(T::DOMAIN, &self.bytes)?;
        if !self
            .signature
            .verifies(&statement.signer(), T::DOMAIN, &self.bytes)
        {
            return Err(DecodeError::BadSignature(T::DOMAIN));
        }
        Ok(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness() {
        assert_eq!(decode::<u32>("number", &encode(&300_u32)), Ok(300));
        assert_eq!(
            decode::<u32>("number", &[0x80, 0x00]),
            Err(DecodeError::NonCanonical("number"))
        );
        assert_eq!(
            decode::<u32>("number", &[1, 2]),
            Err(DecodeError::NonCanonical("number"))
        );
        assert_eq!(
            decode::<u32>("number", &[0x80]),
            Err(DecodeError::Malformed("number"))
        );
    }

    #[test]
    fn signatures_are_bound_to_their_domain() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = Signature::sign(&key, "a", b"bc");
        assert!(signature.verifies(&public, "a", b"bc"));
        assert!(!signature.verifies(&public, "ab", b"c"));
        assert!(!signature.verifies(&public, "a", b"bd"));
    }
}
