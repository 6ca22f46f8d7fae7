//! Writes a snapshot back to disk: [`Plan`] first, then packs in any order, then [`Restorer::finish`].
//!
//! A pack is used up when it arrives: each of its chunks goes to its place in its file, and the pack
//! can go. So memory is bounded by the packs that the caller has in hand. Nothing is written outside
//! the target, nothing that exists is replaced unless asked for, and what can't be written is listed
//! while the rest is restored. Run again, a restore skips what is already there, and goes on with the
//! files of which some is.

mod plan;
mod report;
mod resume;
mod target;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::Path,
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

pub use self::{
    plan::Plan,
    report::{Failed, Failure, RestoreError, RestoreReport},
};
use self::{
    plan::{PlannedFile, Write},
    resume::Left,
    target::{DirectoryNumber, Existing, Part, Target},
};

/// Blocks of this length that are all zeros are left out of a file and become holes.
const HOLE_BYTES: usize = 64 << 10;
/// Failures listed one by one; the rest is counted.
const LISTED_MAX: usize = 1000;

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
    /// are skipped; of those that an earlier run did not complete, what it wrote is checked and kept.
    ///
    /// # Errors
    /// [`RestoreError::Exists`] before anything is written, if the target has differing files of the
    /// same names and `overwrite` is not set.
    pub fn new(
        plan: Plan,
        target: &Path,
        overwrite: bool,
        key: &ChunkKey,
    ) -> Result<Self, RestoreError> {
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
        let left = restorer.make_directories();
        restorer.skip(&found);
        restorer.resume(left, key);
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

    /// Makes the directories. Returns the incomplete files that an earlier run left in them.
    fn make_directories(&self) -> Vec<Left> {
        let mut left = Vec::new();
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
                Ok(is_new) if !is_new => self.find_parts(number, &mut left),
                Ok(_) => {}
                // What is below it fails too, one by one, each with this reason.
                Err(why) => self.fail(directory.parent, &directory.name, why),
            }
        }
        self.find_parts(0, &mut left);
        left
    }

    fn find_parts(&self, number: DirectoryNumber, left: &mut Vec<Left>) {
        // What can't be listed fails its files when they are opened.
        let names = self.handle(number).and_then(|it| self.target.parts(&it));
        left.extend(names.into_iter().flatten().map(|name| (number, name)));
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
    for (start, end) in filled(content, offset) {
        part.write_at(&content[start..end], offset + start as u64)?;
    }
    Ok(())
}

/// Returns the stretches of `content` that aren't holes: a hole is made of whole blocks of
/// [`HOLE_BYTES`], as they lie in the file.
fn filled(content: &[u8], offset: u64) -> Vec<(usize, usize)> {
    let mut filled: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let into_block = usize::try_from((offset + at as u64) % HOLE_BYTES as u64).unwrap_or(0);
        let end = content.len().min(at + HOLE_BYTES - into_block);
        let is_hole = end - at == HOLE_BYTES && content[at..end].iter().all(|&byte| byte == 0);
        match filled.last_mut() {
            _ if is_hole => {}
            Some(last) if last.1 == at => last.1 = end,
            _ => filled.push((at, end)),
        }
        at = end;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_whole_blocks_of_zeros() {
        let block = HOLE_BYTES;
        let mut content = vec![0; 3 * block];
        assert_eq!(filled(&content, 0), []);
        assert_eq!(
            filled(&content, 1),
            [(0, block - 1), (3 * block - 1, 3 * block)]
        );
        content[block] = 1;
        assert_eq!(filled(&content, 0), [(block, 2 * block)]);
        content[2 * block] = 1;
        assert_eq!(filled(&content, 0), [(block, 3 * block)]);
        assert_eq!(filled(&content[..10], 0), [(0, 10)]);
        assert_eq!(filled(&[], 0), []);
    }
}
