//! What a terabyte at twenty friends costs.

use std::time::Instant;

use super::*;
use crate::{
    inventory::Inventory,
    plan::{Queue, Wants},
    policy::Bulk,
};

const PACKS: u32 = 65_000;

fn number(at: u32, salt: u8) -> [u8; 32] {
    *blake3::hash(&[&at.to_le_bytes()[..], &[salt]].concat()).as_bytes()
}

/// Adds a pack that lies with some of the devices, proved to be there.
fn add(inventory: &mut Inventory, template: &PackRecord, at: u32, holders: &[DeviceId]) -> PackId {
    let mut record = template.clone();
    record.id = PackId(number(at, 0));
    for (index, shard) in (1..).zip(&mut record.shards) {
        *shard = ShardId(number(at, index));
    }
    for (holder, shard) in holders.iter().zip(&record.shards) {
        inventory.note_receipt(*holder, *shard, true, 1);
        inventory.note_audit(
            *holder,
            *shard,
            Timestamp(1_700_000_000_000 + u64::from(at)),
            true,
        );
    }
    let id = record.id;
    inventory.add_pack(record, true);
    id
}

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1024
}

/// `cargo test --release --workspace -- --ignored --nocapture a_terabyte_at_twenty_friends`
#[test]
#[ignore = "a measurement"]
fn a_terabyte_at_twenty_friends() {
    let (mut world, devices) = World::circle(21);
    let owner = devices[0];
    world.back_up(owner, 1, PackKind::Large, 5_000);
    world.run(Span::secs(60));
    let now = world.now;
    let node = &mut world.host(owner).node;
    let template = node.inventory.packs().next().unwrap().record.clone();
    let member = node.circle.member_of(devices[20]).unwrap();
    let before = memory_mib();
    let began = Instant::now();
    let holders = &devices[1..=usize::from(template.coding.k) * 2];
    for at in 0..PACKS {
        add(&mut node.inventory, &template, at, holders);
    }
    println!(
        "{PACKS} packs of {} shards at {} devices",
        template.coding.n,
        holders.len()
    );
    println!(
        "taken in: {:?}, {} MiB",
        began.elapsed(),
        memory_mib() - before
    );
    let began = Instant::now();
    node.replan_all();
    assert!(!node.wants_anything(member, Bulk::Everything));
    println!(
        "looked at for a member, once after a start: {:?}",
        began.elapsed()
    );
    for at in PACKS..PACKS + 200 {
        let id = add(&mut node.inventory, &template, at, &[]);
        node.replan(id);
    }
    let began = Instant::now();
    assert!(node.wants_anything(member, Bulk::Everything));
    println!("a reason to dial: {:?}", began.elapsed());
    let began = Instant::now();
    let (circle, me) = (&node.circle, node.member);
    let view = crate::plan::Viewpoint::new(circle, me, &node.stance);
    let mut queue = Queue::new(
        &mut node.wants,
        &node.inventory,
        view,
        member,
        Bulk::Everything,
    );
    for _ in 0..200 {
        let front = queue.front(&node.inventory, view, member, u32::MAX);
        let (pack, index) = front.unwrap();
        let shard = node.inventory.pack(pack).unwrap().record.shards[usize::from(index)];
        node.inventory.note_pending(devices[20], shard);
    }
    println!(
        "plan of an encounter, one day's 200 packs: {:?}",
        began.elapsed()
    );
    let began = Instant::now();
    let due = node.audit_due(devices[1]);
    let turns = node
        .inventory
        .turns(devices[1])
        .take(limits::PROBES_MAX)
        .count();
    println!(
        "proofs of an encounter: {:?} ({due}, {turns})",
        began.elapsed()
    );
    let began = Instant::now();
    let safety = node.safety(now);
    println!("status: {:?}, {} packs", began.elapsed(), safety.packs);
    let began = Instant::now();
    let mut wants = Wants::default();
    let queue = Queue::new(&mut wants, &node.inventory, view, member, Bulk::Everything);
    drop(queue);
    println!("a plan that looks at everything: {:?}", began.elapsed());
}
