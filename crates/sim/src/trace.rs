//! The trace of a run: a hash over all that happened, in order.

use carryall_core::time::Timestamp;

/// Everything that happened, in 32 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            print,
        }
    }

    /// Returns a trace of something beside the run.
    pub(crate) fn aside(&self) -> Self {
        Self::new(self.print)
    }

    /// Notes what happened at one machine.
    pub(crate) fn note(&mut self, at: Timestamp, machine: usize, what: &dyn std::fmt::Debug) {
        let line = format!("{} {machine} {what:?}", at.0);
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if self.print {
            println!("{line}");
        }
    }

    /// Returns the first eight bytes of the hash.
    pub(crate) fn hash(&self) -> u64 {
        let hash = self.hasher.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}
