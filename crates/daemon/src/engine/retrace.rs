//! Whom to meet for what: after a loss, and before one.

use std::collections::BTreeMap;

use carryall_core::{
    id::MemberId,
    node::Node,
    outlook::Outlook,
    time::Timestamp,
    view::{MemberView, RetraceView},
};

use super::{Engine, EngineError, status};
use crate::api::restore::{Retrace, RetraceHolder};

/// What the core said at one moment.
struct Sight {
    everything: RetraceView,
    missing: RetraceView,
    back_by: Option<Outlook>,
    members: Vec<MemberView>,
    owners: BTreeMap<carryall_core::id::DeviceId, MemberId>,
}

impl Sight {
    fn of(node: &Node, now: Timestamp) -> Self {
        Self {
            missing: node.retrace_of(node.packs_missing(), now),
            everything: node.retrace_of(node.packs(), now),
            back_by: node.back_by(node.packs_missing(), now),
            members: node.members(now),
            owners: node.circle().devices().collect(),
        }
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
        Ok(Retrace {
            headline: headline(all, missing, &holders),
            packs: all,
            packs_here: all - missing.packs_missing,
            packs_in_reach: missing.packs_in_reach,
            packs_lost: missing.packs_nowhere,
            outlook: (sight.back_by).map(|it| status::outlook(it, &sight.members)),
            holders,
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

fn headline(all: u64, missing: &RetraceView, holders: &[RetraceHolder]) -> String {
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
    let away = away(holders);
    if !away.is_empty() {
        sentence.push_str(&format!(" Meet {away}."));
    }
    if missing.packs_nowhere > 0 {
        let nowhere = missing.packs_nowhere;
        sentence.push_str(&format!(
            " Nobody we know of can rebuild {nowhere} of them."
        ));
    }
    sentence
}

/// Returns the names of those who have something that is missing here and are not in reach.
fn away(holders: &[RetraceHolder]) -> String {
    let away = holders
        .iter()
        .filter(|it| it.shards_missing_here > 0 && !it.reachable);
    let name = |it: &RetraceHolder| match &it.usual {
        Some(usual) => format!("{} (usually {usual})", it.petname),
        None => it.petname.clone(),
    };
    let names: Vec<String> = away.map(name).collect();
    either(&names)
}

/// Returns names with commas and "or" between them.
pub(super) fn either(names: &[String]) -> String {
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
