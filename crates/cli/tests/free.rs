//! Files that friends hold leave this device and can still be looked at and put back; what friends don't
//! hold for sure stays. By the real program.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use circle::{Circle, Device, PATIENCE, PROGRAM, contents, noise, relative, snapshots};
use serde_json::Value;

const DAY: u64 = 24;

/// Makes a folder with files in it, large and small.
fn photos(circle: &Circle) -> PathBuf {
    let folder = circle.path("photos");
    for (name, seed, bytes) in [
        ("2025/a.jpg", 1, 3 << 20),
        ("2025/b.jpg", 2, 4 << 20),
        ("2026/c.jpg", 3, 2 << 20),
        ("2026/note.txt", 4, 5000),
        ("readme", 5, 300),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(seed, bytes)).unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns all reasons for which files stay.
fn reasons(report: &Value) -> String {
    let folders = report["folders"].as_array().unwrap().iter();
    let kept = folders.flat_map(|it| it["kept"].as_array().unwrap());
    let reasons: Vec<String> = kept.map(|it| it["reason"].to_string()).collect();
    reasons.join("\n")
}

fn refused(device: &Device, folder: &Path, reason: &str) {
    let before = contents(folder);
    for how in ["--dry-run", "--yes"] {
        let run = device.run(&["free", text(folder), how]);
        assert_eq!(run.code, Some(4), "{run:?}");
        let report = run.last();
        assert_eq!(report["files"], 0, "{report:#}");
        assert!(reasons(&report).contains(reason), "{report:#}");
    }
    assert!(contents(folder) == before, "nothing goes");
}

#[test]
fn what_friends_hold_leaves_and_comes_back() {
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let friends = ["ben", "cleo"].map(|name| circle.guest(&ada, name));
    let folder = photos(&circle);
    let before = relative(&folder);
    ada.ok(&["backup", text(&folder)]);
    ada.wait_settled();

    let dry = ada.ok(&["free", text(&folder), "--dry-run"]).last();
    assert_eq!(
        (&dry["files"], &dry["files_kept"]),
        (&5.into(), &0.into()),
        "{dry:#}"
    );
    assert_eq!(dry["bytes"], (9 << 20) + 5300);
    assert_eq!(dry["folders"].as_array().unwrap().len(), 3, "{dry:#}");
    ada.run(&["free", text(&folder)])
        .refused(2, "nobody can be asked");
    assert!(relative(&folder) == before);
    // What has changed since stays, and is named.
    let changed = folder.join("2026/note.txt");
    fs::write(&changed, "not saved yet").unwrap();
    let run = ada.run(&["free", text(&folder), "--yes"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let report = run.last();
    assert_eq!(report["files"], 4, "{report:#}");
    assert!(reasons(&report).contains("changed after the last backup"));
    assert!(report.to_string().contains("note.txt"), "{report:#}");
    assert_eq!(contents(&folder).len(), 1);
    fs::write(&changed, noise(4, 5000)).unwrap();

    // The next snapshots have it all the same, and need nothing that only this device had.
    ada.ok(&["backup"]);
    let status = ada.wait_settled();
    assert_eq!(status["bytes_only_here"], 0);
    assert_eq!(status["files_freed"], 4, "{status:#}");
    assert_eq!(status["bytes_freed"], (9 << 20) + 300);
    ada.stop();
    ada.start();
    ada.wait_until("among friends", |status| {
        let mut members = status["members"].as_array().unwrap().iter();
        members.all(|it| it["reachable"] == true)
    });
    let newest = ada.ok(&["snapshots"]).last();
    let newest = newest["snapshots"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(newest["files"], 5, "{newest:#}");
    #[cfg(target_os = "linux")]
    looked_at(&ada, &circle, &before[0].1);
    let to = circle.path("back");
    let run = ada.run(&["restore", "--to", text(&to)]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", ada.log());
    assert!(relative(&to.join("photos")) == before);

    // The same for whoever has nothing but the words.
    ada.kill();
    fs::remove_dir_all(&ada.home).unwrap();
    let mut again = circle.recover("again", &words, &friends[0]);
    again.start();
    let to = circle.path("back again");
    let run = again.run(&["restore", "--to", text(&to)]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", again.log());
    assert!(relative(&to.join("photos")) == before);
}

/// Reads the first photo through the mount, where this machine mounts anything.
#[cfg(target_os = "linux")]
fn looked_at(device: &Device, circle: &Circle, wanted: &[u8]) {
    let at = circle.path("window");
    fs::create_dir(&at).unwrap();
    if let Some(mount) = circle::mount::Mount::new(device, &at) {
        let photo = at.join("latest/photos/2025/a.jpg");
        assert!(fs::read(photo).unwrap() == wanted, "through the mount");
        mount.end();
    }
}

#[test]
fn the_last_safe_copy_stays() {
    let mut circle = Circle::new();
    let clock = circle.clock();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let folder = photos(&circle);
    ada.run(&["free", text(&folder)])
        .refused(1, "this device has made no backup yet");
    ada.ok(&["backup", text(&folder)]);
    refused(&ada, &folder, "nobody else is in your circle");
    let elsewhere = circle.path("elsewhere");
    ada.run(&["free", text(&elsewhere), "--yes"])
        .refused(2, "is not in the newest backup");
    let mut ben = circle.guest(&ada, "ben");
    ada.wait_settled();
    refused(&ada, &folder, "with a single friend");

    // A second friend who has said nothing yet, then one whose proofs have grown old.
    let mut cleo = circle.guest(&ada, "cleo");
    ada.wait_settled();
    let dry = ada.ok(&["free", text(&folder), "--dry-run"]).last();
    assert_eq!(dry["files"], 5, "{dry:#}");
    for friend in [&mut ben, &mut cleo] {
        friend.kill();
    }
    let Some(clock) = clock else { return };
    clock.set_ahead(40 * DAY);
    refused(&ada, &folder, "last proof is 40 days old");
}

#[test]
fn what_was_freed_can_be_let_go_and_its_snapshot_stays_until_then() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let _friends = ["ben", "cleo"].map(|name| circle.guest(&ada, name));
    let folder = photos(&circle);
    ada.ok(&["backup", text(&folder)]);
    ada.wait_settled();
    let of_2025 = folder.join("2025");
    ada.ok(&["free", text(&of_2025), "--yes"]);
    assert_eq!(contents(&of_2025).len(), 0);
    let listed = |device: &Device| {
        let list = device.ok(&["ls", "-r", "latest"]).stdout;
        list.lines().filter(|line| line.contains(".jpg")).count()
    };
    ada.ok(&["backup"]);
    assert_eq!(listed(&ada), 3);
    // One is put back at its place and deleted there after a backup: that one was meant.
    ada.ok(&[
        "restore",
        "latest:/photos/2025/a.jpg",
        "--to",
        text(&of_2025),
    ]);
    assert!(of_2025.join("a.jpg").exists());
    ada.ok(&["backup"]);
    fs::remove_file(of_2025.join("a.jpg")).unwrap();
    ada.ok(&["backup"]);
    assert_eq!(listed(&ada), 2);
    let gone = ada.ok(&["free", text(&folder), "--let-go"]).last();
    assert_eq!(gone["files_freed"], 1, "{gone:#}");
    ada.ok(&["backup"]);
    assert_eq!(listed(&ada), 1);
}

/// Runs `free` where somebody sits at a terminal and types an answer. Returns what is on it then, if there
/// is a program that makes one here.
fn typed(device: &Device, folder: &Path, answer: &str) -> Option<String> {
    let command = format!(
        "'{PROGRAM}' --home '{}' free '{}'",
        text(&device.home),
        text(folder)
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut keys = terminal.stdin.take().unwrap();
    keys.write_all(answer.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(keys);
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn who_is_asked_decides() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let _friends = ["ben", "cleo"].map(|name| circle.guest(&ada, name));
    let folder = photos(&circle);
    let before = contents(&folder);
    ada.ok(&["backup", text(&folder)]);
    ada.wait_settled();
    for answer in ["n\n", "\n", "what?\n"] {
        let Some(said) = typed(&ada, &folder, answer) else {
            eprintln!("skipped: the program script is not there");
            return;
        };
        assert!(
            said.contains("Remove 5 files (9.01 MiB) here? [y/N]"),
            "{said}"
        );
        assert!(said.contains("Nothing was changed."), "{said}");
        assert!(contents(&folder) == before, "{answer:?}");
    }
    let said = typed(&ada, &folder, "y\n").unwrap();
    assert!(said.contains("5 files freed, 9.01 MiB."), "{said}");
    assert_eq!(contents(&folder).len(), 0);
}

#[test]
fn the_snapshot_that_holds_what_was_freed_stays_though_another_device_made_a_newer_one() {
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let friends = ["ben", "cleo"].map(|name| circle.guest(&ada, name));
    let folder = photos(&circle);
    ada.ok(&["backup", text(&folder)]);
    ada.wait_settled();
    ada.ok(&["free", text(&folder), "--yes"]);
    let holder = snapshots(&ada).pop().unwrap();

    let mut other = circle.recover("desk", &words, &friends[0]);
    other.start();
    let notes = circle.path("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("lake.txt"), "the lake").unwrap();
    other.ok(&["backup", text(&notes)]);
    let started = Instant::now();
    while snapshots(&ada).last() == Some(&holder) {
        assert!(
            started.elapsed() < PATIENCE,
            "no news of the other's snapshot"
        );
        thread::sleep(Duration::from_millis(50));
    }
    let all = snapshots(&ada);
    for how in [&["forget", &holder][..], &["forget", &holder, "--dry-run"]] {
        ada.run(how).refused(2, "holds files that were freed here");
    }
    assert_eq!(snapshots(&ada), all);
    // Nor can the other device, which knows nothing of what was freed.
    assert!(snapshots(&other).contains(&holder));
    (other.run(&["forget", &holder])).refused(2, "the newest snapshot of each device stays");

    // The next one holds them, too, and the first may go.
    ada.ok(&["backup"]);
    ada.ok(&["forget", &holder]);
    assert!(!snapshots(&ada).contains(&holder));
    ada.ok(&["prune"]);
    let listed = ada.ok(&["ls", "-r", "latest"]).stdout;
    assert_eq!(listed.matches(".jpg\"").count(), 3, "{listed}");
    let to = circle.path("back");
    let run = ada.run(&["restore", "--to", text(&to)]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", ada.log());
    assert_eq!(contents(&to).len(), 5);
}
