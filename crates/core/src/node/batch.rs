//! Batch: things that wait for company before they become one entry of our feed.

use crate::{
    limits,
    time::{Span, Timestamp},
};

/// When what waits is to be written: shortly after the last came, but not long after the first. While
/// more is known to be on its way, it is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    /// When the first came, and when all are written.
    times: Option<(Timestamp, Timestamp)>,
}

impl Batch {
    /// Something came that waits for others for `wait` at most; `more` are on their way.
    pub(super) fn add(&mut self, now: Timestamp, wait: Span, more: bool) {
        let first = self.times.map_or(now, |times| times.0);
        let last = first + wait;
        let due = if more {
            last
        } else {
            last.min(now + limits::RECEIPT_BATCH)
        };
        self.times = Some((first, due));
    }

    /// Writing has to wait a little more.
    pub(super) fn delay(&mut self, now: Timestamp) {
        self.times = Some((now, now + limits::RECEIPT_BATCH));
    }

    /// There is enough for an entry.
    pub(super) fn fill(&mut self, now: Timestamp) {
        self.times = Some((now, now));
    }

    /// All that waited is written.
    pub(super) fn clear(&mut self) {
        self.times = None;
    }

    /// Returns when what waits is to be written, if anything does.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.times.map(|times| times.1)
    }

    /// Tells whether that is now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due <= now)
    }
}
