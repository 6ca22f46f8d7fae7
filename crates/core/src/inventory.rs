//! Inventory: which friend's device holds which shard of ours, by word and by proof.
//!
//! It is a fold over receipts (holders' feeds) and audits (our own feeds), and so answerable offline.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    circle::Circle,
    health::{Spread, health},
    id::{DeviceId, MemberId, PackId, ShardId},
    limits,
    record::PackRecord,
    time::Timestamp,
};

/// What is known of one shard at one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The holder signed that it keeps the shard, and has not signed that it dropped it.
    pub held: bool,
    /// When it last showed a random range of it.
    pub proved: Option<Timestamp>,
    /// When it last failed to.
    pub failed: Option<Timestamp>,
    /// It signed for the shard again since it failed: worth another probe.
    pub renewed: bool,
}

impl Holding {
    /// Tells whether the holder should still be believed to have the shard, proof or not.
    pub fn believed(&self) -> bool {
        self.held && (self.renewed || !self.is_refuted())
    }

    /// Tells whether the last probe failed.
    pub fn is_refuted(&self) -> bool {
        self.failed
            .is_some_and(|failed| self.proved.is_none_or(|good| good <= failed))
    }

    /// Tells whether the shard counts for health now.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.held
            && !self.is_refuted()
            && self
                .proved
                .is_some_and(|proved| now.since(proved) <= limits::AUDIT_VALID)
    }
}

/// A pack of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPack {
    /// What it is.
    pub record: PackRecord,
    /// Whether this device can make its shards: from the spool, or from the source files.
    pub available: bool,
}

/// Our packs and where their shards are.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    packs: BTreeMap<PackId, OwnPack>,
    shards: BTreeMap<ShardId, (PackId, u8)>,
    holdings: BTreeMap<ShardId, BTreeMap<DeviceId, Holding>>,
    by_device: BTreeMap<DeviceId, BTreeSet<ShardId>>,
    /// On their way or stored without a receipt yet: they count for placement only.
    pending: BTreeSet<(DeviceId, ShardId)>,
    /// Refused, because the device says that it has them already: not worth another offer.
    insisted: BTreeSet<(DeviceId, ShardId)>,
}

impl Inventory {
    /// Adds a pack, or tells that it can be made here again. Returns whether anything changed.
    pub fn add_pack(&mut self, record: PackRecord, available: bool) -> bool {
        for (index, shard) in record.shards.iter().enumerate() {
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            self.shards.insert(*shard, (record.id, index));
        }
        match self.packs.get_mut(&record.id) {
            Some(pack) => {
                let changed = available && !pack.available;
                pack.available |= available;
                changed
            }
            None => {
                self.packs.insert(record.id, OwnPack { record, available });
                true
            }
        }
    }

    /// Forgets a pack that is lost. Receipts for its shards mean nothing from now on.
    pub fn remove_pack(&mut self, pack: PackId) -> bool {
        let Some(removed) = self.packs.remove(&pack) else {
            return false;
        };
        for shard in removed.record.shards {
            self.shards.remove(&shard);
        }
        true
    }

    /// Notes that a pack can't be made here any more.
    pub fn set_unavailable(&mut self, pack: PackId) {
        if let Some(pack) = self.packs.get_mut(&pack) {
            pack.available = false;
        }
    }

    /// Notes a holder's word about a shard.
    pub fn note_receipt(&mut self, holder: DeviceId, shard: ShardId, held: bool) {
        self.pending.remove(&(holder, shard));
        let holding = self.holding_mut(holder, shard);
        holding.renewed |= held && !holding.held;
        holding.held = held;
        if !held {
            self.insisted.remove(&(holder, shard));
        }
        let shards = self.by_device.entry(holder).or_default();
        if held {
            shards.insert(shard);
        } else {
            shards.remove(&shard);
        }
    }

    /// Notes the outcome of a probe. The newest outcome of each kind counts, in whatever order
    /// they are heard of.
    pub fn note_audit(&mut self, holder: DeviceId, shard: ShardId, at: Timestamp, good: bool) {
        let holding = self.holding_mut(holder, shard);
        let slot = if good {
            &mut holding.proved
        } else {
            &mut holding.failed
        };
        *slot = (*slot).max(Some(at));
        holding.renewed &= good;
    }

    /// Notes that a device refused a shard because it has it. If it failed to prove that, it gets
    /// one more chance.
    pub fn note_insisted(&mut self, holder: DeviceId, shard: ShardId) {
        self.insisted.insert((holder, shard));
        self.holding_mut(holder, shard).renewed = true;
    }

    /// Tells whether a device of `member` would refuse a shard of a pack because it says that it has
    /// it already, proof or not.
    pub fn is_insisted(&self, pack: &PackRecord, circle: &Circle, member: MemberId) -> bool {
        let mut insisted = self.insisted.iter();
        insisted.any(|(device, shard)| {
            pack.shards.contains(shard) && circle.member_of(*device) == Some(member)
        })
    }

    /// Notes that a shard is on its way to a device.
    pub fn note_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.pending.insert((holder, shard));
    }

    /// Notes that it did not arrive.
    pub fn clear_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.pending.remove(&(holder, shard));
    }

    /// Forgets all that was on its way to a device.
    pub fn clear_pending_of(&mut self, holder: DeviceId) {
        self.pending.retain(|(device, _)| *device != holder);
    }

    /// Returns our packs.
    pub fn packs(&self) -> impl Iterator<Item = &OwnPack> {
        self.packs.values()
    }

    /// Returns a pack of ours.
    pub fn pack(&self, id: PackId) -> Option<&OwnPack> {
        self.packs.get(&id)
    }

    /// Returns the pack and index of a shard of ours.
    pub fn locate(&self, shard: ShardId) -> Option<(&OwnPack, u8)> {
        let (pack, index) = self.shards.get(&shard)?;
        Some((self.packs.get(pack)?, *index))
    }

    /// Returns the shards of ours that a device says it holds.
    pub fn held_by(&self, holder: DeviceId) -> impl Iterator<Item = (ShardId, Holding)> {
        let shards = self.by_device.get(&holder).into_iter().flatten();
        shards.map(move |shard| (*shard, self.holding(holder, *shard)))
    }

    /// Returns what is known of a shard at a device.
    pub fn holding(&self, holder: DeviceId, shard: ShardId) -> Holding {
        let holders = self.holdings.get(&shard);
        holders
            .and_then(|holders| holders.get(&holder))
            .copied()
            .unwrap_or_default()
    }

    /// Returns the devices believed to hold a shard.
    pub fn holders(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        let holders = self.holdings.get(&shard).into_iter().flatten();
        holders
            .filter(|(_, holding)| holding.believed())
            .map(|(device, _)| *device)
    }

    /// Returns where shards of a pack are for sure: proved lately, by present members other than us.
    pub fn proved_spread(
        &self,
        pack: &PackRecord,
        circle: &Circle,
        me: MemberId,
        now: Timestamp,
    ) -> Spread {
        self.spread(pack, circle, me, |_, holding| holding.counts(now))
    }

    /// Returns where shards of a pack are by receipt, or will be when what is under way arrives.
    pub fn placed_spread(&self, pack: &PackRecord, circle: &Circle, me: MemberId) -> Spread {
        let mut spread = self.spread(pack, circle, me, |_, holding| holding.believed());
        if self.pending.is_empty() {
            return spread;
        }
        for (index, shard) in pack.shards.iter().enumerate() {
            // Few devices are ever in an encounter at once, so this set is small.
            for (device, _) in self.pending.iter().filter(|(_, pending)| pending == shard) {
                if let Some(member) = circle.member_of(*device).filter(|member| *member != me) {
                    spread
                        .entry(member)
                        .or_default()
                        .insert(u8::try_from(index).unwrap_or(0));
                }
            }
        }
        spread
    }

    /// Returns the health of a pack now.
    pub fn health(&self, pack: &PackRecord, circle: &Circle, me: MemberId, now: Timestamp) -> u32 {
        health(&pack.coding, &self.proved_spread(pack, circle, me, now))
    }

    fn spread(
        &self,
        pack: &PackRecord,
        circle: &Circle,
        me: MemberId,
        counts: impl Fn(DeviceId, &Holding) -> bool,
    ) -> Spread {
        let mut spread = Spread::new();
        for (index, shard) in pack.shards.iter().enumerate() {
            for (device, holding) in self.holdings.get(shard).into_iter().flatten() {
                if !counts(*device, holding) {
                    continue;
                }
                if let Some(member) = circle.member_of(*device).filter(|member| *member != me) {
                    spread
                        .entry(member)
                        .or_default()
                        .insert(u8::try_from(index).unwrap_or(0));
                }
            }
        }
        spread
    }

    fn holding_mut(&mut self, holder: DeviceId, shard: ShardId) -> &mut Holding {
        self.holdings
            .entry(shard)
            .or_default()
            .entry(holder)
            .or_default()
    }

    /// Returns the devices that hold something of ours by their word, with the number of bytes and
    /// the number of bytes proved lately.
    pub fn bytes_by_device(&self, now: Timestamp) -> Vec<(DeviceId, u64, u64)> {
        let count = |device: &DeviceId| {
            let mut sums = (0, 0);
            for (shard, holding) in self.held_by(*device) {
                let Some((pack, _)) = self.locate(shard) else {
                    continue;
                };
                let bytes = u64::from(pack.record.coding.shard_bytes);
                sums.0 += bytes;
                sums.1 += if holding.counts(now) { bytes } else { 0 };
            }
            sums
        };
        self.by_device
            .keys()
            .map(|device| (*device, count(device).0, count(device).1))
            .collect()
    }
}
