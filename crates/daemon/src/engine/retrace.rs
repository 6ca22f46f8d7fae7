//! Whom to meet for what: after a loss, and before one.

use std::collections::BTreeMap;

use carryall_core::{
    id::{DeviceId, MemberId},
    node::Node,
    time::Timestamp,
    view::{DeviceView, MemberView, RetraceView},
    way::{Stop, Way},
};

use super::{Engine, EngineError, status};
use crate::api::restore::{Retrace, RetraceHolder, RetraceStop};

/// What the core said at one moment.
struct Sight {
    everything: RetraceView,
    missing: RetraceView,
    way: Way,
    members: Vec<MemberView>,
    owners: BTreeMap<DeviceId, MemberId>,
}

impl Sight {
    fn of(node: &Node, now: Timestamp) -> Self {
        Self {
            missing: node.retrace_of(node.packs_missing(), now),
            everything: node.retrace_of(node.packs(), now),
            way: node.way_home(node.packs_missing(), now),
            members: node.members(now),
            owners: node.circle().devices().collect(),
        }
    }

    fn stop(&self, stop: &Stop) -> Option<RetraceStop> {
        let (member, device) = self.device(stop.device)?;
        let mut instead: Vec<String> = Vec::new();
        for other in &stop.instead {
            let name = self
                .device(*other)
                .map(|(member, device)| called(member, device));
            instead.extend(name);
        }
        Some(RetraceStop {
            member: member.member,
            petname: member.petname.clone(),
            device: device.name.clone(),
            whose: called(member, device),
            reachable: device.near,
            bytes: stop.bytes,
            packs: stop.packs,
            by: stop.by,
            usual: status::friend(member).usual,
            instead,
        })
    }

    fn device(&self, device: DeviceId) -> Option<(&MemberView, &DeviceView)> {
        let owner = self.owners.get(&device)?;
        let member = self.members.iter().find(|it| it.member == *owner)?;
        let found = member.devices.iter().find(|it| it.device == device)?;
        Some((member, found))
    }
}

/// Returns what to call a device: by whose it is, where that is enough.
fn called(member: &MemberView, device: &DeviceView) -> String {
    match member.devices.len() {
        1 => member.petname.clone(),
        _ => format!("{} ({})", member.petname, device.name),
    }
}

impl Engine {
    /// Returns what a restore of everything needs from friends.
    pub async fn retrace(&self) -> Result<Retrace, EngineError> {
        let world = self.world().await?;
        let sight = world.inbox.look(|node, now| Sight::of(node, now)).await?;
        // In the order of the core: whoever will be met first.
        let mut holders: Vec<RetraceHolder> = Vec::new();
        for (view, missing) in [(&sight.missing, true), (&sight.everything, false)] {
            for held in &view.holders {
                let Some(owner) = sight.owners.get(&held.device) else {
                    continue;
                };
                let Some(member) = sight.members.iter().find(|it| it.member == *owner) else {
                    continue;
                };
                let known = holders.iter().position(|it| it.member == *owner);
                let at = known.unwrap_or(holders.len());
                if known.is_none() {
                    holders.push(holder(member));
                }
                let holder = &mut holders[at];
                if missing {
                    holder.shards_missing_here += held.shards;
                } else {
                    holder.shards += held.shards;
                    holder.bytes += held.bytes;
                }
            }
        }
        let (all, missing) = (sight.everything.packs_missing, &sight.missing);
        let stops: Vec<RetraceStop> = (sight.way.stops.iter())
            .filter_map(|stop| sight.stop(stop))
            .collect();
        Ok(Retrace {
            headline: headline(all, missing, &stops),
            packs: all,
            packs_here: all - missing.packs_missing,
            packs_in_reach: missing.packs_in_reach,
            packs_lost: missing.packs_nowhere,
            back_by: sight.way.by,
            back_at_the_latest: sight.way.at_the_latest,
            stops,
            holders,
            restores: self.standing_restores(),
        })
    }
}

fn holder(member: &MemberView) -> RetraceHolder {
    let friend = status::friend(member);
    RetraceHolder {
        member: friend.id,
        petname: friend.petname,
        reachable: friend.reachable,
        link: friend.link,
        last_met: friend.last_met,
        usual: friend.usual,
        expected: friend.expected,
        shards: 0,
        bytes: 0,
        shards_missing_here: 0,
    }
}

fn headline(all: u64, missing: &RetraceView, stops: &[RetraceStop]) -> String {
    if all == 0 {
        return "Nothing is backed up yet, so there is nothing to bring back.".to_owned();
    }
    let wanted = missing.packs_missing;
    if wanted == 0 {
        return "Nothing is missing: this device can make everything itself.".to_owned();
    }
    if missing.packs_in_reach == wanted {
        return format!("All {wanted} packs that are missing here can be brought back now.");
    }
    let mut sentence = format!(
        "{} of {wanted} packs that are missing here are out of reach.",
        wanted - missing.packs_in_reach
    );
    let away: Vec<String> = stops
        .iter()
        .filter(|it| !it.reachable)
        .map(meeting)
        .collect();
    if !away.is_empty() {
        sentence.push_str(&format!(" Meet {}.", joined(&away, "and")));
    }
    if missing.packs_nowhere > 0 {
        let nowhere = missing.packs_nowhere;
        sentence.push_str(&format!(
            " Nobody we know of can rebuild {nowhere} of them."
        ));
    }
    sentence
}

/// Says whom to meet, who would do as well, and when that usually is.
fn meeting(stop: &RetraceStop) -> String {
    let names: Vec<String> = [&stop.whose]
        .into_iter()
        .chain(&stop.instead)
        .cloned()
        .collect();
    let mut said = either(&names);
    if let Some(usual) = &stop.usual {
        said.push_str(&format!(" (usually {usual})"));
    }
    said
}

/// Returns names with commas and "or" between them.
pub(super) fn either(names: &[String]) -> String {
    joined(names, "or")
}

fn joined(names: &[String], word: &str) -> String {
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
    }
}
