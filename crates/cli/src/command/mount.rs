//! `carryall mount`: look into snapshots as into folders.

#[cfg(target_os = "linux")]
mod fuse;

use carryall_daemon::{engine::EngineError, exit::Exit};
use tokio::runtime::Runtime;

use super::Context;
use crate::{
    args::MountArgs,
    error::CommandError,
    signal::signalled,
    window::{Window, webdav::Door},
};

pub(crate) fn run(context: &Context, args: &MountArgs) -> Result<Exit, CommandError> {
    let client = context.client()?;
    if !client.is_running() {
        return Err(EngineError::NotRunning.into());
    }
    let window = Window::new(client, args.previews);
    match &args.at {
        Some(at) => mount(context, window, at),
        None => share(context, window),
    }
}

/// Shows the window by WebDAV until interrupted.
fn share(context: &Context, window: Window) -> Result<Exit, CommandError> {
    let runtime = Runtime::new()
        .map_err(|error| CommandError::failed("cannot start any thread").because(error))?;
    let failed = |error| CommandError::failed("cannot listen on this machine").because(error);
    let door = runtime.block_on(Door::bind()).map_err(failed)?;
    let address = door.address().to_owned();
    context
        .ui
        .json(&serde_json::json!({ "type": "webdav", "address": address }));
    context.ui.say(&address);
    context.ui.talk(
        "Your snapshots are there, for a browser or as a network folder; keep the address to \
         yourself. Ctrl-C ends it.",
    );
    let served = runtime.block_on(async {
        tokio::select! {
            served = door.run(window) => served,
            _ = signalled() => Ok(()),
        }
    });
    // What is being read may wait for friends for long.
    runtime.shutdown_background();
    served.map(|()| Exit::Done).map_err(failed)
}

#[cfg(target_os = "linux")]
use fuse::mount;

#[cfg(not(target_os = "linux"))]
fn mount(_: &Context, _: Window, _: &std::path::Path) -> Result<Exit, CommandError> {
    Err(no_fuse())
}

/// Returns what is said where nothing can be mounted.
fn no_fuse() -> CommandError {
    CommandError::failed("nothing can be mounted here: this system lacks FUSE; nothing was changed")
        .hint("carryall mount --webdav shows the same in a browser or as a network folder")
}
