//! Inventory: which friend's device holds which shard of ours, by word and by proof.
//!
//! It is a fold over receipts (holders' feeds) and audits (our own feeds), and so answerable offline.
//! A terabyte at twenty friends is more than a million shards at devices: what is known of them lies
//! with each pack, and each device has its shards in the order in which they are to be proved.

mod company;
mod holding;
mod opening;
mod own_pack;
mod places;
mod seats;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

pub use self::{
    company::{Company, Tally},
    holding::Holding,
    own_pack::OwnPack,
};
use self::{
    holding::{Mark, Rank},
    opening::{Opening, Spot},
    own_pack::Known,
    places::{Place, Places},
    seats::{Seat, Seats},
};
use crate::{
    circle::Circle,
    entry::{AuditList, ReceiptList},
    health::{Spread, health},
    id::{DeviceId, MemberId, PackId, ShardId, Stem},
    limits,
    record::PackRecord,
    roll::{Outcome, Roll},
    time::Timestamp,
    track::Track,
};

/// So many shards are looked for at once.
const SEARCHES: usize = 512;

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
    packs: Vec<Option<Known>>,
    free: Vec<u32>,
    /// Every shard of ours by the beginning of its id.
    places: Places,
    /// What was heard of shards whose pack is not known, by no index.
    unplaced: BTreeMap<Stem, Vec<Mark>>,
    /// The devices that hold anything, by small numbers.
    seats: Seats,
    /// What each device signed for, in the order of its feed.
    rolls: BTreeMap<Seat, Roll>,
    /// What each device claims, in the order in which it is to be proved.
    ranks: BTreeMap<Seat, BTreeSet<(Rank, Place)>>,
    /// That order is not kept while it is opened.
    opening: Option<Opening>,
    pending: BTreeSet<(Seat, Place)>,
    tracks: BTreeMap<DeviceId, Track>,
}

impl Inventory {
    /// Returns an inventory that takes millions of words at once: it has no order of proofs until
    /// [`Self::put_in_order`].
    pub(crate) fn unordered() -> Self {
        Self {
            opening: Some(Opening::default()),
            ..Self::default()
        }
    }

    /// Tells whether it has no order of proofs yet.
    pub(crate) const fn is_unordered(&self) -> bool {
        self.opening.is_some()
    }

    /// Makes the order of proofs, if there is none yet.
    pub(crate) fn put_in_order(&mut self) {
        if self.opening.take().is_none() {
            return;
        }
        let signed = |seat| self.rolls.get(&seat).map_or(0, Roll::len);
        let mut ranks: Vec<Vec<(Rank, Place)>> = (0..)
            .zip(self.seats.devices())
            .map(|(seat, _)| Vec::with_capacity(signed(seat)))
            .collect();
        for (number, pack) in self.numbered() {
            for mark in pack.marks() {
                if let Some(rank) = mark.rank(pack.record.newest) {
                    ranks[usize::from(mark.seat)].push((rank, (number, mark.index)));
                }
            }
        }
        let ranks = (0..).zip(ranks).filter(|(_, ranks)| !ranks.is_empty());
        self.ranks = ranks
            .map(|(seat, ranks)| (seat, ranks.into_iter().collect()))
            .collect();
    }

    /// Adds a pack, or tells that it can be made here again. Returns whether anything changed.
    pub fn add_pack(&mut self, record: PackRecord, available: bool) -> bool {
        if let Some(pack) = self.pack_mut(record.id) {
            let changed = available && !pack.available;
            pack.available |= available;
            return changed;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.packs.push(None);
            u32::try_from(self.packs.len() - 1).unwrap_or(u32::MAX)
        });
        self.numbers.insert(record.id, number);
        let mut heard = Vec::new();
        for (index, shard) in (0..=u8::MAX).zip(&record.shards) {
            let (stem, place) = (shard.stem(), (number, index));
            self.places.insert(stem, place);
            if !self.unplaced.is_empty() {
                let marks = self.unplaced.remove(&stem);
                heard.extend(marks.into_iter().flatten().map(|mark| (place, mark)));
            }
        }
        self.packs[number as usize] = Some(Known {
            record,
            available,
            marks: Vec::new(),
        });
        for (place, heard) in heard {
            self.change_at(heard.seat, place, None, |mark| {
                mark.change(|holding| *holding = heard.holding());
                mark.set_insisted(heard.is_insisted());
            });
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
        if let Some(opening) = &mut self.opening {
            opening.give_up();
        }
        for mark in &removed.marks {
            let place = (number, mark.index);
            self.pending.remove(&(mark.seat, place));
            if self.opening.is_none() {
                self.rank(mark.seat, mark.rank(removed.record.newest), None, place);
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
        let Some(seat) = self.seats.take(holder) else {
            return BTreeSet::new();
        };
        self.hear(seat, &list.held, true, at);
        self.hear(seat, &list.dropped, false, at);
        self.note_due(seat)
    }

    /// Notes a holder's word about one shard.
    #[cfg(test)]
    pub(crate) fn note_receipt(&mut self, holder: DeviceId, shard: Stem, held: bool, at: u64) {
        if let Some(seat) = self.seats.take(holder) {
            self.hear(seat, &[shard], held, at);
        }
    }

    fn hear(&mut self, seat: Seat, shards: &[Stem], held: bool, at: u64) {
        // Each search waits for memory and for nothing else: many wait together if nothing is done in
        // between.
        let places: Vec<Option<Place>> = shards.iter().map(|shard| self.place(*shard)).collect();
        let found = places
            .iter()
            .map(|place| self.find_mark(seat, (*place)?, None));
        let found: Vec<Option<u8>> = found.collect();
        let roll = self.rolls.entry(seat).or_default();
        let number = |shard: &Stem| held.then(|| roll.sign(*shard));
        let numbers: Vec<Option<u32>> = shards.iter().map(number).collect();
        let mut spots = Vec::with_capacity(shards.len());
        for (shard, (number, (place, likely))) in
            (shards.iter()).zip(numbers.into_iter().zip(places.into_iter().zip(found)))
        {
            let hear = |mark: &mut Mark| {
                mark.set_pending(false);
                let held = mark.change(|holding| holding.hear(number, at));
                mark.set_insisted(mark.is_insisted() && held);
            };
            spots.push(match place {
                Some(place) => Some(Spot::new(place, self.change_at(seat, place, likely, hear))),
                None => {
                    self.change_unplaced(seat, *shard, hear);
                    None
                }
            });
        }
        if let Some(opening) = self.opening.as_mut().filter(|_| held) {
            opening.sign(seat, spots);
        }
    }

    /// Notes that we released a shard, having seen so much of the holder's feed.
    pub fn note_release(&mut self, holder: DeviceId, shard: ShardId, seen: u64) {
        self.change(holder, shard.stem(), |mark| {
            let held = mark.change(|holding| holding.release(seen));
            mark.set_insisted(mark.is_insisted() && held);
        });
    }

    /// Notes the outcome of a probe. The newest outcome of each kind counts, in whatever order
    /// they are heard of.
    pub fn note_audit(&mut self, holder: DeviceId, shard: ShardId, at: Timestamp, good: bool) {
        self.change(holder, shard.stem(), |mark| {
            mark.change(|holding| holding.prove(at, good));
        });
    }

    /// Notes outcomes that one of our devices wrote down, once the receipts that they name have come.
    /// Returns packs of which we now know that the holder could not show something.
    pub fn note_outcomes(&mut self, list: AuditList) -> BTreeSet<PackId> {
        let Some(seat) = self.seats.take(list.holder) else {
            return BTreeSet::new();
        };
        self.rolls.entry(seat).or_default().wait(list);
        self.note_due(seat)
    }

    fn note_due(&mut self, seat: Seat) -> BTreeSet<PackId> {
        let due = self.rolls.get_mut(&seat).map(Roll::due);
        let mut failed = BTreeSet::new();
        for outcomes in due.unwrap_or_default().chunks(SEARCHES) {
            let found: Vec<_> = outcomes
                .iter()
                .map(|it| self.find_signed(seat, it))
                .collect();
            for (outcome, found) in outcomes.iter().zip(found) {
                let prove = |mark: &mut Mark| {
                    mark.change(|it| it.prove_number(outcome.number, outcome.at, outcome.good));
                };
                let Some((place, likely)) = found else {
                    self.change_unplaced(seat, outcome.stem, prove);
                    continue;
                };
                self.change_at(seat, place, likely, prove);
                if let Some((pack, _)) = self.at(place).filter(|_| !outcome.good) {
                    failed.insert(pack.record.id);
                }
            }
        }
        failed
    }

    /// Returns the place of what an outcome is about, and where its mark is among its pack's.
    fn find_signed(&self, seat: Seat, outcome: &Outcome) -> Option<(Place, Option<u8>)> {
        let opening = self.opening.as_ref();
        let spot = opening.and_then(|opening| opening.spot(seat, outcome.number));
        let place = spot.map(Spot::place).or_else(|| self.place(outcome.stem))?;
        Some((place, self.find_mark(seat, place, spot.map(|it| it.mark))))
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
        let roll = (self.seats.find(holder)).and_then(|seat| self.rolls.get(&seat));
        let Some(roll) = roll else {
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
            mark.set_insisted(true);
            mark.change(|holding| holding.renewed = true);
        });
    }

    /// Notes that a shard is on its way to a device.
    pub fn note_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.change(holder, shard.stem(), |mark| mark.set_pending(true));
    }

    /// Notes that it did not arrive.
    pub fn clear_pending(&mut self, holder: DeviceId, shard: ShardId) {
        self.change(holder, shard.stem(), |mark| mark.set_pending(false));
    }

    /// Forgets all that was on its way to a device. Returns the packs of which something was.
    pub fn clear_pending_of(&mut self, holder: DeviceId) -> BTreeSet<PackId> {
        let Some(seat) = self.seats.find(holder) else {
            return BTreeSet::new();
        };
        let all = (seat, (0, 0))..=(seat, (u32::MAX, u8::MAX));
        let gone: Vec<_> = self.pending.range(all).copied().collect();
        let mut packs = BTreeSet::new();
        for (seat, place) in gone {
            if let Some((pack, _)) = self.at(place) {
                packs.insert(pack.record.id);
                self.change_at(seat, place, None, |mark| mark.set_pending(false));
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
        let Some(seat) = self.seats.take(device) else {
            return;
        };
        match self.place(shard) {
            Some(place) => drop(self.change_at(seat, place, None, change)),
            None => self.change_unplaced(seat, shard, change),
        }
    }

    fn change_unplaced(&mut self, seat: Seat, shard: Stem, change: impl FnOnce(&mut Mark)) {
        let marks = self.unplaced.entry(shard).or_default();
        let found = marks.iter().position(|mark| mark.seat == seat);
        let at = found.unwrap_or_else(|| {
            // Of a shard whose pack is not known, most have one holder.
            marks.reserve_exact(1);
            marks.push(Mark::new(seat, 0));
            marks.len() - 1
        });
        change(&mut marks[at]);
    }

    /// Changes what is known of a shard at its place, whose mark is perhaps at `likely` among its pack's.
    /// Returns where it was.
    fn change_at(
        &mut self,
        seat: Seat,
        place: Place,
        likely: Option<u8>,
        change: impl FnOnce(&mut Mark),
    ) -> u8 {
        let Some(pack) = self.packs[place.0 as usize].as_mut() else {
            return 0;
        };
        let at = pack.find_or_make((seat, place.1), likely);
        let (newest, mark) = (pack.record.newest, &mut pack.marks[at]);
        let ranked = self.opening.is_none();
        let standing = |mark: &Mark| {
            let rank = mark.rank(newest).filter(|_| ranked);
            (rank, mark.is_pending())
        };
        let before = standing(mark);
        change(mark);
        let after = standing(mark);
        if mark.is_blank() {
            pack.marks.remove(at);
        }
        match (before.1, after.1) {
            (false, true) => drop(self.pending.insert((seat, place))),
            (true, false) => drop(self.pending.remove(&(seat, place))),
            _ => {}
        }
        self.rank(seat, before.0, after.0, place);
        u8::try_from(at).unwrap_or(u8::MAX)
    }

    fn rank(&mut self, seat: Seat, before: Option<Rank>, after: Option<Rank>, place: Place) {
        if before == after {
            return;
        }
        let ranks = self.ranks.entry(seat).or_default();
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
        let ranks = (self.seats.find(holder)).and_then(|seat| self.ranks.get(&seat));
        let ranks = ranks.into_iter().flatten();
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
    pub fn packs(&self) -> impl Iterator<Item = OwnPack<'_>> {
        self.packs.iter().flatten().map(|pack| self.own(pack))
    }

    /// Returns a pack of ours.
    pub fn pack(&self, id: PackId) -> Option<OwnPack<'_>> {
        self.by_number(*self.numbers.get(&id)?)
    }

    fn own<'a>(&'a self, pack: &'a Known) -> OwnPack<'a> {
        OwnPack::new(pack, &self.seats)
    }

    fn pack_mut(&mut self, id: PackId) -> Option<&mut Known> {
        self.packs[*self.numbers.get(&id)? as usize].as_mut()
    }

    /// Returns our packs with their numbers, which are small.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, OwnPack<'_>)> {
        let packs = (0..).zip(&self.packs);
        packs.filter_map(|(number, pack)| Some((number, self.own(pack.as_ref()?))))
    }

    /// Returns whose each device is that holds anything: those of present members other than us, and
    /// not gone for good.
    pub fn company(&self, circle: &Circle, me: MemberId, gone: &BTreeSet<DeviceId>) -> Company {
        Company::new(&self.seats, circle, me, gone)
    }

    /// Returns a pack's number. Once the pack is forgotten, another may get it.
    pub fn number(&self, id: PackId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// Returns the pack of a number.
    pub fn by_number(&self, number: u32) -> Option<OwnPack<'_>> {
        let pack = self.packs.get(number as usize)?.as_ref()?;
        Some(self.own(pack))
    }

    fn place(&self, stem: Stem) -> Option<Place> {
        self.places.find(stem, |_| true)
    }

    /// Returns where a shard's mark is among its pack's, or would be: perhaps at `likely`.
    fn find_mark(&self, seat: Seat, (number, index): Place, likely: Option<u8>) -> Option<u8> {
        let pack = self.packs.get(number as usize)?.as_ref()?;
        let at = pack.find((seat, index), likely).unwrap_or_else(|at| at);
        u8::try_from(at).ok()
    }

    fn at(&self, (number, index): Place) -> Option<(OwnPack<'_>, ShardId)> {
        let pack = self.by_number(number)?;
        Some((pack, *pack.record.shards.get(usize::from(index))?))
    }

    /// Returns the shard of ours whose id begins so, and its pack.
    pub fn by_stem(&self, stem: Stem) -> Option<(OwnPack<'_>, ShardId)> {
        self.at(self.place(stem)?)
    }

    /// Returns the pack and index of a shard of ours.
    pub fn locate(&self, shard: ShardId) -> Option<(OwnPack<'_>, u8)> {
        let is_it = |place| self.at(place).is_some_and(|(_, it)| it == shard);
        let (number, index) = self.places.find(shard.stem(), is_it)?;
        Some((self.by_number(number)?, index))
    }

    /// Returns what is known of a shard at a device.
    pub fn holding(&self, holder: DeviceId, shard: ShardId) -> Holding {
        let seat = self.seats.find(holder);
        let mut marks = self.marks(shard);
        let mark = seat.and_then(|seat| marks.find(|mark| mark.seat == seat));
        mark.map(Mark::holding).unwrap_or_default()
    }

    /// Returns the devices believed to hold a shard.
    pub fn holders(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        self.devices(shard, Holding::believed)
    }

    /// Returns the devices that say that they hold a shard, proof or not.
    pub fn claimants(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        self.devices(shard, |holding| holding.held)
    }

    /// Returns the devices that may give a shard back.
    pub fn givers(&self, shard: ShardId) -> impl Iterator<Item = DeviceId> {
        self.devices(shard, Holding::may_be_given)
    }

    /// Returns the devices of which that is true, in the order in which they were first heard of.
    fn devices(
        &self,
        shard: ShardId,
        which: impl Fn(&Holding) -> bool,
    ) -> impl Iterator<Item = DeviceId> {
        let marks = self.marks(shard).filter(move |mark| which(&mark.holding()));
        marks.map(|mark| self.seats.device(mark.seat))
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
        let devices = self.seats.devices().iter();
        let mut sums: Vec<(DeviceId, u64, u64)> = devices.map(|it| (*it, 0, 0)).collect();
        for pack in self.packs() {
            let bytes = u64::from(pack.record.coding.shard_bytes);
            for mark in pack.marks().iter().filter(|mark| mark.is_held()) {
                let (_, held, proved) = &mut sums[usize::from(mark.seat)];
                *held += bytes;
                *proved += if mark.holding().counts(now) { bytes } else { 0 };
            }
        }
        sums.retain(|(_, held, _)| *held > 0);
        sums.sort_unstable();
        sums
    }
}
