//! The owner's side after a loss: asking shards back, from whoever is in reach, in order.
//!
//! Few packs are under way at a time, since their shards lie in memory. A pack that nobody in reach can
//! make whole is set aside with what came of it, and goes on with the next friend.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    Node,
    encounter::Encounter,
    wanted::{Phase, Wanted, WantedPacks},
};
use crate::{
    event::{Effect, LinkId, Notice, Sink, TransferError},
    id::{DeviceId, PackId, ShardId},
    limits,
    message::Message,
    policy::Bulk,
    record::PackRecord,
};

/// What is wanted back.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    packs: WantedPacks,
    /// Shards that a device turned out not to have.
    missing: BTreeSet<(DeviceId, ShardId)>,
    /// All of them are wanted only to make good what friends lost. What the owner wants back goes
    /// first, so either all packs are such or none.
    repairs: bool,
}

impl Fetching {
    /// Tells whether another repair may begin.
    pub(super) fn room_for_repair(&self) -> bool {
        self.packs.is_empty() || (self.repairs && self.packs.len() < limits::REPAIRS_MAX)
    }

    pub(super) fn is_wanted(&self, pack: PackId) -> bool {
        self.packs.get(pack).is_some()
    }

    /// A repair is over, or not wanted any more.
    pub(super) fn end_repair(&mut self, pack: PackId) {
        if self.repairs {
            self.packs.remove(pack);
            self.repairs = !self.packs.is_empty();
        }
    }

    /// Gives up the repairs of which nothing is on its way, so that others get their turn. What came
    /// of them lies aside.
    pub(super) fn rest_repairs(&mut self) {
        if self.repairs {
            let under_way = self.packs.under_way().map(|wanted| wanted.record.id);
            let under_way: BTreeSet<PackId> = under_way.collect();
            let waiting = self.packs.records().map(|record| record.id);
            let waiting: Vec<PackId> = waiting.filter(|it| !under_way.contains(it)).collect();
            for pack in waiting {
                self.packs.remove(pack);
            }
            self.repairs = !self.packs.is_empty();
        }
    }
}

impl Node {
    pub(super) fn fetch(&mut self, packs: Vec<PackRecord>) {
        if self.fetching.repairs {
            self.stop_fetch();
        }
        for record in packs {
            if !self.fetching.is_wanted(record.id) {
                // Holders' receipts name shards: know which pack they belong to.
                self.inventory.add_pack(record.clone(), false);
                self.want(record);
            }
        }
        // Whoever didn't have something is asked once more.
        let missing = core::mem::take(&mut self.fetching.missing);
        for (_, shard) in missing {
            if let Some((pack, _)) = self.inventory.locate(shard) {
                let pack = pack.record.id;
                self.look_for(pack);
            }
        }
        self.contacts.touch();
    }

    /// Begins to bring a pack back for a repair.
    pub(super) fn begin_repair(&mut self, record: PackRecord) {
        self.fetching.repairs = true;
        self.want(record);
        self.contacts.touch();
    }

    fn want(&mut self, record: PackRecord) {
        let pack = record.id;
        let aside = self.shards_aside(pack);
        self.fetching.packs.add(record, aside);
        self.look_for(pack);
        self.hand_over();
    }

    /// Wants nothing back any more. Repairs go on later.
    pub(super) fn stop_fetch(&mut self) {
        self.fetching = Fetching::default();
        self.repair.look_at_all();
    }

    /// Looks anew who has something of a pack.
    pub(super) fn look_for(&mut self, pack: PackId) {
        self.change_wanted(pack, |_| {});
    }

    fn change_wanted(&mut self, pack: PackId, change: impl FnOnce(&mut Wanted)) {
        let (inventory, missing) = (&self.inventory, &self.fetching.missing);
        let givers = |wanted: &Wanted| {
            let mut givers = BTreeSet::new();
            for (index, shard) in indexed(&wanted.record) {
                if !wanted.have.contains(&index) {
                    let there = inventory.givers(shard);
                    givers.extend(there.filter(|device| !missing.contains(&(*device, shard))));
                }
            }
            givers
        };
        self.fetching.packs.change(pack, change, givers);
    }

    /// Tells whether a device has something that the owner wants back.
    pub(super) fn fetch_wants(&self, holder: DeviceId) -> bool {
        !self.fetching.repairs && self.has_wanted(holder)
    }

    /// Tells whether a device has something that a repair wants.
    pub(super) fn repair_wants(&self, holder: DeviceId) -> bool {
        self.fetching.repairs && self.has_wanted(holder)
    }

    /// Tells whether a device has something that is wanted and could come now.
    fn has_wanted(&self, holder: DeviceId) -> bool {
        self.next_of_begun(holder).is_some() || self.next_to_begin(holder).is_some()
    }

    /// Returns the shards of a pack that we may ask a device for.
    fn gives<'a>(
        &'a self,
        holder: DeviceId,
        record: &'a PackRecord,
    ) -> impl Iterator<Item = (u8, ShardId)> + 'a {
        indexed(record).filter(move |(_, shard)| {
            self.inventory.holding(holder, *shard).may_be_given()
                && !self.fetching.missing.contains(&(holder, *shard))
        })
    }

    /// Tells whether what the owner wants back, or what a repair needs, may come from a peer.
    fn may_fetch_from(&self, encounter: &Encounter) -> bool {
        match self.fetching.repairs {
            true => encounter.bulk() == Bulk::Everything && self.paused.is_none(),
            false => self.may_fetch(encounter),
        }
    }

    /// Asks the peer of a link for shards until enough are under way.
    pub(super) fn fetch_from(&mut self, link: LinkId) {
        if self.fetching.packs.is_empty() {
            return;
        }
        while self.fetch_one(link) {}
    }

    fn fetch_one(&mut self, link: LinkId) -> bool {
        let Some(encounter) = self.encounters.get(&link) else {
            return false;
        };
        if encounter.fetches.len() >= limits::FETCHES_IN_FLIGHT_MAX
            || !self.may_fetch_from(encounter)
        {
            return false;
        }
        let peer = encounter.peer;
        // First what others have begun, then what comes next.
        let begun = self.next_of_begun(peer);
        let Some((wanted, (index, shard))) = begun.or_else(|| self.next_to_begin(peer)) else {
            return false;
        };
        let (pack, bytes) = (wanted.record.id, wanted.record.coding.shard_bytes);
        if wanted.phase == Phase::Waiting {
            self.change_wanted(pack, |wanted| wanted.phase = Phase::UnderWay);
        }
        self.fetching.packs.ask(pack, index, link);
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.fetches.insert(shard, (pack, index));
        }
        self.effect(Effect::Receive {
            link,
            shard,
            bytes,
            offset: 0,
            sink: Sink::Fetch { pack, index },
        });
        self.send(link, Message::Get { shard, offset: 0 });
        true
    }

    /// Returns a shard that a device has of what is under way.
    fn next_of_begun(&self, holder: DeviceId) -> Option<(&Wanted, (u8, ShardId))> {
        let asking = self.fetching.packs.under_way().filter(|it| it.asks());
        let mut found = asking.filter_map(|wanted| Some((wanted, self.open_at(holder, wanted)?)));
        found.next()
    }

    /// Returns a shard that a device has of a pack that isn't under way: if it can be, of one that
    /// those in reach make whole.
    fn next_to_begin(&self, holder: DeviceId) -> Option<(&Wanted, (u8, ShardId))> {
        if !self.fetching.packs.has_slot() {
            return None;
        }
        let mut offered = self.fetching.packs.offered(holder);
        let best = offered.next()?;
        let mut first = core::iter::once(best).chain(offered).take(LOOKS);
        let completed = first.find(|wanted| self.can_complete(holder, wanted));
        let wanted = completed.or_else(|| self.may_set_aside().then_some(best))?;
        Some((wanted, self.open_at(holder, wanted)?))
    }

    /// Returns a shard that a device has of a pack, and that nobody was asked for.
    fn open_at(&self, holder: DeviceId, wanted: &Wanted) -> Option<(u8, ShardId)> {
        let mut given = self.gives(holder, &wanted.record);
        given.find(|(index, _)| wanted.is_open(*index))
    }

    /// Tells whether a device and those in reach make a pack whole.
    fn can_complete(&self, holder: DeviceId, wanted: &Wanted) -> bool {
        let linked = self.encounters.values();
        let linked = linked.filter(|encounter| self.may_fetch_from(encounter));
        let devices: BTreeSet<DeviceId> = linked.map(|it| it.peer).chain([holder]).collect();
        let given = devices.into_iter().flat_map(|device| {
            let given = self.gives(device, &wanted.record);
            given
                .map(|(index, _)| index)
                .filter(|index| !wanted.have.contains(index))
        });
        given.collect::<BTreeSet<u8>>().len() >= wanted.lacking()
    }

    /// A shard that we asked for came, or didn't.
    pub(super) fn shard_fetched(
        &mut self,
        link: LinkId,
        (pack, index): (PackId, u8),
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        if !self.fetching.packs.unask(pack, index) {
            // For something that isn't wanted any more.
            return;
        }
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let peer = encounter.peer;
        match outcome {
            Ok(()) => {
                let wanted = self.fetching.packs.get(pack);
                let bytes = wanted.map_or(0, |wanted| wanted.record.coding.shard_bytes);
                encounter.bytes_received += u64::from(bytes);
                encounter.progress = true;
                self.change_wanted(pack, |wanted| wanted.have.extend([index]));
                self.hand_if_whole(pack);
            }
            Err(TransferError::WrongBytes) => self.not_there(peer, shard),
            Err(_) => {}
        }
        self.set_aside_stuck();
    }

    fn hand_if_whole(&mut self, pack: PackId) {
        let Some(wanted) = self.fetching.packs.get(pack) else {
            return;
        };
        if wanted.lacking() > 0 || wanted.phase == Phase::Handed {
            return;
        }
        let record = wanted.record.clone();
        self.change_wanted(pack, |wanted| wanted.phase = Phase::Handed);
        self.effect(if self.fetching.repairs {
            Effect::Respool { pack: record }
        } else {
            Effect::PackFetched { pack: record }
        });
    }

    /// Hands over what is whole already, as many as may be under way.
    fn hand_over(&mut self) {
        while let Some(pack) = self.fetching.packs.next_whole() {
            self.hand_if_whole(pack);
        }
    }

    /// The peer doesn't give us a shard now. That says nothing about whether it has it.
    pub(super) fn not_served(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if let Some((pack, index)) = encounter.fetches.remove(&shard) {
            self.fetching.packs.unask(pack, index);
            self.set_aside_stuck();
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
                // The peer can't send the shard that we were to take.
                self.unpromise(link, shard);
            }
            return;
        };
        self.fetching.packs.unask(pack, index);
        self.not_there(peer, shard);
        self.set_aside_stuck();
    }

    fn not_there(&mut self, peer: DeviceId, shard: ShardId) {
        self.fetching.missing.insert((peer, shard));
        self.inventory.note_audit(peer, shard, self.now, false);
        if let Some((pack, _)) = self.inventory.locate(shard) {
            self.replan(pack.record.id);
        }
        self.notify(Notice::NotProved {
            holder: peer,
            shard,
        });
    }

    /// A link is gone, and what was asked on it with it.
    pub(super) fn fetch_link_gone(&mut self, link: LinkId) {
        self.fetching.packs.link_gone(link);
        self.set_aside_stuck();
    }

    /// Makes room for others: what nobody in reach can go on with waits, on the disk.
    fn set_aside_stuck(&mut self) {
        let stuck = self.fetching.packs.under_way();
        let stuck = stuck.filter(|it| it.phase == Phase::UnderWay && it.asked.is_empty());
        let stuck: Vec<(PackId, BTreeSet<u8>)> = stuck
            .filter(|wanted| {
                let mut linked = self.encounters.values();
                !linked.any(|it| self.may_fetch_from(it) && self.open_at(it.peer, wanted).is_some())
            })
            .map(|wanted| (wanted.record.id, wanted.have.clone()))
            .collect();
        for (pack, have) in stuck {
            if have == self.shards_aside(pack) {
                self.change_wanted(pack, |wanted| wanted.phase = Phase::Waiting);
            } else {
                self.change_wanted(pack, |wanted| wanted.phase = Phase::SettingAside);
                self.effect(Effect::SetAside { pack });
            }
        }
    }

    /// What came of a pack lies on the disk, or finds no room there.
    pub(super) fn set_aside(&mut self, pack: PackId, good: bool) {
        let Some(wanted) = self.fetching.packs.get(pack) else {
            return;
        };
        if wanted.phase != Phase::SettingAside {
            return;
        }
        let have = wanted.have.clone();
        if good {
            self.keep_aside(pack, have);
        } else {
            self.nothing_fits_aside();
        }
        let have = self.shards_aside(pack);
        self.change_wanted(pack, |wanted| {
            wanted.phase = Phase::Waiting;
            wanted.have = have;
        });
        self.contacts.touch();
    }

    /// Returns the shards that are wanted back, neither here nor under way.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (&PackRecord, u8, ShardId)> {
        let waiting = self.fetching.packs.waiting();
        waiting.flat_map(|wanted| {
            let open = indexed(&wanted.record).filter(move |(index, _)| wanted.is_open(*index));
            open.map(move |(index, shard)| (&wanted.record, index, shard))
        })
    }

    /// A shard that is wanted back lies aside.
    pub(super) fn found_aside(&mut self, pack: PackId, index: u8) {
        let mut aside = self.shards_aside(pack);
        aside.insert(index);
        self.keep_aside(pack, aside);
        if !self.fetching.is_wanted(pack) {
            return self.drop_aside(pack);
        }
        self.change_wanted(pack, |wanted| {
            if wanted.phase == Phase::Waiting {
                wanted.have.insert(index);
            }
        });
        self.hand_over();
    }

    /// The shell has used a pack, or its shards did not make it.
    pub(super) fn pack_used(&mut self, pack: PackId, good: bool) {
        if !self.fetching.is_wanted(pack) {
            return;
        }
        self.drop_aside(pack);
        // There is room for the next one, which somebody else may have.
        self.contacts.touch();
        let Some(wanted) = self.fetching.packs.remove(pack) else {
            return;
        };
        if good {
            self.notify(Notice::Fetched { pack });
        } else {
            self.want(wanted.record);
        }
        self.hand_over();
    }

    /// Returns the packs that we still want back.
    pub fn wanted_packs(&self) -> impl Iterator<Item = &PackRecord> {
        let restores = !self.fetching.repairs;
        self.fetching.packs.records().filter(move |_| restores)
    }
}

/// How many packs to look at for one that those in reach make whole.
const LOOKS: usize = 16;

fn indexed(record: &PackRecord) -> impl Iterator<Item = (u8, ShardId)> + '_ {
    let shards = record.shards.iter().enumerate();
    shards.map(|(index, shard)| (u8::try_from(index).unwrap_or(u8::MAX), *shard))
}
