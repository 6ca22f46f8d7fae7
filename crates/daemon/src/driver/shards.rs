//! Shard bytes between disk and net: reserving, receiving, sending, proving.
//!
//! Everything that waits for a disk runs on threads that may; the outcome goes to the inbox.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use carryall_core::{
    beacon::{Beacon, Who},
    event::{Event, Gate, LinkId, Sink, Source, TransferError},
    id::{DeviceId, MemberId, PackId, ShardId},
    message::{Refusal, ShardHeader},
};
use carryall_net::{Direction, NetEvent, ShardSink, ShardSource, ShardTarget};
use carryall_store::shelf::{Incoming, ShelfError, ShelvedShard};
use tokio::task::spawn_blocking;

use super::World;
use crate::{clock, packs::Loaded, quiet};

type Key = (LinkId, ShardId);

/// The shards under way.
#[derive(Debug)]
pub(super) struct Shards {
    world: World,
    peers: BTreeMap<LinkId, DeviceId>,
    /// Room that was promised, until the stream comes.
    reserved: Arc<Mutex<BTreeMap<Key, Incoming>>>,
    /// The links that are up: a promise that a slow disk makes too late is taken back at once, else
    /// nobody could ever bring that shard again.
    up: Arc<Mutex<BTreeSet<LinkId>>>,
    /// Where the shards that we expect go.
    expected: BTreeMap<Key, Sink>,
    /// Our own packs that are being sent, and stay in memory for that long.
    sending: Arc<Mutex<BTreeMap<Key, Loaded>>>,
}

impl Shards {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            peers: BTreeMap::new(),
            reserved: Arc::default(),
            up: Arc::default(),
            expected: BTreeMap::new(),
            sending: Arc::default(),
        }
    }

    /// Promises room on the shelf, or among the parcels.
    pub(super) fn reserve(
        &self,
        link: LinkId,
        shard: ShardId,
        (owner, bytes): (MemberId, u32),
        parcel: bool,
    ) {
        let (store, inbox) = (self.world.store.clone(), self.world.inbox.clone());
        let (reserved, up) = (self.reserved.clone(), self.up.clone());
        spawn_blocking(move || {
            let shelf = if parcel { &store.parcels } else { &store.shelf };
            let promised = shelf.reserve(owner, shard, bytes, clock::now());
            let outcome = promised.map_err(|error| refusal(&error)).map(|incoming| {
                let offset = incoming.offset();
                let mut parts = locked(&reserved);
                if locked(&up).contains(&link) {
                    parts.insert((link, shard), incoming);
                }
                offset
            });
            inbox.tell(Event::Reserved {
                link,
                shard,
                outcome,
            });
        });
    }

    /// Expects the peer's stream.
    pub(super) fn receive(
        &mut self,
        link: LinkId,
        shard: ShardId,
        (bytes, offset): (u32, u32),
        sink: Sink,
    ) {
        let target = match sink {
            Sink::Shelf { .. } | Sink::Parcel { .. } => locked(&self.reserved)
                .remove(&(link, shard))
                .map(|incoming| ShardTarget::Sink(Box::new(ShelfSink(incoming)))),
            Sink::Fetch { .. } => Some(ShardTarget::Memory {
                before: self.world.fetched.memory(),
            }),
        };
        let (Some(net), Some(target)) = (&self.world.net, target) else {
            let outcome = Err(TransferError::LinkLost);
            return self.world.inbox.tell(Event::Received {
                link,
                shard,
                outcome,
            });
        };
        self.expected.insert((link, shard), sink);
        net.expect_shard(link, shard, (bytes, offset), target);
    }

    /// Sends a shard, from the shelf or made from a pack of ours.
    pub(super) fn send(
        &self,
        link: LinkId,
        shard: ShardId,
        offset: u32,
        source: Source,
        priority: i32,
    ) {
        let (world, sending) = (self.world.clone(), self.sending.clone());
        tokio::spawn(async move {
            let opened = match source {
                Source::Shelf { owner } => open_shelved(&world, owner, shard, offset).await,
                Source::Parcel { owner } => open_parcel(&world, owner, shard, offset).await,
                Source::Own { pack, index } => {
                    match crate::packs::load(&world, pack, index).await {
                        Ok(loaded) => {
                            let opened = slice(&loaded, offset);
                            locked(&sending).insert((link, shard), loaded);
                            opened
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match (opened, &world.net) {
                (Ok((bytes, source)), Some(net)) => {
                    net.send_shard(
                        link,
                        ShardHeader {
                            shard,
                            offset,
                            bytes,
                        },
                        source,
                        priority,
                    );
                }
                (outcome, _) => {
                    let error = outcome.err().unwrap_or(TransferError::LinkLost);
                    if let (TransferError::SourceChanged, Source::Own { pack, .. }) =
                        (error, source)
                    {
                        world.inbox.tell(Event::PackBroken { pack });
                    }
                    world.inbox.tell(Event::Sent {
                        link,
                        shard,
                        outcome: Err(error),
                    });
                }
            }
        });
    }

    /// Shows a group of a shard on the shelf.
    pub(super) fn prove(
        &self,
        link: LinkId,
        nonce: u64,
        shard: ShardId,
        owner: MemberId,
        group: u32,
    ) {
        let (store, inbox) = (self.world.store.clone(), self.world.inbox.clone());
        spawn_blocking(move || {
            let proof = match store.shelf.prove(owner, shard, group) {
                Ok(proof) => Some(proof),
                Err(error) => {
                    tracing::warn!(shard = %shard.short(), %error, "can't prove a shard");
                    if matches!(error, ShelfError::Damaged(_) | ShelfError::Missing(_)) {
                        inbox.tell(Event::ShardLost { owner, shard });
                    }
                    None
                }
            };
            inbox.tell(Event::Proof {
                link,
                nonce,
                shard,
                group,
                proof,
            });
        });
    }

    /// Reads a shard on the shelf. One that is damaged is removed, since it can be had again.
    pub(super) fn scrub(&self, owner: MemberId, shard: ShardId) {
        let (store, inbox) = (self.world.store.clone(), self.world.inbox.clone());
        tokio::spawn(async move {
            let scrubbed = quiet::blocking(move || {
                let scrubbed = store.shelf.scrub(owner, shard);
                if matches!(scrubbed, Err(ShelfError::Damaged(_))) {
                    store.shelf.remove(owner, shard)?;
                }
                Ok(scrubbed)
            });
            let good = match scrubbed.await {
                Ok(Err(ShelfError::Damaged(_) | ShelfError::Missing(_))) => false,
                Ok(Ok(())) => true,
                // A disk that can't be read now says nothing about the shard.
                Ok(Err(error)) => {
                    tracing::warn!(shard = %shard.short(), %error, "can't read a shard");
                    true
                }
                Err(error) => {
                    tracing::warn!(shard = %shard.short(), %error, "can't remove a shard");
                    true
                }
            };
            if !good {
                tracing::warn!(shard = %shard.short(), "a shard was damaged; its owner is told");
                inbox.tell(Event::ShardLost { owner, shard });
            }
            inbox.tell(Event::Scrubbed { good });
        });
    }

    /// Drops the spooled copy of a pack.
    pub(super) fn unspool(&self, pack: PackId) {
        let store = self.world.store.clone();
        spawn_blocking(move || {
            if let Err(error) = store.spool.remove(pack) {
                tracing::warn!(pack = %pack.short(), %error, "can't clear the spool");
            }
        });
    }

    /// Turns what the net says into what the core understands, and takes care of the bytes.
    pub(super) fn translate(&mut self, event: NetEvent) -> Option<Event> {
        Some(match event {
            NetEvent::LinkUp {
                link,
                peer,
                dialled,
                gate,
                facts,
                ..
            } => {
                self.peers.insert(link, peer);
                locked(&self.up).insert(link);
                Event::LinkUp {
                    link,
                    peer,
                    dialled,
                    gate,
                    facts,
                }
            }
            NetEvent::LinkMeasured { link, facts } => Event::Measured { link, facts },
            NetEvent::LinkDown { link } => {
                self.forget(link);
                Event::LinkDown { link }
            }
            NetEvent::Alive { link } => Event::Alive { link },
            NetEvent::DialFailed { device } => Event::DialFailed { device },
            NetEvent::Message { link, message } => Event::Message { link, message },
            NetEvent::Garbage { link } => Event::Garbage { link },
            NetEvent::ShardSent {
                link,
                shard,
                bytes,
                outcome,
            } => {
                self.count(link, Direction::Sending, bytes);
                locked(&self.sending).remove(&(link, shard));
                Event::Sent {
                    link,
                    shard,
                    outcome,
                }
            }
            NetEvent::ShardReceived {
                link,
                shard,
                bytes,
                outcome,
                content,
            } => {
                self.count(link, Direction::Receiving, bytes);
                if let Some(Sink::Fetch { pack, index }) = self.expected.remove(&(link, shard))
                    && outcome.is_ok()
                {
                    self.world.fetched.add(pack, index, content);
                }
                Event::Received {
                    link,
                    shard,
                    outcome,
                }
            }
            NetEvent::BeaconSeen {
                who,
                beacon,
                address,
                ..
            } => heard(who, &beacon, address),
            NetEvent::Arrived { .. } => return None,
        })
    }

    fn count(&self, link: LinkId, direction: Direction, bytes: u32) {
        if let Some(peer) = self.peers.get(&link) {
            self.world.meter.add(*peer, direction, bytes);
        }
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.remove(&link) {
            self.world.meter.forget(peer);
        }
        locked(&self.up).remove(&link);
        self.expected.retain(|(of, _), _| *of != link);
        let reserved = self.reserved.clone();
        let sending = self.sending.clone();
        let store = self.world.store.clone();
        // With nobody left to send to, no pack needs to stay in memory.
        let idle = self.peers.is_empty().then(|| self.world.rebuilder.clone());
        // Closing parts writes to the disk.
        spawn_blocking(move || {
            if let Some(rebuilder) = idle {
                rebuilder.clear();
            }
            locked(&sending).retain(|(of, _), _| *of != link);
            let mut parts = locked(&reserved);
            let gone: Vec<Key> = parts
                .keys()
                .filter(|(of, _)| *of == link)
                .copied()
                .collect();
            let gone: Vec<Incoming> = gone.iter().filter_map(|key| parts.remove(key)).collect();
            drop(parts);
            drop(gone);
            // What came of parcels has no room of its own.
            if let Err(error) = store.parcels.drop_parts() {
                tracing::warn!(%error, "can't drop parts of parcels");
            }
        });
    }
}

/// Says in the core's words whose beacon was heard.
fn heard(who: Who, beacon: &Beacon, address: SocketAddr) -> Event {
    let (device, addresses) = (beacon.device, vec![address]);
    let gate = match who {
        Who::Device(device) => {
            return Event::Near {
                device,
                news: beacon.news,
                addresses,
            };
        }
        Who::Invite(id) => Gate::Invite(id),
        Who::Rendezvous(member) => Gate::Rendezvous(member),
    };
    Event::DoorNear {
        device,
        gate,
        addresses,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(error: &ShelfError) -> Refusal {
    match error {
        ShelfError::Have => Refusal::Have,
        error if error.is_full() => Refusal::DiskFull,
        ShelfError::Busy => Refusal::Busy,
        error => {
            tracing::error!(%error, "can't reserve room on the shelf");
            Refusal::Busy
        }
    }
}

fn transfer_error(error: &ShelfError) -> TransferError {
    match error {
        ShelfError::WrongBytes(_) => TransferError::WrongBytes,
        ShelfError::Incomplete => TransferError::LinkLost,
        error if error.is_full() => TransferError::DiskFull,
        error => {
            tracing::error!(%error, "can't shelve a shard");
            TransferError::Disk
        }
    }
}

/// A part on the shelf as the net wants it.
#[derive(Debug)]
struct ShelfSink(Incoming);

impl ShardSink for ShelfSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.0.write(bytes).map_err(|error| transfer_error(&error))
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        self.0.finish().map_err(|error| transfer_error(&error))
    }

    fn suspend(self: Box<Self>) {
        // Dropping a part keeps what came.
    }
}

type Opened = Result<(u32, ShardSource), TransferError>;

async fn open_shelved(world: &World, owner: MemberId, shard: ShardId, offset: u32) -> Opened {
    let (store, inbox) = (world.store.clone(), world.inbox.clone());
    let opened = spawn_blocking(move || match store.shelf.read(owner, shard) {
        Ok(file) => Ok(stream(file, offset)),
        Err(error) => {
            tracing::warn!(shard = %shard.short(), %error, "can't read a shard");
            if matches!(error, ShelfError::Damaged(_) | ShelfError::Missing(_)) {
                inbox.tell(Event::ShardLost { owner, shard });
            }
            Err(TransferError::Disk)
        }
    });
    opened.await.unwrap_or(Err(TransferError::Disk))
}

async fn open_parcel(world: &World, owner: MemberId, shard: ShardId, offset: u32) -> Opened {
    let store = world.store.clone();
    let opened = spawn_blocking(move || match store.parcels.read(owner, shard) {
        Ok(file) => Ok(stream(file, offset)),
        Err(error) => {
            tracing::warn!(shard = %shard.short(), %error, "can't read a parcel");
            Err(TransferError::Disk)
        }
    });
    opened.await.unwrap_or(Err(TransferError::Disk))
}

fn stream(file: ShelvedShard, offset: u32) -> (u32, ShardSource) {
    let bytes = file.bytes();
    let source = ShelfSource { file, offset };
    (bytes, ShardSource::Reader(Box::new(source)))
}

fn slice(loaded: &Loaded, offset: u32) -> Opened {
    let content: &Bytes = loaded.shard();
    let bytes = u32::try_from(content.len()).map_err(|_| TransferError::Disk)?;
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(content.len());
    Ok((bytes, ShardSource::Memory(content.slice(start..))))
}

/// A shard on the shelf as a stream.
#[derive(Debug)]
struct ShelfSource {
    file: ShelvedShard,
    offset: u32,
}

impl Read for ShelfSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .file
            .read_at(buffer, self.offset)
            .map_err(io::Error::other)?;
        self.offset += u32::try_from(count).map_err(io::Error::other)?;
        Ok(count)
    }
}
