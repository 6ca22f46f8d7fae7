//! `carryall join`: enter a friend's circle by their invite.

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
    let link = prompt::secret_or_file("Invite link", args.file.as_deref())?;
    check(&link)?;
    let client = match context.client() {
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

/// Refuses what can't be an invite, or is too old, before anything is changed.
pub(super) fn check(link: &str) -> Result<(), CommandError> {
    Invite::parse(link, Timestamp(ui::now_ms()))
        .map(|_| ())
        .map_err(|error| {
            CommandError::failed(format!("{error}; nothing was changed"))
                .hint("ask your friend for a new one: carryall invite")
        })
}

/// Goes in by an invite.
pub(super) fn enter(
    context: &Context,
    client: &Client,
    link: String,
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
