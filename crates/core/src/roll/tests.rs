//! Numbers are written in one way, and outcomes mean the same in whatever order they are heard of.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;
use crate::{
    codec::{DecodeError, decode, encode},
    entry::{Body, ReceiptList, Receipts},
    id::{MemberId, PackId, ShardId},
    inventory::{Holding, Inventory},
    limits,
    record::{Coding, PackKind, PackRecord},
};

const HOLDER: DeviceId = DeviceId([7; 32]);
const SHARDS: u8 = 8;

fn shard(at: u8) -> ShardId {
    ShardId([at; 32])
}

fn packs() -> [PackRecord; 2] {
    [0, 4].map(|first| PackRecord {
        id: PackId([100 + first; 32]),
        epoch: 0,
        kind: PackKind::Large,
        bytes: 128,
        made: Timestamp(0),
        newest: Timestamp(0),
        coding: Coding {
            k: 2,
            n: 4,
            shard_bytes: 64,
        },
        shards: (first..first + 4).map(shard).collect(),
    })
}

/// One entry of the holder's feed.
#[derive(Clone, Debug)]
struct Word {
    held: Vec<u8>,
    dropped: Vec<u8>,
}

fn words() -> impl Strategy<Value = Vec<Word>> {
    let shards = || prop::collection::vec(0..SHARDS, 0..5);
    let word = (shards(), shards()).prop_map(|(held, dropped)| Word { held, dropped });
    prop::collection::vec(word, 0..8)
}

/// Takes all of the holder's words, packs and outcomes in an order of their own: the holder's words
/// keep theirs, as entries of one feed do.
fn fold(words: &[Word], lists: &[AuditList], order: &[u8]) -> BTreeMap<ShardId, Holding> {
    let mut inventory = Inventory::default();
    let (mut words, mut lists, mut packs) = ((0..).zip(words), lists.iter(), packs().into_iter());
    for what in order
        .iter()
        .copied()
        .chain([0, 1, 2].into_iter().cycle().take(60))
    {
        match what {
            0 => {
                if let Some((at, word)) = words.next() {
                    let stems = |shards: &[u8]| shards.iter().map(|it| shard(*it).stem()).collect();
                    let (held, dropped) = (stems(&word.held), stems(&word.dropped));
                    inventory.note_receipts(HOLDER, &ReceiptList { held, dropped }, at);
                }
            }
            1 => {
                if let Some(list) = lists.next() {
                    inventory.note_outcomes(list.clone());
                }
            }
            _ => {
                if let Some(pack) = packs.next() {
                    inventory.add_pack(pack, true);
                }
            }
        }
    }
    let shards = (0..SHARDS).map(shard);
    shards
        .map(|it| (it, inventory.holding(HOLDER, it)))
        .collect()
}

/// Lets a first device of the owner hear the holder and ask it in between: returns what it writes down.
fn ask(words: &[Word], asked: &[(usize, u8, bool)]) -> Vec<AuditList> {
    let mut inventory = Inventory::default();
    for pack in packs() {
        inventory.add_pack(pack, true);
    }
    let mut lists = Vec::new();
    for (at, word) in (0..).zip(words) {
        let stems = |shards: &[u8]| shards.iter().map(|it| shard(*it).stem()).collect();
        let (held, dropped) = (stems(&word.held), stems(&word.dropped));
        inventory.note_receipts(HOLDER, &ReceiptList { held, dropped }, at);
        let now = asked.iter().filter(|it| it.0 as u64 == at);
        let (mut proved, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for (_, index, good) in now {
            let shard = shard(*index);
            if inventory.holding(HOLDER, shard).held {
                let outcomes = if *good { &mut proved } else { &mut failed };
                outcomes.insert(shard);
            }
        }
        let [proved, failed] = [proved, failed].map(|it| it.into_iter().collect::<Vec<_>>());
        for list in inventory.outcomes(HOLDER, Timestamp(1 + at), &proved, &failed) {
            inventory.note_outcomes(list.clone());
            lists.push(list);
        }
    }
    lists
}

proptest! {
    #[test]
    fn numbers_come_back_as_they_were(numbers: BTreeSet<u32>, near in prop::collection::btree_set(0..50_u32, 0..50)) {
        for set in [numbers, near] {
            let numbers: Numbers = set.iter().copied().filter(|it| *it < u32::MAX).collect();
            let back: Numbers = decode("numbers", &encode(&numbers)).unwrap();
            prop_assert_eq!(&back, &numbers);
            prop_assert_eq!(numbers.len(), numbers.iter().count());
            prop_assert!(numbers.iter().eq(set.into_iter().filter(|it| *it < u32::MAX)));
        }
    }

    #[test]
    fn no_other_bytes_mean_the_same_numbers(bytes in prop::collection::vec(0..4_u8, 0..12)) {
        if let Ok(numbers) = decode::<Numbers>("numbers", &bytes) {
            prop_assert_eq!(encode(&numbers), bytes);
            let again: Numbers = numbers.iter().collect();
            prop_assert_eq!(again, numbers);
        }
    }

    /// A second device of the owner, and the same one after a start, may hear of outcomes before the
    /// receipts that they name, and of packs after both.
    #[test]
    fn outcomes_mean_the_same_in_any_order(
        words in words(),
        asked in prop::collection::vec((0..8_usize, 0..SHARDS, any::<bool>()), 0..20),
        order in prop::collection::vec(0..3_u8, 0..20),
        shuffled: bool,
    ) {
        let mut lists = ask(&words, &asked);
        let plain = fold(&words, &lists, &[vec![2; 2], vec![0; 8], vec![1; 8]].concat());
        if shuffled {
            lists.reverse();
        }
        prop_assert_eq!(fold(&words, &lists, &order), plain);
    }
}

#[test]
fn a_run_that_is_empty_touching_or_endless_is_refused() {
    for bad in [
        vec![(0, 0)],
        vec![(3, 2), (0, 2)],
        vec![(3, 2), (1, 0)],
        vec![(u32::MAX, 1)],
        vec![(1, u32::MAX)],
        vec![(5, 5), (u32::MAX - 5, 1)],
    ] {
        let refused = decode::<Numbers>("numbers", &encode(&bad));
        assert_eq!(refused, Err(DecodeError::Malformed("numbers")), "{bad:?}");
    }
    let good = decode::<Numbers>("numbers", &encode(&vec![(0_u32, 2_u32), (1, 3)]));
    assert!(good.unwrap().iter().eq([0, 1, 3, 4, 5]));
}

/// A holder that tells two devices of one owner two stories can't have what it showed to one of them
/// count for what it signed to the other.
#[test]
fn outcomes_about_another_feed_of_the_holder_mean_nothing() {
    let told = |held: Vec<u8>| Word {
        held,
        dropped: Vec::new(),
    };
    let lists = ask(&[told(vec![1, 2])], &[(0, 1, true), (0, 2, false)]);
    assert_eq!(lists.len(), 1);
    let honest = fold(&[told(vec![1, 2])], &lists, &[]);
    assert!(honest[&shard(1)].proved.is_some() && honest[&shard(2)].is_refuted());
    let other = fold(&[told(vec![3, 2])], &lists, &[]);
    assert!(other[&shard(3)].held);
    assert!(other.values().all(|it| it.proved.max(it.failed).is_none()));
}

/// It failed, dropped the shard and took it anew: what we hear late must not take away its new chance.
#[test]
fn a_failure_heard_late_is_not_one_of_what_was_signed_for_since() {
    let words = [(vec![1], vec![]), (vec![], vec![1]), (vec![1], vec![])]
        .map(|(held, dropped)| Word { held, dropped });
    let lists = ask(&words, &[(0, 1, false)]);
    for order in [vec![2, 2, 0, 1, 0, 0], vec![2, 2, 0, 0, 0, 1]] {
        let holding = fold(&words, &lists, &order)[&shard(1)];
        assert!(holding.believed() && holding.renewed, "{order:?}");
    }
}

#[test]
fn the_fullest_entries_fit() {
    let stems = vec![Stem([9; 12]); limits::RECEIPT_SHARDS_MAX];
    let receipts = encode(&ReceiptList {
        held: stems,
        dropped: Vec::new(),
    });
    let far = |at: usize| u32::try_from(at).unwrap() * (u32::MAX / 4096 - 1);
    let proved: Numbers = (0..limits::AUDIT_SHARDS_MAX).map(far).collect();
    let audits = encode(&AuditList {
        holder: HOLDER,
        time: Timestamp(u64::MAX),
        proved,
        failed: Numbers::default(),
        check: [0; 8],
    });
    for plain in [receipts, audits] {
        let body = Body::Held(Receipts {
            owner: MemberId([0; 32]),
            sealed: vec![0; plain.len() + 48],
        });
        assert!(body.to_parts().1.len() + 256 < limits::ENTRY_BYTES_MAX);
    }
}

#[test]
fn golden_lists() {
    let golden = include_str!("../../../../testdata/format/lists.txt");
    let receipts = ReceiptList {
        held: (1..4).map(|at| shard(at).stem()).collect(),
        dropped: vec![shard(9).stem()],
    };
    let mut roll = Roll::default();
    for at in 0..100 {
        assert_eq!(roll.sign(shard(at).stem()), u32::from(at));
    }
    let proved = (3..90).filter(|it| *it != 40).collect();
    let list = roll.list(
        HOLDER,
        Timestamp(1_750_000_000_000),
        proved,
        [95].into_iter().collect(),
    );
    crate::golden::assert_golden(
        golden,
        &[
            ("receipts", crate::id::hex(&encode(&receipts))),
            ("audits", crate::id::hex(&encode(&list.unwrap()))),
        ],
    );
}
