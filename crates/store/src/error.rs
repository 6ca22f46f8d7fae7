//! What can go wrong at a disk, said with the path it happened at.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A disk refused something.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb: "write", "rename".
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// Tells whether there was no room: on the disk or in a quota.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// Tells whether `error` means that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Adds what was tried, and where, to a system's error.
pub(crate) trait At<T> {
    /// Names the action and the path.
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
