//! A file as decoders read it: on from wherever they are.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::disk::DiskFile;

/// What is read at a time, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A file and a place in it.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl<'a> Stream<'a> {
    /// Reads a file from its beginning.
    pub(super) fn new(file: &'a dyn DiskFile) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER_BYTES, Self { file, at: 0 })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len()?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
