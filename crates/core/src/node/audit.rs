//! The owner's side: asking holders to show random ranges of what they signed for.
//!
//! A receipt is a claim; only a proof counts. What is new is asked for at once. At every meeting some
//! of the rest follows, what was not asked for longest first, and nothing waits longer than half of
//! the time for which a proof counts. A wrong answer is a failure; none is not, since lids are closed
//! in the midst of things, unless the holder goes on talking about everything else. An answer that
//! took longer than a disk needs may have been fetched from elsewhere: it is asked for again, alone.
//! Late is not false, though: a machine where much else goes on answers late as well. What only comes
//! late is neither proved nor failed, and its holder is asked another time.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::Rng;

use super::Node;
use crate::{
    codec::encode,
    entry::{AuditList, Body},
    event::{LinkClass, LinkId, Notice},
    id::{DeviceId, MemberId, ShardId},
    inventory::Turn,
    key, limits,
    link::Route,
    message::{GroupProof, Message},
    policy::Bulk,
    proof,
    time::{Span, Timestamp},
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

/// A group that the peer was asked to show.
#[derive(Clone, Copy, Debug)]
struct Probe {
    nonce: u64,
    group: u32,
    asked: Timestamp,
    /// An answer after that may have come from elsewhere.
    in_time: Option<Timestamp>,
}

/// How often a shard was not shown in time.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    late: u8,
    silent: u8,
}

/// When a holder that answers late is to be met for proofs again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Respite {
    until: Timestamp,
    /// How long the next one will be.
    next: Span,
}

/// The audit of one encounter.
#[derive(Debug, Default)]
pub(super) struct Audit {
    under_way: BTreeMap<ShardId, Probe>,
    /// Shards that were shown too late, or not at all: each is asked for again, alone.
    again: BTreeMap<ShardId, Tries>,
    /// Shards that were shown too late each time. Nothing more is to be found out in this meeting.
    late: BTreeSet<ShardId>,
    /// How many shards are still to be asked for that need not be, and since when.
    spot: Option<(usize, Timestamp)>,
}

impl Audit {
    /// Nothing of it is under way.
    pub(super) fn is_still(&self) -> bool {
        self.under_way.is_empty() && self.again.is_empty()
    }

    /// Returns when a peer that says nothing to a challenge is to be asked again.
    pub(super) fn timeout(&self) -> Option<Timestamp> {
        let asked = self.under_way.values().map(|probe| probe.asked);
        asked.min().map(|asked| asked + limits::PROOF_PATIENCE)
    }

    /// Notes that a shard was shown too late. After the third time it is left alone.
    fn note_late(&mut self, shard: ShardId) {
        let tries = self.again.entry(shard).or_default();
        tries.late += 1;
        if tries.late >= limits::PROOF_TRIES {
            self.again.remove(&shard);
            self.late.insert(shard);
        }
    }

    /// Notes that a shard was not shown at all. Tells whether that is the third time.
    fn is_third_silence(&mut self, shard: ShardId) -> bool {
        let tries = self.again.entry(shard).or_default();
        tries.silent += 1;
        tries.silent >= limits::PROOF_TRIES
    }

    /// Takes the shards that were passed over in silence.
    fn take_silent(&mut self) -> Vec<ShardId> {
        let silent = self.again.extract_if(.., |_, tries| tries.silent > 0);
        silent.map(|(shard, _)| shard).collect()
    }
}

impl Node {
    /// Tells whether a shard can't wait for its turn: never asked for, not for too long, or not since
    /// the owner asked for an audit of everything.
    pub(super) fn is_due(&self, turn: &Turn) -> bool {
        turn.asked.is_none_or(|asked| {
            asked < self.audit_floor || self.now.since(asked) >= limits::AUDIT_AGAIN
        })
    }

    /// Tells whether a device should be asked for proofs.
    pub(super) fn audit_due(&self, holder: DeviceId) -> bool {
        let Some(first) = self.inventory.turns(holder).next() else {
            return false;
        };
        let rests = self.respite_of(holder).is_some();
        (self.is_due(&first) && !rests) || self.spot_due(holder, limits::SPOT_CHECK_AGAIN)
    }

    /// Returns until when a holder that answered late is not met for proofs that are due.
    pub(super) fn respite_of(&self, holder: DeviceId) -> Option<Timestamp> {
        let respite = self.respites.get(&holder)?;
        (respite.until > self.now).then_some(respite.until)
    }

    /// A holder answered late each time: it, or the way to it, has too much to do.
    fn give_respite(&mut self, holder: DeviceId) {
        let now = self.now;
        let (until, next) = (now, limits::LATE_AGAIN);
        let respite = (self.respites.entry(holder)).or_insert(Respite { until, next });
        // One for all shards of a meeting.
        if respite.until <= now {
            respite.until = now + respite.next;
            let twice = Span(respite.next.0.saturating_mul(2));
            respite.next = twice.min(limits::SPOT_CHECK_AGAIN);
        }
    }

    fn spot_due(&self, holder: DeviceId, after: Span) -> bool {
        let last = self.spot_checks.get(&holder);
        last.is_none_or(|last| self.now.since(*last) >= after)
    }

    /// Challenges the peer of a link.
    pub(super) fn probe(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let peer = encounter.peer;
        let own = encounter.member == Some(self.member);
        if own || encounter.bulk() == Bulk::Nothing {
            return self.forgo(link);
        }
        let under_way = encounter.audit.under_way.len();
        if under_way > limits::PROBES_IN_FLIGHT_MAX / 2 {
            return;
        }
        if encounter.audit.spot.is_none() && self.spot_due(peer, limits::MEETING_GAP) {
            self.spot_checks.insert(peer, self.now);
            let spot = Some((limits::PROBES_MAX, self.now));
            if let Some(encounter) = self.encounters.get_mut(&link) {
                encounter.audit.spot = spot;
            }
        }
        let turns = self.next_turns(link, limits::PROBES_IN_FLIGHT_MAX - under_way);
        if !turns.is_empty() {
            self.challenge(link, turns);
        }
    }

    /// What was to be asked again can't be now.
    fn forgo(&mut self, link: LinkId) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.audit.again.clear();
        }
    }

    /// Returns the shards to ask for next, `room` at most.
    fn next_turns(&mut self, link: LinkId, room: usize) -> Vec<Turn> {
        let mut next = Vec::new();
        let Some(encounter) = self.encounters.get(&link) else {
            return next;
        };
        let audit = &encounter.audit;
        let known = |turn: &Turn| {
            audit.under_way.contains_key(&turn.shard)
                || audit.again.contains_key(&turn.shard)
                || audit.late.contains(&turn.shard)
        };
        let turns = self.inventory.turns(encounter.peer);
        let mut spared = 0;
        for turn in turns.filter(|turn| !known(turn)) {
            if next.len() >= room {
                break;
            }
            if !self.is_due(&turn) {
                let may = |(left, since): (usize, Timestamp)| {
                    spared < left && turn.asked.is_some_and(|asked| asked < since)
                };
                if !audit.spot.is_some_and(may) {
                    break;
                }
                spared += 1;
            }
            next.push(turn);
        }
        if let Some(encounter) = self.encounters.get_mut(&link) {
            if let Some((left, _)) = &mut encounter.audit.spot {
                *left -= spared;
            }
            if next.is_empty() && encounter.audit.under_way.is_empty() && encounter.is_calm() {
                next.extend(self.once_more(link));
            }
        }
        next
    }

    /// Returns a shard that was not shown in time.
    fn once_more(&self, link: LinkId) -> Option<Turn> {
        let (shard, _) = self.encounters.get(&link)?.audit.again.first_key_value()?;
        let (pack, _) = self.inventory.locate(*shard)?;
        Some(Turn {
            shard: *shard,
            bytes: pack.record.coding.shard_bytes,
            asked: None,
        })
    }

    fn challenge(&mut self, link: LinkId, turns: Vec<Turn>) {
        self.nonce += 1;
        let (nonce, asked) = (self.nonce, self.now);
        let in_time = self.in_time(link, turns.len());
        let mut probes = Vec::new();
        for turn in turns {
            let groups = turn.bytes.div_ceil(limits::GROUP_BYTES as u32).max(1);
            let group = self.rng.next_u32() % groups;
            probes.push((turn.shard, group));
        }
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        for (shard, group) in &probes {
            let probe = Probe {
                nonce,
                group: *group,
                asked,
                in_time,
            };
            encounter.audit.under_way.insert(*shard, probe);
        }
        self.send(link, Message::Challenge { nonce, probes });
    }

    /// Returns until when `more` answers that are asked for now come, if the peer reads them from its
    /// own disk; nothing where other things can delay them too.
    fn in_time(&self, link: LinkId, more: usize) -> Option<Timestamp> {
        let encounter = self.encounters.get(&link)?;
        let near = encounter.class == LinkClass::Lan && encounter.facts.route != Route::SameMachine;
        if !near || !encounter.is_calm() || self.strain.busy {
            return None;
        }
        let reads = (encounter.audit.under_way.len() + more) as u64;
        let round_trip = u64::from(encounter.facts.rtt_us.unwrap_or(0)).div_ceil(1000);
        let disk = limits::PROOF_READ.0 * reads + limits::PROOF_GRACE.0;
        Some(self.now + Span(disk + round_trip))
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
        let asked = encounter.audit.under_way.get(&shard).copied();
        let Some(probe) = asked.filter(|it| (it.nonce, it.group) == (nonce, group)) else {
            return;
        };
        let late = probe.in_time.is_some_and(|until| self.now > until) && encounter.is_calm();
        encounter.audit.under_way.remove(&shard);
        let Some((pack, _)) = self.inventory.locate(shard) else {
            encounter.audit.again.remove(&shard);
            return;
        };
        let bytes = u64::from(pack.record.coding.shard_bytes);
        let good = proof.is_some_and(|proof| proof::verify(&shard, bytes, group, &proof).is_ok());
        let holder = encounter.peer;
        if good && late {
            encounter.audit.note_late(shard);
            if encounter.audit.late.contains(&shard) {
                self.give_respite(holder);
            }
            return;
        }
        encounter.audit.again.remove(&shard);
        if good {
            self.respites.remove(&holder);
        }
        self.judge_holder(link, holder, shard, good);
    }

    /// Draws the consequences of an answer.
    pub(super) fn judge_holder(
        &mut self,
        link: LinkId,
        holder: DeviceId,
        shard: ShardId,
        good: bool,
    ) {
        let Some((pack, _)) = self.inventory.locate(shard) else {
            return;
        };
        let id = pack.record.id;
        let before = self.inventory.holding(holder, shard);
        // A holder that insists on having it fails twice in a row: that is one failure.
        let told = |at| self.now.since(at) < limits::SPOT_CHECK_AGAIN;
        let told = !good && before.is_refuted() && before.failed.is_some_and(told);
        if !told {
            // The last word counts, were it said in the same moment.
            let outcomes = self.outcomes.entry(holder).or_default();
            let (now, before) = if good {
                (&mut outcomes.proved, &mut outcomes.failed)
            } else {
                (&mut outcomes.failed, &mut outcomes.proved)
            };
            before.retain(|other| *other != shard);
            now.push(shard);
            let more = self.encounters.values().any(|it| !it.audit.is_still());
            self.outcomes_due.add(self.now, limits::OUTCOME_WAIT, more);
        }
        let at = match good {
            true => (before.failed).map_or(self.now, |at| self.now.max(at + Span::millis(1))),
            false => before.proved.map_or(self.now, |at| self.now.max(at)),
        };
        self.inventory.note_audit(holder, shard, at, good);
        if !good {
            if let Some(encounter) = self.encounters.get_mut(&link) {
                let (left, _) = encounter.audit.spot.get_or_insert((0, self.now));
                *left = limits::PROBES_OF_SUSPECT;
            }
            self.replan(id);
            if !told {
                self.notify(Notice::NotProved { holder, shard });
            }
        }
        self.judge(id);
    }

    /// Asks again where a challenge was passed over in silence. Who passes over the same three times,
    /// and talks about other things meanwhile, has nothing to show.
    pub(super) fn watch_probes(&mut self) {
        let now = self.now;
        let mut silent = Vec::new();
        for (link, encounter) in &mut self.encounters {
            if encounter.audit.timeout().is_none_or(|at| at > now) {
                continue;
            }
            let talks = |probe: &Probe| encounter.last_heard > probe.asked;
            let overdue = |probe: &Probe| now >= probe.asked + limits::PROOF_PATIENCE;
            let passed: Vec<ShardId> = (encounter.audit.under_way.iter())
                .filter(|(_, probe)| overdue(probe) && talks(probe))
                .map(|(shard, _)| *shard)
                .collect();
            let mut third = false;
            for shard in passed {
                encounter.audit.under_way.remove(&shard);
                third |= encounter.audit.is_third_silence(shard);
            }
            if third {
                // None of the others was answered either.
                let all = encounter.audit.take_silent();
                silent.extend(all.into_iter().map(|shard| (*link, encounter.peer, shard)));
            }
        }
        for (link, holder, shard) in silent {
            self.judge_holder(link, holder, shard, false);
        }
    }

    /// Writes the outcomes into our feed.
    pub(super) fn flush_outcomes_if_due(&mut self) {
        if !self.outcomes_due.is_due(self.now) {
            return;
        }
        if self.is_behind() {
            return self.outcomes_due.delay(self.now);
        }
        self.outcomes_due.clear();
        for (holder, outcomes) in core::mem::take(&mut self.outcomes) {
            let shards = u32::try_from(outcomes.proved.len()).unwrap_or(u32::MAX);
            if shards > 0 {
                self.notify(Notice::Proved { holder, shards });
            }
            let Outcomes { proved, failed } = outcomes;
            for list in (self.inventory).outcomes(holder, self.now, &proved, &failed) {
                self.write_outcomes(&list);
            }
        }
    }

    /// Writes some of them.
    pub(super) fn write_outcomes(&mut self, list: &AuditList) {
        let inventory_key = self.identity.vault.inventory_public();
        let info = key::context::AUDITS.as_bytes();
        if let Ok(sealed) = key::seal_to(&inventory_key, info, &encode(list), &mut self.rng) {
            // An owner without a circle has no holders.
            let _ = self.append(&Body::Audited(sealed));
        }
    }

    /// Takes what a device of ours found out about a holder.
    pub(super) fn note_outcomes(&mut self, list: &AuditList) {
        let (asked, failed) = (list.proved.len() + list.failed.len(), list.failed.len());
        (self.inventory).note_track(list.holder, list.time, asked, failed);
        let last = self.spot_checks.entry(list.holder).or_default();
        *last = (*last).max(list.time.min(self.now));
        self.doubt();
    }

    /// Sees anew who fails so often that others should get what they could get.
    pub(super) fn doubt(&mut self) {
        let doubtful = |device: DeviceId| {
            let track = self.inventory.track(device);
            track.is_some_and(|track| track.lately(self.now).is_doubtful())
        };
        let members = self.circle.devices().filter(|it| doubtful(it.0));
        let doubted: BTreeSet<MemberId> = members.map(|it| it.1).collect();
        if doubted != self.stance.doubted {
            self.stance.doubted = doubted;
            self.replan_all();
        }
    }

    /// Makes every held shard due for a proof.
    pub(super) fn audit_everything(&mut self) {
        self.audit_floor = self.now;
        self.respites.clear();
        self.contacts.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some are late and one is passed over: only that one is not shown.
    #[test]
    fn silence_about_one_shard_says_nothing_about_one_that_came_late() {
        let mut audit = Audit::default();
        let (late, silent) = (ShardId([1; 32]), ShardId([2; 32]));
        audit.note_late(late);
        assert!(!audit.is_third_silence(silent) && !audit.is_third_silence(silent));
        assert!(audit.is_third_silence(silent));
        assert_eq!(audit.take_silent(), [silent]);
        assert!(!audit.is_still(), "the late one is still to be shown");
    }
}
