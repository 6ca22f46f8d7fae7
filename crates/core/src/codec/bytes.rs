//! Bytes taken as they are: written like any list of bytes, and read and written in one piece. Feeds
//! hold millions of them, three times one within the other.

use alloc::vec::Vec;
use core::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, Visitor},
};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    deserializer.deserialize_bytes(Bytes)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use serde::{Deserialize, Serialize};

    use super::super::{decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole(#[serde(with = "super")] Vec<u8>);

    proptest::proptest! {
        #[test]
        fn they_are_written_like_any_list(bytes: Vec<u8>, cut in 0..9_usize) {
            let whole = Whole(bytes.clone());
            let encoded = encode(&whole);
            proptest::prop_assert_eq!(&encoded, &encode(&bytes));
            proptest::prop_assert_eq!(decode::<Whole>("bytes", &encoded), Ok(whole));
            let torn = &encoded[..encoded.len().saturating_sub(cut)];
            let (one, other) = (decode::<Whole>("bytes", torn), decode::<Vec<u8>>("bytes", torn));
            proptest::prop_assert_eq!(one.map(|it| it.0), other);
        }
    }
}
