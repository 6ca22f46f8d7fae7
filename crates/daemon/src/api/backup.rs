//! Making a snapshot.

use carryall_core::id::SnapshotId;
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::exit::Exit;

/// Body of `POST /v1/backup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// Absolute paths to remember, as path texts. The snapshot holds all remembered ones.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// One line of the answer to `POST /v1/backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BackupLine {
    /// Several times a second.
    Progress(BackupProgress),
    /// The last line of a backup that made a snapshot.
    Summary(BackupSummary),
    /// The last line of one that did not.
    Failure(Failure),
}

/// How far a backup is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupProgress {
    /// Files done.
    pub files: u64,
    /// Plain bytes done.
    pub bytes: u64,
    /// Files found so far, or in all once scanned.
    pub files_total: u64,
    /// Plain bytes found so far, or in all once scanned.
    pub bytes_total: u64,
    /// Whether the totals are final.
    pub scanned: bool,
}

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Files in the snapshot.
    pub files: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Bytes that were not in the vault before.
    pub new_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What was left out on purpose (FIFOs, sockets, devices), in sentences.
    pub skipped: Vec<String>,
    /// What could not be read, in sentences.
    pub unread: Vec<String>,
    /// The headline of the status after it.
    pub headline: String,
    /// 0, 3 when something is unread, 4 when it is not yet safe.
    pub exit: Exit,
}

impl Eq for BackupSummary {}
