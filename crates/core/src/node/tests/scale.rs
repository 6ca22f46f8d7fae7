//! What a terabyte at twenty friends costs.

use std::time::Instant;

use super::*;
use crate::{
    entry::ReceiptList,
    plan::{Queue, Wants},
    policy::Bulk,
};

const PACKS: u32 = 65_000;

fn number(at: u32, salt: u8) -> [u8; 32] {
    *blake3::hash(&[&at.to_le_bytes()[..], &[salt]].concat()).as_bytes()
}

/// Makes the record of a pack that nobody has.
fn record(template: &PackRecord, at: u32) -> PackRecord {
    let mut record = template.clone();
    record.id = PackId(number(at, 0));
    for (index, shard) in (1..).zip(&mut record.shards) {
        *shard = ShardId(number(at, index));
    }
    record
}

/// A circle of one owner and twenty friends, who signed for so many packs of the owner. Each shard was
/// proved to be there at a time of its own in the two weeks before.
fn at_twenty_friends(packs: u32) -> (World, Vec<DeviceId>, PackRecord) {
    let (mut world, devices) = World::circle(21);
    let owner = devices[0];
    world.back_up(owner, 1, PackKind::Large, 5_000);
    world.run(Span::secs(60));
    world.silent = true;
    let (now, member) = (world.now, world.node(owner).member);
    let inventory = &mut world.host(owner).node.inventory;
    let template = inventory.packs().next().unwrap().record.clone();
    for at in 0..packs {
        inventory.add_pack(record(&template, at), true);
    }
    // Four shards are on their way to a friend at a time: they come in about this order.
    let order: Vec<u32> = (0..packs)
        .map(|at| at ^ 3)
        .filter(|at| *at < packs)
        .collect();
    for (index, holder) in (1..).zip(&devices[1..=usize::from(template.coding.k) * 2]) {
        let shard = |at: u32| ShardId(number(at, index));
        let known = world.hosts[holder].feeds[holder].len();
        for part in order.chunks(300) {
            let list = ReceiptList {
                held: part.iter().map(|at| shard(*at).stem()).collect(),
                dropped: Vec::new(),
            };
            world
                .host(*holder)
                .node
                .write_receipts(member, &list)
                .unwrap();
        }
        world.settle();
        let written = world.hosts[holder].feeds[holder][known..].to_vec();
        let node = &mut world.host(owner).node;
        for entry in &written {
            node.learn(entry).unwrap();
        }
        // Nobody looks at what it says and keeps.
        node.effects.clear();
        for at in 0..packs {
            let ago = limits::AUDIT_AGAIN.0 * u64::from(packs - at) / u64::from(packs);
            let asked = Timestamp(now.0 - ago);
            (node.inventory).note_audit(*holder, shard(at), asked, true);
        }
    }
    (world, devices, template)
}

/// One day later, `new` packs go to all, who take one shard in `pace` each, and the owner asks for what
/// it has to. Returns the bytes that this adds to all feeds together, and in how many entries.
fn a_day(world: &mut World, devices: &[DeviceId], new: u32, pace: Span) -> (usize, usize) {
    world.now = world.now + Span::days(1);
    let now = world.now;
    for host in world.hosts.values_mut() {
        host.node.now = now;
    }
    let owner = devices[0];
    let member = world.node(owner).member;
    let template = (world.node(owner).inventory.packs()).next().unwrap();
    let template = template.record.clone();
    let holders = &devices[1..=usize::from(template.coding.k) * 2];
    let fresh: Vec<PackRecord> = (0..new)
        .map(|at| record(&template, u32::MAX - at))
        .collect();
    for pack in &fresh {
        (world.host(owner).node.inventory).add_pack(pack.clone(), true);
    }
    let old: BTreeMap<DeviceId, usize> = (devices.iter())
        .map(|device| (*device, world.hosts[device].feeds[device].len()))
        .collect();
    for (index, holder) in holders.iter().enumerate() {
        let node = &mut world.host(*holder).node;
        for (at, pack) in (1..).zip(&fresh) {
            // As `sign_for` does while shards are under way.
            let shards = node.receipts.entry(member).or_default();
            shards.push(pack.shards[index]);
            let more = at < new;
            (node.receipts_due).add(node.now, limits::RECEIPT_WAIT, more);
            node.now = node.now + pace;
            node.flush_receipts_if_due();
        }
        node.now = node.now + limits::RECEIPT_WAIT;
        node.flush_receipts_if_due();
        world.settle();
        let told = world.hosts[holder].feeds[holder][old[holder]..].to_vec();
        let node = &mut world.host(owner).node;
        for entry in &told {
            node.learn(entry).unwrap();
        }
        let due: Vec<ShardId> = (node.inventory.turns(*holder))
            .take_while(|turn| {
                turn.asked
                    .is_none_or(|asked| node.now.since(asked) >= limits::AUDIT_AGAIN)
            })
            .map(|turn| turn.shard)
            .collect();
        for shard in due {
            node.judge_holder(LinkId(u64::MAX), *holder, shard, true);
            node.now = node.now + Span(2);
            node.flush_outcomes_if_due();
        }
        node.now = node.now + limits::OUTCOME_WAIT;
        node.flush_outcomes_if_due();
        let next = node.inventory.turns(*holder).next();
        assert!(
            next.is_some_and(|turn| turn.asked.is_some()),
            "all is proved"
        );
        world.settle();
    }
    let new = devices.iter().flat_map(|device| {
        let feed = &world.hosts[device].feeds[device];
        feed[old[device]..]
            .iter()
            .map(|entry| crate::codec::encode(entry).len())
    });
    let sizes: Vec<usize> = new.collect();
    (sizes.iter().sum(), sizes.len())
}

/// Audits of a terabyte named each shard by its id: 2.8 MB a day, in a feed that everybody keeps.
#[test]
fn a_day_of_many_packs_adds_little_to_the_feeds() {
    // A tenth of a terabyte: how much is asked for matters little.
    let (mut world, devices, _) = at_twenty_friends(6_500);
    let (bytes, entries) = a_day(&mut world, &devices, 200, Span::millis(300));
    assert!(bytes <= 200 << 10, "{bytes} bytes in {entries} entries");
    let safety = world.node(devices[0]).safety(world.now);
    assert_eq!(safety.packs_below_target, 0);
}

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1024
}

/// How long this thread had a processor: on a machine where others run, that says more than the clock.
fn processor_time() -> Span {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = spent.split(' ').next();
    let nanos = first.and_then(|it| it.parse::<u64>().ok());
    Span(nanos.unwrap_or(0) / 1_000_000)
}

/// `cargo test --release --workspace -- --ignored --nocapture a_terabyte_at_twenty_friends`
#[test]
#[ignore = "a measurement"]
fn a_terabyte_at_twenty_friends() {
    measure(PACKS);
}

/// The same, ten times as much.
#[test]
#[ignore = "a measurement"]
fn ten_terabytes_at_twenty_friends() {
    measure(10 * PACKS);
}

fn measure(packs: u32) {
    let (before, began) = (memory_mib(), Instant::now());
    let (mut world, devices, template) = at_twenty_friends(packs);
    let (owner, now) = (devices[0], world.now);
    let node = &mut world.host(owner).node;
    let member = node.circle.member_of(devices[20]).unwrap();
    println!(
        "{packs} packs of {} shards at {} devices",
        template.coding.n,
        2 * template.coding.k
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
    for at in packs..packs + 200 {
        let record = record(&template, at);
        let id = record.id;
        node.inventory.add_pack(record, true);
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
    drop(wants);
    open(&mut world, &devices);
    for pace in [Span::millis(16), Span::millis(300)] {
        let (mut world, devices, _) = at_twenty_friends(packs);
        let (bytes, entries) = a_day(&mut world, &devices, 200, pace);
        println!(
            "feeds after a day, 200 new packs, a shard in {} ms at each friend: {} KiB in {entries} entries",
            pace.0,
            bytes / 1024
        );
    }
}

/// Opens the owner's home anew, as after a start: first the packs, then all feeds, in which every shard
/// was proved once more.
fn open(world: &mut World, devices: &[DeviceId]) {
    let owner = devices[0];
    let node = &mut world.host(owner).node;
    for holder in &devices[1..] {
        let shards = node.inventory.turns(*holder).map(|turn| turn.shard);
        let proved: Vec<ShardId> = shards.collect();
        for list in node.inventory.outcomes(*holder, node.now, &proved, &[]) {
            node.write_outcomes(&list);
        }
    }
    world.settle();
    let feeds: Vec<(DeviceId, Vec<SignedEntry>)> = (devices.iter())
        .map(|device| (*device, world.hosts[device].feeds[device].clone()))
        .collect();
    let entries = feeds.iter().flat_map(|(_, feed)| feed);
    let packs: Vec<PackRecord> = (world.node(owner).inventory.packs())
        .map(|pack| pack.record.clone())
        .collect();
    let bytes: usize = entries.clone().map(|entry| entry.bytes.len()).sum();
    println!(
        "all feeds: {} KiB in {} entries",
        bytes / 1024,
        entries.count()
    );
    let (before, began, spent) = (memory_mib(), Instant::now(), processor_time());
    let say = |what| {
        println!(
            "opened, {what}: {:?}, {} ms of a processor, {} MiB more",
            began.elapsed(),
            processor_time().0 - spent.0,
            memory_mib() - before
        );
    };
    let identity = world.node(owner).identity.clone();
    let mut node = Node::new(identity, [7; 32], world.now);
    for record in packs {
        node.learn_pack(record, true);
    }
    say("the packs");
    let mut refused = |_, seq, error| panic!("{seq}: {error}");
    let mut replay = node.replaying(&mut refused);
    for (device, feed) in &feeds {
        for entry in feed {
            replay.take(*device, entry.clone());
        }
    }
    replay.finish();
    say("the feeds");
    node.start(world.now);
    say("all");
}
