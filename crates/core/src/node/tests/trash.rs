//! What owners release goes slowly, and comes back when they say so.

use super::*;
use crate::trash::Trashed;

/// An owner and three friends, all of whom hold the owner's pack; the last is the holder looked at.
fn settled() -> (World, Vec<DeviceId>, PackId) {
    let (mut world, devices) = World::circle(4);
    world.back_up(devices[0], 1, PackKind::Metadata, 5000);
    let pack = world.back_up(devices[0], 2, PackKind::Metadata, 7000);
    world.run(Span::secs(60));
    assert!(world.safe(devices[0]));
    (world, devices, pack)
}

fn member(world: &World, device: DeviceId) -> MemberId {
    world.node(device).member
}

/// Lets days pass in which nobody meets.
fn wait(world: &mut World, days: u64) {
    for _ in 0..days * 144 {
        world.now = world.now + limits::OBSERVE_EVERY;
        let now = world.now;
        world
            .hosts
            .values_mut()
            .for_each(|host| host.node.handle_timeout(now));
        world.settle();
    }
}

fn released() -> (World, Vec<DeviceId>, PackId) {
    let (mut world, devices, pack) = settled();
    let packs = vec![pack];
    world
        .command(devices[0], Command::Release { packs })
        .unwrap();
    world.run(Span::secs(60));
    (world, devices, pack)
}

#[test]
fn a_released_pack_lies_in_the_trash_for_thirty_days_and_is_gone_in_the_end() {
    let (mut world, devices, _) = released();
    let (owner, holder) = (member(&world, devices[0]), devices[3]);
    assert_eq!(world.host(holder).shelf.len(), 1);
    assert_eq!(world.host(holder).trash.len(), 1);
    // It counts until it is gone.
    assert_eq!(world.node(holder).ledger.bytes_of(owner), 12_000);
    wait(&mut world, 30);
    assert_eq!(world.host(holder).trash.len(), 1);
    wait(&mut world, 2);
    assert_eq!(world.host(holder).trash.len(), 0);
    assert_eq!(world.host(holder).shelf.len(), 1);
    assert_eq!(world.node(holder).ledger.bytes_of(owner), 5000);
    let erased = |notice: &Notice| matches!(notice, Notice::Erased { .. });
    assert!(world.hosts[&holder].notices.iter().any(erased));
}

#[test]
fn what_was_released_counts_no_more_also_after_a_restart() {
    let (mut world, devices, _) = settled();
    // Not the founder: its own feed may be read before anybody says that it belongs to the circle.
    let owner = devices[1];
    let pack = world.back_up(owner, 3, PackKind::Metadata, 6000);
    world.run(Span::secs(60));
    assert!(world.safe(owner));
    let record = world.hosts[&owner].packs[&pack].0.clone();
    for holder in devices.iter().filter(|device| **device != owner) {
        let shards = record.shards.clone();
        let now = world.now;
        let host = world.host(owner);
        host.node.advance(now);
        host.node.release(*holder, &shards).unwrap();
    }
    world.settle();
    let health = |world: &World, node: &Node| {
        let (circle, me) = (node.circle(), node.member);
        node.inventory.health(&record, circle, me, world.now)
    };
    let before = world.node(owner);
    assert_eq!(health(&world, before), 0);
    // Whatever order the feeds are read in.
    for reverse in [false, true] {
        let mut again = Node::new(before.identity().clone(), [0; 32], world.now);
        again.learn_pack(record.clone(), true);
        let mut feeds: Vec<_> = world.hosts[&owner].feeds.values().collect();
        if reverse {
            feeds.reverse();
        }
        for entry in feeds.into_iter().flatten() {
            again.replay(entry).unwrap();
        }
        again.start(world.now);
        assert_eq!(health(&world, &again), 0);
    }
}

#[test]
fn a_release_that_is_taken_back_before_the_holder_hears_of_it_counts_again() {
    let (mut world, devices, pack) = settled();
    let record = world.hosts[&devices[0]].packs[&pack].0.clone();
    for holder in &devices[1..] {
        world.switch_off(*holder);
    }
    let packs = vec![pack];
    world
        .command(devices[0], Command::Release { packs })
        .unwrap();
    world.command(devices[0], Command::Veto).unwrap();
    for holder in &devices[1..] {
        world.host(*holder).up = true;
    }
    world.run(Span::secs(60));
    assert!(world.hosts[&devices[3]].trash.is_empty());
    let packs = vec![record];
    world.command(devices[0], Command::Fetch { packs }).unwrap();
    world.run(Span::secs(60));
    let (_, sealed) = &world.hosts[&devices[0]].packs[&pack];
    assert_eq!(world.hosts[&devices[0]].restored.get(&pack), Some(sealed));
}

#[test]
fn what_lies_in_the_trash_is_given_back() {
    let (mut world, devices, pack) = released();
    let record = world.hosts[&devices[0]].packs[&pack].0.clone();
    let packs = vec![record];
    world.command(devices[0], Command::Fetch { packs }).unwrap();
    world.run(Span::secs(60));
    let (_, sealed) = &world.hosts[&devices[0]].packs[&pack];
    assert_eq!(world.hosts[&devices[0]].restored.get(&pack), Some(sealed));
}

#[test]
fn a_shard_that_is_put_again_comes_out_of_the_trash_without_being_sent() {
    let (mut world, devices, pack) = released();
    let sent = world.shard_bytes;
    let record = world.hosts[&devices[0]].packs[&pack].0.clone();
    let add = Command::AddPack {
        pack: record,
        available: true,
    };
    world.command(devices[0], add).unwrap();
    world.run(Span::secs(60));
    for holder in &devices[1..] {
        assert_eq!(world.hosts[holder].trash.len(), 0);
        assert_eq!(world.hosts[holder].shelf.len(), 2);
    }
    assert_eq!(world.shard_bytes, sent);
    assert!(world.safe(devices[0]));
    // It was released before that: not again at the next start.
    let holder = devices[3];
    let mut again = Node::new(world.node(holder).identity().clone(), [0; 32], world.now);
    for entry in world.hosts[&holder].feeds.values().flatten() {
        again.replay(entry).unwrap();
    }
    for ((owner, shard), bytes) in &world.hosts[&holder].shelf {
        again.learn_kept(*owner, *shard, u32::try_from(bytes.len()).unwrap());
    }
    again.start(world.now);
    while let Some(effect) = again.poll_effect() {
        assert!(!matches!(effect, Effect::Discard { .. }), "{effect:?}");
    }
}

#[test]
fn a_veto_brings_all_back_and_voids_what_was_not_carried_out() {
    let (mut world, devices, _) = settled();
    let late = devices[3];
    world.switch_off(late);
    let packs = world.hosts[&devices[0]].packs.keys().copied().collect();
    world
        .command(devices[0], Command::Release { packs })
        .unwrap();
    world.run(Span::secs(60));
    assert_eq!(world.hosts[&devices[1]].trash.len(), 2);
    world.command(devices[0], Command::Veto).unwrap();
    world.run(Span::secs(60));
    world.host(late).up = true;
    world.run(Span::secs(120));
    for holder in &devices[1..] {
        assert_eq!(world.hosts[holder].trash.len(), 0);
        assert_eq!(world.hosts[holder].shelf.len(), 2);
    }
    let moved = |notice: &Notice| matches!(notice, Notice::Discarded { .. });
    assert!(!world.hosts[&late].notices.iter().any(moved));
}

#[test]
fn nobody_releases_what_is_anothers() {
    let (mut world, devices, pack) = settled();
    let shards = world.hosts[&devices[0]].packs[&pack].0.shards.clone();
    let stranger = devices[1];
    let now = world.now;
    let host = world.host(stranger);
    host.node.advance(now);
    host.node.release(devices[3], &shards).unwrap();
    world.settle();
    world.run(Span::secs(60));
    assert_eq!(world.hosts[&devices[3]].trash.len(), 0);
    assert_eq!(world.hosts[&devices[3]].shelf.len(), 2);
}

#[test]
fn a_disk_that_does_not_erase_is_asked_again() {
    let (mut world, _) = World::new();
    let device = world.hosts.keys().next().copied().unwrap();
    let owner = MemberId([9; 32]);
    let mut days = crate::days::Days::default();
    days.begin(world.now);
    days.at_least(limits::TRASH_DAYS + 1);
    let node = &mut world.host(device).node;
    node.learn_trashed(owner, ShardId([1; 32]), Trashed { bytes: 5, day: 0 });
    node.learn_days(days);
    let mut asked = 0;
    let mut now = world.now;
    for _ in 0..3 * 144 {
        now = now + limits::OBSERVE_EVERY;
        let node = &mut world.host(device).node;
        node.handle_timeout(now);
        while let Some(effect) = node.poll_effect() {
            if let Effect::Erase { owner, .. } = effect {
                asked += 1;
                let shards = Vec::new();
                node.handle_event(now, Event::Erased { owner, shards });
            }
        }
    }
    assert_eq!(asked, 3);
    assert_eq!(world.node(device).trash_of(owner), 5);
}
