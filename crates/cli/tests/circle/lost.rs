//! Photos that are lost with the device that they were on, while friends have what was saved.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Circle, Device, noise, relative};

/// A place where that happened.
pub struct Lost {
    pub circle: Circle,
    /// The new device, whose node does not run yet.
    pub again: Device,
    /// Any two of the four made a pack; the first has left, and took a data shard with it.
    pub friends: Vec<Device>,
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Lost {
    /// Saves three photos, a note and a link to it, and loses them.
    pub fn new() -> Self {
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
        ada.save_and_lose(&folder);
        friends.remove(0).kill();
        let again = circle.recover("again", &words, &friends[0]);
        Self {
            circle,
            again,
            friends,
            before,
        }
    }

    /// Returns what was in a file.
    pub fn content(&self, name: &str) -> &[u8] {
        let mut files = self.before.iter();
        let found = files.find(|(path, _)| path == Path::new(name));
        &found.unwrap().1
    }

    /// Returns how many whole packs the new device has fetched.
    pub fn packs_fetched(&self) -> usize {
        let log = self.again.whole_log();
        log.matches("\"type\":\"fetched\"").count()
    }
}
