//! Whom this device met, and when: one append-only file.
//!
//! A file is the magic and then records: a length (two bytes, little-endian), the encoded meeting, and
//! the first four bytes of the BLAKE3 hash of both. A torn end is cut off on opening; damage before it
//! is passed over, since losing a meeting loses nobody's data. When there are too many records, the
//! file is written anew with whole meetings instead of their pieces, and without the oldest.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::{
    codec::DecodeError,
    habit::Habits,
    limits,
    meeting::{MEETING_BYTES_MAX, Meeting},
};
use thiserror::Error;

use crate::{
    disk::{Disk, DiskFile, Open, read_exact_at, replace},
    error::{At, DiskError},
};

/// First bytes of the file; the version follows.
const MAGIC: &[u8; 7] = b"CRYMEET";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Length and check of a record.
const FRAME_BYTES: usize = 2 + 4;
/// Most records before the file is written anew: then at least half of them are pieces, or too old.
const RECORDS_MAX: usize = 2 * limits::MEETINGS_MAX;
/// What lies beyond was not written by this program.
const FILE_BYTES_MAX: usize = HEADER_BYTES + 2 * RECORDS_MAX * (MEETING_BYTES_MAX + FRAME_BYTES);

/// Why the history can't be opened or written.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// A newer program wrote it.
    #[error(
        "the history {} has format version {found}, this program reads up to {known}",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The history of meetings.
#[derive(Debug)]
pub struct History {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// Nothing before the first meeting.
    file: Option<Box<dyn DiskFile>>,
    /// Where the next record goes.
    end: u64,
    records: usize,
    /// The name is on stable storage.
    named: bool,
    /// A failed append may have left bytes behind `end`.
    untidy: bool,
}

impl History {
    /// Opens the history.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, HistoryError> {
        let log = match disk.metadata(path) {
            Ok(_) => Log::open(&*disk, path, &mut |_| {})?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Log::default(),
            Err(error) => return Err(error).at("look at", path)?,
        };
        Ok(Self {
            disk,
            path: path.to_owned(),
            log: Mutex::new(log),
        })
    }

    /// Hands every meeting, or piece of one, to `each`, oldest first.
    pub fn read(&self, each: &mut dyn FnMut(Meeting)) -> Result<(), HistoryError> {
        let log = self.locked();
        match &log.file {
            Some(_) => Log::open(&*self.disk, &self.path, each).map(drop),
            None => Ok(()),
        }
    }

    /// Adds a meeting, or a piece of one; it is on stable storage when this returns. After an error the
    /// history is as it was.
    pub fn append(&self, meeting: &Meeting) -> Result<(), HistoryError> {
        let mut log = self.locked();
        if log.records >= RECORDS_MAX {
            *log = Self::compact(&*self.disk, &self.path)?;
        }
        log.append(&*self.disk, &self.path, meeting)?;
        Ok(())
    }

    /// Writes the file anew.
    fn compact(disk: &dyn Disk, path: &Path) -> Result<Log, HistoryError> {
        let mut habits = Habits::default();
        Log::open(disk, path, &mut |meeting| habits.add(meeting))?;
        let mut bytes = header();
        for meeting in habits.meetings() {
            put_record(&mut bytes, meeting);
        }
        replace(disk, path, &bytes)?;
        Log::open(disk, path, &mut |_| {})
    }

    fn locked(&self) -> MutexGuard<'_, Log> {
        // It changes only after the disk has done its part.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn open(
        disk: &dyn Disk,
        path: &Path,
        each: &mut dyn FnMut(Meeting),
    ) -> Result<Self, HistoryError> {
        let file = disk.open(path, Open::Write).at("open", path)?;
        let len = file.len().at("look at", path)?;
        let read = usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(FILE_BYTES_MAX);
        let mut bytes = vec![0; read];
        read_exact_at(&*file, &mut bytes, 0).at("read", path)?;
        let mut log = Self {
            file: Some(file),
            ..Self::default()
        };
        match bytes.split_at_checked(HEADER_BYTES) {
            Some((header, records)) if header.starts_with(MAGIC) => {
                let found = header[MAGIC.len()];
                if found > VERSION {
                    return Err(too_new(path, found.into(), VERSION.into()));
                }
                if found == VERSION {
                    log.scan(path, records, each)?;
                }
            }
            _ => {}
        }
        if let Some(file) = log.file.as_ref().filter(|_| log.end < len) {
            file.set_len(log.end).at("cut", path)?;
        }
        Ok(log)
    }

    /// Finds all good records; the end is behind the last of them.
    fn scan(
        &mut self,
        path: &Path,
        bytes: &[u8],
        each: &mut dyn FnMut(Meeting),
    ) -> Result<(), HistoryError> {
        let mut at = 0;
        self.end = HEADER_BYTES as u64;
        while at < bytes.len() {
            let Some(body) = record(&bytes[at..]) else {
                at += 1;
                continue;
            };
            match Meeting::from_bytes(body) {
                Ok(meeting) => each(meeting),
                Err(DecodeError::TooNew { found, known, .. }) => {
                    return Err(too_new(path, found, known));
                }
                // It was written so, and says nothing to us.
                Err(_) => {}
            }
            at += FRAME_BYTES + body.len();
            self.records += 1;
            self.end = (HEADER_BYTES + at) as u64;
        }
        Ok(())
    }

    fn append(&mut self, disk: &dyn Disk, path: &Path, meeting: &Meeting) -> Result<(), DiskError> {
        if self.file.is_none() {
            self.file = Some(disk.open(path, Open::Write).at("create", path)?);
            self.untidy = true;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        if self.untidy {
            file.set_len(self.end).at("cut", path)?;
            self.untidy = false;
        }
        let mut bytes = if self.end == 0 { header() } else { Vec::new() };
        put_record(&mut bytes, meeting);
        let named = self.named;
        let written = (|| {
            file.write_at(&bytes, self.end).at("write", path)?;
            file.sync().at("sync", path)?;
            match path.parent().filter(|_| !named) {
                Some(directory) => disk.sync_dir(directory).at("sync", directory),
                None => Ok(()),
            }
        })();
        if written.is_err() {
            // The next append tries again if this fails too.
            self.untidy = file.set_len(self.end).is_err();
        }
        written?;
        self.named = true;
        self.records += 1;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn too_new(path: &Path, found: u16, known: u16) -> HistoryError {
    let path = path.to_owned();
    HistoryError::TooNew { path, found, known }
}

fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &[VERSION]].concat()
}

fn put_record(bytes: &mut Vec<u8>, meeting: &Meeting) {
    let body = meeting.to_bytes();
    let len = u16::try_from(body.len()).expect("meetings are short");
    let word = len.to_le_bytes();
    bytes.extend_from_slice(&word);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&check(word, &body));
}

/// Returns the body of the record at the beginning of `bytes`, if a good one is there.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (word, rest) = bytes.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_le_bytes(*word));
    if len == 0 || len > MEETING_BYTES_MAX {
        return None;
    }
    let (body, rest) = rest.split_at_checked(len)?;
    let found = rest.first_chunk::<4>()?;
    (check(*word, body) == *found).then_some(body)
}

fn check(word: [u8; 2], body: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&word).update(body);
    let mut check = [0; 4];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    check
}
