//! Checkers: each one promise, compared with what is really there.

pub(crate) mod convergence;
pub(crate) mod durability;
pub(crate) mod quiet;
pub(crate) mod quota;
pub(crate) mod recovery;
pub(crate) mod trash;

use std::fmt;

use carryall_core::time::Timestamp;

use crate::world::BEGIN;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise: the name of its checker.
    pub checker: &'static str,
    /// When it was found.
    pub at: Timestamp,
    /// At which machine.
    pub machine: usize,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.at.since(BEGIN).0 / 1000;
        let (day, hour, minute) = (secs / 86400, secs / 3600 % 24, secs / 60 % 60);
        let (checker, machine, what) = (self.checker, self.machine, &self.what);
        write!(
            f,
            "{checker}: day {day} {hour:02}:{minute:02}, machine {machine}: {what}"
        )
    }
}
