//! Pausing: the node does nothing by itself for a while.

use carryall_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/pause`, and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Until when; nothing ends the pause.
    #[serde(default)]
    pub until: Option<Timestamp>,
}
