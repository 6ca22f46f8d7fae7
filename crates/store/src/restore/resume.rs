//! Going on with files that an earlier run did not complete: what it wrote is read, checked by the ids
//! of the chunks, and not brought again.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{chunk::chunk_id, key::ChunkKey, limits};

use super::{
    Ordering, Restorer,
    plan::Write,
    target::{DirectoryNumber, Part, part_name},
};

/// An incomplete file that an earlier run left: its directory and its name there.
pub(super) type Left = (DirectoryNumber, Vec<u8>);

/// A file to go on with.
struct Begun {
    part: Part,
    /// Where its chunks begin, and where the last one ends.
    bounds: BTreeSet<u64>,
}

impl Restorer {
    /// Takes what is left of files that are still wanted, and removes the rest.
    pub(super) fn resume(&mut self, left: Vec<Left>, key: &ChunkKey) {
        if left.is_empty() {
            return;
        }
        let mut begun = self.begun(left);
        for pack in &self.plan.packs {
            for write in &pack.writes {
                if let Some(begun) = begun.get_mut(&write.file) {
                    begun.bounds.insert(write.offset);
                }
            }
        }
        let mut there: BTreeMap<u32, u32> = BTreeMap::new();
        let mut bytes = 0;
        for pack in &mut self.plan.packs {
            pack.writes.retain(|write| {
                let found = begun.get(&write.file).and_then(|it| it.check(write, key));
                bytes += found.unwrap_or(0);
                *there.entry(write.file).or_default() += u32::from(found.is_some());
                found.is_none()
            });
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        for (file, Begun { part, .. }) in begun {
            let chunks = there.get(&file).copied().unwrap_or(0);
            let missing = &self.missing[file as usize];
            if missing.fetch_sub(chunks, Ordering::AcqRel) == chunks {
                let directory = self.handle(self.file(file).directory);
                let done = directory.and_then(|it| self.complete(file, &it, part));
                if let Err(why) = done {
                    self.close_failed(file, why);
                }
            }
        }
    }

    /// Opens the incomplete files that are wanted, by number.
    fn begun(&self, left: Vec<Left>) -> BTreeMap<u32, Begun> {
        let mut left: BTreeSet<Left> = left.into_iter().collect();
        let directories: BTreeSet<DirectoryNumber> = left.iter().map(|(it, _)| *it).collect();
        let mut begun = BTreeMap::new();
        for (number, file) in self.plan.files.iter().enumerate() {
            if !directories.contains(&file.directory)
                || file.chunks == 0
                || self.closed[number].load(Ordering::Acquire)
            {
                continue;
            }
            let found = (file.directory, part_name(&file.name).into_bytes());
            let Ok(directory) = self.handle(file.directory) else {
                continue;
            };
            if left.contains(&found)
                && let Some(part) = self.target.left_part(&directory, &found.1)
            {
                left.remove(&found);
                let bounds = BTreeSet::from([file.bytes]);
                begun.insert(super::index(number), Begun { part, bounds });
            }
        }
        for (directory, name) in left {
            // A leftover that can't be removed fails its file when that is opened.
            let removed = self.handle(directory);
            let _ = removed.and_then(|it| self.target.remove(&it, &name));
        }
        begun
    }
}

impl Begun {
    /// Returns the length of a chunk that is in its place. Where something else is, zeros are written:
    /// what comes may leave out runs of them.
    fn check(&self, write: &Write, key: &ChunkKey) -> Option<u64> {
        let end = self.bounds.range(write.offset + 1..).next()?;
        let bytes = usize::try_from(end - write.offset).ok()?;
        if bytes > limits::CHUNK_BYTES_MAX {
            return None;
        }
        let mut content = vec![0; bytes];
        let whole = self.part.read_at(&mut content, write.offset);
        if whole && chunk_id(key, &content) == write.chunk {
            return Some(bytes as u64);
        }
        if content.iter().any(|byte| *byte != 0) {
            content.fill(0);
            // If that fails, writing the chunk does too.
            let _ = self.part.write_at(&content, write.offset);
        }
        None
    }
}
