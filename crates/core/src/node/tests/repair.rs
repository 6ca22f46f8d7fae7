//! What friends lose goes to others by itself.

use super::*;
use crate::entry::Subject;

impl World {
    fn placed(&self, owner: DeviceId, pack: PackId) -> BTreeSet<MemberId> {
        let node = self.node(owner);
        let pack = node.inventory.pack(pack).unwrap();
        let spread = pack.proved_spread(&node.circle, node.member, self.now);
        spread.into_keys().collect()
    }

    fn remove(&mut self, by: DeviceId, device: DeviceId) {
        let subject = Subject::Member(self.node(device).member());
        self.command(by, Command::Remove { subject }).unwrap();
    }

    /// Everybody who is up is near for a moment, once a day.
    fn days(&mut self, days: u64) {
        for _ in 0..days {
            self.now = self.now + Span::days(1);
            self.everybody_near();
            self.run(Span::secs(120));
        }
    }
}

/// The pack can't be made at its owner any more, as if the files had changed.
fn lose_sources(world: &mut World, owner: DeviceId, pack: PackId) {
    world.host(owner).packs.remove(&pack);
    world.tell(owner, Event::PackBroken { pack });
    world.settle();
}

#[test]
fn what_a_removed_member_held_goes_to_others() {
    for rebuildable in [true, false] {
        let (mut world, devices) = World::circle(6);
        let owner = devices[0];
        let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
        world.run(Span::secs(60));
        let before = world.placed(owner, pack);
        assert_eq!(before.len(), 4);
        if !rebuildable {
            lose_sources(&mut world, owner, pack);
        }
        let lost = devices[1..]
            .iter()
            .find(|it| before.contains(&world.node(**it).member()));
        let lost = *lost.unwrap();
        world.switch_off(lost);
        world.remove(owner, lost);
        world.run(Span::secs(60));
        let after = world.placed(owner, pack);
        assert_eq!(after.len(), 4, "{rebuildable}");
        assert!(!after.contains(&world.node(lost).member()));
        let notices = &world.hosts[&owner].notices;
        let repaired = notices
            .iter()
            .any(|it| matches!(it, Notice::Repairing { .. }));
        assert_eq!(
            repaired, !rebuildable,
            "from friends only if nothing is cheaper"
        );
        assert_eq!(world.hosts[&owner].unspooled.contains(&pack), !rebuildable);
        let wanted = world.node(owner).wanted_packs().count();
        assert_eq!(wanted, 0, "nobody asked for a restore");
    }
}

#[test]
fn not_met_for_three_weeks_is_not_gone_and_five_weeks_are() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    let before = world.placed(owner, pack);
    let away = devices[1..]
        .iter()
        .find(|it| before.contains(&world.node(**it).member()));
    let away = *away.unwrap();
    let member = world.node(away).member();
    world.switch_off(away);
    let shards = world.shard_bytes;
    world.days(21);
    assert_eq!(world.shard_bytes, shards, "nothing is moved");
    assert!(world.node(owner).stance.gone.is_empty());
    world.days(15);
    assert_eq!(world.node(owner).stance.gone, BTreeSet::from([away]));
    let after = world.placed(owner, pack);
    assert_eq!(after.len(), 4);
    assert!(!after.contains(&member));
    let views = world.node(owner).members(world.now);
    let view = views.iter().find(|it| it.member == member).unwrap();
    assert!(view.devices[0].gone);
    let shards = world.shard_bytes;
    world.host(away).up = true;
    world.everybody_near();
    world.run(Span::secs(60));
    assert!(world.node(owner).stance.gone.is_empty(), "it is back");
    // Another one has its part now, and is met more often.
    assert_eq!(world.placed(owner, pack), after);
    world.days(10);
    assert_eq!(world.placed(owner, pack), after);
    assert_eq!(world.shard_bytes, shards, "nothing is moved");
}

/// Who was away is not to take everybody else for gone.
#[test]
fn an_owner_who_was_away_waits_a_day_before_repairs() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    for device in &devices[1..] {
        world.switch_off(*device);
    }
    world.run(Span::days(60));
    assert!(
        world.node(owner).stance.gone.is_empty(),
        "there is nobody who could tell"
    );
    let shards = world.shard_bytes;
    world.host(devices[1]).up = true;
    world.everybody_near();
    world.run(Span::hours(20));
    assert!(
        world.node(owner).stance.gone.is_empty(),
        "the others may come tomorrow"
    );
    assert_eq!(world.shard_bytes, shards);
    world.days(3);
    assert_eq!(world.node(owner).stance.gone.len(), 4);
}

#[test]
fn a_repair_waits_for_a_pause_to_end_and_a_restore_goes_first() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let packs: Vec<PackId> = (1..9)
        .map(|seed| world.back_up(owner, seed, PackKind::Large, 60_000))
        .collect();
    world.run(Span::secs(60));
    let record = world.hosts[&owner].packs[&packs[0]].0.clone();
    for pack in &packs {
        lose_sources(&mut world, owner, *pack);
    }
    let until = Some(world.now + Span::hours(1));
    world.command(owner, Command::Pause { until }).unwrap();
    let holds = |world: &World, at: DeviceId| world.node(owner).inventory.turns(at).count();
    let lost = *devices[1..]
        .iter()
        .max_by_key(|it| holds(&world, **it))
        .unwrap();
    world.switch_off(lost);
    world.remove(owner, lost);
    world.run(Span::secs(60));
    let notices = |world: &World| {
        let notices = &world.hosts[&owner].notices;
        notices
            .iter()
            .filter(|it| matches!(it, Notice::Repairing { .. }))
            .count()
    };
    assert_eq!(notices(&world), 0);
    world
        .command(
            owner,
            Command::Fetch {
                packs: vec![record],
            },
        )
        .unwrap();
    world.run(Span::secs(30));
    assert!(
        world.hosts[&owner].restored.contains_key(&packs[0]),
        "also in a pause"
    );
    assert_eq!(notices(&world), 0);
    world.run(Span::hours(2));
    for pack in &packs {
        assert_eq!(world.placed(owner, *pack).len(), 4);
    }
    assert!(notices(&world) > 0);
}

impl World {
    /// How many bytes of shards were sent, how often holders let go of some, and what was repaired.
    fn moved(&self) -> (u64, usize, usize) {
        let count = |which: fn(&Notice) -> bool| {
            let notices = self.hosts.values().flat_map(|host| &host.notices);
            notices.filter(|it| which(it)).count()
        };
        (
            self.shard_bytes,
            count(|it| matches!(it, Notice::Discarded { .. })),
            count(|it| matches!(it, Notice::Repairing { .. })),
        )
    }

    fn shares(&self, owner: DeviceId, pack: PackId) -> Vec<u32> {
        let node = self.node(owner);
        let pack = node.inventory.pack(pack).unwrap();
        let spread = pack.proved_spread(&node.circle, node.member, self.now);
        spread.values().map(|indices| indices.len()).collect()
    }
}

#[test]
fn what_is_thinned_is_not_repaired_and_what_is_repaired_is_not_thinned() {
    let (mut world, devices) = World::circle(6);
    let (owner, first) = (devices[0], devices[1]);
    for device in &devices[2..] {
        world.switch_off(*device);
    }
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    assert_eq!(world.shares(owner, pack), [2], "the first has it all");
    lose_sources(&mut world, owner, pack);
    for device in &devices[2..] {
        world.host(*device).up = true;
    }
    world.days(2);
    assert_eq!(world.shares(owner, pack), [1; 4], "repaired, then thinned");
    let moved = world.moved();
    assert_eq!((moved.1, moved.2), (1, 1));
    world.days(10);
    assert_eq!(world.moved(), moved);
    world.switch_off(first);
    world.days(40);
    assert_eq!(world.node(owner).stance.gone, BTreeSet::from([first]));
    assert_eq!(world.shares(owner, pack), [1; 4]);
    assert_eq!(world.moved().2, 2);
    world.host(first).up = true;
    world.days(2);
    assert_eq!(
        world.shares(owner, pack),
        [1; 4],
        "who is back is spared what another one has now"
    );
    let moved = world.moved();
    world.days(10);
    assert_eq!(world.moved(), moved);
}

#[test]
fn whoever_comes_and_goes_all_is_calm_in_the_end() {
    for seed in 0..3_u64 {
        let (mut world, devices) = World::circle(6);
        let owner = devices[0];
        let mut state = seed;
        let mut chance = |of: u64| {
            state = (state.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(seed | 1);
            (state >> 33) % of == 0
        };
        let packs: Vec<PackId> = (1..4)
            .map(|at| world.back_up(owner, at, PackKind::Large, 20_000))
            .collect();
        for day in 0..100 {
            for device in &devices[1..] {
                match (chance(25), world.hosts[device].up) {
                    (true, true) => world.switch_off(*device),
                    (true, false) => world.host(*device).up = true,
                    (false, _) => {}
                }
            }
            if day == 10 {
                for pack in &packs {
                    lose_sources(&mut world, owner, *pack);
                }
            }
            world.days(1);
        }
        for device in &devices[1..] {
            world.host(*device).up = true;
        }
        world.days(3);
        let moved = world.moved();
        world.days(5);
        assert_eq!(world.moved(), moved, "{seed}");
        for pack in packs {
            let shares = world.shares(owner, pack);
            assert!(shares.len() >= 4, "{seed}: {shares:?}");
            assert!(shares.iter().all(|share| *share == 1), "{seed}: {shares:?}");
        }
    }
}

#[test]
fn a_pack_that_is_given_up_during_its_repair_leaves_the_spool() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    lose_sources(&mut world, owner, pack);
    let packs = vec![pack];
    world.command(owner, Command::Release { packs }).unwrap();
    world.host(owner).unspooled.clear();
    world.tell(owner, Event::Respooled { pack, good: true });
    world.settle();
    assert!(world.hosts[&owner].unspooled.contains(&pack));
    assert!(world.node(owner).inventory.pack(pack).is_none());
}

#[test]
fn the_end_of_a_repair_is_not_the_end_of_a_restore() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    let record = world.hosts[&owner].packs[&pack].0.clone();
    lose_sources(&mut world, owner, pack);
    world.waiting = Some(Vec::new());
    let packs = vec![record];
    world.command(owner, Command::Fetch { packs }).unwrap();
    world.tell(owner, Event::Respooled { pack, good: true });
    world.settle();
    assert_eq!(world.node(owner).wanted_packs().count(), 1);
}

#[test]
fn repairs_that_nobody_in_reach_can_do_keep_no_others_away() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let (away, here) = devices[1..].split_at(2);
    let everybody_off = |world: &mut World| {
        let devices = devices[1..].iter();
        devices.for_each(|device| world.switch_off(*device));
    };
    everybody_off(&mut world);
    for (seeds, with) in [(0..20, away), (20..40, here)] {
        for device in with {
            world.host(*device).up = true;
        }
        let packs = seeds.map(|seed| world.back_up(owner, seed, PackKind::Large, 9000));
        let packs: Vec<PackId> = packs.collect();
        world.run(Span::secs(60));
        everybody_off(&mut world);
        for pack in packs {
            lose_sources(&mut world, owner, pack);
        }
    }
    for device in here {
        world.host(*device).up = true;
    }
    for _ in 0..8 {
        world.now = world.now + Span::hours(1);
        world.run(Span::secs(30));
    }
    assert_eq!(world.moved().2, 20);
}

#[test]
fn a_small_pack_that_settled_comes_back_from_friends_when_one_loses_it() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Small, 60_000);
    world.run(Span::secs(60));
    let before = world.placed(owner, pack);
    assert_eq!(before.len(), 4);
    assert!(world.host(owner).unspooled.remove(&pack));
    world.host(owner).packs.remove(&pack);
    let holds = |device: &&DeviceId| before.contains(&world.node(**device).member());
    let lost = *devices[1..].iter().find(holds).unwrap();
    world.switch_off(lost);
    world.remove(owner, lost);
    world.run(Span::secs(60));
    let after = world.placed(owner, pack);
    assert_eq!(after.len(), 4);
    assert!(!after.contains(&world.node(lost).member()));
    assert!(
        world.hosts[&owner].unspooled.contains(&pack),
        "and leaves the spool again"
    );
    let notices = &world.hosts[&owner].notices;
    let changed = |it: &Notice| matches!(it, Notice::SourceChanged { .. });
    assert!(!notices.iter().any(changed), "no file has changed");
}

#[test]
fn who_is_away_for_long_is_no_loss() {
    let (mut world, devices) = World::circle(2);
    let (owner, friend) = (devices[0], devices[1]);
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    lose_sources(&mut world, owner, pack);
    world.switch_off(friend);
    world.run(Span::days(40));
    let safety = world.node(owner).safety(world.now);
    assert_eq!(
        (safety.bytes_safe, safety.packs_lost),
        (0, 0),
        "nobody knows"
    );
    world.remove(owner, friend);
    assert_eq!(world.node(owner).safety(world.now).packs_lost, 1);
}

/// Whoever was met twice, and then no more, seemed to be met more seldom each week, and was waited for
/// three times as long as it had been away.
#[test]
fn absence_makes_nobody_one_who_is_met_seldom() {
    let (mut world, devices) = World::circle(6);
    let (owner, away) = (devices[0], devices[1]);
    let member = world.node(away).member();
    for hours in [0, 3] {
        let start = world.now + Span::hours(hours);
        let node = &mut world.host(owner).node;
        node.learn_meeting(Meeting {
            device: away,
            member,
            class: LinkClass::Lan,
            network: Network::UNKNOWN,
            start,
            offset_minutes: 0,
            length: Span::hours(1),
            linked: Span::secs(10),
            sent: 1000,
            received: 0,
        });
    }
    world.switch_off(away);
    world.days(30);
    assert!(world.node(owner).stance.gone.is_empty());
    world.days(4);
    assert_eq!(world.node(owner).stance.gone, BTreeSet::from([away]));
}

/// Packs that were brought back for it filled the spool's share of repairs for good, since those who
/// are gone for good never got theirs.
#[test]
fn a_repair_ends_when_all_who_are_left_have_their_part() {
    let (mut world, devices) = World::circle(6);
    let owner = devices[0];
    let pack = world.back_up(owner, 1, PackKind::Large, 60_000);
    world.run(Span::secs(60));
    let before = world.placed(owner, pack);
    lose_sources(&mut world, owner, pack);
    let holds = |device: &&DeviceId| before.contains(&world.node(**device).member());
    let lost: Vec<DeviceId> = devices[1..].iter().filter(holds).take(2).copied().collect();
    for device in &lost {
        world.switch_off(*device);
    }
    world.days(36);
    assert_eq!(world.node(owner).stance.gone.len(), 2);
    assert_eq!(world.placed(owner, pack).len(), 3);
    assert!(world.hosts[&owner].unspooled.contains(&pack));
    assert!(!world.node(owner).is_respooled(pack));
}
