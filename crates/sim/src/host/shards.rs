//! Shards on their way in and out, and proofs.

use carryall_core::{
    event::{Event, LinkId, Sink, Source, TransferError},
    id::{MemberId, ShardId},
    message::Refusal,
    shard::shard_id,
    time::Timestamp,
};
use carryall_store::{
    disk::Disk,
    shelf::{Incoming, Shelf, ShelfError},
};

use super::{Host, Out};
use crate::options::Mistake;

/// A shard on its way in.
#[derive(Debug)]
pub(super) enum Inbound {
    /// Promised room on the shelf; its stream may come once `open`.
    Shelf { incoming: Incoming, open: bool },
    /// For a pack of our own.
    Memory {
        sink: Sink,
        bytes: u32,
        content: Vec<u8>,
    },
}

impl Host {
    /// Takes note of what lies on the shelf.
    pub(super) fn learn_shelf(&mut self) {
        for shelved in self.shelf.list() {
            if self.mistake != Some(Mistake::ForgetShelf) {
                self.node
                    .learn_kept(shelved.owner, shelved.shard, shelved.bytes);
            }
        }
        for parcel in self.parcels.list() {
            (self.node).learn_parcel(parcel.owner, parcel.shard, parcel.bytes);
        }
        for (shelved, trashed) in self.shelf.trash() {
            self.node
                .learn_trashed(shelved.owner, shelved.shard, trashed);
        }
    }

    pub(super) fn discard(&mut self, owner: MemberId, shards: &[ShardId], day: u32) {
        // What the disk refuses to move stays on the shelf.
        let shards = self.shelf.discard(owner, shards, day).unwrap_or_default();
        if self.mistake == Some(Mistake::EraseAtOnce) {
            self.shelf.erase(owner, &shards);
        }
        self.out
            .push(Out::Answer(Event::Discarded { owner, shards }));
    }

    pub(super) fn retrieve(&mut self, owner: MemberId, shards: &[ShardId]) {
        let shards = self.shelf.retrieve(owner, shards).unwrap_or_default();
        self.out
            .push(Out::Answer(Event::Retrieved { owner, shards }));
    }

    pub(super) fn erase(&mut self, owner: MemberId, shards: &[ShardId]) {
        let shards = self.shelf.erase(owner, shards);
        self.out.push(Out::Answer(Event::Erased { owner, shards }));
    }

    /// Sends the first shard on the shelf, which nobody asked for.
    pub(super) fn send_any_shard(&mut self, link: LinkId) {
        if let Some(shelved) = self.shelf.list().first() {
            let source = Source::Shelf {
                owner: shelved.owner,
            };
            self.send_shard(link, shelved.shard, 0, source);
        }
    }

    pub(super) fn reserve(
        &mut self,
        now: Timestamp,
        (link, shard): (LinkId, ShardId),
        owner: MemberId,
        bytes: u32,
        parcel: bool,
    ) {
        let shelf = if parcel { &self.parcels } else { &self.shelf };
        let outcome = match shelf.reserve(owner, shard, bytes, now) {
            Ok(incoming) => {
                let offset = incoming.offset();
                self.inbound.insert(
                    (link, shard),
                    Inbound::Shelf {
                        incoming,
                        open: false,
                    },
                );
                Ok(offset)
            }
            Err(ShelfError::Have) => Err(Refusal::Have),
            Err(error) if error.is_full() => Err(Refusal::DiskFull),
            Err(_) => Err(Refusal::Busy),
        };
        self.out.push(Out::Answer(Event::Reserved {
            link,
            shard,
            outcome,
        }));
    }

    pub(super) fn receive(
        &mut self,
        link: LinkId,
        shard: ShardId,
        bytes: u32,
        offset: u32,
        sink: Sink,
    ) {
        match sink {
            Sink::Shelf { .. } | Sink::Parcel { .. } => {
                match self.inbound.get_mut(&(link, shard)) {
                    Some(Inbound::Shelf { open, .. }) => *open = true,
                    _ => self.answer_received(link, shard, Err(TransferError::Disk)),
                }
            }
            Sink::Fetch { .. } => {
                let mut content = self.partial.remove(&shard).unwrap_or_default();
                content.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
                let inbound = Inbound::Memory {
                    sink,
                    bytes,
                    content,
                };
                self.inbound.insert((link, shard), inbound);
            }
        }
    }

    fn answer_received(
        &mut self,
        link: LinkId,
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        self.out.push(Out::Answer(Event::Received {
            link,
            shard,
            outcome,
        }));
    }

    /// Bytes of a shard arrived.
    pub(crate) fn piece(
        &mut self,
        link: LinkId,
        shard: ShardId,
        offset: u32,
        bytes: &[u8],
        last: bool,
    ) {
        let key = (link, shard);
        let outcome = match self.inbound.get_mut(&key) {
            Some(Inbound::Shelf {
                incoming,
                open: true,
            }) if incoming.offset() == offset => {
                incoming.write(bytes).map_err(|error| failure(&error))
            }
            Some(Inbound::Memory {
                bytes: whole,
                content,
                ..
            }) if content.len() == offset as usize => {
                content.extend_from_slice(bytes);
                if content.len() <= *whole as usize {
                    Ok(())
                } else {
                    Err(TransferError::WrongBytes)
                }
            }
            Some(_) => Err(TransferError::WrongBytes),
            // Nobody waits for it: the wait was given up when an earlier piece failed.
            None => return,
        };
        if outcome.is_err() {
            self.inbound.remove(&key);
            self.answer_received(link, shard, outcome);
        } else if last {
            self.whole(link, shard);
        }
    }

    /// A stream ended.
    fn whole(&mut self, link: LinkId, shard: ShardId) {
        let outcome = match self.inbound.remove(&(link, shard)) {
            Some(Inbound::Shelf { incoming, .. }) => {
                let finished = incoming.finish().map_err(|error| failure(&error));
                if self.mistake == Some(Mistake::PromiseBeforeSync) {
                    // What goes wrong here is found where it is looked for.
                    let _ = self.unsync(shard);
                }
                finished
            }
            Some(Inbound::Memory {
                sink: Sink::Fetch { pack, index },
                content,
                ..
            }) => {
                if shard_id(&content) == shard {
                    self.fetched.entry(pack).or_default().insert(index, content);
                    Ok(())
                } else {
                    Err(TransferError::WrongBytes)
                }
            }
            _ => return,
        };
        self.answer_received(link, shard, outcome);
    }

    /// Writes a shelved shard once more, without syncing it.
    fn unsync(&self, shard: ShardId) -> std::io::Result<()> {
        for (path, _) in self.shelved().iter().filter(|(_, it)| it.shard == shard) {
            let content = self.disk.read_file(path)?;
            self.disk.remove_file(path)?;
            self.disk.sync_dir(path.parent().unwrap_or(path))?;
            self.disk.write_file(path, &content)?;
        }
        Ok(())
    }

    /// A link is gone, and with it the streams on it. What came is kept.
    pub(crate) fn link_lost(&mut self, now: Timestamp, link: LinkId) {
        let keys: Vec<_> = self
            .inbound
            .keys()
            .filter(|key| key.0 == link)
            .copied()
            .collect();
        for key in keys {
            if let Some(Inbound::Memory { content, .. }) = self.inbound.remove(&key) {
                self.partial.insert(key.1, content);
            }
            let outcome = Err(TransferError::LinkLost);
            self.node.handle_event(
                now,
                Event::Received {
                    link,
                    shard: key.1,
                    outcome,
                },
            );
        }
        // What came of parcels has no room of its own.
        let _ = self.parcels.drop_parts();
        self.event(now, Event::LinkDown { link });
    }

    pub(super) fn send_shard(&mut self, link: LinkId, shard: ShardId, offset: u32, source: Source) {
        let content = match source {
            Source::Shelf { owner } => {
                let content = read_whole(&self.shelf, owner, shard);
                content.map_err(|error| self.shelf_failed(owner, shard, &error))
            }
            Source::Parcel { owner } => {
                read_whole(&self.parcels, owner, shard).map_err(|error| failure(&error))
            }
            Source::Own { pack, index } => self.make_shard(pack, index),
        };
        match content {
            Ok(content) => {
                let bytes = content.get(offset as usize..).unwrap_or_default().to_vec();
                self.out.push(Out::Stream {
                    link,
                    shard,
                    offset,
                    bytes,
                });
            }
            Err(error) => {
                let outcome = Err(error);
                self.out.push(Out::Answer(Event::Sent {
                    link,
                    shard,
                    outcome,
                }));
            }
        }
    }

    pub(super) fn prove(
        &mut self,
        link: LinkId,
        nonce: u64,
        shard: ShardId,
        owner: MemberId,
        group: u32,
    ) {
        let proof = self.shelf.prove(owner, shard, group);
        let proof = proof
            .map_err(|error| self.shelf_failed(owner, shard, &error))
            .ok();
        self.out.push(Out::Answer(Event::Proof {
            link,
            nonce,
            shard,
            group,
            proof,
        }));
    }

    /// Reads a shard on the shelf.
    pub(super) fn scrub(&mut self, owner: MemberId, shard: ShardId) {
        let scrubbed = self.shelf.scrub(owner, shard);
        let damaged = matches!(
            scrubbed,
            Err(ShelfError::Damaged(_) | ShelfError::Missing(_))
        );
        if let Err(error) = scrubbed {
            self.shelf_failed(owner, shard, &error);
        }
        self.out
            .push(Out::Answer(Event::Scrubbed { good: !damaged }));
    }

    /// A shard that is gone or damaged is taken off the shelf, and its owner hears of it.
    fn shelf_failed(
        &mut self,
        owner: MemberId,
        shard: ShardId,
        error: &ShelfError,
    ) -> TransferError {
        if matches!(error, ShelfError::Damaged(_) | ShelfError::Missing(_)) {
            // If the disk refuses, the next look at it finds the same damage.
            let _ = self.shelf.remove(owner, shard);
            self.out
                .push(Out::Answer(Event::ShardLost { owner, shard }));
        }
        failure(error)
    }
}

fn read_whole(shelf: &Shelf, owner: MemberId, shard: ShardId) -> Result<Vec<u8>, ShelfError> {
    let shelved = shelf.read(owner, shard)?;
    let mut content = vec![0; shelved.bytes() as usize];
    let mut done = 0;
    while done < content.len() {
        let at = u32::try_from(done).map_err(|_| ShelfError::Damaged(shard))?;
        match shelved.read_at(&mut content[done..], at)? {
            0 => return Err(ShelfError::Damaged(shard)),
            count => done += count,
        }
    }
    Ok(content)
}

fn failure(error: &ShelfError) -> TransferError {
    match error {
        ShelfError::WrongBytes(_) => TransferError::WrongBytes,
        error if error.is_full() => TransferError::DiskFull,
        _ => TransferError::Disk,
    }
}
