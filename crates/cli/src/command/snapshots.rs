//! `carryall snapshots`: list them.

use carryall_daemon::{api::snapshot::Snapshots, exit::Exit};

use super::Context;
use crate::{args::SnapshotsArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, _args: &SnapshotsArgs) -> Result<Exit, CommandError> {
    let list: Snapshots = context.client()?.get("/v1/snapshots")?;
    context.ui.json(&list);
    if list.snapshots.is_empty() {
        context
            .ui
            .say("There is no snapshot yet. Make one: carryall backup FOLDER");
    }
    for snapshot in &list.snapshots {
        let unread = match snapshot.unread {
            0 => String::new(),
            unread => format!(", {unread} unread"),
        };
        context.ui.say(format!(
            "{}  {}  {}, {}{unread}  {}",
            snapshot.id.short(),
            ui::local_time(snapshot.time.0),
            ui::count(snapshot.files, "file", "files"),
            ui::bytes(snapshot.bytes),
            snapshot.roots.join("  "),
        ));
    }
    Ok(Exit::Done)
}
