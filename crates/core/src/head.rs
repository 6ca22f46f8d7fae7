//! Heads: the sealed pointer to the newest snapshot, which everybody keeps of everybody.
//!
//! Sealed like a small pack: a synthetic IV over the padded plaintext, a key that is used once, a key
//! commitment. The lengths come in steps of 256 bytes, so a head says little more than that there is
//! a new snapshot.

use alloc::vec::Vec;

use ring::aead::{Aad, Nonce};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    key::{HeadKeys, VaultKeys},
    record::HeadRecord,
    tree::RecordError,
};

/// Version of the sealed form.
pub const HEAD_VERSION: u16 = 1;

const PURPOSE: &[u8] = b"head";
const ASSOCIATED: &[u8; 16] = b"carryall head v1";
/// Version, epoch, synthetic IV and key commitment.
const PREAMBLE_BYTES: usize = 4 + 32 + 32;
const TAG_BYTES: usize = 16;
/// Step of the padded plain length.
const STEP_BYTES: usize = 256;

/// Why a head can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Not a sealed head at all.
    #[error("malformed head")]
    Malformed,
    /// Sealed by a newer program.
    #[error("the head has format version {0}, this program reads 1")]
    TooNew(u16),
    /// Sealed under an epoch or vault whose key is not here.
    #[error("the head is sealed under another key")]
    WrongKey,
    /// A bit is not as it was sealed.
    #[error("the head is damaged")]
    Damaged,
    /// Opened, but not a possible head.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Seals a head. The same head gives the same bytes.
pub fn seal_head(keys: &HeadKeys, head: &HeadRecord) -> Result<Vec<u8>, RecordError> {
    let encoded = Zeroizing::new(head.to_bytes()?);
    let padded = (4 + encoded.len()).next_multiple_of(STEP_BYTES);
    let mut sealed = Vec::with_capacity(PREAMBLE_BYTES + padded + TAG_BYTES);
    sealed.extend_from_slice(&HEAD_VERSION.to_le_bytes());
    sealed.extend_from_slice(&keys.0.epoch.to_le_bytes());
    sealed.resize(PREAMBLE_BYTES, 0);
    let length = u32::try_from(encoded.len()).expect("an encoded head fits a feed entry");
    sealed.extend_from_slice(&length.to_le_bytes());
    sealed.extend_from_slice(&encoded);
    sealed.resize(PREAMBLE_BYTES + padded, 0);

    let siv = siv(keys, &sealed[PREAMBLE_BYTES..]);
    let once = keys.0.once_key(PURPOSE, &siv);
    sealed[4..36].copy_from_slice(&siv);
    sealed[36..PREAMBLE_BYTES].copy_from_slice(once.commitment().as_bytes());
    let (preamble, plain) = sealed.split_at_mut(PREAMBLE_BYTES);
    let tag = once
        .cipher()
        .seal_in_place_separate_tag(nonce(), Aad::from(&associated(preamble)), plain)
        .expect("a head is far below the cipher's limit");
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens a head with the vault's key of its epoch.
pub fn open_head(vault: &VaultKeys, sealed: &[u8]) -> Result<HeadRecord, HeadError> {
    let (preamble, ciphertext) = sealed
        .split_at_checked(PREAMBLE_BYTES)
        .ok_or(HeadError::Malformed)?;
    let version = u16::from_le_bytes([preamble[0], preamble[1]]);
    if version != HEAD_VERSION {
        return Err(HeadError::TooNew(version));
    }
    let padded = ciphertext.len().checked_sub(TAG_BYTES);
    let possible = padded.is_some_and(|bytes| {
        bytes > 0 && bytes % STEP_BYTES == 0 && bytes <= HeadRecord::BYTES_MAX + STEP_BYTES
    });
    if !possible {
        return Err(HeadError::Malformed);
    }
    let epoch = u16::from_le_bytes([preamble[2], preamble[3]]);
    let keys = vault.head_keys(epoch).ok_or(HeadError::WrongKey)?;
    let (mut claimed, mut commitment) = ([0; 32], [0; 32]);
    claimed.copy_from_slice(&preamble[4..36]);
    commitment.copy_from_slice(&preamble[36..]);
    let once = keys.0.once_key(PURPOSE, &claimed);
    // Hashes compare in constant time.
    if once.commitment() != commitment {
        return Err(HeadError::WrongKey);
    }
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let plain = once
        .cipher()
        .open_in_place(nonce(), Aad::from(&associated(preamble)), &mut plain)
        .map_err(|_| HeadError::Damaged)?;
    if blake3::Hash::from(siv(&keys, plain)) != claimed {
        return Err(HeadError::Damaged);
    }
    decode(plain)
}

/// Reads the padded plain head; `plain` is never empty.
fn decode(plain: &[u8]) -> Result<HeadRecord, HeadError> {
    let (length, rest) = plain.split_at_checked(4).ok_or(HeadError::Malformed)?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    let (encoded, padding) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(HeadError::Malformed)?;
    if padding.len() >= STEP_BYTES || padding.iter().any(|&byte| byte != 0) {
        return Err(HeadError::Malformed);
    }
    Ok(HeadRecord::from_bytes(encoded)?)
}

fn siv(keys: &HeadKeys, plain: &[u8]) -> [u8; 32] {
    let mut hasher = keys.0.siv_hasher(plain.len() as u64);
    hasher.update(plain);
    *hasher.finalize().as_bytes()
}

/// The key is used once, so any nonce will do.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Returns what the ciphertext is bound to: this format and the whole preamble.
fn associated(preamble: &[u8]) -> Vec<u8> {
    [ASSOCIATED, preamble].concat()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        golden::assert_golden,
        id::{DeviceId, hex},
        tree::tests::head,
    };

    fn vault() -> VaultKeys {
        VaultKeys::generate([1; 96])
    }

    fn sealed() -> Vec<u8> {
        seal_head(&vault().head_keys(0).unwrap(), &head()).unwrap()
    }

    #[test]
    fn heads_round_trip_and_are_small() {
        let sealed = sealed();
        assert_eq!(open_head(&vault(), &sealed), Ok(head()));
        assert!(sealed.len() <= 350, "{}", sealed.len());
    }

    #[test]
    fn sealed_heads_never_change() {
        assert_golden(
            include_str!("../../../testdata/format/head.txt"),
            &[("sealed", hex(&sealed()))],
        );
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let sealed = sealed();
        for at in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let error = open_head(&vault(), &changed).unwrap_err();
            let expected = match at / 8 {
                0..2 => matches!(error, HeadError::TooNew(_)),
                2..PREAMBLE_BYTES => error == HeadError::WrongKey,
                _ => error == HeadError::Damaged,
            };
            assert!(expected, "bit {at}: {error}");
        }
        for cut in 0..sealed.len() {
            assert!(open_head(&vault(), &sealed[..cut]).is_err());
        }
    }

    #[test]
    fn another_vault_or_epoch_does_not_open() {
        let other = VaultKeys::generate([2; 96]);
        assert_eq!(open_head(&other, &sealed()), Err(HeadError::WrongKey));
        assert_eq!(
            open_head(&VaultKeys::empty(), &sealed()),
            Err(HeadError::WrongKey)
        );
        let mut rotated = vault();
        rotated.rotate(DeviceId([1; 32]), [3; 32]);
        let later = rotated.epoch().unwrap();
        let newer = seal_head(&rotated.head_keys(later).unwrap(), &head()).unwrap();
        assert_eq!(open_head(&rotated, &newer), Ok(head()));
        assert_eq!(open_head(&rotated, &sealed()), Ok(head()));
        assert_eq!(open_head(&vault(), &newer), Err(HeadError::WrongKey));
    }

    #[test]
    fn an_oversized_head_is_not_sealed() {
        let mut large = head();
        large.packs = vec![large.packs[0].clone(); 1000];
        assert!(seal_head(&vault().head_keys(0).unwrap(), &large).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            prop_assert!(open_head(&vault(), &bytes).is_err());
            let _ = decode(&bytes);
        }
    }
}
