//! Inviting somebody, and joining by an invite.

use carryall_core::{id::CircleId, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::Failure;

/// Body of `POST /v1/invite`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRequest {
    /// What we call the guest; `friend` when empty.
    #[serde(default)]
    pub petname: String,
}

/// Answer to `POST /v1/invite`. The link is a secret for one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The link; its secret is in the fragment.
    pub link: String,
    /// What we call the guest.
    pub petname: String,
    /// From then on it is refused.
    pub expires: Timestamp,
}

/// Body of `POST /v1/join`. The device leaves its present circle for the new one; that is refused
/// unless it is alone there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The invite's link. Without one, a recovered member looks for friends nearby: the words are proof.
    #[serde(default)]
    pub link: Option<String>,
    /// Give up after so many seconds; 60 when absent.
    #[serde(default)]
    pub timeout_secs: Option<u64>,
}

/// One line of the answer to `POST /v1/join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JoinLine {
    /// What is being done, in a sentence.
    Progress {
        /// The sentence.
        message: String,
    },
    /// The last line: we are in.
    Summary {
        /// The circle.
        circle: CircleId,
        /// Who let us in, by the name on their card.
        by: String,
        /// A recovered member: the vault's keys were found, and snapshots can be restored.
        recovered: bool,
    },
    /// The last line: we are not.
    Failure(Failure),
}
