//! Auditing now, and reading our own disk again.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::exit::Exit;

/// Body of `POST /v1/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Throw the catalogue away and make it anew from shelf, feeds and packs.
    #[serde(default)]
    pub rebuild_index: bool,
    /// Bring files back from friends alone and compare them with what was saved.
    #[serde(default)]
    pub drill: bool,
}

/// One line of the answer to `POST /v1/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CheckLine {
    /// What is being done, in a sentence.
    Progress {
        /// The sentence.
        message: String,
    },
    /// The last line.
    Summary(CheckSummary),
    /// The last line when the check itself failed.
    Failure(Failure),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSummary {
    /// Friends' shards on our shelf that are whole.
    pub shelf_good: u64,
    /// Friends' shards on our shelf that were damaged or gone; their owners are told.
    pub shelf_bad: u64,
    /// Our shards at friends that were proved in this check.
    pub proved: u64,
    /// Our shards at friends that could not be proved.
    pub not_proved: u64,
    /// Whether the catalogue was made anew.
    pub index_rebuilt: bool,
    /// What came of the drill, if one was asked for.
    pub drill: Option<DrillSummary>,
    /// What was found, in sentences.
    pub findings: Vec<String>,
    /// The headline of the status after it.
    pub headline: String,
    /// 0, or 1 when something was damaged.
    pub exit: Exit,
}

/// What came of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillSummary {
    /// Files that came back from friends alone, as they had been saved.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Path texts of those that did not.
    pub failed: Vec<String>,
}
