//! What a restore says: what is in place, what could not be restored and why.

use std::{fmt, io, path::PathBuf};

use carryall_core::id::PackId;
use rustix::io::Errno;
use thiserror::Error;

use crate::browse::BrowseError;

/// Why one thing could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A name with a slash or a zero byte, an empty one, `.` or `..`: nothing writes such a tree.
    #[error("its name is not a file name")]
    BadName,
    /// The file system takes no such long name or path.
    #[error("its name is too long for the target's file system")]
    NameTooLong,
    /// Another name that the file system takes for the same is there: they differ in case only.
    #[error("the target's file system holds another file under what it takes for the same name")]
    NameTaken,
    /// A file or link lies where a directory belongs.
    #[error("something that is not a directory lies in its way")]
    NotDirectory,
    /// The file system takes no such name.
    #[error("the target's file system does not take its name")]
    NameRefused,
    /// The system denies it.
    #[error("permission denied")]
    Denied,
    /// There is no room.
    #[error("there is no room left on the target's disk")]
    Full,
    /// The file would be longer than the file system can have.
    #[error("the target's file system does not take files this long")]
    TooLong,
    /// The content changed before anybody had it; no pack has it.
    #[error("its content changed before any friend had it")]
    Lost,
    /// The tree contradicts itself or the pack does not hold what the index says.
    #[error("its record is damaged")]
    Damaged,
    /// The packs that have its content did not come.
    #[error("not all of its content arrived")]
    Incomplete,
    /// Another error of the system, by number.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    System(i32),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::EXIST | Errno::ISDIR => Self::NameTaken,
            Errno::NOTDIR | Errno::LOOP => Self::NotDirectory,
            Errno::ILSEQ | Errno::INVAL => Self::NameRefused,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::NOSPC | Errno::DQUOT => Self::Full,
            Errno::FBIG => Self::TooLong,
            other => Self::System(other.raw_os_error()),
        }
    }
}

/// One thing that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its path relative to the target, raw bytes.
    pub path: Vec<u8>,
    /// Why.
    pub why: Failure,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.escape_ascii(), self.why)
    }
}

/// Why a restore did not begin or can't go on.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The snapshot's trees can't be read, or not yet.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The target can't be made or opened.
    #[error("cannot open the target {}: {source}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files in the target differ from those to be restored.
    #[error(
        "{count} files that differ are already in the target, {} among them; nothing was written; \
         restore to an empty directory, or say --overwrite",
        first.escape_ascii()
    )]
    Exists {
        /// One of them, relative to the target.
        first: Vec<u8>,
        /// How many.
        count: u64,
    },
    /// The disk is full; what is complete stays, and a second run goes on.
    #[error(
        "there is no room left on the target's disk; make room and run the restore again to go on"
    )]
    Full,
    /// The pack was not asked for.
    #[error("pack {} is not part of this restore", .0.short())]
    NotAsked(PackId),
    /// More than four thousand million files or directories.
    #[error("the snapshot has too many files for one restore; restore its folders one by one")]
    TooMany,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files that are in place, those found there included.
    pub files: u64,
    /// Of those, the ones that were found complete.
    pub skipped: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What could not be restored: at most a thousand of them.
    pub failed: Vec<Failed>,
    /// How many could not be restored.
    pub failures: u64,
}
