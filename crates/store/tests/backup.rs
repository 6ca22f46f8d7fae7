//! Folders become packs and come back: difficult trees, interruptions, full disks, lost indexes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod folder;
mod home;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use carryall_core::{
    record::{PackKind, PackRecord},
    time::Span,
};
use carryall_store::{
    backup::{BackupError, Reason},
    browse::Library,
    disk::Disk,
    index,
    mem_disk::{MemDisk, Survival},
    rebuild::{RebuildError, Rebuilder, forget_broken},
    restore::{Plan, RestoreError, Restorer},
};
use proptest::prelude::*;

use crate::{
    folder::{assert_same, noise, set_mtime, write},
    home::Home,
};

#[test]
fn a_difficult_tree_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("photos");
    folder::difficult(&folder);
    let home = Home::on_disk(&place.path().join("home"));
    let report = home.back_up(&[&folder]);
    assert!(report.is_new);
    assert_eq!(report.unread, 0);
    let special: Vec<_> = report.notes.iter().map(|note| note.reason).collect();
    assert_eq!(special, [Reason::Special], "the FIFO and nothing else");
    let restored = home.restore(&place.path().join("out"));
    assert_eq!(restored.failed, []);
    let was = fs::metadata(&folder).unwrap();
    fs::remove_file(folder.join("fifo")).unwrap();
    set_mtime(&folder, was.mtime() * 1_000_000_000 + was.mtime_nsec());
    assert_same(&folder, &place.path().join("out/photos"));
    let (a, b) = (
        fs::metadata(place.path().join("out/photos/hard-a")).unwrap(),
        fs::metadata(place.path().join("out/photos/sub/hard-b")).unwrap(),
    );
    assert_eq!(
        (a.dev(), a.ino()),
        (b.dev(), b.ino()),
        "hard links stay linked"
    );
    let sparse = fs::metadata(place.path().join("out/photos/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < sparse.len() / 2, "holes stay holes");
}

#[test]
fn nothing_changed_makes_no_snapshot_and_one_change_saves_one_file() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("docs");
    for i in 0..50 {
        write(&folder.join(format!("d{}/f{i}", i % 5)), &noise(i, 3000));
    }
    let home = Home::on_disk(&place.path().join("home"));
    let first = home.back_up(&[&folder]);
    assert!(first.is_new);
    assert_eq!(first.counts.files, 50);
    assert_eq!(first.counts.new_bytes, 150_000);
    let second = home.back_up(&[&folder]);
    assert!(!second.is_new);
    assert_eq!(second.snapshot, first.snapshot);
    assert_eq!(second.sealed_head, first.sealed_head);
    assert!(second.packs.is_empty());
    write(&folder.join("d1/f1"), &noise(99, 4000));
    fs::remove_file(folder.join("d2/f2")).unwrap();
    let third = home.back_up(&[&folder]);
    assert!(third.is_new);
    assert_eq!(third.counts.files, 49);
    assert_eq!(third.counts.new_bytes, 4000);
    home.restore(&place.path().join("out"));
    assert_same(&folder, &place.path().join("out/docs"));
}

#[test]
fn workers_make_the_same_packs_as_one_thread_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    for i in 0..20 {
        write(&folder.join(format!("small{i}")), &noise(i, 20_000));
    }
    for i in 0..5 {
        write(
            &folder.join(format!("large{i}")),
            &noise(100 + i, 5_000_000),
        );
    }
    write(&folder.join("long"), &noise(7, 20_000_000));
    let packs = |workers: usize| {
        let mut home = Home::on_disk(&place.path().join(format!("home{workers}")));
        home.workers = workers;
        let report = home.back_up(&[&folder]);
        home.verify(&folder);
        report.packs.iter().map(|pack| pack.id).collect::<Vec<_>>()
    };
    let alone = packs(0);
    assert!(alone.len() > 4);
    assert_eq!(alone, packs(2));
}

/// A pack is as new as its newest file; what was changed in the last day shares packs with nothing
/// older, and a file from the future is not newer than the backup.
#[test]
fn packs_know_how_new_their_files_are() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("photos");
    let home = Home::on_disk(&place.path().join("home"));
    let now = home::BEGIN;
    let now_ns = i64::try_from(now.0).unwrap() * 1_000_000;
    let mut recent_bytes = 0;
    for at in 0..24_u32 {
        let path = folder.join(format!("{at:02}"));
        let bytes = if at % 2 == 0 { 20_000 } else { 2_000_000 };
        write(&path, &noise(u64::from(at), bytes));
        let age = match at % 6 {
            0 | 1 => -DAY_NS,
            2 | 3 => DAY_NS / 2,
            _ => i64::from(at) * 30 * DAY_NS,
        };
        recent_bytes += if at % 6 < 4 { bytes as u64 } else { 0 };
        set_mtime(&path, now_ns - age);
    }
    let report = home.back_up(&[&folder]);
    let data = |pack: &&PackRecord| pack.kind != PackKind::Metadata;
    let (recent, old): (Vec<_>, Vec<_>) = (report.packs.iter().filter(data))
        .partition(|pack| now.since(pack.newest) < Span::hours(24));
    assert!(recent.iter().all(|pack| pack.newest == now), "{recent:?}");
    let month = Span::days(29);
    assert!(old.iter().all(|pack| now.since(pack.newest) > month));
    let sealed: u64 = recent.iter().map(|pack| u64::from(pack.bytes)).sum();
    assert!(
        sealed >= recent_bytes && sealed < recent_bytes * 5 / 4,
        "{sealed}"
    );
    assert!(!old.is_empty());
    home.verify(&folder);
}

#[test]
fn the_vaults_own_home_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("user");
    write(&folder.join("mine"), b"mine");
    let home = Home::on_disk(&folder.join("vault"));
    assert_eq!(home.back_up(&[&folder]).counts.files, 1);
    assert!(!home.back_up(&[&folder]).is_new);
}

#[test]
fn unreadable_files_are_listed_and_the_rest_is_saved() {
    let disk = MemDisk::new();
    let folder = Path::new("/data");
    disk.create_dir_all(folder).unwrap();
    for name in ["a", "b", "c"] {
        disk.write_file(&folder.join(name), name.as_bytes())
            .unwrap();
    }
    disk.fail_reads(&folder.join("b"), true).unwrap();
    let home = Home::in_memory(&disk);
    let report = home.back_up(&[folder]);
    assert_eq!((report.unread, report.counts.files), (1, 2));
    assert_eq!(report.notes[0].path, b"/data/b");
    disk.fail_reads(&folder.join("b"), false).unwrap();
    let report = home.back_up(&[folder]);
    assert_eq!((report.unread, report.counts.files), (0, 3));
}

#[test]
fn a_folder_that_is_not_there_stays_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    write(&one.join("a"), b"a");
    write(&two.join("b"), b"b");
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&one, &two]);
    fs::rename(&two, place.path().join("elsewhere")).unwrap();
    write(&one.join("c"), b"c");
    let report = home.back_up(&[&one, &two]);
    assert!(report.is_new);
    assert_eq!(report.notes[0].reason, Reason::RootGone);
    home.restore(&place.path().join("out"));
    assert_eq!(fs::read(place.path().join("out/two/b")).unwrap(), b"b");
    let gone = home.try_back_up(&[&place.path().join("never")]);
    assert!(matches!(gone, Err(BackupError::NothingRead)));
}

#[test]
fn large_packs_are_rebuilt_from_their_sources_and_never_wrongly() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("videos");
    write(&folder.join("a"), &noise(1, 3_000_000));
    write(&folder.join("b"), &noise(2, 3_000_000));
    let home = Home::on_disk(&place.path().join("home"));
    let report = home.back_up(&[&folder]);
    let large = report
        .packs
        .iter()
        .find(|p| p.kind == PackKind::Large)
        .unwrap();
    assert!(
        !home.spool.contains(large.id),
        "no second copy on this disk"
    );
    let rebuilder = Rebuilder::new();
    let bytes = rebuilder.pack(&home.context(), large.id).unwrap();
    assert_eq!(blake3::hash(&bytes).as_bytes(), large.id.as_bytes());
    rebuilder.clear();
    let view = home.catalogue.view().unwrap();
    let (ordinal, _) = view.pack_by_id(large.id).unwrap().unwrap();
    let siv = view.siv(ordinal).unwrap().unwrap();
    assert_eq!(
        siv.0,
        bytes[..32],
        "it is told by that whether it is the same"
    );
    drop(view);

    // One byte of one file changes: the pack is gone, the other file is saved again.
    let mut changed = fs::read(folder.join("a")).unwrap();
    changed[1_500_000] ^= 1;
    fs::write(folder.join("a"), changed).unwrap();
    let failed = rebuilder.pack(&home.context(), large.id);
    assert!(matches!(failed, Err(RebuildError::SourceChanged(_))));
    forget_broken(&home.context(), large.id).unwrap();
    let library = Library::new(&home.context()).unwrap();
    let old = library.snapshot(report.snapshot).unwrap();
    assert_eq!(library.lost_files(&old).unwrap(), 2);
    drop(library);
    let again = home.back_up(&[&folder]);
    assert!(again.is_new);
    assert_eq!(again.counts.new_bytes, 6_000_000);
    let library = Library::new(&home.context()).unwrap();
    assert_eq!(
        library.lost_files(&old).unwrap(),
        1,
        "the unchanged file is whole again"
    );
    drop(library);
    home.restore(&place.path().join("out"));
    assert_same(&folder, &place.path().join("out/videos"));
}

#[test]
fn shards_are_those_that_the_record_names() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("videos");
    write(&folder.join("a"), &noise(1, 2_000_000));
    let mut home = Home::on_disk(&place.path().join("home"));
    home.data_shards = 3;
    let report = home.back_up(&[&folder]);
    let large = report
        .packs
        .iter()
        .find(|p| p.kind == PackKind::Large)
        .unwrap();
    assert_eq!((large.coding.k, large.coding.n), (3, 8));
    let rebuilder = Rebuilder::new();
    for (index, id) in (0..).zip(&large.shards) {
        let shard = rebuilder.shard(&home.context(), large.id, index).unwrap();
        assert_eq!(blake3::hash(&shard).as_bytes(), id.as_bytes());
    }
    assert!(rebuilder.shard(&home.context(), large.id, 8).is_err());
}

#[test]
fn small_packs_beyond_the_spools_cap_rely_on_their_sources() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("docs");
    for i in 0..30 {
        write(&folder.join(format!("f{i}")), &noise(i, 10_000));
    }
    let home = Home::with_spool(&place.path().join("home"), 1000);
    let report = home.back_up(&[&folder]);
    let small = report
        .packs
        .iter()
        .find(|p| p.kind == PackKind::Small)
        .unwrap();
    assert!(!home.spool.contains(small.id));
    home.restore(&place.path().join("out"));
    assert_same(&folder, &place.path().join("out/docs"));
}

#[test]
fn existing_files_are_not_replaced_unless_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("docs");
    write(&folder.join("a"), b"ours");
    write(&folder.join("b"), b"ours");
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    let out = place.path().join("out");
    write(&out.join("docs/a"), b"theirs");
    let refused = home.try_restore(&out, b"/", false);
    assert!(matches!(
        refused,
        Err(RestoreError::Exists { count: 1, .. })
    ));
    assert_eq!(fs::read(out.join("docs/a")).unwrap(), b"theirs");
    assert!(!out.join("docs/b").exists(), "nothing was written");
    let report = home.try_restore(&out, b"/", true).unwrap();
    assert_eq!((report.files, report.skipped, report.failures), (2, 0, 0));
    assert_same(&folder, &out.join("docs"));
    let report = home.try_restore(&out, b"/", false).unwrap();
    assert_eq!(
        (report.files, report.skipped),
        (2, 2),
        "what is there is not written again"
    );
}

#[test]
fn part_of_a_snapshot_comes_back_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("docs");
    write(&folder.join("a/b/c"), b"c");
    write(&folder.join("a/d"), b"d");
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    let out = place.path().join("out");
    assert_eq!(
        home.try_restore(&out, b"/docs/a/b", false).unwrap().files,
        1
    );
    assert_eq!(fs::read(out.join("b/c")).unwrap(), b"c");
    assert!(!out.join("d").exists());
    assert!(home.try_restore(&out, b"/docs/nothing", false).is_err());
}

/// T24: a link in the target leads elsewhere, and the restore does not go there.
#[test]
fn links_in_the_target_lead_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("docs");
    write(&folder.join("sub/a"), b"ours");
    symlink("/etc", folder.join("zlink")).unwrap();
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    let (out, elsewhere) = (place.path().join("out"), place.path().join("elsewhere"));
    fs::create_dir_all(out.join("docs")).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    symlink(&elsewhere, out.join("docs/sub")).unwrap();
    let report = home.try_restore(&out, b"/", false).unwrap();
    assert!(report.failures >= 1);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(
        fs::read_link(out.join("docs/zlink")).unwrap(),
        Path::new("/etc")
    );
    // Asked to replace, it replaces the link itself.
    home.try_restore(&out, b"/", true).unwrap();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_same(&folder, &out.join("docs"));
}

#[test]
fn a_restore_that_was_cut_off_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    for i in 0..6 {
        let path = folder.join(format!("f{i}"));
        write(&path, &noise(i, 6_000_000));
        // The first is the newest: files come back in this order.
        let now = fs::metadata(&path).unwrap().mtime();
        set_mtime(
            &path,
            (now - 1000 * i64::try_from(i).unwrap()) * 1_000_000_000,
        );
    }
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    let out = place.path().join("out");
    let context = home.context();
    {
        let library = Library::new(&context).unwrap();
        let head = library.snapshots().unwrap().pop().unwrap();
        let record = library.snapshot(head.snapshot).unwrap();
        let plan = Plan::new(&library, &record, b"/").unwrap();
        let restorer = Restorer::new(plan, &out, false, &home.keys.chunk_key()).unwrap();
        let needed = restorer.needed();
        assert_eq!(needed.len(), 3);
        home.feed(&restorer, &needed[0]);
        // No finish: the process dies here.
    }
    let parts = || {
        let names = fs::read_dir(out.join("data")).unwrap();
        names
            .filter(|n| {
                n.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains(".part")
            })
            .count()
    };
    assert_eq!(
        parts(),
        1,
        "a file that was half written is there under another name"
    );
    let report = home.try_restore(&out, b"/", false).unwrap();
    assert_eq!((report.files, report.skipped, report.failures), (6, 2, 0));
    assert_eq!(parts(), 0);
    assert_same(&folder, &out.join("data"));
}

/// Of years of photos those of last week are missed first.
#[test]
fn a_restore_asks_for_what_was_changed_last_first() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let home = Home::on_disk(&place.path().join("home"));
    // The names say nothing of it: the newest comes neither first nor last among them.
    let day = 86_400_000_000_000;
    for (seed, name, age) in [(1, "a", 900), (2, "b", 3), (3, "c", 400)] {
        let path = folder.join(name);
        write(&path, &noise(seed, 6_000_000));
        let now = fs::metadata(&path).unwrap().mtime() * 1_000_000_000;
        set_mtime(&path, now - age * day);
        // Each in a backup and so in packs of its own.
        home.back_up(&[&folder]);
    }
    let context = home.context();
    let library = Library::new(&context).unwrap();
    let head = library.snapshots().unwrap();
    let head = head.iter().max_by_key(|head| head.time).unwrap();
    let record = library.snapshot(head.snapshot).unwrap();
    let plan = Plan::new(&library, &record, b"/").unwrap();
    let newest: Vec<_> = plan.packs().map(|pack| pack.newest).collect();
    assert!(newest.len() >= 3, "{newest:?}");
    assert!(newest.is_sorted_by(|one, next| one >= next), "{newest:?}");
    assert!(newest[0] > newest[newest.len() - 1]);
}

#[test]
fn packs_that_never_come_are_failures_and_the_rest_is_restored() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    write(&folder.join("large"), &noise(1, 1_000_000));
    write(&folder.join("small"), b"small");
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    let context = home.context();
    let library = Library::new(&context).unwrap();
    let head = library.snapshots().unwrap().pop().unwrap();
    let record = library.snapshot(head.snapshot).unwrap();
    let plan = Plan::new(&library, &record, b"/").unwrap();
    let out = place.path().join("out");
    let restorer = Restorer::new(plan, &out, false, &home.keys.chunk_key()).unwrap();
    for pack in restorer.needed() {
        if pack.kind == PackKind::Small {
            home.feed(&restorer, &pack);
        }
    }
    let report = restorer.finish();
    assert_eq!((report.files, report.failures), (1, 1));
    assert_eq!(report.failed[0].path, b"data/large");
    assert_eq!(
        fs::read_dir(out.join("data")).unwrap().count(),
        1,
        "no leftover"
    );
}

#[test]
fn a_new_device_learns_everything_from_a_head_and_a_friend() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let home = Home::on_disk(&place.path().join("home"));
    let mut reports = Vec::new();
    for day in 0..6 {
        write(
            &folder.join(format!("day{day}/photo")),
            &noise(day, 600_000),
        );
        write(
            &folder.join(format!("day{day}/note")),
            &noise(day + 50, 600),
        );
        reports.push(home.back_up(&[&folder]));
    }
    let friend = home.all_packs();
    let head = reports.last().unwrap().head.clone();
    let fresh = Home::on_disk(&place.path().join("fresh"));
    let mut rounds = 0;
    loop {
        let learnt = index::learn(&fresh.context(), &head).unwrap();
        for pack in &learnt.absent {
            index::keep(&fresh.context(), pack.id, &friend[&pack.id]).unwrap();
        }
        fresh.spool.sync().unwrap();
        rounds += 1;
        assert!(rounds < 6);
        if learnt.absent.is_empty() {
            assert!(learnt.is_usable);
            break;
        }
    }
    let library = Library::new(&fresh.context()).unwrap();
    let known: Vec<_> = library
        .snapshots()
        .unwrap()
        .iter()
        .map(|h| h.snapshot)
        .collect();
    let made: Vec<_> = reports.iter().map(|report| report.snapshot).collect();
    assert_eq!(known, made, "older snapshots are found along the parents");
    let record = library.snapshot(head.snapshot).unwrap();
    assert!(record.segments.len() <= 3, "segments are merged");
    let plan = Plan::new(&library, &record, b"/").unwrap();
    let out = place.path().join("out");
    let restorer = Restorer::new(plan, &out, false, &home.keys.chunk_key()).unwrap();
    for pack in restorer.needed() {
        home.feed(&restorer, &pack);
    }
    assert_eq!(restorer.finish().failures, 0);
    drop(library);
    assert_same(&folder, &out.join("data"));

    // The new device goes on where the old one ended, and lists nothing twice.
    write(&folder.join("day7/note"), b"new");
    let next = fresh.back_up(&[&folder]);
    assert_eq!(next.counts.new_bytes, 3);
    let library = Library::new(&fresh.context()).unwrap();
    let record = library.snapshot(next.snapshot).unwrap();
    assert_eq!(record.parent, Some(head.snapshot));
    let listed: u32 = record.segments.iter().map(|segment| segment.listed).sum();
    let packs = fresh.catalogue.packs().unwrap().len();
    assert!(listed as usize <= packs);
}

#[test]
fn bytes_that_are_not_the_pack_are_not_kept() {
    let place = tempfile::tempdir().unwrap();
    let home = Home::on_disk(&place.path().join("home"));
    let folder = place.path().join("data");
    write(&folder.join("a"), b"a");
    let report = home.back_up(&[&folder]);
    let fresh = Home::on_disk(&place.path().join("fresh"));
    let pack = report.head.packs[0].id;
    assert!(index::keep(&fresh.context(), pack, b"something else").is_err());
    assert!(!fresh.spool.contains(pack));
}

#[test]
fn a_lost_catalogue_is_remade() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    let home = Home::on_disk(&place.path().join("home"));
    let mut heads = Vec::new();
    for day in 0..3 {
        write(
            &folder.join(format!("day{day}/photo")),
            &noise(day, 700_000),
        );
        write(
            &folder.join(format!("day{day}/note")),
            &noise(day + 50, 600),
        );
        heads.push(home.back_up(&[&folder]).head);
    }
    home.remember(&folder);
    let (packs, snapshots) = (home.pack_ids(), home.catalogue.snapshots().unwrap());
    home.catalogue.clear().unwrap();
    let learnt = index::rebuild(&home.context(), &heads).unwrap();
    assert!(learnt.absent.is_empty());
    assert_eq!(home.pack_ids(), packs);
    assert_eq!(home.catalogue.snapshots().unwrap(), snapshots);
    assert_eq!(home.catalogue.roots().unwrap().len(), 1);
    assert!(!home.catalogue.needs_rebuild().unwrap());
    // Every pack can still be made here, large ones from their sources.
    home.verify(&folder);
    assert!(!home.back_up(&[&folder]).is_new);
}

#[test]
fn a_full_disk_ends_a_backup_with_a_sentence_and_the_next_one_goes_on() {
    let disk = MemDisk::new();
    let folder = Path::new("/data");
    disk.create_dir_all(folder).unwrap();
    for i in 0..40 {
        disk.write_file(&folder.join(format!("f{i}")), &noise(i, 50_000))
            .unwrap();
    }
    let home = Home::in_memory(&disk);
    disk.set_capacity(Some(disk.used() + 4096));
    let failed = home.try_back_up(&[folder]);
    assert!(matches!(failed, Err(BackupError::Full)), "{failed:?}");
    disk.set_capacity(None);
    let home = Home::in_memory(&disk);
    assert_eq!(home.back_up(&[folder]).counts.files, 40);
    home.verify(folder);
}

/// The power fails at many different operations; what was promised holds, and the next run ends.
#[test]
fn a_backup_cut_off_anywhere_goes_on() {
    let original = MemDisk::new();
    let folder = Path::new("/data");
    original.create_dir_all(folder).unwrap();
    for i in 0..30 {
        original
            .write_file(&folder.join(format!("f{i}")), &noise(i, 9_000))
            .unwrap();
    }
    original
        .write_file(&folder.join("large"), &noise(77, 900_000))
        .unwrap();
    let settled = |disk: &MemDisk| disk.crash(Survival::All);
    let operations = {
        let disk = settled(&original);
        let home = Home::in_memory(&disk);
        let before = disk.ops();
        home.back_up(&[folder]);
        disk.ops() - before
    };
    for at in (0..operations).step_by(usize::try_from(operations / 40).unwrap().max(1)) {
        let disk = settled(&original);
        let home = Home::in_memory(&disk);
        disk.freeze_after(disk.ops() + at);
        let mut promised = Vec::new();
        let _ = home.run(&[folder], &mut |pack| promised.push(pack.id));
        let disk = disk.crash(Survival::Synced);
        // What was not synced is gone, the folder too unless it was: write it again.
        let _ = disk.create_dir_all(folder);
        for name in original.list(folder).unwrap() {
            let content = original.read_file(&folder.join(&name)).unwrap();
            disk.write_file(&folder.join(&name), &content).unwrap();
        }
        let home = Home::in_memory(&disk);
        let rebuilder = Rebuilder::new();
        for pack in promised {
            rebuilder.pack(&home.context(), pack).unwrap();
        }
        let report = home.back_up(&[folder]);
        assert_eq!(report.counts.files, 31);
        home.verify(folder);
        assert!(!home.back_up(&[folder]).is_new);
        assert_eq!(home.stray_packs(), 0, "no leftover grows");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_saved_with_a_note() {
    let inner = MemDisk::new();
    let folder = Path::new("/data");
    inner.create_dir_all(folder).unwrap();
    inner
        .write_file(&folder.join("calm"), &noise(1, 4000))
        .unwrap();
    for (name, bytes) in [("small", 4000), ("medium", 400_000), ("long", 9_000_000)] {
        inner
            .write_file(&folder.join(name), &noise(2, bytes))
            .unwrap();
    }
    let restless = ["small", "medium", "long"]
        .map(|name| folder.join(name))
        .to_vec();
    let home = Home::restless(&inner, restless);
    let report = home.back_up(&[folder]);
    assert_eq!(report.counts.files, 4);
    let changing = report
        .notes
        .iter()
        .filter(|n| n.reason == Reason::Changing)
        .count();
    assert_eq!(changing, 3);
    assert_eq!(report.unread, 0);
}

#[derive(Clone, Debug)]
enum Thing {
    File {
        bytes: usize,
        seed: u64,
        mode: u32,
        mtime_ns: i64,
    },
    Directory {
        mode: u32,
    },
    Symlink {
        target: String,
    },
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (0_usize..40_000, any::<u64>(), 0_u32..0o1000, any::<i32>()).prop_map(
            |(bytes, seed, mode, time)| Thing::File {
                bytes,
                seed,
                mode: mode | 0o400,
                mtime_ns: i64::from(time) * 1_000_000_007,
            }
        ),
        1 => (300_000_usize..1_500_000, any::<u64>()).prop_map(|(bytes, seed)| Thing::File {
            bytes,
            seed,
            mode: 0o644,
            mtime_ns: 1_700_000_000_123_456_789,
        }),
        2 => (0_u32..0o1000).prop_map(|mode| Thing::Directory { mode: mode | 0o700 }),
        1 => "[a-z/.]{1,30}".prop_map(|target| Thing::Symlink { target }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_tree_comes_back(
        things in prop::collection::vec((any::<prop::sample::Index>(), "[^/\0]{1,40}", thing()), 0..25)
    ) {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("tree");
        fs::create_dir(&folder).unwrap();
        let mut directories = vec![folder.clone()];
        let mut modes: Vec<(PathBuf, u32)> = Vec::new();
        for (parent, name, thing) in things {
            let path = directories[parent.index(directories.len())].join(&name);
            if name == "." || name == ".." || path.symlink_metadata().is_ok() {
                continue;
            }
            match thing {
                Thing::File { bytes, seed, mode, mtime_ns } => {
                    fs::write(&path, noise(seed, bytes)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                    set_mtime(&path, mtime_ns);
                }
                Thing::Directory { mode } => {
                    fs::create_dir(&path).unwrap();
                    modes.push((path.clone(), mode));
                    directories.push(path);
                }
                Thing::Symlink { target } => symlink(target, &path).unwrap(),
            }
        }
        for (path, mode) in modes {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let home = Home::on_disk(&place.path().join("home"));
        let report = home.back_up(&[&folder]);
        prop_assert_eq!(report.noted, 0);
        let restored = home.restore(&place.path().join("out"));
        prop_assert_eq!(restored.failures, 0);
        assert_same(&folder, &place.path().join("out/tree"));
    }
}
