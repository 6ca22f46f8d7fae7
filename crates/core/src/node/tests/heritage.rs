//! What one device learnt of its owner's week, the next one knows.

use super::{remove::another_device, *};

const HOUR: u64 = 3_600_000;

/// Five weeks pass, on each Friday of which the owner's device meets a friend for an hour.
fn five_fridays(world: &mut World, owner: DeviceId, friend: DeviceId) {
    world.silent = true;
    let (member, start) = (world.node(friend).member(), world.now);
    for week in 0..5 {
        world.host(owner).node.learn_meeting(Meeting {
            device: friend,
            member,
            class: LinkClass::Lan,
            network: Network([1; 8]),
            start: start + Span::days(7 * week + 1),
            offset_minutes: 0,
            length: Span(HOUR),
            linked: Span::secs(60),
            sent: 1 << 20,
            received: 0,
        });
    }
    world.now = start + Span::days(35);
    for host in world.hosts.values_mut() {
        host.node.now = world.now;
    }
    world.silent = false;
    world.run(Span::hours(2));
}

fn told(world: &World, author: DeviceId) -> usize {
    let feed = &world.hosts[&author].feeds[&author];
    let met = |it: &&SignedEntry| {
        let body = Body::from_entry(&it.verify().unwrap());
        matches!(body, Ok(Body::Met(_)))
    };
    feed.iter().filter(met).count()
}

#[test]
fn after_a_loss_the_next_device_knows_whom_its_owner_meets() {
    let (mut world, devices) = World::circle(3);
    let (owner, friend) = (devices[0], devices[1]);
    five_fridays(&mut world, owner, friend);
    assert_eq!(told(&world, owner), 1);
    let expected = |world: &World, device: DeviceId| {
        let node = world.node(device);
        let member = world.node(friend).member();
        let wait = node.habits.interval(member, world.now);
        (
            wait,
            node.habits
                .forecast(member, world.now, 0)
                .map(|it| it.within(Span::days(7))),
        )
    };
    let before = expected(&world, owner);
    assert!(before.0.is_some() && before.1.is_some());

    world.switch_off(owner);
    let next = another_device(&mut world, friend, 50);
    // Whatever it met itself since is only minutes old.
    let fridays = |world: &World, device: DeviceId| -> Vec<Timestamp> {
        let all = world.node(device).habits.meetings();
        let weekly = all.filter(|it| it.length == Span(HOUR) && it.device == friend);
        weekly
            .map(|it| Timestamp(it.start.0 / 60_000 * 60_000))
            .collect()
    };
    assert_eq!(fridays(&world, next).len(), 5);
    assert_eq!(fridays(&world, next), fridays(&world, owner));
    assert!(expected(&world, next).1 >= before.1);

    // It tells on its own account, and not again what it was told.
    world.run(Span::days(8));
    assert_eq!(told(&world, next), 1);
}

/// Whose device it is says the feed of whoever admitted it, which may come later.
#[test]
fn habits_are_known_whichever_feed_comes_first() {
    let (mut world, devices) = World::circle(3);
    let friend = devices[1];
    let second = another_device(&mut world, friend, 50);
    five_fridays(&mut world, second, friend);
    assert_eq!(told(&world, second), 1);
    world.switch_off(second);
    let third = another_device(&mut world, friend, 51);
    let mut again = Node::new(world.node(third).identity.clone(), [9; 32], world.now);
    let feeds = &world.hosts[&third].feeds;
    let others = feeds.iter().filter(|(device, _)| **device != second);
    let others = others.flat_map(|(_, feed)| feed);
    for entry in feeds[&second].iter().chain(others) {
        again.replay(entry).unwrap();
    }
    let weekly = again.habits.meetings();
    assert_eq!(weekly.filter(|it| it.length == Span(HOUR)).count(), 5);
}

#[test]
fn a_device_that_lives_on_keeps_its_week_for_itself() {
    let (mut world, devices) = World::circle(3);
    let (owner, friend) = (devices[0], devices[1]);
    let second = another_device(&mut world, friend, 50);
    five_fridays(&mut world, owner, friend);
    assert_eq!(told(&world, owner), 1);
    let known = world.node(second).habits.meetings();
    assert_eq!(known.filter(|it| it.length == Span(HOUR)).count(), 0);
    assert_eq!(
        world.node(second).circle.chain(owner),
        world.node(owner).circle.chain(owner),
        "it has heard of them"
    );
}

#[test]
fn a_week_is_told_once_whatever_is_restarted_meanwhile() {
    let (mut world, devices) = World::circle(2);
    let (owner, friend) = (devices[0], devices[1]);
    five_fridays(&mut world, owner, friend);
    let node = world.node(owner);
    let mut again = Node::new(node.identity.clone(), [9; 32], world.now);
    for feed in world.hosts[&owner].feeds.values() {
        for entry in feed {
            again.replay(entry).unwrap();
        }
    }
    node.habits
        .meetings()
        .for_each(|it| again.learn_meeting(*it));
    let before = again.own_len();
    again.start(world.now + Span::days(3));
    assert_eq!(again.own_len(), before);
}
