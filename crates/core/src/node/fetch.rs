//! The owner's side after a loss: asking shards back, from whoever is in reach, in order.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Node, encounter::Encounter};
use crate::{
    event::{Effect, LinkId, Notice, Sink, TransferError},
    id::{DeviceId, PackId, ShardId},
    limits,
    message::Message,
    policy::Bulk,
    record::PackRecord,
};

/// A pack whose shards are arriving.
#[derive(Debug)]
struct Active {
    record: PackRecord,
    have: BTreeSet<u8>,
    asked: BTreeMap<u8, LinkId>,
    /// The shell is opening it.
    handed: bool,
}

impl Active {
    fn lacks(&self) -> bool {
        !self.handed && self.have.len() + self.asked.len() < usize::from(self.record.coding.k)
    }
}

/// The packs that we want back.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    waiting: BTreeMap<u64, PackRecord>,
    active: BTreeMap<PackId, Active>,
    next: u64,
    /// Shards that a device turned out not to have.
    missing: BTreeSet<(DeviceId, ShardId)>,
    /// Bumped when holders may have changed, so that each link looks at all packs again.
    look: u64,
    /// All of them are wanted only to make good what friends lost. What the owner wants back goes
    /// first, so either all packs are such or none.
    repairs: bool,
}

impl Fetching {
    pub(super) fn link_gone(&mut self, link: LinkId) {
        for active in self.active.values_mut() {
            active.asked.retain(|_, asked| *asked != link);
        }
        self.look += 1;
    }

    /// Begins to bring a pack back for a repair.
    pub(super) fn begin_repair(&mut self, record: PackRecord) {
        self.repairs = true;
        self.waiting.insert(self.next, record);
        self.next += 1;
        self.look += 1;
    }

    /// Tells whether another repair may begin.
    pub(super) fn room_for_repair(&self) -> bool {
        self.is_empty() || (self.repairs && self.records().count() < limits::REPAIRS_MAX)
    }

    pub(super) fn has(&self, pack: PackId) -> bool {
        self.records().any(|record| record.id == pack)
    }

    /// A repair is over, or not wanted any more.
    pub(super) fn end_repair(&mut self, pack: PackId) {
        if self.repairs {
            self.active.remove(&pack);
            self.waiting.retain(|_, record| record.id != pack);
            self.repairs = !self.is_empty();
        }
    }

    /// Gives up the repairs of which nothing has come or is on its way, so that others get their turn.
    pub(super) fn rest_repairs(&mut self) {
        if self.repairs {
            self.waiting.clear();
            self.active.retain(|_, active| {
                active.handed || !active.asked.is_empty() || !active.have.is_empty()
            });
            self.repairs = !self.is_empty();
            self.look += 1;
        }
    }

    pub(super) fn look_again(&mut self) {
        self.look += 1;
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    fn records(&self) -> impl Iterator<Item = &PackRecord> {
        self.waiting
            .values()
            .chain(self.active.values().map(|active| &active.record))
    }
}

impl Node {
    pub(super) fn fetch(&mut self, packs: Vec<PackRecord>) {
        if self.fetching.repairs {
            self.stop_fetch();
        }
        let known: BTreeSet<PackId> = self.fetching.records().map(|record| record.id).collect();
        for record in packs
            .into_iter()
            .filter(|record| !known.contains(&record.id))
        {
            // Holders' receipts name shards: know which pack they belong to.
            self.inventory.add_pack(record.clone(), false);
            let at = self.fetching.next;
            self.fetching.next += 1;
            self.fetching.waiting.insert(at, record);
        }
        self.fetching.missing.clear();
        self.fetching.look += 1;
        for encounter in self.encounters.values_mut() {
            encounter.fetch_cursor = 0;
        }
        self.contacts.touch();
    }

    /// Wants nothing back any more. Repairs go on later.
    pub(super) fn stop_fetch(&mut self) {
        self.fetching = Fetching {
            look: self.fetching.look + 1,
            ..Fetching::default()
        };
        self.repair.look_at_all();
    }

    /// Tells whether a device has something that the owner wants back.
    pub(super) fn fetch_wants(&self, holder: DeviceId) -> bool {
        !self.fetching.repairs && self.has_wanted(holder)
    }

    /// Tells whether a device has something that a repair wants.
    pub(super) fn repair_wants(&self, holder: DeviceId) -> bool {
        self.fetching.repairs && self.has_wanted(holder)
    }

    /// Tells whether a device has something that is wanted and could come now: what is begun and waits
    /// for somebody else's shards is no reason to call it.
    fn has_wanted(&self, holder: DeviceId) -> bool {
        let mut active = self.fetching.active.values();
        let begun = active.any(|active| {
            let open = |(index, _)| !active.have.contains(&index);
            active.lacks() && self.gives(holder, &active.record).any(open)
        });
        let room = self.fetching.active.len() < limits::PACKS_IN_FLIGHT_MAX;
        let mut waiting = self.fetching.waiting.values();
        begun || room && waiting.any(|record| self.gives(holder, record).next().is_some())
    }

    /// Returns the shards of a pack that we may ask a device for.
    fn gives<'a>(
        &'a self,
        holder: DeviceId,
        record: &'a PackRecord,
    ) -> impl Iterator<Item = (u8, ShardId)> + 'a {
        record
            .shards
            .iter()
            .enumerate()
            .filter_map(move |(index, shard)| {
                let holding = self.inventory.holding(holder, *shard);
                let there = (holding.believed() || holding.may_be_trashed())
                    && !self.fetching.missing.contains(&(holder, *shard));
                there.then_some((u8::try_from(index).unwrap_or(u8::MAX), *shard))
            })
    }

    /// Asks the peer of a link for shards until enough are under way.
    pub(super) fn fetch_from(&mut self, link: LinkId) {
        let may = |encounter: &Encounter| match self.fetching.repairs {
            true => encounter.bulk() == Bulk::Everything && self.paused.is_none(),
            false => self.may_fetch(encounter),
        };
        if !self.encounters.get(&link).is_some_and(may) {
            return;
        }
        while !self.fetching.is_empty() && self.fetch_one(link) {}
    }

    fn fetch_one(&mut self, link: LinkId) -> bool {
        let Some(encounter) = self.encounters.get(&link) else {
            return false;
        };
        if encounter.fetches.len() >= limits::FETCHES_IN_FLIGHT_MAX {
            return false;
        }
        let peer = encounter.peer;
        // First what others have begun, then what comes next.
        let begun = self.fetching.active.values().find_map(|active| {
            let open =
                |index: &u8| !active.have.contains(index) && !active.asked.contains_key(index);
            let found = self
                .gives(peer, &active.record)
                .find(|(index, _)| open(index))?;
            active.lacks().then_some((active.record.id, found))
        });
        let Some((pack, (index, shard))) = begun else {
            return self.activate(link, peer);
        };
        let Some(active) = self.fetching.active.get_mut(&pack) else {
            return false;
        };
        active.asked.insert(index, link);
        let bytes = active.record.coding.shard_bytes;
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.fetches.insert(shard, (pack, index));
        }
        let sink = if self.fetching.repairs {
            Sink::Repair { pack, index }
        } else {
            Sink::Fetch { pack, index }
        };
        self.effect(Effect::Receive {
            link,
            shard,
            bytes,
            offset: 0,
            sink,
        });
        self.send(link, Message::Get { shard, offset: 0 });
        true
    }

    /// Begins the next pack of which the peer has something.
    fn activate(&mut self, link: LinkId, peer: DeviceId) -> bool {
        if self.fetching.active.len() >= limits::PACKS_IN_FLIGHT_MAX {
            return false;
        }
        let Some(encounter) = self.encounters.get(&link) else {
            return false;
        };
        let mut cursor = encounter.fetch_cursor;
        if encounter.fetch_look != self.fetching.look {
            cursor = 0;
        }
        let look = self.fetching.look;
        let found = self
            .fetching
            .waiting
            .range(cursor..)
            .find_map(|(at, record)| self.gives(peer, record).next().map(|_| *at));
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.fetch_cursor = found.map_or(u64::MAX, |at| at + 1);
            encounter.fetch_look = look;
        }
        let Some(record) = found.and_then(|at| self.fetching.waiting.remove(&at)) else {
            return false;
        };
        let active = Active {
            have: BTreeSet::new(),
            asked: BTreeMap::new(),
            handed: false,
            record,
        };
        self.fetching.active.insert(active.record.id, active);
        true
    }

    /// A shard that we asked for came, or didn't.
    pub(super) fn shard_fetched(
        &mut self,
        link: LinkId,
        pack: PackId,
        index: u8,
        outcome: Result<(), TransferError>,
    ) {
        let peer = self.encounters.get(&link).map(|encounter| encounter.peer);
        let Some(active) = self.fetching.active.get_mut(&pack) else {
            return;
        };
        if active.asked.remove(&index).is_none() {
            // For a repair that was broken off: it did not come to where this one's shards are.
            return;
        }
        let shard = active.record.shards.get(usize::from(index)).copied();
        match outcome {
            Ok(()) => {
                active.have.insert(index);
                let bytes = u64::from(active.record.coding.shard_bytes);
                if active.have.len() >= usize::from(active.record.coding.k) && !active.handed {
                    active.handed = true;
                    let pack = active.record.clone();
                    let effect = if self.fetching.repairs {
                        Effect::Respool { pack }
                    } else {
                        Effect::PackFetched { pack }
                    };
                    self.effect(effect);
                }
                if let Some(encounter) = self.encounters.get_mut(&link) {
                    encounter.bytes_received += bytes;
                    encounter.progress = true;
                }
            }
            Err(TransferError::WrongBytes) => self.not_there(peer, shard),
            Err(_) => {}
        }
    }

    /// The peer doesn't give us a shard now. That says nothing about whether it has it.
    pub(super) fn not_served(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if let Some((pack, index)) = encounter.fetches.remove(&shard)
            && let Some(active) = self.fetching.active.get_mut(&pack)
        {
            active.asked.remove(&index);
        }
    }

    /// The peer doesn't have a shard that we asked for.
    pub(super) fn missing(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let peer = encounter.peer;
        let Some((pack, index)) = encounter.fetches.remove(&shard) else {
            if encounter.receives.remove(&shard) {
                // The owner can't make the shard that we were to take.
                self.ledger.release(link, shard);
            }
            return;
        };
        if let Some(active) = self.fetching.active.get_mut(&pack) {
            active.asked.remove(&index);
        }
        self.not_there(Some(peer), Some(shard));
    }

    fn not_there(&mut self, peer: Option<DeviceId>, shard: Option<ShardId>) {
        let (Some(peer), Some(shard)) = (peer, shard) else {
            return;
        };
        self.fetching.missing.insert((peer, shard));
        self.inventory.note_audit(peer, shard, self.now, false);
        if let Some((pack, _)) = self.inventory.locate(shard) {
            self.replan(pack.record.id);
        }
        self.notify(Notice::NotProved {
            holder: peer,
            shard,
        });
        self.set_aside();
    }

    /// Puts packs that nobody in reach can complete back in the queue, so that others get their turn.
    fn set_aside(&mut self) {
        let links: Vec<DeviceId> = self.encounters.values().map(|it| it.peer).collect();
        let stuck: Vec<PackId> = self
            .fetching
            .active
            .values()
            .filter(|active| active.lacks() && active.asked.is_empty())
            .filter(|active| {
                !links.iter().any(|peer| {
                    self.gives(*peer, &active.record)
                        .any(|(index, _)| !active.have.contains(&index))
                })
            })
            .map(|active| active.record.id)
            .collect();
        for pack in stuck {
            if let Some(active) = self.fetching.active.remove(&pack) {
                let at = self.fetching.next;
                self.fetching.next += 1;
                self.fetching.waiting.insert(at, active.record);
            }
        }
    }

    /// The shell has used a pack, or its shards did not make it.
    pub(super) fn pack_used(&mut self, pack: PackId, good: bool) {
        let Some(mut active) = self.fetching.active.remove(&pack) else {
            return;
        };
        // There is room for the next one, which somebody else may have.
        self.contacts.touch();
        if good {
            return self.notify(Notice::Fetched { pack });
        }
        active.have.clear();
        let at = self.fetching.next;
        self.fetching.next += 1;
        self.fetching.waiting.insert(at, active.record);
    }

    /// Returns the packs that we still want back.
    pub fn wanted_packs(&self) -> impl Iterator<Item = &PackRecord> {
        let restores = !self.fetching.repairs;
        self.fetching.records().filter(move |_| restores)
    }
}
