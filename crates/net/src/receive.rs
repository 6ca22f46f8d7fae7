//! Receiving shards: only those that are expected, only as many bytes as agreed.

use std::sync::Arc;

use bytes::BufMut;
use carryall_core::{event::TransferError, id::ShardId, message::ShardHeader};
use iroh::endpoint::RecvStream;
use tokio::{
    io::AsyncReadExt,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    event::{Direction, NetEvent},
    link::{Code, Expected, Link, Progress},
    part::{Part, Parts},
    shard::{ShardSink, ShardTarget},
};

/// Bytes that are hashed at a time: few enough to lie in the cache, enough for the hash's full width.
const HASHED_BYTES: usize = 128 << 10;

/// Takes shard streams until the connection ends. How many run at a time is bounded by the
/// transport.
pub(crate) async fn accept(link: &Arc<Link>) {
    while let Ok(stream) = link.connection.accept_uni().await {
        let link = Arc::clone(link);
        tokio::spawn(async move { receive(&link, stream).await });
    }
}

async fn receive(link: &Arc<Link>, mut stream: RecvStream) {
    let mut header = [0; ShardHeader::BYTES];
    if stream.read_exact(&mut header).await.is_err() {
        let _ = stream.stop(Code::Unexpected.into());
        return;
    }
    let header = ShardHeader::from_bytes(&header);
    let Some(expected) = link.take_expected(header.shard) else {
        tracing::debug!(shard = %header.shard.short(), "stopped a shard that nobody expects");
        let _ = stream.stop(Code::Unexpected.into());
        return;
    };
    let extent = (expected.offset, expected.bytes);
    let Some(progress) = begin(link, header.shard, extent) else {
        link.tell_unreceived(header.shard, expected.target).await;
        return;
    };
    let outcome = if (header.offset, header.bytes) == extent {
        take(
            &mut stream,
            header.shard,
            expected,
            (&link.parts, &progress),
        )
        .await
    } else {
        suspend(expected.target).await;
        (Err(TransferError::WrongBytes), Vec::new())
    };
    if outcome.0.is_err() {
        // Harmless if the stream is over already.
        let _ = stream.stop(Code::Refused.into());
    }
    tell(link, header.shard, &progress, outcome).await;
}

/// Notes a shard that comes in; nothing once the link ends.
pub(crate) fn begin(link: &Arc<Link>, shard: ShardId, extent: (u32, u32)) -> Option<Progress> {
    link.begin(Direction::Receiving, shard, extent)
}

/// Tells what became of a shard.
pub(crate) async fn tell(
    link: &Link,
    shard: ShardId,
    progress: &Progress,
    (outcome, content): (Result<(), TransferError>, Vec<u8>),
) {
    let event = NetEvent::ShardReceived {
        link: link.id,
        shard,
        bytes: progress.bytes(),
        outcome,
        content,
    };
    let _ = link.events.send(event).await;
}

async fn take(
    stream: &mut RecvStream,
    shard: ShardId,
    expected: Expected,
    (parts, progress): (&Parts, &Progress),
) -> (Result<(), TransferError>, Vec<u8>) {
    let length = usize::try_from(expected.bytes.saturating_sub(expected.offset));
    let length = length.unwrap_or(usize::MAX);
    match expected.target {
        ShardTarget::Sink(sink) => {
            let drained = drain(stream, sink, length, (parts, progress)).await;
            (drained, Vec::new())
        }
        ShardTarget::Memory { before } => {
            collect(stream, shard, (before, expected.offset), length, progress).await
        }
    }
}

/// Fills memory and verifies it.
async fn collect(
    stream: &mut RecvStream,
    shard: ShardId,
    (mut content, offset): (Vec<u8>, u32),
    length: usize,
    progress: &Progress,
) -> (Result<(), TransferError>, Vec<u8>) {
    if u32::try_from(content.len()) != Ok(offset) {
        return (Err(TransferError::WrongBytes), content);
    }
    content.reserve_exact(length);
    let mut hasher = blake3::Hasher::new();
    let received = append(stream, &mut content, &mut hasher, length, progress).await;
    let outcome = match received {
        Ok(()) => ended(stream).await,
        error => error,
    };
    match outcome {
        Ok(()) if hasher.finalize() == *shard.as_bytes() => (Ok(()), content),
        Ok(()) => (Err(TransferError::WrongBytes), Vec::new()),
        Err(TransferError::LinkLost) => (outcome, content),
        Err(_) => (outcome, Vec::new()),
    }
}

/// Fills one part while the sink takes the other.
async fn drain(
    stream: &mut RecvStream,
    sink: Box<dyn ShardSink>,
    length: usize,
    (parts, progress): (&Parts, &Progress),
) -> Result<(), TransferError> {
    let mut writer = Writer::Idle(sink);
    let mut left = length;
    let received = loop {
        let mut part = parts.take(left);
        let (filled, outcome) = fill(stream, part.as_mut(), progress).await;
        part.truncate(filled);
        left -= filled;
        let sink = writer.rest().await?;
        writer = Writer::write(sink, part);
        if outcome.is_err() || left == 0 {
            break outcome;
        }
    };
    let received = match received {
        Ok(()) => ended(stream).await,
        error => error,
    };
    writer.finish(received).await
}

type Written = (Box<dyn ShardSink>, Result<(), TransferError>);

/// The sink, here or on a thread that may block.
pub(crate) enum Writer {
    Idle(Box<dyn ShardSink>),
    Busy(JoinHandle<Written>),
}

impl Writer {
    pub(crate) fn write(mut sink: Box<dyn ShardSink>, part: Part) -> Self {
        Self::Busy(spawn_blocking(move || {
            let outcome = match part.as_ref() {
                [] => Ok(()),
                bytes => sink.write(bytes),
            };
            (sink, outcome)
        }))
    }

    /// Waits for the write under way. After a failed one the sink keeps what it has.
    pub(crate) async fn rest(self) -> Result<Box<dyn ShardSink>, TransferError> {
        match self {
            Self::Idle(sink) => Ok(sink),
            Self::Busy(writing) => match writing.await {
                Ok((sink, Ok(()))) => Ok(sink),
                Ok((sink, Err(error))) => {
                    suspend(ShardTarget::Sink(sink)).await;
                    Err(error)
                }
                Err(_) => Err(TransferError::Disk),
            },
        }
    }

    /// Has the sink verify what came, or keep it for the next try if it isn't all.
    pub(crate) async fn finish(
        self,
        received: Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let sink = self.rest().await?;
        let finish = spawn_blocking(move || match received {
            Ok(()) => sink.finish(),
            Err(error) => {
                sink.suspend();
                Err(error)
            }
        });
        finish.await.unwrap_or(Err(TransferError::Disk))
    }
}

pub(crate) async fn suspend(target: ShardTarget) {
    if let ShardTarget::Sink(sink) = target {
        let _ = spawn_blocking(move || sink.suspend()).await;
    }
}

/// Reads until `buffer` is full; returns how far it came.
async fn fill(
    stream: &mut RecvStream,
    buffer: &mut [u8],
    progress: &Progress,
) -> (usize, Result<(), TransferError>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await {
            Ok(Some(bytes)) => {
                filled += bytes;
                progress.add(bytes);
            }
            // A peer that can't go on ends the stream early; what came may still be right.
            Ok(None) | Err(_) => return (filled, Err(TransferError::LinkLost)),
        }
    }
    (filled, Ok(()))
}

/// Appends `left` bytes, straight into memory that was never written before, and hashes all of
/// `content` on the way, each piece while it is in the processor's cache.
async fn append(
    stream: &mut RecvStream,
    content: &mut Vec<u8>,
    hasher: &mut blake3::Hasher,
    mut left: usize,
    progress: &Progress,
) -> Result<(), TransferError> {
    let mut hashed = 0;
    while left > 0 {
        if content.len() - hashed >= HASHED_BYTES {
            hasher.update(&content[hashed..]);
            hashed = content.len();
        }
        match stream.read_buf(&mut (&mut *content).limit(left)).await {
            // A peer that can't go on ends the stream early; what came may still be right.
            Ok(0) | Err(_) => return Err(TransferError::LinkLost),
            Ok(bytes) => {
                left -= bytes;
                progress.add(bytes);
            }
        }
    }
    hasher.update(&content[hashed..]);
    Ok(())
}

/// Checks that nothing follows.
async fn ended(stream: &mut RecvStream) -> Result<(), TransferError> {
    match stream.read(&mut [0]).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(TransferError::WrongBytes),
        Err(_) => Err(TransferError::LinkLost),
    }
}
