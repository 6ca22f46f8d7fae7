//! `carryall retrace`: whom to meet to get everything back.

use carryall_daemon::{
    api::restore::{Retrace, RetraceHolder, RetraceStop, StandingRestore},
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
    if let Some(by) = retrace.back_by {
        let mut when = format!("Probably all back {}", ui::ahead(ui::now_ms(), by.0));
        if let Some(latest) = retrace.back_at_the_latest.filter(|it| *it > by) {
            when.push_str(&format!(
                ", nearly surely {}",
                ui::ahead(ui::now_ms(), latest.0)
            ));
        }
        context.ui.say(format!("{when}."));
    }
    if !retrace.stops.is_empty() {
        context.ui.say("The way home:");
    }
    for (number, stop) in retrace.stops.iter().enumerate() {
        context.ui.say(format!("{}. {}", number + 1, step(stop)));
    }
    if !retrace.holders.is_empty() {
        context.ui.say("Who has what:");
    }
    for holder in &retrace.holders {
        context.ui.say(format!("- {}", line(holder)));
    }
    for restore in &retrace.restores {
        context.ui.say(standing(restore));
    }
    Ok(Exit::Done)
}

/// Says what one stop brings, when, and who would do as well.
fn step(stop: &RetraceStop) -> String {
    let mut said = format!("{} brings {}", stop.whose, ui::bytes(stop.bytes));
    match (stop.reachable, stop.by) {
        _ if stop.courier => said.push_str(" once it is plugged in"),
        (true, _) => said.push_str(", in reach now"),
        (false, Some(by)) => said.push_str(&format!(", {}", ui::ahead(ui::now_ms(), by.0))),
        (false, None) => {}
    }
    if let Some(usual) = &stop.usual {
        said.push_str(&format!(" (usually {usual})"));
    }
    let whole = ui::count(stop.packs, "pack is", "packs are");
    said.push_str(&format!("; {whole} whole then"));
    let instead: Vec<&str> = (stop.instead.iter().chain(&stop.instead_couriers))
        .map(String::as_str)
        .collect();
    if !instead.is_empty() {
        said.push_str(&format!("; or else {}", instead.join(" or ")));
    }
    said
}

/// Says how far a restore is that goes on by itself.
fn standing(restore: &StandingRestore) -> String {
    let what = match restore.path.as_str() {
        "" | "/" => "everything",
        path => path,
    };
    let mut said = format!(
        "Restoring {what} of snapshot {} to {}",
        restore.snapshot.short(),
        restore.to
    );
    if let Some(progress) = restore.progress {
        said.push_str(&format!(
            ": {} of {} are back",
            ui::bytes(progress.bytes),
            ui::bytes(progress.bytes_total)
        ));
    }
    if let Some(waits) = &restore.waits {
        said.push_str(&format!("; it waits: {waits}"));
    }
    said.push('.');
    said
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
