//! The identity file, recovery words, heads and wrapped keys.
#![no_main]

use carryall_core::{
    codec::{Signed, decode},
    entry::{DeviceCertificate, MemberCard, Wraps, WrapTarget},
    key::{self, Identity, Words},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(identity) = Identity::from_bytes(data) {
        assert_eq!(identity.to_bytes().as_slice(), data);
    }
    let _ = Words::parse(&String::from_utf8_lossy(data));
    let _ = decode::<Signed<DeviceCertificate>>("certificate", data).map(|it| it.verify());
    let _ = decode::<Signed<MemberCard>>("card", data).map(|it| it.verify());
    if let Ok(wraps) = decode::<Wraps>("wraps", data) {
        assert!(key::unwrap(&wraps, &WrapTarget::Recovery, &[5; 32]).is_err());
    }
    assert!(key::open_with(&[5; 32], b"info", data).is_err());
});
