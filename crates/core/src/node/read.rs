//! Reading parts of our own packs from friends: a photo out of many, without bringing the rest.
//!
//! A part is asked for as an audit asks, so each answer carries its proof, and nobody can pass off
//! other bytes. It says nothing about what a holder has: it is not drawn by chance.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Node;
use crate::{
    event::{Effect, LinkId},
    id::{DeviceId, PackId, ShardId},
    limits,
    message::{GroupProof, Message},
    proof,
    time::Timestamp,
};

/// A group of a shard.
type Part = (ShardId, u32);

/// What is to be read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Who was asked, in which message.
    wanted: BTreeMap<Part, Option<(LinkId, u64)>>,
    /// Who does not have what.
    missing: BTreeSet<(DeviceId, ShardId)>,
    /// Until when links stay open for the next read.
    linger: Timestamp,
}

impl Reads {
    fn under_way(&self, link: LinkId) -> usize {
        let asked = self.wanted.values().flatten();
        asked.filter(|(asked, _)| *asked == link).count()
    }
}

impl Node {
    /// Wants parts of shards of ours.
    pub(super) fn read(&mut self, parts: Vec<(ShardId, u32)>) {
        if self.reads.wanted.is_empty() {
            self.reads.missing.clear();
        }
        for part in parts {
            self.reads.wanted.entry(part).or_insert(None);
        }
        self.reads.linger = self.now + limits::READ_LINGER;
        self.contacts.touch();
    }

    /// Doesn't want them any more.
    pub(super) fn stop_read(&mut self, parts: &[(ShardId, u32)]) {
        for part in parts {
            self.reads.wanted.remove(part);
        }
    }

    /// Returns which shards of a pack of ours can be read now: of those who are near.
    pub fn readable(&self, pack: PackId, now: Timestamp) -> BTreeSet<u8> {
        let Some(pack) = self.inventory.pack(pack) else {
            return BTreeSet::new();
        };
        let shards = pack.record.shards.iter().enumerate();
        let near = shards.filter(|(_, shard)| {
            let mut holders = self.inventory.givers(**shard);
            holders.any(|it| it != self.device && self.is_near(it, now))
        });
        near.filter_map(|(index, _)| u8::try_from(index).ok())
            .collect()
    }

    /// Tells whether a device has something that is to be read.
    pub(super) fn reads_want(&self, holder: DeviceId) -> bool {
        let mut open = self
            .reads
            .wanted
            .iter()
            .filter(|(_, asked)| asked.is_none());
        open.any(|((shard, _), _)| self.can_read(holder, *shard))
    }

    fn can_read(&self, holder: DeviceId, shard: ShardId) -> bool {
        self.inventory.holding(holder, shard).may_be_given()
            && !self.reads.missing.contains(&(holder, shard))
    }

    /// Tells whether a link stays open though nothing is to be done on it: somebody is looking around.
    pub(super) fn is_reading(&self, link: LinkId) -> bool {
        self.reads.under_way(link) > 0 || self.now < self.reads.linger
    }

    pub(super) fn reading_until(&self) -> Option<Timestamp> {
        (self.now < self.reads.linger).then_some(self.reads.linger)
    }

    /// Asks the peer of a link for what it can show.
    pub(super) fn read_from(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        if self.reads.wanted.is_empty() || !self.may_fetch(encounter) {
            return;
        }
        let peer = encounter.peer;
        let room = limits::PROBES_IN_FLIGHT_MAX.saturating_sub(self.reads.under_way(link));
        let open = self
            .reads
            .wanted
            .iter()
            .filter(|(_, asked)| asked.is_none());
        let mine = open.filter(|((shard, _), _)| self.can_read(peer, *shard));
        let parts: Vec<Part> = mine.map(|(part, _)| *part).take(room).collect();
        if parts.is_empty() {
            return;
        }
        self.nonce += 1;
        let nonce = self.nonce;
        for part in &parts {
            self.reads.wanted.insert(*part, Some((link, nonce)));
        }
        let probes = parts;
        self.send(link, Message::Challenge { nonce, probes });
    }

    /// Takes an answer, if it is one to a read. Returns whether it was.
    pub(super) fn part_shown(
        &mut self,
        link: LinkId,
        nonce: u64,
        (shard, group): (ShardId, u32),
        shown: Option<&GroupProof>,
    ) -> bool {
        let part = (shard, group);
        if self.reads.wanted.get(&part) != Some(&Some((link, nonce))) {
            return false;
        }
        let bytes = self.inventory.locate(shard);
        let bytes = bytes.map_or(0, |(pack, _)| u64::from(pack.record.coding.shard_bytes));
        let good = shown.filter(|it| proof::verify(&shard, bytes, group, it).is_ok());
        if let Some(proof) = good {
            self.reads.wanted.remove(&part);
            self.reads.linger = self.now + limits::READ_LINGER;
            let data = proof.data.clone();
            if let Some(encounter) = self.encounters.get_mut(&link) {
                encounter.progress = true;
                encounter.bytes_received += data.len() as u64;
            }
            self.effect(Effect::PartRead { shard, group, data });
        } else {
            // Whether it lost the shard is for an audit to say.
            if let Some(encounter) = self.encounters.get(&link) {
                self.reads.missing.insert((encounter.peer, shard));
            }
            self.reads.wanted.insert(part, None);
            self.contacts.touch();
        }
        true
    }

    /// A link is gone: others are asked.
    pub(super) fn read_link_gone(&mut self, link: LinkId) {
        for asked in self.reads.wanted.values_mut() {
            if asked.is_some_and(|(it, _)| it == link) {
                *asked = None;
            }
        }
    }
}
