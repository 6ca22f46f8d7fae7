//! Pruning: what snapshots need stays, whatever was forgotten in between.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[allow(dead_code, reason = "the tests of backups use the rest")]
mod home;

use std::path::Path;

use carryall_core::id::{PackId, SnapshotId};
use carryall_store::{
    browse::BrowseError,
    mem_disk::MemDisk,
    prune::{self, Unneeded},
};
use home::Home;

const FILES: &str = "/files";

/// Pseudo-random bytes that don't compress, so that each file makes a pack of its own kind.
fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut hasher = blake3::Hasher::new_keyed(&[seed; 32]);
    hasher.update(b"content").finalize_xof().fill(&mut content);
    content
}

fn write(disk: &MemDisk, name: &str, content: &[u8]) {
    disk.write_file(&Path::new(FILES).join(name), content)
        .unwrap();
}

/// A home with three snapshots: each day another large file, the first one gone on the third.
fn home(disk: &MemDisk) -> (Home, Vec<SnapshotId>) {
    let home = Home::in_memory(disk);
    let mut snapshots = Vec::new();
    for day in 0..3_u8 {
        write(disk, &format!("{day}.jpg"), &content(day, 900_000));
        write(disk, "note", &content(10 + day, 100));
        if day == 2 {
            carryall_store::disk::Disk::remove_file(disk, &Path::new(FILES).join("0.jpg")).unwrap();
        }
        let report = home.run(&[Path::new(FILES)], &mut |_| {}).unwrap();
        snapshots.push(report.snapshot);
    }
    (home, snapshots)
}

fn forget(home: &Home, snapshot: SnapshotId) {
    let rows = home.catalogue.snapshots().unwrap();
    let row = rows.iter().find(|row| row.id == snapshot).unwrap();
    let mut batch = home.catalogue.batch().unwrap();
    batch.remove_snapshot(row.id, row.head.time).unwrap();
    batch.commit().unwrap();
}

fn drop_all(home: &Home, found: &Unneeded) -> Vec<PackId> {
    let packs: Vec<PackId> = found.packs.iter().map(|pack| pack.id).collect();
    prune::drop_packs(&home.context(), &packs).unwrap();
    for pack in &packs {
        home.spool.remove(*pack).unwrap();
    }
    packs
}

#[test]
fn what_any_snapshot_needs_stays() {
    let disk = MemDisk::new();
    let (home, snapshots) = home(&disk);
    let packs = home.catalogue.packs().unwrap().len();
    let found = prune::find(&home.context()).unwrap();
    assert_eq!((found.packs.len(), found.kept), (0, packs as u64));
    // The second snapshot has the first file still.
    forget(&home, snapshots[0]);
    let found = prune::find(&home.context()).unwrap();
    let large = |found: &Unneeded| found.packs.iter().filter(|it| it.bytes > 800_000).count();
    assert_eq!(large(&found), 0);
    forget(&home, snapshots[1]);
    let found = prune::find(&home.context()).unwrap();
    assert_eq!(large(&found), 1);
    let dropped = drop_all(&home, &found);
    assert!(prune::find(&home.context()).unwrap().packs.is_empty());
    for pack in dropped {
        assert_eq!(home.catalogue.pack_by_id(pack).unwrap(), None);
    }
    // All of the last snapshot is there.
    let library = carryall_store::browse::Library::new(&home.context()).unwrap();
    let record = library.snapshot(snapshots[2]).unwrap();
    assert_eq!(library.lost_files(&record).unwrap(), 0);
    assert_eq!(library.list(&record, b"/files").unwrap().len(), 3);
}

#[test]
fn content_that_comes_back_after_a_prune_is_packed_anew() {
    let disk = MemDisk::new();
    let (home, snapshots) = home(&disk);
    forget(&home, snapshots[0]);
    forget(&home, snapshots[1]);
    let found = prune::find(&home.context()).unwrap();
    drop_all(&home, &found);
    write(&disk, "again.jpg", &content(0, 900_000));
    let mut made = 0;
    let report = home.run(&[Path::new(FILES)], &mut |pack| {
        made += u64::from(pack.bytes);
    });
    let report = report.unwrap();
    assert!(report.is_new && made > 900_000, "{made}");
    let library = carryall_store::browse::Library::new(&home.context()).unwrap();
    let record = library.snapshot(report.snapshot).unwrap();
    assert_eq!(library.lost_files(&record).unwrap(), 0);
    assert!(prune::find(&home.context()).unwrap().packs.is_empty());
}

#[test]
fn what_can_not_be_looked_at_keeps_everything() {
    let disk = MemDisk::new();
    let (home, snapshots) = home(&disk);
    forget(&home, snapshots[0]);
    let rows = home.catalogue.snapshots().unwrap();
    for pack in &rows[0].head.packs {
        home.spool.remove(pack.id).unwrap();
    }
    assert!(matches!(
        prune::find(&home.context()),
        Err(BrowseError::Absent(_))
    ));
}

#[test]
fn without_a_snapshot_nothing_goes() {
    let disk = MemDisk::new();
    let (home, snapshots) = home(&disk);
    for snapshot in snapshots {
        forget(&home, snapshot);
    }
    let found = prune::find(&home.context()).unwrap();
    assert!(found.packs.is_empty() && found.kept > 0);
}
