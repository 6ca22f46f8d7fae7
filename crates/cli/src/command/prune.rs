//! `carryall prune`: have friends drop what no snapshot needs.

use carryall_daemon::{
    api::retention::{PruneReport, PruneRequest},
    exit::Exit,
};

use super::Context;
use crate::{args::PruneArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &PruneArgs) -> Result<Exit, CommandError> {
    let request = PruneRequest {
        dry_run: args.dry_run,
        undo: args.undo,
    };
    let client = if args.undo {
        // Folder lists that are not here any more come from them.
        context.client_among_friends()?
    } else {
        context.client()?
    };
    let report: PruneReport = client.post("/v1/prune", &request)?;
    context.ui.json(&report);
    if args.undo {
        context.ui.say(format!(
            "Friends are asked to keep what they were to drop; {} listed again.",
            ui::count(report.remembered, "snapshot is", "snapshots are")
        ));
        return Ok(Exit::Done);
    }
    if report.packs == 0 {
        context
            .ui
            .say("Every pack is needed by some snapshot; nothing to give back.");
    } else {
        let verb = if report.dry_run { "could be" } else { "are" };
        context.ui.say(format!(
            "{} of {} {verb} given up, {} at friends.",
            ui::count(report.packs, "pack", "packs"),
            ui::bytes(report.bytes),
            ui::bytes(report.bytes_at_friends)
        ));
        context.ui.say(format!(
            "Friends keep them for {} days on which they run, then erase a tenth of your bytes a \
             day; until then carryall prune --undo takes it back.",
            report.days
        ));
    }
    if report.dead_bytes > 0 {
        context.ui.say(format!(
            "{} that no snapshot needs stay in {} that are needed in part.",
            ui::bytes(report.dead_bytes),
            ui::count(report.packs_kept, "pack", "packs")
        ));
    }
    if report.dry_run {
        context.ui.say("Nothing was changed.");
    }
    Ok(Exit::Done)
}
