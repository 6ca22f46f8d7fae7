//! What the circle can be asked.

use alloc::vec::Vec;

use super::{Certificate, Circle, Conflict, Facts, Head, InviteState, OpenInvite, WrapsEntry};
use crate::{
    codec::Signed,
    courier::CourierCard,
    entry::{Addresses, DeviceCertificate, MemberCard, Revocation, SignedEntry, Subject, Tip},
    feed::Chain,
    id::{DeviceId, InviteId, MemberId},
    limits,
    time::Timestamp,
};

impl Circle {
    /// Returns the founder, removed since or not; nothing while the founding is not known here.
    pub fn founder(&self) -> Option<MemberId> {
        self.founding.as_ref().map(|founder| founder.member)
    }

    /// Returns everybody who belongs to the circle now.
    pub fn members(&self) -> impl Iterator<Item = MemberId> {
        self.standing.members.keys().copied()
    }

    /// Tells whether somebody belongs to the circle now.
    pub fn is_member(&self, member: MemberId) -> bool {
        self.standing.members.contains_key(&member)
    }

    /// Tells whether somebody was removed.
    pub fn is_revoked(&self, subject: Subject) -> bool {
        match subject {
            Subject::Member(member) => self.standing.revoked_members.contains(&member),
            Subject::Device(device) => self.standing.revoked_devices.contains(&device),
        }
    }

    /// Returns all devices of all members, without removed ones.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, MemberId)> {
        (self.standing.devices.iter()).map(|(device, member)| (*device, *member))
    }

    /// Returns the devices of a member, without removed ones.
    pub fn devices_of(&self, member: MemberId) -> impl Iterator<Item = DeviceId> {
        (self.devices()).filter_map(move |(device, owner)| (owner == member).then_some(device))
    }

    /// Returns the devices of a member that were removed one by one.
    pub fn removed_devices_of(&self, member: MemberId) -> impl Iterator<Item = DeviceId> {
        let owner = |device: &DeviceId| self.feeds.get(device).and_then(Facts::owner);
        let removed = self.standing.revoked_devices.iter().copied();
        removed.filter(move |device| owner(device) == Some(member))
    }

    /// Tells whether this is a device of a member, not removed.
    pub fn is_device(&self, device: DeviceId) -> bool {
        self.standing.devices.contains_key(&device)
    }

    /// Returns the owner of a device, if both belong to the circle now.
    pub fn member_of(&self, device: DeviceId) -> Option<MemberId> {
        self.standing.devices.get(&device).copied()
    }

    /// Returns the couriers of all members, without removed ones.
    pub fn couriers(&self) -> impl Iterator<Item = &CourierCard> {
        let all = self.feeds.iter().flat_map(|(device, facts)| {
            let cut = self.cut(*device);
            let couriers = facts.couriers.values();
            couriers.filter(move |(seq, _)| *seq < cut)
        });
        all.map(|(_, card)| card)
            .filter(|card| self.is_member(card.member) && !self.is_courier_removed(card))
    }

    /// Returns what its owner says of a courier, if it was not removed.
    pub fn courier(&self, courier: DeviceId) -> Option<&CourierCard> {
        self.couriers().find(|card| card.courier == courier)
    }

    /// Returns with whom a courier was last seen, and when they said so. `now` bounds clocks that run
    /// ahead: of those who are ahead the first by name is believed.
    pub fn courier_seen(&self, courier: DeviceId, now: Timestamp) -> Option<(MemberId, Timestamp)> {
        let seen = self.feeds.iter().filter_map(|(device, facts)| {
            let time = (*facts.sightings.get(&courier)?).min(now);
            Some((time, core::cmp::Reverse(self.member_of(*device)?)))
        });
        seen.max().map(|(time, member)| (member.0, time))
    }

    /// Tells whether this is a courier, removed since or not: it never writes into any feed.
    pub fn is_courier(&self, device: DeviceId) -> bool {
        (self.feeds.values()).any(|facts| facts.couriers.contains_key(&device))
    }

    /// Tells whether any device of its owner removed this courier.
    pub fn is_courier_removed(&self, card: &CourierCard) -> bool {
        let subject = Subject::Device(card.courier);
        self.feeds.iter().any(|(device, facts)| {
            let removed = facts.revocations.get(&subject);
            facts.owner() == Some(card.member)
                && removed.is_some_and(|(seq, _)| *seq < self.cut(*device))
        })
    }

    /// Returns the member's newest card.
    pub fn card(&self, member: MemberId) -> Option<&MemberCard> {
        self.cards.get(&member).map(|(card, _)| card)
    }

    /// Returns the member's newest card as signed.
    pub fn signed_card(&self, member: MemberId) -> Option<&Signed<MemberCard>> {
        self.cards.get(&member).map(|(_, signed)| signed)
    }

    /// Returns the certificate of a device that belongs to the circle now.
    pub fn certificate(&self, device: DeviceId) -> Option<&Signed<DeviceCertificate>> {
        Some(&self.certified(device)?.signed)
    }

    /// Returns what the certificate of a device says that belongs to the circle now.
    pub fn device(&self, device: DeviceId) -> Option<&DeviceCertificate> {
        Some(&self.certified(device)?.statement)
    }

    fn certified(&self, device: DeviceId) -> Option<&Certificate> {
        let owner = self.member_of(device)?;
        if let Some(facts) = self.feeds.get(&device) {
            return facts.certificate.as_ref();
        }
        self.introduced.get(&device).or_else(|| {
            let admissions = self
                .feeds
                .values()
                .flat_map(|facts| facts.admissions.values());
            (admissions.chain(self.vouched.values()))
                .map(|blessing| &blessing.certificate)
                .find(|known| known.statement.device == device && known.statement.member == owner)
        })
    }

    /// Returns the seed of a device's beacon tokens, once its feed is here.
    pub fn beacon_seed(&self, device: DeviceId) -> Option<&[u8; 32]> {
        self.member_of(device)?;
        Some(&self.feeds.get(&device)?.beacon_seed)
    }

    /// Returns the entry that shows others that a member was admitted: the founding, for the founder.
    pub fn admission(&self, member: MemberId) -> Option<&SignedEntry> {
        match self.standing.blessed.get(&member)? {
            None => self.founding.as_ref().map(|founder| &founder.signed),
            Some(place) => {
                let in_feed =
                    (self.feeds.get(&place.0)).and_then(|facts| facts.admissions.get(&place.1));
                in_feed
                    .or_else(|| self.vouched.get(place))
                    .map(|blessing| &blessing.signed)
            }
        }
    }

    /// Returns how many bytes a device keeps for a member; nothing if it never said.
    pub fn offer(&self, from: DeviceId, to: MemberId) -> Option<u64> {
        self.member_of(from)?;
        self.feeds.get(&from)?.offers.get(&to).copied()
    }

    /// Returns how many bytes all devices of a member keep for another one; nothing if none said.
    pub fn member_offer(&self, from: MemberId, to: MemberId) -> Option<u64> {
        (self.devices_of(from))
            .filter_map(|device| self.offer(device, to))
            .reduce(u64::saturating_add)
    }

    /// Tells whether a device has probably been replaced: another one of its member has gone on writing
    /// for [`limits::REPLACED_AFTER`] since.
    pub fn seems_replaced(&self, device: DeviceId) -> bool {
        let wrote = |device: DeviceId| self.feeds.get(&device).map_or(Timestamp(0), |it| it.wrote);
        let Some(member) = self.member_of(device) else {
            return false;
        };
        let newest = self.devices_of(member).map(wrote).max();
        newest.is_some_and(|newest| newest.since(wrote(device)) >= limits::REPLACED_AFTER)
    }

    /// Returns where a device said last that it can be reached, and when.
    pub fn addresses(&self, device: DeviceId) -> Option<(Timestamp, &Addresses)> {
        self.member_of(device)?;
        let (time, addresses) = self.feeds.get(&device)?.addresses.as_ref()?;
        Some((*time, addresses))
    }

    /// Returns the heads that a member's devices published, by device and position. A removed device's
    /// heads count up to where its removal cut its feed: its data is still its owner's.
    pub fn heads_of(&self, member: MemberId) -> impl Iterator<Item = &Head> {
        (self.feeds.iter())
            .filter(move |(_, facts)| facts.owner() == Some(member))
            .flat_map(|(device, facts)| {
                let cut = self.cut(*device);
                facts.heads.iter().filter(move |head| head.seq < cut)
            })
    }

    /// Returns the wrapped keys that a member's devices published, the latest by their clocks first.
    /// Readers try one after another: a stolen device may have written nonsense.
    pub fn wraps_of(&self, member: MemberId) -> Vec<&WrapsEntry> {
        let mut wraps: Vec<_> = (self.feeds.iter())
            .filter(|(_, facts)| facts.owner() == Some(member))
            .flat_map(|(device, facts)| {
                let cut = self.cut(*device);
                facts.wraps.iter().filter(move |entry| entry.seq < cut)
            })
            .collect();
        wraps.sort_by_key(|entry| core::cmp::Reverse((entry.time, entry.seq, entry.device)));
        wraps
    }

    /// Returns the position from which on a removed device's entries don't count; `u64::MAX` for all
    /// others.
    pub fn cut(&self, device: DeviceId) -> u64 {
        self.standing.cuts.get(&device).copied().unwrap_or(u64::MAX)
    }

    /// Returns the invites that can be claimed now. A removed member's invites are closed.
    pub fn open_invites(&self, now: Timestamp) -> impl Iterator<Item = OpenInvite> {
        (self.answered_invites(now)).filter(|invite| {
            !self.standing.used.contains_key(&invite.id)
                && !self.standing.contested.contains_key(&invite.id)
        })
    }

    /// Returns the invites whose time is not over. Who knocks with a used one is told so, instead of
    /// waiting at a door that nobody opens.
    pub fn answered_invites(&self, now: Timestamp) -> impl Iterator<Item = OpenInvite> {
        (self.feeds.iter())
            .filter(|(device, _)| self.is_device(**device))
            .flat_map(|(device, facts)| {
                (facts.invitations.values()).map(move |(_, invitation)| OpenInvite {
                    id: invitation.id,
                    inviter: *device,
                    expires: invitation.expires,
                    petname: invitation.petname.clone(),
                })
            })
            .filter(move |invite| now < invite.expires)
    }

    /// Returns what became of an invite.
    pub fn invite(&self, id: InviteId, now: Timestamp) -> InviteState {
        if self.standing.contested.contains_key(&id) {
            return InviteState::Contested;
        }
        if let Some(member) = self.standing.used.get(&id) {
            return InviteState::Used(*member);
        }
        if let Some(open) = self.open_invites(now).find(|invite| invite.id == id) {
            return InviteState::Open(open);
        }
        let opened = (self.feeds.iter())
            .any(|(device, facts)| self.is_device(*device) && facts.invitations.contains_key(&id));
        if opened {
            InviteState::Expired
        } else {
            InviteState::Unknown
        }
    }

    /// Returns the invites that were claimed for several people, all of whom are refused.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        (self.standing.contested.iter()).map(|(invite, claimants)| Conflict {
            invite: *invite,
            claimants: claimants.iter().copied().collect(),
        })
    }

    /// Returns the removal of somebody, with all that is known here of their feeds as seen.
    pub fn revocation(&self, subject: Subject) -> Revocation {
        let covers = |device: &DeviceId, owner: Option<MemberId>| match subject {
            Subject::Device(named) => *device == named,
            Subject::Member(member) => owner == Some(member),
        };
        let mut seen: alloc::collections::BTreeMap<_, _> = (self.feeds.iter())
            .filter(|(device, facts)| covers(device, facts.owner()))
            .map(|(device, facts)| (*device, facts.chain.tip().len))
            .collect();
        // An admission that was shown singly has been seen too, though not all before it.
        for (device, seq) in self.vouched.keys() {
            if covers(device, self.member_of(*device)) {
                let len = seen.entry(*device).or_default();
                *len = (*len).max(seq + 1);
            }
        }
        let seen = seen.into_iter().collect();
        Revocation { subject, seen }
    }

    /// Returns how far a feed is known, so that entries can be checked against it.
    pub fn chain(&self, device: DeviceId) -> Chain {
        (self.feeds.get(&device)).map_or(Chain::new(self.id, device), |facts| facts.chain)
    }

    /// Returns the version vector: how far each feed is known, by device.
    pub fn tips(&self) -> impl Iterator<Item = Tip> {
        self.feeds.values().map(|facts| facts.chain.tip())
    }

    /// Returns how far each feed that is known at all is known.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.feeds.values().map(Facts::extent)
    }

    /// Returns how far a feed is known, if it is at all.
    pub fn extent(&self, device: DeviceId) -> Option<Extent> {
        self.feeds.get(&device).map(Facts::extent)
    }
}

/// How far a feed is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// The last entry.
    pub tip: Tip,
    /// The last entry that is worth an encounter, see [`crate::entry::Entry::is_news`].
    pub news: Tip,
}

/// Returns four bytes that differ, but for chance, from those of other tips. The tips come in the order
/// of their devices.
pub fn digest(tips: impl IntoIterator<Item = Tip>) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new_derive_key("carryall 2026 news digest v1");
    for tip in tips {
        hasher.update(tip.device.as_bytes());
        hasher.update(&tip.len.to_le_bytes());
        hasher.update(&tip.hash.0);
    }
    let mut news = [0; 4];
    hasher.finalize_xof().fill(&mut news);
    news
}
