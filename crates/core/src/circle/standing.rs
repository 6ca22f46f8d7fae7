//! Who belongs to the circle: a judgement over all feeds at once.
//!
//! Three questions depend on each other: who was ever blessed, what was cut off by a removal, and
//! which invites were claimed twice. Removals are weighed one after another, those of members
//! nearest to the founding first; everything else is a least fixpoint. So the outcome depends on the
//! set of entries alone, never on the order in which they came.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::facts::{Blessing, Certificate, Facts};
use crate::{
    entry::{Revocation, Subject},
    id::{DeviceId, InviteId, MemberId},
    limits,
    time::Timestamp,
};

/// Where an entry stands: its author and position.
pub(super) type Place = (DeviceId, u64);

/// Everything that bears on membership, in one order for everybody.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    founder: Option<MemberId>,
    feeds: &'a BTreeMap<DeviceId, Facts>,
    introduced: &'a BTreeMap<DeviceId, Certificate>,
    vouched: &'a BTreeMap<Place, Blessing>,
    admissions: Vec<(Place, &'a Blessing)>,
    /// Where each invite was opened, and until when.
    invitations: BTreeMap<InviteId, Vec<(Place, Timestamp)>>,
}

impl<'a> Evidence<'a> {
    /// Gathers what feeds say, what was shown singly, and who introduced themself.
    pub(super) fn new(
        founder: Option<MemberId>,
        feeds: &'a BTreeMap<DeviceId, Facts>,
        vouched: &'a BTreeMap<Place, Blessing>,
        introduced: &'a BTreeMap<DeviceId, Certificate>,
    ) -> Self {
        let mut admissions = Vec::new();
        let mut invitations = BTreeMap::<_, Vec<_>>::new();
        for (device, facts) in feeds {
            for (seq, blessing) in &facts.admissions {
                admissions.push(((*device, *seq), blessing));
            }
            for (invite, (seq, invitation)) in &facts.invitations {
                let opened = ((*device, *seq), invitation.expires);
                invitations.entry(*invite).or_default().push(opened);
            }
        }
        admissions.extend((vouched.iter()).map(|(place, blessing)| (*place, blessing)));
        Self {
            founder,
            feeds,
            introduced,
            vouched,
            admissions,
            invitations,
        }
    }

    /// Tells whether a removal cuts off anything that lets people in. Mostly it doesn't.
    fn is_cut_by(&self, removal: &Removal<'_>, reach: &Reach) -> bool {
        let admissions = self.admissions.iter().map(|(place, _)| place);
        let invitations = self.invitations.values().flatten().map(|(place, _)| place);
        (admissions.chain(invitations)).any(|(device, seq)| {
            let covered = match removal.revocation.subject {
                Subject::Device(subject) => *device == subject,
                Subject::Member(subject) => reach.owners.get(device) == Some(&subject),
            };
            covered && *seq >= removal.seen(*device)
        })
    }
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Everybody who was ever rightly admitted, with the entry that did it; nothing for the founder.
    pub(super) blessed: BTreeMap<MemberId, Option<Place>>,
    /// Those of them who were not removed, with their distance from the founding.
    pub(super) members: BTreeMap<MemberId, u32>,
    pub(super) revoked_members: BTreeSet<MemberId>,
    pub(super) revoked_devices: BTreeSet<DeviceId>,
    /// Devices of members that were not removed.
    pub(super) devices: BTreeMap<DeviceId, MemberId>,
    /// From which entry on a feed does not count any more.
    pub(super) cuts: BTreeMap<DeviceId, u64>,
    /// Invites that were claimed for several members.
    pub(super) contested: BTreeMap<InviteId, BTreeSet<MemberId>>,
    /// Invites by which somebody was rightly admitted.
    pub(super) used: BTreeMap<InviteId, MemberId>,
}

impl Standing {
    /// Judges the evidence.
    pub(super) fn judge(evidence: &Evidence<'_>) -> Self {
        let raw = Reach::without_contests(evidence, &Cuts::default());
        let mut cuts = Cuts::default();
        let mut reach = raw.clone().settled(evidence, &cuts);
        for removal in removals(evidence, &raw) {
            let Some(owner) = reach.owners.get(&removal.author).copied() else {
                continue;
            };
            let void = !reach.members.contains_key(&owner)
                || removal.seq >= cuts.of(removal.author, Some(owner))
                || cuts.answers(&removal, owner, &reach);
            if void {
                continue;
            }
            let mut trial_cuts = cuts.clone();
            trial_cuts.add(&removal);
            if !evidence.is_cut_by(&removal, &reach) {
                cuts = trial_cuts;
                continue;
            }
            let trial = Reach::without_contests(evidence, &trial_cuts);
            let trial = trial.settled(evidence, &trial_cuts);
            // Nobody saws off the branch they sit on: a removal that would undo its own author's
            // admission is void.
            if trial.members.contains_key(&owner) {
                (cuts, reach) = (trial_cuts, trial);
            }
        }
        Self::conclude(evidence, &cuts, reach)
    }

    fn conclude(evidence: &Evidence<'_>, cuts: &Cuts<'_>, reach: Reach) -> Self {
        let revoked_members: BTreeSet<_> = cuts.members.keys().copied().collect();
        let revoked_devices: BTreeSet<_> = cuts.devices.keys().copied().collect();
        let members: BTreeMap<_, _> = (reach.members.iter())
            .filter(|(member, _)| !revoked_members.contains(member))
            .map(|(member, reached)| (*member, reached.level))
            .collect();
        let feed_cuts = (evidence.feeds.iter())
            .map(|(device, facts)| (*device, cuts.of(*device, facts.owner())))
            .filter(|(_, cut)| *cut < u64::MAX)
            .collect();
        let candidates = (reach.owners.iter())
            .filter(|(device, _)| !revoked_devices.contains(device))
            .filter_map(|(device, owner)| Some((*members.get(owner)?, *owner, *device)))
            .collect();
        Self {
            blessed: (reach.members.iter())
                .map(|(member, reached)| (*member, reached.place))
                .collect(),
            members,
            revoked_members,
            revoked_devices,
            devices: bounded(candidates),
            cuts: feed_cuts,
            contested: reach.contested,
            used: reach.used,
        }
    }

    /// Tells whether the member was ever rightly admitted, removed since or not.
    pub(super) fn blessed(&self, member: &MemberId) -> bool {
        self.blessed.contains_key(member)
    }
}

/// Returns the devices that find a place: members near the founding first, nobody with too many.
fn bounded(mut candidates: Vec<(u32, MemberId, DeviceId)>) -> BTreeMap<DeviceId, MemberId> {
    candidates.sort_unstable();
    let mut per_member = BTreeMap::<_, usize>::new();
    candidates.retain(|(_, owner, _)| {
        let count = per_member.entry(*owner).or_default();
        *count += 1;
        *count <= limits::MEMBER_DEVICES_MAX
    });
    (candidates.into_iter())
        .take(limits::DEVICES_MAX)
        .map(|(_, owner, device)| (device, owner))
        .collect()
}

/// One removal, with its author.
#[derive(Clone, Copy, Debug)]
struct Removal<'a> {
    level: u32,
    seq: u64,
    author: DeviceId,
    revocation: &'a Revocation,
}

impl Removal<'_> {
    /// Returns how many entries of a device's feed the author had seen.
    fn seen(&self, device: DeviceId) -> u64 {
        let seen = &self.revocation.seen;
        (seen.iter().find(|(known, _)| *known == device)).map_or(0, |(_, len)| *len)
    }
}

/// Returns all removals that name somebody known, in the order in which they are weighed: authors
/// nearest to the founding first, then by position, then by author.
fn removals<'a>(evidence: &Evidence<'a>, raw: &Reach) -> Vec<Removal<'a>> {
    let mut removals = Vec::new();
    for (author, facts) in evidence.feeds {
        let Some(reached) = (facts.owner()).and_then(|owner| raw.members.get(&owner)) else {
            continue;
        };
        for (seq, revocation) in facts.revocations.values() {
            let known = match revocation.subject {
                Subject::Member(member) => raw.members.contains_key(&member),
                Subject::Device(device) => raw.owners.contains_key(&device),
            };
            if known {
                removals.push(Removal {
                    level: reached.level,
                    seq: *seq,
                    author: *author,
                    revocation,
                });
            }
        }
    }
    removals.sort_unstable_by_key(|removal| {
        let Removal {
            level, seq, author, ..
        } = *removal;
        (level, seq, author, removal.revocation.subject)
    });
    removals
}

/// What effective removals cut off.
#[derive(Clone, Debug, Default)]
struct Cuts<'a> {
    members: BTreeMap<MemberId, Vec<Removal<'a>>>,
    devices: BTreeMap<DeviceId, Vec<Removal<'a>>>,
}

impl<'a> Cuts<'a> {
    fn add(&mut self, removal: &Removal<'a>) {
        match removal.revocation.subject {
            Subject::Member(member) => self.members.entry(member).or_default().push(*removal),
            Subject::Device(device) => self.devices.entry(device).or_default().push(*removal),
        }
    }

    fn against(
        &self,
        device: DeviceId,
        owner: Option<MemberId>,
    ) -> impl Iterator<Item = &Removal<'a>> {
        let person = owner.and_then(|owner| self.members.get(&owner));
        let machine = self.devices.get(&device);
        person.into_iter().chain(machine).flatten()
    }

    /// Returns the position from which on the device's entries don't count.
    fn of(&self, device: DeviceId, owner: Option<MemberId>) -> u64 {
        self.against(device, owner)
            .map(|removal| removal.seen(device))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Tells whether a removal strikes back at somebody who removed its author: of two members who
    /// remove each other the one weighed first stays.
    fn answers(&self, removal: &Removal<'_>, owner: MemberId, reach: &Reach) -> bool {
        self.against(removal.author, Some(owner))
            .any(|earlier| match removal.revocation.subject {
                Subject::Device(device) => earlier.author == device,
                Subject::Member(member) => reach.owners.get(&earlier.author) == Some(&member),
            })
    }
}

/// How somebody came in.
#[derive(Clone, Copy, Debug)]
struct Reached {
    /// Distance from the founder, over inviter and admitter.
    level: u32,
    /// The entry that did it; nothing for the founder.
    place: Option<Place>,
}

/// Everybody who is reached from the founder by admissions that count.
#[derive(Clone, Debug, Default)]
struct Reach {
    members: BTreeMap<MemberId, Reached>,
    owners: BTreeMap<DeviceId, MemberId>,
    contested: BTreeMap<InviteId, BTreeSet<MemberId>>,
    used: BTreeMap<InviteId, MemberId>,
}

impl Reach {
    /// Leaves out the admissions by contested invites, if there are any.
    fn settled(self, evidence: &Evidence<'_>, cuts: &Cuts<'_>) -> Self {
        if self.contested.is_empty() {
            return self;
        }
        let mut reach = Self::follow(evidence, cuts, &self.contested);
        reach.contested = self.contested;
        reach
    }

    /// Follows the admissions that no removal cuts off, and finds the contested invites.
    fn without_contests(evidence: &Evidence<'_>, cuts: &Cuts<'_>) -> Self {
        let mut reach = Self::follow(evidence, cuts, &BTreeMap::new());
        reach.contested = reach.claims(evidence, cuts);
        reach
    }

    /// Follows the admissions that no removal cuts off, but those by refused invites.
    fn follow(
        evidence: &Evidence<'_>,
        cuts: &Cuts<'_>,
        refused: &BTreeMap<InviteId, BTreeSet<MemberId>>,
    ) -> Self {
        let mut reach = Self::default();
        // A feed's own certificate is signed by member and device, so nobody claims a device of
        // somebody else's; the others only fill in for feeds that are not here yet.
        for (device, facts) in evidence.feeds {
            reach
                .owners
                .extend(facts.owner().map(|owner| (*device, owner)));
        }
        for (device, certificate) in evidence.introduced {
            let owner = certificate.statement.member;
            reach.owners.entry(*device).or_insert(owner);
        }
        let Some(founder) = evidence.founder else {
            return reach;
        };
        let mut reached = Reached {
            level: 0,
            place: None,
        };
        reach.members.insert(founder, reached);
        let mut pending: Vec<_> = (evidence.admissions.iter())
            .filter(|(_, blessing)| !refused.contains_key(&blessing.invite))
            .collect();
        loop {
            reached.level += 1;
            let (next, rest): (Vec<_>, Vec<_>) = (pending.into_iter())
                .partition(|(place, blessing)| reach.counts(evidence, cuts, *place, blessing));
            if next.is_empty() {
                return reach;
            }
            pending = rest;
            for (place, blessing) in next {
                let member = blessing.card.member;
                reached.place = Some(*place);
                reach.members.entry(member).or_insert(reached);
                reach.used.entry(blessing.invite).or_insert(member);
                let device = blessing.certificate.statement.device;
                reach.owners.entry(device).or_insert(member);
            }
        }
    }

    /// Tells whether an admission counts, given who is reached so far.
    fn counts(
        &self,
        evidence: &Evidence<'_>,
        cuts: &Cuts<'_>,
        place: Place,
        blessing: &Blessing,
    ) -> bool {
        if !self.speaks(cuts, place) {
            return false;
        }
        let opened = evidence.invitations.get(&blessing.invite);
        let mut expiries = (opened.into_iter().flatten())
            .filter(|(opening, _)| self.speaks(cuts, *opening))
            .map(|(_, expires)| *expires)
            .peekable();
        if expiries.peek().is_none() {
            // An admission that is shown singly stands on its author's word until the feed with the
            // invitation is here.
            return evidence.vouched.contains_key(&place);
        }
        expiries.any(|expires| blessing.time < expires)
    }

    /// Tells whether what stands there counts: its author is reached, and no removal cuts it off.
    fn speaks(&self, cuts: &Cuts<'_>, (device, seq): Place) -> bool {
        let owner = self.owners.get(&device).copied();
        owner.is_some_and(|owner| self.members.contains_key(&owner)) && seq < cuts.of(device, owner)
    }

    /// Returns the invites that were claimed for several members by admissions that count.
    fn claims(
        &self,
        evidence: &Evidence<'_>,
        cuts: &Cuts<'_>,
    ) -> BTreeMap<InviteId, BTreeSet<MemberId>> {
        let mut claims = BTreeMap::<_, BTreeSet<_>>::new();
        for &(place, blessing) in &evidence.admissions {
            if self.counts(evidence, cuts, place, blessing) {
                let member = blessing.card.member;
                claims.entry(blessing.invite).or_default().insert(member);
            }
        }
        claims.retain(|_, members| members.len() > 1);
        claims
    }
}
