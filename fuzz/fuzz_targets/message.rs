//! Control messages from an unproven peer: what decodes is what would have been written.
#![no_main]

use carryall_core::{
    codec::{decode, encode},
    message::{Message, ShardHeader},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = decode::<Message>("message", data) {
        assert_eq!(encode(&message), data);
    }
    if let Some(header) = data.first_chunk::<{ ShardHeader::BYTES }>() {
        assert_eq!(&ShardHeader::from_bytes(header).to_bytes(), header);
    }
});
