//! One feed's file.

use std::{io, path::PathBuf};

use carryall_core::{
    codec::{decode, encode},
    entry::SignedEntry,
    id::EntryHash,
    limits::ENTRY_BYTES_MAX,
};

use crate::{
    disk::{Disk, DiskFile, Open, read_exact_at},
    error::At,
    feeds::FeedError,
};

/// First bytes of a feed's file; the version follows.
const MAGIC: &[u8; 7] = b"CRYFEED";
const VERSION: u8 = 1;
const HEADER_BYTES: u64 = 8;
/// In a record's length: the record belongs to the same append as the one before it.
const JOINED: u32 = 1 << 31;
/// Longest encoded entry: its bytes, their length and the signature.
const RECORD_BYTES_MAX: u32 = ENTRY_BYTES_MAX as u32 + 128;
/// The offset of every entry with a number divisible by this is remembered.
const MARK_EVERY: u64 = 64;
const WINDOW_BYTES: usize = 256 << 10;
const SECTOR_BYTES: u64 = 512;

#[derive(Debug)]
pub(super) struct Feed {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    /// Where the next record goes.
    end: u64,
    marks: Vec<u64>,
    tip: EntryHash,
    damaged: bool,
    /// The name is on stable storage.
    named: bool,
    /// It has entries that are not on stable storage.
    unsynced: bool,
    /// A failed append may have left bytes behind `end`.
    untidy: bool,
}

/// What lies at some offset of a feed's file.
enum Found {
    Record {
        entry: SignedEntry,
        joined: bool,
        next: u64,
    },
    Nothing,
    Bad,
}

impl Feed {
    /// Makes a new, empty feed.
    pub(super) fn create(disk: &dyn Disk, path: PathBuf) -> Result<Self, FeedError> {
        let file = disk.open(&path, Open::Write).at("create", &path)?;
        Ok(Self::at_start(path, file))
    }

    fn at_start(path: PathBuf, file: Box<dyn DiskFile>) -> Self {
        Self {
            path,
            file,
            len: 0,
            end: 0,
            marks: Vec::new(),
            tip: EntryHash::NONE,
            damaged: false,
            named: false,
            unsynced: false,
            untidy: false,
        }
    }

    /// Reads a feed once from front to back and cuts it where it isn't whole. Returns how many
    /// bytes were cut off, or are damaged if the feed is our own.
    pub(super) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        own: bool,
        each: &mut dyn FnMut(u64, SignedEntry),
    ) -> Result<(Self, u64), FeedError> {
        let file = disk.open(&path, Open::Write).at("open", &path)?;
        let mut feed = Self::at_start(path, file);
        feed.named = true;
        // A process may have died with entries that only the system's memory has.
        feed.unsynced = !own;
        let result = feed.scan(own, each);
        let file_len = feed.file.len().at("look at", &feed.path)?;
        match result {
            Ok(()) => {}
            Err(FeedError::Disk(error)) if own => return Err(error.into()),
            // Others' feeds can be had again, so an unreadable sector only costs the rest.
            Err(FeedError::Disk(_)) => {}
            Err(error) => return Err(error),
        }
        let rest = file_len - feed.end;
        if rest > 0 && !feed.damaged {
            feed.file.set_len(feed.end).at("cut", &feed.path)?;
        }
        if own && !feed.damaged {
            // What a killed process wrote may still be on its way to the disk.
            feed.file.sync().at("sync", &feed.path)?;
        }
        Ok((feed, rest))
    }

    fn scan(&mut self, own: bool, each: &mut dyn FnMut(u64, SignedEntry)) -> Result<(), FeedError> {
        let path = self.path.clone();
        let mut window = Window::new(&*self.file).at("read", &path)?;
        let header = window.get(0, HEADER_BYTES as usize).at("read", &path)?;
        match header.split_last_chunk::<1>() {
            Some((magic, &[VERSION])) if magic == MAGIC => {}
            Some((magic, &[found])) if magic == MAGIC && found > VERSION => {
                let known = VERSION;
                return Err(FeedError::TooNew { path, found, known });
            }
            _ => {
                self.damaged = own && window.append_behind(0).at("read", &path)?;
                return Ok(());
            }
        }
        self.end = HEADER_BYTES;
        let (mut end, mut len) = (self.end, 0_u64);
        let (mut marks, mut last) = (Vec::new(), None);
        let result = loop {
            match window.record(end) {
                Ok(Found::Record { entry, next, .. }) => {
                    if len.is_multiple_of(MARK_EVERY) {
                        marks.push(end);
                    }
                    last = Some(entry.clone());
                    each(len, entry);
                    (end, len) = (next, len + 1);
                }
                Ok(Found::Nothing) => break Ok(false),
                Ok(Found::Bad) if own => break window.is_damage(end),
                Ok(Found::Bad) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        drop(window);
        (self.end, self.len, self.marks) = (end, len, marks);
        self.tip = last.map_or(EntryHash::NONE, |entry| entry.hash());
        self.damaged = result.at("read", &path)?;
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn tip(&self) -> EntryHash {
        self.tip
    }

    pub(super) fn check(&self) -> Result<(), FeedError> {
        if self.damaged {
            let (path, kept) = (self.path.clone(), self.len);
            return Err(FeedError::OwnDamaged { path, kept });
        }
        Ok(())
    }

    /// Appends, durably if it is our own feed. After an error the feed is as it was.
    pub(super) fn append(
        &mut self,
        disk: &dyn Disk,
        entries: &[SignedEntry],
        own: bool,
    ) -> Result<u64, FeedError> {
        self.check()?;
        if self.untidy {
            self.tidy(own)?;
        }
        let mut bytes = Vec::new();
        if self.end == 0 {
            bytes.extend_from_slice(MAGIC);
            bytes.push(VERSION);
        }
        let mut offsets = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            offsets.push(self.end + bytes.len() as u64);
            put_record(&mut bytes, entry, index > 0);
        }
        if let Err(error) = self.write(disk, &bytes, own) {
            // Nobody has heard of these entries, so they may be taken back.
            self.untidy = true;
            let _ = self.tidy(own);
            return Err(error);
        }
        for offset in offsets {
            if self.len.is_multiple_of(MARK_EVERY) {
                self.marks.push(offset);
            }
            self.len += 1;
        }
        self.end += bytes.len() as u64;
        if let Some(last) = entries.last() {
            self.tip = last.hash();
        }
        Ok(self.len)
    }

    fn write(&mut self, disk: &dyn Disk, bytes: &[u8], own: bool) -> Result<(), FeedError> {
        self.file
            .write_at(bytes, self.end)
            .at("write", &self.path)?;
        self.unsynced = true;
        if own { self.settle(disk) } else { Ok(()) }
    }

    /// Puts what was appended on stable storage, if it isn't there.
    pub(super) fn settle(&mut self, disk: &dyn Disk) -> Result<(), FeedError> {
        if self.unsynced {
            self.file.sync().at("sync", &self.path)?;
        }
        if !self.named
            && let Some(directory) = self.path.parent()
        {
            disk.sync_dir(directory).at("sync", directory)?;
            self.named = true;
        }
        self.unsynced = false;
        Ok(())
    }

    /// Takes back what a failed append left.
    fn tidy(&mut self, own: bool) -> Result<(), FeedError> {
        self.file.set_len(self.end).at("cut", &self.path)?;
        if own {
            self.file.sync().at("sync", &self.path)?;
        }
        self.untidy = false;
        Ok(())
    }

    pub(super) fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<SignedEntry>, FeedError> {
        let to = to.min(self.len);
        let mut entries = Vec::new();
        let mark = usize::try_from(from / MARK_EVERY).ok();
        let Some(mut at) = mark.and_then(|mark| self.marks.get(mark).copied()) else {
            return Ok(entries);
        };
        let mut window = Window::new(&*self.file).at("read", &self.path)?;
        let (mut seq, mut bytes) = (from / MARK_EVERY * MARK_EVERY, 0);
        while seq < to {
            let Found::Record { entry, next, .. } = window.record(at).at("read", &self.path)?
            else {
                return Err(FeedError::Damaged(self.path.clone()));
            };
            if seq >= from {
                bytes += usize::try_from(next - at).unwrap_or(usize::MAX);
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            (at, seq) = (next, seq + 1);
        }
        Ok(entries)
    }
}

fn put_record(bytes: &mut Vec<u8>, entry: &SignedEntry, joined: bool) {
    let body = encode(entry);
    let len = u32::try_from(body.len()).expect("entries are bounded far below 4 GiB");
    let word = (len | if joined { JOINED } else { 0 }).to_le_bytes();
    bytes.extend_from_slice(&word);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&check(word, &body));
}

fn check(word: [u8; 4], body: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&word).update(body);
    let mut check = [0; 4];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    check
}

/// A buffer that moves along a file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    file_len: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            file,
            file_len: file.len()?,
            start: 0,
            buffer: Vec::new(),
        })
    }

    /// Returns `count` bytes at an offset, or what there is of them.
    fn get(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.file_len.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = count.min(left);
        let inside = at
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip + count <= self.buffer.len());
        if let Some(skip) = inside {
            return Ok(&self.buffer[skip..skip + count]);
        }
        self.buffer.resize(left.min(WINDOW_BYTES.max(count)), 0);
        self.start = at;
        if let Err(error) = read_exact_at(self.file, &mut self.buffer, at) {
            self.buffer.clear();
            return Err(error);
        }
        Ok(&self.buffer[..count])
    }

    fn record(&mut self, at: u64) -> io::Result<Found> {
        if at >= self.file_len {
            return Ok(Found::Nothing);
        }
        let Some(&word) = self.get(at, 4)?.first_chunk::<4>() else {
            return Ok(Found::Bad);
        };
        let len = u32::from_le_bytes(word) & !JOINED;
        if len == 0 || len > RECORD_BYTES_MAX {
            return Ok(Found::Bad);
        }
        let whole = len as usize + 8;
        let bytes = self.get(at, whole)?;
        let Some((body, found)) = bytes[4..].split_last_chunk::<4>() else {
            return Ok(Found::Bad);
        };
        if bytes.len() < whole || check(word, body) != *found {
            return Ok(Found::Bad);
        }
        Ok(match decode("entry", body) {
            Ok(entry) => Found::Record {
                entry,
                joined: u32::from_le_bytes(word) & JOINED != 0,
                next: at + whole as u64,
            },
            Err(_) => Found::Bad,
        })
    }

    /// Tells whether the bad record at `at` was once good: then it is damage. Otherwise a crash
    /// tore the last append, which nobody was told of.
    fn is_damage(&mut self, at: u64) -> io::Result<bool> {
        Ok(!self.looks_torn(at)? || self.append_behind(at + 1)?)
    }

    /// Tells whether the file ends inside the record at `at`, or has a sector in it that was
    /// never written. A flipped bit shows neither.
    fn looks_torn(&mut self, at: u64) -> io::Result<bool> {
        let left = self.file_len - at;
        if left <= 8 {
            return Ok(true);
        }
        let bytes = self.get(at, RECORD_BYTES_MAX as usize + 8)?.to_vec();
        if left <= bytes.len() as u64 {
            // The last record with a damaged length would be whole with the right one.
            let (body, found) = bytes[4..].split_at(bytes.len() - 8);
            let len = u32::try_from(body.len()).unwrap_or(0);
            let fits = |word: u32| check(word.to_le_bytes(), body) == *found;
            if fits(len) || fits(len | JOINED) {
                return Ok(false);
            }
        }
        let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let whole = u64::from(u32::from_le_bytes(word) & !JOINED) + 8;
        if whole > left {
            return Ok(true);
        }
        let mut from = 0;
        let record = &bytes[..bytes.len().min(whole as usize)];
        while from < record.len() {
            let sector_left = SECTOR_BYTES - (at + from as u64) % SECTOR_BYTES;
            let to = record.len().min(from + sector_left as usize);
            if record[from..to].iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            from = to;
        }
        Ok(false)
    }

    /// Tells whether a good record that began an append lies anywhere from `at` on. Then all before
    /// it had been synced.
    fn append_behind(&mut self, at: u64) -> io::Result<bool> {
        for at in at..self.file_len {
            if let Found::Record { joined: false, .. } = self.record(at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
