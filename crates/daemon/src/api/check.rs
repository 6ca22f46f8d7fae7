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
    /// What was found, in sentences.
    pub findings: Vec<String>,
    /// The headline of the status after it.
    pub headline: String,
    /// 0, or 1 when something was damaged.
    pub exit: Exit,
}
