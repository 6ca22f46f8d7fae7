//! What goes over which link, and when.

use super::*;
use crate::policy::{BUSY_RATE, Hours, Machine, Policy};

const FAR: LinkFacts = LinkFacts {
    route: Route::Routed,
    rtt_us: Some(40_000),
    goodput: None,
    metered: false,
};
const METERED: LinkFacts = LinkFacts {
    metered: true,
    ..FAR
};

/// Midnight UTC, a few days after the worlds begin.
const MIDNIGHT: Timestamp = Timestamp(1_700_352_000_000);

#[test]
fn who_pays_by_the_byte_gets_feeds_and_heads_alone() {
    for payer in [0, 1] {
        let (mut world, devices) = World::circle(2);
        world.facts.insert(devices[payer], METERED);
        world.back_up(devices[0], 9, PackKind::Large, 100_000);
        world.back_up(devices[0], 8, PackKind::Metadata, 5_000);
        let head = vec![7; 300];
        world
            .command(devices[0], Command::Publish { head })
            .unwrap();
        let links = world.next_link;
        world.run(Span::hours(1));
        assert_eq!(world.shard_bytes, 0);
        let news = |at: usize| world.node(devices[at]).news();
        assert_eq!(news(0), news(1), "the head went all the same");
        assert!(
            world.next_link - links <= 8,
            "nobody calls in vain all the time"
        );
        assert!(world.links.is_empty());

        let mut policy = Policy::default();
        policy.metered.bulk = true;
        world
            .command(devices[payer], Command::Govern(policy))
            .unwrap();
        world.run(Span::secs(700));
        assert!(world.safe(devices[0]), "told otherwise by whoever pays");
    }
}

#[test]
fn far_links_have_hours_and_a_rate() {
    let (mut world, devices) = World::circle(2);
    let rate = |bytes| NonZeroU64::new(bytes);
    for (at, bytes) in [(0, 300_000), (1, 200_000)] {
        world.facts.insert(devices[at], FAR);
        let mut policy = Policy::default();
        policy.direct.rate = rate(bytes);
        policy.direct.hours = Hours::new(22, 7).unwrap();
        world.command(devices[at], Command::Govern(policy)).unwrap();
    }
    world.now = MIDNIGHT + Span::hours(12);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::hours(9));
    assert_eq!(world.shard_bytes, 0, "not during the day");
    let links = world.next_link;
    world.run(Span::secs(3660));
    assert!(world.safe(devices[0]), "but in the evening");
    let last = *world.rates.keys().map(|(_, link)| link).max().unwrap();
    assert!(last > LinkId(links));
    for device in &devices {
        let kept = world.rates[&(*device, last)];
        assert_eq!(kept, rate(200_000), "the stricter end's");
    }
}

#[test]
fn what_is_under_way_when_the_hours_end_is_broken_off() {
    let (mut world, devices) = World::circle(2);
    for device in &devices {
        world.facts.insert(*device, FAR);
        let mut policy = Policy::default();
        policy.direct.hours = Hours::new(22, 7).unwrap();
        world.command(*device, Command::Govern(policy)).unwrap();
    }
    world.now = MIDNIGHT + Span::hours(6);
    world.cut_off_bulk = true;
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    assert!(!world.links.is_empty(), "a shard is under way");
    world.run(Span::hours(1));
    assert!(world.links.is_empty());
    world.cut_off_bulk = false;
    world.run(Span::hours(15));
    assert!(world.safe(devices[0]), "the next night brings the rest");
}

#[test]
fn what_the_owner_wants_back_comes_at_any_hour() {
    let (mut world, devices) = World::circle(2);
    let pack = world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    assert!(world.safe(devices[0]));
    let record = world.hosts[&devices[0]].packs[&pack].0.clone();
    let fetch = |world: &mut World| {
        let packs = vec![record.clone()];
        world.command(devices[0], Command::Fetch { packs }).unwrap();
        world.run(Span::secs(60));
        world.host(devices[0]).restored.remove(&pack).is_some()
    };
    let mut policy = Policy::default();
    policy.direct.hours = Hours::new(22, 7).unwrap();
    world.command(devices[0], Command::Govern(policy)).unwrap();
    world.now = MIDNIGHT + Span::hours(12);
    world.facts.insert(devices[0], FAR);
    assert!(fetch(&mut world), "although bulk waits for the night");
    let until = Some(world.now + Span::hours(2));
    world.command(devices[0], Command::Pause { until }).unwrap();
    assert!(fetch(&mut world), "although the node pauses");
    world.facts.insert(devices[0], METERED);
    assert!(!fetch(&mut world), "but not for money");
    let safe = world.node(devices[0]).pack_health(pack, world.now);
    assert_eq!(safe, Some(1), "and nobody is blamed for it");
}

#[test]
fn a_low_battery_sends_only_what_can_not_wait() {
    let (mut world, devices) = World::circle(3);
    let kept = |world: &World, at: usize| {
        let owner = world.node(devices[0]).member();
        world.hosts[&devices[at]].kept_bytes(owner)
    };
    let battery = |world: &mut World, battery| {
        let machine = Machine {
            battery,
            others_cpu: 0,
        };
        world.tell(devices[0], Event::Machine(machine));
        world.settle();
    };
    battery(&mut world, Some(9));
    assert_eq!(world.node(devices[0]).beacon_flags().0, 16);
    world.switch_off(devices[2]);
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    assert_eq!(kept(&world, 1), 100_000, "it was only here");
    world.host(devices[2]).up = true;
    world.back_up(devices[0], 8, PackKind::Metadata, 5_000);
    let links = world.next_link;
    world.run(Span::hours(1));
    assert_eq!(kept(&world, 2), 5_000, "only what can't wait");
    assert!(
        world.next_link - links < 30,
        "nobody calls in vain all the time"
    );
    battery(&mut world, Some(80));
    world.run(Span::secs(60));
    assert_eq!(kept(&world, 2), 105_000);
}

#[test]
fn a_busy_machine_sends_slowly() {
    let (mut world, devices) = World::circle(2);
    world.cut_off_bulk = true;
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    let link = *world.links.keys().next().unwrap();
    let machine = |others_cpu| {
        Event::Machine(Machine {
            battery: None,
            others_cpu,
        })
    };
    world.tell(devices[1], machine(97));
    world.settle();
    for device in &devices {
        assert_eq!(world.rates[&(*device, link)], Some(BUSY_RATE));
    }
    world.tell(devices[1], machine(3));
    world.settle();
    assert_eq!(world.rates[&(devices[0], link)], None);
}

#[test]
fn a_pause_is_quiet_and_ends_by_itself() {
    for pausing in [0, 1] {
        let (mut world, devices) = World::circle(2);
        world.cut_off_bulk = true;
        world.back_up(devices[0], 9, PackKind::Large, 100_000);
        assert!(!world.links.is_empty(), "a shard is under way");
        let until = world.now + Span::hours(2);
        let pause = Command::Pause { until: Some(until) };
        world.command(devices[pausing], pause).unwrap();
        world.cut_off_bulk = false;
        let links = world.next_link;
        let head = vec![7; 300];
        world
            .command(devices[0], Command::Publish { head })
            .unwrap();
        world.run(Span::hours(1));
        assert_eq!(world.shard_bytes, 0, "what was under way is broken off");
        assert!(
            world.next_link - links <= 8,
            "nobody calls in vain all the time"
        );
        let news = |at: usize| world.node(devices[at]).news();
        assert_eq!(news(0), news(1), "who is called answers");
        assert_eq!(world.node(devices[pausing]).paused_until(), Some(until));
        world.run(Span::secs(4300));
        assert_eq!(world.node(devices[pausing]).paused_until(), None);
        assert!(world.safe(devices[0]));
    }
}

#[test]
fn a_pause_can_be_ended() {
    let (mut world, devices) = World::circle(2);
    let until = Some(world.now + Span::hours(2));
    world.command(devices[0], Command::Pause { until }).unwrap();
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    world.run(Span::secs(60));
    assert_eq!(world.shard_bytes, 0);
    world
        .command(devices[0], Command::Pause { until: None })
        .unwrap();
    world.run(Span::secs(60));
    assert!(world.safe(devices[0]));
}
