//! A drill tells whether what friends bring is what was saved.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(dead_code, reason = "every test program uses another part of the home")]

mod home;

use std::{collections::BTreeSet, fs, path::Path};

use carryall_core::{
    drill::Budget,
    id::PackId,
    pack::OpenPack,
    record::{PackKind, PackRecord},
};
use carryall_store::{
    browse::Library,
    drill::{Drill, DrillReport},
};
use home::Home;
use tempfile::TempDir;

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

/// A home with a snapshot of small and large files.
fn saved(place: &Path) -> Home {
    let folder = place.join("folder");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    for file in 0..12 {
        let name = ["", "deep", "deep/er"][file % 3];
        let bytes = if file % 4 == 0 { 3_000_000 } else { 20_000 };
        let content = noise(file as u64, bytes);
        fs::write(folder.join(name).join(format!("file-{file}")), content).unwrap();
    }
    fs::write(folder.join("empty"), b"").unwrap();
    let home = Home::on_disk(&place.join("home"));
    home.back_up(&[&folder]);
    home
}

fn planned(home: &Home, budget: Budget, is_there: &dyn Fn(PackId) -> bool) -> Drill {
    let context = home.context();
    let library = Library::new(&context).unwrap();
    let head = library.snapshots().unwrap().pop().unwrap();
    let mut state = 7_u64;
    let mut chance = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    Drill::new(&library, &head, budget, is_there, &mut chance).unwrap()
}

/// Friends bring what they were asked for, but for what `withheld` names.
fn brought(home: &Home, mut drill: Drill, withheld: &dyn Fn(&PackRecord) -> bool) -> DrillReport {
    let made = home.all_packs();
    let packs: Vec<PackRecord> = drill.packs().cloned().collect();
    for pack in packs.iter().filter(|pack| !withheld(pack)) {
        let keys = home.keys.pack_keys(pack.epoch).unwrap();
        let opened = OpenPack::open(&keys, made[&pack.id].clone()).unwrap();
        drill.feed(pack.id, &home.keys.chunk_key(), opened);
    }
    drill.finish(&home.keys.chunk_key())
}

const ALL: Budget = Budget {
    files: 100,
    bytes: 1 << 30,
};

#[test]
fn what_friends_bring_is_what_was_saved() {
    let place = TempDir::new().unwrap();
    let home = saved(place.path());
    let report = brought(&home, planned(&home, ALL, &|_| true), &|_| false);
    assert_eq!((report.files, report.failed.len()), (12, 0));
    assert_eq!(report.bytes, 3 * 3_000_000 + 9 * 20_000);
}

#[test]
fn what_does_not_come_fails() {
    let place = TempDir::new().unwrap();
    let home = saved(place.path());
    let drill = || planned(&home, ALL, &|_| true);
    let lists = |pack: &PackRecord| pack.kind == PackKind::Metadata;
    let report = brought(&home, drill(), &lists);
    assert_eq!(
        (report.files, report.failed.len()),
        (0, 12),
        "no list, no file"
    );
    let small = |pack: &PackRecord| pack.kind == PackKind::Small;
    let report = brought(&home, drill(), &small);
    assert!(report.files < 12 && report.files > 0, "{report:?}");
    assert_eq!(report.files + report.failed.len() as u64, 12);
}

#[test]
fn a_budget_is_kept_and_what_nobody_has_is_not_asked_for() {
    let place = TempDir::new().unwrap();
    let home = saved(place.path());
    let few = Budget { files: 3, ..ALL };
    let report = brought(&home, planned(&home, few, &|_| true), &|_| false);
    assert_eq!((report.files, report.failed.len()), (3, 0));
    let narrow = Budget {
        bytes: 2_000_000,
        ..ALL
    };
    let drill = planned(&home, narrow, &|_| true);
    let data = drill.packs().filter(|pack| pack.kind != PackKind::Metadata);
    assert!(data.map(|pack| u64::from(pack.bytes)).sum::<u64>() <= 2_000_000);

    let drill = planned(&home, ALL, &|_| true);
    let large = drill.packs().filter(|pack| pack.kind == PackKind::Large);
    let large: BTreeSet<PackId> = large.map(|pack| pack.id).collect();
    assert!(!large.is_empty());
    let drill = planned(&home, ALL, &|pack| !large.contains(&pack));
    assert!(drill.packs().all(|pack| !large.contains(&pack.id)));
    assert_eq!(planned(&home, ALL, &|_| false).packs().count(), 0);
}
