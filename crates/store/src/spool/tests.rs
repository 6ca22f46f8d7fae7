//! Spooled packs are durable once synced, and never wrong.

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    trial::what_is_seen_stays,
};

fn open(disk: &MemDisk) -> Result<Spool, SpoolError> {
    Spool::open(Arc::new(disk.clone()), Path::new("/v/spool"), 10_000)
}

fn pack(salt: u8, bytes: usize) -> (PackId, Vec<u8>) {
    let content = vec![salt; bytes];
    (PackId(*blake3::hash(&content).as_bytes()), content)
}

#[test]
fn put_get_remove_within_the_cap() {
    let disk = MemDisk::new();
    let spool = open(&disk).unwrap();
    let (a, a_bytes) = pack(1, 6000);
    let (b, b_bytes) = pack(2, 5000);
    spool.put(a, &a_bytes).unwrap();
    spool.put(a, &a_bytes).unwrap();
    assert!(matches!(
        spool.put(b, &b_bytes),
        Err(SpoolError::Full { cap: 10_000 })
    ));
    assert_eq!(
        spool.get(a).unwrap().as_ref(),
        Some(&a_bytes),
        "readable before the sync"
    );
    assert_eq!(spool.get(b).unwrap(), None);
    spool.sync().unwrap();
    assert_eq!(spool.get(a).unwrap().as_ref(), Some(&a_bytes));
    assert_eq!((spool.bytes(), spool.list()), (6000, vec![(a, 6000)]));
    let spool = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(spool.get(a).unwrap(), Some(a_bytes));
    spool.remove(a).unwrap();
    spool.remove(a).unwrap();
    assert_eq!(spool.bytes(), 0);
    spool.put(b, &b_bytes).unwrap();
    assert!(spool.contains(b));
    spool.remove(b).unwrap();
    spool.sync().unwrap();
    assert_eq!(spool.get(b).unwrap(), None);
}

#[test]
fn many_drafts_are_settled_on_the_way() {
    let disk = MemDisk::new();
    let spool = Spool::open(Arc::new(disk.clone()), Path::new("/v/spool"), 1 << 20).unwrap();
    let packs: Vec<_> = (0..100).map(|salt| pack(salt, 100)).collect();
    for (id, bytes) in &packs {
        spool.put(*id, bytes).unwrap();
    }
    assert!(spool.state().drafts.len() < DRAFTS_MAX);
    spool.sync().unwrap();
    let again = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(again.list().len(), 100);
}

#[test]
fn any_flipped_bit_is_found() {
    let disk = MemDisk::new();
    let spool = open(&disk).unwrap();
    let (id, bytes) = pack(3, 600);
    spool.put(id, &bytes).unwrap();
    spool.sync().unwrap();
    for bit in 0..600 * 8 {
        disk.rot(&spool.path(id), bit).unwrap();
        assert!(matches!(spool.get(id), Err(SpoolError::Damaged(_))));
        disk.rot(&spool.path(id), bit).unwrap();
    }
    assert_eq!(spool.get(id).unwrap(), Some(bytes));
}

#[test]
fn unsynced_packs_leave_nothing_behind() {
    let disk = MemDisk::new();
    let spool = open(&disk).unwrap();
    let (id, bytes) = pack(4, 600);
    spool.put(id, &bytes).unwrap();
    let after = disk.crash(Survival::All);
    assert_eq!(after.files().len(), 1);
    let again = open(&after).unwrap();
    assert_eq!((again.bytes(), after.files().len()), (0, 0));
}

#[test]
fn packs_seen_after_a_kill_stay() {
    let packs: Vec<_> = (0..3).map(|salt| pack(salt, 1000)).collect();
    what_is_seen_stays(
        |_| (),
        |disk| {
            let Ok(spool) = open(disk) else { return };
            for (id, bytes) in &packs {
                let _ = spool.put(*id, bytes);
                let _ = spool.sync();
            }
        },
        |disk| {
            let spool = open(disk).unwrap();
            let packs = spool.list().into_iter();
            packs
                .map(|(id, _)| spool.get(id).unwrap())
                .collect::<Vec<_>>()
        },
    );
}

#[test]
fn a_failed_sync_can_be_repeated() {
    for full in 0..40 {
        let disk = MemDisk::new();
        let spool = open(&disk).unwrap();
        let packs: Vec<_> = (0..3).map(|salt| pack(salt, 100)).collect();
        disk.fill_after(Some(disk.ops() + full));
        for (id, bytes) in &packs {
            if let Err(error) = spool.put(*id, bytes) {
                assert!(matches!(error, SpoolError::Disk(error) if error.is_full()));
                assert!(!spool.contains(*id));
            }
        }
        disk.fill_after(None);
        for (id, bytes) in &packs {
            spool.put(*id, bytes).unwrap();
        }
        spool.sync().unwrap();
        let again = open(&disk.crash(Survival::Synced)).unwrap();
        assert_eq!(again.list().len(), 3);
    }
}
