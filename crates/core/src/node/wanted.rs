//! The packs that are wanted back, in order, and who could give something of each.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{
    event::LinkId,
    id::{DeviceId, PackId},
    limits,
    record::PackRecord,
};

/// How far a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody was asked, or those in reach have given what they have.
    Waiting,
    /// Somebody is asked, or will be.
    UnderWay,
    /// The shell puts its shards on the disk: nobody in reach has more.
    SettingAside,
    /// The shell makes the pack.
    Handed,
}

/// A pack that is wanted back.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) record: PackRecord,
    /// The shards that are here.
    pub(super) have: BTreeSet<u8>,
    pub(super) asked: BTreeMap<u8, LinkId>,
    pub(super) phase: Phase,
}

impl Wanted {
    /// Returns how many shards have to come yet.
    pub(super) fn lacking(&self) -> usize {
        usize::from(self.record.coding.k).saturating_sub(self.have.len())
    }

    /// Tells whether somebody is to be asked for one more.
    pub(super) fn asks(&self) -> bool {
        self.phase == Phase::UnderWay && self.lacking() > self.asked.len()
    }

    /// Tells whether a shard is neither here nor asked for.
    pub(super) fn is_open(&self, index: u8) -> bool {
        !self.have.contains(&index) && !self.asked.contains_key(&index)
    }

    /// What is nearest to being whole goes first; of what is not begun, what was wanted first.
    fn rank(&self, turn: u64) -> Rank {
        let lacking = u8::try_from(self.lacking()).unwrap_or(u8::MAX);
        let begun = !self.have.is_empty();
        (if begun { lacking } else { u8::MAX }, turn)
    }
}

type Rank = (u8, u64);

/// All packs that are wanted back. Nothing here scans them.
#[derive(Debug, Default)]
pub(super) struct WantedPacks {
    packs: BTreeMap<u64, Wanted>,
    turns: BTreeMap<PackId, u64>,
    next: u64,
    /// At most [`limits::PACKS_IN_FLIGHT_MAX`]: the shell has their shards in memory.
    under_way: BTreeSet<u64>,
    /// Those of which enough is here, and which nobody has opened yet.
    whole: BTreeSet<u64>,
    /// What each device could give something of.
    offers: BTreeMap<DeviceId, BTreeSet<Rank>>,
}

impl WantedPacks {
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.packs.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &PackRecord> {
        self.packs.values().map(|wanted| &wanted.record)
    }

    /// Returns the packs that are neither whole nor under way, in the order in which they were wanted.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Wanted> {
        let waits = |it: &&Wanted| it.phase == Phase::Waiting && it.lacking() > 0;
        self.packs.values().filter(waits)
    }

    pub(super) fn get(&self, pack: PackId) -> Option<&Wanted> {
        self.packs.get(self.turns.get(&pack)?)
    }

    /// Wants a pack, of which some shards may be here.
    pub(super) fn add(&mut self, record: PackRecord, have: BTreeSet<u8>) {
        let turn = self.next;
        self.next += 1;
        self.turns.insert(record.id, turn);
        let wanted = Wanted {
            record,
            have,
            asked: BTreeMap::new(),
            phase: Phase::Waiting,
        };
        if wanted.lacking() == 0 {
            self.whole.insert(turn);
        }
        self.packs.insert(turn, wanted);
    }

    pub(super) fn remove(&mut self, pack: PackId) -> Option<Wanted> {
        let turn = self.turns.remove(&pack)?;
        let wanted = self.packs.remove(&turn)?;
        self.withdraw(wanted.rank(turn));
        self.under_way.remove(&turn);
        self.whole.remove(&turn);
        Some(wanted)
    }

    /// Changes a pack, and notes who can give something of it from now on.
    pub(super) fn change(
        &mut self,
        pack: PackId,
        change: impl FnOnce(&mut Wanted),
        givers: impl FnOnce(&Wanted) -> BTreeSet<DeviceId>,
    ) {
        let Some(turn) = self.turns.get(&pack).copied() else {
            return;
        };
        let Some(wanted) = self.packs.get_mut(&turn) else {
            return;
        };
        let before = wanted.rank(turn);
        change(wanted);
        let (rank, phase) = (wanted.rank(turn), wanted.phase);
        let open = wanted.lacking() > 0 && phase != Phase::Handed;
        let givers = if open {
            givers(wanted)
        } else {
            BTreeSet::new()
        };
        if phase == Phase::Waiting {
            if wanted.lacking() == 0 {
                self.whole.insert(turn);
            }
            self.under_way.remove(&turn);
        } else {
            self.under_way.insert(turn);
        }
        self.withdraw(before);
        for device in givers {
            self.offers.entry(device).or_default().insert(rank);
        }
    }

    /// Asks one more shard of a pack.
    pub(super) fn ask(&mut self, pack: PackId, index: u8, link: LinkId) {
        if let Some(wanted) = (self.turns.get(&pack)).and_then(|turn| self.packs.get_mut(turn)) {
            wanted.asked.insert(index, link);
        }
    }

    /// Takes back that a shard was asked for. Tells whether it was.
    pub(super) fn unask(&mut self, pack: PackId, index: u8) -> bool {
        let wanted = (self.turns.get(&pack)).and_then(|turn| self.packs.get_mut(turn));
        wanted.is_some_and(|wanted| wanted.asked.remove(&index).is_some())
    }

    /// Takes back all that was asked on a link.
    pub(super) fn link_gone(&mut self, link: LinkId) {
        for turn in &self.under_way {
            if let Some(wanted) = self.packs.get_mut(turn) {
                wanted.asked.retain(|_, asked| *asked != link);
            }
        }
    }

    /// Returns the packs whose shards the shell has in memory.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Wanted> {
        self.under_way
            .iter()
            .filter_map(|turn| self.packs.get(turn))
    }

    /// Tells whether one more pack may be begun.
    pub(super) fn has_slot(&self) -> bool {
        self.under_way.len() < limits::PACKS_IN_FLIGHT_MAX
    }

    /// Returns the next pack that is whole, if there is a slot for it.
    pub(super) fn next_whole(&mut self) -> Option<PackId> {
        if !self.has_slot() {
            return None;
        }
        let turn = self.whole.pop_first()?;
        self.packs.get(&turn).map(|wanted| wanted.record.id)
    }

    /// Returns the packs that wait and of which a device could give something, best first.
    pub(super) fn offered(&self, device: DeviceId) -> impl Iterator<Item = &Wanted> {
        let ranks = self.offers.get(&device).into_iter().flatten();
        ranks
            .filter_map(|(_, turn)| self.packs.get(turn))
            .filter(|wanted| wanted.phase == Phase::Waiting)
    }

    fn withdraw(&mut self, rank: Rank) {
        self.offers.retain(|_, ranks| {
            ranks.remove(&rank);
            !ranks.is_empty()
        });
    }
}
