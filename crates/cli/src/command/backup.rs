//! `carryall backup`: make a snapshot now.

use std::{fs, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use carryall_daemon::{
    api::{
        backup::{BackupLine, BackupRequest, BackupSummary},
        path,
    },
    exit::Exit,
};

use super::Context;
use crate::{args::BackupArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &BackupArgs) -> Result<Exit, CommandError> {
    let paths = args
        .paths
        .iter()
        .map(|path| absolute(path))
        .collect::<Result<_, _>>()?;
    let client = context.client()?;
    let mut bar = context.ui.bar("backup");
    let mut summary = None;
    client.post_stream(
        "/v1/backup",
        &BackupRequest { paths },
        |line: BackupLine| {
            context.ui.json(&line);
            match line {
                BackupLine::Progress(progress) => {
                    bar.set(
                        progress.bytes,
                        progress.scanned.then_some(progress.bytes_total),
                    );
                }
                BackupLine::Summary(done) => summary = Some(done),
                BackupLine::Failure(failure) => return Err(failure.into()),
            }
            Ok(())
        },
    )?;
    bar.finish();
    let summary = summary.ok_or_else(CommandError::cut_short)?;
    tell(context, &summary);
    Ok(summary.exit)
}

fn tell(context: &Context, summary: &BackupSummary) {
    for sentence in &summary.skipped {
        context.ui.talk(sentence);
    }
    for sentence in &summary.unread {
        context.ui.talk(format!("not saved: {sentence}"));
    }
    let time = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
    context.ui.say(format!(
        "Snapshot {}: {}, {} ({} new) in {:.1} s, {}.",
        summary.snapshot.short(),
        ui::count(summary.files, "file", "files"),
        ui::bytes(summary.bytes),
        ui::bytes(summary.new_bytes),
        summary.seconds,
        ui::rate(summary.bytes, time),
    ));
    if !summary.unread.is_empty() {
        let unread = summary.unread.len() as u64;
        let files = ui::count(unread, "name could not be read", "names could not be read");
        context
            .ui
            .say(format!("{files}; everything else is saved."));
    }
    context.ui.say(&summary.headline);
}

/// Returns the path text of the absolute path without links, so that a folder has one name.
fn absolute(path: &Path) -> Result<String, CommandError> {
    let absolute = fs::canonicalize(path).map_err(|error| {
        CommandError::failed(format!(
            "cannot back up {}; nothing was changed",
            path.display()
        ))
        .because(error)
    })?;
    Ok(path::to_text(absolute.as_os_str().as_bytes()))
}
