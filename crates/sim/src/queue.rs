//! What will happen, in order of time, and of entry where times are equal.

use std::collections::BTreeMap;

use carryall_core::time::Timestamp;

/// A queue of things to come.
#[derive(Clone, Debug)]
pub(crate) struct Queue<T> {
    entries: BTreeMap<(Timestamp, u64), T>,
    next: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: 0,
        }
    }

    /// Puts something in.
    pub(crate) fn push(&mut self, at: Timestamp, what: T) {
        self.entries.insert((at, self.next), what);
        self.next += 1;
    }

    /// Takes out what comes first, unless it comes after `until`.
    pub(crate) fn pop(&mut self, until: Timestamp) -> Option<(Timestamp, T)> {
        let first = self
            .entries
            .first_entry()
            .filter(|first| first.key().0 <= until)?;
        let ((at, _), what) = first.remove_entry();
        Some((at, what))
    }
}
