//! `carryall mount`: look into snapshots as into folders.

#[cfg(target_os = "linux")]
use std::process;

use carryall_daemon::{engine::EngineError, exit::Exit};

use super::Context;
use crate::{args::MountArgs, error::CommandError};

#[cfg(target_os = "linux")]
pub(crate) fn run(context: &Context, args: &MountArgs) -> Result<Exit, CommandError> {
    use std::{thread, time::Duration};

    use fuser::{Config, MountOption, Session};

    use crate::window::Window;

    /// What programs do with the files at the same time.
    const THREADS: usize = 8;
    /// What is being read may be answered yet.
    const GRACE: Duration = Duration::from_millis(500);

    let client = context.client()?;
    if !client.is_running() {
        return Err(EngineError::NotRunning.into());
    }
    let failed = |what: &str, error: std::io::Error| {
        let at = args.at.display();
        CommandError::failed(format!("cannot {what} {at}")).because(error)
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("carryall".to_owned()),
    ];
    config.n_threads = Some(THREADS);
    let mut session = Session::new(Window::new(client), &args.at, &config)
        .map_err(|error| failed("mount on", error).hint("mkdir it first; it must be yours"))?;
    let mut unmounter = session.unmount_callable();
    let at = args.at.clone();
    thread::spawn(move || {
        if wait_for_signal().is_some() && unmounter.unmount().is_err() {
            // Somebody has a file open there: for them it ends with this process.
            detach(&at);
            thread::sleep(GRACE);
            process::exit(Exit::Done.code().into());
        }
    });
    context.ui.talk(format!(
        "Your snapshots are in {}; Ctrl-C or `umount` ends it.",
        args.at.display()
    ));
    session.run().map_err(|error| failed("serve", error))?;
    Ok(Exit::Done)
}

/// Waits for Ctrl-C, or for whoever ends services.
#[cfg(target_os = "linux")]
fn wait_for_signal() -> Option<()> {
    use tokio::{
        runtime::Builder,
        signal::unix::{SignalKind, signal},
    };

    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).ok()?;
        let mut terminate = signal(SignalKind::terminate()).ok()?;
        tokio::select! {
            _ = interrupt.recv() => Some(()),
            _ = terminate.recv() => Some(()),
        }
    })
}

/// Takes the mount out of sight, whoever uses it.
#[cfg(target_os = "linux")]
fn detach(at: &std::path::Path) {
    use rustix::mount::{UnmountFlags, unmount};

    if unmount(at, UnmountFlags::DETACH).is_err() {
        // Whoever is not root made it by this helper. What remains answers no more in any case.
        let _ = process::Command::new("fusermount3")
            .arg("-uz")
            .arg(at)
            .status();
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(context: &Context, _args: &MountArgs) -> Result<Exit, CommandError> {
    if !context.client()?.is_running() {
        return Err(EngineError::NotRunning.into());
    }
    Err(CommandError::failed("mounting works on Linux alone so far").hint("carryall ls"))
}
