//! Parts of shards in memory, used again and again: memory fresh from the operating system costs a
//! page fault every 4 KiB, which is more than hashing what lies in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::shard::BUFFER_BYTES;

/// Parts that are kept while nobody uses them.
const IDLE_MAX: usize = 12;

/// Hands out parts. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts(Arc<Mutex<Vec<Vec<u8>>>>);

/// [`BUFFER_BYTES`] of memory, of which the first `used` count. It goes back when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    used: usize,
    parts: Parts,
}

impl Parts {
    /// Returns a part of `used` bytes, at most [`BUFFER_BYTES`]. What lies in it is arbitrary.
    pub(crate) fn take(&self, used: usize) -> Part {
        let idle = self.idle().pop();
        Part {
            bytes: idle.unwrap_or_else(|| vec![0; BUFFER_BYTES]),
            used: used.min(BUFFER_BYTES),
            parts: self.clone(),
        }
    }

    /// Lets go of all that nobody uses.
    pub(crate) fn clear(&self) {
        *self.idle() = Vec::new();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Shortens the part.
    pub(crate) fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl AsMut<[u8]> for Part {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.used]
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut idle = self.parts.idle();
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let parts = Parts::default();
        let mut part = parts.take(BUFFER_BYTES);
        part.as_mut().fill(7);
        part.truncate(3);
        assert_eq!(part.as_ref(), [7; 3]);
        let place = part.as_ref().as_ptr();
        drop(bytes::Bytes::from_owner(part).slice(1..));
        assert_eq!(parts.take(5).as_ref().as_ptr(), place);
        parts.clear();
        assert!(parts.idle().is_empty());
    }

    #[test]
    fn little_is_kept_while_nobody_uses_it() {
        let parts = Parts::default();
        let taken: Vec<Part> = (0..2 * IDLE_MAX).map(|_| parts.take(1)).collect();
        drop(taken);
        assert_eq!(parts.idle().len(), IDLE_MAX);
    }
}
