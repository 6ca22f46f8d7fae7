//! Where a shard's bytes come from and where they go: the two ends that the caller provides.

use std::{fmt, io::Read};

use bytes::Bytes;
use carryall_core::event::TransferError;

/// Takes a shard's bytes. All calls come one after another, on threads that may block; nothing is
/// opened or reserved before the first one.
pub trait ShardSink: Send {
    /// Takes the next bytes, at most [`crate::shard::BUFFER_BYTES`] of them.
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError>;

    /// All bytes came: verifies them against the shard's id and makes them durable.
    fn finish(self: Box<Self>) -> Result<(), TransferError>;

    /// The stream broke: keeps what came, so that the next try goes on from there.
    fn suspend(self: Box<Self>);
}

/// Bytes that pass between a stream and a source or sink at a time. Handing on single packets'
/// worth costs half the speed.
pub const BUFFER_BYTES: usize = 1 << 20;

/// Where an outgoing shard's bytes come from. Either yields exactly the bytes from the header's
/// offset to the shard's end.
pub enum ShardSource {
    /// They are here.
    Memory(Bytes),
    /// They are read as the link takes them, on threads that may block.
    Reader(Box<dyn Read + Send>),
}

impl fmt::Debug for ShardSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

/// Where an incoming shard's bytes go.
pub enum ShardTarget {
    /// To a sink, which verifies them.
    Sink(Box<dyn ShardSink>),
    /// To memory, verified here against the shard's id.
    Memory {
        /// The bytes before the offset, from an earlier try. What comes is added: a buffer with
        /// room for it saves an allocation.
        before: Vec<u8>,
    },
}

impl fmt::Debug for ShardTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink(_) => f.write_str("Sink"),
            Self::Memory { before } => write!(f, "Memory(after {} bytes)", before.len()),
        }
    }
}
