//! Sending a shard: on the link's lane if it has one, else on a stream: its header, then the bytes.

use std::{io::Read, sync::Arc};

use bytes::Bytes;
use carryall_core::{event::TransferError, message::ShardHeader};
use iroh::endpoint::SendStream;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    event::{Direction, NetEvent},
    link::{Link, Progress},
    part::Part,
    shard::{BUFFER_BYTES, ShardSource},
};

/// Sends a shard and tells the outcome.
pub(crate) async fn send(link: Arc<Link>, header: ShardHeader, source: ShardSource, priority: i32) {
    let extent = (header.offset, header.bytes);
    let progress = link.begin(Direction::Sending, header.shard, extent);
    let outcome = match &progress {
        Some(progress) => match link.lane() {
            Some(lane) => lane.send(&link, header, source, progress).await,
            None => transmit(&link, header, source, priority, progress).await,
        },
        None => Err(TransferError::LinkLost),
    };
    let event = NetEvent::ShardSent {
        link: link.id,
        shard: header.shard,
        bytes: progress.as_ref().map_or(0, Progress::bytes),
        outcome,
    };
    let _ = link.events.send(event).await;
}

async fn transmit(
    link: &Link,
    header: ShardHeader,
    source: ShardSource,
    priority: i32,
    progress: &Progress,
) -> Result<(), TransferError> {
    let mut stream = link.connection.open_uni().await.map_err(lost)?;
    // The control stream alone has the highest priority.
    stream
        .set_priority(priority.min(i32::MAX - 1))
        .map_err(lost)?;
    let outcome = match stream.write_all(&header.to_bytes()).await {
        Ok(()) => pump(link, &mut stream, header, source, progress).await,
        Err(_) => Err(TransferError::LinkLost),
    };
    // Also after a failure: an early end tells the peer which shard ends there, a reset could
    // overtake the header.
    let finished = stream.finish();
    outcome?;
    finished.map_err(lost)?;
    match stream.stopped().await {
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(_) => Err(TransferError::LinkLost),
    }
}

/// Returns how many bytes lie between a header's offset and the shard's end.
pub(crate) fn length(header: &ShardHeader) -> Result<usize, TransferError> {
    let length = header.bytes.checked_sub(header.offset);
    length
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(TransferError::WrongBytes)
}

/// Moves the bytes from `header.offset` to the shard's end.
async fn pump(
    link: &Link,
    stream: &mut SendStream,
    header: ShardHeader,
    source: ShardSource,
    progress: &Progress,
) -> Result<(), TransferError> {
    let length = length(&header)?;
    match source {
        ShardSource::Memory(mut content) => {
            if content.len() != length {
                return Err(TransferError::WrongBytes);
            }
            while !content.is_empty() {
                let part = content.split_to(content.len().min(BUFFER_BYTES));
                push(link, stream, part, progress).await?;
            }
            Ok(())
        }
        ShardSource::Reader(reader) => pump_reader(link, stream, length, reader, progress).await,
    }
}

/// Reads the next part while the last one is being sent.
async fn pump_reader(
    link: &Link,
    stream: &mut SendStream,
    length: usize,
    reader: Box<dyn Read + Send>,
    progress: &Progress,
) -> Result<(), TransferError> {
    let mut left = length;
    let mut next = Some(read_part(reader, link.parts.take(left)));
    while let Some(reading) = next.take() {
        let (reader, part) = reading.await.map_err(|_| TransferError::Disk)??;
        left -= part.len();
        if left > 0 {
            next = Some(read_part(reader, link.parts.take(left)));
        }
        push(link, stream, part, progress).await?;
    }
    Ok(())
}

type Reading = tokio::task::JoinHandle<Result<(Box<dyn Read + Send>, Bytes), TransferError>>;

/// Fills a part. It comes back once the peer has acknowledged all of it.
fn read_part(mut reader: Box<dyn Read + Send>, mut part: Part) -> Reading {
    spawn_blocking(move || {
        // A source that ends early is as broken as one that can't be read.
        reader
            .read_exact(part.as_mut())
            .map_err(|_| TransferError::Disk)?;
        Ok((reader, Bytes::from_owner(part)))
    })
}

async fn push(
    link: &Link,
    stream: &mut SendStream,
    mut part: Bytes,
    progress: &Progress,
) -> Result<(), TransferError> {
    while !part.is_empty() {
        let bytes = tokio::select! {
            bytes = link.pace.admit(part.len()) => bytes,
            // Nobody waits for a slice that can't go.
            _ = link.connection.closed() => return Err(TransferError::LinkLost),
        };
        let start = Instant::now();
        stream
            .write_chunk(part.split_to(bytes))
            .await
            .map_err(lost)?;
        link.note_wait(start.elapsed());
        progress.add(bytes);
    }
    Ok(())
}

fn lost<E>(_: E) -> TransferError {
    TransferError::LinkLost
}
