//! The trash: released shards, until their days are over.
//!
//! Deletion, not theft, is the likely disaster. So what an owner releases stays here for more than
//! [`limits::TRASH_DAYS`] observed days, a tenth of the owner's bytes is erased per day at most, and
//! all of it comes back when any device of the owner says so.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    id::{MemberId, ShardId},
    limits,
};

/// A shard in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Its length.
    pub bytes: u32,
    /// The count of observed days when it came.
    pub day: u32,
}

/// What lies in the trash, by owner.
#[derive(Clone, Debug, Default)]
pub struct Trash {
    shards: BTreeMap<MemberId, BTreeMap<ShardId, Trashed>>,
}

impl Trash {
    /// Adds a shard.
    pub fn add(&mut self, owner: MemberId, shard: ShardId, trashed: Trashed) {
        self.shards.entry(owner).or_default().insert(shard, trashed);
    }

    /// Takes a shard out.
    pub fn take(&mut self, owner: MemberId, shard: ShardId) -> Option<Trashed> {
        let of_owner = self.shards.get_mut(&owner)?;
        let taken = of_owner.remove(&shard);
        if of_owner.is_empty() {
            self.shards.remove(&owner);
        }
        taken
    }

    /// Returns a shard.
    pub fn get(&self, owner: MemberId, shard: ShardId) -> Option<Trashed> {
        self.shards.get(&owner)?.get(&shard).copied()
    }

    /// Tells whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Returns whose shards are in it.
    pub fn owners(&self) -> impl Iterator<Item = MemberId> {
        self.shards.keys().copied()
    }

    /// Returns an owner's shards.
    pub fn of(&self, owner: MemberId) -> impl Iterator<Item = (ShardId, Trashed)> {
        let shards = self.shards.get(&owner).into_iter().flatten();
        shards.map(|(shard, trashed)| (*shard, *trashed))
    }

    /// Returns how many bytes of an owner are in it.
    pub fn bytes_of(&self, owner: MemberId) -> u64 {
        self.of(owner).map(|(_, it)| u64::from(it.bytes)).sum()
    }

    /// Returns what of an owner's shards is to be erased on a day, oldest first; `all` is what is kept
    /// for that owner altogether, in bytes.
    pub fn due(&self, owner: MemberId, today: u32, all: u64) -> Vec<ShardId> {
        let mut over: Vec<(u32, ShardId, u32)> = self
            .of(owner)
            .filter(|(_, it)| today.saturating_sub(it.day) > limits::TRASH_DAYS)
            .map(|(shard, it)| (it.day, shard, it.bytes))
            .collect();
        over.sort_unstable();
        let mut room = all * limits::ERASE_PERCENT / 100;
        let mut due = Vec::new();
        for (_, shard, bytes) in over {
            let fits = u64::from(bytes) <= room;
            if !fits && !due.is_empty() {
                break;
            }
            room = room.saturating_sub(u64::from(bytes));
            due.push(shard);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: MemberId = MemberId([1; 32]);

    fn full(count: u8) -> Trash {
        let mut trash = Trash::default();
        for at in 0..count {
            let trashed = Trashed { bytes: 10, day: 5 };
            trash.add(OWNER, ShardId([at; 32]), trashed);
        }
        trash
    }

    #[test]
    fn nothing_is_due_before_its_days_are_over() {
        let trash = full(3);
        for today in 0..=5 + limits::TRASH_DAYS {
            assert_eq!(trash.due(OWNER, today, 30), []);
        }
        assert_eq!(trash.due(OWNER, 6 + limits::TRASH_DAYS, 1000).len(), 3);
        assert_eq!(trash.due(MemberId([2; 32]), 99, 1000), []);
    }

    #[test]
    fn a_tenth_a_day_and_one_shard_at_least_until_all_is_gone() {
        let mut trash = full(100);
        let mut days = 0;
        while !trash.is_empty() {
            let all = trash.bytes_of(OWNER);
            let due = trash.due(OWNER, 99, all);
            assert!(!due.is_empty());
            let bytes = 10 * due.len() as u64;
            assert!(bytes <= all / 10 || due.len() == 1, "{bytes} of {all}");
            for shard in due {
                assert!(trash.take(OWNER, shard).is_some());
            }
            days += 1;
        }
        assert!((10..60).contains(&days), "{days}");
    }
}
