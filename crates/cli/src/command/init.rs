//! `carryall init`: make this device, and a circle of one.

use carryall_daemon::{
    exit::Exit,
    founding::{self, Founded},
};

use super::Context;
use crate::{args::InitArgs, error::CommandError, naming::naming};

pub(crate) fn run(context: &Context, args: InitArgs) -> Result<Exit, CommandError> {
    let founded = founding::found(&context.home, &naming(args.name))?;
    tell(context, &founded);
    context
        .ui
        .say("Next: carryall run (leave it running), then carryall backup FOLDER.");
    Ok(Exit::Done)
}

/// Prints the words of a new member, the only time they are ever seen.
pub(super) fn tell(context: &Context, founded: &Founded) {
    context.ui.json(&serde_json::json!({
        "type": "founded",
        "words": &*founded.words,
        "circle": founded.circle,
        "member": founded.member,
        "device": founded.device,
        "home": context.home.display().to_string(),
    }));
    let words: Vec<&str> = founded.words.split(' ').collect();
    context.ui.say("Your 12 recovery words:\n");
    for row in words.chunks(4) {
        context.ui.say(format!("    {}", row.join(" ")));
    }
    context.ui.say(
        "\nWrite them on paper and keep them away from this machine. They are shown only now, and \
         kept nowhere.\nWith them and any one friend you get everything back; without them nobody \
         can help you.",
    );
    context
        .ui
        .say("Devices reach each other directly, on the local network first; no relay is used.");
}
