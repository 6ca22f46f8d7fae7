//! Meetings are written down once, whole, and for what they were.

use super::*;

fn whole(world: &World, device: DeviceId) -> Vec<Meeting> {
    let mut habits = Habits::default();
    for piece in &world.hosts[&device].meetings {
        habits.add(*piece);
    }
    habits.meetings().copied().collect()
}

fn minutes(minutes: u64) -> Span {
    Span::secs(60 * minutes)
}

#[test]
fn many_encounters_of_one_coffee_are_one_meeting() {
    let (mut world, devices) = World::circle(2);
    let start = world.now;
    for pack in 1..=3 {
        world.back_up(devices[0], pack, PackKind::Large, 100_000);
        world.run(minutes(5));
    }
    assert!(world.hosts[&devices[0]].meetings.is_empty(), "it goes on");
    world.switch_off(devices[1]);
    world.run(minutes(31));
    let meetings = whole(&world, devices[0]);
    let [meeting] = meetings[..] else {
        panic!("{meetings:?}");
    };
    let (device, member) = (devices[1], world.node(devices[1]).member());
    assert_eq!((meeting.device, meeting.member), (device, member));
    assert_eq!((meeting.sent, meeting.received), (300_000, 0));
    assert!(meeting.start <= start && meeting.length >= minutes(15));
    assert!(
        meeting.length < minutes(17),
        "the end is when it was last heard"
    );
    assert!(meeting.linked > Span(0) && meeting.linked < minutes(1));
    assert_eq!(meeting.class, LinkClass::Lan);
}

#[test]
fn a_friend_without_work_is_met_too_and_written_down_while_it_stays() {
    let (mut world, devices) = World::circle(2);
    world.run(Span::hours(4));
    let pieces = &world.hosts[&devices[1]].meetings;
    assert!((3..=4).contains(&pieces.len()), "{pieces:?}");
    let longest = minutes(61);
    assert!(pieces.iter().all(|it| it.length <= longest));
    let meetings = whole(&world, devices[1]);
    assert_eq!(meetings.len(), 1);
    assert!(meetings[0].length > minutes(170));
}

#[test]
fn a_long_encounter_without_beacons_is_one_meeting() {
    let (mut world, devices) = World::circle(2);
    world.run(minutes(5));
    world.back_up(devices[0], 1, PackKind::Large, 100_000);
    world.everybody_near();
    let node = &mut world.host(devices[0]).node;
    assert!(node.encounters.values().any(Encounter::is_open));
    let start = node.now;
    let at = |minutes: u64| start + Span::secs(60 * minutes);
    let link = *node.encounters.keys().next().unwrap();
    node.advance(at(61));
    node.alive(link);
    node.watch_presences();
    node.advance(at(110));
    node.note_heard(devices[1]);
    node.advance(at(180));
    node.alive(link);
    node.leave(at(180));
    world.settle();
    let meetings = whole(&world, devices[0]);
    let [meeting] = meetings[..] else {
        panic!("{meetings:?}");
    };
    assert_eq!(meeting.end(), at(180));
    assert!(meeting.linked >= minutes(180) && meeting.sent == 100_000);
}

#[test]
fn on_another_network_friends_are_met_anew() {
    let (mut world, devices) = World::circle(2);
    let places = [(Network([1; 8]), 60), (Network([2; 8]), -300)];
    for (network, offset_minutes) in places {
        world.run(minutes(5));
        let whereabouts = Whereabouts {
            network,
            offset_minutes,
        };
        world.tell(devices[0], Event::Moved { whereabouts });
        world.run(minutes(5));
    }
    let now = world.now;
    world.host(devices[0]).node.leave(now);
    world.settle();
    // What came before it was known where we are counts for where we turned out to be.
    let found: Vec<_> = (world.hosts[&devices[0]].meetings.iter())
        .map(|it| (it.network, it.offset_minutes))
        .collect();
    assert_eq!(found, places);
}

/// An encounter that was cut within its first shard began, and never ended.
#[test]
fn who_is_met_is_parted_from_however_it_ends() {
    let (mut world, devices) = World::circle(2);
    world.cut_off_bulk = true;
    world.back_up(devices[0], 1, PackKind::Large, 100_000);
    world.run(Span::secs(1));
    world.switch_off(devices[0]);
    let notices = &world.hosts[&devices[1]].notices;
    let count = |is: fn(&Notice) -> bool| notices.iter().filter(|it| is(it)).count();
    let met = count(|it| matches!(it, Notice::Met { .. }));
    assert!(met > 1);
    assert_eq!(met, count(|it| matches!(it, Notice::Parted { .. })));
    world.run(minutes(31));
    let met = whole(&world, devices[1]);
    let [meeting] = met[..] else {
        panic!("{met:?}");
    };
    assert!(meeting.linked >= Span::secs(1), "the cut one counts");
}

#[test]
fn strangers_are_not_remembered() {
    let (mut world, devices) = World::circle(2);
    world.switch_off(devices[1]);
    world.run(minutes(31));
    let before = world.hosts[&devices[0]].meetings.len();
    for device in [DeviceId([9; 32]), devices[0]] {
        let (news, addresses) = ([0; 4], vec![]);
        world.tell(
            devices[0],
            Event::Near {
                device,
                news,
                addresses,
            },
        );
    }
    world.run(minutes(31));
    assert_eq!(world.hosts[&devices[0]].meetings.len(), before);
}

#[test]
fn the_end_of_a_process_writes_down_and_the_next_one_knows() {
    let (mut world, devices) = World::circle(2);
    let now = world.now;
    world.host(devices[0]).node.leave(now);
    world.settle();
    let meetings = world.hosts[&devices[0]].meetings.clone();
    assert_eq!(meetings.len(), 1);
    let mut next = Node::new(identity(1), [5; 32], now);
    meetings.into_iter().for_each(|it| next.learn_meeting(it));
    assert_eq!(next.habits, world.node(devices[0]).habits);
}

/// A machine that was put to sleep during an encounter wakes up weeks later, and then hears that the
/// link is down: that is no meeting of weeks.
#[test]
fn an_encounter_ends_with_the_last_sign_of_life() {
    let (mut world, devices) = World::circle(2);
    world.run(minutes(5));
    world.back_up(devices[0], 1, PackKind::Large, 100_000);
    world.everybody_near();
    let asleep = world.now;
    world.hosts.get_mut(&devices[1]).unwrap().up = false;
    world.now = asleep + Span::days(21);
    let links: Vec<LinkId> = world.links.keys().copied().collect();
    assert!(!links.is_empty());
    links.into_iter().for_each(|link| world.cut(link));
    world.run(minutes(40));
    let meetings = whole(&world, devices[0]);
    let [meeting] = meetings[..] else {
        panic!("{meetings:?}");
    };
    assert!(meeting.end() <= asleep, "{meeting:?}");
    assert!(meeting.linked < minutes(1));
    let node = world.node(devices[0]);
    let member = world.node(devices[1]).member();
    assert!(node.last_sign(devices[1], member) <= Some(asleep));
}
