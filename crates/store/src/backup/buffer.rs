//! Read buffers: a fixed number, used again and again, so that memory stays bounded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::scan::Stopped;

/// Length of a buffer: two of the longest chunks, so that a chunk cut at its end is rare.
pub(super) const BUFFER_BYTES: usize = 8 << 20;

/// Memory that file content is read into.
#[derive(Debug)]
pub(super) struct Buffer {
    /// [`BUFFER_BYTES`] long, of which `used` are content.
    pub(super) bytes: Vec<u8>,
    /// How many bytes are content.
    pub(super) used: usize,
}

/// Hands out buffers and waits while all are in use.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    idle: Vec<Buffer>,
    /// Buffers that may still be made.
    unmade: usize,
    closed: bool,
}

impl Pool {
    /// Makes a pool of at most `count` buffers.
    pub(super) const fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                idle: Vec::new(),
                unmade: count,
                closed: false,
            }),
            returned: Condvar::new(),
        }
    }

    /// Returns an empty buffer if one is free.
    pub(super) fn try_take(&self) -> Result<Option<Buffer>, Stopped> {
        Self::next(&mut self.lock())
    }

    /// Returns an empty buffer, waiting for one.
    pub(super) fn take(&self) -> Result<Buffer, Stopped> {
        let mut state = self.lock();
        loop {
            if let Some(buffer) = Self::next(&mut state)? {
                return Ok(buffer);
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next(state: &mut State) -> Result<Option<Buffer>, Stopped> {
        if state.closed {
            return Err(Stopped);
        }
        if let Some(mut buffer) = state.idle.pop() {
            buffer.used = 0;
            return Ok(Some(buffer));
        }
        if state.unmade == 0 {
            return Ok(None);
        }
        state.unmade -= 1;
        Ok(Some(Buffer {
            bytes: vec![0; BUFFER_BYTES],
            used: 0,
        }))
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, buffer: Buffer) {
        self.lock().idle.push(buffer);
        self.returned.notify_one();
    }

    /// Ends all waiting: the backup has failed or was called off.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
