//! Made-up photos: what a person's picture folder looks like to a backup, the same for every seed.
//!
//! The bytes are the output of a keyed BLAKE3 stream, so they compress as badly as real photos do.
//! Beside them lie the things that trip backups up: links, empty folders, odd names, odd modes.

use std::{
    ffi::OsString,
    fs::{self, File, FileTimes, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Smallest photo, in bytes.
const PHOTO_BYTES_MIN: u64 = 3 << 20;
/// Largest photo, in bytes.
const PHOTO_BYTES_MAX: u64 = 6 << 20;
/// Photos of one album.
const ALBUM_PHOTOS: u64 = 12;
/// Bytes made at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// When the first photo was taken: 2019-06-01T10:00:00Z.
const FIRST_TAKEN: Duration = Duration::from_secs(1_559_383_200);

/// What was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    /// Number of regular files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Makes photos of about `bytes` bytes in all under `root`, which must not exist yet.
pub(crate) fn make(root: &Path, seed: u64, bytes: u64) -> io::Result<Made> {
    let mut camera = Camera::new(seed);
    let mut folders = vec![root.to_path_buf()];
    fs::create_dir(root)?;
    let mut album = PathBuf::new();
    let mut photos = 0;
    while camera.made.bytes < bytes {
        if photos % ALBUM_PHOTOS == 0 {
            album = root.join(format!(
                "{} album {}",
                2019 + photos / 36,
                photos / ALBUM_PHOTOS
            ));
            fs::create_dir(&album)?;
            folders.push(album.clone());
        }
        let left = bytes - camera.made.bytes;
        let size = camera.between(PHOTO_BYTES_MIN, PHOTO_BYTES_MAX).min(left);
        let mode = [0o644, 0o600, 0o640, 0o444][usize::try_from(camera.below(4)).unwrap_or(0)];
        camera.write(&album.join(format!("IMG_{photos:04}.JPG")), size, mode)?;
        camera.write_sidecar(&album.join(format!("IMG_{photos:04}.json")), photos)?;
        photos += 1;
    }
    make_oddities(root, &mut camera, &mut folders)?;
    // Folders last, deepest first: writing into one changes its time.
    for (index, folder) in folders.iter().enumerate().rev() {
        let mode = if index % 3 == 2 { 0o700 } else { 0o755 };
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
        camera.date(&File::open(folder)?)?;
    }
    Ok(camera.made)
}

/// Makes links, empty folders and names that trip backups up.
fn make_oddities(root: &Path, camera: &mut Camera, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    let odd = root.join("odd ones");
    fs::create_dir(&odd)?;
    folders.push(odd.clone());
    for name in ["empty", "nothing/in here/either"] {
        let mut folder = odd.clone();
        for part in Path::new(name) {
            folder.push(part);
            fs::create_dir(&folder)?;
            folders.push(folder.clone());
        }
    }
    let mut names: Vec<OsString> = [
        "-rf",
        " spaces ",
        "two\nlines",
        "quote\"'`$(x)",
        "a\\b",
        "CON",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    names.push("\u{1f4f7} \u{e9}t\u{e9}.txt".into());
    names.push("e\u{301}te\u{301}.txt".into());
    names.push("long-".repeat(51).into());
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStringExt;
        names.push(OsString::from_vec(b"not-utf8-\xff\xfe".to_vec()));
    }
    for name in names {
        let size = camera.between(1, 20 << 10);
        camera.write(&odd.join(name), size, 0o644)?;
    }
    camera.write(&odd.join("nothing at all"), 0, 0o600)?;
    camera.write(&odd.join("script.sh"), 900, 0o755)?;
    camera.write(&odd.join("twin one"), 300 << 10, 0o644)?;
    fs::hard_link(odd.join("twin one"), odd.join("twin two"))?;
    camera.made.files += 1;
    symlink("script.sh", odd.join("link to script"))?;
    symlink("gone/for ever", odd.join("link to nothing"))?;
    symlink("link to itself", odd.join("link to itself"))?;
    symlink("..", odd.join("link to parent"))
}

/// Makes bytes, sizes and dates from a seed.
struct Camera {
    seed: u64,
    /// Streams drawn so far: each file has its own.
    streams: u64,
    numbers: blake3::OutputReader,
    block: Vec<u8>,
    made: Made,
}

impl Camera {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            streams: 0,
            numbers: stream(seed, 0),
            block: vec![0; BLOCK_BYTES],
            made: Made::default(),
        }
    }

    /// Returns a number below `end`, or zero. The bias of the remainder does no harm here.
    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.numbers.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end.max(1)
    }

    fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// Writes a file of `size` bytes that don't compress.
    fn write(&mut self, path: &Path, size: u64, mode: u32) -> io::Result<()> {
        self.streams += 1;
        let mut bytes = stream(self.seed, self.streams);
        let mut file = File::create_new(path)?;
        let mut left = size;
        while left > 0 {
            let take = self
                .block
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            bytes.fill(&mut self.block[..take]);
            file.write_all(&self.block[..take])?;
            left -= take as u64;
        }
        self.finish(&file, size, mode)
    }

    /// Writes what a gallery notes about a photo: small, and compressible.
    fn write_sidecar(&mut self, path: &Path, photo: u64) -> io::Result<()> {
        let text = format!(
            "{{\n  \"photo\": {photo},\n  \"iso\": {},\n  \"exposure_us\": {},\n  \"position\": [{}, {}],\n  \
             \"people\": [\"Ada\", \"Grace\"],\n  \"notes\": \"{}\"\n}}\n",
            100 << self.below(6),
            self.between(100, 40_000),
            self.below(180_000_000),
            self.below(90_000_000),
            "sunny ".repeat(usize::try_from(self.below(40)).unwrap_or(0)),
        );
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        self.finish(&file, text.len() as u64, 0o644)
    }

    fn finish(&mut self, file: &File, size: u64, mode: u32) -> io::Result<()> {
        self.made.files += 1;
        self.made.bytes += size;
        file.set_permissions(Permissions::from_mode(mode))?;
        self.date(file)
    }

    /// Gives a file or folder a time some years ago, with nanoseconds.
    fn date(&mut self, file: &File) -> io::Result<()> {
        let after = Duration::from_nanos(self.below(5 * 365 * 86_400 * 1_000_000_000));
        let taken = SystemTime::UNIX_EPOCH + FIRST_TAKEN + after;
        file.set_times(FileTimes::new().set_modified(taken))
    }
}

/// Returns the endless stream of bytes that a seed and a number stand for.
fn stream(seed: u64, number: u64) -> blake3::OutputReader {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&number.to_le_bytes());
    hasher.finalize_xof()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::portrait::Portrait;

    #[test]
    fn the_same_seed_makes_the_same_photos() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(&dir.path().join("a"), 7, 8 << 20).unwrap();
        make(&dir.path().join("b"), 7, 8 << 20).unwrap();
        make(&dir.path().join("c"), 8, 8 << 20).unwrap();
        assert!(made.bytes >= 8 << 20 && made.bytes < 10 << 20, "{made:?}");
        let [a, b, c] = ["a", "b", "c"].map(|name| Portrait::take(&dir.path().join(name)).unwrap());
        // Links have the time of their making.
        let same: Vec<_> = a
            .differences(&b)
            .into_iter()
            .filter(|d| !d.contains("link"))
            .collect();
        assert_eq!(same, Vec::<String>::new());
        assert!(!a.differences(&c).is_empty());
    }
}
