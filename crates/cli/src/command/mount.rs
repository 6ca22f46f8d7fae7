//! `carryall mount`: look into snapshots as into folders.

use carryall_daemon::{engine::EngineError, exit::Exit};

use super::Context;
use crate::{args::MountArgs, error::CommandError};

#[cfg(target_os = "linux")]
pub(crate) fn run(context: &Context, args: &MountArgs) -> Result<Exit, CommandError> {
    use std::thread;

    use fuser::{Config, MountOption, Session};
    use tokio::signal::unix::{SignalKind, signal};

    use crate::window::Window;

    let client = context.client()?;
    if !client.is_running() {
        return Err(EngineError::NotRunning.into());
    }
    let failed = |what: &str, error: std::io::Error| {
        let at = args.at.display();
        CommandError::failed(format!("cannot {what} {at}")).because(error)
    };
    // What programs do with the files at the same time.
    const THREADS: usize = 8;
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
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // If somebody has a file open, the session goes on until it is closed.
        let _ = unmounter.unmount();
    });
    context.ui.talk(format!(
        "Your snapshots are in {}; Ctrl-C or `umount` ends it.",
        args.at.display()
    ));
    session.run().map_err(|error| failed("serve", error))?;
    Ok(Exit::Done)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(context: &Context, _args: &MountArgs) -> Result<Exit, CommandError> {
    if !context.client()?.is_running() {
        return Err(EngineError::NotRunning.into());
    }
    Err(CommandError::failed("mounting works on Linux alone so far").hint("carryall ls"))
}
