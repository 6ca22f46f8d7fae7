//! Snapshots as folders, by the real program and the kernel's FUSE: after a loss, a photo is looked at
//! without bringing back the pack in which it lies.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use circle::{
    lost::Lost,
    mount::{Mount, can_mount, wait},
};

#[test]
fn a_photo_is_looked_at_and_its_pack_stays_where_it_is() {
    if !can_mount() {
        return;
    }
    let mut lost = Lost::new();
    let at = lost.circle.path("window");
    fs::create_dir(&at).unwrap();
    let place = at.to_str().unwrap();
    lost.again
        .run(&["mount", place])
        .refused(11, "no node is running");
    lost.again.start();
    let mounted = Mount::new(&lost.again, &at).unwrap();

    let photos = at.join("latest/photos");
    wait("listed", || photos.join("2026/summer").is_dir());
    let names: Vec<_> = fs::read_dir(photos.join("2026/summer")).unwrap().collect();
    assert_eq!(names.len(), 3);
    assert_eq!(
        fs::read_link(photos.join("notes")).unwrap(),
        Path::new("2026/notes.txt")
    );
    let lists = lost.packs_fetched();
    let photo = photos.join("2026/summer/1.jpg");
    let wanted = lost.content("2026/summer/1.jpg");
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
    assert_eq!(lost.packs_fetched(), lists, "no pack came for that");

    // Nothing can be changed, and what is not there is not there.
    assert!(fs::write(photos.join("2026/notes.txt"), "x").is_err());
    assert!(fs::remove_file(&photo).is_err());
    assert!(!photos.join("2026/winter").exists());
    mounted.end();
}
