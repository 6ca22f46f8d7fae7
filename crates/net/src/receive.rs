//! Receiving shards: only those that are expected, only as many bytes as agreed.

use std::sync::Arc;

use bytes::Bytes;
use carryall_core::{event::TransferError, id::ShardId, message::ShardHeader};
use iroh::endpoint::RecvStream;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    event::{Direction, NetEvent},
    link::{Code, Expected, Link, Progress},
    shard::{BUFFER_BYTES, ShardSink, ShardTarget},
};

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
    let Some(progress) = link.begin(Direction::Receiving, header.shard, extent) else {
        link.tell_unreceived(header.shard, expected.target).await;
        return;
    };
    let (outcome, content) = if (header.offset, header.bytes) == extent {
        take(&mut stream, header.shard, expected, &progress).await
    } else {
        suspend(expected.target).await;
        (Err(TransferError::WrongBytes), Bytes::new())
    };
    if outcome.is_err() {
        // Harmless if the stream is over already.
        let _ = stream.stop(Code::Refused.into());
    }
    let event = NetEvent::ShardReceived {
        link: link.id,
        shard: header.shard,
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
    progress: &Progress,
) -> (Result<(), TransferError>, Bytes) {
    let length = usize::try_from(expected.bytes.saturating_sub(expected.offset));
    let length = length.unwrap_or(usize::MAX);
    match expected.target {
        ShardTarget::Sink(sink) => (drain(stream, sink, length, progress).await, Bytes::new()),
        ShardTarget::Memory { before } => {
            collect(stream, shard, (before, expected.offset), length, progress).await
        }
    }
}

/// Fills memory, then verifies it.
async fn collect(
    stream: &mut RecvStream,
    shard: ShardId,
    (before, offset): (Bytes, u32),
    length: usize,
    progress: &Progress,
) -> (Result<(), TransferError>, Bytes) {
    let start = before.len();
    if u32::try_from(start) != Ok(offset) {
        return (Err(TransferError::WrongBytes), before);
    }
    let mut content = Vec::from(before);
    content.resize(start + length, 0);
    let (filled, outcome) = fill(stream, &mut content[start..], progress).await;
    content.truncate(start + filled);
    let outcome = match outcome {
        Ok(()) => ended(stream).await,
        error => error,
    };
    match outcome {
        Ok(()) => {
            let verified = spawn_blocking(move || {
                (blake3::hash(&content) == *shard.as_bytes()).then_some(content)
            });
            match verified.await {
                Ok(Some(content)) => (Ok(()), content.into()),
                Ok(None) | Err(_) => (Err(TransferError::WrongBytes), Bytes::new()),
            }
        }
        Err(TransferError::LinkLost) => (outcome, content.into()),
        Err(_) => (outcome, Bytes::new()),
    }
}

/// Fills one buffer while the sink takes the other.
async fn drain(
    stream: &mut RecvStream,
    sink: Box<dyn ShardSink>,
    length: usize,
    progress: &Progress,
) -> Result<(), TransferError> {
    let mut writer = Writer::Idle(sink, Vec::new());
    let mut buffer = Vec::new();
    let mut left = length;
    let received = loop {
        buffer.resize(left.min(BUFFER_BYTES), 0);
        let (filled, outcome) = fill(stream, &mut buffer, progress).await;
        buffer.truncate(filled);
        left -= filled;
        let (sink, spare) = writer.rest().await?;
        writer = Writer::write(sink, buffer);
        buffer = spare;
        if outcome.is_err() || left == 0 {
            break outcome;
        }
    };
    let (sink, _) = writer.rest().await?;
    let received = match received {
        Ok(()) => ended(stream).await,
        error => error,
    };
    let finish = spawn_blocking(move || match received {
        Ok(()) => sink.finish(),
        Err(error) => {
            sink.suspend();
            Err(error)
        }
    });
    finish.await.unwrap_or(Err(TransferError::Disk))
}

type Written = (Box<dyn ShardSink>, Vec<u8>, Result<(), TransferError>);

/// The sink with a spare buffer, or both on a thread that may block.
enum Writer {
    Idle(Box<dyn ShardSink>, Vec<u8>),
    Busy(JoinHandle<Written>),
}

impl Writer {
    fn write(mut sink: Box<dyn ShardSink>, buffer: Vec<u8>) -> Self {
        Self::Busy(spawn_blocking(move || {
            let outcome = if buffer.is_empty() {
                Ok(())
            } else {
                sink.write(&buffer)
            };
            (sink, buffer, outcome)
        }))
    }

    /// Waits for the write under way. After a failed one the sink keeps what it has.
    async fn rest(self) -> Result<(Box<dyn ShardSink>, Vec<u8>), TransferError> {
        match self {
            Self::Idle(sink, buffer) => Ok((sink, buffer)),
            Self::Busy(writing) => match writing.await {
                Ok((sink, buffer, Ok(()))) => Ok((sink, buffer)),
                Ok((sink, _, Err(error))) => {
                    suspend(ShardTarget::Sink(sink)).await;
                    Err(error)
                }
                Err(_) => Err(TransferError::Disk),
            },
        }
    }
}

async fn suspend(target: ShardTarget) {
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

/// Checks that nothing follows.
async fn ended(stream: &mut RecvStream) -> Result<(), TransferError> {
    match stream.read(&mut [0]).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(TransferError::WrongBytes),
        Err(_) => Err(TransferError::LinkLost),
    }
}
