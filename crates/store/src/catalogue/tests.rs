//! The catalogue is whole after a crash, says when it is not, and never names what isn't there.

use carryall_core::{
    id::ShardId,
    record::{Coding, IndexedPack, PackKind},
};

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    os_disk::OsDisk,
    spool::Spool,
    trial::cut_everywhere,
};

const PATH: &str = "/v/catalogue.redb";

fn open(disk: &MemDisk) -> Result<Catalogue, CatalogueError> {
    Catalogue::open(Arc::new(disk.clone()), Path::new(PATH))
}

fn fresh() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/v")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn id(number: u32) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn pack(number: u32, chunks: u32) -> IndexedPack {
    let chunk = |index| PackedChunk {
        id: ChunkId(id(number * 10_000 + index)),
        raw_bytes: 10_000 + index,
        stored_bytes: 9_000 + index,
    };
    IndexedPack {
        pack: PackRecord {
            id: PackId(id(number)),
            epoch: 0,
            kind: PackKind::Small,
            bytes: 1_000_000 + number,
            made: Timestamp(5),
            newest: Timestamp(5),
            coding: Coding {
                k: 2,
                n: 6,
                shard_bytes: 500_032,
            },
            shards: (0..6).map(|index| ShardId(id(number + index))).collect(),
        },
        chunks: (1..=chunks).map(chunk).collect(),
    }
}

fn head(number: u32) -> HeadRecord {
    HeadRecord {
        snapshot: SnapshotId(id(number)),
        content: Vec::new(),
        packs: vec![pack(number, 0).pack],
        time: Timestamp(u64::from(number)),
        files: 3,
        bytes: 4,
    }
}

fn run(path: &str) -> SourceRun {
    SourceRun {
        path: path.as_bytes().to_vec(),
        facts: FileFacts {
            bytes: 9,
            mtime_ns: -5,
            ctime_ns: 6,
            ino: 7,
        },
        offset: 1 << 40,
        first: 0,
        count: 3,
    }
}

#[test]
fn everything_that_is_put_is_found() {
    let disk = fresh();
    let catalogue = open(&disk).unwrap();
    assert!(catalogue.needs_rebuild().unwrap());
    let mut batch = catalogue.batch().unwrap();
    let (first, second) = (pack(1, 20), pack(2, 3));
    assert_eq!(batch.put_pack(&first).unwrap(), 0);
    assert_eq!(batch.put_pack(&second).unwrap(), 1);
    assert_eq!(
        batch.put_pack(&first).unwrap(),
        0,
        "a known pack keeps its ordinal"
    );
    batch.put_sources(1, &[run("/a"), run("/b")]).unwrap();
    batch.put_siv(1, Siv([5; 32])).unwrap();
    batch
        .put_directories([(&[1; 16], Some(&b"one"[..])), (&[2; 16], Some(b"two"))])
        .unwrap();
    batch.remember_root(b"/home/\xff", Timestamp(1)).unwrap();
    batch.remember_root(b"/home/\xff", Timestamp(2)).unwrap();
    batch.put_snapshot(&head(9)).unwrap();
    batch.put_snapshot(&head(8)).unwrap();
    batch.complete().unwrap();
    let chunk = first.chunks[7];
    let place = ChunkPlace {
        pack: 0,
        index: 7,
        raw_bytes: chunk.raw_bytes,
    };
    assert_eq!(batch.find_chunk(&chunk.id).unwrap(), Some(place));
    assert_eq!(
        catalogue.find_chunk(&chunk.id).unwrap(),
        None,
        "not before the commit"
    );
    batch.commit().unwrap();

    for catalogue in [catalogue, open(&disk.crash(Survival::Synced)).unwrap()] {
        assert!(!catalogue.needs_rebuild().unwrap());
        assert_eq!(catalogue.find_chunk(&chunk.id).unwrap(), Some(place));
        assert_eq!(catalogue.pack(1).unwrap().unwrap(), second.pack);
        assert_eq!(catalogue.pack(2).unwrap(), None);
        assert_eq!(
            catalogue.pack_by_id(first.pack.id).unwrap(),
            Some((0, first.pack.clone()))
        );
        assert_eq!(catalogue.packs().unwrap().len(), 2);
        assert_eq!(catalogue.contents(0).unwrap().unwrap(), first.chunks);
        assert_eq!(catalogue.sources(0).unwrap(), None);
        assert_eq!(
            catalogue.sources(1).unwrap().unwrap(),
            [run("/a"), run("/b")]
        );
        let view = catalogue.view().unwrap();
        assert_eq!(view.siv(0).unwrap(), None);
        assert_eq!(view.siv(1).unwrap(), Some(Siv([5; 32])));
        drop(view);
        assert_eq!(
            catalogue
                .view()
                .unwrap()
                .directory(&[2; 16])
                .unwrap()
                .unwrap(),
            b"two"
        );
        assert_eq!(
            catalogue.roots().unwrap(),
            [(b"/home/\xff".to_vec(), Timestamp(1))]
        );
        let times = catalogue.snapshots().unwrap();
        assert_eq!(
            times.iter().map(|row| row.head.time.0).collect::<Vec<_>>(),
            [8, 9]
        );
    }
}

#[test]
fn a_catalogue_from_before_synthetic_ivs_were_remembered_has_none() {
    let disk = fresh();
    let catalogue = open(&disk).unwrap();
    let transaction = catalogue.database().unwrap().begin_write().unwrap();
    transaction.delete_table(SIVS).unwrap();
    commit(&catalogue, transaction).unwrap();
    assert_eq!(catalogue.view().unwrap().siv(0).unwrap(), None);
    let mut batch = catalogue.batch().unwrap();
    let old = pack(1, 5);
    let ordinal = batch.put_pack(&old).unwrap();
    batch.forget_sources(old.pack.id).unwrap();
    batch.put_siv(ordinal, Siv([1; 32])).unwrap();
    batch.commit().unwrap();
    let known = catalogue.view().unwrap().siv(ordinal).unwrap();
    assert_eq!(known, Some(Siv([1; 32])));
    let mut batch = catalogue.batch().unwrap();
    batch.remove_pack(old.pack.id).unwrap();
    batch.commit().unwrap();
    assert_eq!(catalogue.view().unwrap().siv(ordinal).unwrap(), None);
    catalogue.clear().unwrap();
    assert!(catalogue.needs_rebuild().unwrap());
}

#[test]
fn things_are_forgotten_and_ordinals_are_not_used_twice() {
    let disk = fresh();
    let catalogue = open(&disk).unwrap();
    let mut batch = catalogue.batch().unwrap();
    let (old, mut new) = (pack(1, 5), pack(2, 0));
    new.chunks = old.chunks[..2].to_vec();
    batch.put_pack(&old).unwrap();
    batch.put_pack(&new).unwrap();
    batch.put_snapshot(&head(9)).unwrap();
    batch.remember_root(b"/a", Timestamp(1)).unwrap();
    batch
        .put_directories([(&[1; 16], Some(&b"x"[..])), (&[2; 16], Some(b"y"))])
        .unwrap();
    batch.commit().unwrap();

    let mut batch = catalogue.batch().unwrap();
    batch.remove_pack(old.pack.id).unwrap();
    batch.remove_pack(old.pack.id).unwrap();
    batch
        .remove_snapshot(SnapshotId(id(9)), Timestamp(9))
        .unwrap();
    batch.forget_root(b"/a").unwrap();
    batch.retain_directories(|key| key[0] == 2).unwrap();
    batch.commit().unwrap();
    assert_eq!(catalogue.find_chunk(&old.chunks[4].id).unwrap(), None);
    let moved = catalogue.find_chunk(&old.chunks[1].id).unwrap().unwrap();
    assert_eq!(moved.pack, 1, "a chunk that lies in another pack stays");
    assert!(catalogue.pack(0).unwrap().is_none() && catalogue.snapshots().unwrap().is_empty());
    let view = catalogue.view().unwrap();
    assert!(view.directory(&[1; 16]).unwrap().is_none());
    assert!(view.directory(&[2; 16]).unwrap().is_some());
    drop(view);

    let mut batch = open(&disk.crash(Survival::Synced))
        .map(|_| catalogue.batch().unwrap())
        .unwrap();
    assert_eq!(batch.put_pack(&pack(3, 1)).unwrap(), 2);
    drop(batch);
    assert_eq!(
        catalogue.packs().unwrap().len(),
        1,
        "a dropped batch changes nothing"
    );
    catalogue.clear().unwrap();
    assert!(catalogue.needs_rebuild().unwrap());
    assert!(catalogue.packs().unwrap().is_empty() && catalogue.roots().unwrap().is_empty());
}

/// The order of a backup: packs into the spool, sync, then the commit that names them. The catalogue
/// names none that is not there.
pub(crate) fn committing() -> u64 {
    let content = |number: u32| number.to_le_bytes().repeat(300);
    let indexed = |number: u32| {
        let mut pack = pack(number, 4);
        pack.pack.id = PackId(*blake3::hash(&content(number)).as_bytes());
        pack
    };
    let spool =
        |disk: &MemDisk| Spool::open(Arc::new(disk.clone()), Path::new("/v/spool"), 1 << 20);
    cut_everywhere(
        |disk| {
            disk.create_dir_all(Path::new("/v")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            spool(disk).unwrap();
            let catalogue = open(disk).unwrap();
            let mut batch = catalogue.batch().unwrap();
            batch.complete().unwrap();
            batch.commit().unwrap();
        },
        |disk| {
            let (Ok(spool), Ok(catalogue)) = (spool(disk), open(disk)) else {
                return 0;
            };
            let backup = |numbers: std::ops::Range<u32>| {
                let mut batch = catalogue.batch().ok()?;
                for number in numbers {
                    spool.put(indexed(number).pack.id, &content(number)).ok()?;
                    batch.put_pack(&indexed(number)).ok()?;
                }
                spool.sync().ok()?;
                batch.commit().ok()
            };
            match (backup(0..2), backup(2..3)) {
                (None, _) => 0,
                (_, None) => 2,
                _ => 3,
            }
        },
        |disk, acknowledged| {
            let (spool, catalogue) = (spool(disk).unwrap(), open(disk).unwrap());
            assert!(
                !catalogue.needs_rebuild().unwrap(),
                "a crash damaged the catalogue"
            );
            let packs = catalogue.packs().unwrap();
            assert!(packs.len() >= *acknowledged && [0, 2, 3].contains(&packs.len()));
            for (ordinal, record) in packs {
                assert!(
                    spool.get(record.id).unwrap().is_some(),
                    "a named pack is gone"
                );
                for chunk in catalogue.contents(ordinal).unwrap().unwrap() {
                    let place = catalogue.find_chunk(&chunk.id).unwrap().unwrap();
                    assert_eq!(place.pack, ordinal);
                }
            }
            let rubbish = disk
                .files()
                .into_iter()
                .filter(|path| path.ends_with(".tmp"));
            assert_eq!(rubbish.count(), 0);
        },
        |disk| drop((spool(disk), open(disk))),
    )
}

#[test]
fn a_full_disk_is_an_error_and_then_it_goes_on() {
    let disk = fresh();
    let catalogue = open(&disk).unwrap();
    let mut batch = catalogue.batch().unwrap();
    batch.put_pack(&pack(0, 10)).unwrap();
    batch.complete().unwrap();
    batch.commit().unwrap();
    for full in 0..60 {
        disk.fill_after(Some(disk.ops() + full));
        let numbers = 1 + u32::try_from(full).unwrap() * 3;
        let grown = (|| {
            let mut batch = catalogue.batch()?;
            for number in numbers..numbers + 3 {
                batch.put_pack(&pack(number, 2000))?;
            }
            batch.commit()
        })();
        if let Err(error) = grown {
            assert!(error.is_full(), "{error}");
        }
        disk.fill_after(None);
        assert_eq!(catalogue.pack(0).unwrap().unwrap(), pack(0, 0).pack);
        let mut batch = catalogue.batch().unwrap();
        batch.put_pack(&pack(numbers, 5)).unwrap();
        batch.commit().unwrap();
    }
    assert!(
        !open(&disk.crash(Survival::Synced))
            .unwrap()
            .needs_rebuild()
            .unwrap()
    );
}

#[test]
fn damage_is_noticed_on_opening_and_asks_for_a_rebuild() {
    let clean = fresh();
    let catalogue = open(&clean).unwrap();
    let mut batch = catalogue.batch().unwrap();
    for number in 0..5 {
        batch.put_pack(&pack(number, 300)).unwrap();
    }
    batch.complete().unwrap();
    batch.commit().unwrap();
    drop(catalogue);
    let whole: Vec<_> = {
        let catalogue = open(&clean).unwrap();
        let contents = (0..5).map(|ordinal| catalogue.contents(ordinal).unwrap());
        contents.collect()
    };
    let bits = clean.read_file(Path::new(PATH)).unwrap().len() as u64 * 8;
    let (mut rebuilt, mut untouched) = (0, 0);
    for bit in (0..bits).step_by(40_009).chain(0..600) {
        let disk = clean.crash(Survival::All);
        if !disk.rot(Path::new(PATH), bit).unwrap() {
            continue;
        }
        let catalogue = match open(&disk) {
            Ok(catalogue) => catalogue,
            Err(CatalogueError::TooNew { .. }) => continue,
            Err(error) => panic!("bit {bit}: {error}"),
        };
        if catalogue.needs_rebuild().unwrap() {
            assert!(catalogue.packs().unwrap().is_empty());
            rebuilt += 1;
        } else {
            for (ordinal, expected) in (0..).zip(&whole) {
                assert_eq!(catalogue.contents(ordinal).unwrap(), *expected, "bit {bit}");
            }
            untouched += 1;
        }
    }
    assert!(rebuilt > 5 && untouched > 5, "{rebuilt} {untouched}");
    for content in [&b""[..], b"rubbish", &[0; 100_000]] {
        let disk = fresh();
        disk.write_file(Path::new(PATH), content).unwrap();
        assert!(open(&disk).unwrap().needs_rebuild().unwrap());
    }
}

#[test]
fn the_figures_stay_small_on_a_real_disk() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.redb");
    let catalogue = Catalogue::open(Arc::new(OsDisk), &path).unwrap();
    let mut batch = catalogue.batch().unwrap();
    for number in 0..13 {
        batch.put_pack(&pack(number, 1600)).unwrap();
    }
    batch.commit().unwrap();
    // 20,800 chunks of about 10 KiB each. Part of the file is a hole.
    let bytes = std::fs::metadata(&path).unwrap().blocks() * 512;
    assert!(bytes < 20_800 * 10_240 * 11 / 1000, "{bytes} bytes");
}
