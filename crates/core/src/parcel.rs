//! Parcels: shards that a friend carries to somebody whom it is likelier to meet than their owner is.
//!
//! What makes a shard on a friend's disk a parcel is a bill: an entry of its owner's feed that names
//! the carrier and the addressee, and the shards so that only these two and the owner can read which.
//! An addressee takes nothing from a carrier for which it has seen no bill, so nobody on the way can
//! alter or multiply anything. A parcel is a hope and never counts as placed.
//!
//! This module knows bills and when a friend is the better messenger. Which parcels are made is decided
//! in [`crate::node`].

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    id::{DeviceId, MemberId, Stem},
    limits,
    time::Timestamp,
};

/// Somebody who is met with less than this chance within a week, in thousandths, carries nothing.
const CHANCE_MIN: u32 = 100;

/// Who meets an addressee within a week with more than this chance needs nobody to carry. Where nearly all
/// meet, carriers moved as much again for nothing: docs/performance.md.
const SOON: u32 = 500;

/// Tells whether a friend who meets an addressee within a week with the chance `theirs`, in
/// thousandths, should carry for an owner who does with `ours`, which is small: it meets it twice as
/// often at least, or misses it half as often at most.
pub fn is_likelier(theirs: u32, ours: u32) -> bool {
    let (missed, ours_missed) = (
        1000_u32.saturating_sub(theirs),
        1000_u32.saturating_sub(ours),
    );
    ours <= SOON && theirs >= CHANCE_MIN && (theirs >= 2 * ours || 2 * missed <= ours_missed)
}

/// One parcel's bill, as somebody sees it whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The owner's device that wrote it.
    pub author: DeviceId,
    /// The entry's position in its feed.
    pub seq: u64,
    /// Who carries the shard.
    pub carrier: DeviceId,
    /// When it was written, or first seen if its author's clock is ahead.
    pub at: Timestamp,
}

impl Bill {
    /// Tells whether it still counts.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now.since(self.at) < limits::PARCEL_VALID
    }
}

/// All bills that this device wrote or can read, by addressee and shard: whoever may be dialled is looked
/// for again and again.
#[derive(Clone, Debug, Default)]
pub struct Bills(BTreeMap<MemberId, BTreeMap<Stem, Vec<Bill>>>);

impl Bills {
    /// Takes a bill. A later one of the same author for the same carrier renews it.
    pub fn note(&mut self, shard: Stem, to: MemberId, bill: Bill) {
        let bills = self.0.entry(to).or_default().entry(shard).or_default();
        let same = |it: &&mut Bill| (it.author, it.carrier) == (bill.author, bill.carrier);
        match bills.iter_mut().find(same) {
            Some(known) if known.seq < bill.seq => *known = bill,
            Some(_) => {}
            None => bills.push(bill),
        }
    }

    /// Forgets bills of a shard for an addressee.
    pub fn strike(&mut self, shard: Stem, to: MemberId, which: impl Fn(&Bill) -> bool) {
        let Some(shards) = self.0.get_mut(&to) else {
            return;
        };
        if let Some(bills) = shards.get_mut(&shard) {
            bills.retain(|bill| !which(bill));
            if bills.is_empty() {
                shards.remove(&shard);
            }
        }
        if shards.is_empty() {
            self.0.remove(&to);
        }
    }

    /// Forgets what counts no more.
    pub fn prune(&mut self, now: Timestamp) {
        self.0.retain(|_, shards| {
            shards.retain(|_, bills| {
                bills.retain(|bill| bill.is_valid(now));
                !bills.is_empty()
            });
            !shards.is_empty()
        });
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bills of a shard that count, with their addressees.
    pub fn of(&self, shard: Stem, now: Timestamp) -> impl Iterator<Item = (MemberId, &Bill)> {
        self.0.iter().flat_map(move |(to, shards)| {
            let bills = shards.get(&shard).into_iter().flatten();
            let valid = bills.filter(move |bill| bill.is_valid(now));
            valid.map(|bill| (*to, bill))
        })
    }

    /// Returns the bills for an addressee that count, with their shards.
    pub fn to(&self, to: MemberId, now: Timestamp) -> impl Iterator<Item = (Stem, &Bill)> {
        let shards = self.0.get(&to).into_iter().flatten();
        shards.flat_map(move |(shard, bills)| {
            let valid = bills.iter().filter(move |bill| bill.is_valid(now));
            valid.map(|bill| (*shard, bill))
        })
    }

    /// Returns all bills that count, with their shards and addressees.
    pub fn all(&self, now: Timestamp) -> impl Iterator<Item = (Stem, MemberId, &Bill)> {
        self.0.keys().flat_map(move |to| {
            let bills = self.to(*to, now);
            bills.map(|(shard, bill)| (shard, *to, bill))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const TO: MemberId = MemberId([7; 32]);

    fn bill(author: u8, carrier: u8, seq: u64) -> Bill {
        Bill {
            author: DeviceId([author; 32]),
            carrier: DeviceId([carrier; 32]),
            seq,
            at: Timestamp(1000 * seq),
        }
    }

    #[test]
    fn who_meets_an_addressee_much_more_often_is_likelier() {
        for (theirs, ours, likelier) in [
            (500, 0, true),
            (90, 0, false),
            (600, 300, true),
            (600, 400, false),
            (950, 600, false),
            (800, 500, true),
            (700, 600, false),
            (1000, 1000, false),
            (0, 0, false),
        ] {
            assert_eq!(is_likelier(theirs, ours), likelier, "{theirs} {ours}");
        }
    }

    #[test]
    fn a_bill_counts_until_it_is_struck_or_old() {
        let (shard, now) = (Stem([1; 12]), Timestamp(9000));
        let mut bills = Bills::default();
        bills.note(shard, TO, bill(1, 2, 5));
        bills.note(shard, TO, bill(1, 2, 3));
        bills.note(shard, TO, bill(1, 3, 6));
        let seqs = |bills: &Bills, now| -> Vec<u64> {
            bills.of(shard, now).map(|(_, bill)| bill.seq).collect()
        };
        assert_eq!(seqs(&bills, now), [5, 6]);
        assert_eq!(bills.all(now).count(), 2);
        bills.strike(shard, TO, |bill| bill.carrier == DeviceId([2; 32]));
        assert_eq!(seqs(&bills, now), [6]);
        let late = Timestamp(6000) + limits::PARCEL_VALID;
        assert!(seqs(&bills, late).is_empty());
        bills.prune(late);
        assert!(seqs(&bills, now).is_empty(), "it is forgotten");
        assert_eq!(now.since(Timestamp(9001)), Span(0));
    }
}
