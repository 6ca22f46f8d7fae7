//! What all feeds together say about the circle: who belongs to it, and what each offers and keeps.
//!
//! The circle is a pure function of the set of entries: in whatever order feeds arrive, everybody
//! who has the same entries sees the same circle. It never writes entries and never decides for a
//! person; it says what follows from what was signed.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use thiserror::Error;

use crate::{
    codec::{DecodeError, Signed},
    entry::{Body, CheckSignature, DeviceCertificate, Entry, Founding, MemberCard, SignedEntry},
    feed::{FeedError, certified},
    id::{CircleId, DeviceId, InviteId, MemberId},
    limits,
    time::Timestamp,
};

mod facts;
mod heads;
mod knock;
mod queries;
mod standing;

pub use facts::WrapsEntry;
use facts::{Blessing, Certificate, Facts};
pub use heads::Head;
pub use knock::Verdict;
pub use queries::{Extent, digest};
use standing::{Evidence, Standing};

/// What an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing: it was here already, or nothing is known before it.
    Nothing,
    /// What a device offers, keeps or says about itself.
    Facts,
    /// Who belongs to the circle or may join it.
    Membership,
}

/// Why somebody who introduced themself is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IntroductionError {
    /// The statement is malformed or not signed by whom it should.
    #[error(transparent)]
    Statement(#[from] DecodeError),
    /// It is about another circle.
    #[error("entry of another circle")]
    ForeignCircle,
    /// The entry admits nobody, or its signatures don't fit together.
    #[error("not a valid admission")]
    NotAnAdmission,
    /// The author, or the member who certifies the device, is not in the circle.
    #[error("not signed by a member of this circle")]
    NotAMember,
    /// It was removed from the circle.
    #[error("removed from this circle")]
    Revoked,
    /// The circle or the member has as many devices as there can be.
    #[error("too many devices")]
    TooManyDevices,
}

/// Two people claimed one invite: both are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The invite.
    pub invite: InviteId,
    /// Who claimed it.
    pub claimants: Vec<MemberId>,
}

/// An invite that can be claimed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenInvite {
    /// The invite.
    pub id: InviteId,
    /// Who opened it.
    pub inviter: DeviceId,
    /// From then on it is refused.
    pub expires: Timestamp,
    /// What the inviter calls the guest.
    pub petname: String,
}

/// What became of an invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// Nobody who belongs to the circle opened it, as far as is known here.
    Unknown,
    /// It can be claimed.
    Open(OpenInvite),
    /// This member joined by it.
    Used(MemberId),
    /// It was claimed for different members, and is refused to all of them.
    Contested,
    /// It is too old.
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Founder {
    member: MemberId,
    place: (DeviceId, u64),
    signed: SignedEntry,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    id: CircleId,
    feeds: BTreeMap<DeviceId, Facts>,
    /// Admissions that came singly, before the feed they stand in.
    vouched: BTreeMap<(DeviceId, u64), Blessing>,
    /// Certificates that devices showed over links that prove their key, before their feed came.
    introduced: BTreeMap<DeviceId, Certificate>,
    /// The founder, and the first entry that shows the founding.
    founding: Option<Founder>,
    cards: BTreeMap<MemberId, (MemberCard, Signed<MemberCard>)>,
    standing: Standing,
    now: Timestamp,
}

impl Circle {
    /// Returns the circle of which nothing is known but its id.
    pub fn new(id: CircleId) -> Self {
        Self {
            id,
            feeds: BTreeMap::new(),
            vouched: BTreeMap::new(),
            introduced: BTreeMap::new(),
            founding: None,
            cards: BTreeMap::new(),
            standing: Standing::default(),
            now: Timestamp(u64::MAX),
        }
    }

    /// Tells the time: what later entries say of theirs is believed up to it. It decides which heads stay
    /// in memory, nothing else.
    pub const fn tell_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Returns the circle's id.
    pub const fn id(&self) -> CircleId {
        self.id
    }

    /// Checks an entry from anywhere against the feed it belongs to, and learns from it.
    pub fn take(&mut self, signed: &SignedEntry) -> Result<(Entry, Change), FeedError> {
        self.take_by(signed, SignedEntry::check_signature)
    }

    /// The same, where signatures are checked in another way.
    pub fn take_by(
        &mut self,
        signed: &SignedEntry,
        check: CheckSignature,
    ) -> Result<(Entry, Change), FeedError> {
        let entry = self.check_by(signed, check)?;
        let change = self.apply(&entry, signed);
        Ok((entry, change))
    }

    /// Returns the entry if it is the next one of its feed, and there is room for that feed.
    pub fn check(&self, signed: &SignedEntry) -> Result<Entry, FeedError> {
        self.check_by(signed, SignedEntry::check_signature)
    }

    fn check_by(&self, signed: &SignedEntry, check: CheckSignature) -> Result<Entry, FeedError> {
        let entry = signed.read()?;
        let follows = self.chain(entry.device).follows(&entry, signed);
        // In a crowd most entries come from several sides. Whoever wrote what is here already, it
        // changes nothing, and to check a signature costs more than all the rest.
        if !matches!(follows, Err(FeedError::Duplicate { .. })) {
            check(signed, &entry)?;
        }
        follows?;
        if entry.seq == 0 {
            let (_, certificate) = certified(&entry)?;
            if !self.has_room(&certificate) {
                return Err(FeedError::TooManyDevices);
            }
        }
        Ok(entry)
    }

    /// Learns from an entry that was checked. An entry that is here already, or that does not follow
    /// what is here, changes nothing.
    pub fn apply(&mut self, entry: &Entry, signed: &SignedEntry) -> Change {
        let place = (entry.device, entry.seq);
        let chain = self.chain(entry.device);
        if entry.circle != self.id || entry.seq != chain.tip().len {
            return Change::Nothing;
        }
        let body = Body::from_entry(entry).ok();
        let founds = matches!(&body, Some(Body::Founded(founding))
            if self.learn_founding(founding, place, signed));
        let facts = (self.feeds.entry(entry.device)).or_insert_with(|| Facts::new(chain));
        let card = match &body {
            Some(Body::Card(card)) => (card.verify().ok())
                .filter(|read| facts.owner() == Some(read.member))
                .map(|read| (read, card.clone())),
            _ => None,
        };
        let mut change = facts.apply(&self.id, entry, signed, body, self.now);
        let blessed = (facts.admissions.get(&entry.seq))
            .map(|blessing| (blessing.card.clone(), blessing.signed_card.clone()));
        for (card, signed) in card.into_iter().chain(blessed) {
            self.keep_card(card, signed);
            change = change.max(Change::Facts);
        }
        // The feed itself replaces what was shown of it beforehand.
        let replaced = self.vouched.remove(&place).is_some()
            || entry.seq == 0 && self.introduced.remove(&entry.device).is_some();
        if founds || replaced || change == Change::Membership {
            self.settle();
            return Change::Membership;
        }
        change
    }

    /// Keeps a founding of this circle, and by which entry to show it; tells whether it is one.
    fn learn_founding(
        &mut self,
        founding: &Founding,
        place: (DeviceId, u64),
        signed: &SignedEntry,
    ) -> bool {
        if !founding.founds(&self.id) {
            return false;
        }
        if (self.founding.as_ref()).is_none_or(|known| place < known.place) {
            self.founding = Some(Founder {
                member: founding.founder,
                place,
                signed: signed.clone(),
            });
        }
        true
    }

    /// Believes the single entry that a peer shows to prove its member's admission, before the feed
    /// it stands in is here. A founding entry proves the founder.
    pub fn vouch(&mut self, signed: &SignedEntry) -> Result<MemberId, IntroductionError> {
        let entry = signed.verify()?;
        if entry.circle != self.id {
            return Err(IntroductionError::ForeignCircle);
        }
        let place = (entry.device, entry.seq);
        if let Ok(Body::Founded(founding)) = Body::from_entry(&entry) {
            if !self.learn_founding(&founding, place, signed) {
                return Err(IntroductionError::NotAnAdmission);
            }
            self.settle();
            return self.standing_of(founding.founder);
        }
        let blessing = Blessing::from_entry(&self.id, &entry, signed)
            .ok_or(IntroductionError::NotAnAdmission)?;
        let member = blessing.card.member;
        if entry.seq < self.chain(entry.device).tip().len || self.vouched.contains_key(&place) {
            // That entry, or another one in its place, has been judged.
            return self.standing_of(member);
        }
        if !self.is_device(entry.device) {
            return Err(IntroductionError::NotAMember);
        }
        if self.vouched.len() >= limits::DEVICES_MAX {
            return Err(IntroductionError::TooManyDevices);
        }
        self.keep_card(blessing.card.clone(), blessing.signed_card.clone());
        self.vouched.insert(place, blessing);
        self.settle();
        self.standing_of(member)
    }

    /// Believes the certificate that a device shows over a link that proved its key, before its feed
    /// is here. It needs nobody's admission if its member has been admitted.
    pub fn introduce(
        &mut self,
        signed: &Signed<DeviceCertificate>,
    ) -> Result<MemberId, IntroductionError> {
        let statement = signed.verify()?;
        let (device, member) = (statement.device, statement.member);
        self.standing_of(member)?;
        if self.standing.revoked_devices.contains(&device) {
            return Err(IntroductionError::Revoked);
        }
        if self.standing.devices.get(&device) == Some(&member) {
            return Ok(member);
        }
        if self.feeds.contains_key(&device) {
            // Its own feed says otherwise.
            return Err(IntroductionError::NotAMember);
        }
        if !self.has_room(&statement) {
            return Err(IntroductionError::TooManyDevices);
        }
        let signed = signed.clone();
        self.introduced
            .insert(device, Certificate { signed, statement });
        self.settle();
        Ok(member)
    }

    fn standing_of(&self, member: MemberId) -> Result<MemberId, IntroductionError> {
        if self.standing.revoked_members.contains(&member) {
            Err(IntroductionError::Revoked)
        } else if self.is_member(member) {
            Ok(member)
        } else {
            Err(IntroductionError::NotAMember)
        }
    }

    /// Tells whether a device that is new here may take a place. Strangers may not fill the places
    /// of members: a feed may come before the admission of its author, but not too many of them.
    fn has_room(&self, certificate: &DeviceCertificate) -> bool {
        let (mut siblings, mut strangers) = (0, 0);
        for (device, facts) in &self.feeds {
            let owner = facts.owner();
            // Who was removed makes room.
            let stays = !self.standing.revoked_devices.contains(device);
            let other = *device != certificate.device && stays;
            siblings += usize::from(other && owner == Some(certificate.member));
            strangers += usize::from(owner.is_none_or(|owner| !self.standing.blessed(&owner)));
        }
        siblings += (self.introduced.iter())
            .filter(|(device, known)| {
                **device != certificate.device && known.statement.member == certificate.member
            })
            .count();
        siblings < limits::MEMBER_DEVICES_MAX
            && self.feeds.len() < limits::FEEDS_MAX
            && self.introduced.len() < limits::DEVICES_MAX
            && (self.standing.blessed(&certificate.member) || strangers < limits::DEVICES_MAX)
    }

    /// Keeps the newest card of each member; of two from one moment, the one with greater bytes, so
    /// that everybody keeps the same.
    fn keep_card(&mut self, card: MemberCard, signed: Signed<MemberCard>) {
        let newer = self
            .cards
            .get(&card.member)
            .is_none_or(|(old, old_signed)| {
                (card.issued, &signed.bytes) > (old.issued, &old_signed.bytes)
            });
        if newer {
            self.cards.insert(card.member, (card, signed));
        }
    }

    fn settle(&mut self) {
        let founder = self.founder();
        let evidence = Evidence::new(founder, &self.feeds, &self.vouched, &self.introduced);
        self.standing = Standing::judge(&evidence);
    }
}

#[cfg(test)]
mod tests;
