//! `carryall check`: read our own disk again, and audit the friends in reach.

use carryall_daemon::{
    api::check::{CheckLine, CheckRequest},
    exit::Exit,
};

use super::Context;
use crate::{args::CheckArgs, error::CommandError, notice, ui};

pub(crate) fn run(context: &Context, args: &CheckArgs) -> Result<Exit, CommandError> {
    let request = CheckRequest {
        rebuild_index: args.rebuild_index,
        drill: args.drill,
    };
    let mut summary = None;
    context
        .client()?
        .post_stream("/v1/check", &request, |line: CheckLine| {
            context.ui.json(&line);
            match line {
                CheckLine::Progress { message } => context.ui.talk(message),
                CheckLine::Summary(done) => summary = Some(done),
                CheckLine::Failure(failure) => return Err(failure.into()),
            }
            Ok(())
        })?;
    let summary = summary.ok_or_else(CommandError::cut_short)?;
    if summary.index_rebuilt {
        context.ui.say("The index was made anew.");
    }
    context.ui.say(format!(
        "Kept for friends: {} whole, {} damaged or gone.",
        ui::count(summary.shelf_good, "shard", "shards"),
        summary.shelf_bad
    ));
    context.ui.say(format!(
        "Kept by friends: {} proved just now, {} not.",
        ui::count(summary.proved, "shard", "shards"),
        summary.not_proved
    ));
    if let Some(drill) = &summary.drill {
        let failed = drill.failed.len() as u64;
        context
            .ui
            .say(notice::drilled(drill.files, drill.bytes, failed));
    }
    for finding in &summary.findings {
        context.ui.say(format!("- {finding}"));
    }
    context.ui.say(&summary.headline);
    Ok(summary.exit)
}
