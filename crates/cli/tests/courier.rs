//! A disk carried between two homes that never meet: data, receipts and proofs travel by it alone.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use circle::{Circle, Device, PATIENCE, carryall, contents, noise, relative};

/// Returns how often the node said that a courier is safe to unplug.
fn synced(device: &Device) -> usize {
    let log = device.whole_log();
    log.lines()
        .filter(|line| line.contains("\"courier_synced\""))
        .count()
}

/// Runs a node with the disk plugged in until all is done and `also` is true; it never meets anybody.
fn plug_in(device: &mut Device, disk: &Path, also: impl Fn(&Device) -> bool) {
    let (before, started) = (synced(device), Instant::now());
    let met = device.whole_log().matches("\"met\"").count();
    device.start_with(&["--path", disk.to_str().unwrap()]);
    while synced(device) == before || !also(device) {
        assert!(
            started.elapsed() < PATIENCE,
            "{}: {}",
            device.name,
            device.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
    device.stop();
    let now = device.whole_log().matches("\"met\"").count();
    assert_eq!(now, met, "nothing went over any network: {}", device.log());
}

/// Two members who know each other, and whose nodes are off.
fn two(circle: &Circle) -> (Device, Device) {
    let (ada, bo, _) = two_and_words(circle);
    (ada, bo)
}

/// The same, and the words of the first.
fn two_and_words(circle: &Circle) -> (Device, Device, String) {
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let mut bo = circle.guest(&ada, "bo");
    ada.wait_until("with bo", |status| status["members"][0]["petname"] == "bo");
    bo.wait_until("with ada", |status| {
        status["members"][0]["petname"] == "ada"
    });
    bo.stop();
    ada.stop();
    (ada, bo, words)
}

/// Makes a folder with 72 MiB, and an empty disk.
fn folder_and_disk(circle: &Circle) -> (PathBuf, PathBuf) {
    let (folder, disk) = (circle.path("docs"), circle.path("disk"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&disk).unwrap();
    for file in 0..6 {
        fs::write(folder.join(format!("{file}.bin")), noise(file, 12 << 20)).unwrap();
    }
    (folder, disk)
}

fn bytes_at_bo(ada: &Device) -> u64 {
    let status = ada.status();
    status["members"][0]["bytes_held_for_me"].as_u64().unwrap()
}

#[test]
fn a_first_backup_travels_by_disk() {
    let circle = Circle::new();
    let (mut ada, mut bo) = two(&circle);
    let (folder, disk) = folder_and_disk(&circle);
    fs::write(
        folder.join("needle.txt"),
        "needle in a haystack ".repeat(400),
    )
    .unwrap();

    let made = ada.ok(&[
        "courier",
        "init",
        disk.to_str().unwrap(),
        "--name",
        "blue disk",
    ]);
    assert_eq!(made.text("name"), "blue disk");
    let again = ada.run(&["courier", "init", disk.to_str().unwrap()]);
    again.refused(1, "there is a courier on this disk already");
    ada.run(&["backup", folder.to_str().unwrap()]);
    assert_eq!(ada.status()["safe"], false);

    plug_in(&mut ada, &disk, |_| true);
    assert!(size(&disk) > 72 << 20, "{}", size(&disk));
    tells_nothing(
        &disk,
        &["ada", "bo", "blue disk", "needle", "member", "parcel "],
    );
    assert_eq!(bytes_at_bo(&ada), 0, "a parcel is a hope, not a receipt");

    plug_in(&mut bo, &disk, |_| true);
    let kept = bo.status()["members"][0]["bytes_i_hold"].as_u64().unwrap();
    assert!(kept > 72 << 20, "{kept}");
    assert!(
        size(&disk) < 8 << 20,
        "what was taken is gone: {}",
        size(&disk)
    );
    assert_eq!(ada.status()["safe"], false, "nobody told her yet");

    plug_in(&mut ada, &disk, |_| true);
    let status = ada.status();
    assert_eq!(status["safe"], true, "{status:#}");
    assert_eq!(bytes_at_bo(&ada), kept);

    // What changes later travels the same way, and nothing goes twice.
    fs::write(folder.join("new.bin"), noise(77, 3 << 20)).unwrap();
    ada.run(&["backup", folder.to_str().unwrap()]);
    plug_in(&mut ada, &disk, |_| true);
    assert!(size(&disk) < 16 << 20, "{}", size(&disk));
    plug_in(&mut bo, &disk, |_| true);
    plug_in(&mut ada, &disk, |_| true);
    assert_eq!(ada.status()["safe"], true);
}

#[test]
fn a_removed_courier_is_refused() {
    let circle = Circle::new();
    let (mut ada, mut bo) = two(&circle);
    let disk = circle.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let path = disk.to_str().unwrap().to_owned();
    ada.ok(&["courier", "init", &path]);
    let list = ada.ok(&["courier", "list"]).last();
    assert_eq!(list["couriers"][0]["name"], "disk");
    assert_eq!(list["couriers"][0]["own"], true);
    plug_in(&mut ada, &disk, |_| true);
    plug_in(&mut bo, &disk, |_| true);
    let list = bo.ok(&["courier", "list"]).last();
    assert_eq!(list["couriers"][0]["petname"], "ada");
    bo.run(&["courier", "remove", "disk"])
        .refused(2, "you have no courier called 'disk'");

    ada.ok(&["courier", "remove", "disk"]);
    assert_eq!(
        ada.ok(&["courier", "list"]).last()["couriers"],
        serde_json::json!([])
    );
    refused(&mut ada, &path, "its owner removed it");
}

#[test]
fn a_strange_disk_is_refused_with_one_sentence() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    let (eve, _) = circle.founder("eve");
    let disk = circle.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let path = disk.to_str().unwrap().to_owned();
    eve.ok(&["courier", "init", &path]);
    let before = contents(&disk);
    refused(&mut ada, &path, "it belongs to another circle");
    let label = disk.join(".carryall-courier/label");
    let mut bytes = fs::read(&label).unwrap();
    bytes[7] = 9;
    fs::write(&label, &bytes).unwrap();
    refused(&mut ada, &path, "its format has version 9");
    bytes[7] = 1;
    fs::write(&label, &bytes).unwrap();
    assert_eq!(contents(&disk), before, "nothing was written");
}

/// Asserts that a node tells one sentence about the disk, and goes on.
fn refused(device: &mut Device, path: &str, part: &str) {
    let skip = device.whole_log().len();
    device.start_with(&["--path", path]);
    let started = Instant::now();
    let told = |device: &Device| {
        let log = device.whole_log()[skip..].to_owned();
        let told = log.lines().filter(|it| it.contains("\"courier_problem\""));
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    while told(device).is_empty() {
        assert!(started.elapsed() < PATIENCE, "{}", device.log());
        thread::sleep(Duration::from_millis(50));
    }
    device.status();
    device.stop();
    let told = told(device);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(part), "{told:?}");
}

fn size(dir: &Path) -> usize {
    contents(dir).iter().map(|(_, bytes)| bytes.len()).sum()
}

/// Asserts that no name and no content on a disk says any of this.
fn tells_nothing(disk: &Path, words: &[&str]) {
    for (path, bytes) in contents(disk) {
        for word in words {
            let found = bytes.windows(word.len()).any(|it| it == word.as_bytes());
            // Three bytes may stand anywhere by chance.
            assert!(!found || word.len() < 5, "{word:?} in {}", path.display());
            let name = path.file_name().unwrap().to_string_lossy();
            // So may three digits of a number, as "ada" in 217adaea.
            let digits = word.len() < 5 && word.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(digits || !name.contains(word), "{word:?} in {name}");
        }
    }
}

#[test]
fn a_disk_from_hostile_hands_costs_a_trip_and_nothing_else() {
    let circle = Circle::new();
    let (mut ada, mut bo) = two(&circle);
    let (folder, disk) = folder_and_disk(&circle);
    ada.ok(&["courier", "init", disk.to_str().unwrap()]);
    ada.run(&["backup", folder.to_str().unwrap()]);
    plug_in(&mut ada, &disk, |_| true);

    let root = disk.join(".carryall-courier");
    let large = |(path, bytes): (PathBuf, Vec<u8>)| (bytes.len() > 1 << 20).then_some(path);
    let parcels: Vec<_> = contents(&root.join("parcels"))
        .into_iter()
        .filter_map(large)
        .collect();
    assert!(parcels.len() >= 4, "{parcels:?}");
    let outside = circle.path("outside");
    fs::write(&outside, "not to be touched").unwrap();
    let mut bytes = fs::read(&parcels[0]).unwrap();
    bytes[1000] ^= 1;
    fs::write(&parcels[0], &bytes).unwrap();
    fs::remove_file(&parcels[1]).unwrap();
    symlink(&outside, &parcels[1]).unwrap();
    fs::remove_file(&parcels[2]).unwrap();
    let pipe = Command::new("mkfifo").arg(&parcels[2]).status().unwrap();
    assert!(pipe.success());
    fs::File::options()
        .write(true)
        .open(&parcels[3])
        .unwrap()
        .set_len(1 << 36)
        .unwrap();
    fs::write(root.join("feeds/rubbish"), noise(3, 1000)).unwrap();
    symlink(circle.path(""), root.join("parcels/zz")).unwrap();

    let skip = bo.whole_log().len();
    plug_in(&mut bo, &disk, |_| true);
    let log = bo.whole_log()[skip..].to_owned();
    let told: Vec<_> = log
        .lines()
        .filter(|it| it.contains("\"courier_problem\""))
        .collect();
    let count = |part: &str| told.iter().filter(|it| it.contains(part)).count();
    assert_eq!(count("does not hold shard"), 1, "{told:?}");
    assert_eq!(count("is not a file of its length"), 3, "{told:?}");
    assert_eq!(count("is no feed"), 1, "{told:?}");
    assert_eq!(told.len(), 5, "{told:?}");
    let kept = bo.status()["members"][0]["bytes_i_hold"].as_u64().unwrap();
    assert!(kept > 1 << 20, "what is sound is taken: {kept}");
    assert_eq!(fs::read(&outside).unwrap(), b"not to be touched");

    plug_in(&mut ada, &disk, |_| true);
    assert_eq!(ada.status()["safe"], false);
    plug_in(&mut bo, &disk, |_| true);
    plug_in(&mut ada, &disk, |_| true);
    assert_eq!(ada.status()["safe"], true);
    assert_eq!(fs::read(&outside).unwrap(), b"not to be touched");
}

/// The house is gone, the disk was elsewhere: it tells its owner whom to meet, and nobody else anything.
#[test]
fn the_words_and_a_disk_know_the_way_home() {
    let circle = Circle::new();
    let (mut ada, mut bo, words) = two_and_words(&circle);
    let (folder, disk) = folder_and_disk(&circle);
    let at = disk.to_str().unwrap();
    ada.ok(&["courier", "init", at]);
    ada.run(&["backup", folder.to_str().unwrap()]);
    for device in [&mut ada, &mut bo] {
        plug_in(device, &disk, |_| true);
    }
    plug_in(&mut ada, &disk, |ada| ada.status()["safe"] == true);
    let before = relative(&folder);
    for lost in [&ada.home, &folder] {
        fs::remove_dir_all(lost).unwrap();
    }

    let (_, other) = circle.founder("cleo");
    let mut again = circle.device("again");
    again
        .run_with(&["recover", "--courier", at], &format!("{other}\n"))
        .refused(1, "did not make it");
    let nothing = circle.path("nothing");
    fs::create_dir(&nothing).unwrap();
    again
        .run_with(
            &["recover", "--courier", nothing.to_str().unwrap()],
            &format!("{words}\n"),
        )
        .refused(1, "");
    assert!(!again.home.join("identity").exists());

    again.ok_with(&["recover", "--courier", at], &format!("{words}\n"));
    again.start_with(&["--path", at]);
    let started = Instant::now();
    loop {
        let run = again.run(&["retrace"]);
        if run.code == Some(0) && run.last()["packs"].as_u64() > Some(0) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{run:?}\n{}", again.log());
        thread::sleep(Duration::from_millis(100));
    }
    // Nobody was met so far.
    assert!(!again.log().contains("\"met\""), "{}", again.log());
    bo.start();
    let to = circle.path("back");
    restore(&again, &to);
    assert_eq!(relative(&to.join("docs")), before);
}

/// What friends have not taken yet lies on the disk: it is told where, and the disk alone brings it back.
#[test]
fn what_travels_is_told_and_comes_back_from_the_disk_alone() {
    let circle = Circle::new();
    let (mut ada, mut bo, words) = two_and_words(&circle);
    let (folder, disk) = folder_and_disk(&circle);
    let at = disk.to_str().unwrap();
    ada.ok(&["courier", "init", at, "--name", "blue disk"]);
    ada.run(&["backup", folder.to_str().unwrap()]);
    plug_in(&mut ada, &disk, |_| true);
    let status = ada.status();
    let travels = &status["members"][0]["on_couriers"];
    assert_eq!(travels[0]["name"], "blue disk", "{status:#}");
    assert!(travels[0]["bytes"].as_u64() > Some(72 << 20), "{status:#}");
    assert_eq!(status["bytes_safe"], 0, "a disk at home is no other place");
    let words_of = |ada: &Device| {
        let run = carryall(&["--home", ada.home.to_str().unwrap(), "status"], "");
        run.stdout
    };
    let told = words_of(&ada);
    assert!(
        told.contains("on the courier blue disk, on the way to bo"),
        "{told}"
    );

    // A copy of the disk, as it was when it left home.
    let copy = circle.path("copy");
    copy_folder(&disk, &copy);
    plug_in(&mut bo, &disk, |_| true);
    plug_in(&mut ada, &disk, |ada| ada.status()["safe"] == true);
    let status = ada.status();
    assert_eq!(status["members"][0]["on_couriers"], serde_json::json!([]));
    assert!(!words_of(&ada).contains("blue disk"));

    let before = relative(&folder);
    for lost in [&ada.home, &folder] {
        fs::remove_dir_all(lost).unwrap();
    }
    let at = copy.to_str().unwrap();
    let mut again = circle.device("again");
    again.ok_with(&["recover", "--courier", at], &format!("{words}\n"));
    again.start_with(&["--path", at]);
    let started = Instant::now();
    let retrace = loop {
        let run = again.run(&["retrace"]);
        if run.code == Some(0) && run.last()["stops"][0]["bytes"].as_u64() > Some(72 << 20) {
            break run.last();
        }
        assert!(started.elapsed() < PATIENCE, "{run:?}\n{}", again.log());
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(retrace["stops"][0]["whose"], "the courier blue disk");
    let headline = retrace["headline"].as_str().unwrap();
    let way = "You can plug in the courier blue disk.";
    assert!(headline.ends_with(way), "{headline}");
    let to = circle.path("back");
    restore(&again, &to);
    assert_eq!(relative(&to.join("docs")), before);
    assert!(!again.log().contains("\"met\""), "{}", again.log());
}

/// Restores everything. What says which files there were comes first; until it is here a restore says so.
fn restore(device: &Device, to: &Path) {
    let started = Instant::now();
    loop {
        let run = device.run(&["restore", "--to", to.to_str().unwrap()]);
        if run.code == Some(0) {
            return;
        }
        assert!(matches!(run.code, Some(5 | 11)), "{run:?}");
        assert!(started.elapsed() < PATIENCE, "{run:?}\n{}", device.log());
        thread::sleep(Duration::from_millis(500));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for (path, bytes) in relative(from) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
