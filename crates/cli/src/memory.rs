//! Keeps the process small: has the C library give large buffers back to the system.
//!
//! Packs come and go in buffers of some 17 MB. After the first of them glibc raises the length from
//! which it maps buffers on their own (mallopt(3), dynamic threshold), then keeps what is freed in
//! pieces that the next buffers don't fit: a restore took 430 MB that way, and 220 MB without. The
//! threshold can only be fixed by a variable that is there when the process starts.
//!
//! What is smaller and freed stays in holes between what is in use: after a meeting with fifty devices a
//! node kept 11 MB that way. So once all is quiet it is given back.

use std::time::Duration;

use carryall_core::event::Notice;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

/// Nothing has happened for so long: whatever was going on is over.
const QUIET: Duration = Duration::from_secs(20);

/// Gives memory back whenever something was going on and it is quiet again.
pub(crate) async fn tidy(mut notices: Receiver<Notice>) {
    while notices.recv().await != Err(RecvError::Closed) {
        while timeout(QUIET, notices.recv())
            .await
            .is_ok_and(|it| it != Err(RecvError::Closed))
        {}
        trim();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "glibc can be told in no other way")]
fn trim() {
    // SAFETY: malloc_trim(3) takes a number and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}

/// Starts this program anew with a fixed threshold, unless it has one. Where that can't be done, only
/// memory is lost.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn bound() {
    use std::{env, os::unix::process::CommandExt, process::Command};

    const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";
    const BYTES: &str = "1000000";
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut words = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    // This returns only if it failed.
    let _ = again.args(words).env(VARIABLE, BYTES).exec();
}

/// Other C libraries give large buffers back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn bound() {}
