//! Portable disks that carry for the circle.

use carryall_core::{
    id::{DeviceId, MemberId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/couriers/init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRequest {
    /// The absolute path of a directory on the disk, as a path text.
    pub dir: String,
    /// How much may be put on it; nine tenths of what is free when absent.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// What it is called; by its directory when empty.
    #[serde(default)]
    pub name: String,
}

/// Answer to `POST /v1/couriers/init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The courier.
    pub courier: DeviceId,
    /// What it is called.
    pub name: String,
    /// How much may be put on it.
    pub bytes: u64,
}

/// Answer to `GET /v1/couriers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourierList {
    /// All of the circle, by owner.
    pub couriers: Vec<CourierInfo>,
}

/// One courier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourierInfo {
    /// The courier.
    pub courier: DeviceId,
    /// Its owner's name for it.
    pub name: String,
    /// Whose it is.
    pub owner: MemberId,
    /// What we call them.
    pub petname: String,
    /// Whether it is ours.
    pub own: bool,
    /// How much may be put on it.
    pub bytes: u64,
    /// When it was made.
    pub made: Timestamp,
    /// Where it is plugged in here, as a path text.
    pub path: Option<String>,
    /// Whether all is done there, and it is safe to unplug.
    pub synced: bool,
}

/// Body of `POST /v1/couriers/remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveCourierRequest {
    /// What it is called, or the beginning of its id.
    pub name: String,
}
