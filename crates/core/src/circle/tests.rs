//! A small world of people whose feeds are written for real.

use alloc::{string::ToString, vec, vec::Vec};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{
    entry::{
        Addresses, Admission, Certified, Claim, DeviceClass, Invitation, Offer, Revocation,
        Subject, WrapTarget, Wraps,
    },
    feed::Author,
    invite::InviteSecret,
    message::{Farewell, Knock, PROTOCOL_VERSION},
    time::Span,
};

mod attacks;
mod laws;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Somebody with 12 words.
struct Person {
    root: SigningKey,
}

impl Person {
    fn new(n: u8) -> Self {
        let root = SigningKey::from_bytes(&[n; 32]);
        Self { root }
    }

    fn id(&self) -> MemberId {
        MemberId(self.root.verifying_key().to_bytes())
    }

    fn card(&self, issued: u64) -> Signed<MemberCard> {
        let card = MemberCard {
            member: self.id(),
            recovery_key: [1; 32],
            inventory_key: [2; 32],
            rendezvous: [3; 32],
            name: "somebody".to_string(),
            issued: Timestamp(issued),
        };
        Signed::new(&card, &self.root)
    }

    fn certificate(&self, device: DeviceId) -> Signed<DeviceCertificate> {
        let certificate = DeviceCertificate {
            member: self.id(),
            device,
            sealing_key: [4; 32],
            class: DeviceClass::Laptop,
            name: "laptop".to_string(),
            issued: NOW,
            expires: None,
        };
        Signed::new(&certificate, &self.root)
    }

    fn certified(&self, device: DeviceId) -> Body {
        Body::Certified(Certified {
            certificate: self.certificate(device),
            beacon_seed: device.0,
        })
    }
}

/// A device with its own pen.
struct Device {
    author: Author,
    feed: Vec<SignedEntry>,
}

/// All people and feeds. Person `p` has number `p` and the devices `p` and, if any, `p + 100`.
struct World {
    circle: CircleId,
    now: Timestamp,
    devices: BTreeMap<u8, Device>,
    invites: u8,
}

const fn owner_of(device: u8) -> u8 {
    device % 100
}

fn person(n: u8) -> MemberId {
    Person::new(n).id()
}

fn secret_of(device: u8) -> [u8; 32] {
    [device; 32].map(|byte| byte ^ 0x5a)
}

fn device_id(device: u8) -> DeviceId {
    Author::new(CircleId([0; 32]), &secret_of(device)).device()
}

fn founding(founder: u8, key: u8) -> Founding {
    Founding::sign(
        &SigningKey::from_bytes(&[key; 32]),
        [7; 16],
        person(founder),
    )
}

impl World {
    /// Person 1 founds the circle with device 1.
    fn new() -> Self {
        let founding = founding(1, 99);
        let mut world = Self {
            circle: founding.circle(),
            now: NOW,
            devices: BTreeMap::new(),
            invites: 0,
        };
        world.start(1);
        world.write(1, &Body::Founded(founding));
        world.write(1, &Body::Card(Person::new(1).card(1)));
        world
    }

    /// Starts the feed of a device.
    fn start(&mut self, device: u8) {
        let author = Author::new(self.circle, &secret_of(device));
        let certified = Person::new(owner_of(device)).certified(author.device());
        let feed = Vec::new();
        self.devices.insert(device, Device { author, feed });
        self.write(device, &certified);
    }

    fn write(&mut self, device: u8, body: &Body) -> SignedEntry {
        let now = self.now;
        let device = self.devices.get_mut(&device).unwrap();
        let entry = device.author.write(now, body).unwrap();
        device.feed.push(entry.clone());
        entry
    }

    /// Opens an invite at a device.
    fn invite(&mut self, inviter: u8) -> InviteSecret {
        self.invites += 1;
        let secret = InviteSecret([self.invites; 16]);
        let invitation = Invitation {
            id: secret.id(),
            expires: self.now + Span::hours(72),
            petname: "guest".to_string(),
        };
        self.write(inviter, &Body::Invited(invitation));
        secret
    }

    /// Returns the admission of a device's owner by an invite.
    fn admission(&self, guest: u8, invite: &InviteSecret) -> Admission {
        let owner = Person::new(owner_of(guest));
        let device = device_id(guest);
        let claim = Claim {
            circle: self.circle,
            member: owner.id(),
            device,
        };
        Admission {
            card: owner.card(1),
            certificate: owner.certificate(device),
            invite: invite.id(),
            claim: invite.sign(&claim),
        }
    }

    fn admit(&mut self, admitter: u8, guest: u8, invite: &InviteSecret) -> SignedEntry {
        let admission = self.admission(guest, invite);
        self.write(admitter, &Body::Admitted(admission))
    }

    /// Lets a guest in by a fresh invite of one device, completed by another.
    fn join(&mut self, inviter: u8, admitter: u8, guest: u8) -> SignedEntry {
        let invite = self.invite(inviter);
        let entry = self.admit(admitter, guest, &invite);
        self.start(guest);
        entry
    }

    /// Removes somebody, of whose feeds the author has seen everything.
    fn revoke(&mut self, author: u8, subject: Subject) {
        let revocation = self.circle().revocation(subject);
        self.write(author, &Body::Revoked(revocation));
    }

    /// Removes a person, of whose one device the author has seen so many entries.
    fn revoke_since(&mut self, author: u8, subject: u8, seen: u64) {
        let revocation = Revocation {
            subject: Subject::Member(person(subject)),
            seen: vec![(device_id(subject), seen)],
        };
        self.write(author, &Body::Revoked(revocation));
    }

    /// Returns what somebody sees who has every feed.
    fn circle(&self) -> Circle {
        let mut circle = Circle::new(self.circle);
        for device in self.devices.values() {
            for entry in &device.feed {
                circle.take(entry).unwrap();
            }
        }
        circle
    }

    /// Returns what somebody sees who has these feeds alone.
    fn circle_of(&self, devices: &[u8]) -> Circle {
        let mut circle = Circle::new(self.circle);
        for device in devices {
            for entry in &self.devices[device].feed {
                circle.take(entry).unwrap();
            }
        }
        circle
    }

    /// Returns a circle that got the entries in an order that `picks` decides, some of them twice.
    fn shuffled(&self, picks: &[prop::sample::Index]) -> Circle {
        let mut circle = Circle::new(self.circle);
        let mut feeds: Vec<_> = (self.devices.values())
            .map(|device| &device.feed[..])
            .collect();
        let mut picks = picks.iter().cycle();
        while !feeds.is_empty() {
            let at = picks.next().map_or(0, |pick| pick.index(feeds.len()));
            let (entry, rest) = feeds[at].split_first().unwrap();
            circle.take(entry).unwrap();
            assert!(matches!(
                circle.take(entry),
                Err(FeedError::Duplicate { .. })
            ));
            let read = entry.verify().unwrap();
            assert_eq!(circle.apply(&read, entry), Change::Nothing);
            feeds[at] = rest;
            feeds.retain(|feed| !feed.is_empty());
        }
        circle
    }

    fn members(&self) -> Vec<u8> {
        let circle = self.circle();
        let numbers = 1..100;
        numbers.filter(|n| circle.is_member(person(*n))).collect()
    }
}

#[test]
fn a_circle_grows() {
    let mut world = World::new();
    assert_eq!(world.members(), [1]);
    world.join(1, 1, 2);
    // Anybody can complete anybody's invite.
    world.join(1, 2, 3);
    world.join(3, 1, 4);
    assert_eq!(world.members(), [1, 2, 3, 4]);
    let circle = world.circle();
    assert_eq!(circle.founder(), Some(person(1)));
    assert_eq!(circle.member_of(device_id(3)), Some(person(3)));
    assert_eq!(circle.devices().count(), 4);
    assert_eq!(circle.open_invites(NOW).count(), 0);
    assert_eq!(circle.conflicts().count(), 0);
    assert_eq!(circle.card(person(4)).unwrap().member, person(4));
    assert_eq!(circle.device(device_id(4)).unwrap().member, person(4));
    assert_eq!(circle.beacon_seed(device_id(4)), Some(&device_id(4).0));
}

#[test]
fn nothing_is_known_before_the_founding() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let mut circle = world.circle_of(&[2]);
    assert_eq!(circle.members().count(), 0);
    for entry in &world.devices[&1].feed {
        circle.take(entry).unwrap();
    }
    assert_eq!(circle, world.circle());
}

#[test]
fn a_member_is_known_before_their_feed() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let circle = world.circle_of(&[1]);
    assert_eq!(circle.member_of(device_id(2)), Some(person(2)));
    assert!(circle.certificate(device_id(2)).is_some());
    assert_eq!(circle.beacon_seed(device_id(2)), None);
}

#[test]
fn what_devices_say() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.start(102);
    let offer = |to, bytes| {
        Body::Offered(Offer {
            to: person(to),
            bytes,
        })
    };
    world.write(2, &offer(1, 5));
    world.write(2, &offer(1, 7));
    world.write(102, &offer(1, 10));
    let address = |port| Addresses {
        direct: vec![([10, 0, 0, 1], port).into()],
        relay: None,
    };
    world.write(2, &Body::Located(address(1)));
    world.write(2, &Body::Located(address(2)));
    world.write(2, &Body::Head(vec![1]));
    world.write(102, &Body::Head(vec![2]));
    world.write(2, &Body::Head(vec![3]));
    world.write(1, &Body::Card(Person::new(1).card(9)));
    world.write(1, &Body::Card(Person::new(1).card(5)));
    // Nobody publishes another one's card.
    world.write(1, &Body::Card(Person::new(2).card(99)));

    let circle = world.circle();
    assert_eq!(circle.offer(device_id(2), person(1)), Some(7));
    assert_eq!(circle.member_offer(person(2), person(1)), Some(17));
    assert_eq!(circle.member_offer(person(1), person(2)), None);
    assert_eq!(circle.addresses(device_id(2)), Some((NOW, &address(2))));
    assert_eq!(circle.card(person(1)).unwrap().issued, Timestamp(9));
    assert_eq!(circle.card(person(2)).unwrap().issued, Timestamp(1));
    let mut heads: Vec<_> = circle
        .heads_of(person(2))
        .map(|head| head.sealed[0])
        .collect();
    heads.sort_unstable();
    assert_eq!(heads, [1, 2, 3]);
    assert_eq!(circle.devices_of(person(2)).count(), 2);
}

#[test]
fn news_differ_exactly_when_entries_do() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let all = world.circle();
    let news = |circle: &Circle| digest(circle.extents().map(|extent| extent.news));
    let known = |circle: &Circle| digest(circle.extents().map(|extent| extent.tip));
    assert_ne!(news(&all), news(&world.circle_of(&[1])));
    assert_eq!(news(&all), news(&world.circle_of(&[2, 1])));
    world.write(2, &Body::Head(vec![1]));
    let headed = world.circle();
    assert_ne!(news(&all), news(&headed));
    // Outcomes alone are no news, though part of what is known; what comes after them is.
    world.write(2, &Body::Audited(vec![1]));
    assert_eq!(news(&headed), news(&world.circle()));
    assert_ne!(known(&headed), known(&world.circle()));
    world.write(2, &Body::Head(vec![2]));
    assert_ne!(news(&headed), news(&world.circle()));
    assert_eq!(world.circle().tips().count(), 2);
    let tip = world.devices[&2].author.tip();
    assert!(world.circle().tips().any(|known| known == tip));
}

#[test]
fn heads_and_wraps_stay_bounded_and_keep_the_right_ones() {
    let mut world = World::new();
    let head = limits::ENTRY_BYTES_MAX - 1024;
    for n in 0..40_u8 {
        world.write(1, &Body::Head(vec![n; head]));
        let wraps = vec![(WrapTarget::Recovery, vec![n])];
        world.now = world.now + Span::secs(1);
        world.write(1, &Body::Wrapped(Wraps { wraps }));
    }
    let circle = world.circle();
    let heads: Vec<_> = circle
        .heads_of(person(1))
        .map(|head| head.sealed[0])
        .collect();
    assert_eq!(heads, [0, 39], "of one day, the first and the last");
    let wraps = circle.wraps_of(person(1));
    let kept: Vec<_> = wraps
        .iter()
        .map(|entry| entry.wraps.wraps[0].1[0])
        .collect();
    assert_eq!(kept[0], 39);
    assert_eq!(kept.last(), Some(&0));
    assert_eq!(kept.len(), 2 * limits::FEED_WRAPS_MAX);
}

#[test]
fn invites_open_and_close() {
    let mut world = World::new();
    let invite = world.invite(1);
    let later = NOW + Span::hours(72);
    let state = |world: &World, now| world.circle().invite(invite.id(), now);
    assert!(matches!(state(&world, NOW), InviteState::Open(open) if open.inviter == device_id(1)));
    assert_eq!(state(&world, later), InviteState::Expired);
    assert_eq!(world.circle().open_invites(later).count(), 0);
    world.admit(1, 2, &invite);
    assert_eq!(state(&world, NOW), InviteState::Used(person(2)));
    let unknown = InviteSecret([200; 16]).id();
    assert_eq!(world.circle().invite(unknown, NOW), InviteState::Unknown);
}

#[test]
fn a_single_entry_proves_an_admission() {
    let mut world = World::new();
    let entry = world.join(1, 1, 2);
    // Somebody who has the founding, and neither the invitation nor the admission.
    let mut circle = Circle::new(world.circle);
    for entry in &world.devices[&1].feed[..2] {
        circle.take(entry).unwrap();
    }
    assert!(!circle.is_member(person(2)));
    assert_eq!(circle.vouch(&entry), Ok(person(2)));
    assert_eq!(circle.vouch(&entry), Ok(person(2)));
    assert_eq!(circle.member_of(device_id(2)), Some(person(2)));
    assert_eq!(circle.admission(person(2)), Some(&entry));
    // The feeds come later, and nothing is left of the short cut.
    for entry in &world.devices[&1].feed[2..] {
        circle.take(entry).unwrap();
    }
    for entry in &world.devices[&2].feed {
        circle.take(entry).unwrap();
    }
    assert_eq!(circle, world.circle());
    assert_eq!(circle.vouch(&entry), Ok(person(2)));
}

#[test]
fn the_founding_proves_the_founder() {
    let world = World::new();
    let mut circle = Circle::new(world.circle);
    let entry = world.circle().admission(person(1)).unwrap().clone();
    assert_eq!(circle.vouch(&entry), Ok(person(1)));
    let certificate = Person::new(1).certificate(device_id(1));
    assert_eq!(circle.introduce(&certificate), Ok(person(1)));
    assert!(circle.is_device(device_id(1)));
}

#[test]
fn a_new_device_needs_only_its_certificate() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let mut circle = world.circle();
    let certificate = Person::new(2).certificate(device_id(102));
    assert_eq!(circle.introduce(&certificate), Ok(person(2)));
    assert_eq!(circle.member_of(device_id(102)), Some(person(2)));
    assert_eq!(circle.certificate(device_id(102)), Some(&certificate));
    // Once its feed is here, nothing is left of the introduction.
    world.start(102);
    for entry in &world.devices[&102].feed {
        circle.take(entry).unwrap();
    }
    assert_eq!(circle, world.circle());
    assert_eq!(circle.introduce(&certificate), Ok(person(2)));
}

#[test]
fn a_certificate_can_be_renewed() {
    let mut world = World::new();
    let renewed = Body::Certified(Certified {
        certificate: Person::new(1).certificate(device_id(1)),
        beacon_seed: [77; 32],
    });
    world.write(1, &renewed);
    assert_eq!(world.circle().beacon_seed(device_id(1)), Some(&[77; 32]));
}

#[test]
fn a_knock_is_judged() {
    let mut world = World::new();
    let invite = world.invite(1);
    let admission = world.admission(2, &invite);
    let knock = Knock {
        version: PROTOCOL_VERSION,
        circle: Some(world.circle),
        invite: Some(invite.id()),
        card: admission.card.clone(),
        certificate: admission.certificate.clone(),
        claim: Some(admission.claim),
    };
    let judge = |world: &World, peer: u8, knock: &Knock, now| {
        world.circle().judge(device_id(peer), knock, now)
    };
    let petname = "guest".to_string();
    let good = Verdict::Admit {
        admission: admission.clone(),
        petname,
    };
    assert_eq!(judge(&world, 2, &knock, NOW), Ok(good));
    // Another device shows what it overheard.
    assert_eq!(judge(&world, 3, &knock, NOW), Err(Farewell::InviteForged));
    let late = NOW + Span::days(4);
    assert_eq!(judge(&world, 2, &knock, late), Err(Farewell::InviteExpired));
    let foreign = Knock {
        circle: Some(CircleId([1; 32])),
        ..knock.clone()
    };
    assert_eq!(
        judge(&world, 2, &foreign, NOW),
        Err(Farewell::ForeignCircle)
    );
    let uninvited = Knock {
        invite: None,
        claim: None,
        ..knock.clone()
    };
    assert_eq!(judge(&world, 2, &uninvited, NOW), Err(Farewell::NotAMember));
    let other = InviteSecret([99; 16]);
    let claim = world.admission(2, &other).claim;
    let unknown = Knock {
        invite: Some(other.id()),
        claim: Some(claim),
        ..knock.clone()
    };
    assert_eq!(
        judge(&world, 2, &unknown, NOW),
        Err(Farewell::InviteUnknown)
    );
    let forged = Knock {
        claim: Some(claim),
        ..knock.clone()
    };
    assert_eq!(judge(&world, 2, &forged, NOW), Err(Farewell::InviteForged));
    let another = Knock {
        card: Person::new(4).card(1),
        ..knock.clone()
    };
    assert_eq!(judge(&world, 2, &another, NOW), Err(Farewell::InviteForged));

    world.write(1, &Body::Admitted(admission));
    // The guest did not hear the answer and knocks again; then comes with a new machine, without
    // an invite; then somebody else brings the used invite.
    assert_eq!(
        judge(&world, 2, &knock, NOW),
        Ok(Verdict::Welcome(person(2)))
    );
    let machine = Knock {
        certificate: Person::new(2).certificate(device_id(102)),
        circle: None,
        ..uninvited
    };
    assert_eq!(
        judge(&world, 102, &machine, NOW),
        Ok(Verdict::Welcome(person(2)))
    );
    let used = world.admission(5, &invite);
    let used = Knock {
        card: used.card,
        certificate: used.certificate,
        claim: Some(used.claim),
        ..knock.clone()
    };
    assert_eq!(judge(&world, 5, &used, NOW), Err(Farewell::InviteUsed));
    world.revoke(1, Subject::Member(person(2)));
    assert_eq!(judge(&world, 2, &knock, NOW), Err(Farewell::NotAMember));
}
