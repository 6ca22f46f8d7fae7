//! What is said to people and scripts: results on standard output, progress and talk on standard
//! error, and bars with rate and time left only where somebody can watch them.

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
    process,
    time::{Duration, Instant},
};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::Global;

/// Time between two plain progress lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How to speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    /// One JSON object per line instead of sentences.
    pub(crate) json: bool,
    quiet: bool,
    /// Whether somebody watches standard error.
    watched: bool,
}

impl Ui {
    /// Returns the way to speak that the command line asks for.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            watched: io::stderr().is_terminal(),
        }
    }

    /// Prints a result for people; scripts get theirs by [`Ui::json`].
    pub(crate) fn say(&self, text: impl Display) {
        if !self.json {
            out(&clean(&text.to_string()));
        }
    }

    /// Prints what is good to know, to standard error.
    pub(crate) fn talk(&self, text: impl Display) {
        if !self.json && !self.quiet {
            eprintln!("{}", clean(&text.to_string()));
        }
    }

    /// Prints a result for scripts, if one asked.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if self.json {
            json_line(value);
        }
    }

    /// Starts to show the progress of something that counts bytes.
    pub(crate) fn bar(&self, what: &'static str) -> Bar {
        let shown = if self.quiet || self.json {
            Shown::Nothing
        } else if self.watched {
            Shown::Bar(drawn(what))
        } else {
            Shown::Lines {
                next: Instant::now() + PLAIN_EVERY,
            }
        };
        Bar {
            what,
            shown,
            started: Instant::now(),
        }
    }
}

/// Prints one line to standard output. Nobody listening any more is no failure: `carryall ls |
/// head` ends well.
pub(crate) fn out(text: &impl Display) {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            process::exit(1);
        }
    }
}

/// Prints `value` as one line of JSON to standard output.
pub(crate) fn json_line(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => out(&line),
        Err(error) => eprintln!("error: cannot print JSON: {error}"),
    }
}

/// The progress of one long thing.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    shown: Shown,
    started: Instant,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { next: Instant },
    Nothing,
}

impl Bar {
    /// Shows that `done` of `total` bytes are done; the total may grow, and be unknown at first.
    pub(crate) fn set(&mut self, done: u64, total: Option<u64>) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                match total {
                    Some(total) => bar.set_length(total.max(done)),
                    None => bar.unset_length(),
                }
                bar.set_position(done);
            }
            Shown::Lines { next } => {
                if Instant::now() >= *next {
                    *next = Instant::now() + PLAIN_EVERY;
                    let of = total
                        .map(|total| format!(" of {}", bytes(total)))
                        .unwrap_or_default();
                    let rate = rate(done, self.started.elapsed());
                    eprintln!("{}: {}{of}, {rate}", self.what, bytes(done));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Runs what prints, without tearing the bar.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(print),
            Shown::Lines { .. } | Shown::Nothing => print(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn drawn(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg:<10} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    bar.set_style(style);
    bar.set_message(what);
    bar
}

/// Returns `text` without what could steer a terminal: friends choose their own names.
pub(crate) fn clean(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Returns a number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

/// Returns a rate for people.
pub(crate) fn rate(count: u64, time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", bytes(count.saturating_mul(1000) / millis))
}

/// Returns `count` and the word for it.
pub(crate) fn count(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns how long ago `then` was, for people; both in milliseconds since 1970.
pub(crate) fn ago(now_ms: u64, then_ms: u64) -> String {
    let secs = now_ms.saturating_sub(then_ms) / 1000;
    match secs {
        0..=59 => "just now".to_owned(),
        60..=5_399 => format!("{} ago", count(secs.div_ceil(60), "minute", "minutes")),
        5_400..=129_599 => format!("{} ago", count((secs + 1800) / 3600, "hour", "hours")),
        _ => format!("{} ago", count((secs + 43_200) / 86_400, "day", "days")),
    }
}

/// Returns a time as a name that sorts by it, in local time; in milliseconds since 1970.
pub(crate) fn file_time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::system());
    time.strftime("%Y-%m-%d %H-%M-%S").to_string()
}

/// Returns when `then` will be, for people, in local time; both in milliseconds since 1970.
pub(crate) fn ahead(now_ms: u64, then_ms: u64) -> String {
    ahead_in(&jiff::tz::TimeZone::system(), now_ms, then_ms)
}

fn ahead_in(zone: &jiff::tz::TimeZone, now_ms: u64, then_ms: u64) -> String {
    let local = |ms: u64| {
        let time = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
        Some(time.to_zoned(zone.clone()))
    };
    let (Some(now), Some(then)) = (local(now_ms), local(then_ms)) else {
        return "some day".to_owned();
    };
    if then_ms <= now_ms {
        return "now".to_owned();
    }
    let around = then.strftime("around %H:%M");
    let days = then
        .date()
        .since(now.date())
        .map_or(i32::MAX, |it| it.get_days());
    match days {
        0 => format!("today {around}"),
        1 => format!("tomorrow {around}"),
        2..=6 => format!("on {} {around}", then.strftime("%A")),
        _ => format!("around {}", then.strftime("%Y-%m-%d")),
    }
}

/// Returns how far local time is ahead of UTC now, in minutes.
pub(crate) fn offset_minutes() -> i16 {
    let zone = jiff::tz::TimeZone::system();
    let offset = zone.to_offset(jiff::Timestamp::now());
    i16::try_from(offset.seconds() / 60).unwrap_or(0)
}

/// Returns a moment in local time; in milliseconds since 1970.
pub(crate) fn local_time(time_ms: u64) -> String {
    i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|time| {
            let zoned = time.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        })
        .unwrap_or_else(|| "at an unknown time".to_owned())
}

/// Returns a moment to come in local time, to the minute: `18:40`, with the day if that is another
/// one; both in milliseconds since 1970.
pub(crate) fn local_minute(time_ms: u64, now_ms: u64) -> String {
    let (time, now) = (local_time(time_ms), local_time(now_ms));
    match (time.get(..10), now.get(..10), time.get(11..16)) {
        (Some(day), Some(today), Some(minute)) if day == today => minute.to_owned(),
        _ => time.get(..16).unwrap_or(&time).to_owned(),
    }
}

/// Returns the time now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(
            clean("Bob\u{1b}[2J\u{202e}\r"),
            "Bob\u{fffd}[2J\u{fffd}\u{fffd}"
        );
        assert_eq!(clean("J\u{f6}rg\nline"), "J\u{f6}rg\nline");
    }

    #[test]
    fn moments_to_come_name_the_day_if_it_is_not_today() {
        let now = now_ms();
        assert_eq!(local_minute(now, now), local_time(now)[11..16]);
        let later = now + 48 * 3_600_000;
        assert_eq!(local_minute(later, now), local_time(later)[..16]);
    }

    #[test]
    fn what_lies_ahead_as_people_say_it() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        // A Sunday, 22:00 in UTC: Monday at midnight here.
        let monday = 1_780_264_800_000;
        let at = |hours: u64| ahead_in(&zone, monday, monday + hours * 3_600_000);
        assert_eq!(at(0), "now");
        assert_eq!(at(19), "today around 19:00");
        assert_eq!(at(24), "tomorrow around 00:00");
        assert_eq!(at(4 * 24 + 19), "on Friday around 19:00");
        assert_eq!(at(6 * 24 + 9), "on Sunday around 09:00");
        assert_eq!(at(7 * 24 + 9), "around 2026-06-08");
        assert_eq!(ahead_in(&zone, monday, u64::MAX), "some day");
    }

    #[test]
    fn times_as_people_say_them() {
        assert_eq!(ago(10_000, 5_000), "just now");
        assert_eq!(ago(5_000, 10_000), "just now");
        assert_eq!(ago(61_000, 0), "2 minutes ago");
        assert_eq!(ago(3_600_000, 0), "60 minutes ago");
        assert_eq!(ago(2 * 3_600_000, 0), "2 hours ago");
        assert_eq!(ago(72 * 3_600_000, 0), "3 days ago");
    }
}
