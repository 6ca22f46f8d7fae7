//! The plan of an encounter: what to put on the peer's shelf, in which order.
//!
//! An encounter may end at any byte, so the order is the policy: metadata first, then what is least
//! safe, then what is newest, then what is small.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::{
    circle::Circle,
    health::{Spread, union},
    id::{MemberId, PackId},
    inventory::{Inventory, OwnPack},
    placement::next_shard,
    record::PackKind,
};

/// From whose point of view a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    /// Who belongs to the circle.
    pub circle: &'a Circle,
    /// The owner of the packs.
    pub me: MemberId,
    /// How many other members there are.
    pub others: usize,
}

/// Returns our packs of which `member` should get a shard, most urgent first.
pub fn queue(inventory: &Inventory, view: Viewpoint<'_>, member: MemberId) -> Vec<PackId> {
    let mut queue: Vec<_> = wanted(inventory, view, member)
        .map(|(pack, spread)| (urgency(pack, &spread), pack.record.id))
        .collect();
    queue.sort_unstable();
    queue.into_iter().map(|(_, id)| id).collect()
}

/// Tells whether `member` should get anything at all.
pub fn wants_anything(inventory: &Inventory, view: Viewpoint<'_>, member: MemberId) -> bool {
    wanted(inventory, view, member).next().is_some()
}

fn wanted<'a>(
    inventory: &'a Inventory,
    view: Viewpoint<'a>,
    member: MemberId,
) -> impl Iterator<Item = (&'a OwnPack, Spread)> {
    inventory
        .packs()
        .filter(|pack| pack.available)
        .filter_map(move |pack| {
            let record = &pack.record;
            if inventory.is_insisted(record, view.circle, member) {
                return None;
            }
            let spread = inventory.placed_spread(record, view.circle, view.me);
            next_shard(record.kind, &record.coding, &spread, member, view.others)?;
            Some((pack, spread))
        })
}

/// Smaller sorts first: (not metadata, number of members that hold something when friends could
/// rebuild, newest, smallest).
fn urgency(pack: &OwnPack, spread: &Spread) -> (bool, usize, Reverse<u64>, u32) {
    let record = &pack.record;
    let holders = spread
        .values()
        .filter(|indices| !indices.is_empty())
        .count();
    let rebuildable = union(spread).len() >= u32::from(record.coding.k);
    let safety = if rebuildable { holders } else { 0 };
    (
        record.kind != PackKind::Metadata,
        safety,
        Reverse(record.made.0),
        record.bytes,
    )
}
