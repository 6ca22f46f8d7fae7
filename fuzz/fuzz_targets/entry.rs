//! Feed entries from anybody: bounded, checked, and never believed by accident.
#![no_main]

use carryall_core::{
    circle::Circle,
    codec::{decode, encode},
    entry::{AuditList, Body, Entry, ReceiptList, SignedEntry},
    id::CircleId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(signed) = decode::<SignedEntry>("entry", data) {
        assert_eq!(encode(&signed), data);
        let mut circle = Circle::new(CircleId([0; 32]));
        let _ = circle.take(&signed);
        let _ = circle.vouch(&signed);
    }
    if let Ok(entry) = decode::<Entry>("entry", data) {
        let _ = Body::from_entry(&entry);
    }
    // What receipts and outcomes seal.
    if let Ok(list) = decode::<ReceiptList>("receipts", data) {
        assert_eq!(encode(&list), data);
    }
    if let Ok(list) = decode::<AuditList>("audits", data) {
        assert_eq!(encode(&list), data);
        let again = list.proved.iter().take(10_000).collect::<carryall_core::roll::Numbers>();
        assert!(again.iter().eq(list.proved.iter().take(10_000)));
    }
    // Every kind of body, without the luck of an envelope around it.
    for kind in 0..=18 {
        let entry = Entry {
            version: 1,
            circle: CircleId([0; 32]),
            device: carryall_core::id::DeviceId([0; 32]),
            seq: 0,
            prev: carryall_core::id::EntryHash::NONE,
            time: carryall_core::time::Timestamp(0),
            kind,
            body: data.to_vec(),
        };
        if let Ok(body) = Body::from_entry(&entry)
            && !matches!(body, Body::Unknown(_))
        {
            assert_eq!(body.to_parts(), (kind, data.to_vec()));
        }
    }
});
