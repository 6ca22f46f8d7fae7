//! Who lost everything but twelve words comes back through any friend's door, and nobody else does.

use super::*;

pub(super) fn recovered(world: &World, seed: u8, of: u8) -> Identity {
    let names = Names {
        member: "member 1",
        device: "new",
    };
    let (root, class) = (words(of).root(), DeviceClass::Laptop);
    Identity::recover(&root, [seed; 32], names, class, world.now).unwrap()
}

pub(super) fn knock_by_words(world: &mut World, guest: DeviceId, door: DeviceId, member: MemberId) {
    let knock = Command::Knock {
        circle: None,
        gate: Gate::Rendezvous(member),
        secret: None,
        doors: Vec::new(),
    };
    world.command(guest, knock).unwrap();
    // A friend answers the beacon of somebody's rendezvous.
    let event = Event::DoorNear {
        device: door,
        gate: Gate::Rendezvous(member),
        addresses: vec![([10, 0, 0, 1], 9).into()],
    };
    world.tell(guest, event);
    world.run(Span::secs(60));
}

#[test]
fn words_alone_bring_somebody_back_through_any_friend() {
    let (mut world, devices) = World::circle(3);
    let (owner, friend) = (devices[0], devices[2]);
    let member = world.node(owner).member();
    let keys = world.node(owner).identity.vault.inventory_public();
    world.run(Span::secs(60));
    world.switch_off(owner);
    let guest = recovered(&world, 50, 1);
    let guest = world.add(guest, Vec::new());
    assert_eq!(world.node(guest).member(), member);
    knock_by_words(&mut world, guest, friend, member);

    let circle = world.circle_id(friend);
    let node = world.node(guest);
    assert_eq!(node.identity.circle, Some(circle));
    assert_eq!(node.identity.vault.inventory_public(), keys);
    assert!(node.circle.is_device(guest));
    assert!(world.node(friend).circle.is_device(guest));
}

#[test]
fn whoever_does_not_have_the_words_stays_outside() {
    let (mut world, devices) = World::circle(3);
    let (owner, friend) = (devices[0], devices[2]);
    let member = world.node(owner).member();
    // A stranger who heard of the rendezvous, but is somebody else.
    let stranger = recovered(&world, 51, 9);
    let stranger = world.add(stranger, Vec::new());
    knock_by_words(&mut world, stranger, friend, member);
    assert_eq!(world.node(stranger).identity.circle, None);
    assert!(!world.node(friend).circle.is_device(stranger));
}

/// Invites name their circle: a door that says another one is no door of theirs.
#[test]
fn an_invite_leads_to_no_other_circle() {
    let (mut world, devices) = World::circle(2);
    let guest = world.add(identity(8), Vec::new());
    let secret = InviteSecret([8; 16]);
    let (id, petname) = (secret.id(), String::from("friend"));
    let invite = Command::Invite { id, petname };
    world.command(devices[0], invite).unwrap();
    world.host(devices[0]).up = false;
    let knock = Command::Knock {
        circle: Some(world.circle_id(devices[0])),
        gate: Gate::Invite(id),
        secret: Some(secret),
        doors: vec![(devices[0], Vec::new())],
    };
    world.command(guest, knock).unwrap();
    let link = LinkId(u64::MAX);
    let events = [
        Event::LinkUp {
            link,
            peer: devices[0],
            dialled: true,
            gate: Gate::Invite(id),
            facts: crate::link::LinkFacts::near(),
        },
        Event::Message {
            link,
            message: Message::Welcome(crate::message::Welcome {
                circle: CircleId([9; 32]),
                circle_secret: [9; 32],
                petname: String::new(),
            }),
        },
    ];
    for event in events {
        world.tell(guest, event);
    }
    assert_eq!(world.node(guest).identity.circle, None);
}
