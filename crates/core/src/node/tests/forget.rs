//! What one device forgets, all of its owner's forget, until one remembers.

use super::*;

fn snapshots(count: u8) -> Vec<SnapshotId> {
    (0..count).map(|at| SnapshotId([at; 32])).collect()
}

fn read_anew(world: &World, device: DeviceId, reverse: bool) -> Node {
    let host = &world.hosts[&device];
    let mut again = Node::new(host.node.identity().clone(), [0; 32], world.now);
    let mut feeds: Vec<_> = host.feeds.values().collect();
    if reverse {
        feeds.reverse();
    }
    for entry in feeds.into_iter().flatten() {
        again.replay(entry).unwrap();
    }
    again
}

#[test]
fn what_was_said_last_counts_whatever_is_read_first() {
    let (mut world, devices) = World::circle(3);
    let owner = devices[2];
    let forget = |snapshots, forgotten| Command::Forget {
        snapshots,
        forgotten,
    };
    world.command(owner, forget(snapshots(3), true)).unwrap();
    world.now = world.now + Span::secs(1);
    world.command(owner, forget(snapshots(1), false)).unwrap();
    let left: BTreeSet<SnapshotId> = snapshots(3).into_iter().skip(1).collect();
    assert_eq!(world.node(owner).forgotten(), left);
    for reverse in [false, true] {
        assert_eq!(read_anew(&world, owner, reverse).forgotten(), left);
    }
    // Friends pass it on and can't read it.
    world.run(Span::secs(60));
    assert!(world.node(devices[0]).forgotten().is_empty());
}
