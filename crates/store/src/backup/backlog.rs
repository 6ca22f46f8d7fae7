//! How much the reader may be ahead: items found but not yet used.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::scan::Stopped;

/// Items that may wait. Each is a few hundred bytes.
const ITEMS_MAX: usize = 1 << 15;

/// Counts what is found and not used, and lets the reader wait.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    shrunk: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: usize,
    closed: bool,
}

impl Backlog {
    /// Counts `items` more, after waiting until there is room for any.
    pub(super) fn grow(&self, items: usize) -> Result<(), Stopped> {
        let mut state = self.lock();
        while state.items >= ITEMS_MAX && !state.closed {
            state = self
                .shrunk
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Stopped);
        }
        state.items += items;
        Ok(())
    }

    /// Counts `items` less.
    pub(super) fn shrink(&self, items: usize) {
        if items > 0 {
            let mut state = self.lock();
            state.items = state.items.saturating_sub(items);
            self.shrunk.notify_one();
        }
    }

    /// Ends all waiting: the backup has failed or was called off.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.shrunk.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A number and a flag are never half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
