//! What habits make probable: who is asked first, when all is safe, when all is back.

use super::{remove::another_device, *};
use crate::{habit::Days, way::Stop};

/// Lets a device have met somebody weekly, with so many bytes moved at each meeting.
fn met_weekly(world: &mut World, at: DeviceId, whom: DeviceId, hours_ago: u64, bytes: u64) {
    let (now, member) = (world.now, world.node(whom).member());
    for week in 0..8 {
        let ago = Span::days(7 * week).0 + Span::hours(hours_ago).0;
        let meeting = Meeting {
            device: whom,
            member,
            class: LinkClass::Lan,
            network: Network([1; 8]),
            start: Timestamp(now.0 - ago),
            offset_minutes: 0,
            length: Span::hours(1),
            linked: Span::hours(1),
            sent: bytes,
            received: 0,
        };
        world.host(at).node.learn_meeting(meeting);
    }
}

/// Three friends hold a pack with k = 1 or parts of one; then they all leave.
fn scattered() -> (World, Vec<DeviceId>) {
    let (mut world, devices) = World::circle(3);
    world.back_up(devices[0], 1, PackKind::Large, 100_000);
    world.run(Span::secs(30));
    for device in &devices[1..] {
        world.switch_off(*device);
    }
    world.run(Span(limits::NEAR_VALID.0 + 60_000));
    (world, devices)
}

#[test]
fn who_will_be_met_first_is_named_first() {
    let (mut world, devices) = scattered();
    // One is met in a day, one in five.
    met_weekly(&mut world, devices[0], devices[1], 24 * 2, 2_000_000);
    met_weekly(&mut world, devices[0], devices[2], 24 * 6, 2_000_000);
    let (node, now) = (world.node(devices[0]), world.now);
    let view = node.retrace_of(node.packs(), now);
    let order: Vec<DeviceId> = view.holders.iter().map(|it| it.device).collect();
    assert_eq!(order, [devices[2], devices[1]]);
    let next = view.holders[0].next.unwrap();
    assert!(next > now && next.since(now) <= Span::hours(24));
    // Each has all of it: the one who is met sooner does, and the other would do as well.
    let way = node.way_home(node.packs(), now);
    let stop = |it: &Stop| (it.device, it.packs, it.by, it.instead.clone());
    let stops: Vec<_> = way.stops.iter().map(stop).collect();
    assert_eq!(stops, [(devices[2], 1, Some(next), vec![devices[1]])]);
    let (by, latest) = (way.by.unwrap(), way.at_the_latest.unwrap());
    assert!(next <= by && by < next + Span::hours(2), "{by:?} {next:?}");
    assert!(by <= latest);
}

#[test]
fn the_way_home_needs_all_of_those_who_have_a_part_only() {
    let (mut world, devices) = World::circle(5);
    world.back_up(devices[0], 1, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    for device in &devices[1..] {
        world.switch_off(*device);
    }
    world.run(Span(limits::NEAR_VALID.0 + 60_000));
    // Two of four make it whole: they are met in one, two, three and in four days.
    for (day, device) in devices[1..].iter().enumerate() {
        let hours_ago = 24 * (6 - day as u64);
        met_weekly(&mut world, devices[0], *device, hours_ago, 2_000_000);
    }
    let (node, now) = (world.node(devices[0]), world.now);
    let way = node.way_home(node.packs(), now);
    let stops: Vec<DeviceId> = way.stops.iter().map(|it| it.device).collect();
    assert_eq!(stops, devices[1..3]);
    let packs: Vec<u64> = way.stops.iter().map(|it| it.packs).collect();
    assert_eq!(packs, [0, 1], "nothing is whole after the first");
    assert!(way.stops.iter().all(|it| it.instead.len() == 2));
    let days = way.by.unwrap().since(now).0 as f64 / Span::days(1).0 as f64;
    assert!((1.5..2.5).contains(&days), "{days}");
}

/// Tells whether somebody's machine, off for a while, is on its friend's way home; perhaps its owner has
/// another one.
fn is_on_the_way(replaced: bool) -> bool {
    let (mut world, devices) = World::circle(3);
    let (old, owner) = (devices[0], devices[1]);
    world.back_up(owner, 1, PackKind::Large, 100_000);
    world.run(Span::secs(30));
    let new = replaced.then(|| another_device(&mut world, devices[2], 50));
    world.switch_off(old);
    world.run(Span(limits::REPLACED_AFTER.0 + Span::days(1).0));
    if let Some(new) = new {
        world.back_up(new, 2, PackKind::Large, 1000);
        world.run(Span::secs(60));
    }
    let (node, now) = (world.node(owner), world.now);
    let way = node.way_home(node.packs(), now);
    let named = way
        .stops
        .iter()
        .flat_map(|it| it.instead.iter().chain([&it.device]));
    named.into_iter().any(|it| *it == old)
}

#[test]
fn who_has_replaced_a_machine_is_not_met_with_it() {
    assert!(is_on_the_way(false));
    assert!(!is_on_the_way(true));
}

#[test]
fn members_tell_when_they_are_usually_met() {
    let (mut world, devices) = scattered();
    met_weekly(&mut world, devices[0], devices[1], 24 * 2, 2_000_000);
    let (node, now) = (world.node(devices[0]), world.now);
    let member = world.node(devices[1]).member();
    let expected = node.expected(member, now);
    assert!(matches!(expected.usual.unwrap().days, Days::These(days) if days.len() == 1));
    assert!(!expected.usually_here && expected.within_a_day == Some(0));
    let other = node.expected(world.node(devices[2]).member(), now);
    assert_eq!((other.usual, other.next), (None, None));
    let whereabouts = Whereabouts {
        network: Network([1; 8]),
        offset_minutes: 0,
    };
    world
        .host(devices[0])
        .node
        .handle_event(now, Event::Moved { whereabouts });
    assert!(world.node(devices[0]).expected(member, now).usually_here);
}

#[test]
fn all_is_safe_by_the_meeting_that_can_carry_it() {
    let (mut world, devices) = scattered();
    assert_eq!(world.node(devices[0]).safe_by(world.now), None, "it is");
    world.back_up(devices[0], 2, PackKind::Large, 1_000_000);
    assert_eq!(world.node(devices[0]).safe_by(world.now), None, "no habits");
    // The one who comes sooner moves too little at a time.
    met_weekly(&mut world, devices[0], devices[2], 24 * 6, 100_000);
    let slow = world.node(devices[0]).safe_by(world.now).unwrap();
    assert_eq!(slow.member, world.node(devices[2]).member());
    assert!(slow.by.since(world.now) > Span::days(7 * 7));
    met_weekly(&mut world, devices[0], devices[1], 24 * 2, 2_000_000);
    let fast = world.node(devices[0]).safe_by(world.now).unwrap();
    assert_eq!(fast.member, world.node(devices[1]).member());
    assert!(fast.by.since(world.now) <= Span::days(5));
    // Nobody foretells what is under way.
    world.host(devices[2]).up = true;
    world.everybody_near();
    assert_eq!(world.node(devices[0]).safe_by(world.now), None);
}

/// Which of two packs is put first on the shelf of somebody who is hardly ever met: a newer one, or an
/// older one for which hardly anybody else comes. Each is held by one other friend already.
fn first_put(often: bool) -> (PackId, [PackId; 2]) {
    let (mut world, devices) = World::circle(4);
    for friend in &devices[1..] {
        world.switch_off(*friend);
    }
    world.run(Span(limits::NEAR_VALID.0 + 60_000));
    let me = devices[0];
    let known: BTreeSet<PackId> = world.node(me).packs().map(|it| it.id).collect();
    let mut packs = Vec::new();
    for (seed, holder) in [(1, devices[1]), (2, devices[2])] {
        world.back_up(me, seed, PackKind::Large, 10_000);
        let made = |it: &&PackRecord| !known.contains(&it.id) && !packs.contains(&it.id);
        let pack = world.node(me).packs().find(made).unwrap().clone();
        packs.push(pack.id);
        let inventory = &mut world.host(me).node.inventory;
        inventory.note_receipt(holder, pack.shards[0].stem(), true, 0);
        world.run(Span::secs(1));
    }
    if often {
        met_weekly(&mut world, me, devices[1], 24 * 2, 2_000_000);
    }
    world.run(limits::CHANCES_VALID);
    world.waiting = Some(Vec::new());
    world.host(devices[3]).up = true;
    world.run(Span::secs(20));
    let waiting = world.waiting.as_ref().unwrap();
    let (_, _, shard, _) = waiting.first().unwrap();
    let (pack, _) = world.node(me).inventory.locate(*shard).unwrap();
    (pack.record.id, [packs[0], packs[1]])
}

#[test]
fn what_a_frequent_friend_can_take_later_waits() {
    let (first, [_, newer]) = first_put(false);
    assert_eq!(first, newer);
    // The friend who holds the older one is met every week, and could take the newer one.
    let (first, [older, _]) = first_put(true);
    assert_eq!(first, older);
}
