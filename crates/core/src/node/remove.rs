//! Removal: of a member, or of a device of our own that was stolen.
//!
//! It takes effect here at once, and wherever the entry is heard of; removal beats any admission at the
//! same time. What the removed hold counts no more, so that their part goes to others. They keep the
//! sealed bytes for as long as they like: nobody can make them forget.

use alloc::vec::Vec;

use super::Node;
use crate::{
    entry::{Body, Subject},
    event::{CommandRefused, LinkId},
    id::{DeviceId, MemberId, PackId},
    message::Farewell,
};

impl Node {
    /// Removes a member or a device of ours.
    pub(super) fn remove(&mut self, subject: Subject) -> Result<(), CommandRefused> {
        match subject {
            Subject::Member(member) if member == self.member => {
                return Err(CommandRefused::Ourselves);
            }
            Subject::Member(member) if !self.circle.is_member(member) => {
                return Err(CommandRefused::UnknownMember(member));
            }
            Subject::Device(device) if device == self.device => {
                return Err(CommandRefused::Ourselves);
            }
            Subject::Device(device) if !self.is_ours(device) => {
                return Err(CommandRefused::ForeignDevice(device));
            }
            Subject::Member(_) | Subject::Device(_) => {}
        }
        let revocation = self.circle.revocation(subject);
        self.append(&Body::Revoked(revocation)).map(|_| ())
    }

    /// Somebody was removed: nothing is said to them any more, and what they hold is not counted.
    pub(super) fn part_with_removed(&mut self) {
        let gone: Vec<LinkId> = (self.encounters.iter())
            .filter(|(_, it)| it.is_open() && self.is_removed(it.peer, it.member))
            .map(|(link, _)| *link)
            .collect();
        for link in gone {
            self.close(link, Farewell::NotAMember);
        }
        let packs: Vec<PackId> = self.inventory.packs().map(|pack| pack.record.id).collect();
        packs.into_iter().for_each(|pack| self.judge(pack));
    }

    /// Tells whether this is a device or a courier of this member.
    fn is_ours(&self, device: DeviceId) -> bool {
        let courier = || Some(self.circle.courier(device)?.member);
        self.circle.member_of(device).or_else(courier) == Some(self.member)
    }

    fn is_removed(&self, device: DeviceId, member: Option<MemberId>) -> bool {
        self.circle.is_revoked(Subject::Device(device))
            || member.is_some_and(|member| self.circle.is_revoked(Subject::Member(member)))
    }
}
