//! What one feed says: a summary of its entries, in their order.
//!
//! Signatures inside entries are checked here, once; whether the author had any business saying it
//! is judged over all feeds.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Change, Extent, heads::Heads};
use crate::{
    codec::Signed,
    courier::CourierCard,
    entry::{
        Addresses, Admission, Body, Certified, Claim, DeviceCertificate, Entry, Invitation,
        MemberCard, Revocation, SignedEntry, Subject, Tip, Wraps,
    },
    feed::{Chain, certified},
    id::{CircleId, DeviceId, InviteId, MemberId},
    limits,
    time::Timestamp,
};

/// A certificate, as signed and as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) signed: Signed<DeviceCertificate>,
    pub(super) statement: DeviceCertificate,
}

/// An admission whose own signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blessing {
    pub(super) card: MemberCard,
    pub(super) signed_card: Signed<MemberCard>,
    pub(super) certificate: Certificate,
    pub(super) invite: InviteId,
    /// The author's clock.
    pub(super) time: Timestamp,
    /// The entry it stands in, to be shown to others.
    pub(super) signed: SignedEntry,
}

impl Blessing {
    /// Returns the admission in this entry if card, certificate and claim fit together and hold.
    pub(super) fn from_entry(
        circle: &CircleId,
        entry: &Entry,
        signed: &SignedEntry,
    ) -> Option<Self> {
        let Ok(Body::Admitted(admission)) = Body::from_entry(entry) else {
            return None;
        };
        Self::new(circle, entry.time, admission, signed)
    }

    fn new(
        circle: &CircleId,
        time: Timestamp,
        admission: Admission,
        signed: &SignedEntry,
    ) -> Option<Self> {
        let card = admission.card.verify().ok()?;
        let statement = admission.certificate.verify().ok()?;
        let claim = Claim {
            circle: *circle,
            member: card.member,
            device: statement.device,
        };
        let holds =
            statement.member == card.member && claim.is_signed(&admission.invite, &admission.claim);
        holds.then(|| Self {
            card,
            signed_card: admission.card,
            certificate: Certificate {
                signed: admission.certificate,
                statement,
            },
            invite: admission.invite,
            time,
            signed: signed.clone(),
        })
    }
}

/// The wrapped keys that a device published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapsEntry {
    /// The device that wrapped them.
    pub device: DeviceId,
    /// Position of the entry in its feed.
    pub seq: u64,
    /// The device's clock.
    pub time: Timestamp,
    /// The wrapped keys.
    pub wraps: Wraps,
}

/// The summary of one feed. Every field is a function of the entries so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) chain: Chain,
    /// Up to the last entry that is worth an encounter.
    pub(super) news: Tip,
    /// When its device last wrote, by its own clock, as far as that isn't ahead of ours.
    pub(super) wrote: Timestamp,
    /// From entry 0, or renewed later by the same member.
    pub(super) certificate: Option<Certificate>,
    pub(super) beacon_seed: [u8; 32],
    /// By position.
    pub(super) admissions: BTreeMap<u64, Blessing>,
    /// The first of each subject, by subject, with its position.
    pub(super) revocations: BTreeMap<Subject, (u64, Revocation)>,
    /// The first of each id, with its position.
    pub(super) invitations: BTreeMap<InviteId, (u64, Invitation)>,
    pub(super) offers: BTreeMap<MemberId, u64>,
    pub(super) addresses: Option<(Timestamp, Addresses)>,
    /// The oldest and the newest, by position.
    pub(super) wraps: Vec<WrapsEntry>,
    pub(super) heads: Heads,
    /// The first card of each, with its position.
    pub(super) couriers: BTreeMap<DeviceId, (u64, CourierCard)>,
    /// Couriers that the author saw, and when it last said so: no later than that was heard of.
    pub(super) sightings: BTreeMap<DeviceId, Timestamp>,
}

impl Facts {
    pub(super) const fn new(chain: Chain) -> Self {
        Self {
            chain,
            news: chain.tip(),
            wrote: Timestamp(0),
            certificate: None,
            beacon_seed: [0; 32],
            admissions: BTreeMap::new(),
            revocations: BTreeMap::new(),
            invitations: BTreeMap::new(),
            offers: BTreeMap::new(),
            addresses: None,
            wraps: Vec::new(),
            heads: Heads::new(),
            couriers: BTreeMap::new(),
            sightings: BTreeMap::new(),
        }
    }

    pub(super) fn extent(&self) -> Extent {
        let (tip, news) = (self.chain.tip(), self.news);
        Extent { tip, news }
    }

    /// Returns the member who certifies the feed's author.
    pub(super) fn owner(&self) -> Option<MemberId> {
        (self.certificate.as_ref()).map(|certificate| certificate.statement.member)
    }

    /// Learns from the next entry at `now`. `body` is nothing if it can't be read.
    pub(super) fn apply(
        &mut self,
        circle: &CircleId,
        entry: &Entry,
        signed: &SignedEntry,
        body: Option<Body>,
        now: Timestamp,
    ) -> Change {
        let seq = entry.seq;
        let hash = signed.hash();
        self.chain = Chain::resume(*circle, entry.device, seq + 1, hash);
        if entry.is_news() {
            self.news = self.chain.tip();
        }
        self.wrote = self.wrote.max(entry.time.min(now));
        match body {
            Some(Body::Certified(_)) => self.certify(entry),
            Some(Body::Admitted(admission)) => {
                let blessing = Blessing::new(circle, entry.time, admission, signed);
                match blessing {
                    Some(blessing) if self.admissions.len() < limits::FEED_RULINGS_MAX => {
                        self.admissions.insert(seq, blessing);
                        Change::Membership
                    }
                    _ => Change::Nothing,
                }
            }
            Some(Body::Revoked(revocation)) => {
                let first =
                    keep_first(&mut self.revocations, revocation.subject, (seq, revocation));
                membership_if(first)
            }
            Some(Body::Invited(invitation)) => {
                let first = keep_first(&mut self.invitations, invitation.id, (seq, invitation));
                membership_if(first)
            }
            Some(Body::Offered(offer)) => {
                let known = self.offers.contains_key(&offer.to);
                if !known && self.offers.len() >= limits::FEED_RULINGS_MAX {
                    return Change::Nothing;
                }
                self.offers.insert(offer.to, offer.bytes);
                Change::Facts
            }
            Some(Body::Located(addresses)) if addresses.direct.len() <= limits::ADDRESSES_MAX => {
                self.addresses = Some((entry.time, addresses));
                Change::Facts
            }
            Some(Body::Wrapped(wraps)) => self.keep_wraps(entry, wraps),
            Some(Body::Head(sealed)) => {
                self.heads.keep(entry, sealed, now);
                Change::Facts
            }
            Some(Body::Courier(card)) => match card.verify() {
                // Nobody but who made the disk has its key, so nobody else can call it theirs.
                Ok(card) if Some(card.member) == self.owner() => {
                    keep_first(&mut self.couriers, card.courier, (seq, card));
                    Change::Facts
                }
                _ => Change::Nothing,
            },
            Some(Body::Sighted(courier)) => {
                let known = self.sightings.contains_key(&courier);
                if known || self.sightings.len() < limits::FEED_RULINGS_MAX {
                    self.sightings.insert(courier, entry.time.min(now));
                }
                Change::Nothing
            }
            // A founding proves itself, whoever shows it, and a card its member: the circle keeps
            // them.
            Some(Body::Founded(_)) => Change::Membership,
            Some(Body::Card(_)) => Change::Facts,
            _ => Change::Nothing,
        }
    }

    /// Takes over a certificate and beacon seed. A later one may renew them, never change the owner.
    fn certify(&mut self, entry: &Entry) -> Change {
        let Ok((body, statement)) = certified(entry) else {
            return Change::Nothing;
        };
        if self.owner().is_some_and(|owner| owner != statement.member) {
            return Change::Nothing;
        }
        let Certified {
            certificate: signed,
            beacon_seed,
        } = body;
        self.certificate = Some(Certificate { signed, statement });
        self.beacon_seed = beacon_seed;
        Change::Membership
    }

    fn keep_wraps(&mut self, entry: &Entry, wraps: Wraps) -> Change {
        if self.wraps.len() >= 2 * limits::FEED_WRAPS_MAX {
            self.wraps.remove(limits::FEED_WRAPS_MAX);
        }
        self.wraps.push(WrapsEntry {
            device: entry.device,
            seq: entry.seq,
            time: entry.time,
            wraps,
        });
        Change::Facts
    }
}

/// Keeps a value if there is none under its key, and room; tells whether it did.
fn keep_first<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let keeps = map.len() < limits::FEED_RULINGS_MAX && !map.contains_key(&key);
    if keeps {
        map.insert(key, value);
    }
    keeps
}

const fn membership_if(changed: bool) -> Change {
    if changed {
        Change::Membership
    } else {
        Change::Nothing
    }
}
