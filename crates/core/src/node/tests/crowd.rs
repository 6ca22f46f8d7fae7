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

/// Fifty devices that came onto one switch together dialled each other for news while nobody's beacons
/// had told yet how many they are, and those with work waited for a processor.
#[test]
fn whoever_arrives_listens_how_many_are_near_before_it_dials_for_news() {
    let (mut world, me, others) = super::reach::crowd(40);
    let arrived = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    node.handle_event(arrived, Event::Arrived);
    super::reach::dialled(node);
    let mut early = Vec::new();
    let mut now = arrived;
    for (at, device) in (0..).zip(&others) {
        // Four are heard in the first second, the others in the next.
        now = arrived + Span::millis(if at < 4 { 200 } else { 50 * at });
        node.handle_event(
            now,
            super::reach::near(*device, [9; 4], u8::try_from(at).unwrap()),
        );
        early.extend(super::reach::dialled(node));
    }
    assert!(now < arrived + limits::COUNT_FIRST);
    assert_eq!(early, []);
    let end = now + Span::secs(30);
    let mut later = 0;
    while now < end {
        now = now + Span::millis(100);
        node.handle_timeout(now);
        later += super::reach::dialled(node).len();
    }
    assert!(later > 0, "news are not forgotten");
}

/// Where many arrived together, half of all encounters were dials for news to those whose beacons were
/// still to come, and those with work waited for a processor.
#[test]
fn who_is_not_heard_yet_is_not_dialled_for_news_from_a_crowd() {
    let (mut world, me, others) = super::reach::crowd(40);
    let before = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(before, super::reach::near(*device, [9; 4], at));
    }
    super::reach::dialled(node);
    let arrived = before + Span::hours(1);
    node.handle_event(arrived, Event::Arrived);
    let news = node.news();
    // Half of them are heard, and know nothing new.
    for (at, device) in (0..20).zip(&others) {
        node.handle_event(
            arrived + Span::millis(800),
            super::reach::near(*device, news, at),
        );
    }
    let mut dials = Vec::new();
    let mut now = arrived + Span::millis(800);
    while now < arrived + Span::secs(60) {
        for device in super::reach::dialled(node) {
            dials.push(now);
            node.handle_event(now, Event::DialFailed { device });
        }
        now = now + Span::millis(100);
        node.handle_timeout(now);
    }
    assert!(dials.len() >= 6, "whoever else has news is not forgotten");
    assert!(dials[0] >= arrived + limits::COUNT_FIRST, "{dials:?}");
    let least = Span(limits::GOSSIP_TURN.0 * 20);
    let rests: Vec<Span> = dials.windows(2).map(|it| it[1].since(it[0])).collect();
    assert!(rests.iter().all(|rest| *rest >= least), "{rests:?}");
}

/// Everybody talks to everybody, and each says something every half second.
#[test]
fn in_a_crowd_what_others_wrote_is_gathered() {
    let count = 20;
    let (mut world, devices) = office(count);
    world.waiting = Some(Vec::new());
    for (at, owner) in (1..).zip(&devices) {
        world.back_up(*owner, at, PackKind::Metadata, 10_000);
    }
    world.run(Span::secs(20));
    let pairs = devices.len() * (devices.len() - 1) / 2;
    assert_eq!(
        world.links.len(),
        pairs,
        "shards are under way on every link"
    );
    let before = world.tellings;
    let rounds = 20;
    for round in 0..rounds {
        for (at, device) in devices.iter().enumerate() {
            let to = world.node(devices[(at + 1) % devices.len()]).member();
            let bytes = (20 << 30) + round;
            world
                .command(*device, Command::Offer { to, bytes })
                .unwrap();
        }
        world.run(Span::millis(500));
    }
    world.run(Span::secs(10));
    assert!(agree(&world, &devices));
    // Each entry of one's own crosses each link at once, 20 times; those of others a few times.
    let tellings = (world.tellings - before) / (2 * pairs);
    let (own, others) = (rounds as usize, devices.len() - 2);
    println!("{tellings} a link and direction");
    assert!(tellings < own + others * own / 2, "{tellings}");
}

/// Some were met here whose beacons were not heard since: there may be too many to hear all.
#[test]
fn whoever_was_met_is_gossiped_with_too() {
    let (mut world, me, others) = super::reach::crowd(40);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(now, super::reach::near(*device, [9; 4], at));
        super::reach::dialled(node);
    }
    now = now + Span::secs(60);
    node.handle_event(now, Event::Arrived);
    others.iter().for_each(|it| node.contacts.met(*it, now));
    super::reach::dialled(node);
    let (mut dials, mut missed) = (Vec::new(), BTreeSet::new());
    let end = now + Span::secs(60);
    while now < end {
        now = now + Span::millis(100);
        node.handle_timeout(now);
        for device in super::reach::dialled(node) {
            // Whoever does not answer is dialled again by other rules.
            if missed.insert(device) {
                dials.push(now);
            }
            node.handle_event(now, Event::DialFailed { device });
        }
    }
    assert!(dials.len() >= 6, "{dials:?}");
    // Those who don't answer count no longer.
    let least = Span(limits::GOSSIP_TURN.0 * 39 / 2);
    assert!(
        dials.windows(2).all(|it| it[1].since(it[0]) >= least),
        "{dials:?}"
    );
}
