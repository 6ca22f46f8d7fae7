//! A load: which of our shards somebody should take along for others, be it a disk or a friend.
//!
//! What travels like this is a hope, not a promise: whoever is met gets their shards all the same. So
//! parcels count for the plan of who carries them alone.

use alloc::{
    collections::{BTreeMap, BinaryHeap},
    vec::Vec,
};
use core::cmp::Reverse;

use super::Node;
use crate::{
    courier::Parcel,
    health::Spread,
    id::{MemberId, PackId},
    inventory::{Inventory, OwnPack},
    limits,
    placement::next_shard,
    plan::{Urgency, Viewpoint, assess_beside},
};

/// A parcel to be put on a courier, or entrusted to a friend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Our pack.
    pub pack: PackId,
    /// The shard's index in it.
    pub index: u8,
    /// The parcel.
    pub parcel: Parcel,
}

/// What a plan has loaded so far, and what may come next.
pub(super) struct Load<'a> {
    view: Viewpoint<'a>,
    /// Where the shards of packs are, or will be when all hopes came true.
    spreads: BTreeMap<PackId, Spread>,
    /// Bytes that still fit.
    pub(super) left: u64,
    /// How much each member takes beyond that.
    grants: BTreeMap<MemberId, u64>,
    wanted: BinaryHeap<Reverse<(Urgency, PackId, MemberId)>>,
}

impl<'a> Load<'a> {
    /// Begins with nothing, and no room.
    pub(super) fn new(view: Viewpoint<'a>, grants: BTreeMap<MemberId, u64>) -> Self {
        Self {
            view,
            spreads: BTreeMap::new(),
            left: 0,
            grants,
            wanted: BinaryHeap::new(),
        }
    }

    /// Queues packs of which a member should get something.
    pub(super) fn queue(&mut self, packs: Vec<(Urgency, PackId)>, member: MemberId) {
        let wanted = packs.into_iter().map(|(at, id)| Reverse((at, id, member)));
        self.wanted.extend(wanted);
    }

    /// Loads the most urgent parcel that fits, and returns it. `choose` may take another shard than the
    /// one that the pack's spread suggests.
    pub(super) fn next(
        &mut self,
        inventory: &Inventory,
        choose: impl Fn(&Spread, u8, u8) -> Option<u8>,
    ) -> Option<Put> {
        while let Some(Reverse((queued, id, member))) = self.wanted.pop() {
            let Some(pack) = inventory.pack(id) else {
                continue;
            };
            let view = self.view;
            let spread = self.spread(pack);
            let Some((urgency, index)) = assess_beside(pack, spread, view, member) else {
                continue;
            };
            if urgency > queued {
                self.wanted.push(Reverse((urgency, id, member)));
                continue;
            }
            let coding = pack.record.coding;
            let chosen = if coding.k == 1 {
                Some(index)
            } else {
                choose(spread, index, coding.n)
            };
            let found = chosen.and_then(|at| Some((at, *pack.record.shards.get(usize::from(at))?)));
            let Some((index, shard)) = found else {
                continue;
            };
            let parcel = Parcel {
                shard,
                bytes: coding.shard_bytes,
                to: member,
            };
            if !self.fits(&parcel) {
                // A smaller one may fit.
                continue;
            }
            self.add(pack, &parcel, index);
            self.left -= u64::from(parcel.bytes);
            // Thick first: it may get another one of this pack.
            self.wanted.push(Reverse((urgency, id, member)));
            return Some(Put {
                pack: id,
                index,
                parcel,
            });
        }
        None
    }

    fn spread(&mut self, pack: OwnPack<'_>) -> &mut Spread {
        let Viewpoint {
            circle, me, stance, ..
        } = self.view;
        let spread = self.spreads.entry(pack.record.id);
        spread.or_insert_with(|| pack.placed_spread(circle, me, &stance.gone))
    }

    /// Tells whether there is room for a parcel, on the way and with its addressee.
    pub(super) fn fits(&self, parcel: &Parcel) -> bool {
        let grant = self.grants.get(&parcel.to).copied().unwrap_or(0);
        u64::from(parcel.bytes) <= self.left.min(grant)
    }

    /// Counts a shard as if its addressee had it.
    pub(super) fn add(&mut self, pack: OwnPack<'_>, parcel: &Parcel, index: u8) {
        let spread = self.spread(pack);
        spread.entry(parcel.to).or_default().insert(index);
        if let Some(grant) = self.grants.get_mut(&parcel.to) {
            *grant = grant.saturating_sub(u64::from(parcel.bytes));
        }
    }

    /// Takes room for a parcel that was counted already. Tells whether there was some.
    pub(super) fn take_room(&mut self, parcel: &Parcel) -> bool {
        let left = self.left.checked_sub(parcel.bytes.into());
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Tells whether its addressee should still get this shard: nobody has it, and it may have more.
    pub(super) fn is_wanted(&mut self, pack: OwnPack<'_>, parcel: &Parcel, index: u8) -> bool {
        let Viewpoint {
            circle, others, me, ..
        } = self.view;
        if parcel.to == me || !circle.is_member(parcel.to) || pack.is_insisted(circle, parcel.to) {
            return false;
        }
        let (kind, coding) = (pack.record.kind, pack.record.coding);
        let spread = self.spread(pack);
        let taken = spread.values().any(|held| held.contains(index));
        let more = next_shard(kind, &coding, spread, parcel.to, others);
        more.is_some() && (coding.k == 1 || !taken)
    }
}

impl Node {
    /// Returns how much each other member keeps for us beyond what they keep now.
    pub(super) fn grants_left(&self) -> BTreeMap<MemberId, u64> {
        let mut grants = BTreeMap::<MemberId, u64>::new();
        for (device, member) in self.circle.devices() {
            let offer = self.circle.offer(device, self.member);
            let grant = grants.entry(member).or_default();
            *grant = grant.saturating_add(offer.unwrap_or(limits::OFFER_BYTES_DEFAULT));
        }
        for (device, held, _) in self.inventory.bytes_by_device(self.now) {
            let member = self.circle.member_of(device);
            if let Some(grant) = member.and_then(|member| grants.get_mut(&member)) {
                *grant = grant.saturating_sub(held);
            }
        }
        grants
    }
}
