//! Who is dialled, when, and when not.

use super::*;

/// A circle of two in the midst of a shard that doesn't move.
fn stuck_pair() -> (World, Vec<DeviceId>, MemberId) {
    let (mut world, devices) = World::circle(2);
    let owner = world.node(devices[0]).member();
    world.cut_off_bulk = true;
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(1));
    assert_eq!(world.links.len(), 1);
    (world, devices, owner)
}

#[test]
fn a_slow_disk_is_no_dead_link() {
    let (mut world, devices, owner) = stuck_pair();
    let links = world.next_link;
    world.run(Span::secs(30));
    assert_eq!(world.next_link, links, "pings are answered all the same");
    assert_eq!(world.links.len(), 1);
    assert_eq!(world.hosts[&devices[1]].kept_bytes(owner), 0);
}

#[test]
fn a_cut_link_is_given_up_soon_and_dialled_again_at_once() {
    for cut_ms in [2_500, 7_300, 15_000] {
        let (mut world, devices, owner) = stuck_pair();
        world.silent = true;
        world.run(Span::millis(2_200));
        assert!(world.links.is_empty(), "both ends noticed");
        let before = world.dials;
        world.run(Span::millis(cut_ms - 2_200));
        let dials = (world.dials - before) as u64;
        let most = 2 * (cut_ms / limits::REDIAL_LOST.0 + 1);
        assert!(dials <= most, "{dials} dials in {cut_ms} ms");
        (world.silent, world.cut_off_bulk) = (false, false);
        world.run(limits::REDIAL_LOST);
        assert_eq!(world.hosts[&devices[1]].kept_bytes(owner), 100_000);
        world.run(Span::secs(5));
        assert!(world.safe(devices[0]));
    }
}

#[test]
fn a_friend_who_left_is_not_dialled_for_ever() {
    let (mut world, devices, _) = stuck_pair();
    world.switch_off(devices[1]);
    world.run(Span::secs(120));
    let dials = world.dials;
    world.run(Span::hours(1));
    let hourly = world.dials - dials;
    assert!((10..=90).contains(&hourly), "{hourly} dials in an hour");
}

#[test]
fn a_beacon_over_a_silent_link_is_a_reason_to_dial_anew() {
    let (mut world, devices, owner) = stuck_pair();
    world.silent = true;
    // Not yet given up.
    world.run(Span::millis(900));
    assert_eq!(world.links.len(), 1);
    (world.silent, world.cut_off_bulk) = (false, false);
    let old = *world.links.keys().next().unwrap();
    let news = world.node(devices[1]).news();
    world.tell(devices[0], near(devices[1], news, 2));
    world.settle();
    assert!(!world.links.contains_key(&old));
    world.run(Span::millis(100));
    assert_eq!(world.hosts[&devices[1]].kept_bytes(owner), 100_000);
}

/// What the new link brings must not meet what the old one left under way.
#[test]
fn a_redialled_link_waits_until_the_old_one_is_gone() {
    let (mut world, _, _) = stuck_pair();
    let old = *world.links.keys().next().unwrap();
    let (dialler, accepter) = world.links[&old];
    let now = world.now;
    // The dialler alone lost the link, and has dialled anew before the other noticed.
    let up = Event::LinkUp {
        link: LinkId(900),
        peer: dialler,
        dialled: false,
        gate: Gate::Circle,
        facts: crate::link::LinkFacts::near(),
    };
    let node = &mut world.host(accepter).node;
    node.handle_event(now, up);
    let effects: Vec<Effect> = core::iter::from_fn(|| node.poll_effect()).collect();
    let hello = |it: &Effect| matches!(it, Effect::Send { link, .. } if *link == LinkId(900));
    assert!(effects.contains(&Effect::GiveUp { link: old }));
    assert!(!effects.iter().any(hello), "{effects:?}");
    node.handle_event(now, Event::LinkDown { link: old });
    let effects: Vec<Effect> = core::iter::from_fn(|| node.poll_effect()).collect();
    assert!(effects.iter().any(hello), "{effects:?}");
}

#[test]
fn where_beacons_are_not_heard_known_addresses_are_dialled() {
    let (mut world, devices) = World::circle(3);
    for device in &devices {
        let direct = vec!["10.0.0.1:9".parse().unwrap()];
        let addresses = crate::entry::Addresses {
            direct,
            relay: None,
        };
        let locate = Command::Locate { addresses };
        world.command(*device, locate).unwrap();
    }
    world.run(Span::secs(30));
    world.switch_off(devices[1]);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(9));
    // The friend comes back, and no beacon is heard.
    world.host(devices[1]).up = true;
    world.tell(devices[1], Event::Arrived);
    world.settle();
    world.run(Span::secs(5));
    let owner = world.node(devices[0]).member();
    assert_ne!(world.hosts[&devices[1]].kept_bytes(owner), 0);
}

/// Returns a node that knows so many members, and nothing of where they are.
pub(super) fn crowd(count: u8) -> (World, DeviceId, Vec<DeviceId>) {
    let (mut world, founder) = World::new();
    for at in 2..=count {
        let (guest, secret) = (identity(at), InviteSecret([at; 16]));
        let (id, petname) = (secret.id(), format!("friend {at}"));
        world
            .command(founder, Command::Invite { id, petname })
            .unwrap();
        let claim = crate::entry::Claim {
            circle: world.circle_id(founder),
            member: guest.member(),
            device: guest.device(),
        };
        let knock = crate::message::Knock {
            version: crate::message::PROTOCOL_VERSION,
            circle: Some(claim.circle),
            invite: Some(id),
            card: guest.card.clone(),
            certificate: guest.certificate.clone(),
            claim: Some(secret.sign(&claim)),
        };
        let link = LinkId(u64::from(at));
        let up = Event::LinkUp {
            link,
            peer: guest.device(),
            dialled: false,
            gate: Gate::Invite(id),
            facts: crate::link::LinkFacts::near(),
        };
        let message = Message::Knock(knock);
        let knocked = Event::Message { link, message };
        for event in [up, knocked, Event::LinkDown { link }] {
            world.tell(founder, event);
            world.settle();
        }
    }
    let devices = world.node(founder).circle().devices();
    let others: Vec<DeviceId> = devices
        .map(|(device, _)| device)
        .filter(|device| *device != founder)
        .collect();
    assert_eq!(others.len() + 1, usize::from(count));
    (world, founder, others)
}

pub(super) fn near(device: DeviceId, news: [u8; 4], last: u8) -> Event {
    Event::Near {
        device,
        news,
        addresses: vec![([10, 0, 0, last], 9).into()],
    }
}

pub(super) fn dialled(node: &mut Node) -> Vec<DeviceId> {
    core::iter::from_fn(|| node.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Dial { device, .. } => Some(device),
            _ => None,
        })
        .collect()
}

/// Dials that failed while there was no network are no reason to wait for long where there is one.
#[test]
fn an_arrival_forgets_what_was_in_vain_before() {
    let (mut world, me, others) = crowd(40);
    // It is for everybody.
    world.back_up(me, 9, PackKind::Metadata, 10_000);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(now, near(*device, [9; 4], at));
    }
    let mut dials: BTreeMap<DeviceId, u32> = BTreeMap::new();
    let mut pass = |node: &mut Node, now: &mut Timestamp, span: Span| {
        let end = *now + span;
        dials.clear();
        while *now < end {
            *now = *now + Span::millis(200);
            node.handle_timeout(*now);
            for device in dialled(node) {
                *dials.entry(device).or_default() += 1;
                node.handle_event(*now, Event::DialFailed { device });
            }
        }
        dials.values().copied().min().unwrap_or(0) * u32::from(dials.len() == others.len())
    };
    let in_vain = pass(node, &mut now, Span::hours(3));
    assert!(in_vain >= 5, "{in_vain}");
    node.handle_event(now, Event::Arrived);
    let again = pass(node, &mut now, Span::secs(20));
    assert!(again >= 2, "{again}");
}

/// Found in the lab: dials that went out while the cable was unplugged took all the room for five seconds
/// after it was plugged in.
#[test]
fn an_arrival_gives_up_the_dials_that_are_under_way() {
    let (mut world, me, others) = crowd(40);
    world.back_up(me, 9, PackKind::Metadata, 10_000);
    let now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(now, near(*device, [9; 4], at));
    }
    let in_vain = dialled(node);
    assert_eq!(in_vain.len(), limits::DIALS_MAX);
    let now = now + Span::secs(1);
    node.handle_event(now, Event::Arrived);
    let anew = dialled(node);
    assert_eq!(anew.len(), limits::DIALS_MAX, "not when those have failed");
}

#[test]
fn two_hundred_members_and_no_work_no_connection() {
    let (mut world, me, others) = crowd(200);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for _ in 0..3 {
        let news = node.news();
        for (at, device) in (0..).zip(&others) {
            node.handle_event(now, near(*device, news, at));
            assert_eq!(dialled(node), []);
        }
        assert!(node.is_idle());
        let next = node
            .poll_timeout()
            .map_or(Span::hours(1), |at| at.since(now));
        assert!(next >= Span::secs(1800), "nothing to wake up for but notes");
        now = now + Span::secs(120);
    }
    // All of them know something new: not all are dialled at once.
    let mut dials = 0;
    for (at, device) in (0..).zip(&others) {
        node.handle_event(now, near(*device, [9; 4], at));
        dials += dialled(node).len();
    }
    assert_eq!(dials, 0);
    // Twice as long as such a crowd takes to dial in turn.
    node.handle_timeout(now + Span(limits::GOSSIP_TURN.0 * 400));
    assert_eq!(dialled(node).len(), 1);
    assert!(!node.is_idle());
}

#[test]
fn after_an_arrival_only_some_of_many_are_sought() {
    let (mut world, me, others) = crowd(60);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        let (device, address) = (*device, ([10, 0, 0, at], 9).into());
        node.handle_event(now, Event::Reached { device, address });
    }
    assert_eq!(dialled(node), []);
    node.handle_event(now, Event::Arrived);
    assert_eq!(dialled(node), [], "beacons may yet say that nothing is new");
    let (mut sought, mut dials) = (BTreeSet::new(), 0);
    // What comes later is no more about the arrival.
    let end = now + Span::hours(12);
    while let Some(due) = node.poll_timeout().filter(|due| *due < end) {
        now = due;
        node.handle_timeout(now);
        let mut round = dialled(node);
        assert!(round.len() <= limits::DIALS_MAX);
        while let Some(device) = round.pop() {
            dials += 1;
            sought.insert(device);
            node.handle_event(now, Event::DialFailed { device });
            round.extend(dialled(node));
        }
        assert!(dials < 1000, "no end of it");
    }
    assert_eq!(sought.len(), limits::REACH_MAX);
    assert!(node.is_idle());
}

#[test]
fn beacons_from_everywhere_make_no_dial_storm() {
    let (mut world, me, others) = crowd(2);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    let mut dials = 0;
    for at in 0..250 {
        now = now + Span::millis(100);
        node.handle_event(now, near(others[0], [9; 4], at));
        node.handle_timeout(now);
        for device in dialled(node) {
            dials += 1;
            node.handle_event(now, Event::DialFailed { device });
        }
    }
    assert!((2..=9).contains(&dials), "{dials} dials in 25 s");
}

#[test]
fn friends_who_sleep_do_not_stand_in_the_way_of_one_who_is_awake() {
    let (mut world, me, others) = crowd(15);
    world.back_up(me, 9, PackKind::Large, 100_000);
    let mut now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (0..).zip(&others) {
        let (device, address) = (*device, ([10, 0, 0, at], 9).into());
        node.handle_event(now, Event::Reached { device, address });
    }
    node.handle_event(now, Event::Arrived);
    let mut under_way = dialled(node);
    assert_eq!(under_way.len(), limits::DIALS_MAX);
    // One of the others is heard: that one is dialled at once.
    let heard = *(others.iter().rev())
        .find(|device| !under_way.contains(device))
        .unwrap();
    let news = node.news();
    node.handle_event(now, near(heard, news, 99));
    assert_eq!(dialled(node), [heard]);
    let mut tried: BTreeSet<DeviceId> = under_way.iter().copied().collect();
    tried.insert(heard);
    for _ in 0..3 {
        now = now + limits::DIAL_PATIENCE;
        for device in core::mem::take(&mut under_way) {
            node.handle_event(now, Event::DialFailed { device });
        }
        under_way = dialled(node);
        tried.extend(&under_way);
    }
    assert_eq!(tried.len(), others.len(), "everybody had a turn");
}
