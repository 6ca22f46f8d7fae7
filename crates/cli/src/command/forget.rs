//! `carryall forget`: drop snapshots from the list, by rules or by name.

use carryall_core::retention::{Reason, Rules};
use carryall_daemon::{
    api::retention::{ForgetReport, ForgetRequest},
    config,
    exit::Exit,
};

use super::Context;
use crate::{args::ForgetArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: ForgetArgs) -> Result<Exit, CommandError> {
    let within = args.keep_within.as_deref().map(|text| {
        config::age(text).ok_or_else(|| {
            CommandError::new(Exit::Usage, format!("{text:?} is no length of time"))
                .hint("carryall forget --keep-within 1y6m --dry-run")
        })
    });
    let request = ForgetRequest {
        rules: Rules {
            last: args.keep_last,
            hourly: args.keep_hourly,
            daily: args.keep_daily,
            weekly: args.keep_weekly,
            monthly: args.keep_monthly,
            yearly: args.keep_yearly,
            within: within.transpose()?,
            offset_minutes: ui::offset_minutes(),
        },
        snapshots: args.snapshots,
        dry_run: args.dry_run,
    };
    let report: ForgetReport = context.client()?.post("/v1/forget", &request)?;
    context.ui.json(&report);
    for snapshot in &report.snapshots {
        let fate = snapshot.kept.map_or("forget", reason);
        context.ui.say(format!(
            "{}  {}  {fate}",
            snapshot.id.short(),
            ui::local_time(snapshot.time.0)
        ));
    }
    let snapshots = ui::count(report.forgotten, "snapshot", "snapshots");
    context.ui.say(match (report.forgotten, report.dry_run) {
        (0, _) => "Every snapshot is kept.".to_owned(),
        (_, true) => format!("{snapshots} would be forgotten; nothing was changed."),
        (_, false) => format!(
            "{snapshots} forgotten; no data is gone. To give room back: carryall prune. To list \
             them again: carryall prune --undo"
        ),
    });
    Ok(Exit::Done)
}

const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Newest => "keep: the newest of its device",
        Reason::Recent => "keep: of the last 30 days",
        Reason::Future => "keep: dated in the future",
        Reason::Last => "keep: one of the last",
        Reason::Hourly => "keep: hourly",
        Reason::Daily => "keep: daily",
        Reason::Weekly => "keep: weekly",
        Reason::Monthly => "keep: monthly",
        Reason::Yearly => "keep: yearly",
        Reason::Within => "keep",
    }
}
