//! What is safe, who keeps what, and what is under way.

use carryall_core::{
    drill::Proof,
    event::LinkClass,
    id::{CircleId, DeviceId, MemberId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The state of this device's backup. Bytes count as safe only where holders proved that they have
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The circle.
    pub circle: CircleId,
    /// This device.
    pub device: DeviceId,
    /// Its owner.
    pub member: MemberId,
    /// One honest sentence.
    pub headline: String,
    /// Whether everything that was backed up would survive the loss of this device.
    pub safe: bool,
    /// Whether a node is running, so that encounters can happen.
    pub running: bool,
    /// Until when the node does nothing by itself, if it pauses.
    pub paused_until: Option<Timestamp>,
    /// Remembered folders, as path texts.
    pub folders: Vec<String>,
    /// Number of snapshots of this member that are known here.
    pub snapshots: u64,
    /// When the newest one was made.
    pub last_snapshot: Option<Timestamp>,
    /// Number of packs.
    pub packs: u64,
    /// Plain bytes of all files of the newest snapshot.
    pub bytes_source: u64,
    /// Bytes of packs that would be lost with this device.
    pub bytes_only_here: u64,
    /// Bytes of packs that can be rebuilt without this device, by proof.
    pub bytes_safe: u64,
    /// Of these, bytes of packs that are safe only with what lies on couriers: two of them weigh as one
    /// friend.
    #[serde(default)]
    pub bytes_by_courier: u64,
    /// Files that were freed here, since friends hold them.
    #[serde(default)]
    pub files_freed: u64,
    /// Their plain bytes.
    #[serde(default)]
    pub bytes_freed: u64,
    /// How many members could vanish before the least safe pack is lost; 0 when only here.
    pub health_min: u32,
    /// The `health_min` that placement works towards.
    pub target: u32,
    /// The last drill in which all files that were asked for came back from friends alone.
    pub last_proof: Option<Proof>,
    /// The other members.
    pub members: Vec<Friend>,
    /// Shards under way.
    pub transfers: Vec<Transfer>,
    /// What could go wrong, in sentences.
    pub risks: Vec<String>,
    /// When everything will probably be safe, if it isn't, nobody is near, and habits tell.
    pub outlook: Option<Outlook>,
}

/// What will probably be, judging by habits. Nothing counts as safe because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// When.
    pub by: Timestamp,
    /// By meeting whom.
    pub member: MemberId,
    /// What we call them.
    pub petname: String,
}

/// Another member, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Friend {
    /// The member.
    pub id: MemberId,
    /// What we call them.
    pub petname: String,
    /// Whether one of their devices is connected or near.
    pub reachable: bool,
    /// The best link to them, while reachable.
    pub link: Option<LinkClass>,
    /// The end of the last encounter.
    pub last_met: Option<Timestamp>,
    /// When they are usually met, in words and local time: "Fridays around 19:00". Nothing until
    /// that is known.
    pub usual: Option<String>,
    /// Whether that is mostly on the network on which this device is now.
    pub usually_here: bool,
    /// From when on they will probably be met next, unless they are reachable now.
    pub expected: Option<Timestamp>,
    /// The probability, in thousandths, of a meeting within a day, by earlier meetings alone.
    pub within_a_day: Option<u32>,
    /// How many bytes a meeting with them can move, by earlier ones.
    pub bytes_per_meeting: Option<u64>,
    /// Bytes of our shards that they signed for.
    pub bytes_held_for_me: u64,
    /// Bytes of our shards that they took from a courier, by their word, and have not proved yet.
    #[serde(default)]
    pub bytes_by_courier: u64,
    /// Our shards that are on the way to them on couriers.
    #[serde(default)]
    pub on_couriers: Vec<OnCourier>,
    /// Bytes of their shards on our shelf.
    pub bytes_i_hold: u64,
    /// Bytes of their shards that lie here until somebody else is met, for whom they are.
    pub bytes_i_carry: u64,
    /// Bytes that they keep for us at most.
    pub offered_to_me: u64,
    /// Bytes that we keep for them at most.
    pub offered_by_me: u64,
    /// Of `bytes_held_for_me`, how much was proved in the last 30 days.
    pub audited: u64,
    /// Their devices.
    pub devices: Vec<Device>,
}

/// Shards of ours on a portable disk, for one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnCourier {
    /// The disk.
    pub courier: DeviceId,
    /// Its owner's name for it.
    pub name: String,
    /// How many bytes.
    pub bytes: u64,
    /// With whom it was last seen; nothing if that was with us, or with nobody so far.
    pub seen_with: Option<String>,
}

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The device.
    pub id: DeviceId,
    /// Its owner's name for it.
    pub name: String,
    /// How many pieces of ours it was asked to show in the last 30 days.
    pub asked: u64,
    /// How many of them it could not show, though it said that it keeps them.
    pub not_shown: u64,
}

/// Answer to `GET /v1/friends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Friends {
    /// The other members.
    pub members: Vec<Friend>,
}

/// Body of `POST /v1/friends/offer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRequest {
    /// Petname, or the beginning of a member id.
    pub friend: String,
    /// How much we keep for them.
    pub bytes: u64,
}

/// Body of `POST /v1/friends/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Petname, or the beginning of a member id; or of a device of our own.
    pub name: String,
    /// Whether a device of our own is meant.
    #[serde(default)]
    pub device: bool,
}

/// Answer to `POST /v1/friends/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How safe everything is without what the removed one keeps.
    pub headline: String,
}

/// Body of `POST /v1/friends/rename`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameRequest {
    /// Petname, or the beginning of a member id.
    pub friend: String,
    /// The new petname.
    pub petname: String,
}

/// Shards under way to or from a peer, taken together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Whose device.
    pub peer: DeviceId,
    /// The owner's petname.
    pub petname: String,
    /// Which way.
    pub direction: Direction,
    /// Bytes done in this encounter.
    pub bytes: u64,
    /// Bytes planned in this encounter.
    pub total: u64,
    /// Bytes per second, lately.
    pub rate: u64,
    /// Seconds to go, once the rate is known.
    pub eta: Option<u64>,
}

/// Which way shards go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the peer.
    Out,
    /// From the peer.
    In,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_rely_on_is_there() {
        let id = [7; 32];
        let friend = Friend {
            id: MemberId(id),
            petname: "Bob".to_owned(),
            reachable: true,
            link: Some(LinkClass::Lan),
            last_met: None,
            usual: None,
            usually_here: false,
            expected: None,
            within_a_day: None,
            bytes_per_meeting: None,
            bytes_held_for_me: 0,
            bytes_by_courier: 0,
            on_couriers: Vec::new(),
            bytes_i_hold: 0,
            bytes_i_carry: 0,
            offered_to_me: 0,
            offered_by_me: 0,
            audited: 0,
            devices: Vec::new(),
        };
        let transfer = Transfer {
            peer: DeviceId(id),
            petname: "Bob".to_owned(),
            direction: Direction::Out,
            bytes: 1,
            total: 2,
            rate: 1,
            eta: Some(1),
        };
        let status = Status {
            circle: CircleId(id),
            device: DeviceId(id),
            member: MemberId(id),
            headline: String::new(),
            safe: false,
            running: true,
            paused_until: None,
            folders: Vec::new(),
            snapshots: 0,
            last_snapshot: None,
            packs: 0,
            bytes_source: 0,
            bytes_only_here: 0,
            bytes_safe: 0,
            bytes_by_courier: 0,
            files_freed: 0,
            bytes_freed: 0,
            health_min: 0,
            target: 0,
            last_proof: None,
            members: vec![friend],
            transfers: vec![transfer],
            risks: Vec::new(),
            outlook: None,
        };
        let json = serde_json::to_value(&status).unwrap();
        let promised = "circle device member headline packs bytes_source bytes_only_here \
                        bytes_safe health_min target members transfers risks";
        for key in promised.split_whitespace() {
            assert!(json.get(key).is_some(), "{key}");
        }
        let promised = "id petname reachable link last_met usual bytes_held_for_me bytes_i_hold \
                        offered_to_me audited";
        for key in promised.split_whitespace() {
            assert!(json["members"][0].get(key).is_some(), "members[].{key}");
        }
        for key in ["peer", "direction", "bytes", "total", "rate", "eta"] {
            assert!(json["transfers"][0].get(key).is_some(), "transfers[].{key}");
        }
        assert_eq!(json["circle"], "07".repeat(32));
        assert_eq!(json["transfers"][0]["direction"], "out");
        assert_eq!(json["members"][0]["link"], "lan");
    }
}
