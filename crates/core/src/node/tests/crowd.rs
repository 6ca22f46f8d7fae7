//! Many devices near each other: what one knows, all know soon, and nobody dials everybody for it.

use super::*;

/// Returns a circle of so many, all near each other, who know all of each other.
fn office(count: u8) -> (World, Vec<DeviceId>) {
    let (mut world, founder) = World::new();
    let mut devices = vec![founder];
    for at in 2..=count {
        let (secret, guest) = (InviteSecret([at; 16]), world.add(identity(at), Vec::new()));
        let (id, petname) = (secret.id(), String::from("friend"));
        let invite = Command::Invite { id, petname };
        world.command(founder, invite).unwrap();
        world.knock(founder, guest, secret, id);
        devices.push(guest);
    }
    world.run(Span::secs(600));
    (world, devices)
}

fn agree(world: &World, devices: &[DeviceId]) -> bool {
    let news = |at: &DeviceId| world.node(*at).news();
    devices.iter().all(|at| news(at) == news(&devices[0]))
}

#[test]
fn a_crowd_gossips_instead_of_dialling_everybody() {
    let count = 30;
    let (mut world, devices) = office(count);
    assert!(agree(&world, &devices) && world.links.is_empty());
    let before = world.next_link;
    // One has data for all, and all sign for it: each receipt is news for everybody.
    world.back_up(devices[0], 1, PackKind::Metadata, 10_000);
    let owner = world.node(devices[0]).member();
    world.run(Span::secs(10));
    let kept = |at: &DeviceId| world.hosts[at].kept_bytes(owner);
    assert!(
        devices[1..].iter().all(|at| kept(at) == 10_000),
        "work does not wait"
    );
    let mut seconds = 10;
    while !agree(&world, &devices) && seconds < 600 {
        world.run(Span::secs(10));
        seconds += 10;
    }
    world.run(Span::secs(600));
    assert!(agree(&world, &devices) && world.links.is_empty());
    let encounters = world.next_link - before;
    println!("{encounters} encounters, all agree after {seconds} s");
    assert!(seconds <= 120, "{seconds} s");
    // Nobody dials all others even once; each round of gossip is a dial of each.
    let rounds = 2 * u64::from(count.ilog2());
    assert!(encounters <= u64::from(count) * rounds, "{encounters}");
}

#[test]
fn in_a_crowd_one_dial_for_news_follows_the_other() {
    let (mut world, me, others) = super::reach::crowd(40);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(now, super::reach::near(*device, [9; 4], at));
    }
    let mut dials = Vec::new();
    let end = now + Span::secs(60);
    while now < end {
        now = now + Span::millis(100);
        node.handle_timeout(now);
        for device in super::reach::dialled(node) {
            dials.push(now);
            node.handle_event(now, Event::DialFailed { device });
            assert_eq!(super::reach::dialled(node), []);
        }
    }
    assert!(dials.len() >= 6, "{dials:?}");
    let least = Span(limits::GOSSIP_TURN.0 * 39);
    assert!(dials.windows(2).all(|it| it[1].since(it[0]) >= least));
}
