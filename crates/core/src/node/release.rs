//! The owner's side of deletion: releasing shards, and taking releases back.
//!
//! A release is an entry of our feed: it reaches the holder by any way, and all our other devices too,
//! which can veto it by an entry of theirs. From the moment it is written its shards count no more.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Node;
use crate::{
    codec::{decode, encode},
    entry::{Body, Release, ReleaseList, Veto},
    event::{CommandRefused, Effect, Notice},
    id::{DeviceId, MemberId, PackId, ShardId},
    key, limits, thin,
    time::{Span, Timestamp},
};

/// Packs that may be thicker than they have to be, until they are looked at together.
#[derive(Debug, Default)]
pub(super) struct Thick {
    packs: BTreeSet<PackId>,
    due: Option<Timestamp>,
}

impl Node {
    /// Gives packs up that no snapshot needs: all who say that they hold shards of them may drop them.
    pub(super) fn release_packs(&mut self, packs: &[PackId]) -> Result<(), CommandRefused> {
        let mut surplus: BTreeMap<DeviceId, Vec<ShardId>> = BTreeMap::new();
        for pack in packs.iter().filter_map(|id| self.inventory.pack(*id)) {
            for shard in &pack.record.shards {
                for holder in self.inventory.claimants(*shard) {
                    surplus.entry(holder).or_default().push(*shard);
                }
            }
        }
        for (holder, shards) in surplus {
            self.release(holder, &shards)?;
        }
        for pack in packs {
            self.recall_pack(*pack);
            if self.inventory.remove_pack(*pack) {
                self.unsafe_packs.remove(pack);
                self.forgo_repair(*pack);
                self.effect(Effect::Unspool { pack: *pack });
            }
        }
        Ok(())
    }

    /// Releases shards at one holder.
    pub(super) fn release(
        &mut self,
        holder: DeviceId,
        shards: &[ShardId],
    ) -> Result<(), CommandRefused> {
        let Some(certificate) = self.circle.device(holder) else {
            // Removed since: nobody waits for its space.
            return Ok(());
        };
        let holder_key = certificate.sealing_key;
        let owner_key = self.identity.vault.inventory_public();
        let seen = self.circle.chain(holder).tip().len;
        for part in shards.chunks(limits::RELEASE_SHARDS_MAX) {
            let plain = encode(&ReleaseList {
                shards: part.to_vec(),
            });
            let mut seal = |key| {
                let info = key::context::RELEASE.as_bytes();
                key::seal_to(key, info, &plain, &mut self.rng)
            };
            let (Ok(to_holder), Ok(to_owner)) = (seal(&holder_key), seal(&owner_key)) else {
                continue;
            };
            self.append(&Body::Released(Release {
                holder,
                seen,
                to_holder,
                to_owner,
            }))?;
        }
        Ok(())
    }

    /// Takes back all that any of our devices released, as far as we know.
    pub(super) fn veto(&mut self) -> Result<(), CommandRefused> {
        let released = (self.circle.devices_of(self.member))
            .map(|device| (device, self.circle.chain(device).tip().len))
            .collect();
        self.append(&Body::Vetoed(Veto { released })).map(|_| ())
    }

    /// Stops counting what a device of ours released.
    pub(super) fn open_release(&mut self, author: DeviceId, release: &Release) {
        let secret = &self.identity.vault.inventory;
        let info = key::context::RELEASE.as_bytes();
        let Ok(plain) = key::open_with(secret, info, &release.to_owner) else {
            return;
        };
        let Ok(list) = decode::<ReleaseList>("release", &plain) else {
            return;
        };
        let count = u32::try_from(list.shards.len()).unwrap_or(u32::MAX);
        for shard in list.shards {
            self.inventory
                .note_release(release.holder, shard, release.seen);
            let pack = self.inventory.locate(shard).map(|(pack, _)| pack.record.id);
            if let Some(pack) = pack {
                self.replan(pack);
                self.judge(pack);
            }
        }
        if author != self.device {
            self.notify(Notice::Released {
                by: author,
                holder: release.holder,
                shards: count,
            });
        }
    }

    /// Others hold more of these packs than they have to: perhaps some can do with less.
    pub(super) fn note_thick(&mut self, packs: impl IntoIterator<Item = PackId>) {
        self.thick.packs.extend(packs);
        if !self.thick.packs.is_empty() {
            (self.thick.due).get_or_insert(self.now + limits::RELEASE_BATCH);
        }
    }

    /// Returns when to look at thick packs.
    pub(super) fn surplus_at(&self) -> Option<Timestamp> {
        self.thick.due
    }

    /// Releases what packs can do without, if it is time.
    pub(super) fn release_surplus_if_due(&mut self) {
        if self.thick.due.is_none_or(|due| due > self.now) {
            return;
        }
        if self.is_behind() || self.identity.vault.is_empty() {
            self.thick.due = Some(self.now + limits::RELEASE_BATCH);
            return;
        }
        self.thick.due = None;
        let others = self.others();
        // Found once for all packs: each looks through a member's meetings.
        let intervals: BTreeMap<MemberId, Span> = (self.circle.members())
            .filter_map(|member| Some((member, self.habits.interval(member, self.now)?)))
            .collect();
        let never = Span(u64::MAX);
        let interval = |member| intervals.get(&member).copied().unwrap_or(never);
        let mut surplus: BTreeMap<DeviceId, Vec<ShardId>> = BTreeMap::new();
        for id in core::mem::take(&mut self.thick.packs) {
            let Some(pack) = self.inventory.pack(id).filter(|pack| !pack.is_underway()) else {
                continue;
            };
            let record = &pack.record;
            let (circle, me) = (&self.circle, self.member);
            let claims = pack.claims(circle, me, &self.stance.gone, self.now);
            for claim in thin::surplus(record.kind, &record.coding, &claims, others, &interval) {
                if let Some(shard) = record.shards.get(usize::from(claim.index)) {
                    surplus.entry(claim.device).or_default().push(*shard);
                }
            }
        }
        for (holder, shards) in surplus {
            // Without a circle there are no holders.
            let _ = self.release(holder, &shards);
        }
    }
}
