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

/// Three shards of each pack are needed, and friends with one each come and go one at a time. `between`
/// happens while nobody is there.
fn met_one_after_another(between: impl Fn(&mut World, DeviceId)) -> (World, DeviceId) {
    let (mut world, devices) = alone_with_one_friend();
    let owner = devices[0];
    let mut here = devices[1];
    for next in &devices[2..] {
        world.switch_off(here);
        between(&mut world, owner);
        world.host(*next).up = true;
        here = *next;
        world.everybody_near();
        world.run(Span::secs(120));
    }
    (world, owner)
}

#[test]
fn friends_met_one_after_another_bring_everything_back() {
    // More packs than may be under way at a time.
    let (world, owner) = met_one_after_another(|world, owner| {
        assert_eq!(
            world.hosts[&owner].restored.len() < 8,
            !world.hosts[&owner].aside.is_empty()
        );
    });
    assert_eq!(world.node(owner).wanted_packs().count(), 0);
    assert_eq!(world.hosts[&owner].restored.len(), 8);
    assert!(world.hosts[&owner].aside.is_empty(), "nothing is left over");
}

#[test]
fn what_lies_aside_is_not_fetched_again() {
    let (world, owner) = met_one_after_another(|world, owner| {
        // The restore is broken off and begun anew, as after a restart.
        let packs: Vec<PackRecord> = world.node(owner).wanted_packs().cloned().collect();
        let aside = world.hosts[&owner].aside.clone();
        let kept: Vec<_> = aside
            .iter()
            .map(|it| (*it, world.node(owner).shards_aside(*it)))
            .collect();
        world.command(owner, Command::StopFetch).unwrap();
        for (pack, shards) in kept {
            assert!(!shards.is_empty());
            world.host(owner).node.learn_aside(pack, shards);
        }
        world.command(owner, Command::Fetch { packs }).unwrap();
    });
    assert_eq!(world.node(owner).wanted_packs().count(), 0);
    let gets = world.hosts[&owner].fetches;
    assert_eq!(gets, 8 * 3, "each shard came once");
}

#[test]
fn without_room_to_set_aside_only_what_becomes_whole_is_begun() {
    let (mut world, devices) = alone_with_one_friend();
    let owner = devices[0];
    // Begin anew: what lay aside is of no use.
    world.command(owner, Command::StopFetch).unwrap();
    world.host(owner).nothing_fits_aside = true;
    let packs = world.hosts[&owner].packs.values();
    let packs: Vec<PackRecord> = packs.map(|(record, _)| record.clone()).collect();
    for pack in &packs {
        world.host(owner).node.drop_aside(pack.id);
    }
    world.settle();
    let before = world.hosts[&owner].fetches;
    world.command(owner, Command::Fetch { packs }).unwrap();
    world.run(Span::secs(300));
    let tried = world.hosts[&owner].fetches - before;
    assert!(
        tried <= limits::PACKS_IN_FLIGHT_MAX,
        "{tried} shards came for nothing"
    );
    for device in &devices[2..] {
        world.host(*device).up = true;
    }
    world.run(Span::secs(900));
    assert_eq!(world.node(owner).wanted_packs().count(), 0);
}
