//! The host: does what a node's effects say, on a simulated disk and a simulated network.
//!
//! It does exactly what the daemon's driver does, and decides nothing. What takes time at the daemon
//! comes back later here too, so that anything may happen in between.

mod own;
mod rescue;
mod shards;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
};

use carryall_core::{
    entry::SignedEntry,
    event::{Command, CommandRefused, Effect, Event, Gate, LinkId, Notice},
    id::{DeviceId, PackId, ShardId},
    key::Identity,
    limits,
    message::Message,
    node::Node,
    plan::Order,
    time::Timestamp,
};
use carryall_store::{
    aside::Aside, catalogue::Catalogue, disk::Disk, feeds::Feeds, history::History,
    mem_disk::MemDisk, rebuild::Rebuilder, shelf::Shelf, spool::Spool, vault::Vault,
};

use self::own::Arrival;
use self::shards::Inbound;
pub(crate) use self::{rescue::Rescue, view::is_whole};
use crate::options::Mistake;

/// Where a machine's vault lies on its disk.
pub(crate) const HOME: &str = "/home/vault";
/// Where its owner's files lie.
pub(crate) const FILES: &str = "/home/files";
/// Bytes of the disk that the shelf leaves free.
const KEEP_FREE: u64 = 64 << 10;
/// Most bytes of own packs that wait in the spool.
const SPOOL_CAP: u64 = 64 << 20;
/// Bytes of entries read at a time.
const READ_BYTES: usize = limits::FRAME_BYTES_MAX - 1024;

/// Entries with which no mistake is made: enough to belong to a circle.
const ENTRIES_SPARED: u64 = 20;

/// Why a host can't go on: always the disk, in one way or another.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Halt(String);

impl Halt {
    pub(crate) fn new(error: &dyn std::error::Error) -> Self {
        Self(error.to_string())
    }

    pub(crate) fn because(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

/// What the host wants of the world.
#[derive(Debug)]
pub(crate) enum Out {
    /// Connect.
    Dial(DeviceId, Gate),
    /// Say this on a link.
    Say(LinkId, Message),
    /// Send this part of a shard, to its end.
    Stream {
        link: LinkId,
        shard: ShardId,
        offset: u32,
        bytes: Vec<u8>,
    },
    /// Close a link once all is said.
    HangUp(LinkId),
    /// The disk answers after a while.
    Answer(Event),
    /// For people and reports.
    Notice(Notice),
}

/// Entries that the disk did not take yet.
#[derive(Debug)]
struct Unsaved {
    device: DeviceId,
    from: u64,
    entries: Vec<SignedEntry>,
    own: bool,
}

/// One running process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) disk: MemDisk,
    vault: Vault,
    feeds: Feeds,
    history: History,
    shelf: Shelf,
    parcels: Shelf,
    spool: Spool,
    aside: Aside,
    catalogue: Catalogue,
    unsaved: VecDeque<Unsaved>,
    inbound: BTreeMap<(LinkId, ShardId), Inbound>,
    fetched: BTreeMap<PackId, BTreeMap<u8, Vec<u8>>>,
    partial: BTreeMap<ShardId, Vec<u8>>,
    rebuilder: Rebuilder,
    /// Packs that are lost: the node hears of it next.
    dropped: Vec<PackId>,
    /// Packs that friends brought, for whoever asked for them.
    pub(crate) arrivals: Vec<Arrival>,
    mistake: Option<Mistake>,
    out: Vec<Out>,
}

impl Host {
    /// Makes a vault on an empty disk. With `entropy` a circle is founded.
    pub(crate) fn create(
        disk: &MemDisk,
        identity: Identity,
        entropy: Option<[u8; 32]>,
        now: Timestamp,
    ) -> Result<(), Halt> {
        let (identity, entries) = match entropy {
            Some(entropy) => carryall_core::node::found(identity, &entropy, now),
            None => (identity, Vec::new()),
        };
        let device = identity.device();
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let vault = Vault::create(disk, Path::new(HOME), identity).map_err(|e| Halt::new(&e))?;
        if !entries.is_empty() {
            let feeds = vault.feeds(&mut |_, _, _| {}).map_err(|e| Halt::new(&e))?;
            feeds
                .append(device, 0, &entries)
                .map_err(|e| Halt::new(&e))?;
        }
        Ok(())
    }

    /// Starts a process on what the disk holds.
    pub(crate) fn open(
        disk: &MemDisk,
        seed: [u8; 32],
        now: Timestamp,
        mistake: Option<Mistake>,
        order: Order,
    ) -> Result<Self, Halt> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let vault = Vault::open(shared, Path::new(HOME)).map_err(|e| Halt::new(&e))?;
        let mut node = Node::new(vault.identity(), seed, now).with_order(order);
        let mut refused = None;
        let mut refuse = |device, seq, error| {
            refused.get_or_insert((device, seq, error));
        };
        let mut replay = node.replaying(&mut refuse);
        let feeds = vault
            .feeds(&mut |device, _, entry| replay.take(device, entry))
            .map_err(|e| Halt::new(&e))?;
        replay.finish();
        if let Some((device, seq, error)) = refused {
            return Err(Halt(format!("entry {seq} of {device:?} on disk: {error}")));
        }
        feeds.check_own().map_err(|e| Halt::new(&e))?;
        let history = vault.history().map_err(|e| Halt::new(&e))?;
        let known = history.read(&mut |meeting| node.learn_meeting(meeting));
        known.map_err(|e| Halt::new(&e))?;
        let shelf = vault.shelf(KEEP_FREE).map_err(|e| Halt::new(&e))?;
        let parcels = vault.parcels(KEEP_FREE).map_err(|e| Halt::new(&e))?;
        let spool = vault.spool(SPOOL_CAP).map_err(|e| Halt::new(&e))?;
        let aside = vault.aside(0).map_err(|e| Halt::new(&e))?;
        let catalogue = vault.catalogue().map_err(|e| Halt::new(&e))?;
        let mut host = Self {
            node,
            disk: disk.clone(),
            vault,
            feeds,
            history,
            shelf,
            parcels,
            spool,
            aside,
            catalogue,
            unsaved: VecDeque::new(),
            inbound: BTreeMap::new(),
            fetched: BTreeMap::new(),
            partial: BTreeMap::new(),
            rebuilder: Rebuilder::new(),
            dropped: Vec::new(),
            arrivals: Vec::new(),
            mistake,
            out: Vec::new(),
        };
        host.learn_own()?;
        host.learn_shelf();
        let days = host.vault.days().map_err(|e| Halt::new(&e))?;
        host.node.learn_days(days);
        host.node.start(now);
        host.repair_index()?;
        host.publish_newest(now)?;
        Ok(host)
    }

    /// Hands the node an event and does what it wants done.
    pub(crate) fn event(&mut self, now: Timestamp, event: Event) {
        if self.mistake == Some(Mistake::RepeatShards)
            && let Event::LinkUp { link, .. } = event
        {
            self.send_any_shard(link);
        }
        self.node.handle_event(now, event);
        self.act(now);
    }

    /// Lets the node know that time has passed.
    pub(crate) fn timeout(&mut self, now: Timestamp) {
        self.node.handle_timeout(now);
        self.act(now);
    }

    /// Hands the node a command.
    pub(crate) fn command(
        &mut self,
        now: Timestamp,
        command: Command,
    ) -> Result<(), CommandRefused> {
        let done = self.node.command(now, command);
        self.act(now);
        done
    }

    /// Takes what the host wants of the world.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Does everything that the node wants done.
    pub(crate) fn act(&mut self, now: Timestamp) {
        while let Some(effect) = self.node.poll_effect() {
            self.interpret(now, effect);
            while let Some(pack) = self.dropped.pop() {
                // Nothing refuses it.
                let _ = self.node.command(now, Command::DropPack { pack });
            }
        }
    }

    fn interpret(&mut self, now: Timestamp, effect: Effect) {
        match effect {
            Effect::Dial { device, gate, .. } => self.out.push(Out::Dial(device, gate)),
            Effect::Send { link, message } => self.out.push(Out::Say(link, message)),
            Effect::SendEntries {
                link,
                device,
                from,
                to,
            } => {
                self.say_entries(link, device, from, to);
            }
            Effect::Close { link, farewell } => {
                self.out.push(Out::Say(link, Message::Farewell(farewell)));
                self.out.push(Out::HangUp(link));
            }
            Effect::GiveUp { link } => self.out.push(Out::HangUp(link)),
            Effect::Append {
                device,
                from,
                entries,
                own,
            } => {
                self.unsaved.push_back(Unsaved {
                    device,
                    from,
                    entries,
                    own,
                });
                self.save();
            }
            Effect::Reserve {
                link,
                shard,
                owner,
                bytes,
                parcel,
            } => {
                self.reserve(now, (link, shard), owner, bytes, parcel);
            }
            Effect::Receive {
                link,
                shard,
                bytes,
                offset,
                sink,
            } => {
                self.receive(link, shard, bytes, offset, sink);
            }
            Effect::SendShard {
                link,
                shard,
                offset,
                source,
                ..
            } => {
                self.send_shard(link, shard, offset, source);
            }
            // Here links are as fast as they are.
            Effect::Limit { .. } => {}
            Effect::Prove {
                link,
                nonce,
                shard,
                owner,
                group,
            } => {
                self.prove(link, nonce, shard, owner, group);
            }
            Effect::Discard { owner, shards, day } => self.discard(owner, &shards, day),
            Effect::Retrieve { owner, shards } => self.retrieve(owner, &shards),
            Effect::Erase { owner, shards } => self.erase(owner, &shards),
            Effect::DropParcels { owner, shards } => {
                let shards = self.parcels.remove_all(owner, &shards);
                (self.out).push(Out::Answer(Event::ParcelsDropped { owner, shards }));
            }
            Effect::KeepDays { days } => {
                // Without it deletion takes longer.
                let _ = self.vault.keep_days(&days);
            }
            Effect::PackFetched { pack } => self.pack_fetched(&pack),
            Effect::Respool { pack } => self.respool(&pack),
            Effect::PartRead { .. } => {}
            Effect::SetAside { pack } => self.set_aside(pack),
            Effect::DropAside { pack } => {
                // What is left is dropped at another time.
                let _ = self.aside.remove(pack);
            }
            Effect::Scrub { owner, shard } => self.scrub(owner, shard),
            Effect::Adopt { identity } => {
                // Without it nothing that follows may happen; the power cut that is the only
                // reason ends this process.
                let _ = self.vault.replace_identity(*identity);
            }
            Effect::Remember { meeting } => {
                // If the disk refuses, this run knows of it all the same.
                let _ = self.history.append(&meeting);
            }
            Effect::Unspool { pack } => {
                // It only takes room if the disk refuses.
                let _ = self.spool.remove(pack);
            }
            Effect::Notify(notice) => {
                if let Notice::SourceChanged { pack } = notice {
                    self.forget_if_lost(now, pack);
                }
                self.out.push(Out::Notice(notice));
            }
        }
    }

    /// Writes entries that wait for the disk, in order. What it doesn't take waits on.
    pub(crate) fn save(&mut self) {
        while let Some(next) = self.unsaved.front() {
            let spared = !next.own || next.from < ENTRIES_SPARED;
            if !spared && self.mistake == Some(Mistake::TellUnwritten) {
                let len = next.from + next.entries.len() as u64;
                self.out.push(Out::Answer(Event::Appended { len }));
                self.unsaved.pop_front();
                continue;
            }
            let Ok(len) = self.feeds.append(next.device, next.from, &next.entries) else {
                return;
            };
            if next.own {
                self.out.push(Out::Answer(Event::Appended { len }));
            }
            self.unsaved.pop_front();
        }
    }

    fn say_entries(&mut self, link: LinkId, device: DeviceId, mut from: u64, mut to: u64) {
        if self.mistake == Some(Mistake::HoldBackNews) {
            to = to.min(ENTRIES_SPARED);
        }
        while from < to {
            let Ok(entries) = self.feeds.read(device, from, to, READ_BYTES) else {
                return;
            };
            if entries.is_empty() {
                return;
            }
            from += entries.len() as u64;
            self.out.push(Out::Say(link, Message::Entries(entries)));
        }
    }
}
