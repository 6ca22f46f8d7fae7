//! Parts of shards are read from whoever has them, with proof, and nothing else moves.

use super::*;

/// A large pack, coded for three of six friends, and what its shards are.
fn placed() -> (World, Vec<DeviceId>, PackRecord, Vec<Vec<u8>>) {
    let (mut world, devices) = World::circle(7);
    let pack = world.back_up(devices[0], 1, PackKind::Large, 150_000);
    world.run(Span::secs(120));
    assert!(world.safe(devices[0]));
    let (record, sealed) = world.hosts[&devices[0]].packs[&pack].clone();
    let shards = cut(&sealed, &record.coding);
    (world, devices, record, shards)
}

fn group(shard: &[u8], group: usize) -> &[u8] {
    let start = group * limits::GROUP_BYTES;
    &shard[start..shard.len().min(start + limits::GROUP_BYTES)]
}

#[test]
fn parts_come_from_their_holders_and_nothing_else_moves() {
    let (mut world, devices, record, shards) = placed();
    let owner = devices[0];
    let readable = world.node(owner).readable(record.id, world.now);
    assert!(readable.len() >= 6);
    let moved = (world.shard_bytes, world.hosts[&owner].fetches);
    let parts: Vec<(ShardId, u32)> = (readable.iter())
        .flat_map(|index| [0, 2].map(|group| (record.shards[usize::from(*index)], group)))
        .collect();
    world.command(owner, Command::Read { parts }).unwrap();
    world.run(Span::secs(5));
    for index in readable {
        let index = usize::from(index);
        for at in [0, 2] {
            let read = &world.hosts[&owner].read[&(record.shards[index], at)];
            assert_eq!(read, group(&shards[index], at as usize));
        }
    }
    assert_eq!(moved, (world.shard_bytes, world.hosts[&owner].fetches));
    // Links stay for a while, and no longer.
    assert!(!world.links.is_empty());
    world.run(Span::secs(60));
    assert!(world.links.is_empty());
}

#[test]
fn who_shows_other_bytes_is_not_believed_and_another_one_is_asked() {
    let (mut world, devices) = World::circle(3);
    let pack = world.back_up(devices[0], 1, PackKind::Metadata, 50_000);
    world.run(Span::secs(60));
    let (record, sealed) = world.hosts[&devices[0]].packs[&pack].clone();
    for at in [1, 2] {
        let mut copies = (devices[1..].iter()).filter(|it| {
            let held = world
                .node(devices[0])
                .inventory
                .holding(**it, record.shards[0]);
            held.believed()
        });
        assert!(copies.nth(1).is_some(), "both have a copy");
        world.host(devices[at]).liar = true;
        let parts = vec![(record.shards[0], 1)];
        world.host(devices[0]).read.clear();
        world.command(devices[0], Command::Read { parts }).unwrap();
        world.run(Span::secs(30));
        let read = &world.hosts[&devices[0]].read[&(record.shards[0], 1)];
        assert_eq!(read, group(&sealed, 1));
        world.host(devices[at]).liar = false;
    }
}

#[test]
fn what_nobody_in_reach_has_is_read_when_somebody_comes() {
    let (mut world, devices, record, shards) = placed();
    let owner = devices[0];
    for device in &devices[1..] {
        world.switch_off(*device);
    }
    world.run(Span(limits::NEAR_VALID.0 + 60_000));
    assert!(world.node(owner).readable(record.id, world.now).is_empty());
    let parts = vec![(record.shards[0], 0), (record.shards[1], 0)];
    world.command(owner, Command::Read { parts }).unwrap();
    let parts = vec![(record.shards[1], 0)];
    world.command(owner, Command::StopRead { parts }).unwrap();
    world.run(Span::secs(60));
    for device in &devices[1..] {
        world.host(*device).up = true;
    }
    world.everybody_near();
    world.run(Span::secs(60));
    let read = &world.hosts[&owner].read;
    assert_eq!(read.len(), 1, "what was given up did not come");
    assert_eq!(read[&(record.shards[0], 0)], group(&shards[0], 0));
}
