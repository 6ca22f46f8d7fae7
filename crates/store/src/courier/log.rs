//! Logs on a courier: records that are sealed one by one and only ever added. What follows the last
//! whole record is cut off by whoever adds next.

use std::{
    io,
    path::{Path, PathBuf},
};

use carryall_core::{
    codec::{decode, encode},
    courier::{Basis, DiskKey, RECORD_BYTES, RECORD_BYTES_MAX, Run, SealError, Shown},
    entry::SignedEntry,
    id::{DeviceId, MemberId},
    limits::FEEDS_MAX,
};

use super::{Courier, CourierError};
use crate::{
    disk::{Disk, DiskFile, Open, make_dir, read_exact_at, remove_if_there},
    error::{At, DiskError},
};

/// No log grows beyond this: FAT32 ends at 4 GiB.
const LOG_BYTES_MAX: u64 = 2 << 30;

/// Why there is no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// The file ends.
    Torn,
    /// What follows is no record of this log.
    Strange,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Torn,
            _ => Self::Strange,
        }
    }
}

/// A log that was read.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// Where it may be gone on.
    whole: u64,
    records: u64,
    /// It ends in the midst of a record: a pulled-out disk leaves that.
    torn: bool,
}

impl Log {
    /// Reads the whole records of a log; none if it is missing or can't be read.
    fn read(
        disk: &dyn Disk,
        key: &DiskKey,
        path: PathBuf,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Self {
        let mut log = Self {
            path,
            whole: 0,
            records: 0,
            torn: false,
        };
        if let Ok(file) = disk.open(&log.path, Open::Read) {
            loop {
                let next = log.next(&*file, key);
                log.torn = next.as_ref().is_err_and(|error| *error == Unread::Torn);
                let Ok((plain, end)) = next else { break };
                if !each(&plain) {
                    break;
                }
                log.whole = end;
                log.records += 1;
            }
        }
        log
    }

    /// Returns the next record and where it ends.
    fn next(&self, file: &dyn DiskFile, key: &DiskKey) -> Result<(Vec<u8>, u64), Unread> {
        let mut length = [0; 4];
        read_exact_at(file, &mut length, self.whole)?;
        let length = u32::from_le_bytes(length) as usize;
        if !(DiskKey::OVERHEAD..=RECORD_BYTES_MAX).contains(&length) {
            return Err(Unread::Strange);
        }
        let mut sealed = vec![0; length];
        read_exact_at(file, &mut sealed, self.whole + 4)?;
        let plain = key.open(&self.place(self.records), &sealed);
        let plain = plain.map_err(|SealError| Unread::Strange)?;
        Ok((plain, self.whole + 4 + length as u64))
    }

    /// Adds records and puts them on stable storage. Tells whether there was room in the log.
    fn append(
        &mut self,
        disk: &dyn Disk,
        key: &DiskKey,
        records: &[Vec<u8>],
    ) -> Result<bool, DiskError> {
        let mut bytes = Vec::new();
        for (at, plain) in (self.records..).zip(records) {
            let sealed = key.seal(&self.place(at), plain);
            let length = u32::try_from(sealed.len()).expect("records are short");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&sealed);
        }
        if self.whole + bytes.len() as u64 > LOG_BYTES_MAX {
            return Ok(false);
        }
        let path = &self.path;
        let directory = path.parent().unwrap_or(Path::new(""));
        make_dir(disk, directory)?;
        let fresh = disk.metadata(path).is_err();
        let file = disk.open(path, Open::Write).at("open", path)?;
        // A longer torn end may hold what looks like a record.
        if file.len().at("read", path)? > self.whole {
            file.set_len(self.whole).at("cut", path)?;
        }
        file.write_at(&bytes, self.whole).at("write", path)?;
        file.sync().at("sync", path)?;
        if fresh {
            disk.sync_dir(directory).at("sync", directory)?;
        }
        self.whole += bytes.len() as u64;
        self.records += records.len() as u64;
        Ok(true)
    }

    /// Returns what a record is bound to: the log and its number in it.
    fn place(&self, number: u64) -> Vec<u8> {
        let name = self.path.file_name().unwrap_or_default();
        let mut place = name.as_encoded_bytes().to_vec();
        place.extend_from_slice(&number.to_le_bytes());
        place
    }
}

/// The copy of one feed on a courier.
#[derive(Debug)]
pub struct FeedLog {
    log: Log,
    device: DeviceId,
    len: u64,
}

impl FeedLog {
    /// Returns whose feed it is.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Returns how many of the feed's entries lie there.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether none does.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What a holder left for an owner.
#[derive(Debug)]
pub struct ShownLog {
    log: Log,
    /// Why each of its records was made.
    pub bases: Vec<Basis>,
}

impl Courier {
    /// Reads all feeds and hands their entries to `each`, record by record. What does not belong there
    /// is told to `problem`.
    pub fn read_feeds(
        &self,
        each: &mut dyn FnMut(Vec<SignedEntry>),
        problem: &mut dyn FnMut(String),
    ) -> Result<Vec<FeedLog>, CourierError> {
        let directory = self.root.join("feeds");
        let Ok(names) = self.disk.list(&directory) else {
            return Ok(Vec::new());
        };
        let mut feeds = Vec::new();
        for name in names.into_iter().take(2 * FEEDS_MAX) {
            let mut found: Option<(DeviceId, u64)> = None;
            let log = Log::read(
                &*self.disk,
                &self.key,
                directory.join(&name),
                &mut |plain| {
                    let Ok(run) = decode::<Run>("run of a courier", plain) else {
                        return false;
                    };
                    let (device, len) = found.unwrap_or((run.device, 0));
                    if (run.device, run.from) != (device, len) {
                        return false;
                    }
                    found = Some((device, len + run.entries.len() as u64));
                    each(run.entries);
                    true
                },
            );
            match found {
                Some((device, len)) if self.small("feeds", device.as_bytes()) == log.path => {
                    feeds.push(FeedLog { log, device, len });
                }
                None if log.torn => {}
                _ => problem(format!(
                    "{} on the courier is no feed and was passed over",
                    Path::new(&name).display()
                )),
            }
        }
        Ok(feeds)
    }

    /// Begins the copy of a feed that is not there yet.
    pub fn new_feed(&self, device: DeviceId) -> FeedLog {
        FeedLog {
            log: Log {
                path: self.small("feeds", device.as_bytes()),
                whole: 0,
                records: 0,
                torn: false,
            },
            device,
            len: 0,
        }
    }

    /// Adds entries to the copy of a feed: those that follow the ones there.
    pub fn append_feed(
        &self,
        feed: &mut FeedLog,
        entries: Vec<SignedEntry>,
    ) -> Result<(), CourierError> {
        let count = entries.len() as u64;
        let (device, from) = (feed.device, feed.len);
        let record = encode(&Run {
            device,
            from,
            entries,
        });
        if feed.log.append(&*self.disk, &self.key, &[record])? {
            feed.len += count;
        }
        Ok(())
    }

    /// Reads what a holder left for an owner.
    pub fn read_shown(
        &self,
        holder: DeviceId,
        owner: MemberId,
        each: &mut dyn FnMut(Shown),
    ) -> ShownLog {
        let id = [holder.0, owner.0].concat();
        let mut bases = Vec::new();
        let path = self.small("shown", &id);
        let log = Log::read(&*self.disk, &self.key, path, &mut |plain| {
            let Ok(shown) = decode::<Shown>("what a holder shows", plain) else {
                return false;
            };
            bases.push(shown.basis);
            each(shown);
            true
        });
        ShownLog { log, bases }
    }

    /// Adds what a holder shows, in records of a bounded length. What finds no room is left out: it is
    /// asked for again.
    pub fn append_shown(&self, log: &mut ShownLog, shown: Shown) -> Result<(), CourierError> {
        let basis = shown.basis;
        let mut records = Vec::new();
        // A proof is a group of 16 KiB and its path.
        for proofs in shown.proofs.chunks(RECORD_BYTES / (17 << 10)) {
            let proofs = proofs.to_vec();
            records.push(encode(&Shown { basis, proofs }));
        }
        if log.log.append(&*self.disk, &self.key, &records)? {
            log.bases.push(basis);
        }
        Ok(())
    }

    /// Removes what a holder left, once its reader has used it.
    pub fn remove_shown(&self, log: ShownLog) -> Result<(), CourierError> {
        Ok(remove_if_there(&*self.disk, &log.log.path)?)
    }
}
