//! The inventory against a plain account of the same words and proofs.

use proptest::prelude::*;

use super::*;
use crate::record::{Coding, PackKind};

fn shard(at: u8) -> ShardId {
    ShardId([at; 32])
}

fn device(at: u8) -> DeviceId {
    DeviceId([at; 32])
}

/// Packs of four shards each: the first of the shards 0 to 3, the second of 4 to 7.
fn record(at: u8) -> PackRecord {
    PackRecord {
        id: PackId([100 + at; 32]),
        epoch: 0,
        kind: PackKind::Large,
        bytes: 128,
        made: Timestamp(0),
        newest: Timestamp(u64::from(at)),
        coding: Coding {
            k: 2,
            n: 4,
            shard_bytes: 64,
        },
        shards: (4 * at..4 * at + 4).map(shard).collect(),
    }
}

type Key = (DeviceId, ShardId);

/// All that was ever said, without an index.
#[derive(Debug, Default)]
struct Plain {
    known: BTreeSet<u8>,
    holdings: BTreeMap<Key, Holding>,
    pending: BTreeSet<Key>,
    insisted: BTreeSet<Key>,
    /// How often each device signed for anything.
    signed: BTreeMap<DeviceId, u32>,
}

impl Plain {
    fn happen(&mut self, what: u8, key: Key, at: Timestamp) {
        let holding = self.holdings.entry(key).or_default();
        match what {
            0 | 1 => {
                let signed = self.signed.entry(key.0).or_default();
                let number = (what == 0).then(|| core::mem::replace(signed, *signed + 1));
                self.pending.remove(&key);
                if !holding.hear(number, at.0) {
                    self.insisted.remove(&key);
                }
            }
            10 => {
                if !holding.release(at.0) {
                    self.insisted.remove(&key);
                }
            }
            2 | 3 => holding.prove(at, what == 2),
            4 => drop(self.pending.insert(key)),
            5 => drop(self.pending.remove(&key)),
            6 => {
                self.insisted.insert(key);
                holding.renewed = true;
            }
            _ => self.pending.retain(|(device, _)| *device != key.0),
        }
    }

    /// Of a pack that is not known, nothing is under way.
    fn forget(&mut self, pack: u8) {
        let shards = record(pack).shards;
        self.known.remove(&pack);
        self.pending.retain(|(_, shard)| !shards.contains(shard));
    }
}

fn happen(inventory: &mut Inventory, what: u8, (device, shard): Key, at: Timestamp) {
    match what {
        0 | 1 => inventory.note_receipt(device, shard.stem(), what == 0, at.0),
        2 | 3 => inventory.note_audit(device, shard, at, what == 2),
        4 => inventory.note_pending(device, shard),
        10 => inventory.note_release(device, shard, at.0),
        5 => inventory.clear_pending(device, shard),
        6 => inventory.note_insisted(device, shard),
        _ => drop(inventory.clear_pending_of(device)),
    }
}

fn compare(inventory: &Inventory, plain: &Plain, now: Timestamp) -> Result<(), TestCaseError> {
    for (key, holding) in &plain.holdings {
        prop_assert_eq!(inventory.holding(key.0, key.1), *holding);
    }
    for at in &plain.known {
        let pack = inventory.pack(record(*at).id).unwrap();
        for index in 0..4 {
            let id = pack.record.shards[usize::from(index)];
            prop_assert_eq!(inventory.locate(id).unwrap().1, index);
            for device in (0..3).map(device) {
                let mut marks = pack.at_index(index);
                let mark = marks.find(|mark| pack.device(mark) == device);
                let mark = mark.copied().unwrap_or_else(|| Mark::new(0, index));
                prop_assert_eq!(mark.is_pending(), plain.pending.contains(&(device, id)));
                prop_assert_eq!(mark.is_insisted(), plain.insisted.contains(&(device, id)));
            }
        }
    }
    for device in (0..3).map(device) {
        let of_known = |(key, _): &(&Key, &Holding)| {
            let packs = plain.known.iter();
            key.0 == device && packs.clone().any(|at| record(*at).shards.contains(&key.1))
        };
        let claimed = plain.holdings.iter().filter(of_known);
        let mut claimed: Vec<_> = claimed
            .filter(|(_, holding)| holding.held)
            .map(|(key, holding)| (holding.asked(), key.1))
            .collect();
        let mut turns: Vec<_> = inventory
            .turns(device)
            .map(|turn| (turn.asked, turn.shard))
            .collect();
        prop_assert!(turns.is_sorted_by_key(|turn| turn.0), "{:?}", turns);
        claimed.sort_unstable();
        turns.sort_unstable();
        prop_assert_eq!(turns, claimed);
        let sums = inventory.bytes_by_device(now);
        let held = inventory.turns(device).count() as u64 * 64;
        let found = sums.iter().find(|sum| sum.0 == device).map_or(0, |it| it.1);
        prop_assert_eq!(found, held);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_index_says_what_was_said(
        steps in prop::collection::vec((0_u8..11, 0_u8..3, 0_u8..8), 0..80),
    ) {
        let (mut inventory, mut plain) = (Inventory::default(), Plain::default());
        for (at, (what, whose, index)) in steps.into_iter().enumerate() {
            let (key, at) = ((device(whose), shard(index)), Timestamp(1 + at as u64));
            match what {
                8 => {
                    inventory.add_pack(record(index / 4), true);
                    plain.known.insert(index / 4);
                }
                9 => {
                    inventory.remove_pack(record(index / 4).id);
                    plain.forget(index / 4);
                }
                // Only shards of packs that we know are sent.
                4 if !plain.known.contains(&(index / 4)) => {}
                _ => {
                    happen(&mut inventory, what, key, at);
                    plain.happen(what, key, at);
                }
            }
            compare(&inventory, &plain, at)?;
        }
    }
}

#[test]
fn a_release_and_a_receipt_mean_the_same_in_any_order() {
    for (receipt, seen, held) in [(4, 5, false), (5, 5, true), (6, 5, true), (0, 0, false)] {
        let mut one = Inventory::default();
        one.note_receipt(device(1), shard(0).stem(), true, receipt);
        one.note_release(device(1), shard(0), seen);
        let mut other = Inventory::default();
        other.note_release(device(1), shard(0), seen);
        other.note_receipt(device(1), shard(0).stem(), true, receipt);
        let after = one.holding(device(1), shard(0));
        assert_eq!(after, other.holding(device(1), shard(0)));
        assert_eq!((after.held, after.may_be_trashed()), (held, !held));
    }
}

#[test]
fn what_is_new_is_proved_before_what_is_old() {
    let mut inventory = Inventory::default();
    for at in 0..2 {
        inventory.add_pack(record(at), true);
        inventory.note_receipt(device(1), shard(4 * at).stem(), true, 1);
        inventory.note_receipt(device(1), shard(4 * at + 1).stem(), true, 1);
    }
    inventory.note_audit(device(1), shard(0), Timestamp(9), true);
    inventory.note_audit(device(1), shard(4), Timestamp(8), false);
    let order = |inventory: &Inventory| -> Vec<ShardId> {
        inventory.turns(device(1)).map(|it| it.shard).collect()
    };
    assert_eq!(order(&inventory), [5, 1, 4, 0].map(shard));
    inventory.note_receipt(device(1), shard(4).stem(), false, 2);
    assert_eq!(order(&inventory), [5, 1, 0].map(shard));
    inventory.note_receipt(device(1), shard(4).stem(), true, 3);
    assert_eq!(
        order(&inventory),
        [4, 5, 1, 0].map(shard),
        "it claims it anew"
    );
}

#[test]
fn shards_whose_ids_begin_alike_are_told_apart() {
    let mut inventory = Inventory::default();
    let mut record = record(0);
    for (at, shard) in (0..).zip(&mut record.shards) {
        (shard.0, shard.0[31]) = ([7; 32], at);
    }
    let shards = record.shards.clone();
    inventory.add_pack(record, true);
    for (at, shard) in (0..).zip(shards) {
        assert_eq!(inventory.locate(shard).unwrap().1, at);
    }
    assert!(inventory.locate(ShardId([7; 32])).is_none());
}
