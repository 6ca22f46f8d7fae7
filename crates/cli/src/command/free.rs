//! `carryall free`: give room back where friends hold enough.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
    path::{self, Path},
};

use carryall_daemon::{
    api::{
        free::{FreeFolder, FreeReport, FreeRequest},
        path::to_text,
    },
    exit::Exit,
};

use super::Context;
use crate::{args::FreeArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &FreeArgs) -> Result<Exit, CommandError> {
    let mut request = FreeRequest {
        path: absolute(&args.path)?,
        dry_run: true,
        let_go: args.let_go,
    };
    let client = context.client()?;
    if args.let_go {
        let report: FreeReport = client.post("/v1/free", &request)?;
        context.ui.json(&report);
        let files = ui::count(report.files_freed, "file", "files");
        context.ui.say(format!(
            "{files} ({}) that were freed there count as deleted from the next backup on.",
            ui::bytes(report.bytes_freed)
        ));
        return Ok(report.exit);
    }
    if args.dry_run || !args.yes {
        let report: FreeReport = client.post("/v1/free", &request)?;
        if args.dry_run {
            context.ui.json(&report);
        }
        tell(context, &report);
        if args.dry_run || report.files == 0 {
            if !args.dry_run {
                context.ui.json(&report);
            }
            context.ui.say("Nothing was changed.");
            return Ok(report.exit);
        }
        if !agreed(context, &report)? {
            context.ui.say("Nothing was changed.");
            return Ok(Exit::Done);
        }
    }
    request.dry_run = false;
    let report: FreeReport = client.post("/v1/free", &request)?;
    context.ui.json(&report);
    if args.yes {
        tell(context, &report);
    }
    if report.files == 0 {
        context.ui.say("Nothing was changed.");
        return Ok(report.exit);
    }
    context.ui.say(format!(
        "{} freed, {}. They stay in every snapshot; carryall mount shows them, and carryall restore \
         puts them back.",
        ui::count(report.files, "file", "files"),
        ui::bytes(report.bytes)
    ));
    Ok(report.exit)
}

/// Asks whether it shall be done; only where somebody can be asked.
fn agreed(context: &Context, report: &FreeReport) -> Result<bool, CommandError> {
    if context.ui.json || !io::stdin().is_terminal() {
        let nobody = "nobody can be asked whether to free this, so nothing was changed";
        return Err(CommandError::new(Exit::Usage, nobody).hint("carryall free PATH --yes"));
    }
    let files = ui::count(report.files, "file", "files");
    print!("Remove {files} ({}) here? [y/N] ", ui::bytes(report.bytes));
    let mut answer = String::new();
    let asked = io::stdout()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| CommandError::failed("cannot ask").because(error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn tell(context: &Context, report: &FreeReport) {
    for folder in &report.folders {
        context.ui.say(line(folder, report.dry_run));
    }
    if report.folders.is_empty() {
        context.ui.say("There is no file there to free.");
    }
}

/// Returns what there is to say of a folder, on one line.
fn line(folder: &FreeFolder, dry_run: bool) -> String {
    let mut parts = Vec::new();
    if folder.files > 0 {
        let verb = if dry_run { "can be freed" } else { "freed" };
        let files = ui::count(folder.files, "file", "files");
        parts.push(format!("{files} ({}) {verb}", ui::bytes(folder.bytes)));
    }
    for kept in &folder.kept {
        let names = if kept.first.is_empty() || kept.reason.contains("friend") {
            String::new()
        } else {
            let more = if kept.files > kept.first.len() as u64 {
                ", ..."
            } else {
                ""
            };
            let names = kept.first.iter().map(|it| name(&folder.path, it));
            format!(": {}{more}", names.collect::<Vec<_>>().join(", "))
        };
        parts.push(format!(
            "{} ({}) stay, since {}{names}",
            ui::count(kept.files, "file", "files"),
            ui::bytes(kept.bytes),
            kept.reason
        ));
    }
    if folder.files_freed > 0 {
        let files = ui::count(folder.files_freed, "file", "files");
        parts.push(format!(
            "{files} ({}) freed before",
            ui::bytes(folder.bytes_freed)
        ));
    }
    if folder.unsaved > 0 {
        let names = ui::count(folder.unsaved, "name is", "names are");
        parts.push(format!("{names} in no snapshot yet"));
    }
    if parts.is_empty() {
        parts.push("nothing to free".to_owned());
    }
    format!("{}: {}", folder.path, parts.join("; "))
}

/// Returns a path as it is called in its folder.
fn name<'a>(folder: &str, path: &'a str) -> &'a str {
    path.strip_prefix(folder)
        .map_or(path, |rest| rest.trim_start_matches('/'))
}

/// Returns the path text of an absolute path, which may lead to nothing any more.
fn absolute(path: &Path) -> Result<String, CommandError> {
    let absolute = path::absolute(path).map_err(|error| {
        let sentence = format!("cannot tell where {} is", path.display());
        CommandError::failed(sentence).because(error)
    })?;
    Ok(to_text(absolute.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use carryall_daemon::api::free::Kept;

    use super::*;

    #[test]
    fn a_folder_is_told_on_one_line() {
        let mut folder = FreeFolder {
            path: "/photos/2026".to_owned(),
            ..FreeFolder::default()
        };
        assert_eq!(line(&folder, true), "/photos/2026: nothing to free");
        folder.files = 2;
        folder.bytes = 2048;
        folder.kept = vec![Kept {
            reason: "they changed after the last backup".to_owned(),
            files: 4,
            bytes: 1024,
            first: ["a", "b", "may/c"]
                .map(|it| format!("/photos/2026/{it}"))
                .into(),
        }];
        folder.unsaved = 1;
        assert_eq!(
            line(&folder, true),
            "/photos/2026: 2 files (2.00 KiB) can be freed; 4 files (1.00 KiB) stay, since they \
             changed after the last backup: a, b, may/c, ...; 1 name is in no snapshot yet"
        );
    }
}
