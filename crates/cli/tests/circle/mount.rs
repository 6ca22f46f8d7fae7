//! A mount by the real program and the kernel's FUSE, for as long as a test needs it.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{Device, PATIENCE, Running};

/// Tells whether this machine mounts FUSE file systems for us.
pub fn can_mount() -> bool {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let helper = Command::new("fusermount3").arg("--version").output();
    let may = device.is_ok() && (rustix::process::geteuid().is_root() || helper.is_ok());
    if !may {
        eprintln!("skipped: /dev/fuse or fusermount3 is not there");
    }
    may
}

/// A mount that goes away with a test that failed.
pub struct Mount {
    at: PathBuf,
    command: Option<Running>,
}

impl Mount {
    /// Mounts the snapshots of a device whose node runs at an empty directory; nothing where this
    /// machine mounts nothing.
    pub fn new(device: &Device, at: &Path) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let mount = Self {
            at: at.to_owned(),
            command: Some(device.spawn(&["mount", at.to_str().unwrap()])),
        };
        wait("mounted", || is_mounted(at));
        Some(mount)
    }

    /// Ends the command, as Ctrl-C does.
    pub fn end(mut self) {
        self.command.take().unwrap().interrupt();
        wait("unmounted", || !is_mounted(&self.at));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if is_mounted(&self.at) {
            // Which of the two may do it depends on who made it.
            for tool in ["umount", "fusermount3"] {
                let flags = if tool == "umount" { "-l" } else { "-uz" };
                let _ = Command::new(tool).arg(flags).arg(&self.at).status();
            }
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    let outside = at.parent().unwrap().metadata().unwrap().dev();
    at.metadata().is_ok_and(|inside| inside.dev() != outside)
}

/// Waits for what happens within moments.
pub fn wait(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
