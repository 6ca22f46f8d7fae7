//! Reads what a walk found and cuts it into chunks.
//!
//! Small files travel together in one buffer. A file that fits a buffer is seen to be whole before
//! anything of it goes on; a longer one streams, and is withdrawn if it turns out to have changed.

use std::{io, mem, ops::Range, path::Path};

use carryall_core::{
    chunk::Chunker,
    limits::CHUNK_BYTES_MIN,
    record::{NodeKind, PackKind},
};

use super::{
    buffer::{BUFFER_BYTES, Buffer, Pool},
    preview::{self, FILE_BYTES_MAX, START_BYTES},
    worker::{Draw, Task},
};
use crate::{
    catalogue::FileFacts,
    disk::{Disk, DiskFile, Metadata, Open},
    scan::{CachedNode, Entered, Found, Note, Reason, Stopped, Visitor},
};

/// How often a file that changes is read before it is saved as it was read last.
const ATTEMPTS: u32 = 3;
/// A batch of small files goes on when it has so many bytes or files: enough that handing it over
/// costs nothing, few enough that both workers have something to do.
const BATCH_BYTES: usize = 1 << 20;
/// See [`BATCH_BYTES`].
const BATCH_FILES: usize = 256;

/// What it costs to see that a file is no picture, as bytes of one that is read.
const LOOK_BYTES: u64 = 16 << 10;

/// Items are handed over in lots of so many: each hand-over may wake a thread.
const ITEMS: usize = 256;

/// Content to be named and compressed, numbered in the order in which it is used.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) buffer: Buffer,
    /// Where each chunk lies in the buffer.
    pub(super) cuts: Vec<Range<usize>>,
    /// Which of it are whole files.
    pub(super) whole: Whole,
}

/// What of a job are whole files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whole {
    /// Each chunk is one.
    EachChunk,
    /// All chunks together are one.
    All,
    /// They are of a file that doesn't fit a buffer.
    Nothing,
}

/// What was found, in order. `chunks` counts the next chunks of the jobs.
#[derive(Debug)]
pub(super) enum Item {
    /// What follows is this root's.
    Root(Vec<u8>),
    /// A directory begins.
    Enter(Box<Entered>),
    /// It ends.
    Leave {
        shrank: bool,
        undrawn_from: Option<Vec<u8>>,
    },
    /// Nothing to read: a file or link that is as it was, or a new link.
    Node { node: CachedNode, changed: bool },
    /// A file that is as it was gets the preview with this number, if there is one.
    Undrawn { node: CachedNode, drawing: u64 },
    /// A large file begins; its chunks go into packs of this kind.
    Begin {
        name: Vec<u8>,
        kind: PackKind,
        facts: FileFacts,
    },
    /// The next chunks belong to the file that began.
    Chunks(usize),
    /// The file that began has changed meanwhile: forget what came of it.
    Withdraw,
    /// A file ends with these chunks. If it did not begin before, it is a small one. If it was too long
    /// to be seen whole, it gets the preview with this number.
    File {
        node: CachedNode,
        chunks: usize,
        drawing: Option<u64>,
    },
    /// Something the owner should know.
    Note(Note),
}

/// Where the reader's output goes.
pub(super) trait Port {
    /// Takes the next items; may wait until earlier ones are used up.
    fn items(&self, items: Vec<Item>) -> Result<(), Stopped>;
    /// Takes a task.
    fn task(&self, task: Task) -> Result<(), Stopped>;
}

/// Which pictures get previews.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawing {
    /// Those that are new or changed.
    pub(super) new: bool,
    /// So many bytes of others that have not been looked at.
    pub(super) late_bytes: u64,
}

/// The first stage of a backup.
#[derive(Debug)]
pub(super) struct Reader<'a, P> {
    disk: &'a dyn Disk,
    chunker: &'a Chunker,
    pool: &'a Pool,
    port: &'a P,
    drawing: Drawing,
    batch: Option<Batch>,
    items: Vec<Item>,
    next_job: u64,
    next_drawing: u64,
}

#[derive(Debug)]
struct Batch {
    buffer: Buffer,
    cuts: Vec<Range<usize>>,
}

/// How reading a file ended.
enum Outcome {
    /// Read whole and unchanged meanwhile.
    Whole,
    /// Its facts are not what they were.
    Changed(Metadata),
}

impl<'a, P: Port> Reader<'a, P> {
    pub(super) const fn new(
        disk: &'a dyn Disk,
        chunker: &'a Chunker,
        pool: &'a Pool,
        port: &'a P,
        drawing: Drawing,
    ) -> Self {
        Self {
            disk,
            chunker,
            pool,
            port,
            drawing,
            batch: None,
            items: Vec::new(),
            next_job: 0,
            next_drawing: 0,
        }
    }

    /// Says that what follows belongs to the root at `path`.
    pub(super) fn root(&mut self, path: &[u8]) -> Result<(), Stopped> {
        self.item(Item::Root(path.to_vec()))
    }

    /// Sends what is still waiting for company. To be called before waiting for anything: earlier
    /// stages may need just this to go on.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        if let Some(batch) = self.batch.take() {
            self.send(batch.buffer, batch.cuts, Whole::EachChunk)?;
        }
        if self.items.is_empty() {
            return Ok(());
        }
        self.port.items(mem::take(&mut self.items))
    }

    fn send(
        &mut self,
        buffer: Buffer,
        cuts: Vec<Range<usize>>,
        whole: Whole,
    ) -> Result<(), Stopped> {
        if cuts.is_empty() {
            self.pool.give(buffer);
            return Ok(());
        }
        let number = self.next_job;
        self.next_job += 1;
        self.port.task(Task::Chunk(Job {
            number,
            buffer,
            cuts,
            whole,
        }))
    }

    /// Has a preview drawn from a file itself. Returns its number.
    fn draw(&mut self, path: &Path, metadata: &Metadata) -> Result<u64, Stopped> {
        let number = self.next_drawing;
        self.next_drawing += 1;
        self.port.task(Task::Draw(Draw {
            number,
            path: path.to_path_buf(),
            metadata: *metadata,
        }))?;
        Ok(number)
    }

    fn item(&mut self, item: Item) -> Result<(), Stopped> {
        self.items.push(item);
        if self.items.len() >= ITEMS {
            self.flush()?;
        }
        Ok(())
    }

    fn buffer(&mut self) -> Result<Buffer, Stopped> {
        if let Some(buffer) = self.pool.try_take()? {
            return Ok(buffer);
        }
        self.flush()?;
        self.pool.take()
    }

    fn read_small(
        &mut self,
        file: &dyn DiskFile,
        found: &mut Found<'_>,
    ) -> Result<(), ReadFailure> {
        let mut attempt = 1;
        loop {
            let bytes = as_usize(found.metadata.bytes);
            let full = self.batch.as_ref().is_some_and(|batch| {
                batch.buffer.used + bytes > BATCH_BYTES || batch.cuts.len() >= BATCH_FILES
            });
            if full {
                self.flush()?;
            }
            if self.batch.is_none() {
                let buffer = self.buffer()?;
                self.batch = Some(Batch {
                    buffer,
                    cuts: Vec::new(),
                });
            }
            let Some(batch) = &mut self.batch else {
                return Err(Stopped.into());
            };
            let start = batch.buffer.used;
            let got = read_whole(file, &mut batch.buffer.bytes[start..start + bytes], 0)?;
            let changed = match outcome(file, &found.metadata, got as u64)? {
                Outcome::Changed(now) if attempt < ATTEMPTS && is_small(now.bytes) => {
                    found.read_again(now);
                    attempt += 1;
                    continue;
                }
                Outcome::Changed(now) => Some(now),
                Outcome::Whole => None,
            };
            let mut chunks = 0;
            if got > 0 {
                batch.buffer.used += got;
                batch.cuts.push(start..start + got);
                chunks = 1;
            }
            return Ok(self.end(found, changed, got as u64, chunks, None)?);
        }
    }

    /// Reads a file that fits a buffer.
    fn read_medium(
        &mut self,
        file: &dyn DiskFile,
        found: &mut Found<'_>,
    ) -> Result<(), ReadFailure> {
        self.flush()?;
        let mut buffer = self.buffer()?;
        let mut attempt = 1;
        let (got, changed) = loop {
            let wanted = as_usize(found.metadata.bytes);
            let read = read_whole(file, &mut buffer.bytes[..wanted], 0)
                .and_then(|got| Ok((got, outcome(file, &found.metadata, got as u64)?)));
            match read {
                Err(error) => {
                    self.pool.give(buffer);
                    return Err(error.into());
                }
                Ok((_, Outcome::Changed(now)))
                    if attempt < ATTEMPTS && now.bytes <= BUFFER_BYTES as u64 =>
                {
                    found.read_again(now);
                    attempt += 1;
                }
                Ok((got, Outcome::Changed(now))) => break (got, Some(now)),
                Ok((got, Outcome::Whole)) => break (got, None),
            }
        };
        buffer.used = got;
        let mut cuts = Vec::new();
        let mut at = 0;
        while let Some(length) = self.chunker.cut(&buffer.bytes[at..got], true) {
            cuts.push(at..at + length);
            at += length;
        }
        let chunks = cuts.len();
        // What changes as we look can't be rebuilt from its source: into a spooled pack with it.
        let kind = kind_after(attempt, changed.is_some());
        self.item(Item::Begin {
            name: found.node.name.clone(),
            kind,
            facts: facts(changed.as_ref().unwrap_or(&found.metadata)),
        })?;
        self.send(buffer, cuts, Whole::All)?;
        Ok(self.end(found, changed, got as u64, chunks, None)?)
    }

    /// Reads a file longer than a buffer.
    fn read_long(&mut self, file: &dyn DiskFile, found: &mut Found<'_>) -> Result<(), ReadFailure> {
        self.flush()?;
        let mut attempt = 1;
        loop {
            self.item(Item::Begin {
                name: found.node.name.clone(),
                kind: kind_after(attempt, false),
                facts: facts(&found.metadata),
            })?;
            let got = match self.stream(file, found.metadata.bytes) {
                Ok(got) => got,
                Err(failure) => {
                    self.item(Item::Withdraw)?;
                    return Err(failure);
                }
            };
            let changed = match outcome(file, &found.metadata, got)? {
                Outcome::Changed(now) if attempt < ATTEMPTS => {
                    self.item(Item::Withdraw)?;
                    found.read_again(now);
                    attempt += 1;
                    continue;
                }
                Outcome::Changed(now) => Some(now),
                Outcome::Whole => None,
            };
            let drawing = match changed {
                None if self.drawing.new && is_picture(file, got) => {
                    Some(self.draw(found.path, &found.metadata)?)
                }
                _ => None,
            };
            return Ok(self.end(found, changed, got, 0, drawing)?);
        }
    }

    /// Sends the first `bytes` of a file on, buffer by buffer; returns how many there were.
    fn stream(&mut self, file: &dyn DiskFile, bytes: u64) -> Result<u64, ReadFailure> {
        let mut offset = 0;
        let mut rest = Vec::new();
        loop {
            let mut buffer = self.buffer()?;
            buffer.bytes[..rest.len()].copy_from_slice(&rest);
            let room = &mut buffer.bytes[rest.len()..];
            let wanted = as_usize(bytes - offset).min(room.len());
            let got = match read_whole(file, &mut room[..wanted], offset) {
                Ok(got) => got,
                Err(error) => {
                    self.pool.give(buffer);
                    return Err(error.into());
                }
            };
            offset += got as u64;
            let end = got < wanted || offset == bytes;
            buffer.used = rest.len() + got;
            let mut cuts = Vec::new();
            let mut at = 0;
            while let Some(length) = self.chunker.cut(&buffer.bytes[at..buffer.used], end) {
                cuts.push(at..at + length);
                at += length;
            }
            rest.clear();
            rest.extend_from_slice(&buffer.bytes[at..buffer.used]);
            let chunks = cuts.len();
            self.send(buffer, cuts, Whole::Nothing)?;
            self.item(Item::Chunks(chunks))?;
            if end {
                return Ok(offset);
            }
        }
    }

    /// Reports a file that was read.
    fn end(
        &mut self,
        found: &Found<'_>,
        changed: Option<Metadata>,
        got: u64,
        chunks: usize,
        drawing: Option<u64>,
    ) -> Result<(), Stopped> {
        let metadata = changed.as_ref().unwrap_or(&found.metadata);
        let mut node = found.node.clone();
        node.mtime_ns = metadata.mtime_ns;
        node.mode = metadata.mode & 0o7777;
        if let NodeKind::File { bytes, .. } = &mut node.kind {
            *bytes = got;
        }
        self.item(Item::File {
            node: CachedNode {
                node,
                ctime_ns: metadata.ctime_ns,
                ino: metadata.ino,
                settled: found.settled && changed.is_none(),
            },
            chunks,
            drawing,
        })?;
        if changed.is_some() {
            self.item(Item::Note(note(found.path, Reason::Changing)))?;
        }
        Ok(())
    }
}

impl<P: Port> Visitor for Reader<'_, P> {
    fn enter(&mut self, directory: Entered) -> Result<(), Stopped> {
        self.item(Item::Enter(Box::new(directory)))
    }

    fn unchanged(&mut self, node: CachedNode) -> Result<(), Stopped> {
        self.item(Item::Node {
            node,
            changed: false,
        })
    }

    fn changed(&mut self, node: CachedNode) -> Result<(), Stopped> {
        self.item(Item::Node {
            node,
            changed: true,
        })
    }

    fn undrawn(
        &mut self,
        path: &Path,
        node: CachedNode,
        metadata: &Metadata,
    ) -> Result<bool, Stopped> {
        if self.drawing.late_bytes == 0 {
            self.unchanged(node)?;
            return Ok(false);
        }
        let file = self.disk.open(path, Open::Read);
        let is_picture = file.is_ok_and(|file| is_picture(&*file, metadata.bytes));
        let cost = if is_picture {
            metadata.bytes
        } else {
            LOOK_BYTES
        };
        self.drawing.late_bytes = self.drawing.late_bytes.saturating_sub(cost);
        if is_picture {
            let drawing = self.draw(path, metadata)?;
            self.item(Item::Undrawn { node, drawing })?;
        } else {
            self.unchanged(node)?;
        }
        Ok(true)
    }

    fn draws(&self) -> bool {
        self.drawing.new
    }

    fn leave(&mut self, shrank: bool, undrawn_from: Option<Vec<u8>>) -> Result<(), Stopped> {
        self.item(Item::Leave {
            shrank,
            undrawn_from,
        })
    }

    fn note(&mut self, note: Note) -> Result<(), Stopped> {
        self.item(Item::Note(note))
    }

    fn file(&mut self, mut found: Found<'_>) -> Result<(), Stopped> {
        if found.metadata.bytes == 0 {
            return self.end(&found, None, 0, 0, None);
        }
        let read = match self.disk.open(found.path, Open::Read) {
            Err(error) => Err(error.into()),
            // A file that changes size while it is read stays on the way that it began.
            Ok(file) if is_small(found.metadata.bytes) => self.read_small(&*file, &mut found),
            Ok(file) if found.metadata.bytes <= BUFFER_BYTES as u64 => {
                self.read_medium(&*file, &mut found)
            }
            Ok(file) => self.read_long(&*file, &mut found),
        };
        match read {
            Ok(()) => Ok(()),
            Err(ReadFailure::Stopped) => Err(Stopped),
            Err(ReadFailure::Io(error)) => {
                self.item(Item::Note(note(found.path, Reason::from(&error))))
            }
        }
    }
}

/// Why a file's content did not go on.
enum ReadFailure {
    Stopped,
    Io(io::Error),
}

impl From<Stopped> for ReadFailure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Files below the smallest chunk are one chunk each and share packs.
const fn is_small(bytes: u64) -> bool {
    bytes < CHUNK_BYTES_MIN as u64
}

const fn kind_after(attempt: u32, changed: bool) -> PackKind {
    if attempt > 1 || changed {
        PackKind::Small
    } else {
        PackKind::Large
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_whole(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Tells whether a file of this length is a picture that is read again for its preview.
fn is_picture(file: &dyn DiskFile, bytes: u64) -> bool {
    let mut start = [0; START_BYTES];
    bytes <= FILE_BYTES_MAX
        && read_whole(file, &mut start, 0).is_ok_and(|got| preview::is_picture(&start[..got]))
}

/// Compares a file's facts with those from before it was read.
fn outcome(file: &dyn DiskFile, before: &Metadata, got: u64) -> io::Result<Outcome> {
    let now = file.metadata()?;
    Ok(if got == before.bytes && is_as_it_was(&now, before) {
        Outcome::Whole
    } else {
        Outcome::Changed(now)
    })
}

/// Tells whether a file is the same and no change of its content shows.
pub(super) fn is_as_it_was(now: &Metadata, before: &Metadata) -> bool {
    now.bytes == before.bytes
        && now.mtime_ns == before.mtime_ns
        && now.ctime_ns == before.ctime_ns
        && now.ino == before.ino
}

const fn facts(metadata: &Metadata) -> FileFacts {
    FileFacts {
        bytes: metadata.bytes,
        mtime_ns: metadata.mtime_ns,
        ctime_ns: metadata.ctime_ns,
        ino: metadata.ino,
    }
}

fn note(path: &Path, reason: Reason) -> Note {
    use std::os::unix::ffi::OsStrExt;
    Note {
        path: path.as_os_str().as_bytes().to_vec(),
        reason,
    }
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
