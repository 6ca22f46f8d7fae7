//! Opening: what an inventory remembers only while it takes millions of words at once.
//!
//! A start hears of each shard twice: its holder signed for it, and it was proved. Where it lies is
//! looked up for the first word, and remembered for the second.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{places::Place, seats::Seat};

/// Where a shard lies that a holder signed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    number: u32,
    index: u8,
    /// Where its mark was among its pack's. It may have moved on since.
    pub(super) mark: u8,
}

impl Spot {
    pub(super) const fn new((number, index): Place, mark: u8) -> Self {
        Self {
            number,
            index,
            mark,
        }
    }

    pub(super) const fn place(self) -> Place {
        (self.number, self.index)
    }
}

/// The shards that holders signed for, by their numbers on the holders' rolls.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    spots: BTreeMap<Seat, Vec<Option<Spot>>>,
    /// A pack was forgotten, so that others may lie in its place.
    given_up: bool,
}

impl Opening {
    /// Notes where the next shards lie for which a holder signed, of those whose packs are known.
    pub(super) fn sign(&mut self, seat: Seat, spots: Vec<Option<Spot>>) {
        if !self.given_up {
            self.spots.entry(seat).or_default().extend(spots);
        }
    }

    pub(super) fn spot(&self, seat: Seat, number: u32) -> Option<Spot> {
        let spots = self.spots.get(&seat)?;
        spots.get(number as usize).copied().flatten()
    }

    /// Remembers nothing from now on.
    pub(super) fn give_up(&mut self) {
        self.spots.clear();
        self.given_up = true;
    }
}
