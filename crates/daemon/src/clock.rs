//! The only place that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carryall_core::time::Timestamp;
use tokio::time::Instant;

/// Longest sleep: a clock that jumps must not hold up a timer for longer.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Returns the system's time; a clock before 1970 counts as 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns how long to sleep before something that is due then is looked at again: until it is due,
/// and a minute at most.
pub(crate) fn until(at: Timestamp) -> Duration {
    Duration::from_millis(at.since(now()).0).min(SLEEP_MAX)
}

/// Returns how far the owner's clock is ahead of UTC, in seconds.
pub(crate) fn utc_offset() -> i32 {
    let zone = jiff::tz::TimeZone::system();
    zone.to_offset(jiff::Timestamp::now()).seconds()
}

/// Returns when to wake for a timer of the core, at the latest in a minute.
pub(crate) fn wake(at: Option<Timestamp>) -> Instant {
    Instant::now() + at.map_or(SLEEP_MAX, until)
}
