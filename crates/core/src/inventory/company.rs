//! Company: whose each device is, found out once for a pass over all packs.

use alloc::{collections::BTreeSet, vec::Vec};

use super::seats::{Seat, Seats};
use crate::{
    circle::Circle,
    health::Indices,
    id::{DeviceId, MemberId},
};

/// The present members other than us, and whose device has which seat.
#[derive(Clone, Debug)]
pub struct Company {
    /// In order.
    members: Vec<MemberId>,
    /// By seat: which of them.
    owners: Vec<Option<u8>>,
}

/// How much of a pack is with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The distinct shards.
    pub indices: Indices,
    /// How many members have some.
    pub members: usize,
}

impl Company {
    /// Leaves out those of `gone`.
    pub(super) fn new(
        seats: &Seats,
        circle: &Circle,
        me: MemberId,
        gone: &BTreeSet<DeviceId>,
    ) -> Self {
        let owners: Vec<Option<MemberId>> = (seats.devices().iter())
            .map(|device| {
                let owner = circle.member_of(*device).filter(|member| *member != me);
                owner.filter(|_| !gone.contains(device))
            })
            .collect();
        let members: BTreeSet<MemberId> = owners.iter().copied().flatten().collect();
        let members: Vec<MemberId> = members.into_iter().collect();
        // A circle has no more devices than that.
        let number = |owner| u8::try_from(members.binary_search(&owner).ok()?).ok();
        Self {
            owners: owners.into_iter().map(|owner| number(owner?)).collect(),
            members,
        }
    }

    /// Returns who they are.
    pub(super) fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// Returns which of the members the device with a seat belongs to.
    pub(super) fn owner(&self, seat: Seat) -> Option<u8> {
        self.owners.get(usize::from(seat)).copied().flatten()
    }
}
