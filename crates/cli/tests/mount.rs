//! Snapshots as folders, by the real program and the kernel's FUSE: after a loss, a photo is looked at
//! without bringing back the pack in which it lies.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
};

use circle::{
    Circle, Device,
    mount::{Mount, can_mount, wait},
    noise, relative,
};

fn packs_fetched(device: &Device) -> usize {
    device.whole_log().matches("\"type\":\"fetched\"").count()
}

#[test]
fn a_photo_is_looked_at_and_its_pack_stays_where_it_is() {
    if !can_mount() {
        return;
    }
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let mut friends: Vec<Device> = ["bo", "cy", "di", "ed"]
        .map(|name| circle.guest(&ada, name))
        .into();
    let folder = circle.path("photos");
    fs::create_dir_all(folder.join("2026/summer")).unwrap();
    for file in 0..3 {
        let name = format!("2026/summer/{file}.jpg");
        fs::write(folder.join(name), noise(file, 4 << 20)).unwrap();
    }
    fs::write(folder.join("2026/notes.txt"), "the lake").unwrap();
    symlink("2026/notes.txt", folder.join("notes")).unwrap();
    let before = relative(&folder);
    ada.ok(&["backup", folder.to_str().unwrap()]);
    ada.wait_settled();
    ada.kill();
    fs::remove_dir_all(&ada.home).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    // Any two of the four make a pack: the first one takes a data shard with it.
    friends.remove(0).kill();

    let mut again = circle.recover("again", &words, &friends[0]);
    let at: PathBuf = circle.path("window");
    fs::create_dir(&at).unwrap();
    let place = at.to_str().unwrap();
    again
        .run(&["mount", place])
        .refused(11, "no node is running");
    again.start();
    let mounted = Mount::new(&again, &at).unwrap();

    let photos = at.join("latest/photos");
    wait("listed", || photos.join("2026/summer").is_dir());
    let names: Vec<_> = fs::read_dir(photos.join("2026/summer")).unwrap().collect();
    assert_eq!(names.len(), 3);
    assert_eq!(
        fs::read_link(photos.join("notes")).unwrap(),
        Path::new("2026/notes.txt")
    );
    let lists = packs_fetched(&again);
    let photo = photos.join("2026/summer/1.jpg");
    let wanted = &before
        .iter()
        .find(|(path, _)| path.ends_with("1.jpg"))
        .unwrap()
        .1;
    assert_eq!(photo.metadata().unwrap().len(), wanted.len() as u64);
    let mut middle = [0; 1000];
    File::open(&photo)
        .unwrap()
        .read_exact_at(&mut middle, 2_000_000)
        .unwrap();
    assert!(middle[..] == wanted[2_000_000..2_001_000]);
    assert!(fs::read(&photo).unwrap() == *wanted);
    assert_eq!(
        fs::read_to_string(photos.join("notes")).unwrap(),
        "the lake"
    );
    assert_eq!(packs_fetched(&again), lists, "no pack came for that");

    // Nothing can be changed, and what is not there is not there.
    assert!(fs::write(photos.join("2026/notes.txt"), "x").is_err());
    assert!(fs::remove_file(&photo).is_err());
    assert!(!photos.join("2026/winter").exists());
    mounted.end();
}
