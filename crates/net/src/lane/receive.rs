//! Receiving shards on a lane: opened where they are to lie, hashed while in the cache.

use std::sync::Arc;

use bytes::BufMut;
use carryall_core::{event::TransferError, id::ShardId, message::ShardHeader};
use tokio::io::AsyncReadExt;

use super::{
    Broken, Lane, Ordering, Reader,
    record::{HEAD_BYTES, Kind, following},
};
use crate::{
    link::{Link, Progress},
    receive::{self, Writer},
    shard::{BUFFER_BYTES, ShardSink, ShardTarget},
};

/// What comes next, beside the peer's word on shards of ours.
enum Next {
    Begin(ShardHeader),
    /// That many bytes of a body lie next on the lane.
    Data(usize),
    End,
}

/// Takes what comes on a lane.
#[derive(Debug)]
pub(crate) struct Intake {
    lane: Arc<Lane>,
    link: Arc<Link>,
    reader: Reader,
    /// How many shards have begun.
    begun: u64,
}

impl Intake {
    pub(crate) const fn new(lane: Arc<Lane>, link: Arc<Link>, reader: Reader) -> Self {
        Self {
            lane,
            link,
            reader,
            begun: 0,
        }
    }

    /// Takes shards until the lane or its link is over.
    pub(crate) async fn run(mut self) {
        while let Ok(next) = self.next().await {
            let Next::Begin(header) = next else { return };
            if self.shard(header).await.is_err() {
                return;
            }
        }
    }

    /// Takes one shard. What becomes of it is told; an error means that the lane is of no more use.
    async fn shard(&mut self, header: ShardHeader) -> Result<(), Broken> {
        let shard = header.shard;
        let Some(expected) = self.link.take_expected(shard) else {
            tracing::debug!(shard = %shard.short(), "a shard that nobody expects");
            self.answer(Kind::Stopped);
            return self.skip().await;
        };
        let extent = (expected.offset, expected.bytes);
        let Some(progress) = receive::begin(&self.link, shard, extent) else {
            self.link.tell_unreceived(shard, expected.target).await;
            return Err(Broken);
        };
        if (header.offset, header.bytes) != extent {
            self.answer(Kind::Stopped);
            receive::suspend(expected.target).await;
            let outcome = (Err(TransferError::WrongBytes), Vec::new());
            receive::tell(&self.link, shard, &progress, outcome).await;
            return self.skip().await;
        }
        let length = expected.bytes.saturating_sub(expected.offset);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match expected.target {
            ShardTarget::Memory { before } => {
                self.collect(shard, (before, expected.offset), length, progress)
                    .await
            }
            ShardTarget::Sink(sink) => self.drain(shard, sink, length, progress).await,
        }
    }

    /// Fills memory and verifies it.
    async fn collect(
        &mut self,
        shard: ShardId,
        (mut content, offset): (Vec<u8>, u32),
        length: usize,
        progress: Progress,
    ) -> Result<(), Broken> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&content);
        let fits = u32::try_from(content.len()) == Ok(offset);
        let whole = content.len().saturating_add(length);
        if fits {
            // Each body comes with its seal.
            content.reserve_exact(length + following(1));
        }
        let taken = loop {
            match self.next().await {
                Ok(Next::Data(bytes)) if fits && content.len() + bytes <= whole => {
                    let start = content.len();
                    if let Err(broken) = self.append(&mut content, bytes).await {
                        content.truncate(start);
                        break Err(broken);
                    }
                    hasher.update(&content[start..]);
                    progress.add(bytes);
                }
                Ok(Next::End) => break Ok(Ok(content.len() == whole)),
                Ok(Next::Data(bytes)) => {
                    self.answer(Kind::Stopped);
                    let skipped = async {
                        self.skip_body(bytes).await?;
                        self.skip().await
                    };
                    break skipped.await.map(|()| Err(TransferError::WrongBytes));
                }
                Ok(Next::Begin(_)) | Err(Broken) => break Err(Broken),
            }
        };
        let right = || hasher.finalize() == *shard.as_bytes();
        let outcome = match taken {
            Ok(Ok(true)) if right() => (Ok(()), content),
            Ok(Ok(true) | Err(_)) => (Err(TransferError::WrongBytes), Vec::new()),
            // A peer that can't go on ends the shard early; what came may still be right.
            Ok(Ok(false)) | Err(Broken) => (Err(TransferError::LinkLost), content),
        };
        let kind = if outcome.0.is_ok() {
            Kind::Taken
        } else {
            Kind::Stopped
        };
        self.answer(kind);
        receive::tell(&self.link, shard, &progress, outcome).await;
        taken.map(drop)
    }

    /// Fills one part while the sink takes the other. The next shard may come while the sink
    /// finishes this one.
    async fn drain(
        &mut self,
        shard: ShardId,
        sink: Box<dyn ShardSink>,
        length: usize,
        progress: Progress,
    ) -> Result<(), Broken> {
        let mut writer = Writer::Idle(sink);
        let mut left = length;
        let mut part = self.link.parts.take(BUFFER_BYTES);
        let mut filled = 0;
        let came = loop {
            match self.next().await {
                Ok(Next::Data(bytes)) if bytes <= left => {
                    if filled + following(bytes) > BUFFER_BYTES {
                        part.truncate(filled);
                        match writer.rest().await {
                            Ok(sink) => writer = Writer::write(sink, part),
                            Err(error) => return self.refuse(shard, bytes, error, progress).await,
                        }
                        part = self.link.parts.take(BUFFER_BYTES);
                        filled = 0;
                    }
                    let space = &mut part.as_mut()[filled..filled + following(bytes)];
                    if self.fill(space).await.is_err() {
                        break Err(Broken);
                    }
                    filled += bytes;
                    left -= bytes;
                    progress.add(bytes);
                }
                Ok(Next::Data(bytes)) => {
                    let error = match writer.rest().await {
                        Ok(sink) => {
                            receive::suspend(ShardTarget::Sink(sink)).await;
                            TransferError::WrongBytes
                        }
                        Err(error) => error,
                    };
                    return self.refuse(shard, bytes, error, progress).await;
                }
                Ok(Next::End) => break Ok(()),
                Ok(Next::Begin(_)) | Err(Broken) => break Err(Broken),
            }
        };
        part.truncate(filled);
        let whole = came.is_ok() && left == 0;
        self.answer(if whole { Kind::Taken } else { Kind::Stopped });
        let link = Arc::clone(&self.link);
        tokio::spawn(async move {
            let received = if whole {
                Ok(())
            } else {
                Err(TransferError::LinkLost)
            };
            let outcome = match writer.rest().await {
                Ok(sink) => Writer::write(sink, part).finish(received).await,
                Err(error) => Err(error),
            };
            receive::tell(&link, shard, &progress, (outcome, Vec::new())).await;
        });
        came
    }

    /// Ends a shard whose sink is done with, `bytes` of which lie next on the lane.
    async fn refuse(
        &mut self,
        shard: ShardId,
        bytes: usize,
        error: TransferError,
        progress: Progress,
    ) -> Result<(), Broken> {
        self.answer(Kind::Stopped);
        receive::tell(&self.link, shard, &progress, (Err(error), Vec::new())).await;
        drop(progress);
        self.skip_body(bytes).await?;
        self.skip().await
    }

    /// Passes over what is left of a shard.
    async fn skip(&mut self) -> Result<(), Broken> {
        loop {
            match self.next().await? {
                Next::Data(bytes) => self.skip_body(bytes).await?,
                Next::End => return Ok(()),
                Next::Begin(_) => return Err(Broken),
            }
        }
    }

    async fn skip_body(&mut self, bytes: usize) -> Result<(), Broken> {
        self.fill(&mut vec![0; following(bytes)]).await
    }

    /// Reads heads up to one that is about a shard that comes.
    async fn next(&mut self) -> Result<Next, Broken> {
        loop {
            let mut head = [0; HEAD_BYTES];
            self.read(&mut head).await?;
            let (kind, bytes) = self.reader.opener.head(&mut head).ok_or(Broken)?;
            match (kind, bytes) {
                (Kind::Begin, ShardHeader::BYTES) => {
                    let header = self.short().await?;
                    self.begun += 1;
                    return Ok(Next::Begin(ShardHeader::from_bytes(&header)));
                }
                (Kind::Data, 1..) => return Ok(Next::Data(bytes)),
                (Kind::End, 0) => return Ok(Next::End),
                (Kind::Taken | Kind::Stopped, 8) => {
                    let number = u64::from_be_bytes(self.short().await?);
                    self.lane.settle(number, kind == Kind::Taken);
                }
                _ => return Err(Broken),
            }
        }
    }

    /// Reads a body of few bytes.
    async fn short<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Broken> {
        let mut body = vec![0; following(BYTES)];
        self.fill(&mut body).await?;
        body[..BYTES].try_into().map_err(|_| Broken)
    }

    /// Reads a sealed body into `space` and opens it there: the seal comes to lie at its end.
    async fn fill(&mut self, space: &mut [u8]) -> Result<(), Broken> {
        self.read(space).await?;
        self.reader.opener.body(space).map(drop).ok_or(Broken)
    }

    /// Reads a sealed body of `bytes` behind what is there, into memory that need not have been
    /// written before, and opens it there.
    async fn append(&mut self, content: &mut Vec<u8>, bytes: usize) -> Result<(), Broken> {
        let start = content.len();
        let end = start + following(bytes);
        while content.len() < end {
            let left = end - content.len();
            let mut space = (&mut *content).limit(left);
            let came = tokio::select! {
                biased;
                came = self.reader.half.read_buf(&mut space) => came?,
                _ = self.link.connection.closed() => return Err(Broken),
            };
            self.note(came)?;
        }
        let opened = self.reader.opener.body(&mut content[start..]);
        opened.map(drop).ok_or(Broken)?;
        content.truncate(start + bytes);
        Ok(())
    }

    /// Fills `space`. What has already come is taken even if the link is over: the peer need not
    /// send it again.
    async fn read(&mut self, space: &mut [u8]) -> Result<(), Broken> {
        let mut filled = 0;
        while filled < space.len() {
            let came = tokio::select! {
                biased;
                came = self.reader.half.read(&mut space[filled..]) => came?,
                _ = self.link.connection.closed() => return Err(Broken),
            };
            self.note(came)?;
            filled += came;
        }
        Ok(())
    }

    fn note(&self, came: usize) -> Result<(), Broken> {
        self.lane.heard.fetch_add(came as u64, Ordering::Relaxed);
        if came == 0 { Err(Broken) } else { Ok(()) }
    }

    /// Says what became of the shard that began last. On a task of its own: two ends that both wait to say something
    /// before they read on would wait for each other.
    fn answer(&self, kind: Kind) {
        let number = self.begun.saturating_sub(1).to_be_bytes();
        let lane = Arc::clone(&self.lane);
        tokio::spawn(async move {
            // A lane that is over needs no answers.
            let _ = lane.say(kind, &number).await;
        });
    }
}
