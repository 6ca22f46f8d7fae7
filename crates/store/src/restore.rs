//! Writes a snapshot back to disk: [`Plan`] first, then packs in any order, then [`Restorer::finish`].
//!
//! A pack is used up when it arrives: each of its chunks goes to its place in its file, and the pack
//! can go. So memory is bounded by the packs that the caller has in hand. Nothing is written outside
//! the target, nothing that exists is replaced unless asked for, and what can't be written is listed
//! while the rest is restored. Run again, a restore skips what is already there.

mod plan;
mod target;

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use carryall_core::{
    id::{ChunkId, PackId},
    key::ChunkKey,
    pack::OpenPack,
    record::PackRecord,
};
use rustix::io::Errno;
use thiserror::Error;

pub use self::plan::Plan;
use self::{
    plan::{PlannedFile, Write},
    target::{DirectoryNumber, Existing, Part, Target},
};
use crate::browse::BrowseError;

/// Runs of zeros at least this long are left out of a file and become holes.
const HOLE_BYTES_MIN: usize = 64 << 10;
/// Failures listed one by one; the rest is counted.
const LISTED_MAX: usize = 1000;

/// Why one thing could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A name with a slash or a zero byte, an empty one, `.` or `..`: nothing writes such a tree.
    #[error("its name is not a file name")]
    BadName,
    /// The file system takes no such long name or path.
    #[error("its name is too long for the target's file system")]
    NameTooLong,
    /// Another name that the file system takes for the same is there: they differ in case only.
    #[error("the target's file system holds another file under what it takes for the same name")]
    NameTaken,
    /// A file or link lies where a directory belongs.
    #[error("something that is not a directory lies in its way")]
    NotDirectory,
    /// The file system takes no such name.
    #[error("the target's file system does not take its name")]
    NameRefused,
    /// The system denies it.
    #[error("permission denied")]
    Denied,
    /// There is no room.
    #[error("there is no room left on the target's disk")]
    Full,
    /// The file would be longer than the file system can have.
    #[error("the target's file system does not take files this long")]
    TooLong,
    /// The content changed before anybody had it; no pack has it.
    #[error("its content changed before any friend had it")]
    Lost,
    /// The tree contradicts itself or the pack does not hold what the index says.
    #[error("its record is damaged")]
    Damaged,
    /// The packs that have its content did not come.
    #[error("not all of its content arrived")]
    Incomplete,
    /// Another error of the system, by number.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    System(i32),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::EXIST | Errno::ISDIR => Self::NameTaken,
            Errno::NOTDIR | Errno::LOOP => Self::NotDirectory,
            Errno::ILSEQ | Errno::INVAL => Self::NameRefused,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::NOSPC | Errno::DQUOT => Self::Full,
            Errno::FBIG => Self::TooLong,
            other => Self::System(other.raw_os_error()),
        }
    }
}

/// One thing that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its path relative to the target, raw bytes.
    pub path: Vec<u8>,
    /// Why.
    pub why: Failure,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.escape_ascii(), self.why)
    }
}

/// Why a restore did not begin or can't go on.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The snapshot's trees can't be read, or not yet.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The target can't be made or opened.
    #[error("cannot open the target {}: {source}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files in the target differ from those to be restored.
    #[error(
        "{count} files that differ are already in the target, {} among them; nothing was written; \
         restore to an empty directory, or say --overwrite",
        first.escape_ascii()
    )]
    Exists {
        /// One of them, relative to the target.
        first: Vec<u8>,
        /// How many.
        count: u64,
    },
    /// The disk is full; what is complete stays, and a second run goes on.
    #[error(
        "there is no room left on the target's disk; make room and run the restore again to go on"
    )]
    Full,
    /// The pack was not asked for.
    #[error("pack {} is not part of this restore", .0.short())]
    NotAsked(PackId),
    /// More than four thousand million files or directories.
    #[error("the snapshot has too many files for one restore; restore its folders one by one")]
    TooMany,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files that are in place, those found there included.
    pub files: u64,
    /// Of those, the ones that were found complete.
    pub skipped: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What could not be restored: at most a thousand of them.
    pub failed: Vec<Failed>,
    /// How many could not be restored.
    pub failures: u64,
}

/// A restore under way. Packs may be fed from several threads.
#[derive(Debug)]
pub struct Restorer {
    plan: Plan,
    target: Target,
    overwrite: bool,
    /// Where each pack is in the plan.
    numbers: BTreeMap<PackId, usize>,
    /// Chunks that each file still waits for.
    missing: Vec<AtomicU32>,
    /// Files that failed or were found complete: nothing more is written to them.
    closed: Vec<AtomicBool>,
    full: AtomicBool,
    outcome: Mutex<RestoreReport>,
    bytes: AtomicU64,
}

impl Restorer {
    /// Makes the directories and empty files. Files that are already there, by length and time,
    /// are skipped.
    ///
    /// # Errors
    /// [`RestoreError::Exists`] before anything is written, if the target has differing files of the
    /// same names and `overwrite` is not set.
    pub fn new(plan: Plan, target: &Path, overwrite: bool) -> Result<Self, RestoreError> {
        let opened = Target::open(target).map_err(|source| RestoreError::Target {
            path: target.to_path_buf(),
            source,
        })?;
        let numbers = plan
            .packs
            .iter()
            .enumerate()
            .map(|(number, pack)| (pack.record.id, number))
            .collect();
        let missing = plan
            .files
            .iter()
            .map(|f| AtomicU32::new(f.chunks))
            .collect();
        let closed = plan.files.iter().map(|_| AtomicBool::new(false)).collect();
        let mut restorer = Self {
            plan,
            target: opened,
            overwrite,
            numbers,
            missing,
            closed,
            full: AtomicBool::new(false),
            outcome: Mutex::new(RestoreReport::default()),
            bytes: AtomicU64::new(0),
        };
        restorer.list_planned_failures();
        let found = restorer.look()?;
        restorer.make_directories();
        restorer.skip(&found);
        restorer.make_empty_files();
        Ok(restorer)
    }

    /// Returns the packs that are still to be fed, in the order in which they are best brought.
    pub fn needed(&self) -> Vec<PackRecord> {
        let wanted = |write: &Write| !self.closed[write.file as usize].load(Ordering::Acquire);
        self.plan
            .packs
            .iter()
            .filter(|pack| pack.writes.iter().any(wanted))
            .map(|pack| pack.record.clone())
            .collect()
    }

    /// Returns how many bytes all files have, and how many of them are in place.
    pub fn progress(&self) -> (u64, u64) {
        (self.plan.bytes(), self.bytes.load(Ordering::Relaxed))
    }

    /// Returns how many files are in place.
    pub fn files_done(&self) -> u64 {
        self.lock().files
    }

    /// Writes all that a pack contributes. A pack must be fed once.
    ///
    /// # Errors
    /// [`RestoreError::Full`] when going on is pointless; other failures are listed in the report.
    pub fn feed(&self, id: &PackId, key: &ChunkKey, pack: &OpenPack) -> Result<(), RestoreError> {
        let number = *self.numbers.get(id).ok_or(RestoreError::NotAsked(*id))?;
        let planned = &self.plan.packs[number];
        let positions: BTreeMap<ChunkId, usize> = pack
            .chunks()
            .iter()
            .enumerate()
            .map(|(position, chunk)| (chunk.id, position))
            .collect();
        let source = Source {
            key,
            pack,
            positions,
        };
        for writes in planned.writes.chunk_by(|a, b| a.file == b.file) {
            let file = writes[0].file;
            if self.closed[file as usize].load(Ordering::Acquire) {
                continue;
            }
            if let Err(why) = self.write(file, writes, &source) {
                self.close_failed(file, why);
            }
            if self.full.load(Ordering::Relaxed) {
                return Err(RestoreError::Full);
            }
        }
        Ok(())
    }

    /// Makes links, gives the directories their times and reports. Files that are not complete by
    /// now are failures.
    pub fn finish(self) -> RestoreReport {
        for file in 0..self.plan.files.len() {
            if !self.closed[file].load(Ordering::Acquire) {
                self.close_failed(index(file), Failure::Incomplete);
            }
        }
        self.make_links();
        self.make_symlinks();
        for number in (1..self.plan.directories.len()).rev() {
            let number = index(number);
            let directory = self.plan.directory(number);
            let dressed = self
                .handle(number)
                .and_then(|fd| self.target.finish_directory(&fd, &directory.attributes));
            if let Err(why) = dressed {
                self.fail(directory.parent, &directory.name, why);
            }
        }
        let mut report = self
            .outcome
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        report.bytes = self.bytes.into_inner();
        report
    }

    fn handle(&self, number: DirectoryNumber) -> Result<Arc<OwnedFd>, Failure> {
        let plan = &self.plan;
        self.target.directory(number, &|number| {
            let directory = plan.directory(number);
            (directory.parent, &*directory.name)
        })
    }

    fn file(&self, number: u32) -> &PlannedFile {
        &self.plan.files[number as usize]
    }

    fn list_planned_failures(&mut self) {
        for failed in std::mem::take(&mut self.plan.failed) {
            self.list(failed);
        }
    }

    /// Looks at what the target has before anything is written. Returns the files that are there
    /// as they should be.
    fn look(&self) -> Result<Vec<u32>, RestoreError> {
        let mut present = Vec::new();
        let mut differing = None;
        let mut count = 0;
        // A directory that isn't there has nothing in it: most often that is all of them.
        let mut there: Vec<bool> = Vec::with_capacity(self.plan.directories.len());
        for (number, directory) in self.plan.directories.iter().enumerate() {
            let parent_is_there = number == 0 || there[directory.parent as usize];
            there.push(parent_is_there && self.handle(index(number)).is_ok());
        }
        for (number, file) in self.plan.files.iter().enumerate() {
            if !there[file.directory as usize] {
                continue;
            }
            let existing = self
                .handle(file.directory)
                .and_then(|directory| self.target.existing(&directory, &file.name));
            match existing {
                Ok(Existing::File { bytes, mtime_ns })
                    if bytes == file.bytes && mtime_ns == file.attributes.mtime_ns =>
                {
                    present.push(index(number));
                }
                Ok(Existing::Nothing) | Err(_) => {}
                Ok(_) => {
                    count += 1;
                    differing.get_or_insert((file.directory, &file.name));
                }
            }
        }
        match differing {
            Some((directory, name)) if !self.overwrite => Err(RestoreError::Exists {
                first: self.plan.path(directory, name),
                count,
            }),
            _ => Ok(present),
        }
    }

    fn make_directories(&self) {
        for number in 1..self.plan.directories.len() {
            let number = index(number);
            let directory = self.plan.directory(number);
            let made = self.handle(directory.parent).and_then(|parent| {
                let made = self.target.make_directory(&parent, &directory.name);
                if self.overwrite && made == Err(Failure::NotDirectory) {
                    self.target.remove(&parent, &directory.name)?;
                    return self.target.make_directory(&parent, &directory.name);
                }
                made
            });
            match made {
                Ok(is_new) if !is_new => self.remove_parts(number),
                Ok(_) => {}
                // What is below it fails too, one by one, each with this reason.
                Err(why) => self.fail(directory.parent, &directory.name, why),
            }
        }
        self.remove_parts(0);
    }

    /// Removes what an earlier run left half written in a directory that was already there.
    fn remove_parts(&self, number: DirectoryNumber) {
        if let Ok(directory) = self.handle(number) {
            // A leftover that can't be removed fails its file when that is opened.
            let _ = self.target.remove_parts(&directory);
        }
    }

    fn skip(&self, found: &[u32]) {
        let mut outcome = self.lock();
        for &number in found {
            self.closed[number as usize].store(true, Ordering::Release);
            outcome.files += 1;
            outcome.skipped += 1;
            self.bytes
                .fetch_add(self.file(number).bytes, Ordering::Relaxed);
        }
    }

    fn make_empty_files(&self) {
        for (number, file) in self.plan.files.iter().enumerate() {
            if file.chunks > 0 || self.closed[number].load(Ordering::Acquire) {
                continue;
            }
            let number = index(number);
            let made = self.handle(file.directory).and_then(|directory| {
                let part = self.target.part(&directory, &file.name, 0)?;
                self.complete(number, &directory, part)
            });
            if let Err(why) = made {
                self.close_failed(number, why);
            }
        }
    }

    /// Writes what one pack contributes to one file.
    fn write(&self, number: u32, writes: &[Write], source: &Source<'_>) -> Result<(), Failure> {
        let file = self.file(number);
        let directory = self.handle(file.directory)?;
        let part = self.target.part(&directory, &file.name, file.bytes)?;
        let mut written = 0;
        for write in writes {
            let position = source.positions.get(&write.chunk).ok_or(Failure::Damaged)?;
            let content = source
                .pack
                .chunk(source.key, *position)
                .map_err(|_| Failure::Damaged)?;
            write_sparsely(&part, &content, write.offset)?;
            written += content.len() as u64;
        }
        self.bytes.fetch_add(written, Ordering::Relaxed);
        let done = u32::try_from(writes.len()).unwrap_or(u32::MAX);
        // Whoever writes the last chunk completes the file, and sees what the others wrote.
        if self.missing[number as usize].fetch_sub(done, Ordering::AcqRel) == done {
            self.complete(number, &directory, part)?;
        }
        Ok(())
    }

    fn complete(&self, number: u32, directory: &OwnedFd, part: Part) -> Result<(), Failure> {
        let file = self.file(number);
        self.target.finish(
            directory,
            &file.name,
            part,
            &file.attributes,
            self.overwrite,
        )?;
        self.closed[number as usize].store(true, Ordering::Release);
        self.lock().files += 1;
        Ok(())
    }

    fn make_links(&self) {
        for link in &self.plan.links {
            let first = self.file(link.file);
            let made = self.handle(link.directory).and_then(|directory| {
                let from = self.handle(first.directory)?;
                match self.target.existing(&from, &first.name)? {
                    Existing::File { .. } => {}
                    _ => return Err(Failure::Incomplete),
                }
                match self.target.existing(&directory, &link.name)? {
                    Existing::Nothing => {}
                    Existing::File { bytes, mtime_ns }
                        if bytes == first.bytes && mtime_ns == first.attributes.mtime_ns =>
                    {
                        return Ok(());
                    }
                    _ if self.overwrite => self.target.remove(&directory, &link.name)?,
                    _ => return Err(Failure::NameTaken),
                }
                self.target
                    .hard_link((&from, &first.name), &directory, &link.name)
            });
            match made {
                Ok(()) => self.lock().files += 1,
                Err(why) => self.fail(link.directory, &link.name, why),
            }
        }
    }

    /// Makes symbolic links after all else, so that none can have been followed.
    fn make_symlinks(&self) {
        for link in &self.plan.symlinks {
            let made = self.handle(link.directory).and_then(|directory| {
                match self.target.existing(&directory, &link.name)? {
                    Existing::Nothing => {}
                    Existing::Symlink { target } if *target == *link.target => return Ok(()),
                    Existing::Directory => return Err(Failure::NameTaken),
                    _ if self.overwrite => self.target.remove(&directory, &link.name)?,
                    _ => return Err(Failure::NameTaken),
                }
                self.target
                    .symlink(&directory, &link.name, &link.target, &link.attributes)
            });
            if let Err(why) = made {
                self.fail(link.directory, &link.name, why);
            }
        }
    }

    /// Gives a file up: its failure is listed once, and nothing more is written to it.
    fn close_failed(&self, number: u32, why: Failure) {
        if self.closed[number as usize].swap(true, Ordering::AcqRel) {
            return;
        }
        if why == Failure::Full {
            self.full.store(true, Ordering::Relaxed);
        }
        let file = self.file(number);
        if let Ok(directory) = self.handle(file.directory) {
            // Failing to remove a leftover is no second failure of this file.
            let _ = self.target.remove_part(&directory, &file.name);
        }
        self.fail(file.directory, &file.name, why);
    }

    fn fail(&self, directory: DirectoryNumber, name: &[u8], why: Failure) {
        self.list(Failed {
            path: self.plan.path(directory, name),
            why,
        });
    }

    fn list(&self, failed: Failed) {
        let mut outcome = self.lock();
        outcome.failures += 1;
        if outcome.failed.len() < LISTED_MAX {
            outcome.failed.push(failed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RestoreReport> {
        // Counters and a list: no state in between that a panic could leave behind.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An opened pack, prepared for look-ups.
struct Source<'a> {
    key: &'a ChunkKey,
    pack: &'a OpenPack,
    positions: BTreeMap<ChunkId, usize>,
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("the planner refuses more than fit")
}

/// Writes `content`, leaving out long runs of zeros: the file was made of nothing else.
fn write_sparsely(part: &Part, content: &[u8], offset: u64) -> Result<(), Failure> {
    if content.len() < HOLE_BYTES_MIN {
        return part.write_at(content, offset);
    }
    let mut from = 0;
    let mut at = 0;
    // A run of that length covers at least one whole aligned piece of half of it.
    for piece in content.chunks(HOLE_BYTES_MIN / 2) {
        let is_zero = piece.iter().all(|&byte| byte == 0);
        if is_zero {
            if from < at {
                part.write_at(&content[from..at], offset + from as u64)?;
            }
            from = at + piece.len();
        }
        at += piece.len();
    }
    if from < at {
        part.write_at(&content[from..at], offset + from as u64)?;
    }
    Ok(())
}
