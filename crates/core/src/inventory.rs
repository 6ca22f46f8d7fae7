//! Inventory: which friend's device holds which shard of ours, by word and by proof.
//!
//! It is a fold over receipts (holders' feeds) and audits (our own feeds), and so answerable offline.
//! A terabyte at twenty friends is more than a million shards at devices: what is known of them lies
//! with each pack, and each device has its shards in the order in which they are to be proved.

mod holding;
mod own_pack;
mod places;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

pub use self::{holding::Holding, own_pack::OwnPack};
use self::{
    holding::{Mark, Rank},
    places::{Place, Places},
};
use crate::{
    circle::Circle,
    entry::{AuditList, ReceiptList},
    health::{Spread, health},
    id::{DeviceId, MemberId, PackId, ShardId, Stem},
    limits,
    record::PackRecord,
    roll::Roll,
    time::Timestamp,
    track::Track,
};

/// For so many more holders of a pack memory is taken at a time.
const MARKS_STEP: usize = 3;

/// A shard that a device may be asked to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The shard.
    pub shard: ShardId,
    /// Its length.
    pub bytes: u32,
    /// When the device was last asked for it; nothing if it never was since it signed for it.
    pub asked: Option<Timestamp>,
}

/// Our packs and where their shards are.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    numbers: BTreeMap<PackId, u32>,
    /// By number. Numbers of forgotten packs are given again.
    packs: Vec<Option<OwnPack>>,
    free: Vec<u32>,
    /// Every shard of ours by the beginning of its id, which the pack's record makes certain.
    places: Places,
    /// What was heard of shards whose pack is not known, by no index.
    unplaced: BTreeMap<Stem, Vec<Mark>>,
    /// What each device signed for, in the order of its feed.
    rolls: BTreeMap<DeviceId, Roll>,
    /// What each device claims, in the order in which it is to be proved.
    ranks: BTreeMap<DeviceId, BTreeSet<(Rank, Place)>>,
    /// That order is not kept for now.
    unranked: bool,
    pending: BTreeSet<(DeviceId, Place)>,
    tracks: BTreeMap<DeviceId, Track>,
}

impl Inventory {
    /// Returns an inventory that takes millions of words at once: it has no order of proofs until
    /// [`Self::put_in_order`].
    pub(crate) fn unordered() -> Self {
        Self {
            unranked: true,
            ..Self::default()
        }
    }

    /// Tells whether it has no order of proofs yet.
    pub(crate) const fn is_unordered(&self) -> bool {
        self.unranked
    }

    /// Makes the order of proofs, if there is none yet.
    pub(crate) fn put_in_order(&mut self) {
        if !core::mem::take(&mut self.unranked) {
            return;
        }
        let mut ranks: BTreeMap<DeviceId, Vec<(Rank, Place)>> = BTreeMap::new();
        for (number, pack) in self.numbered() {
            for mark in &pack.marks {
                if let Some(rank) = mark.rank(pack.record.newest) {
                    let of_device = ranks.entry(mark.device).or_default();
                    of_device.push((rank, (number, mark.index)));
                }
            }
        }
        let in_order = |(device, ranks): (_, Vec<_>)| (device, ranks.into_iter().collect());
        self.ranks = ranks.into_iter().map(in_order).collect();
    }

    /// Adds a pack, or tells that it can be made here again. Returns whether anything changed.
    pub fn add_pack(&mut self, record: PackRecord, available: bool) -> bool {
        if let Some(pack) = self.pack_mut(record.id) {
            let changed = available && !pack.available;
            pack.available |= available;
            return changed;
        }
        let pack = OwnPack {
            record,
            available,
            marks: Vec::new(),
        };
        let (id, shards) = (pack.record.id, pack.record.shards.clone());
        let number = self.free.pop().unwrap_or_else(|| {
            self.packs.push(None);
            u32::try_from(self.packs.len() - 1).unwrap_or(u32::MAX)
        });
        self.packs[number as usize] = Some(pack);
        self.numbers.insert(id, number);
        for (index, shard) in (0..=u8::MAX).zip(shards) {
            let stem = shard.stem();
            self.places.insert(stem, (number, index));
            for mark in self.unplaced.remove(&stem).into_iter().flatten() {
                self.change(mark.device, stem, |known| {
                    known.holding = mark.holding;
                    known.insisted = mark.insisted;
                });
            }
        }
        true
    }

    /// Forgets a pack that is lost. Receipts for its shards mean nothing from now on.
    pub fn remove_pack(&mut self, pack: PackId) -> bool {
        let Some(number) = self.numbers.remove(&pack) else {
            return false;
        };
        let Some(removed) = self.packs[number as usize].take() else {
            return false;
        };
        self.free.push(number);
        for mark in &removed.marks {
            let place = (number, mark.index);
            self.pending.remove(&(mark.device, place));
            if let Some(rank) = mark.rank(removed.record.newest) {
                self.rank(mark.device, Some(rank), None, place);
            }
        }
        for (index, shard) in (0..=u8::MAX).zip(removed.record.shards) {
            let stem = shard.stem();
            self.places.remove(stem, (number, index));
            // Should the pack be known again one day, so is who has it.
            let known = removed.marks.iter().filter(|mark| mark.index == index);
            let known: Vec<Mark> = known.copied().collect();
            if !known.is_empty() {
                self.unplaced.insert(stem, known);
            }
        }
        true
    }

    /// Notes that a pack can't be made here any more.
    pub fn set_unavailable(&mut self, pack: PackId) {
        if let Some(pack) = self.pack_mut(pack) {
            pack.available = false;
        }
    }

    /// Notes a holder's words about shards, at a position of its feed. What it signed for before we
    /// released a shard means nothing, in whatever order the two are heard of. Returns packs of which we
    /// now know that it could not show something.
    pub fn note_receipts(
        &mut self,
        holder: DeviceId,
        list: &ReceiptList,
        at: u64,
    ) -> BTreeSet<PackId> {
        for stem in &list.held {
            self.note_receipt(holder, *stem, true, at);
        }
        for stem in &list.dropped {
            self.note_receipt(holder, *stem, false, at);
        }
        self.note_due(holder)
    }

    /// Notes a holder's word about one shard.
    pub(crate) fn note_receipt(&mut self, holder: DeviceId, shard: Stem, held: bool, at: u64) {
        let number = held.then(|| self.rolls.entry(holder).or_default().sign(shard));
        self.change(holder, shard, |mark| {
            mark.pending = false;
            let held = mark.holding.hear(number, at);
            mark.insisted &= held;
        });
    }

    /// Notes that we released a shard, having seen so much of the holder's feed.
    pub fn note_release(&mut self, holder: DeviceId, shard: ShardId, seen: u64) {
        self.change(holder, shard.stem(), |mark| {
            let held = mark.holding.release(seen);
            mark.insisted &= held;
        });
    }

    /// Notes the outcome of a probe. The newest outcome of each kind counts, in whatever order
    /// they are heard of.
    pub fn note_audit(&mut self, holder: DeviceId, shard: ShardId, at: Timestamp, good: bool) {
        self.change(holder, shard.stem(), |mark| mark.holding.prove(at, good));
    }

    /// Notes outcomes that one of our devices wrote down, once the receipts that they name have come.
    /// Returns packs of which we now know that the holder could not show something.
    pub fn note_outcomes(&mut self, list: AuditList) -> BTreeSet<PackId> {
        let holder = list.holder;
        self.rolls.entry(holder).or_default().wait(list);
        self.note_due(holder)
    }

    fn note_due(&mut self, holder: DeviceId) -> BTreeSet<PackId> {
        let roll = self.rolls.get_mut(&holder);
        let mut failed = BTreeSet::new();
        for outcome in roll.map(Roll::due).unwrap_or_default() {
            self.change(holder, outcome.stem, |mark| {
                mark.holding
                    .prove_number(outcome.number, outcome.at, outcome.good);
            });
            if let Some((pack, _)) = self.by_stem(outcome.stem).filter(|_| !outcome.good) {
                failed.insert(pack.record.id);
            }
        }
        failed
    }

    /// Returns outcomes of probes at a holder as they are written down, each part for one entry. What it
    /// never signed for can't be named.
    pub fn outcomes(
        &self,
        holder: DeviceId,
        time: Timestamp,
        proved: &[ShardId],
        failed: &[ShardId],
    ) -> Vec<AuditList> {
        let Some(roll) = self.rolls.get(&holder) else {
            return Vec::new();
        };
        let named = |shards: &[ShardId], good: bool| -> Vec<(u32, bool)> {
            let numbers = shards.iter().map(|it| self.holding(holder, *it).number());
            numbers.flatten().map(|number| (number, good)).collect()
        };
        let mut all = named(proved, true);
        all.extend(named(failed, false));
        all.sort_unstable();
        let part = |part: &[(u32, bool)]| {
            let those = |which| part.iter().filter(move |it| it.1 == which).map(|it| it.0);
            roll.list(holder, time, those(true).collect(), those(false).collect())
        };
        all.chunks(limits::AUDIT_SHARDS_MAX)
            .filter_map(part)
            .collect()
    }

    /// Notes that a device refused a shard because it has it. If it failed to prove that, it gets
    /// one more chance.
    pub fn note_insisted(&mut self, holder: DeviceId, shard: ShardId) {
        self.change(holder, shard.stem(), |mark| {
            mark.insisted = true;
            mark.holding.renewed = true;
        });
    }

    /// Notes that a shard is on its way to a device.
    pub fn note_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.change(holder, shard.stem(), |mark| mark.pending = true);
    }

    /// Notes that it did not arrive.
    pub fn clear_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.change(holder, shard.stem(), |mark| mark.pending = false);
    }

    /// Forgets all that was on its way to a device. Returns the packs of which something was.
    pub fn clear_pending_of(&mut self, holder: DeviceId) -> BTreeSet<PackId> {
        let all = (holder, (0, 0))..=(holder, (u32::MAX, u8::MAX));
        let gone: Vec<_> = self.pending.range(all).copied().collect();
        let mut packs = BTreeSet::new();
        for (holder, place) in gone {
            if let Some((pack, shard)) = self.at(place) {
                packs.insert(pack.record.id);
                self.clear_pending(holder, shard);
            }
        }
        packs
    }

    /// Notes that a holder was asked for so many shards on the day of `at`, of which it could not show
    /// `failed`.
    pub fn note_track(&mut self, holder: DeviceId, at: Timestamp, asked: usize, failed: usize) {
        let track = self.tracks.entry(holder).or_default();
        track.note(at, asked, failed);
    }

    /// Returns how often a device could show what it said it keeps.
    pub fn track(&self, holder: DeviceId) -> Option<&Track> {
        self.tracks.get(&holder)
    }

    /// Changes what is known of a shard at a device, and its turn with it.
    fn change(&mut self, device: DeviceId, shard: Stem, change: impl FnOnce(&mut Mark)) {
        let Some(place) = self.place(shard) else {
            let marks = self.unplaced.entry(shard).or_default();
            let found = marks.iter().position(|mark| mark.device == device);
            let at = found.unwrap_or_else(|| {
                // At a start all shards are here for a while, most with one holder.
                marks.reserve_exact(1);
                marks.push(Mark::new(device, 0));
                marks.len() - 1
            });
            return change(&mut marks[at]);
        };
        let Some(pack) = self.packs[place.0 as usize].as_mut() else {
            return;
        };
        let at = pack.find(device, place.1).unwrap_or_else(|at| {
            // There are many packs, and each has few holders.
            if pack.marks.len() == pack.marks.capacity() {
                pack.marks.reserve_exact(MARKS_STEP);
            }
            pack.marks.insert(at, Mark::new(device, place.1));
            at
        });
        let newest = pack.record.newest;
        let (before, mark) = (pack.marks[at].rank(newest), &mut pack.marks[at]);
        change(mark);
        let (after, pending) = (mark.rank(newest), mark.pending);
        if mark.is_blank() {
            pack.marks.remove(at);
        }
        if pending {
            self.pending.insert((device, place));
        } else {
            self.pending.remove(&(device, place));
        }
        self.rank(device, before, after, place);
    }

    fn rank(&mut self, device: DeviceId, before: Option<Rank>, after: Option<Rank>, place: Place) {
        if before == after || self.unranked {
            return;
        }
        let ranks = self.ranks.entry(device).or_default();
        if let Some(before) = before {
            ranks.remove(&(before, place));
        }
        if let Some(after) = after {
            ranks.insert((after, place));
        }
    }

    /// Returns what a device claims, in the order in which it is to be proved: what it was never asked
    /// for, the newest content first, then what it was not asked for longest.
    pub fn turns(&self, holder: DeviceId) -> impl Iterator<Item = Turn> {
        let ranks = self.ranks.get(&holder).into_iter().flatten();
        ranks.filter_map(|(rank, place)| {
            let (pack, shard) = self.at(*place)?;
            let (bytes, asked) = (pack.record.coding.shard_bytes, rank.asked());
            Some(Turn {
                shard,
                bytes,
                asked,
            })
        })
    }

    /// Returns our packs.
    pub fn packs(&self) -> impl Iterator<Item = &OwnPack> {
        self.packs.iter().flatten()
    }

    /// Returns a pack of ours.
    pub fn pack(&self, id: PackId) -> Option<&OwnPack> {
        self.packs[*self.numbers.get(&id)? as usize].as_ref()
    }

    fn pack_mut(&mut self, id: PackId) -> Option<&mut OwnPack> {
        self.packs[*self.numbers.get(&id)? as usize].as_mut()
    }

    /// Returns our packs with their numbers, which are small.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &OwnPack)> {
        let packs = (0..).zip(&self.packs);
        packs.filter_map(|(number, pack)| Some((number, pack.as_ref()?)))
    }

    /// Returns a pack's number. Once the pack is forgotten, another may get it.
    pub fn number(&self, id: PackId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// Returns the pack of a number.
    pub fn by_number(&self, number: u32) -> Option<&OwnPack> {
        self.packs.get(number as usize)?.as_ref()
    }

    fn place(&self, stem: Stem) -> Option<Place> {
        self.find_place(stem, |shard| shard.stem() == stem)
    }

    fn find_place(&self, stem: Stem, is_it: impl Fn(ShardId) -> bool) -> Option<Place> {
        let is_it = |place| self.at(place).is_some_and(|(_, shard)| is_it(shard));
        self.places.find(stem, is_it)
    }

    fn at(&self, (number, index): Place) -> Option<(&OwnPack, ShardId)> {
        let pack = self.by_number(number)?;
        Some((pack, *pack.record.shards.get(usize::from(index))?))
    }

    /// Returns the shard of ours whose id begins so, and its pack.
    pub fn by_stem(&self, stem: Stem) -> Option<(&OwnPack, ShardId)> {
        self.at(self.place(stem)?)
    }

    /// Returns the pack and index of a shard of ours.
    pub fn locate(&self, shard: ShardId) -> Option<(&OwnPack, u8)> {
        let (number, index) = self.find_place(shard.stem(), |it| it == shard)?;
        Some((self.by_number(number)?, index))
    }

    /// Returns what is known of a shard at a device.
    pub fn holding(&self, holder: DeviceId, shard: ShardId) -> Holding {
        let mark = match self.locate(shard) {
            Some((pack, index)) => pack.find(holder, index).ok().map(|at| &pack.marks[at]),
            None => {
                let mut marks = self.unplaced.get(&shard.stem()).into_iter().flatten();
                marks.find(|mark| mark.device == holder)
            }
        };
        mark.map(|mark| mark.holding).unwrap_or_default()
    }

    /// Returns the devices believed to hold a shard.
    pub fn holders(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        let marks = self.marks(shard);
        marks
            .filter(|mark| mark.holding.believed())
            .map(|mark| mark.device)
    }

    /// Returns the devices that say that they hold a shard, proof or not.
    pub fn claimants(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        let marks = self.marks(shard);
        marks
            .filter(|mark| mark.holding.held)
            .map(|mark| mark.device)
    }

    /// Returns the devices that may give a shard back.
    pub fn givers(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        let marks = self.marks(shard);
        marks
            .filter(|mark| mark.holding.may_be_given())
            .map(|mark| mark.device)
    }

    fn marks(&self, shard: ShardId) -> impl Iterator<Item = &Mark> {
        let placed = (self.locate(shard).into_iter()).flat_map(|(pack, at)| pack.at_index(at));
        let unplaced = self.unplaced.get(&shard.stem()).into_iter().flatten();
        placed.chain(unplaced)
    }

    /// Returns where shards of a pack are for sure: proved lately, by present members other than us.
    pub fn proved_spread(
        &self,
        pack: &PackRecord,
        circle: &Circle,
        me: MemberId,
        now: Timestamp,
    ) -> Spread {
        let pack = self.pack(pack.id);
        pack.map_or_else(Spread::new, |pack| pack.proved_spread(circle, me, now))
    }

    /// Returns the health of a pack now.
    pub fn health(&self, pack: &PackRecord, circle: &Circle, me: MemberId, now: Timestamp) -> u32 {
        health(&pack.coding, &self.proved_spread(pack, circle, me, now))
    }

    /// Returns the devices that hold something of ours by their word, with the number of bytes and
    /// the number of bytes proved lately.
    pub fn bytes_by_device(&self, now: Timestamp) -> Vec<(DeviceId, u64, u64)> {
        let mut sums: Vec<(DeviceId, u64, u64)> =
            self.ranks.keys().map(|device| (*device, 0, 0)).collect();
        for pack in self.packs() {
            let bytes = u64::from(pack.record.coding.shard_bytes);
            let mut at = 0;
            // Both are in the order of devices.
            for mark in pack.marks.iter().filter(|mark| mark.holding.held) {
                while sums.get(at).is_some_and(|sum| sum.0 < mark.device) {
                    at += 1;
                }
                if let Some(sum) = sums.get_mut(at) {
                    sum.1 += bytes;
                    sum.2 += if mark.holding.counts(now) { bytes } else { 0 };
                }
            }
        }
        sums
    }
}
