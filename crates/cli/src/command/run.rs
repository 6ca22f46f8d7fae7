//! `carryall run`: the node, in the foreground.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

use carryall_core::event::Notice;
use carryall_daemon::{
    engine::{self, Engine, EngineError, OpenOptions},
    exit::Exit,
};
use tokio::{
    runtime::Runtime,
    sync::broadcast::{Receiver, error::RecvError},
};

use super::Context;
use crate::{
    args::RunArgs,
    client::{BUSY_PATIENCE, BUSY_PAUSE, Client},
    error::CommandError,
    memory,
    notice::{self, Names},
    signal::signalled,
    ui::Ui,
};

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<Exit, CommandError> {
    let runtime = Runtime::new()
        .map_err(|error| CommandError::failed("cannot start any thread").because(error))?;
    let exit = runtime.block_on(serve(context, &args.paths));
    // Blocking work that still waits for a disk is not waited for: it is safe to cut off.
    runtime.shutdown_background();
    exit
}

async fn serve(context: &Context, couriers: &[PathBuf]) -> Result<Exit, CommandError> {
    let ui = context.ui;
    let engine = open(context).await?;
    let absolute = couriers.iter().map(std::path::absolute);
    let couriers = absolute.collect::<Result<Vec<_>, _>>().map_err(|error| {
        CommandError::failed("cannot find the directory of a courier").because(error)
    })?;
    engine.look_for_couriers_at(couriers);
    let tidier = tokio::spawn(memory::tidy(engine.notices()));
    let teller = tokio::spawn(tell(ui, engine.clone(), engine.notices()));
    let asked = Arc::new(OnceLock::new());
    let stopper = tokio::spawn(stop_on_signal(engine.clone(), asked.clone()));
    let served: Result<(), EngineError> = engine
        .serve(|port| {
            ui.json(&serde_json::json!({ "type": "ready", "port": port }));
            ui.say(format!(
                "The node runs; commands reach it on port {port}. Stop it by Ctrl-C."
            ));
        })
        .await;
    teller.abort();
    tidier.abort();
    // A second signal has nothing left to hasten.
    stopper.abort();
    served?;
    ui.say("The node has stopped.");
    // Nobody asked by a signal: the API did.
    Ok(asked.get().copied().unwrap_or(Exit::Done))
}

/// Opens the vault, and waits a moment for a command that has it.
async fn open(context: &Context) -> Result<Engine, CommandError> {
    let started = Instant::now();
    loop {
        let failed = match engine::open(&context.home, OpenOptions { net: true }).await {
            Ok(engine) => return Ok(engine),
            Err(error) => CommandError::from(error),
        };
        let passing = failed.exit == Exit::Busy && Client::running(&context.home).is_none();
        if !passing || started.elapsed() > BUSY_PATIENCE {
            return Err(failed);
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Prints what happens.
async fn tell(ui: Ui, engine: Engine, mut notices: Receiver<Notice>) {
    let mut names = Names::default();
    loop {
        match notices.recv().await {
            Ok(notice) => {
                ui.json(&notice);
                if ui.json || !notice::is_news(&notice) {
                    continue;
                }
                if !names.suffice(&notice)
                    && let Ok(status) = engine.status().await
                {
                    names.learn(&status.members);
                }
                ui.say(notice::sentence(&notice, &names));
            }
            Err(RecvError::Lagged(missed)) => {
                ui.json(&serde_json::json!({ "type": "missed", "notices": missed }));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Ends the node when the terminal or the system asks for it; at once when asked twice.
async fn stop_on_signal(engine: Engine, asked: Arc<OnceLock<Exit>>) {
    let _ = asked.set(signalled().await);
    engine.stop();
    let exit = signalled().await;
    std::process::exit(i32::from(exit.code()));
}
