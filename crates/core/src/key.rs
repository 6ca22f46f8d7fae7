//! Keys: what follows from the 12 words, what is random, and who may open what.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    codec::Signed,
    entry::{DeviceCertificate, MemberCard},
    id::{CircleId, DeviceId, MemberId},
};

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

impl core::fmt::Debug for VaultKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "VaultKeys({} epochs)", self.epochs.len())
    }
}

/// Everything secret or personal that a device keeps to be itself. Stored in one file, mode 0600.
#[derive(Clone, Serialize, Deserialize)]
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
    /// X25519 secret of the recovery key, only between `recover` and the opening of the wraps.
    pub recovery_secret: Option<[u8; 32]>,
}

impl Identity {
    /// The version written now.
    pub const VERSION: u16 = 1;

    /// Returns the device's id.
    pub fn device(&self) -> DeviceId {
        let key = ed25519_dalek::SigningKey::from_bytes(&self.device_secret);
        DeviceId(key.verifying_key().to_bytes())
    }

    /// Returns the member's id, as the certificate names it.
    pub fn member(&self) -> MemberId {
        self.certificate
            .verify()
            .map_or(MemberId([0; 32]), |certificate| certificate.member)
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({:?})", self.device())
    }
}
