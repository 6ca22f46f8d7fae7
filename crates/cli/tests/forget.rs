//! Snapshots are forgotten by rules and by name, and what none needs is given up, by the real program.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use circle::{Circle, noise, snapshots};

#[test]
fn what_is_forgotten_is_pruned_into_a_friends_trash_and_comes_back() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let _ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    fs::write(folder.join("old.bin"), noise(1, 2 << 20)).unwrap();
    ada.ok(&["backup", &path]);
    // What goes is kept by a friend first.
    ada.wait_settled();
    fs::remove_file(folder.join("old.bin")).unwrap();
    fs::write(folder.join("new.bin"), noise(2, 1 << 20)).unwrap();
    ada.ok(&["backup", &path]);
    ada.wait_settled();
    let before = snapshots(&ada);
    assert_eq!(before.len(), 2);

    // No rule drops what is new.
    let rules = ada.ok(&["forget", "--keep-last", "1"]).last();
    assert_eq!(rules["forgotten"], 0, "{rules:#}");
    ada.run(&["forget"]).refused(2, "nothing says what to keep");
    ada.run(&["forget", &before[1]])
        .refused(2, "the newest snapshot of each device stays");
    let named = ada.ok(&["forget", &before[0], "--dry-run"]).last();
    assert_eq!(named["forgotten"], 1, "{named:#}");
    assert_eq!(snapshots(&ada), before);
    ada.ok(&["forget", &before[0]]);
    assert_eq!(snapshots(&ada), before[1..]);

    let dry = ada.ok(&["prune", "--dry-run"]).last();
    assert!(dry["bytes_at_friends"].as_u64() > Some(2 << 20), "{dry:#}");
    let done = ada.ok(&["prune"]).last();
    assert_eq!(done["bytes_at_friends"], dry["bytes_at_friends"]);
    assert_eq!(ada.ok(&["prune", "--dry-run"]).last()["packs"], 0);

    let undone = ada.ok(&["prune", "--undo"]).last();
    assert_eq!(undone["remembered"], 1, "{undone:#}");
    assert_eq!(snapshots(&ada), before);
    let to = circle.path("back");
    let run = ada.run(&["restore", &before[0], "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", ada.log());
    let back = fs::read(to.join("docs/old.bin")).unwrap();
    assert!(back == noise(1, 2 << 20));

    // By itself the node drops nothing new either.
    ada.run(&["config", "keep_daily", "often"])
        .refused(2, "it is how many to keep");
    ada.ok(&["config", "keep_last", "1"]);
    fs::write(folder.join("more.bin"), noise(3, 1 << 10)).unwrap();
    ada.ok(&["backup", &path]);
    ada.wait_settled();
    assert_eq!(snapshots(&ada).len(), 3);
}
