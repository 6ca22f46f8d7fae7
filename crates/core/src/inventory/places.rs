//! Where each shard of ours belongs: which pack, and which of its shards.
//!
//! A start looks for millions of shards here, at random, so it is a hash table. Ids are hashes already,
//! and ours alone are in it: nobody chooses them so that they collide. Stems are in it as a whole, so
//! that the records, which are elsewhere in memory, are looked at only where the whole id matters.

use hashbrown::HashTable;

use crate::id::Stem;

/// A pack's number, and a shard's index in the pack.
pub(super) type Place = (u32, u8);

/// Shards by the beginning of their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    table: HashTable<(Stem, Place)>,
}

/// Returns a hash of a stem: the table looks at its lowest and highest bits.
fn hash(stem: Stem) -> u64 {
    let first = (stem.0.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it));
    u64::from(first).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Places {
    pub(super) fn insert(&mut self, stem: Stem, place: Place) {
        (self.table).insert_unique(hash(stem), (stem, place), |it| hash(it.0));
    }

    pub(super) fn remove(&mut self, stem: Stem, place: Place) {
        if let Ok(found) = (self.table).find_entry(hash(stem), |it| *it == (stem, place)) {
            found.remove();
        }
    }

    /// Returns the place of a shard whose id begins so and which is the right one.
    pub(super) fn find(&self, stem: Stem, is_it: impl Fn(Place) -> bool) -> Option<Place> {
        let found = (self.table).find(hash(stem), |it| it.0 == stem && is_it(it.1));
        found.map(|it| it.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(first: u8, last: u8) -> Stem {
        let mut stem = Stem([first; 12]);
        stem.0[11] = last;
        stem
    }

    #[test]
    fn ids_that_begin_alike_have_places_of_their_own() {
        let mut places = Places::default();
        places.insert(stem(1, 1), (7, 0));
        places.insert(stem(1, 2), (8, 1));
        assert_eq!(places.find(stem(1, 2), |at| at == (8, 1)), Some((8, 1)));
        assert_eq!(places.find(stem(1, 2), |_| false), None);
        assert_eq!(places.find(stem(1, 3), |_| true), None);
        places.insert(stem(1, 1), (9, 2));
        places.remove(stem(1, 1), (7, 0));
        assert_eq!(places.find(stem(1, 1), |_| true), Some((9, 2)));
        places.remove(stem(2, 2), (8, 1));
        assert_eq!(places.find(stem(1, 2), |_| true), Some((8, 1)));
    }
}
