//! Sending shards on a lane: laid out with room for the seals, sealed where they lie, written.

use std::io::Read;

use bytes::Bytes;
use carryall_core::{event::TransferError, message::ShardHeader};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::{
    Broken, Lane, Ordering,
    record::{BODY_BYTES_MAX, HEAD_BYTES, Kind, RECORD_BYTES, body_bytes, bytes},
};
use crate::{
    link::{Link, Progress},
    part::Part,
    send,
    shard::{BUFFER_BYTES, ShardSource},
};

const RECORDS: usize = BUFFER_BYTES / RECORD_BYTES;

impl From<Broken> for TransferError {
    fn from(_: Broken) -> Self {
        Self::LinkLost
    }
}

impl Lane {
    /// Sends a shard; returns once the peer has it, or doesn't want it.
    pub(crate) async fn send(
        &self,
        link: &Link,
        header: ShardHeader,
        source: ShardSource,
        progress: &Progress,
    ) -> Result<(), TransferError> {
        tokio::select! {
            outcome = self.transmit(link, header, source, progress) => outcome,
            _ = link.connection.closed() => Err(TransferError::LinkLost),
        }
    }

    async fn transmit(
        &self,
        link: &Link,
        header: ShardHeader,
        source: ShardSource,
        progress: &Progress,
    ) -> Result<(), TransferError> {
        let length = send::length(&header)?;
        let supply = Supply::begin(source, link, length);
        let (tell, mut told) = oneshot::channel();
        {
            let mut turn = self.turn.lock().await;
            self.unsettled().insert(*turn, tell);
            *turn += 1;
            self.say(Kind::Begin, &header.to_bytes()).await?;
            let pumped = match supply {
                Ok(supply) => self.pump(link, supply, progress, &mut told).await,
                Err(error) => Err(error),
            };
            // Also after a failure: the next shard can go.
            self.say(Kind::End, &[]).await?;
            pumped?;
        }
        match told.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TransferError::LinkLost),
        }
    }

    /// Moves all that is supplied.
    async fn pump(
        &self,
        link: &Link,
        mut supply: Supply,
        progress: &Progress,
        told: &mut oneshot::Receiver<bool>,
    ) -> Result<(), TransferError> {
        while let Some(mut part) = supply.next(link).await? {
            for record in part.as_mut().chunks_mut(RECORD_BYTES) {
                self.forward(link, record, progress).await?;
            }
            if !matches!(told.try_recv(), Err(TryRecvError::Empty)) {
                // Not wanted, or called taken, before all of it went.
                return Err(TransferError::LinkLost);
            }
        }
        Ok(())
    }

    /// Moves one record, as fast as the link's terms allow.
    async fn forward(
        &self,
        link: &Link,
        record: &mut [u8],
        progress: &Progress,
    ) -> Result<(), Broken> {
        let body = body_bytes(record);
        let mut held = body;
        while held > 0 {
            held -= link.pace.admit(held).await;
        }
        let start = Instant::now();
        self.write(Kind::Data, record).await?;
        link.note_wait(start.elapsed());
        self.carried.fetch_add(body as u64, Ordering::Relaxed);
        progress.add(body);
        Ok(())
    }
}

/// Yields a shard in parts, each laid out as records that wait to be sealed.
enum Supply {
    /// It is in memory: one record at a time, which is still in the processor's cache when it is sealed.
    Memory(Bytes),
    /// The next part is being read while the last one goes, also while another shard has its turn.
    Reading { next: Option<Reading>, left: usize },
}

impl Supply {
    /// Begins on a source, which must have `length` bytes.
    fn begin(source: ShardSource, link: &Link, length: usize) -> Result<Self, TransferError> {
        match source {
            ShardSource::Memory(content) if content.len() != length => {
                Err(TransferError::WrongBytes)
            }
            ShardSource::Memory(content) => Ok(Self::Memory(content)),
            ShardSource::Reader(reader) => Ok(Self::Reading {
                next: Some(read_part(reader, link, length)),
                left: length,
            }),
        }
    }

    async fn next(&mut self, link: &Link) -> Result<Option<Part>, TransferError> {
        match self {
            Self::Memory(content) => {
                let body = content.split_to(content.len().min(BODY_BYTES_MAX));
                if body.is_empty() {
                    return Ok(None);
                }
                let mut part = link.parts.take(bytes(body.len()));
                part.as_mut()[HEAD_BYTES..HEAD_BYTES + body.len()].copy_from_slice(&body);
                Ok(Some(part))
            }
            Self::Reading { next, left } => {
                let Some(reading) = next.take() else {
                    return Ok(None);
                };
                let (reader, part, bodies) = reading.await.map_err(|_| TransferError::Disk)??;
                *left -= bodies;
                if *left > 0 {
                    *next = Some(read_part(reader, link, *left));
                }
                Ok(Some(part))
            }
        }
    }
}

type Reading = JoinHandle<Result<(Box<dyn Read + Send>, Part, usize), TransferError>>;

/// Fills a part with the bodies of records, as many of the `left` bytes as it holds.
fn read_part(mut reader: Box<dyn Read + Send>, link: &Link, left: usize) -> Reading {
    let bodies = left.min(RECORDS * BODY_BYTES_MAX);
    let (whole, rest) = (bodies / BODY_BYTES_MAX, bodies % BODY_BYTES_MAX);
    let tail = if rest > 0 { bytes(rest) } else { 0 };
    let mut part = link.parts.take(whole * RECORD_BYTES + tail);
    spawn_blocking(move || {
        for record in part.as_mut().chunks_mut(RECORD_BYTES) {
            let body = body_bytes(record);
            // A source that ends early is as broken as one that can't be read.
            reader
                .read_exact(&mut record[HEAD_BYTES..HEAD_BYTES + body])
                .map_err(|_| TransferError::Disk)?;
        }
        Ok((reader, part, bodies))
    })
}
