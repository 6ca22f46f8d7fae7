//! Sealing to a public key, and the vault's keys sealed to each of their readers.
//!
//! HPKE base mode (RFC 9180) with X25519-HKDF-SHA256 and ChaCha20-Poly1305. A sealed message is the
//! 32-byte encapsulated key, then the ciphertext. The `info` string says what it is and for whom;
//! opened under another one, it fails.

use alloc::vec::Vec;

use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{VaultKeys, context};
use crate::{
    codec,
    entry::{WrapTarget, Wraps},
};

type Kem = X25519HkdfSha256;
type PublicKey = <Kem as hpke::Kem>::PublicKey;
type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type EncappedKey = <Kem as hpke::Kem>::EncappedKey;

/// Length of the encapsulated key in bytes.
const ENCAPPED_BYTES: usize = 32;
/// Length of the authentication tag in bytes.
const TAG_BYTES: usize = 16;

/// Why something can't be sealed to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrapError {
    /// The public key is one of the few weak points that nobody's secret gives.
    #[error("not a usable public key")]
    BadKey,
}

/// Why sealed bytes can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnwrapError {
    /// Nothing is sealed to this reader.
    #[error("nothing is sealed to this reader")]
    NotForUs,
    /// Another key, another purpose, or changed bytes.
    #[error("sealed to another key, or damaged")]
    Sealed,
    /// Opened, but not what was expected.
    #[error("opened, but malformed")]
    Malformed,
}

/// Returns the X25519 public key of a secret.
pub(crate) fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let public = Kem::sk_to_pk(&private_key(secret));
    let mut bytes = [0; 32];
    public.write_exact(&mut bytes);
    bytes
}

fn private_key(secret: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_bytes(secret).expect("any 32 bytes are an X25519 secret")
}

/// Seals `plain` to an X25519 public key.
pub fn seal_to(
    public: &[u8; 32],
    info: &[u8],
    plain: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, WrapError> {
    let public = PublicKey::from_bytes(public).map_err(|_| WrapError::BadKey)?;
    let (encapped, ciphertext) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &public,
        info,
        plain,
        &[],
        rng,
    )
    .map_err(|_| WrapError::BadKey)?;
    let mut sealed = Vec::with_capacity(ENCAPPED_BYTES + ciphertext.len());
    sealed.extend_from_slice(&encapped.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Opens what was sealed to the public key of this X25519 secret under the same `info`.
pub fn open_with(secret: &[u8; 32], info: &[u8], sealed: &[u8]) -> Result<Vec<u8>, UnwrapError> {
    if sealed.len() < ENCAPPED_BYTES + TAG_BYTES {
        return Err(UnwrapError::Sealed);
    }
    let (encapped, ciphertext) = sealed.split_at(ENCAPPED_BYTES);
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| UnwrapError::Sealed)?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &private_key(secret),
        &encapped,
        info,
        ciphertext,
        &[],
    )
    .map_err(|_| UnwrapError::Sealed)
}

/// Returns the info string of one reader's wrap: it can't be passed off as another reader's.
fn wrap_info(target: &WrapTarget) -> Vec<u8> {
    let mut info = context::WRAP.as_bytes().to_vec();
    info.extend_from_slice(&codec::encode(target));
    info
}

/// Seals the vault's keys to each reader: its name and X25519 public key.
pub fn wrap(
    keys: &VaultKeys,
    readers: &[(WrapTarget, [u8; 32])],
    rng: &mut impl CryptoRng,
) -> Result<Wraps, WrapError> {
    let plain = Zeroizing::new(codec::encode(keys));
    let mut wraps = Vec::with_capacity(readers.len());
    for (target, public) in readers {
        wraps.push((*target, seal_to(public, &wrap_info(target), &plain, rng)?));
    }
    Ok(Wraps { wraps })
}

/// Opens the wrap for `target` with its X25519 secret.
pub fn unwrap(
    wraps: &Wraps,
    target: &WrapTarget,
    secret: &[u8; 32],
) -> Result<VaultKeys, UnwrapError> {
    let (_, sealed) = wraps
        .wraps
        .iter()
        .find(|(reader, _)| reader == target)
        .ok_or(UnwrapError::NotForUs)?;
    let plain = Zeroizing::new(open_with(secret, &wrap_info(target), sealed)?);
    let keys: VaultKeys =
        codec::decode("vault keys", &plain).map_err(|_| UnwrapError::Malformed)?;
    if !keys.is_sound() {
        return Err(UnwrapError::Malformed);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::id::DeviceId;

    #[test]
    fn each_reader_opens_their_own_wrap_only() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let keys = VaultKeys::generate([5; 96]);
        let device = WrapTarget::Device(DeviceId([3; 32]));
        let (recovery_secret, device_secret) = ([7; 32], [8; 32]);
        let readers = [
            (WrapTarget::Recovery, public_of(&recovery_secret)),
            (device, public_of(&device_secret)),
        ];
        let mut wraps = wrap(&keys, &readers, &mut rng).unwrap();
        assert_eq!(
            unwrap(&wraps, &WrapTarget::Recovery, &recovery_secret),
            Ok(keys.clone())
        );
        assert_eq!(unwrap(&wraps, &device, &device_secret), Ok(keys));
        assert_eq!(
            unwrap(&wraps, &device, &recovery_secret),
            Err(UnwrapError::Sealed)
        );
        let nobody = WrapTarget::Device(DeviceId([4; 32]));
        assert_eq!(
            unwrap(&wraps, &nobody, &device_secret),
            Err(UnwrapError::NotForUs)
        );
        // A wrap under another reader's name does not open, even with the right secret.
        wraps.wraps[0].1 = wraps.wraps[1].1.clone();
        assert_eq!(
            unwrap(&wraps, &WrapTarget::Recovery, &device_secret),
            Err(UnwrapError::Sealed)
        );
    }

    #[test]
    fn keys_without_an_epoch_are_malformed() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let readers = [(WrapTarget::Recovery, public_of(&[7; 32]))];
        let wraps = wrap(&VaultKeys::empty(), &readers, &mut rng).unwrap();
        assert_eq!(
            unwrap(&wraps, &WrapTarget::Recovery, &[7; 32]),
            Err(UnwrapError::Malformed)
        );
    }

    #[test]
    fn weak_public_keys_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        assert_eq!(
            seal_to(&[0; 32], b"test", b"secret", &mut rng),
            Err(WrapError::BadKey)
        );
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let sealed = seal_to(&public_of(&[7; 32]), b"test", b"secret", &mut rng).unwrap();
        assert_eq!(open_with(&[7; 32], b"test", &sealed).unwrap(), b"secret");
        assert_eq!(
            open_with(&[7; 32], b"tent", &sealed),
            Err(UnwrapError::Sealed)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(
                open_with(&[7; 32], b"test", &changed),
                Err(UnwrapError::Sealed)
            );
        }
        for cut in 0..sealed.len() {
            assert_eq!(
                open_with(&[7; 32], b"test", &sealed[..cut]),
                Err(UnwrapError::Sealed)
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open_with(&[7; 32], b"test", &bytes), Err(UnwrapError::Sealed));
            let wraps = Wraps { wraps: vec![(WrapTarget::Recovery, bytes)] };
            prop_assert!(unwrap(&wraps, &WrapTarget::Recovery, &[7; 32]).is_err());
        }

        #[test]
        fn sealing_round_trips(
            secret: [u8; 32],
            seed: [u8; 32],
            plain in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            let mut rng = ChaCha20Rng::from_seed(seed);
            let sealed = seal_to(&public_of(&secret), b"i", &plain, &mut rng).unwrap();
            prop_assert_eq!(open_with(&secret, b"i", &sealed).unwrap(), plain);
        }
    }
}
