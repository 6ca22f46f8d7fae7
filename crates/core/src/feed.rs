//! The writing and the checking of feeds: one signed, hash-chained, append-only log per device.
//!
//! Nothing here judges who may say what: that is the circle's fold. A feed is well formed or not,
//! whoever its author is.

use core::fmt;

use ed25519_dalek::SigningKey;
use thiserror::Error;

use crate::{
    codec::{DecodeError, Signature, encode},
    entry::{
        Body, Certified, DeviceCertificate, ENTRY_DOMAIN, Entry, FEED_VERSION, SignedEntry, Tip,
    },
    id::{CircleId, DeviceId, EntryHash},
    limits,
    time::Timestamp,
};

/// Why an own entry could not be written. Nothing was written, the feed is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The first entry must certify the author.
    #[error("a feed begins with the author's certificate")]
    NotCertified,
    /// The entry would not fit a frame.
    #[error("an entry of {bytes} bytes is longer than {}", limits::ENTRY_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Writes this device's own feed.
#[derive(Clone)]
pub struct Author {
    key: SigningKey,
    circle: CircleId,
    tip: Tip,
}

impl Author {
    /// Starts the feed of the device with this Ed25519 secret.
    pub fn new(circle: CircleId, device_secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(device_secret);
        let device = DeviceId(key.verifying_key().to_bytes());
        let tip = Chain::new(circle, device).tip();
        Self { key, circle, tip }
    }

    /// Goes on after `len` entries, the last of which has `hash`.
    pub fn resume(circle: CircleId, device_secret: &[u8; 32], len: u64, hash: EntryHash) -> Self {
        let mut author = Self::new(circle, device_secret);
        (author.tip.len, author.tip.hash) = (len, hash);
        author
    }

    /// Returns the author's device.
    pub const fn device(&self) -> DeviceId {
        self.tip.device
    }

    /// Returns how far the feed is written.
    pub const fn tip(&self) -> Tip {
        self.tip
    }

    /// Signs the next entry. It must be durable before anybody hears of it: a device that forgets
    /// what it said contradicts itself later.
    pub fn write(&mut self, now: Timestamp, body: &Body) -> Result<SignedEntry, WriteError> {
        if self.tip.len == 0 && !matches!(body, Body::Certified(_)) {
            return Err(WriteError::NotCertified);
        }
        let (kind, body) = body.to_parts();
        let bytes = encode(&Entry {
            version: FEED_VERSION,
            circle: self.circle,
            device: self.tip.device,
            seq: self.tip.len,
            prev: self.tip.hash,
            time: now,
            kind,
            body,
        });
        if bytes.len() > limits::ENTRY_BYTES_MAX {
            return Err(WriteError::TooLong { bytes: bytes.len() });
        }
        let signature = Signature::sign(&self.key, ENTRY_DOMAIN, &bytes);
        let signed = SignedEntry { bytes, signature };
        self.tip.len += 1;
        self.tip.hash = signed.hash();
        Ok(signed)
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Author({:?}, {} entries)", self.tip.device, self.tip.len)
    }
}

/// Why an entry does not continue a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FeedError {
    /// Not an entry, of a newer version, or not signed by its author.
    #[error(transparent)]
    Entry(#[from] DecodeError),
    /// It belongs to another circle.
    #[error("entry of another circle")]
    ForeignCircle,
    /// It belongs to another feed.
    #[error("entry of another device's feed")]
    ForeignDevice,
    /// It is here already. Nothing to do.
    #[error("entry {seq} is here already")]
    Duplicate {
        /// Its position.
        seq: u64,
    },
    /// Entries before it are missing.
    #[error("entry {found} came, but the feed is known only up to {have}")]
    Gap {
        /// How many entries are here.
        have: u64,
        /// Its position.
        found: u64,
    },
    /// The author signed two different histories. This entry and the one before or beside it in our
    /// feed prove it.
    #[error("the device contradicts its own feed at entry {seq}")]
    Fork {
        /// The position of the contradiction.
        seq: u64,
    },
    /// Entry 0 does not certify its very author.
    #[error("the feed does not begin with its author's certificate")]
    NotCertified,
    /// There are [`limits::FEEDS_MAX`] feeds, or the owner has
    /// [`limits::MEMBER_DEVICES_MAX`] of them.
    #[error("too many devices")]
    TooManyDevices,
}

/// How far one feed is known: what the next entry must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    circle: CircleId,
    tip: Tip,
}

impl Chain {
    /// Returns the empty feed of a device.
    pub const fn new(circle: CircleId, device: DeviceId) -> Self {
        Self::resume(circle, device, 0, EntryHash::NONE)
    }

    /// Goes on after `len` entries, the last of which has `hash`.
    pub const fn resume(circle: CircleId, device: DeviceId, len: u64, hash: EntryHash) -> Self {
        let tip = Tip { device, len, hash };
        Self { circle, tip }
    }

    /// Returns how far the feed is known.
    pub const fn tip(&self) -> Tip {
        self.tip
    }

    /// Returns the entry if it is the next one of this feed.
    ///
    /// An entry further back than the last can't be compared without the feed itself; it counts as a
    /// duplicate, and a fork there shows at the first entry that follows it.
    pub fn check(&self, signed: &SignedEntry) -> Result<Entry, FeedError> {
        let entry = signed.verify()?;
        self.follows(&entry, signed)?;
        Ok(entry)
    }

    /// Tells why a verified entry is not the next one of this feed, if it isn't.
    pub(crate) fn follows(&self, entry: &Entry, signed: &SignedEntry) -> Result<(), FeedError> {
        let (have, seq) = (self.tip.len, entry.seq);
        if entry.circle != self.circle {
            return Err(FeedError::ForeignCircle);
        }
        if entry.device != self.tip.device {
            return Err(FeedError::ForeignDevice);
        }
        if seq > have {
            return Err(FeedError::Gap { have, found: seq });
        }
        if seq < have {
            let contradicts = seq + 1 == have && signed.hash() != self.tip.hash;
            return Err(if contradicts {
                FeedError::Fork { seq }
            } else {
                FeedError::Duplicate { seq }
            });
        }
        if entry.prev != self.tip.hash {
            // An entry 0 with a predecessor contradicts nothing; it is simply no beginning.
            return Err(match seq.checked_sub(1) {
                Some(seq) => FeedError::Fork { seq },
                None => FeedError::NotCertified,
            });
        }
        if seq == 0 {
            certified(entry)?;
        }
        Ok(())
    }

    /// Checks the entry and goes on after it.
    pub fn accept(&mut self, signed: &SignedEntry) -> Result<Entry, FeedError> {
        let entry = self.check(signed)?;
        self.tip.len += 1;
        self.tip.hash = signed.hash();
        Ok(entry)
    }
}

/// Tells whether these are entries of one feed that follow each other by their hashes: whoever signed
/// the last has signed them all.
pub(crate) fn is_chain(feed: &[SignedEntry]) -> bool {
    let mut before: Option<Tip> = None;
    feed.iter().all(|signed| {
        let Ok(Entry {
            device, seq, prev, ..
        }) = signed.read()
        else {
            return false;
        };
        let follows =
            before.is_none_or(|tip| (tip.device, tip.len, tip.hash) == (device, seq, prev));
        let (len, hash) = (seq.saturating_add(1), signed.hash());
        before = Some(Tip { device, len, hash });
        follows
    })
}

/// Returns what a certifying entry says, if its certificate is good and names the entry's author.
///
/// # Errors
/// [`FeedError::NotCertified`].
pub fn certified(entry: &Entry) -> Result<(Certified, DeviceCertificate), FeedError> {
    let Ok(Body::Certified(body)) = Body::from_entry(entry) else {
        return Err(FeedError::NotCertified);
    };
    match body.certificate.verify() {
        Ok(certificate) if certificate.device == entry.device => Ok((body, certificate)),
        _ => Err(FeedError::NotCertified),
    }
}

#[cfg(test)]
mod tests;
