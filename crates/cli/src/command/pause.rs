//! `carryall pause`: quiet for a while.

use carryall_core::time::Timestamp;
use carryall_daemon::{api::pause::Pause, exit::Exit};

use super::Context;
use crate::{args::PauseArgs, error::CommandError, ui};

const MINUTE_MS: u64 = 60_000;

pub(crate) fn run(context: &Context, args: &PauseArgs) -> Result<Exit, CommandError> {
    let until = match args.span.as_str() {
        "off" => None,
        span => {
            let ms = length(span).ok_or_else(|| {
                CommandError::new(Exit::Usage, format!("{span:?} is no length of time"))
                    .hint("carryall pause 2h")
            })?;
            Some(Timestamp(ui::now_ms().saturating_add(ms)))
        }
    };
    let pause: Pause = context.client()?.post("/v1/pause", &Pause { until })?;
    context.ui.json(&pause);
    match pause.until {
        Some(until) => context.ui.say(sentence(until)),
        None => context
            .ui
            .say("No pause: friends are met as they come near."),
    }
    Ok(Exit::Done)
}

/// Says until when the node pauses.
pub(super) fn sentence(until: Timestamp) -> String {
    format!(
        "Paused until {}: nobody is called, nothing is sent or taken.",
        ui::local_minute(until.0, ui::now_ms())
    )
}

/// Returns the milliseconds that a length of time stands for, such as `90m`, `2h` or `1d`; minutes
/// at least, a year at most.
fn length(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let minutes = match unit.trim() {
        "m" | "min" => 1,
        "h" => 60,
        "d" => 24 * 60,
        _ => return None,
    };
    let minutes = number.parse::<u64>().ok()?.checked_mul(minutes)?;
    (1..=366 * 24 * 60)
        .contains(&minutes)
        .then_some(minutes * MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        assert_eq!(length("90m"), Some(90 * MINUTE_MS));
        assert_eq!(length("2h"), Some(120 * MINUTE_MS));
        assert_eq!(length("1 d"), Some(1440 * MINUTE_MS));
        for bad in [
            "",
            "2",
            "h",
            "0h",
            "-1h",
            "2 weeks",
            "400d",
            "99999999999999999999h",
        ] {
            assert_eq!(length(bad), None, "{bad}");
        }
    }
}
