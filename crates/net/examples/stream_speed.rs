//! Shard streams against the bare transport, on the loopback interface.
//!
//! `cargo run --release -p carryall-net --example stream_speed [MEBIBYTES [plain]]` prints the speed of
//! one plain QUIC stream and (without `plain`) of shards, and the ratio. Both ends share this process and its cores.

use std::{
    error::Error,
    io::{self, Read},
    time::{Duration, Instant},
};

use bytes::Bytes;
use carryall_core::{
    event::{Gate, LinkId, TransferError},
    id::{DeviceId, ShardId},
    message::ShardHeader,
};
use carryall_net::{Net, NetConfig, NetEvent, ShardSink, ShardSource, ShardTarget};
use iroh::{Endpoint, EndpointAddr, RelayMode, endpoint::presets};
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ALPN: [u8; 16] = *b"carryall speed 1";
const SHARD_BYTES: usize = 16 << 20;
const IN_FLIGHT: usize = 4;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mebibytes = std::env::args().nth(1).map_or(Ok(512), |arg| arg.parse())?;
    let count = (mebibytes << 20) / SHARD_BYTES;
    let content = Bytes::from(noise(SHARD_BYTES));
    println!("{} MiB in shards of 16 MiB, best of {ROUNDS}", count * 16);
    let plain = best(async || plain(&content, count).await).await?;
    report("plain QUIC stream", plain, plain);
    if std::env::args().nth(2).as_deref() == Some("plain") {
        return Ok(());
    }
    for (name, way) in [
        ("shards, memory to sink", Way::Sink),
        ("shards, reader to sink that hashes", Way::Hashed),
        ("shards, memory to memory, verified", Way::Memory),
    ] {
        let speed = best(async || shards(&content, count, way).await).await?;
        report(name, speed, plain);
    }
    Ok(())
}

fn report(name: &str, speed: f64, plain: f64) {
    println!("{name:<36} {speed:>6.0} MiB/s  {:.2}", speed / plain);
}

async fn best(run: impl AsyncFn() -> Outcome<f64>) -> Outcome<f64> {
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        best = best.max(run().await?);
    }
    Ok(best)
}

fn speed(count: usize, took: Duration) -> f64 {
    (count * SHARD_BYTES) as f64 / f64::from(1 << 20) / took.as_secs_f64()
}

/// One uni stream, read into a 1 MiB buffer and forgotten.
async fn plain(content: &Bytes, count: usize) -> Outcome<f64> {
    let bind = || async {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        let builder = builder.clear_ip_transports().bind_addr("127.0.0.1:0")?;
        Outcome::Ok(builder.alpns(vec![ALPN.to_vec()]).bind().await?)
    };
    let (sender, receiver) = (bind().await?, bind().await?);
    let address = receiver.bound_sockets()[0];
    let address = EndpointAddr::new(receiver.id()).with_ip_addr(address);
    let accepting = receiver.clone();
    let reading = tokio::spawn(async move {
        let incoming = accepting.accept().await.ok_or("endpoint closed")?;
        let connection = incoming.await?;
        let mut stream = connection.accept_uni().await?;
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        while let Some(bytes) = stream.read(&mut buffer).await? {
            total += bytes;
        }
        Outcome::Ok((total, connection))
    });
    let connection = sender.connect(address, &ALPN).await?;
    let start = Instant::now();
    let mut stream = connection.open_uni().await?;
    for _ in 0..count {
        stream.write_chunk(content.clone()).await?;
    }
    stream.finish()?;
    let (total, _connection) = reading.await??;
    let took = start.elapsed();
    assert_eq!(total, count * SHARD_BYTES);
    sender.close().await;
    receiver.close().await;
    Ok(speed(count, took))
}

#[derive(Clone, Copy)]
enum Way {
    Sink,
    Hashed,
    Memory,
}

/// Takes the bytes and nothing more, or hashes them as a shelf would.
struct Drain(Option<(Box<blake3::Hasher>, ShardId)>);

impl ShardSink for Drain {
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        if let Some((hasher, _)) = &mut self.0 {
            hasher.update(bytes);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        match self.0 {
            Some((hasher, shard)) if hasher.finalize() != *shard.as_bytes() => {
                Err(TransferError::WrongBytes)
            }
            _ => Ok(()),
        }
    }

    fn suspend(self: Box<Self>) {}
}

/// Reads shared bytes as a file would be read.
struct Shared(Bytes);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.0.split_to(self.0.len().min(buffer.len()));
        buffer[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

/// The same shard again and again, four at a time.
async fn shards(content: &Bytes, count: usize, way: Way) -> Outcome<f64> {
    let shard = ShardId(*blake3::hash(content).as_bytes());
    let (sender, mut sent, _) = node(1).await?;
    let (receiver, mut received, device) = node(2).await?;
    sender.dial(device, &receiver.addresses(), Gate::Circle, ALPN);
    let (here, there) = (up(&mut sent).await?, up(&mut received).await?);
    let bytes = u32::try_from(SHARD_BYTES)?;
    // Streams are told apart by their shard, so each has a name of its own. Where the content is
    // verified the name must be the hash: then one stream runs at a time per name.
    let names: Vec<ShardId> = (0..count)
        .map(|number| match way {
            Way::Sink | Way::Hashed => ShardId([u8::try_from(number % 256).unwrap_or(0); 32]),
            Way::Memory => shard,
        })
        .collect();
    let in_flight = match way {
        Way::Memory => 1,
        Way::Sink | Way::Hashed => IN_FLIGHT,
    };
    let begin = |name: ShardId| {
        let target = match way {
            Way::Sink => ShardTarget::Sink(Box::new(Drain(None))),
            Way::Hashed => ShardTarget::Sink(Box::new(Drain(Some((Box::default(), shard))))),
            Way::Memory => ShardTarget::Memory { before: Vec::new() },
        };
        receiver.expect_shard(there, name, (bytes, 0), target);
        let source = match way {
            Way::Sink | Way::Memory => ShardSource::Memory(content.clone()),
            Way::Hashed => ShardSource::Reader(Box::new(Shared(content.clone()))),
        };
        let header = ShardHeader {
            shard: name,
            offset: 0,
            bytes,
        };
        sender.send_shard(here, header, source, 0);
    };
    let start = Instant::now();
    let mut waiting = names.into_iter();
    waiting.by_ref().take(in_flight).for_each(begin);
    let mut done = 0;
    while done < count {
        let event = received.recv().await.ok_or("network closed")?;
        if let NetEvent::ShardReceived { outcome, .. } = event {
            outcome?;
            done += 1;
            waiting.by_ref().take(1).for_each(begin);
        }
    }
    let took = start.elapsed();
    sender.close().await;
    receiver.close().await;
    Ok(speed(count, took))
}

async fn node(secret: u8) -> Outcome<(Net, mpsc::Receiver<NetEvent>, DeviceId)> {
    let config = NetConfig {
        beacon: None,
        ..NetConfig::loopback([secret; 32])
    };
    let key = iroh::SecretKey::from_bytes(&config.device_secret).public();
    let (net, events) = Net::start(config).await?;
    net.set_gates(vec![(ALPN, Gate::Circle)]);
    Ok((net, events, DeviceId(*key.as_bytes())))
}

async fn up(events: &mut mpsc::Receiver<NetEvent>) -> Outcome<LinkId> {
    match events.recv().await.ok_or("network closed")? {
        NetEvent::LinkUp { link, .. } => Ok(link),
        other => Err(format!("no link but {other:?}").into()),
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
