//! `carryall find`: where in the snapshots a name is.

use carryall_daemon::{api::snapshot::FindLine, exit::Exit};

use super::{Context, ls};
use crate::{args::FindArgs, client::query, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &FindArgs) -> Result<Exit, CommandError> {
    let snapshot = args.snapshot.as_deref().unwrap_or_default();
    let parameters = [("pattern", args.pattern.as_str()), ("snapshot", snapshot)];
    let mut count = 0_u64;
    let route = query("/v1/find", &parameters);
    context.client()?.get_stream(&route, |line: FindLine| {
        context.ui.json(&line);
        match line {
            FindLine::Found {
                snapshot, entry, ..
            } => {
                count += 1;
                context
                    .ui
                    .say(format!("{} {}", snapshot.short(), ls::row(&entry)));
            }
            FindLine::Failure(failure) => return Err(failure.into()),
        }
        Ok(())
    })?;
    let found = ui::count(count, "name fits", "names fit");
    context.ui.talk(format!("{found} {}.", args.pattern));
    Ok(Exit::Done)
}
