//! `carryall events`: follow what happens, line by line.

use carryall_core::event::Notice;
use carryall_daemon::{api::status::Friends, exit::Exit};

use super::Context;
use crate::{
    args::EventsArgs,
    error::CommandError,
    notice::{self, Names},
};

pub(crate) fn run(context: &Context, _args: &EventsArgs) -> Result<Exit, CommandError> {
    let client = context.client()?;
    if !client.is_running() {
        return Err(
            CommandError::new(Exit::Busy, "no node is running in this home").hint("carryall run"),
        );
    }
    let mut names = Names::default();
    client.get_stream("/v1/events", |notice: Notice| {
        context.ui.json(&notice);
        if !context.ui.json && !names.suffice(&notice) {
            names.learn(&client.get::<Friends>("/v1/friends")?.members);
        }
        context.ui.say(notice::sentence(&notice, &names));
        Ok(())
    })?;
    context.ui.talk("The node has stopped.");
    Ok(Exit::Done)
}
