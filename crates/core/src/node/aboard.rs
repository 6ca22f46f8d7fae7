//! What lies on couriers: written down by who puts it there, read back when the disk is here, taken
//! home from it after a loss, and what it adds to our safety.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Node;
use crate::{
    codec::{decode, encode},
    courier::Parcel,
    entry::{AboardList, Body},
    event::CommandRefused,
    health::Indices,
    id::{DeviceId, MemberId, PackId, ShardId, Stem},
    key, limits,
    time::Timestamp,
};

/// A shard of ours that is wanted back and lies on a courier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wayside {
    /// The pack that it is part of.
    pub pack: PackId,
    /// Its index in that.
    pub index: u8,
    /// Where it lies.
    pub parcel: Parcel,
}

/// What travels to a member by courier.
#[derive(Debug, Default)]
pub(crate) struct Travel {
    /// Bytes that lie on couriers.
    pub(crate) on_disks: BTreeMap<DeviceId, u64>,
    /// Bytes that it signed for and has not proved.
    pub(crate) taken: u64,
}

/// What couriers have of one pack of ours.
pub(crate) type OnDisks = BTreeMap<DeviceId, Indices>;

/// What is to be written down, by addressee.
type Changes = BTreeMap<MemberId, [Vec<Stem>; 3]>;

impl Node {
    /// Notes which of our parcels lie on a courier now: those on this device's bill, all on stable
    /// storage. Only what changed is written down.
    pub fn note_aboard(
        &mut self,
        now: Timestamp,
        courier: DeviceId,
        listed: &[Parcel],
    ) -> Result<(), CommandRefused> {
        self.advance(now);
        let known = self.aboard.put_by(courier, self.device);
        let known = known.cloned().unwrap_or_default();
        let listed: BTreeMap<Stem, MemberId> = (listed.iter())
            .map(|parcel| (parcel.shard.stem(), parcel.to))
            .collect();
        let mut changes = Changes::new();
        for (shard, to) in &listed {
            if known.get(shard).is_none_or(|lying| lying.to != *to) {
                changes.entry(*to).or_default()[0].push(*shard);
            }
        }
        for (shard, lying) in &known {
            if !listed.contains_key(shard) {
                changes.entry(lying.to).or_default()[2].push(*shard);
            }
        }
        self.write_aboard(courier, changes)
    }

    /// Returns which parcels on this device's bill are to be read back now.
    pub fn due_aboard(&self, now: Timestamp, courier: DeviceId, listed: &[Parcel]) -> Vec<Parcel> {
        let known = self.aboard.put_by(courier, self.device);
        let due = |parcel: &&Parcel| {
            let lying = known.and_then(|known| known.get(&parcel.shard.stem()));
            lying.is_some_and(|lying| lying.is_due(now))
        };
        listed.iter().filter(due).copied().collect()
    }

    /// Notes that parcels of ours on a courier were read back whole.
    pub fn read_aboard(
        &mut self,
        now: Timestamp,
        courier: DeviceId,
        read: &[Parcel],
    ) -> Result<(), CommandRefused> {
        self.advance(now);
        let mut changes = Changes::new();
        for parcel in read {
            changes.entry(parcel.to).or_default()[1].push(parcel.shard.stem());
        }
        self.write_aboard(courier, changes)
    }

    fn write_aboard(&mut self, courier: DeviceId, changes: Changes) -> Result<(), CommandRefused> {
        let inventory_key = self.identity.vault.inventory_public();
        let (info, time) = (key::context::ABOARD.as_bytes(), self.now);
        for (to, lists) in changes {
            let most = lists.iter().map(Vec::len).max().unwrap_or(0);
            let part = |list: &[Stem], at: usize| {
                let mut parts = list.chunks(limits::RECEIPT_SHARDS_MAX);
                parts.nth(at).map(<[Stem]>::to_vec).unwrap_or_default()
            };
            for at in 0..most.div_ceil(limits::RECEIPT_SHARDS_MAX) {
                let [put, read, gone] = lists.each_ref().map(|list| part(list, at));
                let list = AboardList {
                    courier,
                    to,
                    time,
                    put,
                    read,
                    gone,
                };
                let sealed = key::seal_to(&inventory_key, info, &encode(&list), &mut self.rng);
                self.append(&Body::Aboard(
                    sealed.map_err(|_| CommandRefused::NotJoined)?,
                ))?;
            }
        }
        self.drive();
        Ok(())
    }

    /// Takes what a device of ours wrote down.
    pub(super) fn open_aboard(&mut self, author: DeviceId, sealed: &[u8]) {
        let (secret, info) = (
            &self.identity.vault.inventory,
            key::context::ABOARD.as_bytes(),
        );
        let plain = key::open_with(secret, info, sealed).ok();
        let list = plain.and_then(|plain| decode::<AboardList>("what is aboard", &plain).ok());
        if let Some(list) = list {
            self.aboard.note(author, &list, self.now);
        }
    }

    /// Says that a courier is here, if it was last seen with somebody else.
    pub fn sight_courier(&mut self, now: Timestamp, courier: DeviceId) {
        self.advance(now);
        let last = self.circle.courier_seen(courier, self.now);
        if last.is_none_or(|(member, _)| member != self.member) {
            // Whoever has no feed yet will say so the next time.
            let _ = self.append(&Body::Sighted(courier));
            self.drive();
        }
    }

    /// Returns which shards on a courier are wanted back, of those that bills of ours list there, in the
    /// order in which the packs are wanted: all of them, since some may turn out to be spoilt.
    pub fn wanted_aboard(&self, listed: &[Parcel]) -> Vec<Wayside> {
        let listed: BTreeMap<ShardId, Parcel> = listed
            .iter()
            .map(|parcel| (parcel.shard, *parcel))
            .collect();
        let mut found = Vec::new();
        for (record, index, shard) in self.lacking() {
            if let Some(parcel) = listed.get(&shard) {
                found.push(Wayside {
                    pack: record.id,
                    index,
                    parcel: *parcel,
                });
            }
        }
        found
    }

    /// A shard that is wanted back was found on a courier, and lies aside.
    pub fn found_aboard(&mut self, now: Timestamp, pack: PackId, index: u8) {
        self.advance(now);
        self.found_aside(pack, index);
        self.drive();
    }

    /// Returns what couriers that were not removed have of our packs, by number: what was read back
    /// lately, or all that was put there and that its addressee has not signed for.
    pub(crate) fn on_disks(&self, proved: Option<Timestamp>) -> BTreeMap<u32, OnDisks> {
        let there: BTreeSet<DeviceId> = self.circle.couriers().map(|card| card.courier).collect();
        let mut packs: BTreeMap<u32, OnDisks> = BTreeMap::new();
        for (courier, shard, lying) in self.aboard.all() {
            let counts = proved.is_none_or(|now| lying.counts(now));
            let Some((pack, id)) = self.inventory.by_stem(shard).filter(|_| counts) else {
                continue;
            };
            let index = pack.record.shards.iter().position(|it| *it == id);
            let (Some(index), Some(number)) = (index, self.inventory.number(pack.record.id)) else {
                continue;
            };
            if there.contains(&courier) && !self.has_signed(id, lying.to) {
                let disks = packs.entry(number).or_default();
                let indices = disks.entry(courier).or_default();
                indices.insert(u8::try_from(index).unwrap_or(u8::MAX));
            }
        }
        packs
    }

    /// Returns what travels to each member by courier. What was proved, or lies on a disk that was
    /// removed, does not.
    pub(crate) fn travels(&self, now: Timestamp) -> BTreeMap<MemberId, Travel> {
        let mut travels: BTreeMap<MemberId, Travel> = BTreeMap::new();
        for (courier, shard, lying) in self.aboard.all() {
            let Some((pack, id)) = self.inventory.by_stem(shard) else {
                continue;
            };
            let bytes = u64::from(pack.record.coding.shard_bytes);
            let travel = travels.entry(lying.to).or_default();
            let devices = self.circle.devices_of(lying.to);
            let held: Vec<_> = devices
                .map(|device| self.inventory.holding(device, id))
                .filter(|holding| holding.held)
                .collect();
            if held.is_empty() {
                if self.circle.courier(courier).is_some() {
                    *travel.on_disks.entry(courier).or_default() += bytes;
                }
            } else if !held.iter().any(|holding| holding.counts(now)) {
                travel.taken += bytes;
            }
        }
        travels
    }

    /// Tells whether the addressee of a shard says that it has it: then it is off the disk.
    pub(crate) fn has_signed(&self, shard: ShardId, to: MemberId) -> bool {
        let mut holders = self.inventory.holders(shard);
        holders.any(|device| self.circle.member_of(device) == Some(to))
    }

    /// Returns which couriers are elsewhere, and with whom they were last seen.
    pub(crate) fn couriers_elsewhere(&self, now: Timestamp) -> BTreeMap<DeviceId, MemberId> {
        let seen = self.circle.couriers().filter_map(|card| {
            let (with, _) = self.circle.courier_seen(card.courier, now)?;
            Some((card.courier, with))
        });
        seen.filter(|(_, with)| *with != self.member).collect()
    }
}
