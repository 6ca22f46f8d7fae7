//! `carryall status`: one honest sentence first, then the reasons for it.

use std::{thread, time::Duration};

use carryall_daemon::{
    api::status::{Direction, Status, Transfer},
    exit::Exit,
};

use super::{Context, friends, pause};
use crate::{args::StatusArgs, error::CommandError, ui};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(context: &Context, args: &StatusArgs) -> Result<Exit, CommandError> {
    let status: Status = context.client()?.get("/v1/status")?;
    tell(context, &status);
    if args.watch {
        watch(context, status)
    } else {
        Ok(Exit::Done)
    }
}

/// Tells what changes, and shows how far the present encounters are.
fn watch(context: &Context, mut last: Status) -> Result<Exit, CommandError> {
    let mut bar = None;
    loop {
        thread::sleep(WATCH_EVERY);
        let mut status: Status = context.client()?.get("/v1/status")?;
        if status.transfers.is_empty() {
            if let Some(bar) = bar.take() {
                ui::Bar::finish(bar);
            }
        } else {
            let bar = bar.get_or_insert_with(|| context.ui.bar("encounter"));
            let sum = |of: fn(&Transfer) -> u64| status.transfers.iter().map(of).sum::<u64>();
            bar.set(
                sum(|transfer| transfer.bytes),
                Some(sum(|transfer| transfer.total)),
            );
        }
        if bar.is_some() && !context.ui.json {
            // The bar shows them.
            status.transfers.clear();
        }
        if status != last {
            let print = || {
                context.ui.say("");
                tell(context, &status);
            };
            match &bar {
                Some(bar) => bar.suspend(print),
                None => print(),
            }
            last = status;
        }
    }
}

fn tell(context: &Context, status: &Status) {
    context.ui.json(status);
    context.ui.say(&status.headline);
    details(context, status);
}

fn details(context: &Context, status: &Status) {
    let ui = context.ui;
    if let Some(time) = status.last_snapshot {
        ui.say(format!(
            "{}; the newest was made {}, of {}",
            ui::count(status.snapshots, "snapshot", "snapshots"),
            ui::ago(ui::now_ms(), time.0),
            ui::bytes(status.bytes_source),
        ));
        ui.say(format!(
            "{}: {} safe elsewhere, {} only here",
            ui::count(status.packs, "pack", "packs"),
            ui::bytes(status.bytes_safe),
            ui::bytes(status.bytes_only_here),
        ));
    }
    if status.bytes_by_courier > 0 {
        ui.say(format!(
            "{} of it only by couriers that others have: two of them weigh as one friend",
            ui::bytes(status.bytes_by_courier),
        ));
    }
    if status.files_freed > 0 {
        ui.say(format!(
            "{} ({}) freed here: friends hold what they were",
            ui::count(status.files_freed, "file", "files"),
            ui::bytes(status.bytes_freed),
        ));
    }
    if let Some(proof) = status.last_proof {
        ui.say(format!(
            "proved {}: {} ({}) came back from friends alone",
            ui::ago(ui::now_ms(), proof.at.0),
            ui::count(proof.files, "file", "files"),
            ui::bytes(proof.bytes),
        ));
    }
    if !status.folders.is_empty() {
        ui.say(format!("remembered: {}", status.folders.join("  ")));
    }
    if !status.members.is_empty() {
        ui.say(format!(
            "{}, you among them, could vanish without loss; the aim is {}",
            ui::count(status.health_min.into(), "member", "members"),
            status.target,
        ));
    }
    if let Some(outlook) = &status.outlook {
        let when = ui::ahead(ui::now_ms(), outlook.by.0);
        ui.say(format!(
            "probably all safe {when}, by meeting {}",
            outlook.petname
        ));
    }
    for friend in &status.members {
        ui.say(format!("- {}", friends::line(friend)));
        for line in friends::by_courier(friend) {
            ui.say(format!("  {line}"));
        }
    }
    for transfer in &status.transfers {
        ui.say(format!("- {}", under_way(transfer)));
    }
    for risk in &status.risks {
        ui.say(format!("! {risk}"));
    }
    if let Some(until) = status.paused_until {
        ui.say(pause::sentence(until));
    }
    if !status.running {
        ui.say("The node is not running: friends are met only while it does (carryall run).");
    }
}

fn under_way(transfer: &Transfer) -> String {
    let way = match transfer.direction {
        Direction::Out => "sending to",
        Direction::In => "receiving from",
    };
    let eta = transfer
        .eta
        .map(|secs| format!(", {secs} s left"))
        .unwrap_or_default();
    format!(
        "{way} {}: {} of {}, {}/s{eta}",
        transfer.petname,
        ui::bytes(transfer.bytes),
        ui::bytes(transfer.total),
        ui::bytes(transfer.rate)
    )
}
