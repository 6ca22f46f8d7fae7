//! Inventory: which friend's device holds which shard of ours, by word and by proof.
//!
//! It is a fold over receipts (holders' feeds) and audits (our own feeds), and so answerable offline.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    circle::Circle,
    health::{Indices, Spread, health},
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
    /// Where its shards are, by device: what the rest of the inventory says, ready for planning.
    marks: Vec<(DeviceId, Marks)>,
}

/// What is known of one pack at one device, by shard index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    believed: Indices,
    pending: Indices,
    insisted: Indices,
}

impl OwnPack {
    /// Returns where its shards are by receipt, at present members other than us.
    pub fn held_spread(&self, circle: &Circle, me: MemberId) -> Spread {
        self.spread(circle, me, |marks| marks.believed)
    }

    /// Returns where its shards are by receipt, or will be when what is under way arrives.
    pub fn placed_spread(&self, circle: &Circle, me: MemberId) -> Spread {
        self.spread(circle, me, |marks| marks.believed.union(marks.pending))
    }

    /// Tells whether any of its shards is on its way, or stored without a receipt yet.
    pub fn is_underway(&self) -> bool {
        self.marks
            .iter()
            .any(|(_, marks)| !marks.pending.is_empty())
    }

    /// Tells whether a device of `member` would refuse a shard of it because it says that it has it
    /// already, proof or not.
    pub fn is_insisted(&self, circle: &Circle, member: MemberId) -> bool {
        self.marks.iter().any(|(device, marks)| {
            !marks.insisted.is_empty() && circle.member_of(*device) == Some(member)
        })
    }

    fn spread(&self, circle: &Circle, me: MemberId, which: impl Fn(&Marks) -> Indices) -> Spread {
        let mut spread = Spread::new();
        for (device, marks) in &self.marks {
            let indices = which(marks);
            if indices.is_empty() {
                continue;
            }
            if let Some(member) = circle.member_of(*device).filter(|member| *member != me) {
                let all = spread.entry(member).or_default();
                *all = all.union(indices);
            }
        }
        spread
    }

    fn mark(&mut self, device: DeviceId, change: impl FnOnce(&mut Marks)) {
        let found = self.marks.binary_search_by_key(&device, |(at, _)| *at);
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                self.marks.insert(at, (device, Marks::default()));
                at
            }
        };
        change(&mut self.marks[at].1);
        if self.marks[at].1 == Marks::default() {
            self.marks.remove(at);
        }
    }
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
        if let Some(pack) = self.packs.get_mut(&record.id) {
            let changed = available && !pack.available;
            pack.available |= available;
            return changed;
        }
        let shards = record.shards.clone();
        let pack = OwnPack {
            record,
            available,
            marks: Vec::new(),
        };
        self.packs.insert(pack.record.id, pack);
        self.mark_all(&shards);
        true
    }

    /// Marks what was heard of a pack's shards before the pack was known.
    fn mark_all(&mut self, shards: &[ShardId]) {
        let mut known: Vec<(DeviceId, ShardId)> = Vec::new();
        for shard in shards {
            let holders = self.holdings.get(shard).into_iter().flatten();
            known.extend(holders.map(|(device, _)| (*device, *shard)));
        }
        let others = self.pending.iter().chain(&self.insisted);
        known.extend(others.filter(|(_, shard)| shards.contains(shard)));
        for (device, shard) in known {
            self.mark(device, shard);
        }
    }

    /// Brings a pack's marks in step with what is known of one of its shards at a device.
    fn mark(&mut self, device: DeviceId, shard: ShardId) {
        let Some((pack, index)) = self.shards.get(&shard).copied() else {
            return;
        };
        let believed = self.holding(device, shard).believed();
        let pending = self.pending.contains(&(device, shard));
        let insisted = self.insisted.contains(&(device, shard));
        if let Some(pack) = self.packs.get_mut(&pack) {
            pack.mark(device, |marks| {
                marks.believed.set(index, believed);
                marks.pending.set(index, pending);
                marks.insisted.set(index, insisted);
            });
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
        self.mark(holder, shard);
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
        self.mark(holder, shard);
    }

    /// Notes that a device refused a shard because it has it. If it failed to prove that, it gets
    /// one more chance.
    pub fn note_insisted(&mut self, holder: DeviceId, shard: ShardId) {
        self.insisted.insert((holder, shard));
        self.holding_mut(holder, shard).renewed = true;
        self.mark(holder, shard);
    }

    /// Notes that a shard is on its way to a device.
    pub fn note_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.pending.insert((holder, shard));
        self.mark(holder, shard);
    }

    /// Notes that it did not arrive.
    pub fn clear_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.pending.remove(&(holder, shard));
        self.mark(holder, shard);
    }

    /// Forgets all that was on its way to a device. Returns the packs of which something was.
    pub fn clear_pending_of(&mut self, holder: DeviceId) -> BTreeSet<PackId> {
        let all = (holder, ShardId([0; 32]))..=(holder, ShardId([0xff; 32]));
        let gone: Vec<_> = self.pending.range(all).copied().collect();
        let mut packs = BTreeSet::new();
        for (holder, shard) in gone {
            self.clear_pending(holder, shard);
            packs.extend(self.shards.get(&shard).map(|(pack, _)| *pack));
        }
        packs
    }

    /// Returns our packs.
    pub fn packs(&self) -> impl Iterator<Item = &OwnPack> {
        self.packs.values()
    }

    /// Returns our packs from an id on, in the order of ids.
    pub fn packs_from(&self, first: PackId) -> impl Iterator<Item = &OwnPack> {
        self.packs.range(first..).map(|(_, pack)| pack)
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
        let mut spread = Spread::new();
        for (index, shard) in pack.shards.iter().enumerate() {
            for (device, holding) in self.holdings.get(shard).into_iter().flatten() {
                if !holding.counts(now) {
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

    /// Returns the health of a pack now.
    pub fn health(&self, pack: &PackRecord, circle: &Circle, me: MemberId, now: Timestamp) -> u32 {
        health(&pack.coding, &self.proved_spread(pack, circle, me, now))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Coding, PackKind};

    fn shard(at: u8) -> ShardId {
        ShardId([at; 32])
    }

    fn record() -> PackRecord {
        PackRecord {
            id: PackId([9; 32]),
            epoch: 0,
            kind: PackKind::Large,
            bytes: 128,
            made: Timestamp(0),
            newest: Timestamp(0),
            coding: Coding {
                k: 2,
                n: 4,
                shard_bytes: 64,
            },
            shards: (0..4).map(shard).collect(),
        }
    }

    /// Something that happens to one shard at one device.
    fn happen(
        inventory: &mut Inventory,
        what: u8,
        device: DeviceId,
        shard: ShardId,
        at: Timestamp,
    ) {
        match what {
            0 => inventory.note_receipt(device, shard, true),
            1 => inventory.note_receipt(device, shard, false),
            2 => inventory.note_audit(device, shard, at, true),
            3 => inventory.note_audit(device, shard, at, false),
            4 => inventory.note_pending(device, shard),
            5 => inventory.clear_pending(device, shard),
            6 => inventory.note_insisted(device, shard),
            7 => drop(inventory.clear_pending_of(device)),
            8 => drop(inventory.remove_pack(record().id)),
            _ => drop(inventory.add_pack(record(), true)),
        }
    }

    proptest::proptest! {
        #[test]
        fn marks_say_what_the_inventory_says(
            steps in proptest::collection::vec((0_u8..10, 0_u8..3, 0_u8..5), 0..60),
        ) {
            let mut inventory = Inventory::default();
            for (at, (what, device, index)) in steps.into_iter().enumerate() {
                let (device, at) = (DeviceId([device; 32]), Timestamp(at as u64));
                happen(&mut inventory, what, device, shard(index), at);
            }
            inventory.add_pack(record(), true);
            let marks = &inventory.pack(record().id).unwrap().marks;
            for device in (0..3).map(|at| DeviceId([at; 32])) {
                let found = marks.iter().find(|(it, _)| *it == device);
                let found = found.map(|(_, marks)| *marks).unwrap_or_default();
                for index in 0..4 {
                    let key = (device, shard(index));
                    let believed = inventory.holding(device, shard(index)).believed();
                    proptest::prop_assert_eq!(found.believed.contains(index), believed);
                    let (pending, insisted) = (&inventory.pending, &inventory.insisted);
                    proptest::prop_assert_eq!(found.pending.contains(index), pending.contains(&key));
                    proptest::prop_assert_eq!(found.insisted.contains(index), insisted.contains(&key));
                }
            }
        }
    }
}
