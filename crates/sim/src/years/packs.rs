//! Packs that weigh next to nothing, and where copies of their shards really are.
//!
//! Coding, ids and proofs are real; only the bytes are few. A simulated byte stands for [`WEIGHT`] of
//! them wherever time and room count.

use std::collections::{BTreeSet, HashMap};

use carryall_core::{
    id::{MemberId, PackId, ShardId},
    message::GroupProof,
    proof,
    record::{Coding, PackKind, PackRecord},
    shard,
    time::{Span, Timestamp},
};

use crate::rng::Rng;

/// What a simulated byte stands for, in bytes.
pub(super) const WEIGHT: u64 = 64 << 10;
/// A fault is found out within this time: proofs count no longer, and a clock may be off by two days.
const FOUND_OUT: Span = Span::days(33);
/// A data pack of 1 KiB stands for 64 MiB: four packs of the real size.
pub(super) const DATA_BYTES: usize = 1024;
/// A metadata pack stands for 4 MiB.
const METADATA_BYTES: usize = 64;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// As it was written.
    Good,
    /// Damaged, and nobody knows yet.
    Rotten,
    /// Dropped by somebody who does not say so.
    Dropped,
}

/// A shard on a machine's disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    /// The machine, by its number in the world.
    pub(super) station: usize,
    pub(super) member: MemberId,
    pub(super) index: u8,
    pub(super) condition: Condition,
    /// Whether it lies in the trash.
    pub(super) trashed: bool,
}

/// A pack.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) record: PackRecord,
    pub(super) owner: MemberId,
    shards: Vec<Vec<u8>>,
    pub(super) copies: Vec<Copy>,
    /// Members whose copy was lost by a fault, and when.
    pub(super) faults: Vec<(MemberId, Timestamp)>,
    /// When its owner was told that friends alone can rebuild it.
    pub(super) safe: Option<Timestamp>,
    /// When some friends had something of it first, and when as many had as shall have.
    pub(super) spread: [Option<Timestamp>; 2],
    /// Its owner does not need it any more.
    pub(super) released: bool,
    /// Nobody can rebuild it any more.
    pub(super) lost: bool,
}

impl Pack {
    /// Returns how many distinct shards friends have as they should be, those in the trash too if so
    /// asked.
    pub(super) fn intact(&self, with_trash: bool) -> usize {
        let good = self.copies.iter().filter(|it| {
            it.condition == Condition::Good
                && it.member != self.owner
                && (with_trash || !it.trashed)
        });
        good.map(|it| it.index).collect::<BTreeSet<u8>>().len()
    }

    /// Returns how many friends have something of it on their shelves.
    pub(super) fn holders(&self) -> usize {
        let kept = self
            .copies
            .iter()
            .filter(|it| !it.trashed && it.member != self.owner);
        kept.map(|it| it.member).collect::<BTreeSet<_>>().len()
    }

    /// Tells whether friends alone can rebuild it.
    pub(super) fn is_rebuildable(&self, with_trash: bool) -> bool {
        self.intact(with_trash) >= usize::from(self.record.coding.k)
    }

    /// Returns how many members lost a copy by a fault that its owner may not know of yet. Who has
    /// another one that is good still has less than its owner counts on.
    pub(super) fn faulty(&self, now: Timestamp) -> usize {
        let holds_bad = |member: MemberId| {
            let mut copies = self.copies.iter();
            copies.any(|it| it.member == member && it.condition != Condition::Good)
        };
        let unknown = |(member, at): &&(MemberId, Timestamp)| {
            now.since(*at) <= FOUND_OUT || holds_bad(*member)
        };
        let members = self.faults.iter().filter(unknown).map(|it| it.0);
        members.collect::<BTreeSet<MemberId>>().len()
    }

    /// Returns the bytes that it stands for.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.record.bytes) * WEIGHT
    }

    /// Returns the bytes that one of its shards stands for.
    pub(super) fn shard_bytes(&self) -> u64 {
        u64::from(self.record.coding.shard_bytes) * WEIGHT
    }
}

/// All packs of everybody.
#[derive(Debug, Default)]
pub(super) struct Packs {
    pub(super) all: Vec<Pack>,
    ids: HashMap<PackId, usize>,
    shards: HashMap<ShardId, (usize, u8)>,
}

impl Packs {
    /// Makes a pack of content that was never there before.
    pub(super) fn make(
        &mut self,
        owner: MemberId,
        kind: PackKind,
        k: u8,
        now: Timestamp,
        rng: &mut Rng,
    ) -> PackRecord {
        let bytes = match kind {
            PackKind::Metadata => METADATA_BYTES,
            PackKind::Small | PackKind::Large => DATA_BYTES,
        };
        let sealed = rng.bytes(bytes);
        let coding = Coding::new(k, bytes).expect("a few friends, a few bytes");
        let shards = shard::encode(&sealed, &coding).expect("the coding is made for the pack");
        let shards: Vec<Vec<u8>> = shards.into_iter().map(|it| it.into_owned()).collect();
        let record = PackRecord {
            id: PackId(shard::shard_id(&sealed).0),
            epoch: 0,
            kind,
            bytes: u32::try_from(bytes).expect("a few bytes"),
            made: now,
            newest: now,
            coding,
            shards: shards.iter().map(|it| shard::shard_id(it)).collect(),
        };
        let number = self.all.len();
        self.ids.insert(record.id, number);
        for (index, shard) in (0..).zip(&record.shards) {
            self.shards.insert(*shard, (number, index));
        }
        self.all.push(Pack {
            record: record.clone(),
            owner,
            shards,
            copies: Vec::new(),
            faults: Vec::new(),
            safe: None,
            spread: [None; 2],
            released: false,
            lost: false,
        });
        record
    }

    pub(super) fn get(&self, id: PackId) -> Option<&Pack> {
        self.all.get(*self.ids.get(&id)?)
    }

    pub(super) fn get_mut(&mut self, id: PackId) -> Option<&mut Pack> {
        self.all.get_mut(*self.ids.get(&id)?)
    }

    /// Returns the pack of a shard.
    pub(super) fn of(&self, shard: ShardId) -> Option<&Pack> {
        self.all.get(self.shards.get(&shard)?.0)
    }

    fn of_mut(&mut self, shard: ShardId) -> Option<(&mut Pack, u8)> {
        let (number, index) = *self.shards.get(&shard)?;
        Some((self.all.get_mut(number)?, index))
    }

    /// Returns the copy of a shard on a machine.
    pub(super) fn copy(&mut self, station: usize, shard: ShardId) -> Option<&mut Copy> {
        let (pack, index) = self.of_mut(shard)?;
        let mut copies = pack.copies.iter_mut();
        copies.find(|it| it.station == station && it.index == index)
    }

    /// A machine has written a shard.
    pub(super) fn keep(&mut self, station: usize, member: MemberId, shard: ShardId) {
        let known = self
            .copy(station, shard)
            .map(|it| it.condition = Condition::Good);
        if let (None, Some((pack, index))) = (known, self.of_mut(shard)) {
            pack.copies.push(Copy {
                station,
                member,
                index,
                condition: Condition::Good,
                trashed: false,
            });
            pack.faults.retain(|it| it.0 != member);
        }
    }

    /// Removes a shard from a machine. Tells whether it was there.
    pub(super) fn remove(&mut self, station: usize, shard: ShardId) -> bool {
        let Some((pack, index)) = self.of_mut(shard) else {
            return false;
        };
        let before = pack.copies.len();
        pack.copies
            .retain(|it| it.station != station || it.index != index);
        pack.copies.len() < before
    }

    /// Everything on a machine is gone.
    pub(super) fn wipe(&mut self, station: usize, now: Timestamp) {
        for pack in &mut self.all {
            if let Some(copy) = pack.copies.iter().find(|it| it.station == station) {
                pack.faults.push((copy.member, now));
                pack.copies.retain(|it| it.station != station);
            }
        }
    }

    /// Damages so many of a machine's shards, in a thousand, one at least. Returns them.
    pub(super) fn damage(
        &mut self,
        station: usize,
        per_mille: u32,
        condition: Condition,
        now: Timestamp,
        rng: &mut Rng,
    ) -> usize {
        let mut there: Vec<(usize, usize)> = Vec::new();
        for (number, pack) in self.all.iter().enumerate() {
            let copies = pack.copies.iter().enumerate().filter(|(_, it)| {
                it.station == station && it.condition == Condition::Good && !it.trashed
            });
            there.extend(copies.map(|(at, _)| (number, at)));
        }
        let count = (there.len() * per_mille as usize)
            .div_ceil(1000)
            .min(there.len());
        for _ in 0..count {
            let (number, at) = there.swap_remove(rng.index(there.len()));
            let pack = &mut self.all[number];
            pack.copies[at].condition = condition;
            let member = pack.copies[at].member;
            pack.faults.push((member, now));
        }
        count
    }

    /// Proves a shard as whoever has its bytes does.
    pub(super) fn prove(&self, shard: ShardId) -> Option<GroupProof> {
        let (number, index) = *self.shards.get(&shard)?;
        let content = self.all.get(number)?.shards.get(usize::from(index))?;
        // There is one group, so there is no path either.
        proof::prove(&[[0; 32]], content.len() as u64, 0, content.clone()).ok()
    }

    /// Rebuilds a pack of some of its shards; tells whether it is the right one.
    pub(super) fn rebuilds(&self, record: &PackRecord, indices: &BTreeSet<u8>) -> bool {
        let Some(pack) = self.get(record.id) else {
            return false;
        };
        let shards: Vec<(u8, &[u8])> = (indices.iter())
            .filter_map(|index| Some((*index, pack.shards.get(usize::from(*index))?.as_slice())))
            .collect();
        let rebuilt = shard::rebuild(&record.coding, &shards, record.bytes as usize);
        rebuilt.is_ok_and(|bytes| shard::shard_id(&bytes).0 == record.id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A friend who has enough to rebuild a pack alone, and loses one shard of two, has not enough.
    #[test]
    fn who_lost_one_shard_of_two_is_at_fault() {
        let (mut packs, mut rng) = (Packs::default(), Rng::new(1));
        let [owner, friend] = [1, 2].map(|it| MemberId([it; 32]));
        let record = packs.make(owner, PackKind::Large, 2, Timestamp(0), &mut rng);
        for shard in &record.shards[..2] {
            packs.keep(5, friend, *shard);
        }
        packs.damage(5, 1, Condition::Rotten, Timestamp(0), &mut rng);
        let (pack, later) = (&packs.all[0], Timestamp(0) + FOUND_OUT + Span::days(1));
        assert!(!pack.is_rebuildable(true));
        assert_eq!([pack.faulty(Timestamp(0)), pack.faulty(later)], [1, 1]);
    }
}
