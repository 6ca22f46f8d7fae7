//! Files leave a device: only while friends have proved enough, and what they lose is repaired then.

use super::*;
use crate::free::Refusal;

#[test]
fn what_is_settled_may_go_and_is_repaired_without_its_files() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    assert_eq!(world.node(owner).may_free(pack, world.now), Ok(()));
    let free = Command::Free {
        packs: vec![pack],
        unmade: vec![pack],
    };
    world.command(owner, free).unwrap();
    assert_eq!(world.node(owner).packs_missing().count(), 1);
    assert!(world.safe(owner));

    // Two friends go: the rest makes what is missing, since the files can't.
    let holders: Vec<DeviceId> = (devices[1..].iter().copied())
        .filter(|it| !world.hosts[it].shelf.is_empty())
        .collect();
    let lost = holders[0];
    world.host(lost).shelf.clear();
    let member = world.node(lost).member();
    let subject = Subject::Member(member);
    world.command(owner, Command::Remove { subject }).unwrap();
    world.switch_off(lost);
    world.run(Span::hours(2));
    let repaired = |notice: &Notice| matches!(notice, Notice::Repairing { .. });
    assert!(world.hosts[&owner].notices.iter().any(repaired));
    assert_eq!(world.node(owner).may_free(pack, world.now), Ok(()));
}

#[test]
fn old_proofs_let_nothing_go() {
    let (mut world, devices) = World::circle(4);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 100_000);
    let lists = world.back_up(owner, 2, PackKind::Metadata, 1000);
    world.run(Span::secs(60));
    assert_eq!(world.node(owner).may_free(lists, world.now), Ok(()));
    for friend in &devices[1..] {
        world.switch_off(*friend);
    }
    world.now = world.now + limits::AUDIT_VALID + Span::days(1);
    for id in [pack, lists] {
        let refused = world.node(owner).may_free(id, world.now);
        assert!(matches!(refused, Err(Refusal::Stale { .. })), "{refused:?}");
    }
    // Whatever the shell thinks: it is judged again when it is done.
    let free = Command::Free {
        packs: vec![lists],
        unmade: vec![pack],
    };
    let refused = world.command(owner, free);
    assert_eq!(refused, Err(CommandRefused::Unsafe(lists)));
    assert_eq!(world.node(owner).packs_missing().count(), 0);
    let unknown = world.node(owner).may_free(PackId([9; 32]), world.now);
    assert_eq!(unknown, Err(Refusal::Unknown));
}
