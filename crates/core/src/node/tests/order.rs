//! What is put first, and on whose shelf.

use super::*;
use crate::{
    plan::{Order, Queue, Wants},
    policy::Bulk,
};

impl World {
    /// A circle whose first device has packs for friends that are about to come, and whose shards
    /// wait until they are let through.
    fn about_to_meet(members: u8, met: usize, packs: u8) -> (Self, Vec<DeviceId>) {
        let (mut world, devices) = Self::circle(members);
        for friend in &devices[1..] {
            world.switch_off(*friend);
        }
        for seed in 0..packs {
            world.back_up(devices[0], seed, PackKind::Large, 10_000);
        }
        world.waiting = Some(Vec::new());
        for friend in &devices[1..=met] {
            world.host(*friend).up = true;
        }
        (world, devices)
    }

    /// Lets each link carry one of the shards that wait. Returns who got which.
    fn carry_one_each(&mut self) -> Vec<(DeviceId, ShardId)> {
        let mut carried = BTreeMap::new();
        for (me, link, shard, source) in self.waiting.replace(Vec::new()).unwrap() {
            let to = self.other(link, me);
            if to.is_some() && carried.contains_key(&link) {
                self.waiting
                    .as_mut()
                    .unwrap()
                    .push((me, link, shard, source));
                continue;
            }
            carried.extend(to.map(|to| (link, (to, shard))));
            self.stream(me, link, shard, source);
        }
        self.settle();
        // Time for the receipts.
        self.run(limits::RECEIPT_WAIT);
        self.run(Span::millis(100));
        carried.into_values().collect()
    }

    fn carry_all(&mut self) -> Vec<(DeviceId, ShardId)> {
        let mut all = Vec::new();
        while !self.waiting.as_ref().unwrap().is_empty() {
            all.extend(self.carry_one_each());
        }
        all
    }

    fn pack_of(&self, owner: DeviceId, shard: ShardId) -> PackId {
        let (pack, _) = self.node(owner).inventory.locate(shard).unwrap();
        pack.record.id
    }

    fn waiting_for(&self, friend: DeviceId) -> BTreeSet<ShardId> {
        let waiting = self.waiting.iter().flatten();
        waiting
            .filter(|(me, link, ..)| self.other(*link, *me) == Some(friend))
            .map(|(_, _, shard, _)| *shard)
            .collect()
    }
}

#[test]
fn three_friends_met_together_get_different_packs_first() {
    let (mut world, devices) = World::about_to_meet(4, 3, 24);
    world.run(Span::secs(30));
    let first: BTreeSet<ShardId> = devices[1..]
        .iter()
        .flat_map(|it| world.waiting_for(*it))
        .collect();
    assert_eq!(
        first.len(),
        3 * limits::SENDS_IN_FLIGHT_MAX,
        "no pack goes to two at a time"
    );
    let carried = world.carry_all();
    let (once, again) = carried.split_at(24);
    let packs: BTreeSet<ShardId> = once.iter().map(|(_, shard)| *shard).collect();
    assert_eq!(packs.len(), 24, "all has one copy before anything has two");
    let again: BTreeSet<ShardId> = again.iter().map(|(_, shard)| *shard).collect();
    assert_eq!((again.len(), carried.len()), (24, 48), "then all gets two");
    assert!(world.safe(devices[0]));
}

#[test]
fn what_a_friend_that_left_did_not_get_goes_to_the_others_at_once() {
    let (mut world, devices) = World::about_to_meet(4, 3, 24);
    world.run(Span::secs(30));
    let mut placed: BTreeSet<ShardId> = BTreeSet::new();
    for _ in 0..2 {
        placed.extend(world.carry_one_each().iter().map(|(_, shard)| *shard));
    }
    let left = world.waiting_for(devices[1]);
    assert_eq!(left.len(), limits::SENDS_IN_FLIGHT_MAX);
    let underway = [devices[2], devices[3]].map(|it| world.waiting_for(it));
    world.switch_off(devices[1]);
    for (friend, before) in [devices[2], devices[3]].into_iter().zip(underway) {
        world.carry_one_each();
        let new = &world.waiting_for(friend) - &before;
        assert!(!new.is_empty() && new.is_subset(&left), "{new:?} {left:?}");
        placed.extend(before.iter().take(2));
    }
    world.carry_all();
    assert!(world.safe(devices[0]));
    let owner = world.node(devices[0]).member();
    let shelf = |at: usize| world.hosts[&devices[at]].kept_bytes(owner);
    assert_eq!(shelf(1) + shelf(2) + shelf(3), 2 * 24 * 10_000);
}

#[test]
fn friends_met_together_share_the_shards_of_a_pack() {
    let (mut world, devices) = World::about_to_meet(5, 3, 12);
    world.run(Span::secs(30));
    let carried = world.carry_all();
    let mut shards: BTreeMap<PackId, BTreeMap<ShardId, DeviceId>> = BTreeMap::new();
    for (friend, shard) in &carried[..24] {
        let pack = world.pack_of(devices[0], *shard);
        shards.entry(pack).or_default().insert(*shard, *friend);
    }
    assert_eq!(shards.len(), 12);
    for shards in shards.values() {
        assert_eq!(shards.len(), 2, "any two shards rebuild a pack");
    }
    let thin = shards
        .values()
        .filter(|shards| shards.values().collect::<BTreeSet<_>>().len() == 2);
    assert!(thin.count() >= 6, "few friends get both: {shards:?}");
    assert!(world.safe(devices[0]));
}

#[test]
fn metadata_then_the_newest_goes_first() {
    let (mut world, devices) = World::about_to_meet(2, 1, 0);
    let mut made = Vec::new();
    for (seed, kind) in [
        (1, PackKind::Large),
        (2, PackKind::Metadata),
        (3, PackKind::Small),
        (4, PackKind::Metadata),
        (5, PackKind::Large),
        (6, PackKind::Large),
    ] {
        world.host(devices[1]).up = false;
        made.push(ShardId(world.back_up(devices[0], seed, kind, 10_000).0));
        world.run(Span::secs(60));
    }
    world.host(devices[1]).up = true;
    world.run(Span::secs(30));
    let carried: Vec<ShardId> = world.carry_all().into_iter().map(|(_, it)| it).collect();
    let expected: Vec<ShardId> = [3, 1, 5, 4, 2, 0].map(|at: usize| made[at]).to_vec();
    assert_eq!(carried, expected);
}

#[test]
fn another_order_can_be_chosen() {
    for (order, sorted) in [(Order::OldestFirst, true), (Order::Random(7), false)] {
        let (mut world, devices) = World::about_to_meet(2, 1, 0);
        let owner = world.host(devices[0]);
        let node = Node::new(owner.node.identity().clone(), [0; 32], Timestamp(0));
        owner.node = core::mem::replace(&mut owner.node, node).with_order(order);
        let mut made = Vec::new();
        world.host(devices[1]).up = false;
        for seed in 0..12 {
            made.push(ShardId(
                world.back_up(devices[0], seed, PackKind::Large, 10_000).0,
            ));
            world.run(Span::secs(60));
        }
        world.host(devices[1]).up = true;
        world.run(Span::secs(30));
        let carried: Vec<ShardId> = world.carry_all().into_iter().map(|(_, it)| it).collect();
        assert_eq!(carried == made, sorted);
        assert_eq!(carried.len(), made.len());
    }
}

/// A pack that became less urgent goes back to its new place; one that became more urgent is queued
/// again, and may be queued twice.
#[test]
fn a_queue_looks_again_at_what_comes_to_the_front() {
    let (mut world, devices) = World::about_to_meet(4, 0, 3);
    let member = world.node(devices[1]).member();
    let node = &mut world.host(devices[0]).node;
    let mut inventory = node.inventory.clone();
    let front = |queue: &mut Queue, inventory: &Inventory| {
        queue
            .front(inventory, node.view(), member, u32::MAX)
            .map(|(pack, _)| pack)
    };
    let mut wants = Wants::default();
    let mut queue = Queue::new(
        &mut wants,
        &inventory,
        node.view(),
        member,
        Bulk::Everything,
    );
    let first = front(&mut queue, &inventory).unwrap();
    assert_eq!(front(&mut queue, &inventory), Some(first), "it stays there");
    inventory.note_pending(devices[2], ShardId(first.0));
    let second = front(&mut queue, &inventory).unwrap();
    inventory.note_receipt(devices[3], ShardId(second.0).stem(), true, 1);
    let third = front(&mut queue, &inventory).unwrap();
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);
    inventory.note_receipt(devices[3], ShardId(third.0).stem(), true, 1);
    inventory.note_receipt(devices[3], ShardId(first.0).stem(), true, 1);
    inventory.clear_pending(devices[2], ShardId(first.0));
    inventory.note_receipt(devices[3], ShardId(second.0).stem(), false, 1);
    let pack = inventory.pack(second).unwrap();
    let (urgency, _) = crate::plan::assess(pack, node.view(), member).unwrap();
    queue.push(urgency, second);
    assert_eq!(front(&mut queue, &inventory), Some(second));
    queue.give_up(second);
    for pack in [first, third] {
        inventory.note_receipt(devices[1], ShardId(pack.0).stem(), true, 1);
    }
    assert_eq!(front(&mut queue, &inventory), None);
}

#[test]
fn asking_again_who_wants_anything_gives_the_same_answer() {
    let (mut world, devices) = World::about_to_meet(4, 0, 6);
    let node = &mut world.host(devices[0]).node;
    let (mut inventory, mut wants) = (node.inventory.clone(), Wants::default());
    let packs: Vec<PackId> = inventory.packs().map(|pack| pack.record.id).collect();
    let mut step = 7_usize;
    for _ in 0..2000 {
        step = (step * 48_271) % 0x7fff_ffff;
        let (pack, holder) = (packs[step % 6], devices[1 + step / 8 % 3]);
        let held = step & 0xc0 != 0;
        inventory.note_receipt(holder, ShardId(pack.0).stem(), held, 1);
        if !held {
            wants.look_at(&inventory, pack);
        }
        for device in &devices[1..] {
            let member = node.circle.member_of(*device).unwrap();
            let plain = crate::plan::wants_anything(&inventory, node.view(), member);
            let found = wants.anything(&inventory, node.view(), member, Bulk::Everything);
            assert_eq!(found, plain);
        }
    }
}
