//! Getting packs back from friends who are not all there.

use super::*;

/// Three shards of each pack are needed, and each friend has one.
fn alone_with_one_friend() -> (World, Vec<DeviceId>) {
    let (mut world, devices) = World::circle(7);
    for at in 0..8 {
        world.back_up(devices[0], at, PackKind::Large, 90_000);
    }
    world.run(Span::secs(120));
    assert!(world.safe(devices[0]));
    for device in &devices[2..] {
        world.switch_off(*device);
    }
    let packs = world.hosts[&devices[0]].packs.values();
    let packs = packs.map(|(record, _)| record.clone()).collect();
    world.command(devices[0], Command::Fetch { packs }).unwrap();
    world.run(Span::secs(60));
    (world, devices)
}

#[test]
fn a_friend_who_can_complete_nothing_is_not_called_again_and_again() {
    let (mut world, devices) = alone_with_one_friend();
    assert!(world.node(devices[0]).wanted_packs().count() > 0);
    let met = |world: &World| {
        let notices = world.hosts[&devices[0]].notices.iter();
        notices
            .filter(|it| matches!(it, Notice::Met { .. }))
            .count()
    };
    let before = met(&world);
    world.run(Span::secs(600));
    assert!(met(&world) <= before + 2, "{} more", met(&world) - before);
}

#[test]
fn what_one_friend_began_others_complete() {
    let (mut world, devices) = alone_with_one_friend();
    for device in &devices[2..] {
        world.host(*device).up = true;
    }
    world.run(Span::secs(300));
    assert_eq!(world.node(devices[0]).wanted_packs().count(), 0);
}
