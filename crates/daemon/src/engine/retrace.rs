//! Whom to meet for what: after a loss, and before one.

use std::collections::BTreeMap;

use carryall_core::{
    id::{DeviceId, MemberId},
    node::Node,
    time::Timestamp,
    view::{DeviceView, MemberView, OnCourier, RetraceView},
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
    /// `restoring` tells whether everything is being restored.
    fn of(node: &Node, now: Timestamp, restoring: bool) -> Self {
        // What that has brought back already takes no meeting, though no file that is backed up has it.
        let way = match restoring && node.wanted_packs().next().is_some() {
            true => node.way_home(node.wanted_packs(), now),
            false => node.way_home(node.packs_missing(), now),
        };
        Self {
            missing: node.retrace_of(node.packs_missing(), now),
            everything: node.retrace_of(node.packs(), now),
            way,
            members: node.members(now),
            owners: (node.circle().devices())
                .chain((node.circle().couriers()).map(|card| (card.courier, card.member)))
                .collect(),
        }
    }

    fn stop(&self, stop: &Stop) -> Option<RetraceStop> {
        let member = *self.owners.get(&stop.device)?;
        let owner = self.members.iter().find(|it| it.member == member);
        let (courier, met) = (self.courier(stop.device), self.device(stop.device));
        let (device, whose) = match (courier, met) {
            (Some(courier), _) => (courier.name.clone(), disk(courier)),
            (None, Some((owner, device))) => (device.name.clone(), called(owner, device)),
            (None, None) => return None,
        };
        let people = (stop.instead.iter()).filter_map(|it| self.device(*it));
        let disks = (stop.instead.iter()).filter_map(|it| self.courier(*it));
        Some(RetraceStop {
            member,
            petname: owner.map_or_else(String::new, |it| it.petname.clone()),
            device,
            courier: courier.is_some(),
            whose,
            reachable: met.is_some_and(|(_, device)| device.near),
            bytes: stop.bytes,
            packs: stop.packs,
            by: stop.by,
            usual: met.and_then(|(owner, _)| status::friend(owner).usual),
            instead: people.map(|(owner, it)| called(owner, it)).collect(),
            instead_couriers: disks.map(disk).collect(),
        })
    }

    fn courier(&self, courier: DeviceId) -> Option<&OnCourier> {
        let mut couriers = self.missing.couriers.iter();
        couriers.find(|it| it.courier == courier)
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

/// Returns what to call a courier.
pub(super) fn disk(courier: &OnCourier) -> String {
    let name = &courier.name;
    match &courier.seen_with {
        Some(with) => format!("the courier {name}, which {with} had last"),
        None => format!("the courier {name}"),
    }
}

impl Engine {
    /// Returns what a restore of everything needs from friends.
    pub async fn retrace(&self) -> Result<Retrace, EngineError> {
        let world = self.world().await?;
        let restores = self.standing_restores();
        let restoring = restores.iter().any(|it| matches!(&*it.path, "" | "/"));
        let look = move |node: &mut Node, now| Sight::of(node, now, restoring);
        let sight = world.inbox.look(look).await?;
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
            restores,
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
    sentence.push_str(&what_to_do(stops));
    if missing.packs_nowhere > 0 {
        let nowhere = missing.packs_nowhere;
        sentence.push_str(&format!(
            " Nobody we know of can rebuild {nowhere} of them."
        ));
    }
    sentence
}

/// Says whom to meet and what to plug in, with a space before it; nothing if that would not help.
fn what_to_do(stops: &[RetraceStop]) -> String {
    let away: Vec<&RetraceStop> = stops.iter().filter(|it| !it.reachable).collect();
    if away
        .iter()
        .any(|it| it.courier || !it.instead_couriers.is_empty())
    {
        let each: Vec<String> = away.iter().map(|stop| way_of(stop)).collect();
        return format!(" You can {}.", each.join("; then "));
    }
    let each: Vec<String> = away
        .iter()
        .map(|stop| meeting(stop, &stop.instead))
        .collect();
    match each.is_empty() {
        true => String::new(),
        false => format!(" Meet {}.", joined(&each, "and")),
    }
}

/// Says what to plug in or whom to meet, what comes first of both first.
fn way_of(stop: &RetraceStop) -> String {
    let plug = |names: &[String]| format!("plug in {}", either(names));
    let ways = match (stop.courier, &stop.instead[..], &stop.instead_couriers[..]) {
        (true, people, disks) => {
            let disks: Vec<String> = [&stop.whose].into_iter().chain(disks).cloned().collect();
            let meet = (!people.is_empty()).then(|| format!("meet {}", either(people)));
            [Some(plug(&disks)), meet]
        }
        (false, people, disks) => {
            let meet = format!("meet {}", meeting(stop, people));
            [Some(meet), (!disks.is_empty()).then(|| plug(disks))]
        }
    };
    ways.into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

/// Says whom to meet, who would do as well, and when that usually is.
fn meeting(stop: &RetraceStop, instead: &[String]) -> String {
    let names: Vec<String> = [&stop.whose].into_iter().chain(instead).cloned().collect();
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
