//! The one thread that reads and writes feeds, the history and the identity and moves shards to the
//! trash, in the order in which the core said so.
//!
//! Entries of all jobs that wait share a sync, then the core is told. Nothing of ours is said
//! to anybody before.

use std::{collections::VecDeque, mem, ops::Range, time::Duration};

use carryall_core::{
    entry::SignedEntry, event::Event, id::DeviceId, key::Identity, meeting::Meeting,
};
use carryall_store::feeds::FeedError;
use tokio::sync::{mpsc, oneshot};

use super::{World, trash::Shelving};

/// How many waiting jobs share one sync.
const JOBS_PER_SYNC: usize = 1024;
/// How long to wait before a disk that refused is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How many bytes of entries one read returns at most.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug)]
enum Job {
    Adopt(Box<Identity>),
    Remember(Meeting),
    Append(Append),
    Shelve(Shelving),
    Read {
        device: DeviceId,
        run: Range<u64>,
        answer: oneshot::Sender<Vec<SignedEntry>>,
    },
    Finish(oneshot::Sender<()>),
}

/// Entries for the end of a feed.
#[derive(Debug)]
struct Append {
    device: DeviceId,
    from: u64,
    entries: Vec<SignedEntry>,
    own: bool,
}

impl Append {
    fn is_continued_by(&self, next: &Self) -> bool {
        self.device == next.device && self.from + self.entries.len() as u64 == next.from
    }
}

/// A way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Feeds(mpsc::UnboundedSender<Job>);

impl Feeds {
    /// Starts the thread.
    pub(super) fn start(world: World) -> Self {
        let (sender, jobs) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || work(&world, jobs));
        Self(sender)
    }

    /// Appends entries to a feed.
    pub(super) fn append(&self, device: DeviceId, from: u64, entries: Vec<SignedEntry>, own: bool) {
        // The thread ends only when the driver does.
        let _ = self.0.send(Job::Append(Append {
            device,
            from,
            entries,
            own,
        }));
    }

    /// Stores who this device is from now on, before anything that follows.
    pub(super) fn adopt(&self, identity: Identity) {
        let _ = self.0.send(Job::Adopt(Box::new(identity)));
    }

    /// Moves shards to the trash, back or out of it, after the entries that came before.
    pub(super) fn shelve(&self, shelving: Shelving) {
        let _ = self.0.send(Job::Shelve(shelving));
    }

    /// Adds a meeting to the history.
    pub(super) fn remember(&self, meeting: Meeting) {
        let _ = self.0.send(Job::Remember(meeting));
    }

    /// Reads the beginning of a run; nothing when that can't be done.
    pub(super) async fn read(&self, device: DeviceId, run: Range<u64>) -> Vec<SignedEntry> {
        let (answer, entries) = oneshot::channel();
        let _ = self.0.send(Job::Read {
            device,
            run,
            answer,
        });
        entries.await.unwrap_or_default()
    }

    /// Waits until all that was said before is on disk.
    pub(super) async fn finish(&self) {
        let (answer, done) = oneshot::channel();
        let _ = self.0.send(Job::Finish(answer));
        let _ = done.await;
    }
}

fn work(world: &World, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut unwritten = Unwritten::default();
    while let Some(first) = next(&mut jobs, &unwritten) {
        let mut next = first;
        for _ in 0..JOBS_PER_SYNC {
            let Some(job) = mem::take(&mut next).or_else(|| jobs.try_recv().ok()) else {
                break;
            };
            match job {
                Job::Append(append) => unwritten.add(append),
                Job::Read {
                    device,
                    run,
                    answer,
                } => {
                    unwritten.write(world);
                    let _ = answer.send(read(world, device, &run));
                }
                Job::Adopt(identity) => {
                    unwritten.write(world);
                    adopt(world, *identity);
                }
                Job::Shelve(shelving) => {
                    unwritten.write(world);
                    shelving.perform(world);
                }
                Job::Remember(meeting) => remember(world, &meeting),
                Job::Finish(answer) => {
                    unwritten.write(world);
                    let _ = answer.send(());
                }
            }
        }
        unwritten.write(world);
    }
}

/// Waits for a job, or for the time to try again what the disk refused. The outer nothing: no more
/// jobs come.
fn next(jobs: &mut mpsc::UnboundedReceiver<Job>, unwritten: &Unwritten) -> Option<Option<Job>> {
    if unwritten.0.is_empty() {
        return jobs.blocking_recv().map(Some);
    }
    std::thread::sleep(TRY_AGAIN);
    match jobs.try_recv() {
        Ok(job) => Some(Some(job)),
        Err(mpsc::error::TryRecvError::Empty) => Some(None),
        Err(mpsc::error::TryRecvError::Disconnected) => None,
    }
}

/// Entries that are not on disk yet, in order. They stay while the disk refuses them, for want of
/// room mostly, so that everything goes on once there is some.
#[derive(Debug, Default)]
struct Unwritten(VecDeque<Append>);

impl Unwritten {
    /// Adds entries. What continues the last ones shares their sync.
    fn add(&mut self, append: Append) {
        match self.0.back_mut() {
            Some(last) if last.is_continued_by(&append) => last.entries.extend(append.entries),
            _ => self.0.push_back(append),
        }
    }

    /// Writes as much as the disk takes.
    fn write(&mut self, world: &World) {
        while let Some(append) = self.0.front() {
            let written = world
                .store
                .feeds
                .append(append.device, append.from, &append.entries);
            match written {
                Ok(len) if append.own => world.inbox.tell(Event::Appended { len }),
                Ok(_) => {}
                Err(error @ FeedError::Disk(_)) => {
                    tracing::error!(%error, "can't write a feed; trying again");
                    return;
                }
                // Others' entries can be had again: after the next start the core asks for them.
                Err(error) => tracing::error!(%error, "can't write a feed"),
            }
            self.0.pop_front();
        }
    }
}

fn adopt(world: &World, identity: Identity) {
    if let Err(error) = world.store.vault.replace_identity(identity) {
        // Without it the next start asks for admission again; nothing else is lost.
        tracing::error!(%error, "can't store this device's identity");
    }
}

fn remember(world: &World, meeting: &Meeting) {
    if let Some(history) = &world.store.history
        && let Err(error) = history.append(meeting)
    {
        // This run knows of it all the same.
        tracing::warn!(%error, "can't remember a meeting");
    }
}

fn read(world: &World, device: DeviceId, run: &Range<u64>) -> Vec<SignedEntry> {
    let entries = world
        .store
        .feeds
        .read(device, run.start, run.end, READ_BYTES);
    entries.unwrap_or_else(|error| {
        tracing::error!(%error, "can't read a feed");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use carryall_core::{
        entry::DeviceClass,
        key::{Names, Words},
        node::{self, Node},
        time::Timestamp,
    };
    use carryall_store::{mem_disk::MemDisk, vault::Vault};
    use tokio::sync::broadcast;

    use super::*;
    use crate::{
        config::Config,
        driver::{Inbox, Input},
        store::Store,
    };

    #[tokio::test]
    async fn what_a_full_disk_refuses_is_written_once_there_is_room() {
        let disk = Arc::new(MemDisk::new());
        let names = Names {
            member: "Anna",
            device: "laptop",
        };
        let root = Words::generate([1; 16]).root();
        let (class, now) = (DeviceClass::Laptop, Timestamp(1));
        let identity = Identity::create(&root, [2; 32], names, class, now).unwrap();
        let (identity, entries) = node::found(identity, &[3; 32], now);
        let device = identity.device();
        let vault = Vault::create(disk.clone(), Path::new("/home"), identity).unwrap();
        let mut node = Node::new(vault.identity(), [4; 32], now);
        let store = Store::open(vault, &Config::default(), &mut node).unwrap();
        let (inbox, mut inputs) = Inbox::new();
        let (notices, _) = broadcast::channel(1);
        let world = World::new(Arc::new(store), None, notices, inbox);
        let feeds = Feeds::start(world);

        disk.fill_after(Some(0));
        let len = entries.len() as u64;
        feeds.append(device, 0, entries[..1].to_vec(), true);
        feeds.append(device, 1, entries[1..].to_vec(), true);
        assert_eq!(feeds.read(device, 0..len).await, []);
        assert!(inputs.try_recv().is_err(), "nothing may be promised");
        disk.fill_after(None);
        let Some(Input::Event(event)) = inputs.recv().await else {
            panic!("the driver must hear of it");
        };
        assert_eq!(event, Event::Appended { len });
        assert_eq!(feeds.read(device, 0..len).await, entries);
    }
}
