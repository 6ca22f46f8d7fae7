//! The window, mounted by FUSE.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::Path,
    process, thread,
    time::Duration,
};

use carryall_daemon::exit::Exit;
use fuser::{Config, MountOption, Session};
use rustix::mount::{UnmountFlags, unmount};
use tokio::runtime::Builder;

use crate::{command::Context, error::CommandError, signal::signalled, window::Window};

/// What programs do with the files at the same time.
const THREADS: usize = 8;
/// What is being read may be answered yet.
const GRACE: Duration = Duration::from_millis(500);

/// Shows the window at a directory until interrupted or unmounted.
pub(super) fn mount(context: &Context, window: Window, at: &Path) -> Result<Exit, CommandError> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("carryall".to_owned()),
    ];
    config.n_threads = Some(THREADS);
    let session = Session::new(window, at, &config);
    let mut session = session.map_err(|error| refused(at, has_fuse(), error))?;
    let mut unmounter = session.unmount_callable();
    let place = at.to_owned();
    thread::spawn(move || {
        if wait_for_signal().is_some() && unmounter.unmount().is_err() {
            // Somebody has a file open there: for them it ends with this process.
            detach(&place);
            thread::sleep(GRACE);
            process::exit(Exit::Done.code().into());
        }
    });
    let shown = at.display();
    let sentence = format!("Your snapshots are in {shown}; Ctrl-C or `umount` ends it.");
    context.ui.talk(sentence);
    let served = session.run();
    served.map_err(|error| CommandError::failed(format!("cannot serve {shown}")).because(error))?;
    Ok(Exit::Done)
}

/// Tells whether the kernel's FUSE is there for us.
fn has_fuse() -> bool {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    device.is_ok()
}

/// Returns why nothing was mounted. Without `fusermount3` who is not root mounts nothing either.
fn refused(at: &Path, has_fuse: bool, error: io::Error) -> CommandError {
    if at.is_dir() && (!has_fuse || error.kind() == ErrorKind::NotFound) {
        return super::no_fuse().because(error);
    }
    CommandError::failed(format!("cannot mount on {}", at.display()))
        .because(error)
        .hint("mkdir it first; it must be yours")
}

fn wait_for_signal() -> Option<Exit> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(signalled()))
}

/// Takes the mount out of sight, whoever uses it.
fn detach(at: &Path) {
    if unmount(at, UnmountFlags::DETACH).is_err() {
        // Whoever is not root made it by this helper. What remains answers no more in any case.
        let _ = process::Command::new("fusermount3")
            .arg("-uz")
            .arg(at)
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_fuse_another_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |kind: ErrorKind| io::Error::from(kind);
        let says = |at: &Path, has_fuse, kind| format!("{:?}", refused(at, has_fuse, error(kind)));
        let denied = ErrorKind::PermissionDenied;
        assert!(says(dir.path(), false, denied).contains("mount --webdav"));
        // The helper is missing.
        assert!(says(dir.path(), true, ErrorKind::NotFound).contains("mount --webdav"));
        assert!(says(dir.path(), true, denied).contains("must be yours"));
        let nowhere = dir.path().join("nowhere");
        assert!(says(&nowhere, false, ErrorKind::NotFound).contains("mkdir it first"));
    }
}
