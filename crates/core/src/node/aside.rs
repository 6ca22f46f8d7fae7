//! Shards of our own packs that lie on this disk until others bring what makes the packs whole: friends
//! are met one after another, and the device may be switched off in between.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Node;
use crate::{event::Effect, id::PackId, limits, time::Timestamp};

/// What lies aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    packs: BTreeMap<PackId, Kept>,
    /// There was no room for more until then: only what those in reach make whole is begun.
    full_until: Timestamp,
}

#[derive(Debug)]
struct Kept {
    shards: BTreeSet<u8>,
    /// When the pack was wanted last.
    wanted: Timestamp,
}

impl Node {
    /// Takes what lies aside, before anything else happens.
    pub fn learn_aside(&mut self, pack: PackId, shards: BTreeSet<u8>) {
        let wanted = self.now;
        self.aside.packs.insert(pack, Kept { shards, wanted });
    }

    /// Returns the shards of a pack that lie aside.
    pub(crate) fn shards_aside(&self, pack: PackId) -> BTreeSet<u8> {
        let kept = self.aside.packs.get(&pack);
        kept.map(|kept| kept.shards.clone()).unwrap_or_default()
    }

    pub(super) fn may_set_aside(&self) -> bool {
        self.aside.full_until <= self.now
    }

    pub(super) fn keep_aside(&mut self, pack: PackId, shards: BTreeSet<u8>) {
        let wanted = self.now;
        self.aside.packs.insert(pack, Kept { shards, wanted });
    }

    pub(super) fn nothing_fits_aside(&mut self) {
        self.aside.full_until = self.now + limits::ASIDE_FULL_REST;
    }

    /// What lies aside of a pack is of no more use.
    pub(super) fn drop_aside(&mut self, pack: PackId) {
        if self.aside.packs.remove(&pack).is_some() {
            self.effect(Effect::DropAside { pack });
        }
    }

    /// Drops what nobody has wanted for long.
    pub(super) fn clear_aside(&mut self) {
        for (pack, kept) in &mut self.aside.packs {
            if self.fetching.is_wanted(*pack) {
                kept.wanted = self.now;
            }
        }
        let old = self.aside.packs.iter();
        let old = old.filter(|(_, kept)| kept.wanted + limits::ASIDE_KEPT <= self.now);
        let old: Vec<PackId> = old.map(|(pack, _)| *pack).collect();
        for pack in old {
            self.drop_aside(pack);
        }
    }
}
