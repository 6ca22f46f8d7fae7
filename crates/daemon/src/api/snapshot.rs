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

/// Parameters of `GET /v1/find`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindQuery {
    /// What names look like: `*` and `?` stand for anything but a slash, `**` for folders too. Without
    /// any of these, names that have it somewhere in them.
    pub pattern: String,
    /// A snapshot; all of them, the newest first, when empty.
    #[serde(default)]
    pub snapshot: String,
}

/// One line of the answer to `GET /v1/find`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FindLine {
    /// A name that fits. Of the same path with the same length and time, the newest snapshot alone is
    /// told.
    Found {
        /// The snapshot.
        snapshot: SnapshotId,
        /// When it was made.
        time: Timestamp,
        /// The name.
        entry: ListEntry,
    },
    /// The last line when something failed.
    Failure(Failure),
}

/// Parameters of `GET /v1/diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffQuery {
    /// The first snapshot; the one before the second when empty.
    #[serde(default)]
    pub from: String,
    /// The second snapshot; the newest when empty.
    #[serde(default)]
    pub to: String,
    /// A path text inside both; everything when empty.
    #[serde(default)]
    pub path: String,
}

/// One line of the answer to `GET /v1/diff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DiffLine {
    /// In the second snapshot alone.
    Added(ListEntry),
    /// In the first snapshot alone.
    Removed(ListEntry),
    /// Something else than before.
    Changed(ListEntry),
    /// Owner, permissions or time alone differ.
    Dressed(ListEntry),
    /// The last line when something failed.
    Failure(Failure),
}

/// Parameters of `GET /v1/read`, whose answer is the bytes alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadQuery {
    /// A snapshot's id, a unique beginning of one, or `latest` (also when absent).
    #[serde(default)]
    pub snapshot: String,
    /// The path text of a file inside the snapshot.
    pub path: String,
    /// Where to begin, in bytes.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes to read: at most 8 MiB come at a time, and less at the end of the file.
    pub bytes: u64,
    /// Read the preview of the picture instead, a JPEG of at most 256 pixels each way.
    #[serde(default)]
    pub preview: bool,
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
    /// Length of its preview in bytes, if it is a picture that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<u32>,
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
