//! `carryall join`: enter a friend's circle by their invite.

use std::path::Path;

use carryall_core::{invite::Invite, time::Timestamp};
use carryall_daemon::{
    api::invite::{JoinLine, JoinRequest},
    exit::Exit,
    founding,
};

use super::{Context, init};
use crate::{args::JoinArgs, client::Client, error::CommandError, naming::naming, prompt, ui};

/// How the circle was entered.
pub(super) struct Entered {
    /// Who let us in.
    pub(super) by: String,
    /// Whether the keys of a recovered member were found.
    pub(super) recovered: bool,
}

pub(crate) fn run(context: &Context, args: JoinArgs) -> Result<Exit, CommandError> {
    // The link first: nothing is made for a bad one.
    let link = match args.nearby {
        true => None,
        false => Some(link(args.file.as_deref())?),
    };
    let client = match context.client() {
        Err(error) if error.exit == Exit::NoVault && args.nearby => {
            return Err(error.hint("friends know you by your words: carryall recover --nearby"));
        }
        Err(error) if error.exit == Exit::NoVault => {
            init::tell(
                context,
                &founding::found(&context.home, &naming(args.name))?,
            );
            context.client()?
        }
        client => client?,
    };
    let entered = enter(context, &client, link)?;
    context
        .ui
        .say(format!("You are in: {} let you in.", entered.by));
    if !client.is_running() {
        context
            .ui
            .say("Next: carryall run (leave it running), then carryall backup FOLDER.");
    }
    Ok(Exit::Done)
}

/// Asks for the link, or reads it from a file. Refuses what can't be an invite, or is too old, before
/// anything is changed.
pub(super) fn link(file: Option<&Path>) -> Result<String, CommandError> {
    let link = prompt::secret_or_file("Invite link", file)?;
    match Invite::parse(&link, Timestamp(ui::now_ms())) {
        Ok(_) => Ok(link),
        Err(error) => Err(
            CommandError::failed(format!("{error}; nothing was changed"))
                .hint("ask your friend for a new one: carryall invite"),
        ),
    }
}

/// Goes in by an invite, or without one by being known to friends nearby.
pub(super) fn enter(
    context: &Context,
    client: &Client,
    link: Option<String>,
) -> Result<Entered, CommandError> {
    let mut entered = None;
    let request = JoinRequest {
        link,
        timeout_secs: None,
    };
    client.post_stream("/v1/join", &request, |line: JoinLine| {
        context.ui.json(&line);
        match line {
            JoinLine::Progress { message } => context.ui.talk(message),
            JoinLine::Summary { by, recovered, .. } => entered = Some(Entered { by, recovered }),
            JoinLine::Failure(failure) => return Err(failure.into()),
        }
        Ok(())
    })?;
    entered.ok_or_else(CommandError::cut_short)
}
