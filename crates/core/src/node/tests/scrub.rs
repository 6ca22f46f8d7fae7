//! What lies on a shelf is read again.

use super::*;

#[test]
fn what_rots_on_a_shelf_is_found_and_made_good() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    for seed in 0..20 {
        world.back_up(owner, seed, PackKind::Large, 60_000);
    }
    world.run(Span::secs(60));
    let key = *world.hosts[&holder].shelf.keys().next().unwrap();
    world.host(holder).shelf.get_mut(&key).unwrap()[40_000] ^= 1;
    let began = world.now;
    for _ in 0..10 * 24 {
        world.now = world.now + Span::hours(1);
        world.run(Span::secs(12));
    }
    let scrubbed = world.hosts[&holder].scrubbed;
    assert!((20..45).contains(&scrubbed), "{scrubbed}");
    let whole = |world: &World| {
        blake3::hash(&world.hosts[&holder].shelf[&key]).as_bytes() == key.1.as_bytes()
    };
    assert!(whole(&world), "its owner sent it again");
    assert!(world.safe(owner));
    assert!(world.now.since(began) < Span::days(11));
    let until = Some(world.now + Span::days(5));
    world.command(holder, Command::Pause { until }).unwrap();
    let before = world.hosts[&holder].scrubbed;
    world.now = world.now + Span::days(4);
    world.run(Span::secs(120));
    assert_eq!(world.hosts[&holder].scrubbed, before, "not in a pause");
}

/// Runs a device that keeps shards for one friend, from its start to its end. Returns what it reads.
fn reads(kept: &[ShardId], start: Timestamp, running: Span) -> Vec<ShardId> {
    let mut node = Node::new(identity(2), [7; 32], start);
    for shard in kept {
        node.learn_kept(MemberId([9; 32]), *shard, 1_000_000);
    }
    node.start(start);
    let (mut now, mut read) = (start, Vec::new());
    loop {
        while let Some(effect) = node.poll_effect() {
            if let Effect::Scrub { shard, .. } = effect {
                read.push(shard);
                node.handle_event(now, Event::Scrubbed { good: true });
            }
        }
        now = node.poll_timeout().unwrap().max(now + Span::millis(1));
        if now > start + running {
            return read;
        }
        node.handle_timeout(now);
    }
}

#[test]
fn a_machine_that_is_on_for_eight_hours_a_day_reads_all_in_a_month() {
    let kept: Vec<ShardId> = (0..3000_u32)
        .map(|at| ShardId(*blake3::hash(&at.to_le_bytes()).as_bytes()))
        .collect();
    for shifts in [1, 2] {
        let mut read = Vec::new();
        for day in 0..32 {
            for shift in 0..shifts {
                let start =
                    Timestamp(1_700_000_000_000) + Span::days(day) + Span::hours(12 * shift);
                read.extend(reads(&kept, start, Span::hours(8 / shifts)));
            }
        }
        let distinct: BTreeSet<ShardId> = read.iter().copied().collect();
        assert_eq!(distinct.len(), kept.len(), "{shifts}");
        assert!(
            read.len() < kept.len() * 11 / 10,
            "{shifts}: {}",
            read.len()
        );
    }
}

#[test]
fn a_shelf_that_grows_is_read_in_time() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    world.back_up(owner, 0, PackKind::Large, 60_000);
    world.run(Span::hours(1));
    assert_eq!(world.hosts[&holder].scrubbed, 1);
    for seed in 1..20 {
        world.back_up(owner, seed, PackKind::Large, 60_000);
    }
    for _ in 0..5 * 24 {
        world.now = world.now + Span::hours(1);
        world.run(Span::secs(12));
    }
    assert!(
        world.hosts[&holder].scrubbed > 8,
        "{}",
        world.hosts[&holder].scrubbed
    );
}
