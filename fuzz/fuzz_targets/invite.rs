//! Invite links from mail programs and worse.
#![no_main]

use carryall_core::{invite::Invite, time::Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(invite) = Invite::parse(&text, Timestamp(0)) {
        assert_eq!(Invite::parse(&invite.to_link(), Timestamp(0)), Ok(invite));
    }
});
