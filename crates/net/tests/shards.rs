//! Shard streams: whole, broken and resumed, unexpected, many at a time.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod node;

use std::{
    io::{self, Read},
    num::NonZeroU64,
    sync::{Arc, Mutex, mpsc},
};

use bytes::Bytes;
use carryall_core::{
    event::{LinkId, TransferError},
    id::ShardId,
    message::{Farewell, Message, ShardHeader},
};
use carryall_net::{NetEvent, ShardSink, ShardSource, ShardTarget};
use node::{Node, noise, pair};
use tokio::time::Instant;

fn shard_of(content: &[u8]) -> (ShardId, u32) {
    let id = ShardId(*blake3::hash(content).as_bytes());
    (id, u32::try_from(content.len()).unwrap())
}

fn header(content: &[u8], offset: u32) -> ShardHeader {
    let (shard, bytes) = shard_of(content);
    ShardHeader {
        shard,
        offset,
        bytes,
    }
}

fn memory() -> ShardTarget {
    ShardTarget::Memory { before: Vec::new() }
}

/// A sink that keeps what it gets where the test sees it.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    content: Vec<u8>,
    finished: bool,
    suspended: bool,
    /// Fails once it holds so many bytes.
    room: Option<usize>,
}

impl ShardSink for Shelf {
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let mut kept = self.0.lock().unwrap();
        kept.content.extend_from_slice(bytes);
        match kept.room {
            Some(room) if kept.content.len() > room => Err(TransferError::DiskFull),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        self.0.lock().unwrap().finished = true;
        Ok(())
    }

    fn suspend(self: Box<Self>) {
        self.0.lock().unwrap().suspended = true;
    }
}

/// A source that gives some bytes and then waits until the test lets go.
struct Stalling {
    content: io::Cursor<Vec<u8>>,
    go: mpsc::Receiver<()>,
}

impl Read for Stalling {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        if read == 0 {
            let _ = self.go.recv();
        }
        Ok(read)
    }
}

async fn received(node: &mut Node, wanted: ShardId) -> (u32, Result<(), TransferError>, Vec<u8>) {
    loop {
        if let NetEvent::ShardReceived {
            shard,
            bytes,
            outcome,
            content,
            ..
        } = node.next().await
            && shard == wanted
        {
            return (bytes, outcome, content);
        }
    }
}

async fn sent(node: &mut Node, wanted: ShardId) -> (u32, Result<(), TransferError>) {
    loop {
        if let NetEvent::ShardSent {
            shard,
            bytes,
            outcome,
            ..
        } = node.next().await
            && shard == wanted
        {
            return (bytes, outcome);
        }
    }
}

async fn sixty_four_mebibytes_in_four_streams(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let contents: Vec<_> = (0..4).map(|seed| noise(seed, 16 << 20)).collect();
    let shelf = Shelf::default();
    for (index, content) in contents.iter().enumerate() {
        let (shard, bytes) = shard_of(content);
        let target = match index {
            0 => ShardTarget::Sink(Box::new(shelf.clone())),
            _ => memory(),
        };
        b.net.expect_shard(there, shard, (bytes, 0), target);
        let source = match index {
            1 => ShardSource::Reader(Box::new(io::Cursor::new(content.clone()))),
            _ => ShardSource::Memory(content.clone().into()),
        };
        a.net.send_shard(here, header(content, 0), source, 0);
    }
    let mut outstanding = contents.len();
    while outstanding > 0 {
        let NetEvent::ShardReceived {
            shard,
            bytes,
            outcome,
            content,
            ..
        } = b.next().await
        else {
            panic!("only shards arrive")
        };
        let index = contents
            .iter()
            .position(|c| shard_of(c).0 == shard)
            .unwrap();
        assert_eq!((bytes, outcome), (16 << 20, Ok(())));
        if index > 0 {
            assert!(content == contents[index]);
        }
        outstanding -= 1;
    }
    {
        let kept = shelf.0.lock().unwrap();
        assert!(kept.finished && !kept.suspended && kept.content == contents[0]);
    }
    for _ in &contents {
        let NetEvent::ShardSent { bytes, outcome, .. } = a.next().await else {
            panic!("only shards were sent")
        };
        assert_eq!((bytes, outcome), (16 << 20, Ok(())));
    }
    assert_eq!((a.net.transfers(), b.net.transfers()), (vec![], vec![]));
}

/// What goes of 3 MiB and a little before the source stalls, at least: parts go whole.
const LEAVES: u32 = 3_000_000;

/// Sends the first 3 MiB and a little, breaks the link, and returns what the receiver has of them.
async fn break_midway(lanes: bool, content: &[u8], target: ShardTarget) -> (u32, Vec<u8>) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let (shard, bytes) = shard_of(content);
    b.net.expect_shard(there, shard, (bytes, 0), target);
    let (let_go, go) = mpsc::channel();
    let source = Stalling {
        content: io::Cursor::new(content[..(3 << 20) + 5].to_vec()),
        go,
    };
    let source = ShardSource::Reader(Box::new(source));
    a.net.send_shard(here, header(content, 0), source, 0);
    while b
        .net
        .transfers()
        .first()
        .map_or(0, |transfer| transfer.done)
        < LEAVES
    {
        tokio::task::yield_now().await;
    }
    b.net.give_up(there);
    let (came, outcome, held) = received(&mut b, shard).await;
    assert_eq!(outcome, Err(TransferError::LinkLost));
    b.link_down(there).await;
    drop(let_go);
    let (_, outcome) = sent(&mut a, shard).await;
    assert!(outcome.is_err());
    a.link_down(here).await;
    (came, held)
}

/// Sends the rest from `offset` on and checks that it completes the shard.
async fn resume(lanes: bool, content: &[u8], offset: u32, target: ShardTarget) -> Vec<u8> {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let (shard, bytes) = shard_of(content);
    b.net.expect_shard(there, shard, (bytes, offset), target);
    let rest = content[usize::try_from(offset).unwrap()..].to_vec();
    let source = ShardSource::Memory(rest.into());
    a.net.send_shard(here, header(content, offset), source, 0);
    let (came, outcome, held) = received(&mut b, shard).await;
    assert_eq!((came, outcome), (bytes - offset, Ok(())));
    assert_eq!(sent(&mut a, shard).await, (bytes - offset, Ok(())));
    held
}

async fn broken_in_memory_and_resumed(lanes: bool) {
    let content = noise(1, 5 << 20);
    let (came, held) = break_midway(lanes, &content, memory()).await;
    assert!(came >= LEAVES);
    assert_eq!(u32::try_from(held.len()), Ok(came));
    assert!(content.starts_with(&held));
    let whole = resume(lanes, &content, came, ShardTarget::Memory { before: held }).await;
    assert!(whole == content);
}

async fn broken_at_a_sink_and_resumed(lanes: bool) {
    let content = noise(2, 5 << 20);
    let shelf = Shelf::default();
    let target = ShardTarget::Sink(Box::new(shelf.clone()));
    let (came, held) = break_midway(lanes, &content, target).await;
    assert!(held.is_empty());
    {
        let kept = shelf.0.lock().unwrap();
        assert!(kept.suspended && !kept.finished);
        assert_eq!(u32::try_from(kept.content.len()), Ok(came));
    }
    resume(
        lanes,
        &content,
        came,
        ShardTarget::Sink(Box::new(shelf.clone())),
    )
    .await;
    let kept = shelf.0.lock().unwrap();
    assert!(kept.finished && kept.content == content);
}

async fn shards_that_nobody_expects_are_stopped(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let content = noise(3, 3 << 20);
    let (shard, bytes) = shard_of(&content);
    let send = |offset: u32| {
        let rest = content[usize::try_from(offset).unwrap()..].to_vec();
        let source = ShardSource::Memory(rest.into());
        a.net.send_shard(here, header(&content, offset), source, 0);
    };
    send(0);
    assert!(sent(&mut a, shard).await.1.is_err());
    // Expected, but from somewhere else or of another length.
    let send = |offset: u32| {
        let rest = content[usize::try_from(offset).unwrap()..].to_vec();
        let source = ShardSource::Memory(rest.into());
        a.net.send_shard(here, header(&content, offset), source, 0);
    };
    for agreed in [(bytes, 64), (bytes - 1, 0)] {
        b.net.expect_shard(there, shard, agreed, memory());
        send(0);
        let (came, outcome, _) = received(&mut b, shard).await;
        assert_eq!((came, outcome), (0, Err(TransferError::WrongBytes)));
    }
    // The link survives all that.
    a.net.send(here, &Message::Ping(1)).unwrap();
    loop {
        if let NetEvent::Message { message, .. } = b.next().await {
            assert_eq!(message, Message::Ping(1));
            break;
        }
    }
}

async fn other_bytes_than_the_shards_are_noticed(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let content = noise(4, 1 << 20);
    let (shard, bytes) = shard_of(&content);
    let mut forged = content.clone();
    forged[77] ^= 1;
    b.net.expect_shard(there, shard, (bytes, 0), memory());
    let source = ShardSource::Memory(forged.into());
    a.net.send_shard(here, header(&content, 0), source, 0);
    let (_, outcome, held) = received(&mut b, shard).await;
    assert_eq!(outcome, Err(TransferError::WrongBytes));
    assert!(held.is_empty(), "forged bytes are not handed on");
}

async fn a_full_disk_stops_the_sender(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let content = noise(5, 8 << 20);
    let (shard, bytes) = shard_of(&content);
    let shelf = Shelf::default();
    shelf.0.lock().unwrap().room = Some(1 << 20);
    let target = ShardTarget::Sink(Box::new(shelf.clone()));
    b.net.expect_shard(there, shard, (bytes, 0), target);
    let source = ShardSource::Memory(content.clone().into());
    a.net.send_shard(here, header(&content, 0), source, 0);
    let (_, outcome, _) = received(&mut b, shard).await;
    assert_eq!(outcome, Err(TransferError::DiskFull));
    assert!(sent(&mut a, shard).await.1.is_err());
    assert!(shelf.0.lock().unwrap().suspended);
}

async fn a_source_that_ends_early_is_no_shard(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let content = noise(6, 2 << 20);
    let (shard, bytes) = shard_of(&content);
    let short = content[..1 << 20].to_vec();
    let sources = [
        (
            ShardSource::Memory(short.clone().into()),
            TransferError::WrongBytes,
        ),
        (
            ShardSource::Reader(Box::new(io::Cursor::new(short))),
            TransferError::Disk,
        ),
    ];
    for (source, error) in sources {
        b.net.expect_shard(there, shard, (bytes, 0), memory());
        a.net.send_shard(here, header(&content, 0), source, 0);
        assert_eq!(sent(&mut a, shard).await.1, Err(error));
        let (_, outcome, _) = received(&mut b, shard).await;
        assert_eq!(outcome, Err(TransferError::LinkLost));
    }
}

async fn everything_asked_is_answered_before_the_link_is_down(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, _) = a.meet(&mut b).await;
    let (shard, bytes) = shard_of(b"never sent");
    a.net.expect_shard(here, shard, (bytes, 0), memory());
    b.net.close().await;
    let before = a.link_down(here).await;
    assert!(matches!(
        before[..],
        [NetEvent::ShardReceived {
            outcome: Err(TransferError::LinkLost),
            ..
        }]
    ));
    // A link that is gone, or never was, answers too.
    a.net.expect_shard(LinkId(77), shard, (bytes, 0), memory());
    assert_eq!(
        received(&mut a, shard).await.1,
        Err(TransferError::LinkLost)
    );
    let source = ShardSource::Memory(Bytes::from_static(b"never sent"));
    a.net.send_shard(here, header(b"never sent", 0), source, 0);
    assert_eq!(sent(&mut a, shard).await, (0, Err(TransferError::LinkLost)));
}

async fn streams_of_a_link_keep_its_rate_together(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    let content: Vec<Bytes> = (0..4).map(|seed| noise(seed, 75_000).into()).collect();
    for (rate, least) in [(Some(200_000), 1.4), (None, 0.0)] {
        a.net.limit(here, rate.and_then(NonZeroU64::new));
        let start = Instant::now();
        for content in &content {
            let (shard, bytes) = shard_of(content);
            b.net.expect_shard(there, shard, (bytes, 0), memory());
            let source = ShardSource::Memory(content.clone());
            a.net.send_shard(here, header(content, 0), source, 0);
        }
        for _ in &content {
            let NetEvent::ShardReceived { outcome, .. } = b.next().await else {
                panic!("a shard comes")
            };
            assert_eq!(outcome, Ok(()));
        }
        // 300 kB less the first slices. How much longer it takes depends on the machine.
        assert!(start.elapsed().as_secs_f64() > least);
    }
}

async fn a_link_that_ends_does_not_wait_for_its_pace(lanes: bool) {
    let (mut a, mut b) = pair(lanes).await;
    let (here, there) = a.meet(&mut b).await;
    a.net.limit(here, NonZeroU64::new(1));
    let content = noise(1, 100_000);
    let (shard, bytes) = shard_of(&content);
    b.net.expect_shard(there, shard, (bytes, 0), memory());
    let source = ShardSource::Memory(content.clone().into());
    a.net.send_shard(here, header(&content, 0), source, 0);
    a.net.close_link(here, Farewell::Done);
    let before = a.link_down(here).await;
    let lost = |event: &NetEvent| {
        matches!(
            event,
            NetEvent::ShardSent {
                outcome: Err(TransferError::LinkLost),
                ..
            }
        )
    };
    assert!(before.iter().any(lost), "{before:?}");
}

/// Every test runs on QUIC streams and on a lane.
macro_rules! both_ways {
    ($($test:ident),* $(,)?) => {
        mod streams {
            $(#[tokio::test] async fn $test() { super::$test(false).await; })*
        }
        mod lane {
            $(#[tokio::test] async fn $test() { super::$test(true).await; })*
        }
    };
}

both_ways!(
    sixty_four_mebibytes_in_four_streams,
    broken_in_memory_and_resumed,
    broken_at_a_sink_and_resumed,
    shards_that_nobody_expects_are_stopped,
    other_bytes_than_the_shards_are_noticed,
    a_full_disk_stops_the_sender,
    a_source_that_ends_early_is_no_shard,
    everything_asked_is_answered_before_the_link_is_down,
    streams_of_a_link_keep_its_rate_together,
    a_link_that_ends_does_not_wait_for_its_pace,
);
