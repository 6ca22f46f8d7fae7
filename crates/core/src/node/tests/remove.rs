//! Who is removed is refused at once, and what they hold counts no more.

use super::*;
use crate::{
    entry::{Subject, WrapTarget},
    key,
    pack::{OpenPack, tests::sealed},
};

/// Another device of the founder, with keys by its words.
pub(super) fn another_device(world: &mut World, door: DeviceId, seed: u8) -> DeviceId {
    let names = Names {
        member: "member 1",
        device: &format!("device {seed}"),
    };
    let root = words(1).root();
    let identity = Identity::recover(&root, [seed; 32], names, DeviceClass::Laptop, world.now);
    let device = world.add(identity.unwrap(), Vec::new());
    world.join(door, device, seed, "");
    world.run(Span::secs(60));
    assert!(world.node(device).vault_keys().is_some());
    device
}

fn remove(subject: DeviceId) -> Command {
    Command::Remove {
        subject: Subject::Device(subject),
    }
}

/// Returns the epoch that seals at a device.
fn epoch(world: &World, device: DeviceId) -> u16 {
    world.node(device).vault_keys().unwrap().epoch().unwrap()
}

/// Tells whether a device has the key of an epoch, or finds it in any feed that anybody has.
fn can_read(world: &World, reader: DeviceId, epoch: u16) -> bool {
    let identity = &world.node(reader).identity;
    let target = WrapTarget::Device(reader);
    let published = world.hosts.values().flat_map(|host| {
        let wraps = host.node.circle.wraps_of(identity.member());
        wraps
            .into_iter()
            .filter_map(|entry| key::unwrap(&entry.wraps, &target, &identity.sealing_secret).ok())
    });
    let own = [identity.vault.clone()];
    (published.chain(own)).any(|keys| keys.pack_keys(epoch).is_some())
}

#[test]
fn a_removed_friend_is_refused_and_their_part_goes_to_others() {
    let (mut world, devices) = World::circle(5);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 40_000);
    world.run(Span::secs(120));
    let holders = |world: &World| -> BTreeSet<MemberId> {
        let node = world.node(owner);
        let pack = node.inventory.pack(pack).unwrap();
        pack.proved_spread(node.circle(), node.member, world.now)
            .into_keys()
            .collect()
    };
    let removed = world.node(devices[1]).member;
    assert!(holders(&world).contains(&removed));
    let remove = Command::Remove {
        subject: Subject::Member(removed),
    };
    world.command(owner, remove).unwrap();
    assert!(!holders(&world).contains(&removed));
    world.run(Span::secs(120));
    for device in devices.iter().filter(|device| **device != devices[1]) {
        assert!(!world.node(*device).circle().is_member(removed));
    }
    // Nothing is told to them any more.
    let late = world.back_up(owner, 2, PackKind::Metadata, 3000);
    world.run(Span::secs(120));
    let record = world.hosts[&owner].packs[&late].0.clone();
    let kept = |device: &DeviceId| {
        let owner = world.node(owner).member;
        world.hosts[device]
            .shelf
            .contains_key(&(owner, record.shards[0]))
    };
    assert!(!kept(&devices[1]));
    assert!(devices[2..].iter().all(kept));
    assert!(matches!(
        world.command(
            owner,
            Command::Remove {
                subject: Subject::Device(owner)
            }
        ),
        Err(CommandRefused::Ourselves)
    ));
    assert!(matches!(
        world.command(
            owner,
            Command::Remove {
                subject: Subject::Device(devices[2])
            }
        ),
        Err(CommandRefused::ForeignDevice(_))
    ));
}

#[test]
fn what_is_sealed_after_a_theft_the_stolen_device_cannot_read() {
    let (mut world, devices) = World::circle(3);
    let owner = devices[0];
    let second = another_device(&mut world, devices[1], 50);
    let stolen = another_device(&mut world, devices[2], 51);
    let old = sealed(world.node(owner).vault_keys().unwrap(), &[vec![1; 5000]]);
    assert!(
        [owner, second, stolen]
            .iter()
            .all(|it| epoch(&world, *it) == 0)
    );

    world.command(owner, remove(stolen)).unwrap();
    world.run(Span::secs(60));
    let told = |it: &Notice| {
        let no_member = Farewell::NotAMember;
        matches!(it, Notice::TurnedAway { farewell, .. } if *farewell == no_member)
    };
    assert!(world.hosts[&stolen].notices.iter().any(told));
    for (device, other) in [(owner, second), (second, owner)] {
        let epoch = epoch(&world, device);
        assert_ne!(epoch, 0, "a new one");
        let keys = world.node(device).vault_keys().unwrap();
        let new = sealed(keys, &[vec![2; 5000]]);
        assert_eq!(new.epoch, epoch);
        let open = |reader: DeviceId| {
            let keys = world.node(reader).vault_keys().unwrap().pack_keys(epoch)?;
            OpenPack::open(&keys, new.bytes.clone()).ok()
        };
        assert!(open(other).is_some(), "the other device reads it");
        assert!(!can_read(&world, stolen, epoch), "the stolen one doesn't");
        let keys = keys.pack_keys(old.epoch).unwrap();
        assert!(
            OpenPack::open(&keys, old.bytes.clone()).is_ok(),
            "old ones too"
        );
    }

    // Who comes later reads everything, by the words and by any friend.
    world.switch_off(owner);
    let third = another_device(&mut world, devices[1], 52);
    for device in [owner, second] {
        assert!(can_read(&world, third, epoch(&world, device)));
    }
    let seals = epoch(&world, third);
    assert!(
        !can_read(&world, stolen, seals),
        "nor seals it with an old key"
    );
    assert!(can_read(&world, second, seals));

    // A start changes nothing.
    let host = &world.hosts[&second];
    let identity = host.node.identity.clone();
    let mut node = Node::new(identity, [7; 32], world.now);
    for entry in host.feeds.values().flatten() {
        node.replay(entry).unwrap();
    }
    node.start(world.now);
    assert_eq!(node.identity.vault, host.node.identity.vault);
    assert_eq!(node.own_len(), host.node.own_len());

    // In the end the recovered one forgets how it came by the keys.
    assert!(world.node(third).identity.recovery_secret.is_some());
    for device in [second, devices[1], devices[2], stolen] {
        world.switch_off(device);
    }
    world.run(Span(limits::RECOVERY_KEPT.0));
    assert!(world.node(third).identity.recovery_secret.is_none());
}

#[test]
fn two_devices_that_remove_a_third_one_apart_read_each_other() {
    let (mut world, devices) = World::circle(3);
    let owner = devices[0];
    let second = another_device(&mut world, devices[1], 50);
    let stolen = another_device(&mut world, devices[2], 51);
    world.silent = true;
    world.command(owner, remove(stolen)).unwrap();
    world.command(second, remove(stolen)).unwrap();
    let epochs = [epoch(&world, owner), epoch(&world, second)];
    assert_ne!(epochs[0], epochs[1]);
    world.run(Span::secs(60));
    world.silent = false;
    world.run(Span::secs(600));
    assert_eq!([epoch(&world, owner), epoch(&world, second)], epochs);
    for epoch in epochs {
        assert!(can_read(&world, owner, epoch) && can_read(&world, second, epoch));
        assert!(!can_read(&world, stolen, epoch));
    }
}

#[test]
fn what_a_stolen_device_forgets_its_owner_remembers_whatever_date_it_names() {
    let (mut world, devices) = World::circle(3);
    let owner = devices[0];
    let stolen = another_device(&mut world, devices[1], 50);
    let snapshots = vec![SnapshotId([7; 32])];
    let forget = |forgotten| Command::Forget {
        snapshots: snapshots.clone(),
        forgotten,
    };
    // Its clock is years ahead.
    let later = world.now + Span::days(1000);
    let said = world.host(stolen).node.command(later, forget(true));
    said.unwrap();
    world.settle();
    world.run(Span::secs(60));
    assert_eq!(world.node(owner).forgotten().len(), 1);
    world.command(owner, remove(stolen)).unwrap();
    world.command(owner, forget(false)).unwrap();
    assert!(world.node(owner).forgotten().is_empty());
}
