//! `carryall diff`: what differs between two snapshots.

use carryall_daemon::{
    api::snapshot::{DiffLine, ListEntry},
    exit::Exit,
};

use super::{Context, ls};
use crate::{args::DiffArgs, client::query, error::CommandError};

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<Exit, CommandError> {
    let (to, path) = ls::split(&args.to);
    let from = args.from.as_deref().unwrap_or_default();
    let route = query("/v1/diff", &[("from", from), ("to", &to), ("path", &path)]);
    let (mut added, mut removed, mut changed) = (0_u64, 0_u64, 0_u64);
    context.client()?.get_stream(&route, |line: DiffLine| {
        context.ui.json(&line);
        let say = |sign: char, entry: &ListEntry| context.ui.say(format!("{sign} {}", entry.path));
        match &line {
            DiffLine::Added(entry) => {
                added += 1;
                say('+', entry);
            }
            DiffLine::Removed(entry) => {
                removed += 1;
                say('-', entry);
            }
            DiffLine::Changed(entry) => {
                changed += 1;
                say('M', entry);
            }
            DiffLine::Dressed(entry) => say('U', entry),
            DiffLine::Failure(failure) => return Err(failure.clone().into()),
        }
        Ok(())
    })?;
    context
        .ui
        .talk(format!("{added} new, {removed} gone, {changed} changed."));
    Ok(Exit::Done)
}
