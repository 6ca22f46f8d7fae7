//! `carryall restore`: write files back.

use std::{os::unix::ffi::OsStrExt, path::Path, time::Duration};

use carryall_daemon::{
    api::{
        path,
        restore::{RestoreLine, RestoreRequest, RestoreSummary, StopRestores, StoppedRestores},
    },
    exit::Exit,
};

use super::{Context, ls};
use crate::{args::RestoreArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &RestoreArgs) -> Result<Exit, CommandError> {
    let to = args.to.as_deref().map(target).transpose()?;
    if args.stop {
        return stop(context, to);
    }
    let (snapshot, inside) = ls::split(&args.what);
    let to = to.unwrap_or_default();
    let request = RestoreRequest {
        snapshot,
        path: inside,
        to,
        overwrite: args.overwrite,
        patience_secs: args.patience,
    };
    let client = context.client_among_friends()?;
    let mut bar = context.ui.bar("restore");
    let mut summary = None;
    client.post_stream("/v1/restore", &request, |line: RestoreLine| {
        context.ui.json(&line);
        match line {
            RestoreLine::Progress(progress) => bar.set(progress.bytes, Some(progress.bytes_total)),
            RestoreLine::Summary(done) => summary = Some(done),
            RestoreLine::Failure(failure) => return Err(failure.into()),
        }
        Ok(())
    })?;
    bar.finish();
    let summary = summary.ok_or_else(CommandError::cut_short)?;
    tell(context, args, &summary);
    Ok(summary.exit)
}

/// Returns the absolute path text of the target.
fn target(to: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(to).map_err(|error| {
        CommandError::failed(format!("cannot restore to {}", to.display())).because(error)
    })?;
    Ok(path::to_text(absolute.as_os_str().as_bytes()))
}

/// Gives up restores that wait for friends.
fn stop(context: &Context, to: Option<String>) -> Result<Exit, CommandError> {
    let request = StopRestores { to };
    let stopped: StoppedRestores = context.client()?.post("/v1/restore/stop", &request)?;
    context.ui.json(&stopped);
    context.ui.say(match stopped.restores {
        0 => "No restore was waiting for friends.".to_owned(),
        count => format!(
            "Gave up {}; what is back stays.",
            ui::count(count, "restore", "restores")
        ),
    });
    Ok(Exit::Done)
}

fn tell(context: &Context, args: &RestoreArgs, summary: &RestoreSummary) {
    for sentence in &summary.kept {
        context.ui.talk(format!("left alone: {sentence}"));
    }
    for sentence in &summary.failed {
        context.ui.talk(format!("not restored: {sentence}"));
    }
    let time = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
    context.ui.say(format!(
        "Restored {}, {} from snapshot {} to {} in {:.1} s, {}.",
        ui::count(summary.files, "file", "files"),
        ui::bytes(summary.bytes),
        summary.snapshot.short(),
        args.to.as_deref().unwrap_or(Path::new(".")).display(),
        summary.seconds,
        ui::rate(summary.bytes, time),
    ));
    let count = |names: &[String], one, many| ui::count(names.len() as u64, one, many);
    if !summary.kept.is_empty() {
        let kept = count(
            &summary.kept,
            "file was there already",
            "files were there already",
        );
        context.ui.say(format!(
            "{kept} and left alone; --overwrite replaces such files."
        ));
    }
    if !summary.failed.is_empty() {
        let failed = count(&summary.failed, "name", "names");
        context.ui.say(format!(
            "{failed} could not be put back; the lines above say why."
        ));
    }
}
