//! The ledger: what this device keeps for whom, and what is promised.
//!
//! Quota is debited before a byte is accepted, released when a transfer breaks, and never overrun. What
//! is in the trash counts until its bytes are really gone.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Bound;

use crate::{
    event::LinkId,
    id::{MemberId, ShardId, Stem},
    message::Refusal,
    trash::{Trash, Trashed},
};

/// What this device keeps and has promised to take.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    kept: BTreeMap<MemberId, BTreeMap<ShardId, u32>>,
    kept_bytes: BTreeMap<MemberId, u64>,
    trash: Trash,
    /// Out of the trash, and on their way to be gone.
    going: Trash,
    reserved: BTreeMap<(LinkId, ShardId), (MemberId, u32)>,
}

impl Ledger {
    /// Notes a shard that is durable on the shelf.
    pub fn keep(&mut self, owner: MemberId, shard: ShardId, bytes: u32) {
        if self
            .kept
            .entry(owner)
            .or_default()
            .insert(shard, bytes)
            .is_none()
        {
            *self.kept_bytes.entry(owner).or_default() += u64::from(bytes);
        }
    }

    /// Notes that a shard is gone. Returns whether it was on the shelf.
    pub fn lose(&mut self, owner: MemberId, shard: ShardId) -> bool {
        self.trash.take(owner, shard);
        let Some(bytes) = self
            .kept
            .get_mut(&owner)
            .and_then(|kept| kept.remove(&shard))
        else {
            return false;
        };
        if let Some(sum) = self.kept_bytes.get_mut(&owner) {
            *sum -= u64::from(bytes);
        }
        true
    }

    /// Notes that a shard moved from the shelf to the trash. Returns whether it was on the shelf.
    pub fn discard(&mut self, owner: MemberId, shard: ShardId, day: u32) -> bool {
        let Some(bytes) = self.kept_length(owner, shard) else {
            return false;
        };
        self.lose(owner, shard);
        self.trash.add(owner, shard, Trashed { bytes, day });
        true
    }

    /// Notes a shard that lies in the trash.
    pub fn keep_trashed(&mut self, owner: MemberId, shard: ShardId, trashed: Trashed) {
        self.trash.add(owner, shard, trashed);
    }

    /// Notes that a shard moved from the trash back to the shelf. Returns whether it was in the trash.
    pub fn retrieve(&mut self, owner: MemberId, shard: ShardId) -> bool {
        let Some(trashed) = self.trash.take(owner, shard) else {
            return false;
        };
        self.keep(owner, shard, trashed.bytes);
        true
    }

    /// Takes what is due for erasure on a day out of the trash. Its bytes count until they are gone.
    pub fn take_due(&mut self, today: u32) -> Vec<(MemberId, Vec<ShardId>)> {
        let owners: Vec<MemberId> = self.trash.owners().collect();
        let mut all = Vec::new();
        for owner in owners {
            let due = self.trash.due(owner, today, self.bytes_of(owner));
            for shard in &due {
                if let Some(trashed) = self.trash.take(owner, *shard) {
                    self.going.add(owner, *shard, trashed);
                }
            }
            if !due.is_empty() {
                all.push((owner, due));
            }
        }
        all
    }

    /// Notes which shards of an owner are gone for good; those that the disk did not erase are in the
    /// trash again. Returns how many bytes are gone.
    pub fn erased(&mut self, owner: MemberId, gone: &[ShardId]) -> u64 {
        let bytes = (gone.iter())
            .filter_map(|shard| self.going.take(owner, *shard))
            .map(|it| u64::from(it.bytes))
            .sum();
        let left: Vec<_> = self.going.of(owner).collect();
        for (shard, trashed) in left {
            self.going.take(owner, shard);
            self.trash.add(owner, shard, trashed);
        }
        bytes
    }

    /// Returns the trash.
    pub const fn trash(&self) -> &Trash {
        &self.trash
    }

    /// Debits room for a shard, within `grant` bytes for its owner.
    pub fn reserve(
        &mut self,
        link: LinkId,
        shard: ShardId,
        owner: MemberId,
        bytes: u32,
        grant: u64,
    ) -> Result<(), Refusal> {
        if self.kept_length(owner, shard).is_some() {
            return Err(Refusal::Have);
        }
        if self
            .reserved
            .iter()
            .any(|((_, other), (whose, _))| *other == shard && *whose == owner)
        {
            return Err(Refusal::Busy);
        }
        if self.promised_of(owner) + u64::from(bytes) > grant {
            return Err(Refusal::OfferUsedUp);
        }
        self.reserved.insert((link, shard), (owner, bytes));
        Ok(())
    }

    /// Returns for whom, and how large, a reserved shard is.
    pub fn reservation(&self, link: LinkId, shard: ShardId) -> Option<(MemberId, u32)> {
        self.reserved.get(&(link, shard)).copied()
    }

    /// Releases a reservation; the shard came or it didn't.
    pub fn release(&mut self, link: LinkId, shard: ShardId) -> Option<(MemberId, u32)> {
        self.reserved.remove(&(link, shard))
    }

    /// Releases all reservations of a link that is gone.
    pub fn release_link(&mut self, link: LinkId) {
        self.reserved.retain(|(other, _), _| *other != link);
    }

    /// Returns the length of a shard that is kept for `owner`, be it in the trash.
    pub fn length(&self, owner: MemberId, shard: ShardId) -> Option<u32> {
        let trashed = || self.trash.get(owner, shard).map(|it| it.bytes);
        self.kept_length(owner, shard).or_else(trashed)
    }

    /// Returns the length of a shard that is on the shelf for `owner`.
    pub fn kept_length(&self, owner: MemberId, shard: ShardId) -> Option<u32> {
        self.kept.get(&owner)?.get(&shard).copied()
    }

    /// Returns the shard of an owner on the shelf whose id begins so, and its length.
    pub fn by_stem(&self, owner: MemberId, stem: Stem) -> Option<(ShardId, u32)> {
        let mut first = ShardId([0; 32]);
        first.0[..stem.0.len()].copy_from_slice(&stem.0);
        let (shard, bytes) = self.kept.get(&owner)?.range(first..).next()?;
        (shard.stem() == stem).then_some((*shard, *bytes))
    }

    /// Returns all shards on the shelf, with their owners and lengths.
    pub fn kept(&self) -> impl Iterator<Item = (MemberId, ShardId, u32)> {
        self.kept.iter().flat_map(|(owner, kept)| {
            kept.iter()
                .map(move |(shard, bytes)| (*owner, *shard, *bytes))
        })
    }

    /// Returns the shard that is kept next to one, in an order without an end; nothing if none is kept.
    pub fn after(&self, last: (MemberId, ShardId)) -> Option<(MemberId, ShardId, u32)> {
        let (owner, shard) = last;
        let here = self.kept.get(&owner).into_iter().flat_map(|kept| {
            let next = (Bound::Excluded(shard), Bound::Unbounded);
            kept.range(next)
                .map(move |(it, bytes)| (owner, *it, *bytes))
        });
        let others = (Bound::Excluded(owner), Bound::Unbounded);
        let others = self.kept.range(others).chain(&self.kept);
        let others = others.flat_map(|(owner, kept)| {
            kept.iter()
                .map(move |(shard, bytes)| (*owner, *shard, *bytes))
        });
        here.chain(others).next()
    }

    /// Returns the shard before which such a share of all that is kept lies, in parts of 2^32: where
    /// [`Ledger::after`] goes on from.
    pub fn place(&self, share: u32) -> (MemberId, ShardId) {
        let before = (u128::from(self.bytes()) * u128::from(share)) >> 32;
        let mut sum = 0;
        let mut place = (MemberId([0; 32]), ShardId([0; 32]));
        for (owner, kept) in &self.kept {
            for (shard, bytes) in kept {
                sum += u128::from(*bytes);
                if sum > before {
                    return place;
                }
                place = (*owner, *shard);
            }
        }
        place
    }

    /// Returns how many bytes are kept for all owners together.
    pub fn bytes(&self) -> u64 {
        self.kept_bytes.values().sum()
    }

    /// Returns how many bytes are kept for `owner`, those in the trash too.
    pub fn bytes_of(&self, owner: MemberId) -> u64 {
        let kept = self.kept_bytes.get(&owner).copied().unwrap_or(0);
        kept + self.trash.bytes_of(owner) + self.going.bytes_of(owner)
    }

    /// Returns how many bytes are kept for `owner`, and promised to be taken.
    pub fn promised_of(&self, owner: MemberId) -> u64 {
        self.bytes_of(owner) + self.reserved_of(owner)
    }

    fn reserved_of(&self, owner: MemberId) -> u64 {
        let mine = self.reserved.values().filter(|(whose, _)| *whose == owner);
        mine.map(|(_, bytes)| u64::from(*bytes)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: MemberId = MemberId([1; 32]);

    fn shard(at: u8) -> ShardId {
        ShardId([at; 32])
    }

    #[test]
    fn one_shard_comes_after_another_without_an_end() {
        let mut ledger = Ledger::default();
        let start = (MemberId([0; 32]), shard(0));
        assert_eq!(ledger.after(start), None);
        let kept = [(1, 3), (1, 7), (4, 2), (6, 1)];
        for (owner, at) in kept {
            ledger.keep(MemberId([owner; 32]), shard(at), 10);
        }
        let (mut at, mut seen) = (start, alloc::vec::Vec::new());
        for _ in 0..6 {
            let (owner, shard, _) = ledger.after(at).unwrap();
            seen.push((owner.0[0], shard.0[0]));
            at = (owner, shard);
        }
        assert_eq!(seen[..4], kept);
        assert_eq!(seen[4..], kept[..2]);
        assert_eq!(ledger.bytes(), 40);
        ledger.lose(MemberId([6; 32]), shard(1));
        assert_eq!(
            ledger.after((MemberId([6; 32]), shard(0))).unwrap().0.0[0],
            1
        );
    }

    #[test]
    fn a_share_of_all_that_is_kept_is_a_place() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.after(ledger.place(u32::MAX)), None);
        for at in 1..=128 {
            ledger.keep(MemberId([3; 32]), shard(at), 10);
        }
        ledger.keep(MemberId([9; 32]), shard(5), 1280);
        let next = |share: u32| {
            let (owner, shard, _) = ledger.after(ledger.place(share)).unwrap();
            (owner.0[0], shard.0[0])
        };
        assert_eq!(next(0), (3, 1));
        assert_eq!(next(1 << 30), (3, 65));
        assert_eq!(next((1 << 31) - 1), (3, 128));
        assert_eq!(next(1 << 31), (9, 5));
        assert_eq!(next(u32::MAX), (9, 5));
    }

    #[test]
    fn quota_is_never_overrun() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.reserve(LinkId(1), shard(1), OWNER, 60, 100), Ok(()));
        assert_eq!(
            ledger.reserve(LinkId(2), shard(1), OWNER, 60, 100),
            Err(Refusal::Busy)
        );
        assert_eq!(
            ledger.reserve(LinkId(1), shard(2), OWNER, 60, 100),
            Err(Refusal::OfferUsedUp)
        );
        ledger.release(LinkId(1), shard(1));
        ledger.keep(OWNER, shard(1), 60);
        ledger.keep(OWNER, shard(1), 60);
        assert_eq!(ledger.bytes_of(OWNER), 60);
        assert_eq!(
            ledger.reserve(LinkId(1), shard(1), OWNER, 60, 100),
            Err(Refusal::Have)
        );
        assert_eq!(ledger.reserve(LinkId(1), shard(2), OWNER, 40, 100), Ok(()));
        ledger.release_link(LinkId(1));
        assert_eq!(ledger.reserve(LinkId(2), shard(3), OWNER, 40, 100), Ok(()));
        assert!(ledger.lose(OWNER, shard(1)));
        assert!(!ledger.lose(OWNER, shard(1)));
        assert_eq!(ledger.bytes_of(OWNER), 0);
    }
    #[test]
    fn the_trash_counts_until_it_is_gone() {
        let mut ledger = Ledger::default();
        ledger.keep(OWNER, shard(1), 60);
        ledger.keep(OWNER, shard(2), 40);
        assert!(ledger.discard(OWNER, shard(1), 3));
        assert!(!ledger.discard(OWNER, shard(1), 3));
        assert_eq!(ledger.bytes_of(OWNER), 100);
        assert_eq!(ledger.length(OWNER, shard(1)), Some(60));
        assert_eq!(
            ledger.reserve(LinkId(1), shard(3), OWNER, 40, 100),
            Err(Refusal::OfferUsedUp)
        );
        assert!(ledger.retrieve(OWNER, shard(1)));
        assert!(!ledger.retrieve(OWNER, shard(1)));
        assert_eq!(ledger.kept_length(OWNER, shard(1)), Some(60));
        ledger.discard(OWNER, shard(1), 3);
        ledger.discard(OWNER, shard(2), 3);
        assert_eq!(ledger.take_due(33), []);
        // A tenth is less than the first of them: one goes all the same.
        let due = ledger.take_due(34);
        assert_eq!(due, [(OWNER, alloc::vec![shard(1)])]);
        assert_eq!(ledger.length(OWNER, shard(1)), None);
        assert_eq!(ledger.bytes_of(OWNER), 100);
        assert_eq!(ledger.erased(OWNER, &[]), 0);
        assert_eq!(ledger.length(OWNER, shard(1)), Some(60));
        ledger.take_due(35);
        assert_eq!(ledger.erased(OWNER, &[shard(1)]), 60);
        assert_eq!(ledger.bytes_of(OWNER), 40);
    }
}
