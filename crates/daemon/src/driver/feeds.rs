//! The one thread that reads and writes feeds and the identity, in the order in which the core said
//! so.
//!
//! Own entries of all jobs that wait are synced once, then the core is told. Nothing of ours is said
//! to anybody before.

use std::{mem, ops::Range};

use carryall_core::{entry::SignedEntry, event::Event, id::DeviceId, key::Identity};
use tokio::sync::{mpsc, oneshot};

use super::World;

/// How many waiting jobs share one sync.
const JOBS_PER_SYNC: usize = 1024;
/// How many bytes of entries one read returns at most.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug)]
enum Job {
    Adopt(Box<Identity>),
    Append {
        device: DeviceId,
        from: u64,
        entries: Vec<SignedEntry>,
        own: bool,
    },
    Read {
        device: DeviceId,
        run: Range<u64>,
        answer: oneshot::Sender<Vec<SignedEntry>>,
    },
    Finish(oneshot::Sender<()>),
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
        let _ = self.0.send(Job::Append {
            device,
            from,
            entries,
            own,
        });
    }

    /// Stores who this device is from now on, before anything that follows.
    pub(super) fn adopt(&self, identity: Identity) {
        let _ = self.0.send(Job::Adopt(Box::new(identity)));
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
    while let Some(first) = jobs.blocking_recv() {
        let mut own = Own::default();
        let mut next = Some(first);
        for _ in 0..JOBS_PER_SYNC {
            let Some(job) = mem::take(&mut next).or_else(|| jobs.try_recv().ok()) else {
                break;
            };
            match job {
                Job::Append {
                    device,
                    from,
                    entries,
                    own: true,
                } => {
                    own.add(world, device, from, entries);
                }
                Job::Append {
                    device,
                    from,
                    entries,
                    own: false,
                } => {
                    if let Err(error) = world.store.feeds.append(device, from, &entries) {
                        // They can be had again: after the next start the core asks for them.
                        tracing::error!(%error, "can't write a feed");
                    }
                }
                Job::Read {
                    device,
                    run,
                    answer,
                } => {
                    own.flush(world);
                    let _ = answer.send(read(world, device, &run));
                }
                Job::Adopt(identity) => {
                    own.flush(world);
                    adopt(world, *identity);
                }
                Job::Finish(answer) => {
                    own.flush(world);
                    let _ = answer.send(());
                }
            }
        }
        own.flush(world);
    }
}

fn adopt(world: &World, identity: Identity) {
    if let Err(error) = world.store.vault.replace_identity(identity) {
        // Without it the next start asks for admission again; nothing else is lost.
        tracing::error!(%error, "can't store this device's identity");
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

/// Own entries that wait for their common sync.
#[derive(Debug, Default)]
struct Own {
    device: Option<DeviceId>,
    from: u64,
    entries: Vec<SignedEntry>,
}

impl Own {
    fn add(&mut self, world: &World, device: DeviceId, from: u64, entries: Vec<SignedEntry>) {
        if self.device != Some(device) || self.from + self.entries.len() as u64 != from {
            self.flush(world);
            (self.device, self.from) = (Some(device), from);
        }
        self.entries.extend(entries);
    }

    /// Writes them. What can't be written is not promised: the core hears nothing, nobody else
    /// does, and it is written anew after the next start.
    fn flush(&mut self, world: &World) {
        let entries = mem::take(&mut self.entries);
        let Some(device) = self.device.filter(|_| !entries.is_empty()) else {
            return;
        };
        match world.store.feeds.append(device, self.from, &entries) {
            Ok(len) => world.inbox.tell(Event::Appended { len }),
            Err(error) => tracing::error!(%error, "can't write this device's feed"),
        }
        self.from += entries.len() as u64;
    }
}
