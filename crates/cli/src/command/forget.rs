//! `carryall forget`: drop snapshots from the list, by rules or by name.

use carryall_core::{
    retention::{Reason, Rules},
    time::Span,
};
use carryall_daemon::{
    api::retention::{ForgetReport, ForgetRequest},
    exit::Exit,
};

use super::Context;
use crate::{args::ForgetArgs, error::CommandError, ui};

const HOUR_MS: u64 = 3_600_000;

pub(crate) fn run(context: &Context, args: ForgetArgs) -> Result<Exit, CommandError> {
    let within = args.keep_within.as_deref().map(|text| {
        length(text).ok_or_else(|| {
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

/// Returns the time that a length such as `2y5m7d3h` stands for: years, months, days and hours, each
/// as long as it may be.
fn length(text: &str) -> Option<Span> {
    let mut rest = text;
    let mut hours = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let each = match unit.as_bytes().first()? {
            b'y' => 366 * 24,
            b'm' => 31 * 24,
            b'd' => 24,
            b'h' => 1,
            _ => return None,
        };
        hours = hours.checked_add(number.parse::<u64>().ok()?.checked_mul(each)?)?;
        rest = &unit[1..];
    }
    (hours > 0).then_some(Span(hours.checked_mul(HOUR_MS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_as_restic_writes_them() {
        assert_eq!(length("1d"), Some(Span::days(1)));
        assert_eq!(
            length("2y5m7d3h"),
            Some(Span::hours((732 + 155 + 7) * 24 + 3))
        );
        for bad in [
            "",
            "0h",
            "d",
            "7",
            "1w",
            "7d3",
            "99999999999999999999y",
            "1é",
        ] {
            assert_eq!(length(bad), None, "{bad}");
        }
    }
}
