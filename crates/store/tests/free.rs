//! Freed files leave the disk and stay in every snapshot, until they are back or let go.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[allow(dead_code, reason = "the tests of backups use the rest")]
mod home;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use carryall_core::{
    free::Refusal,
    id::{MemberId, PackId},
    record::{NodeKind, PackKind},
};
use carryall_store::{
    backup::BackupError,
    browse::Library,
    disk::Disk,
    free::{self, Folder, Found, FreeError, Stays, Tally},
    freed::Freed,
    mem_disk::MemDisk,
    prune,
    rebuild::{RebuildError, Rebuilder},
};
use home::Home;

const FILES: &str = "/files";
const LARGE: usize = 900_000;

/// Bytes that don't compress.
fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let hasher = blake3::Hasher::new_keyed(&[seed; 32]);
    hasher.finalize_xof().fill(&mut content);
    content
}

fn at(name: &str) -> PathBuf {
    Path::new(FILES).join(name)
}

fn back_up(home: &Home) -> carryall_core::id::SnapshotId {
    home.back_up(&[Path::new(FILES)]).snapshot
}

/// Two large files and some small ones, saved.
fn saved(disk: &MemDisk) -> Home {
    let home = Home::in_memory(disk);
    for (name, seed, bytes) in [
        ("2025/a.jpg", 1, LARGE),
        ("2026/b.jpg", 2, LARGE),
        ("2026/c.txt", 3, 5000),
        ("readme", 4, 100),
    ] {
        disk.write_file(&at(name), &content(seed, bytes)).unwrap();
    }
    back_up(&home);
    home
}

fn found(home: &Home, path: &str) -> Found {
    free::find(&home.context(), Path::new(path), &|_| Ok(())).unwrap()
}

fn folder(folders: &BTreeMap<Vec<u8>, Folder>, path: &str) -> Folder {
    folders.get(path.as_bytes()).cloned().unwrap_or_default()
}

/// Returns the files of the newest snapshot, each with its chunks.
fn files(home: &Home) -> BTreeMap<Vec<u8>, NodeKind> {
    let library = Library::new(&home.context()).unwrap();
    let head = library.snapshots().unwrap().pop().unwrap();
    let record = library.snapshot(head.snapshot).unwrap();
    let mut files = BTreeMap::new();
    library
        .walk(&record, b"/", &mut |path, node| {
            if matches!(node.kind, NodeKind::File { .. }) {
                files.insert(path.to_vec(), node.kind.clone());
            }
            true
        })
        .unwrap();
    files
}

const fn tally(files: u64, bytes: u64) -> Tally {
    Tally { files, bytes }
}

#[test]
fn freed_files_stay_in_every_snapshot() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    let before = files(&home);
    let found = found(&home, FILES);
    assert_eq!(folder(&found.folders, FILES).free, tally(1, 100));
    assert_eq!(
        folder(&found.folders, "/files/2026").free,
        tally(2, LARGE as u64 + 5000)
    );
    let unmade = found.unmade.clone();
    found.remove(&home.context()).unwrap();
    for name in ["2025/a.jpg", "2026/b.jpg", "2026/c.txt", "readme"] {
        let gone = disk.metadata(&at(name)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound, "{name}");
    }
    // Their packs can't be made here any more, and nobody tries.
    assert!(!unmade.is_empty());
    for pack in unmade {
        let made = Rebuilder::new().pack(&home.context(), pack);
        assert!(matches!(made, Err(RebuildError::Absent(_))), "{made:?}");
    }
    for round in 0..3 {
        // Folders go, others come: what was freed stays.
        match round {
            1 => disk.remove_dir(&at("2025")).unwrap(),
            2 => disk.write_file(&at("2027/d"), &content(5, 100)).unwrap(),
            _ => {}
        }
        back_up(&home);
        let mut now = files(&home);
        now.remove(&b"/files/2027/d"[..]);
        assert_eq!(now, before, "{round}");
    }
    let again = free::find(&home.context(), Path::new(FILES), &|_| Ok(())).unwrap();
    assert_eq!(
        folder(&again.folders, "/files/2025").freed,
        tally(1, LARGE as u64)
    );
    assert_eq!(folder(&again.folders, "/files/2025").free, Tally::default());
}

#[test]
fn what_is_back_and_deleted_then_is_deleted() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    found(&home, "/files/2025").remove(&home.context()).unwrap();
    back_up(&home);
    let made = home.catalogue.packs().unwrap().len();
    disk.write_file(&at("2025/a.jpg"), &content(1, LARGE))
        .unwrap();
    back_up(&home);
    let large = |home: &Home| {
        let packs = home.catalogue.packs().unwrap();
        let large = packs.iter().filter(|(_, it)| it.kind == PackKind::Large);
        large.count()
    };
    assert_eq!(large(&home), 1, "nothing of it was packed again: {made}");
    let context = home.context();
    assert!(Freed::read(context.disk, context.home).unwrap().is_empty());
    disk.remove_file(&at("2025/a.jpg")).unwrap();
    back_up(&home);
    assert!(!files(&home).contains_key(&b"/files/2025/a.jpg"[..]));
    // What was let go is deleted too.
    found(&home, "/files/2026").remove(&home.context()).unwrap();
    let context = home.context();
    let mut freed = Freed::read(context.disk, context.home).unwrap();
    assert_eq!(freed.take(b"/files/2026/b.jpg").len(), 1);
    freed.write(context.disk, context.home).unwrap();
    back_up(&home);
    let left: Vec<Vec<u8>> = files(&home).into_keys().collect();
    assert_eq!(left, [&b"/files/2026/c.txt"[..], b"/files/readme"]);
}

#[test]
fn what_is_not_as_it_was_saved_stays() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    disk.write_file(&at("2026/b.jpg"), &content(9, LARGE))
        .unwrap();
    disk.write_file(&at("2026/new"), b"new").unwrap();
    // The same bytes again: only its times and its inode tell another story.
    disk.remove_file(&at("2026/c.txt")).unwrap();
    disk.write_file(&at("2026/c.txt"), &content(3, 5000))
        .unwrap();
    let found = found(&home, "/files/2026");
    let of = folder(&found.folders, "/files/2026");
    assert_eq!(of.free, tally(1, 5000));
    assert_eq!(of.unsaved, 1);
    let changed = &of.stays[&Stays::Changed];
    assert_eq!(changed.tally, tally(1, LARGE as u64));
    assert_eq!(changed.first, [b"/files/2026/b.jpg"]);
    // What changes after it was looked at stays as well.
    disk.write_file(&at("2026/c.txt"), &content(8, 5000))
        .unwrap();
    let folders = found.remove(&home.context()).unwrap();
    let of = folder(&folders, "/files/2026");
    assert_eq!(
        (of.free, of.stays[&Stays::Changed].tally.files),
        (Tally::default(), 2)
    );
    assert!(disk.metadata(&at("2026/c.txt")).is_ok());
    back_up(&home);
    assert!(files(&home).contains_key(&b"/files/2026/new"[..]));
}

#[test]
fn what_may_not_go_stays_with_the_reason() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    let refusal = Refusal::Unproved {
        member: MemberId([7; 32]),
    };
    let packs = home.catalogue.packs().unwrap();
    let kind = |pack: PackId| packs.iter().find(|it| it.1.id == pack).unwrap().1.kind;
    let but = |refused: PackKind| {
        let may_go = |pack: PackId| match kind(pack) {
            found if found == refused => Err(refusal),
            _ => Ok(()),
        };
        free::find(&home.context(), Path::new(FILES), &may_go).unwrap()
    };
    let large = but(PackKind::Large);
    let of = folder(&large.folders, "/files/2026");
    assert_eq!(of.free, tally(1, 5000));
    assert_eq!(of.stays[&Stays::Refused(refusal)].tally.files, 1);
    // Without the folder lists nobody would find the rest.
    let lists = but(PackKind::Metadata);
    assert!(lists.is_empty() && lists.packs.is_empty() && lists.unmade.is_empty());
    let of = folder(&lists.folders, "/files/2026");
    assert_eq!(of.stays[&Stays::Refused(refusal)].tally.files, 2);
    assert_eq!(of.free, Tally::default());
}

#[test]
fn only_what_was_saved_can_be_freed() {
    let disk = MemDisk::new();
    let home = Home::in_memory(&disk);
    let find = |path: &str| free::find(&home.context(), Path::new(path), &|_| Ok(()));
    assert!(matches!(find(FILES), Err(FreeError::NoBackup)));
    disk.write_file(&at("a"), &content(1, 100)).unwrap();
    back_up(&home);
    for path in ["/elsewhere", "/files/b", "/file"] {
        assert!(matches!(find(path), Err(FreeError::NotSaved(_))), "{path}");
    }
    assert_eq!(
        folder(&find("/").unwrap().folders, FILES).free,
        tally(1, 100)
    );
    assert_eq!(
        folder(&find("/files/a").unwrap().folders, "/files/a").free,
        tally(1, 100)
    );
}

#[test]
fn what_was_freed_outlives_its_snapshots_and_an_unreadable_folder() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    let before = files(&home);
    found(&home, "/files/2026").remove(&home.context()).unwrap();
    disk.remove_dir(&at("2026")).unwrap();
    disk.write_file(&at("2026"), b"a file where the folder was")
        .unwrap();
    back_up(&home);
    assert!(!files(&home).contains_key(&b"/files/2026/b.jpg"[..]));
    // All older snapshots go, and what none needs with them.
    let mut rows = home.catalogue.snapshots().unwrap();
    rows.pop();
    let mut batch = home.catalogue.batch().unwrap();
    for row in rows {
        batch.remove_snapshot(row.id, row.head.time).unwrap();
    }
    batch.commit().unwrap();
    let unneeded = prune::find(&home.context()).unwrap();
    assert!(
        unneeded
            .packs
            .iter()
            .all(|it| it.kind == PackKind::Metadata)
    );
    let packs: Vec<PackId> = unneeded.packs.iter().map(|it| it.id).collect();
    prune::drop_packs(&home.context(), &packs).unwrap();
    disk.remove_file(&at("2026")).unwrap();
    back_up(&home);
    assert_eq!(files(&home), before);
    let library = Library::new(&home.context()).unwrap();
    let head = library.snapshots().unwrap().pop().unwrap();
    let record = library.snapshot(head.snapshot).unwrap();
    assert_eq!(library.lost_files(&record).unwrap(), 0);
}

#[test]
fn a_damaged_list_makes_no_snapshot() {
    let disk = MemDisk::new();
    let home = saved(&disk);
    found(&home, "/files/2026").remove(&home.context()).unwrap();
    let list = home.path.join("freed");
    let mut bytes = disk.read_file(&list).unwrap();
    bytes[20] ^= 1;
    disk.write_file(&list, &bytes).unwrap();
    let failed = home.try_back_up(&[Path::new(FILES)]);
    assert!(matches!(failed, Err(BackupError::Freed(_))), "{failed:?}");
}
