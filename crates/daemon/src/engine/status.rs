//! What is safe and what is not, in one honest sentence and many numbers.

use carryall_core::{
    drill::Drills,
    event::LinkClass,
    id::DeviceId,
    node::Node,
    outlook as core,
    time::Timestamp,
    view::{MemberView, Safety},
};
use carryall_net::Net;
use carryall_store::freed::Freed;

use super::{Engine, EngineError, blocking};
use crate::{
    api::{
        path,
        status::{Device, Direction, Friend, OnCourier, Outlook, Status, Transfer},
    },
    exit::Exit,
    meter::Meter,
    usual,
};

/// What the core said at one moment.
#[derive(Debug)]
struct Sight {
    circle: carryall_core::id::CircleId,
    device: DeviceId,
    member: carryall_core::id::MemberId,
    joined: bool,
    has_keys: bool,
    safety: Safety,
    members: Vec<MemberView>,
    paused_until: Option<Timestamp>,
    safe_by: Option<core::Outlook>,
}

impl Sight {
    fn of(node: &Node, now: Timestamp) -> Self {
        Self {
            circle: node.circle().id(),
            device: node.device(),
            member: node.member(),
            joined: node.identity().circle.is_some(),
            has_keys: node.vault_keys().is_some(),
            safety: node.safety(now),
            members: node.members(now),
            paused_until: node.paused_until(),
            safe_by: node.safe_by(now),
        }
    }
}

impl Engine {
    /// Returns the state of this device's backup.
    pub async fn status(&self) -> Result<Status, EngineError> {
        let world = self.world().await?;
        let sight = world.inbox.look(|node, now| Sight::of(node, now)).await?;
        let drills = self.drills().await?;
        let store = world.store.clone();
        let look = move || {
            let (snapshots, roots) = (store.catalogue.snapshots()?, store.catalogue.roots()?);
            Ok((snapshots, roots, store.vault.freed()))
        };
        let (snapshots, roots, freed) = blocking(look).await?;
        let mut risks = risks(&sight, &drills);
        let freed = freed.unwrap_or_else(|error| {
            risks.push(format!("{error}."));
            Freed::default()
        });
        let newest = snapshots.last().map(|row| &row.head);
        let members: Vec<Friend> = sight.members.iter().map(friend).collect();
        let transfers = transfers(world.net.as_ref(), &world.meter, &sight.members);
        let safety = &sight.safety;
        Ok(Status {
            circle: sight.circle,
            device: sight.device,
            member: sight.member,
            headline: headline(&sight, newest.is_some()),
            safe: is_safe(safety),
            running: self.is_online(),
            paused_until: sight.paused_until,
            folders: roots.iter().map(|(root, _)| path::to_text(root)).collect(),
            snapshots: snapshots.len() as u64,
            last_snapshot: newest.map(|head| head.time),
            packs: safety.packs,
            bytes_source: newest.map_or(0, |head| head.bytes),
            bytes_only_here: safety.bytes_only_here(),
            bytes_safe: safety.bytes_safe,
            bytes_by_courier: safety.bytes_by_courier,
            health_min: safety.health_min,
            target: safety.target,
            last_proof: drills.proof,
            files_freed: freed.len() as u64,
            bytes_freed: freed.bytes(),
            risks,
            outlook: sight.safe_by.map(|it| outlook(it, &sight.members)),
            members,
            transfers,
        })
    }

    /// Returns the headline, and the exit code that goes with it.
    pub(super) async fn verdict(&self) -> Result<(String, Exit), EngineError> {
        let status = self.status().await?;
        let exit = if status.safe {
            Exit::Done
        } else {
            Exit::NotYetSafe
        };
        Ok((status.headline, exit))
    }
}

/// Tells whether friends alone can rebuild everything, by proof.
fn is_safe(safety: &Safety) -> bool {
    safety.packs > 0 && safety.bytes_only_here() == 0
}

fn headline(sight: &Sight, any_snapshot: bool) -> String {
    let safety = &sight.safety;
    if !sight.joined {
        return "This device is in no circle yet: join one by an invite.".to_owned();
    }
    if !sight.has_keys {
        return "This device waits for its keys: meet a friend who has them.".to_owned();
    }
    if safety.packs == 0 && !any_snapshot {
        return "Nothing is backed up yet.".to_owned();
    }
    if is_safe(safety) {
        return safe_headline(safety);
    }
    if sight.members.is_empty() {
        return "Everything is only here: you have no friend in the circle yet.".to_owned();
    }
    let held: u64 = sight
        .members
        .iter()
        .map(|member| member.bytes_held_for_me)
        .sum();
    if held == 0 && sight.members.iter().any(|it| !it.on_couriers.is_empty()) {
        return "Everything is only here and on couriers: no friend holds anything yet.".to_owned();
    }
    if held == 0 {
        return "Everything is only here: no friend holds anything yet.".to_owned();
    }
    if safety.bytes_claimed == safety.bytes {
        return "Friends say that they have everything; it counts as safe once they prove it."
            .to_owned();
    }
    if safety.bytes_safe == 0 {
        return "Friends hold a part, but nothing is safe yet.".to_owned();
    }
    let percent = u128::from(safety.bytes_safe) * 100 / u128::from(safety.bytes.max(1));
    format!("{percent} % is safe with friends, the rest is only here.")
}

fn safe_headline(safety: &Safety) -> String {
    let lost = match safety.health_min {
        1 => "if this device is lost".to_owned(),
        2 => "even if this device and one friend are lost".to_owned(),
        more => format!("even if this device and {} friends are lost", more - 1),
    };
    if safety.bytes_by_courier > 0 {
        format!("Everything comes back {lost}, a part of it by couriers that others have.")
    } else if safety.packs_below_target > 0 {
        format!("Everything comes back {lost}; more copies are on their way.")
    } else {
        format!("Everything comes back {lost}.")
    }
}

fn risks(sight: &Sight, drills: &Drills) -> Vec<String> {
    let safety = &sight.safety;
    let mut risks = Vec::new();
    if drills.failed > 0 {
        let failed = drills.failed;
        risks.push(format!(
            "{failed} files did not come back from friends as they were saved, when that was tried \
             last: carryall check --drill."
        ));
    }
    if safety.packs_lost > 0 {
        let lost = safety.packs_lost;
        risks.push(format!(
            "{lost} packs can neither be made here nor brought back by friends: their files \
             changed before anybody had them."
        ));
    }
    if sight.members.is_empty() && safety.packs > 0 {
        risks.push("Nobody else keeps anything: invite a friend.".to_owned());
    }
    if safety.health_min == 1 && sight.members.len() == 1 {
        risks.push("There is only one friend: if both of you lose your disks, all is lost.".into());
    }
    for member in &sight.members {
        let name = &member.petname;
        if member.refusal.is_some() {
            risks.push(format!("{name} has no room for more now."));
        }
        if member.devices.iter().any(|device| device.turned_away) {
            risks.push(format!(
                "{name} says that this device does not belong to the circle: it was removed, or \
                 {name} has not heard yet that it was let in."
            ));
        }
        for device in &member.devices {
            let (failed, asked) = (device.shown.failed, device.shown.asked);
            if failed > 0 {
                risks.push(format!(
                    "{name}'s {} could not show {failed} of {asked} pieces it said it keeps: they \
                     don't count, and others get them.",
                    device.name
                ));
            }
        }
        let unproved = member
            .bytes_held_for_me
            .saturating_sub(member.bytes_audited);
        let gone = member.devices.iter().find(|device| device.gone);
        if let Some(device) = gone.filter(|_| unproved > 0) {
            risks.push(format!(
                "{name}'s {} was away for longer than it ever is: what it keeps doesn't count, and \
                 goes to others.",
                device.name
            ));
        } else if unproved > 0 {
            let until = match member.bytes_by_courier {
                0 => "you meet",
                _ => "you meet, or the disk by which they came is back",
            };
            risks.push(format!(
                "{name} has not proved {unproved} bytes lately; they don't count until {until}."
            ));
        }
    }
    risks
}

pub(super) fn outlook(found: core::Outlook, members: &[MemberView]) -> Outlook {
    let member = members.iter().find(|it| it.member == found.member);
    Outlook {
        by: found.by,
        member: found.member,
        petname: member.map_or_else(|| found.member.short(), |it| it.petname.clone()),
    }
}

pub(super) fn friend(view: &MemberView) -> Friend {
    let reachable = view.devices.iter().any(|device| device.near);
    let best: Option<LinkClass> = view.devices.iter().filter_map(|device| device.link).min();
    Friend {
        id: view.member,
        petname: view.petname.clone(),
        reachable,
        link: best,
        last_met: view
            .devices
            .iter()
            .filter_map(|device| device.last_met)
            .max(),
        usual: view.expected.usual.as_ref().map(usual::words),
        usually_here: view.expected.usually_here,
        expected: view.expected.next.filter(|_| !reachable),
        within_a_day: view.expected.within_a_day,
        bytes_per_meeting: view.expected.bytes_per_meeting,
        bytes_held_for_me: view.bytes_held_for_me,
        bytes_by_courier: view.bytes_by_courier,
        on_couriers: view.on_couriers.iter().map(on_courier).collect(),
        bytes_i_hold: view.bytes_i_hold,
        bytes_i_carry: view.bytes_i_carry,
        offered_to_me: view.offered_to_me,
        offered_by_me: view.offered_by_me,
        audited: view.bytes_audited,
        devices: view
            .devices
            .iter()
            .map(|device| Device {
                id: device.device,
                name: device.name.clone(),
                asked: device.shown.asked.into(),
                not_shown: device.shown.failed.into(),
            })
            .collect(),
    }
}

fn on_courier(view: &carryall_core::view::OnCourier) -> OnCourier {
    OnCourier {
        courier: view.courier,
        name: view.name.clone(),
        bytes: view.bytes,
        seen_with: view.seen_with.clone(),
    }
}

/// Sums up the shards under way, per peer and direction.
fn transfers(net: Option<&Net>, meter: &Meter, members: &[MemberView]) -> Vec<Transfer> {
    let underway = net.map(Net::transfers).unwrap_or_default();
    let petname = |device: DeviceId| {
        let owner = members
            .iter()
            .find(|it| it.devices.iter().any(|it| it.device == device));
        owner.map_or_else(|| device.short(), |owner| owner.petname.clone())
    };
    meter
        .read(&underway)
        .into_iter()
        .map(|((peer, direction), reading)| Transfer {
            peer,
            petname: petname(peer),
            direction: match direction {
                carryall_net::Direction::Sending => Direction::Out,
                carryall_net::Direction::Receiving => Direction::In,
            },
            bytes: reading.done,
            total: reading.total,
            rate: reading.rate,
            eta: (reading.total - reading.done).checked_div(reading.rate),
        })
        .collect()
}
