//! Forgetting snapshots, and dropping what none needs.

use carryall_core::{
    id::SnapshotId,
    retention::{Reason, Rules},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/forget`: by rules, or by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// Which to keep; the rest is forgotten.
    #[serde(default)]
    pub rules: Rules,
    /// Ids of snapshots to forget, whatever the rules say; unique beginnings suffice.
    #[serde(default)]
    pub snapshots: Vec<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer to `POST /v1/forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetReport {
    /// All snapshots that were listed before, newest first.
    pub snapshots: Vec<Judged>,
    /// How many are forgotten.
    pub forgotten: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// One snapshot and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it says that it was made.
    pub time: Timestamp,
    /// Why it is kept; nothing if it is forgotten.
    pub kept: Option<Reason>,
}

/// Body of `POST /v1/prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneRequest {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Instead: take back what was released and list what was forgotten.
    #[serde(default)]
    pub undo: bool,
}

/// Answer to `POST /v1/prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Packs that no snapshot needs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that friends hold of them by their word, and may drop.
    pub bytes_at_friends: u64,
    /// Packs that stay.
    pub packs_kept: u64,
    /// Bytes in these that no snapshot needs.
    pub dead_bytes: u64,
    /// Snapshots that are listed again, after an undo.
    pub remembered: u64,
    /// For how many days that they observe friends keep what is released.
    pub days: u32,
    /// Whether nothing was done.
    pub dry_run: bool,
}
