//! Previews of pictures that no backup has in memory: files too long for that, and those that were saved
//! before previews were wanted.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[allow(dead_code, reason = "the tests of backups use the rest")]
mod home;

use std::{io::Cursor, path::Path};

use carryall_core::record::NodeKind;
use carryall_store::{
    browse::Library,
    disk::{Disk, Open},
    mem_disk::MemDisk,
};
use home::Home;
use image::{ImageFormat, Rgb, RgbImage};

const PHOTOS: &str = "/photos";

/// A picture of noise, which no format makes shorter than its pixels.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut state = width;
    let picture = RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn write(disk: &MemDisk, name: &str, bytes: &[u8]) {
    disk.create_dir_all(Path::new(PHOTOS)).unwrap();
    let path = Path::new(PHOTOS).join(name);
    let file = disk.open(&path, Open::Write).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
}

/// Makes a backup. Returns whether there is a new snapshot.
fn back_up(home: &Home) -> bool {
    home.back_up(&[Path::new(PHOTOS)]).is_new
}

/// Returns the names of files in the newest snapshot that have a preview which can be seen.
fn previewed(home: &Home) -> Vec<String> {
    let context = home.context();
    let library = Library::new(&context).unwrap();
    let head = library.snapshots().unwrap().pop().unwrap();
    let record = library.snapshot(head.snapshot).unwrap();
    let mut found = Vec::new();
    let mut note = |path: &[u8], node: &carryall_core::record::TreeNode| {
        if let NodeKind::File {
            preview: Some(preview),
            ..
        } = node.kind
        {
            let name = path.rsplit(|it| *it == b'/').next().unwrap().to_vec();
            found.push((String::from_utf8(name).unwrap(), preview));
        }
        true
    };
    library.walk(&record, b"/", &mut note).unwrap();
    let seen = |(name, preview)| {
        let jpeg = library.preview(preview).unwrap();
        let shown = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).unwrap();
        assert_eq!(shown.width().max(shown.height()), 256);
        name
    };
    found.into_iter().map(seen).collect()
}

#[test]
fn a_picture_too_long_to_be_held_whole_has_a_preview_from_its_first_backup() {
    let disk = MemDisk::new();
    let home = Home::in_memory(&disk);
    let long = picture(2000, 1500);
    assert!(long.len() > 8 << 20, "{}", long.len());
    write(&disk, "long", &long);
    let mut broken = long.clone();
    broken[20..40].fill(0);
    write(&disk, "broken", &broken);
    assert!(back_up(&home));
    assert_eq!(previewed(&home), ["long"]);
    assert!(!back_up(&home), "nothing has changed");
    home.verify(Path::new(PHOTOS));
}

#[test]
fn pictures_from_before_get_their_previews_a_few_at_a_time_and_once() {
    let disk = MemDisk::new();
    let mut home = Home::in_memory(&disk);
    home.previews = false;
    // The least that may be read again: one file with each backup, whatever it is.
    home.late_bytes = 1;
    write(&disk, "a note", b"the lake");
    write(&disk, "broken", &picture(300, 200)[..100]);
    write(&disk, "lake", &picture(300, 200));
    write(&disk, "long", &picture(2000, 1500));
    write(&disk, "nothing", b"");
    assert!(back_up(&home));
    assert!(!back_up(&home), "no previews are wanted");
    assert_eq!(previewed(&home), [""; 0]);
    home.previews = true;
    for (is_new, seen) in [
        (false, &[][..]),
        (false, &[]),
        (true, &["lake"]),
        (true, &["lake", "long"]),
        (false, &["lake", "long"]),
    ] {
        assert_eq!(back_up(&home), is_new);
        assert_eq!(previewed(&home), seen);
    }
    home.verify(Path::new(PHOTOS));

    // What comes while none are wanted is not forgotten either.
    home.previews = false;
    write(&disk, "forest", &picture(400, 300));
    assert!(back_up(&home));
    home.previews = true;
    home.late_bytes = 1 << 20;
    assert!(back_up(&home));
    assert_eq!(previewed(&home), ["forest", "lake", "long"]);
    assert!(!back_up(&home));
}
