//! What lies aside is there again after a restart, and never wrong.

use carryall_core::{
    id::ShardId,
    record::{Coding, PackKind},
    time::Timestamp,
};

use super::*;
use crate::mem_disk::{MemDisk, Survival};

fn open(disk: &MemDisk, keep_free: u64) -> Aside {
    Aside::open(Arc::new(disk.clone()), Path::new("/v/aside"), keep_free).unwrap()
}

fn shards(count: u8) -> BTreeMap<u8, Vec<u8>> {
    (0..count).map(|index| (index, vec![index; 640])).collect()
}

fn record(shards: &BTreeMap<u8, Vec<u8>>) -> PackRecord {
    let id = |shard: &Vec<u8>| ShardId(*blake3::hash(shard).as_bytes());
    PackRecord {
        id: PackId([7; 32]),
        epoch: 0,
        kind: PackKind::Large,
        bytes: 1280,
        made: Timestamp(5),
        newest: Timestamp(5),
        coding: Coding {
            k: 2,
            n: 4,
            shard_bytes: 640,
        },
        shards: shards.values().map(id).collect(),
    }
}

#[test]
fn shards_lie_aside_until_they_are_removed() {
    let disk = MemDisk::new();
    let all = shards(4);
    let pack = record(&all);
    let aside = open(&disk, 0);
    for (index, shard) in &all {
        let one = BTreeMap::from([(*index, shard.clone())]);
        aside.put(pack.id, &one).unwrap();
    }
    let here = BTreeMap::from([(pack.id, (0..4).collect())]);
    assert_eq!(aside.list(), here);
    let aside = open(&disk.crash(Survival::All), 0);
    assert_eq!(aside.list(), here);
    assert_eq!(aside.get(&pack).unwrap(), all);
    aside.remove(pack.id).unwrap();
    aside.remove(pack.id).unwrap();
    assert_eq!(aside.get(&pack).unwrap(), BTreeMap::new());
}

#[test]
fn what_is_not_as_it_came_is_left_out() {
    let disk = MemDisk::new();
    let all = shards(4);
    let pack = record(&all);
    let aside = open(&disk, 0);
    let mut damaged = all.clone();
    damaged.insert(1, vec![9; 640]);
    damaged.insert(2, vec![2; 600]);
    aside.put(pack.id, &damaged).unwrap();
    let found: Vec<u8> = aside.get(&pack).unwrap().into_keys().collect();
    assert_eq!(found, [0, 3]);
}

#[test]
fn nothing_is_set_aside_on_a_full_disk() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(1 << 20));
    let all = shards(4);
    let pack = record(&all);
    let aside = open(&disk, 1 << 20);
    let refused = aside.put(pack.id, &all);
    assert!(matches!(
        refused,
        Err(AsideError::Full { needed: 2560, .. })
    ));
    assert_eq!(aside.list(), BTreeMap::new());
    let aside = open(&disk, 0);
    disk.fill_after(Some(2));
    assert!(aside.put(pack.id, &all).is_err());
    disk.fill_after(None);
    // What was written stays, and counts: it is checked when it is read.
    let kept = aside.list().remove(&pack.id).unwrap_or_default();
    let read: BTreeSet<u8> = aside.get(&pack).unwrap().into_keys().collect();
    assert_eq!(read, kept);
}
