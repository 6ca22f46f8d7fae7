//! The owner's side: asking holders to show random ranges of what they signed for.
//!
//! A receipt is a claim; only a proof counts. No answer is not a failure, a wrong one is.

use alloc::{collections::VecDeque, vec::Vec};

use rand_core::Rng;

use super::Node;
use crate::{
    codec::encode,
    entry::{AuditList, Body},
    event::{LinkId, Notice},
    id::{DeviceId, ShardId},
    inventory::Holding,
    key, limits,
    message::{GroupProof, Message},
    policy::Bulk,
    proof,
    time::Timestamp,
};

/// Outcomes of probes at one holder.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    proved: Vec<ShardId>,
    failed: Vec<ShardId>,
}

impl Outcomes {
    pub(super) fn is_empty(&self) -> bool {
        self.proved.is_empty() && self.failed.is_empty()
    }
}

impl Node {
    /// Tells whether a held shard should be proved now: never yet, not lately, or not since the owner
    /// asked for an audit of everything.
    fn due(&self, holding: &Holding) -> bool {
        holding.believed()
            && holding.proved.is_none_or(|proved| {
                proved < self.audit_floor
                    || holding.is_refuted()
                    || self.now.since(proved) >= limits::AUDIT_AGAIN
            })
    }

    /// Tells whether a device should be asked for proofs.
    pub(super) fn audit_due(&self, holder: DeviceId) -> bool {
        self.inventory
            .held_by(holder)
            .any(|(shard, holding)| self.due(&holding) && self.inventory.locate(shard).is_some())
    }

    /// Returns the shards at a device that should be proved now: never proved first, then those
    /// whose proof is oldest.
    fn audit_queue(&self, holder: DeviceId) -> VecDeque<ShardId> {
        let held = self.inventory.held_by(holder);
        let mut due: Vec<(Option<Timestamp>, ShardId)> = held
            .filter(|(_, holding)| self.due(holding))
            .map(|(shard, holding)| (holding.proved, shard))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Challenges the peer of a link.
    pub(super) fn probe(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let under_way = encounter.probes.len();
        let own = encounter.member == Some(self.member);
        if under_way > limits::PROBES_IN_FLIGHT_MAX / 2 || own || encounter.bulk() == Bulk::Nothing
        {
            return;
        }
        if encounter.audit_look != Some(self.audit_look) {
            let (audits, look) = (self.audit_queue(encounter.peer), self.audit_look);
            if let Some(encounter) = self.encounters.get_mut(&link) {
                (encounter.audits, encounter.audit_look) = (audits, Some(look));
            }
        }
        let mut shards = Vec::new();
        while shards.len() < limits::PROBES_IN_FLIGHT_MAX - under_way {
            let Some(encounter) = self.encounters.get_mut(&link) else {
                return;
            };
            let Some(shard) = encounter.audits.pop_front() else {
                break;
            };
            let asked = encounter.probes.contains_key(&shard);
            let holding = self.inventory.holding(encounter.peer, shard);
            if let Some((pack, _)) = self.inventory.locate(shard)
                && !asked
                && self.due(&holding)
            {
                shards.push((shard, pack.record.coding.shard_bytes));
            }
        }
        if shards.is_empty() {
            return;
        }
        self.nonce += 1;
        let nonce = self.nonce;
        let mut probes = Vec::new();
        for (shard, bytes) in shards {
            let groups = bytes.div_ceil(limits::GROUP_BYTES as u32).max(1);
            let group = self.rng.next_u32() % groups;
            probes.push((shard, group));
        }
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.probes.extend(
                probes
                    .iter()
                    .map(|(shard, group)| (*shard, (nonce, *group))),
            );
        }
        self.send(link, Message::Challenge { nonce, probes });
    }

    /// The peer shows a range.
    pub(super) fn proof(
        &mut self,
        link: LinkId,
        nonce: u64,
        shard: ShardId,
        group: u32,
        proof: Option<GroupProof>,
    ) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if encounter.probes.get(&shard) != Some(&(nonce, group)) {
            return;
        }
        encounter.probes.remove(&shard);
        let holder = encounter.peer;
        let Some((pack, _)) = self.inventory.locate(shard) else {
            return;
        };
        let bytes = pack.record.coding.shard_bytes;
        let id = pack.record.id;
        let good = proof
            .is_some_and(|proof| proof::verify(&shard, u64::from(bytes), group, &proof).is_ok());
        let outcomes = self.outcomes.entry(holder).or_default();
        if good {
            outcomes.proved.push(shard);
        } else {
            outcomes.failed.push(shard);
        }
        let due = self.now + limits::RECEIPT_BATCH;
        self.outcomes_due.get_or_insert(due);
        self.inventory.note_audit(holder, shard, self.now, good);
        if !good {
            self.replan(id);
            self.notify(Notice::NotProved { holder, shard });
        }
        self.judge(id);
    }

    /// Writes the outcomes into our feed.
    pub(super) fn flush_outcomes_if_due(&mut self) {
        if self.outcomes_due.is_none_or(|due| due > self.now) {
            return;
        }
        if self.is_behind() {
            self.outcomes_due = Some(self.now + limits::RECEIPT_BATCH);
            return;
        }
        self.outcomes_due = None;
        let inventory_key = self.identity.vault.inventory_public();
        for (holder, outcomes) in core::mem::take(&mut self.outcomes) {
            let shards = u32::try_from(outcomes.proved.len()).unwrap_or(u32::MAX);
            if shards > 0 {
                self.notify(Notice::Proved { holder, shards });
            }
            for (proved, failed) in batches(outcomes) {
                let list = AuditList {
                    holder,
                    time: self.now,
                    proved,
                    failed,
                };
                let plain = encode(&list);
                let sealed = key::seal_to(
                    &inventory_key,
                    key::context::AUDITS.as_bytes(),
                    &plain,
                    &mut self.rng,
                );
                if let Ok(sealed) = sealed {
                    // An owner without a circle has no holders.
                    let _ = self.append(&Body::Audited(sealed));
                }
            }
        }
    }

    /// Makes every held shard due for a proof.
    pub(super) fn audit_everything(&mut self) {
        self.audit_floor = self.now;
        self.audit_look += 1;
        self.contacts.touch();
    }
}

/// Splits outcomes so that each part fits one entry.
fn batches(outcomes: Outcomes) -> Vec<(Vec<ShardId>, Vec<ShardId>)> {
    let part = limits::RECEIPT_SHARDS_MAX;
    let proved = outcomes
        .proved
        .chunks(part)
        .map(|shards| (shards.to_vec(), Vec::new()));
    let failed = outcomes
        .failed
        .chunks(part)
        .map(|shards| (Vec::new(), shards.to_vec()));
    proved.chain(failed).collect()
}
