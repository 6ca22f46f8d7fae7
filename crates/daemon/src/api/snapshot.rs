//! Looking into snapshots without restoring.

use carryall_core::{
    id::{DeviceId, SnapshotId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Failure;

/// Answer to `GET /v1/snapshots`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// One snapshot in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id; commands take any unique beginning, or `latest`.
    pub id: SnapshotId,
    /// When it was made.
    pub time: Timestamp,
    /// On which device.
    pub device: DeviceId,
    /// Number of files.
    pub files: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// The folders in it, as path texts.
    pub roots: Vec<String>,
    /// Files that could not be read when it was made.
    pub unread: u64,
}

/// Query of `GET /v1/ls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// A snapshot's id, a unique beginning of one, or `latest` (also when absent).
    #[serde(default)]
    pub snapshot: String,
    /// A path text inside the snapshot; all roots when empty.
    #[serde(default)]
    pub path: String,
    /// Whether folders inside are listed too.
    #[serde(default)]
    pub recursive: bool,
}

/// One line of the answer to `GET /v1/ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ListLine {
    /// One name.
    Entry(ListEntry),
    /// The last line when something failed.
    Failure(Failure),
}

/// One name in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListEntry {
    /// Its path inside the snapshot, as a path text.
    pub path: String,
    /// What it is.
    pub kind: ListKind,
    /// Length in bytes; 0 unless a file.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time, milliseconds since 1970, negative before.
    pub mtime_ms: i64,
    /// Where a symbolic link points, as a path text.
    pub target: Option<String>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}
