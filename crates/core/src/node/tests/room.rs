//! Friends without room are left in peace.

use super::*;

/// A friend's disk is full to the last byte: it takes no shard, nor an entry of its own feed. The
/// encounter stayed open for ever, pinged every five seconds.
#[test]
fn a_friend_with_a_full_disk_is_left_and_asked_again_later() {
    let (mut world, devices) = World::circle(2);
    let (owner, friend) = (devices[0], devices[1]);
    let to = world.node(owner).member();
    world.host(friend).full = true;
    let offer = Command::Offer { to, bytes: 1 << 20 };
    world.command(friend, offer).unwrap();
    world.back_up(owner, 9, PackKind::Large, 100_000);
    world.run(Span::secs(30));
    assert!(world.links.is_empty(), "nothing will come of it");
    let dials = world.dials;
    world.run(Span::secs(500));
    assert_eq!(world.dials, dials, "nor soon after");
    world.run(Span::secs(150));
    assert_ne!(world.dials, dials, "but later it may");
    assert!(world.links.is_empty());
    assert_eq!(world.hosts[&friend].kept_bytes(to), 0);

    world.host(friend).full = false;
    let len = world.hosts[&friend].feeds[&friend].len() as u64;
    world.tell(friend, Event::Appended { len });
    world.settle();
    world.run(Span::secs(30));
    assert_eq!(world.hosts[&friend].kept_bytes(to), 100_000);
    assert!(world.safe(owner));
}

/// What may not be told yet is no news: who dialled for it heard nothing.
#[test]
fn an_entry_that_is_not_durable_is_no_news() {
    let (mut world, devices) = World::circle(2);
    let (before, to) = (
        world.node(devices[1]).news(),
        world.node(devices[0]).member(),
    );
    world.host(devices[1]).full = true;
    let offer = Command::Offer { to, bytes: 1 };
    world.command(devices[1], offer).unwrap();
    assert_eq!(world.node(devices[1]).news(), before);
    let dials = world.dials;
    world.run(Span::secs(60));
    assert_eq!(world.dials, dials);
}
