//! Time as data: nobody in this crate can read a clock.

use core::ops::Add;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(pub u64);

impl Timestamp {
    /// Returns how long ago `earlier` was, zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Returns the whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Span {
    /// Returns a span of `ms` milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns a span of `secs` seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    /// Returns a span of `hours` hours.
    pub const fn hours(hours: u64) -> Self {
        Self::secs(hours * 3600)
    }

    /// Returns a span of `days` days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }
}
