//! `carryall retrace`: whom to meet to get everything back.

use carryall_daemon::{
    api::restore::{Retrace, RetraceHolder},
    exit::Exit,
};

use super::{Context, friends};
use crate::{args::RetraceArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, _args: &RetraceArgs) -> Result<Exit, CommandError> {
    let retrace: Retrace = context.client()?.get("/v1/retrace")?;
    context.ui.json(&retrace);
    context.ui.say(&retrace.headline);
    if retrace.packs == 0 {
        return Ok(Exit::Done);
    }
    context.ui.say(format!(
        "Of {}: {} here, {} in reach now, {} nobody can rebuild.",
        ui::count(retrace.packs, "pack", "packs"),
        retrace.packs_here,
        retrace.packs_in_reach,
        retrace.packs_lost
    ));
    if let Some(outlook) = &retrace.outlook {
        let when = ui::ahead(ui::now_ms(), outlook.by.0);
        context
            .ui
            .say(format!("Probably all back {when}, by {}.", outlook.petname));
    }
    for holder in &retrace.holders {
        context.ui.say(format!("- {}", line(holder)));
    }
    Ok(Exit::Done)
}

fn line(holder: &RetraceHolder) -> String {
    let where_now = match (holder.reachable, holder.last_met) {
        (true, _) => "in reach now".to_owned(),
        (false, Some(met)) => format!("last met {}", ui::ago(ui::now_ms(), met.0)),
        (false, None) => "not met yet".to_owned(),
    };
    let mut usual = friends::usually(holder.usual.as_deref());
    if let Some(expected) = holder.expected {
        usual.push_str(&format!(", next {}", ui::ahead(ui::now_ms(), expected.0)));
    }
    format!(
        "{}, {where_now}{usual}: holds {} of yours, {}; {} of packs that are missing here",
        holder.petname,
        ui::count(holder.shards, "shard", "shards"),
        ui::bytes(holder.bytes),
        holder.shards_missing_here,
    )
}
