//! What happens, in sentences: the same notices that scripts get as JSON.

use std::collections::BTreeMap;

use carryall_core::{
    event::{LinkClass, Notice},
    id::{DeviceId, MemberId},
    message::{Farewell, Refusal},
};
use carryall_daemon::api::status::Friend;

use crate::ui;

/// What members are called, and whose devices are whose.
#[derive(Debug, Default)]
pub(crate) struct Names {
    members: BTreeMap<MemberId, String>,
    devices: BTreeMap<DeviceId, MemberId>,
}

impl Names {
    /// Learns from a list of friends.
    pub(crate) fn learn(&mut self, friends: &[Friend]) {
        for friend in friends {
            self.members.insert(friend.id, friend.petname.clone());
            self.devices
                .extend(friend.devices.iter().map(|device| (device.id, friend.id)));
        }
    }

    /// Tells whether everybody whom the notice is about has a name here.
    pub(crate) fn suffice(&self, notice: &Notice) -> bool {
        match notice {
            Notice::Met { member, .. }
            | Notice::Judged { member, .. }
            | Notice::Parted { member, .. }
            | Notice::Discarded { owner: member, .. }
            | Notice::Retrieved { owner: member, .. }
            | Notice::Erased { owner: member, .. }
            | Notice::Delivered { owner: member, .. } => self.members.contains_key(member),
            Notice::Proved { holder: device, .. }
            | Notice::NotProved { holder: device, .. }
            | Notice::Released { holder: device, .. }
            | Notice::NoRoom { holder: device, .. }
            | Notice::Entrusted {
                carrier: device, ..
            }
            | Notice::Welcomed { by: device } => self.devices.contains_key(device),
            _ => true,
        }
    }

    fn member(&self, member: &MemberId) -> String {
        self.members
            .get(member)
            .cloned()
            .unwrap_or_else(|| member.short())
    }

    fn device(&self, device: &DeviceId) -> String {
        let member = self
            .devices
            .get(device)
            .and_then(|member| self.members.get(member));
        member.cloned().unwrap_or_else(|| device.short())
    }
}

/// Returns the word for a link.
pub(crate) const fn link(class: LinkClass) -> &'static str {
    match class {
        LinkClass::Lan => "the local network",
        LinkClass::Direct => "the internet",
        LinkClass::Relay => "a relay",
        LinkClass::Metered => "a metered link",
    }
}

/// Says why somebody takes no shard.
const fn refused(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Have => "it is there already",
        Refusal::OfferUsedUp => "what they offered is used up",
        Refusal::DiskFull => "their disk is full",
        Refusal::Busy => "they are busy",
        Refusal::NotAMember => "they don't know us as a member",
        Refusal::Unaddressed => "they don't know that it is for them",
    }
}

/// Says why somebody ended the conversation.
const fn turned_away(farewell: Farewell) -> &'static str {
    match farewell {
        Farewell::Done => "all is said",
        Farewell::Version(_) => "they run another version",
        Farewell::ForeignCircle => "theirs is another circle",
        Farewell::NotAMember => "we are no member",
        Farewell::InviteUnknown => "they don't know the invite",
        Farewell::InviteExpired => "the invite has expired",
        Farewell::InviteUsed => "the invite was used already",
        Farewell::InviteForged => "the invite's proof does not hold",
        Farewell::ProtocolError => "we were not understood",
        Farewell::TooManyDevices => "there can be no more devices",
    }
}

/// Tells whether a person who watches the node wants to read it: single shards and packs are for
/// scripts.
pub(crate) const fn is_news(notice: &Notice) -> bool {
    !matches!(
        notice,
        Notice::Placed { .. }
            | Notice::Kept { .. }
            | Notice::PackSafe { .. }
            | Notice::Fetched { .. }
            | Notice::Discarded { .. }
            | Notice::Repairing { .. }
    )
}

/// Returns the sentence for a notice.
pub(crate) fn sentence(notice: &Notice, names: &Names) -> String {
    match notice {
        Notice::Met { member, link, .. } => {
            format!("Met {} over {}.", names.member(member), self::link(*link))
        }
        Notice::Judged { member, link, .. } => format!(
            "{} is reached over {}, by measurement.",
            names.member(member),
            self::link(*link)
        ),
        Notice::Parted {
            member,
            sent,
            received,
            ..
        } => format!(
            "Parted from {}: {} sent, {} received.",
            names.member(member),
            ui::bytes(*sent),
            ui::bytes(*received)
        ),
        Notice::Placed { pack, holder, .. } => {
            format!(
                "{} keeps a shard of pack {}.",
                names.device(holder),
                pack.short()
            )
        }
        Notice::Kept { owner, bytes, .. } => {
            format!(
                "Kept a shard of {} for {}.",
                ui::bytes(u64::from(*bytes)),
                names.member(owner)
            )
        }
        Notice::Proved { holder, shards } => {
            format!(
                "{} proved {}.",
                names.device(holder),
                ui::count((*shards).into(), "shard", "shards")
            )
        }
        Notice::NotProved { holder, shard } => {
            format!(
                "{} could not prove shard {}.",
                names.device(holder),
                shard.short()
            )
        }
        Notice::PackSafe { pack } => format!("Pack {} is safe with friends.", pack.short()),
        Notice::AllSafe { packs } => {
            format!(
                "Everything is safe with friends: {}.",
                ui::count(*packs, "pack", "packs")
            )
        }
        Notice::Joined { member, petname } => {
            format!("{petname} ({}) joined the circle.", member.short())
        }
        Notice::Welcomed { by } => format!("{} let us in.", names.device(by)),
        Notice::TurnedAway { by, farewell } => {
            format!(
                "{} turned us away: {}.",
                names.device(by),
                turned_away(*farewell)
            )
        }
        Notice::Published { time } => {
            format!("A snapshot was published at {}.", ui::local_time(time.0))
        }
        Notice::Released { holder, shards, .. } => format!(
            "Another device of yours asked {} to drop {} of yours in 30 days.",
            names.device(holder),
            ui::count((*shards).into(), "shard", "shards")
        ),
        Notice::Discarded { owner, shards } => format!(
            "{} of {} went to the trash for 30 days.",
            ui::count((*shards).into(), "shard", "shards"),
            names.member(owner)
        ),
        Notice::Retrieved { owner, shards } => format!(
            "{} of {} came back from the trash.",
            ui::count((*shards).into(), "shard", "shards"),
            names.member(owner)
        ),
        Notice::Erased {
            owner,
            shards,
            bytes,
        } => format!(
            "{} of {} left the trash for good: {} are free again.",
            ui::count((*shards).into(), "shard", "shards"),
            names.member(owner),
            ui::bytes(*bytes)
        ),
        Notice::Fetched { pack } => format!("Pack {} arrived.", pack.short()),
        Notice::Repairing { pack } => {
            format!("Pack {} is back to be repaired.", pack.short())
        }
        Notice::Drilled {
            files,
            bytes,
            failed,
        } => drilled(*files, *bytes, *failed),
        Notice::Restored {
            files,
            bytes,
            failed,
        } => restored(*files, *bytes, *failed),
        Notice::Entrusted {
            carrier,
            to,
            shards,
        } => format!(
            "{} takes {shards} of our shards along for {}.",
            names.device(carrier),
            names.member(to)
        ),
        Notice::Delivered { owner, to, .. } => format!(
            "{} has a shard of {}'s that we took along.",
            names.member(to),
            names.member(owner)
        ),
        Notice::NoRoom { holder, reason } => {
            format!(
                "{} takes nothing more: {}.",
                names.device(holder),
                refused(*reason)
            )
        }
        Notice::SourceChanged { pack } => format!(
            "Files of pack {} changed before a friend had it; it will be made anew.",
            pack.short()
        ),
        Notice::Forked { device } => format!(
            "Device {} contradicts itself and is not believed any more.",
            names.device(device)
        ),
        Notice::SnapshotMade { snapshot } => format!("Snapshot {} was made.", snapshot.short()),
        Notice::CourierHere { name, .. } => format!("The courier {name} is plugged in."),
        Notice::CourierSynced {
            name, taken, put, ..
        } => format!(
            "The courier {name} is safe to unplug: {} taken from it, {} put on it.",
            ui::bytes(*taken),
            ui::bytes(*put)
        ),
        Notice::CourierProblem { what } => format!("Courier: {what}."),
        Notice::Tidied { snapshots, bytes } => format!(
            "{} forgotten by your rules, {} at friends given up. To take it back: carryall prune --undo",
            ui::count(*snapshots, "snapshot", "snapshots"),
            ui::bytes(*bytes)
        ),
    }
}
/// Says what came of a restore that went on by itself.
fn restored(files: u64, bytes: u64, failed: u64) -> String {
    let back = ui::count(files, "file", "files");
    let bytes = ui::bytes(bytes);
    match failed {
        0 => format!("Restored: {back} ({bytes}) are back, all that was wanted."),
        _ => format!(
            "Restored: {back} ({bytes}) are back; {} could not be put back: carryall restore says why.",
            ui::count(failed, "name", "names")
        ),
    }
}

/// Says what came of a drill.
pub(crate) fn drilled(files: u64, bytes: u64, failed: u64) -> String {
    let came = ui::count(files, "file", "files");
    let bytes = ui::bytes(bytes);
    match failed {
        0 => format!("Drill: {came} ({bytes}) came back from friends alone, as saved."),
        _ => format!("Drill: {came} ({bytes}) came back from friends alone, and {failed} did not."),
    }
}
