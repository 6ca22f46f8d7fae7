//! `carryall recover`: come back on a new machine, with the words, and an invite or a friend nearby.

use std::path::Path;

use carryall_core::key::Words;
use carryall_daemon::{engine::EngineError, exit::Exit, founding};

use super::{Context, join};
use crate::{args::RecoverArgs, error::CommandError, naming::naming, prompt};

/// How often the words are asked for at a terminal.
const ATTEMPTS: u32 = 3;

pub(crate) fn run(context: &Context, args: RecoverArgs) -> Result<Exit, CommandError> {
    // Both secrets are checked before anything is made.
    let words = words(context)?;
    if let Some(place) = &args.courier {
        return by_courier(context, &words, &args, place);
    }
    let link = match args.nearby {
        true => None,
        false => Some(join::link(args.file.as_deref())?),
    };
    let member = founding::recover(&context.home, &words, &naming(args.name))?;
    context.ui.talk(format!(
        "The words are right: you are member {}.",
        member.short()
    ));
    let client = context.client()?;
    let entered = join::enter(context, &client, link).map_err(|error| {
        error.hint(
            "your words are accepted already; near a friend whose node runs type: carryall join \
             --nearby; with another invite: carryall join",
        )
    })?;
    context
        .ui
        .say(format!("Welcome back: {} let you in.", entered.by));
    context.ui.say(if entered.recovered {
        "Your keys are found. Next: carryall run (leave it running), then carryall snapshots, and \
         carryall restore --to FOLDER."
    } else {
        "Your keys are not found yet: friends who have them come later. Leave it running: carryall \
         run"
    });
    Ok(Exit::Done)
}

/// Comes back by a courier: nobody has to be near.
fn by_courier(
    context: &Context,
    words: &str,
    args: &RecoverArgs,
    place: &Path,
) -> Result<Exit, CommandError> {
    let naming = naming(args.name.clone());
    let member = founding::recover_by_courier(&context.home, words, &naming, place)?;
    context.ui.say(format!(
        "Welcome back: you are member {}, and this disk knows your circle.",
        member.short()
    ));
    context.ui.say(format!(
        "Next: carryall run --path '{}' (leave it running): your keys come from the disk, and \
         carryall retrace says whom to meet.",
        place.display()
    ));
    Ok(Exit::Done)
}

/// Asks for the words until they are right, as long as somebody is there to ask.
fn words(context: &Context) -> Result<String, CommandError> {
    let mut attempt = 1;
    loop {
        let words = prompt::secret("Your 12 recovery words")?;
        match Words::parse(&words) {
            Ok(_) => return Ok(words),
            Err(error) if attempt < ATTEMPTS && prompt::can_ask_again() => {
                context.ui.talk(format!("{error}; try again"));
                attempt += 1;
            }
            Err(error) => return Err(EngineError::Words(error).into()),
        }
    }
}
