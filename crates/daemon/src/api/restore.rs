//! Getting files back, and knowing whom to meet for them.

use carryall_core::{
    event::LinkClass,
    id::{MemberId, SnapshotId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::exit::Exit;

/// Body of `POST /v1/restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// A snapshot's id, a unique beginning of one, or `latest` (also when empty).
    #[serde(default)]
    pub snapshot: String,
    /// A path text inside the snapshot; everything when empty.
    #[serde(default)]
    pub path: String,
    /// The absolute path of the target directory, as a path text.
    pub to: String,
    /// Whether files that exist and differ are replaced; they are kept and reported otherwise.
    #[serde(default)]
    pub overwrite: bool,
    /// Give up after so many seconds in which nothing comes within reach; 20 when absent.
    #[serde(default)]
    pub patience_secs: Option<u64>,
}

/// One line of the answer to `POST /v1/restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RestoreLine {
    /// Several times a second.
    Progress(RestoreProgress),
    /// The last line, also when some files are missing.
    Summary(RestoreSummary),
    /// The last line when nothing could be done, or not enough shards are in reach.
    Failure(Failure),
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreProgress {
    /// Files complete.
    pub files: u64,
    /// Plain bytes written.
    pub bytes: u64,
    /// Files in all.
    pub files_total: u64,
    /// Plain bytes in all.
    pub bytes_total: u64,
    /// Packs that are still to come from friends.
    pub packs_missing: u64,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreSummary {
    /// Files written.
    pub files: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Files that were there already and left alone, in sentences.
    pub kept: Vec<String>,
    /// What could not be put back, in sentences.
    pub failed: Vec<String>,
    /// 0, or 3 when something could not be put back.
    pub exit: Exit,
}

impl Eq for RestoreSummary {}

/// Answer to `GET /v1/retrace`: what a full restore of everything needs from friends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retrace {
    /// What to do, in one sentence.
    pub headline: String,
    /// Packs of this member in all.
    pub packs: u64,
    /// Of these, packs that this device can still make itself.
    pub packs_here: u64,
    /// Of the others, packs that devices in reach can rebuild now.
    pub packs_in_reach: u64,
    /// Packs that nobody we know of can rebuild.
    pub packs_lost: u64,
    /// When all that can be brought back will more likely than not be here, if habits tell.
    pub back_by: Option<Timestamp>,
    /// When it will be here in nine of ten cases, if habits tell.
    pub back_at_the_latest: Option<Timestamp>,
    /// The shortest list of devices to meet until all that can be brought back is here, the soonest
    /// first.
    pub stops: Vec<RetraceStop>,
    /// Who holds what: who has something that is missing here first, and of these, who will
    /// probably be met first.
    pub holders: Vec<RetraceHolder>,
    /// Restores that are not done, and go on by themselves; the next one first.
    pub restores: Vec<StandingRestore>,
}

/// A restore that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingRestore {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The path text inside it; everything when empty.
    pub path: String,
    /// The path text of the target directory.
    pub to: String,
    /// How far it is; nothing until it was gone on with since the node was started.
    pub progress: Option<RestoreProgress>,
    /// What it waits for, in a sentence.
    pub waits: Option<String>,
}

/// Body of `POST /v1/restore/stop`: which restores to give up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRestores {
    /// The path text of a target directory; all when absent.
    #[serde(default)]
    pub to: Option<String>,
}

/// Answer to `POST /v1/restore/stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedRestores {
    /// How many restores were given up.
    pub restores: u64,
}

/// One device to meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetraceStop {
    /// Whose it is.
    pub member: MemberId,
    /// What we call them; empty if it is ours.
    pub petname: String,
    /// The device's name.
    pub device: String,
    /// Whether it is a courier, which is plugged in and not met.
    pub courier: bool,
    /// What to call it: the petname, and the device's name where there are several; of a courier that it is
    /// one, its name, and who had it last.
    pub whose: String,
    /// Whether it is connected or near.
    pub reachable: bool,
    /// The shards that it brings of what those before it don't, in bytes.
    pub bytes: u64,
    /// Packs that can be made from then on.
    pub packs: u64,
    /// When it will probably have brought that, if habits tell.
    pub by: Option<Timestamp>,
    /// When its owner is usually met, in words; nothing until that is known.
    pub usual: Option<String>,
    /// Who could take its place.
    pub instead: Vec<String>,
    /// Which couriers could.
    pub instead_couriers: Vec<String>,
}

/// What one member can bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetraceHolder {
    /// The member.
    pub member: MemberId,
    /// What we call them.
    pub petname: String,
    /// Whether one of their devices is connected or near.
    pub reachable: bool,
    /// The best link to them, while reachable.
    pub link: Option<LinkClass>,
    /// The end of the last encounter.
    pub last_met: Option<Timestamp>,
    /// When they are usually met, in words; nothing until that is known.
    pub usual: Option<String>,
    /// From when on they will probably be met next, unless they are reachable now.
    pub expected: Option<Timestamp>,
    /// Number of our shards that they hold.
    pub shards: u64,
    /// The shards' bytes.
    pub bytes: u64,
    /// Of these shards, how many belong to packs that are missing here.
    pub shards_missing_here: u64,
}
