//! The ledger: what this device keeps for whom, and what is promised.
//!
//! Quota is debited before a byte is accepted, released when a transfer breaks, and never overrun.

use alloc::collections::BTreeMap;

use crate::{
    event::LinkId,
    id::{MemberId, ShardId},
    message::Refusal,
};

/// What this device keeps and has promised to take.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    kept: BTreeMap<MemberId, BTreeMap<ShardId, u32>>,
    kept_bytes: BTreeMap<MemberId, u64>,
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

    /// Notes that a shard is gone. Returns whether it was there.
    pub fn lose(&mut self, owner: MemberId, shard: ShardId) -> bool {
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

    /// Debits room for a shard, within `grant` bytes for its owner.
    pub fn reserve(
        &mut self,
        link: LinkId,
        shard: ShardId,
        owner: MemberId,
        bytes: u32,
        grant: u64,
    ) -> Result<(), Refusal> {
        if self.length(owner, shard).is_some() {
            return Err(Refusal::Have);
        }
        if self
            .reserved
            .iter()
            .any(|((_, other), (whose, _))| *other == shard && *whose == owner)
        {
            return Err(Refusal::Busy);
        }
        if self.bytes_of(owner) + self.reserved_of(owner) + u64::from(bytes) > grant {
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

    /// Returns the length of a shard that is kept for `owner`.
    pub fn length(&self, owner: MemberId, shard: ShardId) -> Option<u32> {
        self.kept.get(&owner)?.get(&shard).copied()
    }

    /// Returns how many bytes are kept for `owner`.
    pub fn bytes_of(&self, owner: MemberId) -> u64 {
        self.kept_bytes.get(&owner).copied().unwrap_or(0)
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
}
