//! What differs between two snapshots, by real backups.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[allow(dead_code, reason = "the tests of backups use the rest")]
mod folder;
#[allow(dead_code, reason = "the tests of backups use the rest")]
mod home;

use std::{fs, os::unix::fs::PermissionsExt};

use carryall_core::record::TreeNode;
use carryall_store::{
    browse::{BrowseError, Library},
    difference::Difference::{self, Added, Changed, Dressed, Removed},
};
use folder::{noise, write};
use home::Home;

fn differences(home: &Home, path: &[u8]) -> Result<Vec<(Difference, String)>, BrowseError> {
    let context = home.context();
    let library = Library::new(&context)?;
    let mut heads = library.snapshots()?.into_iter().rev();
    let second = library.snapshot(heads.next().unwrap().snapshot)?;
    let first = library.snapshot(heads.next().unwrap().snapshot)?;
    let mut found = Vec::new();
    let mut note = |path: &[u8], difference, _: &TreeNode| {
        found.push((difference, String::from_utf8(path.to_vec()).unwrap()));
        true
    };
    library.differences((&first, &second), path, &mut note)?;
    Ok(found)
}

fn named(all: &[(Difference, &str)]) -> Vec<(Difference, String)> {
    all.iter()
        .map(|(it, path)| (*it, (*path).to_owned()))
        .collect()
}

#[test]
fn what_was_added_removed_and_changed_is_told_in_order() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    for name in ["a/same", "b/changed", "b/dressed", "c/gone/deep", "d"] {
        write(&folder.join(name), &noise(1, 5000));
    }
    let home = Home::on_disk(&place.path().join("home"));
    home.back_up(&[&folder]);
    write(&folder.join("b/changed"), &noise(2, 5000));
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.join("b/dressed"), mode).unwrap();
    fs::remove_dir_all(folder.join("c/gone")).unwrap();
    fs::remove_file(folder.join("d")).unwrap();
    write(&folder.join("d/now a folder"), b"x");
    home.back_up(&[&folder]);

    let all = named(&[
        (Changed, "/data/b/changed"),
        (Dressed, "/data/b/dressed"),
        (Removed, "/data/c/gone"),
        (Removed, "/data/c/gone/deep"),
        (Changed, "/data/d"),
        (Added, "/data/d/now a folder"),
    ]);
    assert_eq!(differences(&home, b"/").unwrap(), all);
    assert_eq!(differences(&home, b"/data/b").unwrap(), all[..2]);
    assert_eq!(differences(&home, b"/data/c/gone/deep").unwrap(), all[3..4]);
    assert!(differences(&home, b"/data/a").unwrap().is_empty());
    let missing = differences(&home, b"/data/none");
    assert!(matches!(missing, Err(BrowseError::NoPath(_))));
    // Touched, and the same all the same.
    write(&folder.join("a/same"), &noise(1, 5000));
    folder::set_mtime(&folder.join("a/same"), 9_000_000_000);
    home.back_up(&[&folder]);
    let touched = named(&[(Dressed, "/data/a/same")]);
    assert_eq!(differences(&home, b"/").unwrap(), touched);
}
