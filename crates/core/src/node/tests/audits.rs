//! Who has what it signed for, and who only says so.

use super::*;
use crate::track::{self, Tally};

impl World {
    /// Two members, the second of whom holds so many shards of the first, all proved.
    fn one_holder(shards: u8) -> (Self, DeviceId, DeviceId) {
        let (mut world, devices) = Self::circle(2);
        for seed in 0..shards {
            world.back_up(devices[0], seed, PackKind::Large, 3_000);
        }
        world.run(Span::secs(60));
        assert!(world.safe(devices[0]));
        (world, devices[0], devices[1])
    }

    /// The two meet, and part again.
    fn meet(&mut self, holder: DeviceId) {
        self.host(holder).up = true;
        self.everybody_near();
        self.run(Span::secs(200));
        self.switch_off(holder);
    }

    /// Takes every `nth` shard off a shelf, of which nobody hears.
    fn drop_quietly(&mut self, holder: DeviceId, nth: usize) -> usize {
        let mut at = 0;
        let shelf = &mut self.host(holder).shelf;
        let before = shelf.len();
        shelf.retain(|_, _| {
            at += 1;
            at % nth != 0
        });
        before - self.host(holder).shelf.len()
    }

    fn shown(&self, owner: DeviceId, holder: DeviceId) -> Tally {
        let track = self.node(owner).inventory.track(holder);
        track.map_or_else(Tally::default, |track| track.over(track::SHOWN, self.now))
    }

    fn refuted(&self, owner: DeviceId, holder: DeviceId) -> usize {
        let inventory = &self.node(owner).inventory;
        let turns = inventory.turns(holder);
        turns
            .filter(|turn| inventory.holding(holder, turn.shard).is_refuted())
            .count()
    }
}

#[test]
fn every_meeting_asks_for_sixty_and_each_shard_comes_round() {
    let (mut world, owner, holder) = World::one_holder(200);
    world.switch_off(holder);
    let asked = |world: &World| -> BTreeSet<ShardId> {
        let turns = world.node(owner).inventory.turns(holder);
        let recent =
            turns.filter(|turn| turn.asked.is_some_and(|at| at + Span::hours(1) > world.now));
        recent.map(|turn| turn.shard).collect()
    };
    let mut all = BTreeSet::new();
    for day in 1..=4 {
        world.run(Span::days(1));
        let before = world.proofs;
        world.meet(holder);
        assert_eq!(world.proofs - before, limits::PROBES_MAX, "day {day}");
        all.extend(asked(&world));
    }
    assert_eq!(all.len(), 200, "what was not asked for longest comes first");
    let before = world.proofs;
    world.run(Span::secs(400));
    world.meet(holder);
    assert_eq!(world.proofs, before, "that is the same meeting");
    world.run(Span::days(16));
    world.meet(holder);
    assert!(
        world.proofs - before >= 200,
        "nothing waits for more than a fortnight"
    );
    assert!(world.safe(owner));
}

/// The promise: of whoever drops a twentieth, two meetings tell in 99 of 100 cases.
#[test]
fn who_drops_a_twentieth_is_named_within_two_meetings() {
    let mut named = 0;
    for first in 2..22 {
        let (mut world, owner, holder) = World::one_holder(200);
        // Others of the twenty each time.
        world.host(owner).node.rng = ChaCha20Rng::from_seed([first; 32]);
        world.switch_off(holder);
        let shelf = &mut world.host(holder).shelf;
        let mut at = usize::from(first);
        shelf.retain(|_, _| {
            at += 1;
            at % 20 != 0
        });
        for _ in 0..2 {
            world.run(Span::days(1));
            world.meet(holder);
        }
        named += usize::from(world.shown(owner, holder).failed > 0);
    }
    assert_eq!(named, 20);
}

#[test]
fn after_one_failure_the_rest_is_asked_for() {
    let (mut world, owner, holder) = World::one_holder(200);
    let gone = world.drop_quietly(holder, 10);
    world.switch_off(holder);
    world.run(Span::days(1));
    world.meet(holder);
    assert_eq!(world.refuted(owner, holder), gone, "all of them are found");
    let shown = world.shown(owner, holder);
    assert_eq!(shown.failed as usize, gone);
    assert!(!world.safe(owner), "and count no more");
    let view = &world.node(owner).members(world.now)[0];
    assert_eq!(view.devices[0].shown, shown);
    let others = world.node(owner).members(world.now + Span::days(31));
    assert_eq!(
        others[0].devices[0].shown.failed, 0,
        "a month later it is past"
    );
}

#[test]
fn one_dropped_shard_is_found_within_a_month() {
    let (mut world, owner, holder) = World::one_holder(250);
    let gone = world.drop_quietly(holder, 250);
    assert_eq!(gone, 1);
    let began = world.now;
    while world.refuted(owner, holder) == 0 {
        world.switch_off(holder);
        world.run(Span::days(7));
        world.meet(holder);
        assert!(world.now.since(began) < Span::days(31));
    }
}

/// Found in the lab, where fifty nodes share two processors: honest holders were named for answers that
/// were right. What takes too long proves nothing, and is no failure.
#[test]
fn what_comes_too_late_is_neither_proved_nor_failed() {
    for (tardy, in_time) in [(150, false), (90, true)] {
        let (mut world, devices) = World::circle(2);
        let (owner, holder) = (devices[0], devices[1]);
        world.host(holder).tardy = Span::millis(tardy);
        for seed in 0..3 {
            world.back_up(owner, seed, PackKind::Large, 3_000);
        }
        world.run(Span::secs(60));
        assert_eq!(world.shown(owner, holder).failed, 0, "{tardy} ms");
        assert_eq!(world.safe(owner), in_time, "a slow disk has 100 ms");
        assert!(world.links.is_empty(), "it is asked another time");
    }
}

#[test]
fn a_holder_that_was_late_is_asked_again_later_and_ever_less_often() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    world.host(holder).tardy = Span::millis(150);
    world.back_up(owner, 1, PackKind::Large, 3_000);
    world.run(Span::secs(60));
    let mut encounters = Vec::new();
    for _ in 0..2 {
        let before = world.next_link;
        world.run(Span::hours(6));
        encounters.push(world.next_link - before);
    }
    assert!((3..=8).contains(&encounters[0]), "{encounters:?}");
    assert!(encounters[1] <= 1, "{encounters:?}");
    // No longer busy.
    world.host(holder).tardy = Span::default();
    world.run(Span::hours(20));
    assert!(world.safe(owner));
    assert_eq!(world.shown(owner, holder).failed, 0);
}

/// Found in the lab: for each proof that had come too late and was made up for, fifty devices gossiped.
#[test]
fn what_is_proved_is_told_to_own_devices_and_nobody_else_is_met_for_it() {
    let (mut world, devices) = World::circle(4);
    let owner = devices[0];
    let member = world.node(owner).member();
    let sibling = super::words::recovered(&world, 50, 1);
    let sibling = world.add(sibling, Vec::new());
    super::words::knock_by_words(&mut world, sibling, devices[1], member);
    world.back_up(owner, 1, PackKind::Large, 3_000);
    world.run(Span::secs(600));
    assert!(world.safe(owner) && world.links.is_empty());
    let holders = (devices[1..].iter()).filter(|at| world.hosts[at].kept_bytes(member) > 0);
    let holders = holders.count() as u64;
    let entries = |world: &World, at| world.node(at).circle().chain(owner).tip().len;
    let (before, written) = (world.next_link, entries(&world, owner));

    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(600));
    assert!(entries(&world, owner) > written, "outcomes were written");
    assert_eq!(entries(&world, sibling), entries(&world, owner));
    // Each holder for a proof, the other device of ours for the outcomes.
    let encounters = world.next_link - before;
    let told = entries(&world, owner) - written;
    assert!(
        encounters <= holders + told,
        "{encounters} for {holders} holders"
    );
    let news = world.node(owner).news();
    assert!(devices.iter().all(|at| world.node(*at).news() == news));
}

#[test]
fn far_away_no_answer_is_too_late() {
    let (mut world, owner, holder) = World::one_holder(3);
    world.switch_off(holder);
    world.host(holder).tardy = Span::secs(2);
    let far = LinkFacts {
        rtt_us: Some(80_000),
        route: Route::Routed,
        ..LinkFacts::near()
    };
    world.facts.insert(owner, far);
    world.run(Span::days(1));
    world.meet(holder);
    assert_eq!(world.shown(owner, holder).failed, 0);
    assert!(world.safe(owner));
}

/// Found by a test: a shard that was shown in the very moment in which it had not been was asked for
/// again and again, without an end while the clock stood still.
#[test]
fn what_fails_and_is_shown_in_the_same_moment_is_shown() {
    let (mut world, owner, holder) = World::one_holder(1);
    let member = world.node(owner).member();
    let (key, bytes) = world.host(holder).shelf.pop_first().unwrap();
    assert_eq!(key.0, member);
    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(5));
    assert_eq!(world.refuted(owner, holder), 1);
    world.host(holder).shelf.insert(key, bytes);
    let node = &mut world.host(owner).node;
    let failed = node.inventory.holding(holder, key.1).failed.unwrap();
    node.now = failed;
    node.inventory
        .note_receipt(holder, key.1.stem(), false, 1 << 40);
    node.inventory
        .note_receipt(holder, key.1.stem(), true, (1 << 40) + 1);
    let link = LinkId(u64::MAX);
    node.judge_holder(link, holder, key.1, true);
    assert!(!node.inventory.holding(holder, key.1).is_refuted());
    let turn = node.inventory.turns(holder).next().unwrap();
    assert!(turn.asked.is_some(), "it need not be asked for again");
}

#[test]
fn silence_to_challenges_counts_when_the_holder_talks_about_other_things() {
    let (mut world, owner, holder) = World::one_holder(5);
    world.switch_off(holder);
    world.host(holder).mute = true;
    world.run(Span::days(1));
    world.host(holder).up = true;
    world.everybody_near();
    world.run(Span::secs(29));
    assert_eq!(world.shown(owner, holder).failed, 0, "not yet");
    assert!(world.safe(owner), "a lid may have been closed");
    world.run(Span::secs(120));
    assert_eq!(world.shown(owner, holder).failed, 5);
    assert!(!world.safe(owner));
    world.run(Span::secs(300));
    assert_eq!(world.shown(owner, holder).failed, 5, "it may insist, once");
    assert!(world.links.is_empty(), "and the encounter ends");
}

#[test]
fn a_link_that_breaks_before_the_answer_is_no_failure() {
    let (mut world, owner, holder) = World::one_holder(5);
    world.switch_off(holder);
    world.host(holder).mute = true;
    world.run(Span::days(1));
    for _ in 0..5 {
        world.host(holder).up = true;
        world.everybody_near();
        world.run(Span::secs(5));
        world.switch_off(holder);
        world.run(Span::hours(2));
    }
    assert_eq!(world.shown(owner, holder).failed, 0);
    assert!(world.safe(owner));
}

#[test]
fn who_fails_often_gets_what_nobody_else_can_take() {
    let (mut world, devices) = World::circle(4);
    let owner = devices[0];
    for seed in 0..20 {
        world.back_up(owner, seed, PackKind::Large, 3_000);
    }
    world.run(Span::secs(60));
    let holds = |world: &World, at: usize| world.node(owner).inventory.turns(devices[at]).count();
    let liar = (1..4).max_by_key(|at| holds(&world, *at)).unwrap();
    world.host(devices[liar]).liar = true;
    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(60));
    assert!(world.shown(owner, devices[liar]).is_doubtful());
    assert!(world.safe(owner), "others have it all by now");
    let before = holds(&world, liar);
    for seed in 20..30 {
        world.back_up(owner, seed, PackKind::Large, 3_000);
    }
    world.run(Span::secs(60));
    assert_eq!(holds(&world, liar), before, "two others suffice");
    let safety = world.node(owner).safety(world.now);
    assert_eq!(safety.packs_below_target, 0);

    let (mut world, owner, holder) = World::one_holder(20);
    world.host(holder).liar = true;
    world.command(owner, Command::Audit).unwrap();
    world.run(Span::secs(60));
    world.back_up(owner, 99, PackKind::Large, 3_000);
    world.run(Span::secs(60));
    let view = world.node(owner).inventory.turns(holder).count();
    assert_eq!(view, 21, "there is nobody else");
}

/// Each entry takes 300 bytes in everybody's feeds: on a slow link, each shard made two of its own.
#[test]
fn what_comes_slowly_shares_entries() {
    let (mut world, devices) = World::circle(2);
    let (owner, holder) = (devices[0], devices[1]);
    let count = |world: &World| {
        let own = [owner, holder].map(|device| world.hosts[&device].feeds[&device].len());
        own.iter().sum::<usize>()
    };
    let before = count(&world);
    world.waiting = Some(Vec::new());
    for seed in 0..40 {
        world.back_up(owner, seed, PackKind::Large, 3_000);
    }
    for _ in 0..60 {
        world.run(Span::millis(500));
        let waiting = world.waiting.as_mut().unwrap();
        if !waiting.is_empty() {
            let (from, link, shard, source) = waiting.remove(0);
            world.stream(from, link, shard, source);
        }
    }
    world.run(Span::secs(30));
    assert!(world.safe(owner), "all came, and all is proved");
    let entries = count(&world) - before;
    assert!(entries <= 20, "{entries} entries for 40 shards and proofs");
}
