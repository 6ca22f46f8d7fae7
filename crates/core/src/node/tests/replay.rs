//! A start believes of its own disk what signatures on it vouch for.

use super::*;
use crate::{codec::DecodeError, entry::Subject, feed::FeedError};

/// Takes a feed into a new node. Returns how much of it is known then, and what was refused.
fn taken(world: &World, device: DeviceId, feed: &[SignedEntry]) -> (u64, Vec<(u64, FeedError)>) {
    let mut node = Node::new(world.node(device).identity().clone(), [0; 32], world.now);
    let mut refused = Vec::new();
    let mut refuse = |_, seq, error| refused.push((seq, error));
    let mut replay = node.replaying(&mut refuse);
    for entry in feed {
        replay.take(device, entry.clone());
    }
    replay.finish();
    (node.circle.chain(device).tip().len, refused)
}

#[test]
fn the_last_signature_vouches_for_what_comes_before_it() {
    let (world, devices) = World::circle(2);
    let device = devices[0];
    let feed = world.hosts[&device].feeds[&device].clone();
    let (len, last) = (feed.len() as u64, feed.len() - 1);
    assert!(last > 2);
    assert_eq!(taken(&world, device, &feed), (len, vec![]));
    // That of another entry doesn't: then each is checked by itself.
    let mut forged = feed.clone();
    forged[last].signature = feed[0].signature;
    let bad = FeedError::Entry(DecodeError::BadSignature("entry"));
    assert_eq!(
        taken(&world, device, &forged),
        (len - 1, vec![(len - 1, bad)])
    );
    // What was changed is in no chain with the last.
    let mut changed = feed.clone();
    changed[1].bytes = feed[2].bytes.clone();
    let (known, refused) = taken(&world, device, &changed);
    assert_eq!((known, refused[0].0), (1, 1));
}

#[test]
fn feeds_are_taken_to_their_ends_in_any_order() {
    let (world, devices) = World::circle(3);
    let host = &world.hosts[&devices[1]];
    for reverse in [false, true] {
        let mut feeds: Vec<_> = host.feeds.iter().collect();
        if reverse {
            feeds.reverse();
        }
        let mut node = Node::new(host.node.identity().clone(), [0; 32], world.now);
        let mut refuse = |_, seq, error| panic!("entry {seq}: {error}");
        let mut replay = node.replaying(&mut refuse);
        for (device, feed) in feeds {
            for entry in feed {
                replay.take(*device, entry.clone());
            }
        }
        replay.finish();
        assert!(node.circle.tips().eq(host.node.circle.tips()));
        assert_eq!(node.durable_len(), host.feeds[&devices[1]].len() as u64);
    }
}

#[test]
fn a_removal_read_at_a_start_gives_up_no_spooled_copy() {
    let (mut world, devices) = World::circle(5);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Small, 40_000);
    world.run(Span::secs(120));
    assert!(world.hosts[&owner].unspooled.contains(&pack));
    let subject = Subject::Member(world.node(devices[4]).member);
    world.command(owner, Command::Remove { subject }).unwrap();
    world.run(Span::secs(60));

    // The process ended before the copy went.
    let host = &world.hosts[&owner];
    let mut node = Node::new(host.node.identity().clone(), [0; 32], world.now);
    let record = host.node.inventory.pack(pack).unwrap().record.clone();
    node.learn_pack(record, true);
    let mut refuse = |_, seq, error| panic!("entry {seq}: {error}");
    let mut replay = node.replaying(&mut refuse);
    for (device, feed) in &host.feeds {
        for entry in feed {
            replay.take(*device, entry.clone());
        }
    }
    replay.finish();
    node.start(world.now);
    assert!(node.circle().is_revoked(subject));
    let told = std::iter::from_fn(|| node.poll_effect())
        .any(|effect| matches!(effect, Effect::Unspool { .. }));
    let here = node.inventory.pack(pack).unwrap().available;
    assert_eq!(here, !told, "the disk hears of it, or it is still there");
}
