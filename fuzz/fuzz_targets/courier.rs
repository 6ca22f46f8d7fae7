//! What lies on a courier's disk, as any member could have sealed it, and the label, which anybody can
//! write.
#![no_main]

use carryall_core::{
    codec::{Signed, decode},
    courier::{Bill, Label, Run, Shown},
    id::DeviceId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Label::open(data, &[7; 32]);
    let _ = decode::<Label>("label", data);
    let _ = decode::<Run>("run", data);
    let _ = decode::<Shown>("shown", data);
    if let Ok(signed) = decode::<Signed<Bill>>("bill", data) {
        let _ = Bill::open(&signed, DeviceId([1; 32]));
    }
});
