//! What outsiders, thieves and members with bad intentions try.

use super::*;

#[test]
fn a_forged_founding_founds_nothing() {
    let world = World::new();
    let forge = |founding: Founding| {
        let mut author = Author::new(world.circle, &secret_of(6));
        let mut circle = Circle::new(world.circle);
        let first = author
            .write(NOW, &Person::new(6).certified(author.device()))
            .unwrap();
        circle.take(&first).unwrap();
        let entry = author.write(NOW, &Body::Founded(founding)).unwrap();
        circle.take(&entry).unwrap();
        let vouched = Circle::new(world.circle).vouch(&entry).ok();
        assert_eq!(vouched, circle.founder());
        circle.founder()
    };
    // Another founder by the true key, by another key, and with the true founding's signature.
    assert_eq!(forge(founding(6, 99)), None);
    assert_eq!(forge(founding(6, 66)), None);
    let replaced = Founding {
        founder: person(6),
        ..founding(1, 99)
    };
    assert_eq!(forge(replaced), None);
    let unsigned = Founding {
        signature: founding(6, 66).signature,
        ..founding(1, 99)
    };
    assert_eq!(forge(unsigned), None);
    // The true one is the founder's, whoever shows it.
    assert_eq!(forge(founding(1, 99)), Some(person(1)));
}

#[test]
fn entries_of_another_circle_are_refused() {
    let world = World::new();
    let mut other = Circle::new(CircleId([1; 32]));
    let entry = &world.devices[&1].feed[0];
    assert_eq!(other.take(entry), Err(FeedError::ForeignCircle));
    assert_eq!(
        other.apply(&entry.verify().unwrap(), entry),
        Change::Nothing
    );
    assert_eq!(
        other.vouch(&world.devices[&1].feed[1]),
        Err(IntroductionError::ForeignCircle)
    );
}

#[test]
fn a_claim_for_another_member_admits_nobody() {
    let mut world = World::new();
    let invite = world.invite(1);
    let honest = world.admission(2, &invite);
    let thief = Admission {
        claim: honest.claim,
        ..world.admission(3, &invite)
    };
    world.write(1, &Body::Admitted(thief));
    // The guest's claim with the thief's device.
    let hijacked = Admission {
        certificate: Person::new(2).certificate(device_id(3)),
        ..honest.clone()
    };
    world.write(1, &Body::Admitted(hijacked));
    // Somebody else's certificate for the guest's device.
    let mixed = Admission {
        certificate: Person::new(3).certificate(device_id(2)),
        ..honest.clone()
    };
    world.write(1, &Body::Admitted(mixed));
    assert_eq!(world.members(), [1]);
    world.write(1, &Body::Admitted(honest));
    assert_eq!(world.members(), [1, 2]);
}

#[test]
fn a_claim_from_another_circle_admits_nobody() {
    let mut world = World::new();
    let invite = world.invite(1);
    let claim = Claim {
        circle: CircleId([1; 32]),
        member: person(2),
        device: device_id(2),
    };
    let replayed = Admission {
        claim: invite.sign(&claim),
        ..world.admission(2, &invite)
    };
    world.write(1, &Body::Admitted(replayed));
    assert_eq!(world.members(), [1]);
}

#[test]
fn an_expired_invite_admits_nobody() {
    let mut world = World::new();
    let invite = world.invite(1);
    world.now = world.now + Span::hours(72);
    world.admit(1, 2, &invite);
    assert_eq!(world.members(), [1]);
}

#[test]
fn an_invite_that_no_member_opened_admits_nobody() {
    let mut world = World::new();
    world.admit(1, 2, &InviteSecret([9; 16]));
    world.start(3);
    let invite = world.invite(3);
    world.admit(1, 4, &invite);
    assert_eq!(world.members(), [1]);
}

#[test]
fn a_stranger_admits_nobody() {
    let mut world = World::new();
    world.start(3);
    let invite = world.invite(1);
    let entry = world.admit(3, 4, &invite);
    assert_eq!(world.members(), [1]);
    assert_eq!(
        world.circle().vouch(&entry),
        Err(IntroductionError::NotAMember)
    );
    let mut without = world.circle_of(&[1]);
    assert_eq!(without.vouch(&entry), Err(IntroductionError::NotAMember));
}

#[test]
fn an_invite_claimed_by_two_people_admits_neither() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let invite = world.invite(1);
    world.admit(1, 3, &invite);
    assert_eq!(world.members(), [1, 2, 3]);
    world.admit(2, 4, &invite);
    assert_eq!(world.members(), [1, 2]);
    let circle = world.circle();
    let conflicts: Vec<_> = circle.conflicts().collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].invite, invite.id());
    assert_eq!(conflicts[0].claimants.len(), 2);
    assert_eq!(circle.invite(invite.id(), NOW), InviteState::Contested);
    assert_eq!(circle.open_invites(NOW).count(), 0);
    // A fresh invite brings the honest guest in after all.
    world.join(1, 1, 3);
    assert_eq!(world.members(), [1, 2, 3]);
}

#[test]
fn an_invite_completed_twice_for_one_guest_is_fine() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let invite = world.invite(1);
    world.admit(1, 3, &invite);
    world.admit(2, 3, &invite);
    assert_eq!(world.members(), [1, 2, 3]);
    assert_eq!(world.circle().conflicts().count(), 0);
}

#[test]
fn a_thief_with_the_link_removes_nobody() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let invite = world.invite(1);
    world.admit(1, 3, &invite);
    world.admit(2, 4, &invite);
    world.start(4);
    world.revoke(4, Subject::Member(person(1)));
    assert_eq!(world.members(), [1, 2]);
}

#[test]
fn what_a_removed_member_does_afterwards_falls() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(2, 2, 3);
    let seen = world.devices[&2].author.tip().len;
    // Concurrently: member 2 admits 4, and member 1 removes 2 without having heard of that.
    world.join(2, 2, 4);
    assert_eq!(world.members(), [1, 2, 3, 4]);
    world.revoke_since(1, 2, seen);
    assert_eq!(world.members(), [1, 3]);
    // Remove wins over everything that comes later, from whoever.
    let invite = world.invite(3);
    world.admit(3, 2, &invite);
    assert_eq!(world.members(), [1, 3]);
    let circle = world.circle();
    assert!(circle.is_revoked(Subject::Member(person(2))));
    assert_eq!(circle.member_of(device_id(2)), None);
    let certificate = Person::new(2).certificate(device_id(102));
    assert_eq!(
        world.circle().introduce(&certificate),
        Err(IntroductionError::Revoked)
    );
}

#[test]
fn a_removed_inviter_can_not_spoil_their_invites() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let invite = world.invite(2);
    world.admit(1, 3, &invite);
    world.revoke(1, Subject::Member(person(2)));
    // Member 2 knows the secret and claims it for somebody else, in an entry nobody waited for.
    world.admit(2, 4, &invite);
    assert_eq!(world.members(), [1, 3]);
    assert_eq!(world.circle().conflicts().count(), 0);
}

#[test]
fn open_invites_of_a_removed_member_are_closed() {
    let mut world = World::new();
    world.join(1, 1, 2);
    let invite = world.invite(2);
    assert_eq!(world.circle().open_invites(NOW).count(), 1);
    world.revoke(1, Subject::Member(person(2)));
    assert_eq!(world.circle().open_invites(NOW).count(), 0);
    assert_eq!(
        world.circle().invite(invite.id(), NOW),
        InviteState::Unknown
    );
}

#[test]
fn a_stolen_device_is_removed_alone() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.start(102);
    world.write(102, &Body::Head(vec![1]));
    world.revoke(2, Subject::Device(device_id(102)));
    world.write(102, &Body::Head(vec![2]));
    let admitted = world.invite(102);
    world.admit(102, 5, &admitted);
    let circle = world.circle();
    assert_eq!(world.members(), [1, 2]);
    assert!(circle.is_device(device_id(2)) && !circle.is_device(device_id(102)));
    // What it published before is still its owner's; what the thief published is not.
    let heads: Vec<_> = circle
        .heads_of(person(2))
        .map(|head| head.sealed[0])
        .collect();
    assert_eq!(heads, [1]);
    let certificate = Person::new(2).certificate(device_id(102));
    assert_eq!(
        world.circle().introduce(&certificate),
        Err(IntroductionError::Revoked)
    );
}

#[test]
fn of_two_who_remove_each_other_the_nearer_to_the_founding_stays() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(2, 2, 3);
    // Member 3 strikes first, and member 2 has seen it.
    world.revoke(3, Subject::Member(person(2)));
    assert_eq!(world.members(), [1, 3]);
    world.revoke(2, Subject::Member(person(3)));
    assert_eq!(world.members(), [1, 2]);
}

#[test]
fn of_two_equals_who_remove_each_other_one_stays() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(1, 1, 3);
    world.write(2, &Body::Head(vec![1]));
    let entries = [2, 3].map(|n| (n, world.circle().revocation(Subject::Member(person(5 - n)))));
    for (author, revocation) in entries {
        world.write(author, &Body::Revoked(revocation));
    }
    // Member 3's is earlier in its feed.
    assert_eq!(world.members(), [1, 3]);
}

#[test]
fn nobody_saws_off_the_branch_they_sit_on() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(2, 2, 3);
    // "I had seen nothing of member 2", who admitted me.
    world.revoke_since(3, 2, 0);
    assert_eq!(world.members(), [1, 2, 3]);
}

#[test]
fn a_circle_outlives_its_founder() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(1, 1, 3);
    world.revoke(2, Subject::Member(person(1)));
    assert_eq!(world.members(), [2, 3]);
    world.join(3, 2, 4);
    assert_eq!(world.members(), [2, 3, 4]);
    let circle = world.circle();
    assert_eq!(circle.founder(), Some(person(1)));
    assert!(circle.admission(person(2)).is_some());
}

#[test]
fn a_member_may_leave() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(2, 2, 3);
    world.revoke(2, Subject::Member(person(2)));
    assert_eq!(world.members(), [1, 3]);
}

#[test]
fn nobody_takes_over_a_device() {
    let mut world = World::new();
    world.join(1, 1, 2);
    world.join(1, 1, 3);
    // Member 3 certifies member 2's device; its own feed says otherwise.
    let stolen = Person::new(3).certificate(device_id(2));
    let mut circle = world.circle();
    assert_eq!(
        circle.introduce(&stolen),
        Err(IntroductionError::NotAMember)
    );
    assert_eq!(circle.member_of(device_id(2)), Some(person(2)));
    // Nor can the device itself change its owner.
    world.write(
        2,
        &Body::Certified(Certified {
            certificate: stolen,
            beacon_seed: [0; 32],
        }),
    );
    assert_eq!(world.circle().member_of(device_id(2)), Some(person(2)));
    assert_eq!(
        world.circle().beacon_seed(device_id(2)),
        Some(&device_id(2).0)
    );
}

#[test]
fn strangers_introduce_themselves_in_vain() {
    let world = World::new();
    let mut circle = world.circle();
    let certificate = Person::new(7).certificate(device_id(7));
    assert_eq!(
        circle.introduce(&certificate),
        Err(IntroductionError::NotAMember)
    );
    let mut forged = Person::new(1).certificate(device_id(7));
    forged.signature = certificate.signature;
    let bad = IntroductionError::Statement(DecodeError::BadSignature("carryall device v1"));
    assert_eq!(circle.introduce(&forged), Err(bad));
    assert_eq!(circle, world.circle());
}

#[test]
fn a_shown_entry_that_its_feed_does_not_have_is_forgotten() {
    let mut world = World::new();
    let invite = world.invite(1);
    // Device 1 signs two histories: one admits 2, the other does not.
    let Device { author, .. } = &world.devices[&1];
    let admission = Body::Admitted(world.admission(2, &invite));
    let shown = author.clone().write(NOW, &admission).unwrap();
    let mut circle = world.circle();
    assert_eq!(circle.vouch(&shown), Ok(person(2)));
    let other = world.write(1, &Body::Head(vec![1]));
    circle.take(&other).unwrap();
    assert!(!circle.is_member(person(2)));
    assert_eq!(circle.take(&shown), Err(FeedError::Fork { seq: 4 }));
}

#[test]
fn a_member_has_so_many_devices() {
    let mut world = World::new();
    let mut circle = world.circle();
    let start = |n: u8| {
        let mut author = Author::new(world.circle, &[n; 32]);
        let certified = Person::new(1).certified(author.device());
        author.write(NOW, &certified).unwrap()
    };
    let most = u8::try_from(limits::MEMBER_DEVICES_MAX).unwrap();
    for n in 1..most {
        circle.take(&start(n)).unwrap();
    }
    assert_eq!(circle.take(&start(200)), Err(FeedError::TooManyDevices));
    let certificate = Person::new(1).certificate(device_id(201));
    assert_eq!(
        circle.introduce(&certificate),
        Err(IntroductionError::TooManyDevices)
    );
    // Others still come in, and its own feeds go on.
    world.join(1, 1, 2);
    for entry in &world.devices[&1].feed[3..] {
        circle.take(entry).unwrap();
    }
    circle.take(&world.devices[&2].feed[0]).unwrap();
    assert!(circle.is_device(device_id(2)));
    // Whoever is removed makes room.
    let fifth = Author::new(world.circle, &[5; 32]).device();
    let gone = circle.revocation(Subject::Device(fifth));
    world.write(1, &Body::Revoked(gone));
    let removal = world.devices[&1].feed.last().unwrap();
    circle.take(removal).unwrap();
    assert_eq!(circle.introduce(&certificate), Ok(person(1)));
}

#[test]
fn strangers_do_not_fill_the_circle() {
    let mut world = World::new();
    let mut circle = world.circle();
    let start = |n: usize| {
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&n.to_le_bytes());
        let mut author = Author::new(world.circle, &secret);
        let person = Person {
            root: SigningKey::from_bytes(&secret.map(|byte| byte ^ 1)),
        };
        author
            .write(NOW, &person.certified(author.device()))
            .unwrap()
    };
    for n in 0..limits::DEVICES_MAX {
        circle.take(&start(n)).unwrap();
    }
    let one_more = start(limits::DEVICES_MAX);
    assert_eq!(circle.take(&one_more), Err(FeedError::TooManyDevices));
    world.join(1, 1, 2);
    for entry in &world.devices[&1].feed[3..] {
        circle.take(entry).unwrap();
    }
    circle.take(&world.devices[&2].feed[0]).unwrap();
    assert_eq!(circle.devices().count(), 2);
}

#[test]
fn a_flood_of_rulings_ends_somewhere() {
    let mut world = World::new();
    for n in 0..limits::FEED_RULINGS_MAX + 10 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        let offer = Offer {
            to: MemberId(id),
            bytes: 1,
        };
        world.write(1, &Body::Offered(offer));
        let revocation = Revocation {
            subject: Subject::Member(MemberId(id)),
            seen: vec![],
        };
        world.write(1, &Body::Revoked(revocation));
    }
    let circle = world.circle();
    let facts = &circle.feeds[&device_id(1)];
    assert_eq!(facts.offers.len(), limits::FEED_RULINGS_MAX);
    assert_eq!(facts.revocations.len(), limits::FEED_RULINGS_MAX);
    assert_eq!(world.members(), [1]);
}
