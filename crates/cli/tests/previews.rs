//! Previews of pictures, by the real program: what a picture shows can be seen when the picture itself is
//! gone and nobody is near.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{fs, io::Cursor, path::PathBuf, thread, time::Instant};

use circle::{Circle, Device, PATIENCE, web::Share};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

/// A picture of one colour with some noise in it, as a camera's is.
fn picture(red: u8) -> Vec<u8> {
    let mut state = u32::from(red) + 1;
    let picture = RgbImage::from_fn(1600, 1200, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 27) as u8;
        Rgb([red.saturating_add(noise), noise, 120])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Jpeg).unwrap();
    file.into_inner()
}

/// Returns how red a preview is, if it is one.
fn redness(preview: &[u8]) -> Option<u8> {
    let seen = image::load_from_memory_with_format(preview, ImageFormat::Jpeg).ok()?;
    let seen = seen.into_rgb8();
    (seen.dimensions() == (256, 192)).then(|| seen.get_pixel(128, 96)[0])
}

/// Returns what is in the folder of photos.
fn listed(device: &Device) -> Vec<Value> {
    let listed = device.ok(&["ls", "latest:/photos"]);
    let lines = listed.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Looks at some paths by WebDAV as one who wants to see previews.
fn look(device: &Device, paths: &[&str]) -> Vec<Vec<u8>> {
    let share = Share::new(device, &["--previews"]);
    let ask = |path: &&str| share.ask("GET", &format!("latest/{path}"), "").body;
    let seen = paths.iter().map(ask).collect();
    share.end();
    seen
}

#[test]
fn pictures_that_are_gone_are_seen_by_their_previews() {
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let mut bo = circle.guest(&ada, "bo");
    let folder = circle.path("photos");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lake.jpg"), picture(200)).unwrap();
    // What it is, is seen by what is in it.
    fs::write(folder.join("forest"), picture(40)).unwrap();
    fs::write(folder.join("broken.jpg"), &picture(90)[..300]).unwrap();
    fs::write(folder.join("notes.txt"), "the lake").unwrap();
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let previewed: Vec<Value> = (listed(&ada).into_iter())
        .filter(|line| line["preview"].as_u64().is_some_and(|bytes| bytes > 500))
        .map(|line| line["path"].clone())
        .collect();
    assert_eq!(previewed, ["/photos/forest", "/photos/lake.jpg"]);

    // Nothing of it is read anew, and the previews stay.
    fs::write(folder.join("more.txt"), "the shore").unwrap();
    ada.ok(&["backup"]);
    ada.save_and_lose(&folder);
    let mut again = circle.recover("again", &words, &bo);
    again.start();
    let started = Instant::now();
    while redness(&look(&again, &["photos/lake.jpg"])[0]).is_none() {
        assert!(started.elapsed() < PATIENCE, "no preview came");
        thread::sleep(std::time::Duration::from_millis(100));
    }
    // From here on nobody is near, and the other one is here all the same.
    bo.stop();
    let seen = look(&again, &["photos/lake.jpg", "photos/forest"]);
    let red = redness(&seen[0]).unwrap();
    assert!((185..=245).contains(&red), "{red}");
    let dark = redness(&seen[1]).unwrap();
    assert!((30..=80).contains(&dark), "{dark}");
}

/// Somebody who wants no previews, and their folder with one picture.
fn without_previews(circle: &Circle) -> (Device, PathBuf) {
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    ada.ok(&["config", "previews", "false"]);
    let folder = circle.path("photos");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lake.jpg"), picture(200)).unwrap();
    (ada, folder)
}

#[test]
fn pictures_that_were_saved_without_previews_get_theirs_later_and_once() {
    let circle = Circle::new();
    let (ada, folder) = without_previews(&circle);
    fs::write(folder.join("broken.jpg"), &picture(90)[..300]).unwrap();
    fs::write(folder.join("notes.txt"), "the lake").unwrap();
    let photos = folder.to_str().unwrap();
    // What is so fresh that it may change unseen is read again anyway.
    thread::sleep(std::time::Duration::from_millis(200));
    let first = ada.ok(&["backup", photos]).text("snapshot");
    ada.ok(&["config", "previews", "true"]);
    let second = ada.ok(&["backup", photos]).text("snapshot");
    assert_ne!(first, second);
    let drawn = listed(&ada);
    let drawn = drawn.iter().find(|line| line["path"] == "/photos/lake.jpg");
    assert!(drawn.unwrap()["preview"].as_u64() > Some(500));
    // To whoever compares, nothing has changed.
    let changes = ada.ok(&["diff", &first, &second]).stdout;
    assert!(!changes.contains("lake.jpg"), "{changes}");
    let third = ada.ok(&["backup", photos]).text("snapshot");
    assert_eq!(second, third);
}

#[test]
fn who_wants_no_previews_makes_none() {
    let circle = Circle::new();
    let (ada, folder) = without_previews(&circle);
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let listed = listed(&ada);
    assert!(listed.iter().any(|line| line["path"] == "/photos/lake.jpg"));
    assert!(listed.iter().all(|line| line["preview"].is_null()));
}
