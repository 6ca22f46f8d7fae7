//! `carryall events`: follow what happens, line by line.

use carryall_core::event::Notice;
use carryall_daemon::exit::Exit;

use super::Context;
use crate::{args::EventsArgs, error::CommandError, notice};

pub(crate) fn run(context: &Context, _args: &EventsArgs) -> Result<Exit, CommandError> {
    let client = context.client()?;
    if !client.is_running() {
        return Err(
            CommandError::new(Exit::Busy, "no node is running in this home").hint("carryall run"),
        );
    }
    client.get_stream("/v1/events", |notice: Notice| {
        context.ui.json(&notice);
        context.ui.say(notice::sentence(&notice));
        Ok(())
    })?;
    context.ui.talk("The node has stopped.");
    Ok(Exit::Done)
}
