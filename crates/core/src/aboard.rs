//! Aboard: what lies on couriers of ours, by the words of the devices that put it there.
//!
//! It is no inventory: what lies on a disk keeps no shard back from a meeting. It tells people what
//! travels, where to look for it after a loss, and counts for health, by half, once it was read back.

use alloc::collections::BTreeMap;

use crate::{
    entry::AboardList,
    id::{DeviceId, MemberId, Stem},
    limits,
    time::Timestamp,
};

/// A shard on a courier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lying {
    /// Who shall get it.
    pub to: MemberId,
    /// When it was last read back whole, on another visit than the one that put it there.
    pub read: Option<Timestamp>,
}

impl Lying {
    /// Tells whether it was read back so lately that it counts for health, by half.
    pub fn counts(&self, now: Timestamp) -> bool {
        (self.read).is_some_and(|read| now.since(read) <= limits::ABOARD_VALID)
    }

    /// Tells whether it is to be read back when the disk is here.
    pub fn is_due(&self, now: Timestamp) -> bool {
        (self.read).is_none_or(|read| now.since(read) > limits::ABOARD_AGAIN)
    }
}

/// What lies on couriers.
#[derive(Clone, Debug, Default)]
pub struct Aboard {
    /// By courier, then by who put it there: each device speaks of its own parcels alone.
    disks: BTreeMap<DeviceId, BTreeMap<DeviceId, BTreeMap<Stem, Lying>>>,
}

impl Aboard {
    /// Takes the word of a device of ours. Its words come in their order; `now` bounds a wrong clock.
    pub fn note(&mut self, author: DeviceId, list: &AboardList, now: Timestamp) {
        let of_disk = self.disks.entry(list.courier).or_default();
        let lying = of_disk.entry(author).or_default();
        for shard in &list.put {
            let new = Lying {
                to: list.to,
                read: None,
            };
            lying.insert(*shard, new);
        }
        let at = Some(list.time.min(now));
        for shard in &list.read {
            if let Some(lying) = lying.get_mut(shard).filter(|it| it.to == list.to) {
                lying.read = lying.read.max(at);
            }
        }
        for shard in &list.gone {
            if lying.get(shard).is_some_and(|it| it.to == list.to) {
                lying.remove(shard);
            }
        }
    }

    /// Returns what a device put on a courier.
    pub fn put_by(&self, courier: DeviceId, author: DeviceId) -> Option<&BTreeMap<Stem, Lying>> {
        self.disks.get(&courier)?.get(&author)
    }

    /// Returns what lies on couriers, whoever of us put it there.
    pub fn all(&self) -> impl Iterator<Item = (DeviceId, Stem, &Lying)> {
        self.disks.iter().flat_map(|(courier, authors)| {
            let lying = authors.values().flatten();
            lying.map(move |(shard, lying)| (*courier, *shard, lying))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const DISK: DeviceId = DeviceId([9; 32]);
    const US: DeviceId = DeviceId([1; 32]);
    const BO: MemberId = MemberId([2; 32]);

    fn stem(at: u8) -> Stem {
        Stem([at; 12])
    }

    fn list(time: u64, put: &[u8], read: &[u8], gone: &[u8]) -> AboardList {
        let stems = |of: &[u8]| of.iter().map(|at| stem(*at)).collect();
        AboardList {
            courier: DISK,
            to: BO,
            time: Timestamp(time),
            put: stems(put),
            read: stems(read),
            gone: stems(gone),
        }
    }

    #[test]
    fn a_shard_counts_once_it_was_read_back_and_not_for_ever() {
        let (mut aboard, now) = (Aboard::default(), Timestamp(1_000_000));
        aboard.note(US, &list(1000, &[1, 2], &[], &[]), now);
        let counting = |aboard: &Aboard, at| aboard.all().filter(|it| it.2.counts(at)).count();
        assert_eq!((aboard.all().count(), counting(&aboard, now)), (2, 0));
        aboard.note(US, &list(2000, &[], &[1, 3], &[]), now);
        assert_eq!((aboard.all().count(), counting(&aboard, now)), (2, 1));
        let due = |at: Timestamp| aboard.all().filter(|it| it.2.is_due(at)).count();
        assert_eq!((due(now), due(now + limits::ABOARD_AGAIN)), (1, 2));
        let last = Timestamp(2000) + limits::ABOARD_VALID;
        assert_eq!(counting(&aboard, last), 1);
        assert_eq!(counting(&aboard, last + Span(1)), 0);
        aboard.note(US, &list(3000, &[1], &[], &[2]), now);
        assert_eq!(
            (aboard.all().count(), counting(&aboard, now)),
            (1, 0),
            "it was put there anew"
        );
    }

    #[test]
    fn a_clock_that_runs_ahead_makes_nothing_count_longer() {
        let (mut aboard, now) = (Aboard::default(), Timestamp(5000));
        aboard.note(US, &list(1 << 50, &[1], &[1], &[]), now);
        assert_eq!(aboard.put_by(DISK, US).unwrap()[&stem(1)].read, Some(now));
        assert!(aboard.put_by(DISK, DeviceId([3; 32])).is_none());
    }

    #[test]
    fn words_about_another_addressee_change_nothing() {
        let (mut aboard, now) = (Aboard::default(), Timestamp(5000));
        aboard.note(US, &list(1, &[1], &[], &[]), now);
        let other = AboardList {
            to: MemberId([3; 32]),
            ..list(2, &[], &[1], &[1])
        };
        aboard.note(US, &other, now);
        assert_eq!(
            aboard
                .all()
                .map(|it| it.2.read)
                .collect::<alloc::vec::Vec<_>>(),
            [None]
        );
    }

    #[test]
    fn what_lies_aboard_is_written_as_documented() {
        let list = list(1_800_000_000_000, &[1, 2], &[3], &[]);
        let bytes = crate::codec::encode(&list);
        crate::golden::assert_golden(
            include_str!("../../../testdata/format/aboard.txt"),
            &[("aboard", crate::id::hex(&bytes))],
        );
        assert_eq!(
            crate::codec::decode::<AboardList>("aboard", &bytes),
            Ok(list)
        );
    }
}
