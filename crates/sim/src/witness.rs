//! The witness: what machines said and did, from outside. Checkers compare it with what is there.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    codec::decode,
    entry::{Entry, SignedEntry},
    event::Notice,
    id::{DeviceId, EntryHash, MemberId, PackId, ShardId, SnapshotId},
    message::Message,
    time::Timestamp,
};

use crate::{machine::Machine, workload::Portrait};

/// A snapshot that a backup reported as made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) machine: usize,
    pub(crate) snapshot: SnapshotId,
    pub(crate) time: Timestamp,
    /// The files as they were.
    pub(crate) portrait: Portrait,
    /// Everything that has to come back for it.
    pub(crate) packs: BTreeSet<PackId>,
    /// When its owner was told first that everything is safe.
    pub(crate) safe: Option<Timestamp>,
}

/// What is known from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    /// Shards that a holder said it has stored, to keep them.
    pub(crate) stored: BTreeMap<DeviceId, BTreeSet<ShardId>>,
    /// What devices told others about their own feeds: hashes by length.
    pub(crate) told: BTreeMap<DeviceId, BTreeMap<u64, EntryHash>>,
    /// Devices that told two stories.
    pub(crate) forks: BTreeSet<DeviceId>,
    /// Shards that were damaged on purpose, and on whose shelf.
    pub(crate) rotten: BTreeSet<(DeviceId, MemberId, ShardId)>,
    /// When owners were told first that friends alone can rebuild a pack.
    pub(crate) safe: BTreeMap<PackId, Timestamp>,
    pub(crate) snapshots: Vec<Made>,
    pub(crate) encounters: u64,
}

impl Witness {
    /// A machine says something.
    pub(crate) fn said(&mut self, speaker: &Machine, message: &Message) {
        match message {
            // Of a parcel it is a hope: its carrier may drop it whenever it wants the room.
            Message::Stored { shard }
                if !speaker
                    .host
                    .as_ref()
                    .is_some_and(|host| host.carries(*shard)) =>
            {
                self.stored
                    .entry(speaker.device)
                    .or_default()
                    .insert(*shard);
            }
            Message::Hello(hello) => {
                for tip in hello.tips.iter().filter(|tip| tip.device == speaker.device) {
                    self.tell(tip.device, tip.len, tip.hash);
                }
            }
            Message::Entries(entries) => {
                for signed in entries {
                    self.passed_on(speaker, signed);
                }
            }
            _ => {}
        }
    }

    fn passed_on(&mut self, speaker: &Machine, signed: &SignedEntry) {
        let Ok(entry) = decode::<Entry>("entry", &signed.bytes) else {
            return;
        };
        if entry.device == speaker.device {
            self.tell(entry.device, entry.seq + 1, signed.hash());
        }
    }

    fn tell(&mut self, device: DeviceId, len: u64, hash: EntryHash) {
        if len == 0 {
            return;
        }
        let told = self.told.entry(device).or_default();
        if *told.entry(len).or_insert(hash) != hash {
            self.forks.insert(device);
        }
    }

    /// A machine tells its owner something.
    pub(crate) fn noticed(&mut self, now: Timestamp, machine: usize, notice: &Notice) {
        match notice {
            Notice::AllSafe { .. } => self.all_safe(now, machine),
            Notice::PackSafe { pack } => {
                self.safe.entry(*pack).or_insert(now);
            }
            Notice::Met { .. } => self.encounters += 1,
            Notice::Forked { device } => {
                self.forks.insert(*device);
            }
            _ => {}
        }
    }

    /// A backup reports a snapshot: a new one, or again the last one.
    pub(crate) fn made(&mut self, made: Made) {
        if !self
            .snapshots
            .iter()
            .any(|known| known.snapshot == made.snapshot)
        {
            self.snapshots.push(made);
        }
    }

    /// A machine's owner is told that everything is safe.
    fn all_safe(&mut self, now: Timestamp, machine: usize) {
        for made in self
            .snapshots
            .iter_mut()
            .filter(|made| made.machine == machine)
        {
            made.safe.get_or_insert(now);
        }
    }

    /// Returns the snapshots of a machine, oldest first.
    pub(crate) fn snapshots_of(&self, machine: usize) -> impl Iterator<Item = &Made> {
        self.snapshots
            .iter()
            .filter(move |made| made.machine == machine)
    }
}
