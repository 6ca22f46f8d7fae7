//! A device's identity: everything that it must keep to be itself.

use alloc::{string::String, vec::Vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use rand_core::Rng as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::{Root, VaultKeys, context, wrap};
use crate::{
    codec::{self, DecodeError, Signed},
    entry::{DeviceCertificate, DeviceClass, MemberCard},
    id::{CircleId, DeviceId, MemberId},
    limits,
    time::Timestamp,
};

/// Everything secret or personal that a device keeps to be itself. Stored in one file, mode 0600.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Format version, [`Identity::VERSION`].
    pub version: u16,
    /// The circle; nothing until the device has founded or joined one.
    pub circle: Option<CircleId>,
    /// The circle's shared secret; zero until joined.
    pub circle_secret: [u8; 32],
    /// Ed25519 secret: signs the feed, is the QUIC identity.
    pub device_secret: [u8; 32],
    /// X25519 secret: opens what is wrapped to this device.
    pub sealing_secret: [u8; 32],
    /// Seed of the beacon tokens.
    pub beacon_seed: [u8; 32],
    /// The owner's statement that this device is theirs.
    pub certificate: Signed<DeviceCertificate>,
    /// The owner's card.
    pub card: Signed<MemberCard>,
    /// The vault's keys. Empty epochs: a recovered device that hasn't found its wraps yet.
    pub vault: VaultKeys,
    /// Devices of the owner that were removed before the epoch that seals now was begun: none of them has
    /// its key.
    pub without: Vec<DeviceId>,
    /// X25519 secret of the recovery key, for [`limits::RECOVERY_KEPT`] after `recover`.
    pub recovery_secret: Option<[u8; 32]>,
}

/// What the owner calls themself and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// The owner.
    pub member: &'a str,
    /// The device.
    pub device: &'a str,
}

/// Why a name is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing to see.
    #[error("the name is empty")]
    Empty,
    /// More than [`limits::NAME_BYTES_MAX`].
    #[error("the name is longer than 64 bytes")]
    TooLong,
    /// It would garble a terminal.
    #[error("the name contains control characters")]
    Control,
}

/// Returns the name without surrounding space, if others may be shown it.
pub(crate) fn checked_name(name: &str) -> Result<String, NameError> {
    let name = name.trim();
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > limits::NAME_BYTES_MAX {
        Err(NameError::TooLong)
    } else if name.chars().any(char::is_control) {
        Err(NameError::Control)
    } else {
        Ok(name.into())
    }
}

impl Root {
    /// Signs a card that tells others how to seal to this member.
    pub fn card(
        &self,
        name: &str,
        inventory_key: [u8; 32],
        issued: Timestamp,
    ) -> Result<Signed<MemberCard>, NameError> {
        let card = MemberCard {
            member: self.member(),
            recovery_key: self.recovery_public(),
            inventory_key,
            rendezvous: *self.rendezvous(),
            name: checked_name(name)?,
            issued,
        };
        Ok(Signed::new(&card, self.signing_key()))
    }

    /// Signs the statement that `device`, with its X25519 `sealing_key`, is this member's.
    pub fn certify(
        &self,
        device: DeviceId,
        sealing_key: [u8; 32],
        class: DeviceClass,
        name: &str,
        issued: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<Signed<DeviceCertificate>, NameError> {
        let certificate = DeviceCertificate {
            member: self.member(),
            device,
            sealing_key,
            class,
            name: checked_name(name)?,
            issued,
            expires,
        };
        Ok(Signed::new(&certificate, self.signing_key()))
    }
}

impl Identity {
    /// The version written now.
    pub const VERSION: u16 = 1;
    /// Longest encoding read, in bytes.
    pub const BYTES_MAX: usize = 64 << 10;

    /// Makes a first device with a new vault, out of 32 random bytes.
    pub fn create(
        root: &Root,
        seed: [u8; 32],
        names: Names<'_>,
        class: DeviceClass,
        now: Timestamp,
    ) -> Result<Self, NameError> {
        let mut rng = seeded(&seed);
        let mut entropy = Zeroizing::new([0; 96]);
        rng.fill_bytes(&mut *entropy);
        let vault = VaultKeys::generate(*entropy);
        let card = root.card(names.member, vault.inventory_public(), now)?;
        Self::assemble(root, &mut rng, names, class, now, vault, card)
    }

    /// Makes a device for a member who lost all others, out of 32 random bytes. It keeps the
    /// recovery secret while it finds the vault's keys.
    ///
    /// Its card is dated at the beginning of time and has no inventory key, so that the card that
    /// friends know stays in force.
    pub fn recover(
        root: &Root,
        seed: [u8; 32],
        names: Names<'_>,
        class: DeviceClass,
        now: Timestamp,
    ) -> Result<Self, NameError> {
        let mut rng = seeded(&seed);
        let card = root.card(names.member, [0; 32], Timestamp(0))?;
        let vault = VaultKeys::empty();
        let mut identity = Self::assemble(root, &mut rng, names, class, now, vault, card)?;
        identity.recovery_secret = Some(*root.recovery_secret());
        Ok(identity)
    }

    fn assemble(
        root: &Root,
        rng: &mut ChaCha20Rng,
        names: Names<'_>,
        class: DeviceClass,
        now: Timestamp,
        vault: VaultKeys,
        card: Signed<MemberCard>,
    ) -> Result<Self, NameError> {
        let mut draw = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let (device_secret, sealing_secret, beacon_seed) = (draw(), draw(), draw());
        let certificate = root.certify(
            device_of(&device_secret),
            wrap::public_of(&sealing_secret),
            class,
            names.device,
            now,
            None,
        )?;
        Ok(Self {
            version: Self::VERSION,
            circle: None,
            circle_secret: [0; 32],
            device_secret,
            sealing_secret,
            beacon_seed,
            certificate,
            card,
            vault,
            without: Vec::new(),
            recovery_secret: None,
        })
    }

    /// Returns the encoding, which is secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(self))
    }

    /// Reads an identity and checks that its parts belong together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "identity";
        if bytes.len() > Self::BYTES_MAX {
            return Err(DecodeError::TooLong(WHAT));
        }
        // Newer versions may have other fields: look at the number alone first.
        let (found, _) =
            postcard::take_from_bytes::<u16>(bytes).map_err(|_| DecodeError::Malformed(WHAT))?;
        if found != Self::VERSION {
            let (what, known) = (WHAT, Self::VERSION);
            return Err(DecodeError::TooNew { what, found, known });
        }
        let identity: Self = codec::decode(WHAT, bytes)?;
        let certificate = identity.certificate.verify()?;
        let card = identity.card.verify()?;
        let consistent = certificate.device == identity.device()
            && certificate.sealing_key == wrap::public_of(&identity.sealing_secret)
            && card.member == certificate.member
            && (identity.vault.is_empty() || identity.vault.is_sound());
        consistent
            .then_some(identity)
            .ok_or(DecodeError::Malformed(WHAT))
    }

    /// Returns the device's id.
    pub fn device(&self) -> DeviceId {
        device_of(&self.device_secret)
    }

    /// Returns the member's id, as the certificate names it.
    pub fn member(&self) -> MemberId {
        self.certificate
            .verify()
            .map_or(MemberId([0; 32]), |certificate| certificate.member)
    }

    /// Returns the key that signs the feed.
    pub fn signing_key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.device_secret)
    }

    /// Returns the X25519 public key to which things are wrapped for this device.
    pub fn sealing_public(&self) -> [u8; 32] {
        wrap::public_of(&self.sealing_secret)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.circle_secret.zeroize();
        self.device_secret.zeroize();
        self.sealing_secret.zeroize();
        self.beacon_seed.zeroize();
        self.recovery_secret.zeroize();
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({:?})", self.device())
    }
}

fn device_of(secret: &[u8; 32]) -> DeviceId {
    let key = ed25519_dalek::SigningKey::from_bytes(secret);
    DeviceId(key.verifying_key().to_bytes())
}

fn seeded(seed: &[u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(blake3::derive_key(context::IDENTITY, seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Words;

    const NAMES: Names<'static> = Names {
        member: "Anna",
        device: "laptop",
    };

    fn identity() -> Identity {
        let root = Words::generate([3; 16]).root();
        Identity::create(&root, [4; 32], NAMES, DeviceClass::Laptop, Timestamp(5)).unwrap()
    }

    #[test]
    fn a_new_identity_is_whole() {
        let root = Words::generate([3; 16]).root();
        let made = identity();
        assert_eq!(made.member(), root.member());
        let card = made.card.verify().unwrap();
        assert_eq!(card.name, "Anna");
        assert_eq!(card.inventory_key, made.vault.inventory_public());
        assert_eq!(card.recovery_key, root.recovery_public());
        let read = Identity::from_bytes(&made.to_bytes()).unwrap();
        assert_eq!(read.to_bytes(), made.to_bytes());
        assert_eq!(read.certificate.verify().unwrap().device, made.device());
    }

    #[test]
    fn a_recovered_identity_does_not_replace_the_card() {
        let root = Words::generate([3; 16]).root();
        let made =
            Identity::recover(&root, [6; 32], NAMES, DeviceClass::Nas, Timestamp(9)).unwrap();
        assert!(made.vault.is_empty());
        assert_eq!(made.recovery_secret.as_ref(), Some(root.recovery_secret()));
        assert_eq!(made.card.verify().unwrap().issued, Timestamp(0));
        assert!(Identity::from_bytes(&made.to_bytes()).is_ok());
    }

    #[test]
    fn damaged_and_newer_identities_are_refused() {
        let bytes = identity().to_bytes();
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(
            Identity::from_bytes(&newer).unwrap_err(),
            DecodeError::TooNew {
                what: "identity",
                found: 2,
                known: 1
            }
        );
        for cut in 0..bytes.len() {
            assert!(Identity::from_bytes(&bytes[..cut]).is_err());
        }
        // Another device's secret under this certificate.
        let mut other = identity();
        other.device_secret = [1; 32];
        assert_eq!(
            Identity::from_bytes(&other.to_bytes()).unwrap_err(),
            DecodeError::Malformed("identity")
        );
    }

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(65);
        for (name, error) in [
            ("  ", NameError::Empty),
            (long.as_str(), NameError::TooLong),
            ("a\u{1b}[2Jb", NameError::Control),
        ] {
            assert_eq!(checked_name(name), Err(error));
        }
        assert_eq!(checked_name(" Anna "), Ok("Anna".into()));
    }
}
