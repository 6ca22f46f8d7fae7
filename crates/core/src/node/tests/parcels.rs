//! What friends carry for those who never meet.

use proptest::prelude::*;

use super::*;
use crate::id::Stem;

const BYTES: usize = 100_000;

impl World {
    /// Has only these devices together for a while, and everybody else asleep.
    fn together(&mut self, devices: &[DeviceId], span: Span) {
        let all: Vec<DeviceId> = self.hosts.keys().copied().collect();
        for device in all {
            match devices.contains(&device) {
                true => self.host(device).up = true,
                false => self.switch_off(device),
            }
        }
        // What was is written down first.
        self.run(Span::secs(1));
        self.everybody_near();
        self.run(span);
    }

    /// Ada, Ben and Cem: Ben meets both, who have never met; and two whom only Ada has met. Ada knows of
    /// all.
    fn chain() -> (Self, [DeviceId; 3]) {
        let (mut world, ada) = Self::new();
        for at in [4, 5] {
            let other = world.add(identity(at), Vec::new());
            world.join(ada, other, at, "other");
            world.switch_off(other);
        }
        let ben = world.add(identity(2), Vec::new());
        world.join(ada, ben, 2, "ben");
        world.switch_off(ada);
        let cem = world.add(identity(3), Vec::new());
        world.join(ben, cem, 3, "cem");
        world.together(&[ben, cem], Span::secs(60));
        world.now = world.now + Span::hours(5);
        world.together(&[ada, ben], Span::secs(60));
        assert_eq!(world.node(ada).friends(), 4);
        (world, [ada, ben, cem])
    }

    fn carried(&self, carrier: DeviceId) -> usize {
        self.hosts[&carrier].parcels.values().map(Vec::len).sum()
    }

    fn have_met(&self, one: DeviceId, other: DeviceId) -> bool {
        let met = |it: &Notice| matches!(it, Notice::Met { device, .. } if *device == other);
        self.hosts[&one].notices.iter().any(met)
    }

    fn shelved(&self, holder: DeviceId, owner: DeviceId) -> usize {
        let owner = self.node(owner).member();
        let shelf = self.hosts[&holder].shelf.keys();
        shelf.filter(|(whose, _)| *whose == owner).count()
    }

    fn held_at(&self, owner: DeviceId, holder: DeviceId) -> u64 {
        let holder = self.node(holder).member();
        let members = self.node(owner).members(self.now);
        let view = members.iter().find(|it| it.member == holder).unwrap();
        view.bytes_held_for_me
    }
}

#[test]
fn what_two_who_never_meet_have_for_each_other_goes_by_a_friend() {
    let (mut world, [ada, ben, cem]) = World::chain();
    for seed in [7, 8] {
        world.back_up(ada, seed, PackKind::Large, BYTES);
    }
    world.back_up(ada, 9, PackKind::Metadata, 1000);
    let head = vec![1; 300];
    world.command(ada, Command::Publish { head }).unwrap();
    world.together(&[ada, ben], Span::secs(60));
    // One shard of each of the two, and the third lies on his shelf already.
    assert_eq!(world.hosts[&ben].parcels.len(), 2);
    assert_eq!(world.shelved(ben, ada), 5);
    let to = world.node(cem).member();
    let entrusted = |it: &Notice| matches!(it, Notice::Entrusted { to: it, .. } if *it == to);
    assert!(world.hosts[&ada].notices.iter().any(entrusted));
    assert!(world.links.is_empty(), "and they part");
    assert!(world.safe(ada), "by Ben alone: a parcel counts for nothing");

    world.together(&[ben, cem], Span::secs(60));
    assert_eq!(world.shelved(cem, ada), 3);
    assert_eq!(world.carried(ben), 0, "the receipt is here");
    let tip = |at| world.node(at).circle().chain(ada).tip();
    assert_eq!(tip(cem), tip(ada));
    let heads = world.node(cem).circle().heads_of(world.node(ada).member());
    assert_eq!(heads.count(), 1);
    assert_eq!(world.held_at(ada, cem), 0);

    world.back_up(cem, 3, PackKind::Large, BYTES);
    world.together(&[ben, cem], Span::secs(60));
    let shelved = world.shelved(ben, cem);
    world.together(&[ada, ben], Span::secs(60));
    assert!(world.held_at(ada, cem) > BYTES as u64);
    assert!(shelved > 0);
    // The recalls went round, and nothing is offered again.
    let bills = world.node(ada).bills.all(world.now);
    assert_eq!(bills.filter(|(.., bill)| bill.author == ada).count(), 0);
    let moved = world.shard_bytes;
    world.together(&[ben, cem], Span::secs(60));
    world.together(&[ada, ben], Span::secs(60));
    assert_eq!(world.shard_bytes, moved, "each shard went once");
    assert!(!world.have_met(ada, cem) && !world.have_met(cem, ada));
}

#[test]
fn a_carrier_has_no_more_than_its_budget_and_takes_the_rest_later() {
    let (mut world, [ada, ben, cem]) = World::chain();
    let to = world.node(ada).member();
    let budget = BYTES + BYTES / 4;
    let bytes = budget as u64 * limits::CARRY_PART;
    world.command(ben, Command::Offer { to, bytes }).unwrap();
    world.together(&[ada, ben], Span::secs(20));
    for seed in 0..4 {
        world.back_up(ada, 10 + seed, PackKind::Large, BYTES);
    }
    world.together(&[ada, ben], Span::secs(60));
    assert_eq!(world.hosts[&ben].parcels.len(), 2);
    assert!(world.carried(ben) <= budget);
    world.together(&[ben, cem], Span::secs(60));
    assert_eq!((world.carried(ben), world.shelved(cem, ada)), (0, 2));
    world.together(&[ada, ben], Span::secs(60));
    assert_eq!(world.hosts[&ben].parcels.len(), 2);
    world.together(&[ben, cem], Span::secs(60));
    assert_eq!((world.carried(ben), world.shelved(cem, ada)), (0, 4));
}

#[test]
fn parcels_that_nobody_fetches_are_dropped() {
    let (mut world, [ada, ben, cem]) = World::chain();
    world.back_up(ada, 7, PackKind::Large, BYTES);
    world.together(&[ada, ben], Span::secs(60));
    let shelved = world.shelved(ben, ada);
    world.together(&[ben], Span::secs(5));
    assert_eq!(world.hosts[&ben].parcels.len(), 1);
    world.now = world.now + limits::PARCEL_VALID;
    world.together(&[ben], Span::secs(5));
    assert_eq!(world.carried(ben), 0);
    assert_eq!(
        world.shelved(ben, ada),
        shelved,
        "what is his to keep stays"
    );
    world.together(&[ben, cem], Span::secs(60));
    assert_eq!(world.shelved(cem, ada), 0);
}

#[test]
fn without_a_bill_a_parcel_goes_nowhere_and_leaves_after_a_day() {
    let (mut world, [ada, ben, cem]) = World::chain();
    world.back_up(ada, 7, PackKind::Large, BYTES);
    world.everybody_near();
    for _ in 0..10_000 {
        if world.carried(ben) > 0 {
            break;
        }
        world.run(Span::millis(5));
    }
    // The link breaks after the shard came, before its bill did.
    world.switch_off(ada);
    assert_eq!(world.hosts[&ben].parcels.len(), 1);
    world.together(&[ben, cem], Span::secs(60));
    assert_eq!(world.shelved(cem, ada), 0);
    assert_eq!(world.hosts[&ben].parcels.len(), 1);
    world.now = world.now + limits::UNBILLED_KEPT;
    world.together(&[ben], Span::secs(5));
    assert_eq!(world.carried(ben), 0);
}

#[test]
fn when_one_carrier_has_delivered_the_other_drops_its_own() {
    let (mut world, [ada, ben, cem]) = World::chain();
    world.together(&[ada, ben], Span::secs(20));
    world.host(ada).node.carriers = 2;
    let eve = world.add(identity(6), Vec::new());
    world.join(ben, eve, 6, "eve");
    world.together(&[eve, cem], Span::secs(60));
    world.now = world.now + Span::hours(5);
    world.together(&[ada, ben], Span::secs(60));
    world.back_up(ada, 7, PackKind::Large, BYTES);
    world.together(&[ada, ben], Span::secs(60));
    world.together(&[ada, eve], Span::secs(60));
    let of = |world: &World, at: DeviceId| -> Vec<ShardId> {
        world.hosts[&at].parcels.keys().map(|it| it.1).collect()
    };
    assert_eq!(of(&world, ben).len(), 1);
    assert_eq!(of(&world, eve), of(&world, ben), "two carry the same");

    world.together(&[ben, cem], Span::secs(60));
    world.together(&[ada, ben], Span::secs(60));
    assert_eq!(of(&world, eve).len(), 1, "she has not heard of it");
    world.together(&[ada, eve], Span::secs(60));
    assert_eq!(of(&world, eve).len(), 0);
    world.together(&[eve, cem], Span::secs(60));
    assert_eq!(world.shelved(cem, ada), 1);
}

#[test]
fn nobody_takes_for_others_what_they_did_not_send() {
    let (mut world, [ada, ben, cem]) = World::chain();
    world.together(&[ben, cem], Span::secs(5));
    world.back_up(ben, 1, PackKind::Large, BYTES);
    world.cut_off_bulk = true;
    world.run(Span::millis(10));
    let (link, _) = world.links.iter().next().map(|it| (*it.0, *it.1)).unwrap();
    let (owner, shard) = (world.node(ada).member(), ShardId([9; 32]));
    let (bytes, kind) = (500, PackKind::Large);
    let message = Message::Put {
        shard,
        bytes,
        owner,
        kind,
    };
    world.tell(cem, Event::Message { link, message });
    world.settle();
    assert_eq!(world.node(cem).ledger.promised_of(owner), 0);
    assert!(!world.node(cem).is_addressed(ben, owner, shard));
    let unaddressed = Stem([9; 12]);
    assert_eq!(world.node(cem).bills.of(unaddressed, world.now).count(), 0);
}

#[test]
fn removals_and_invites_go_by_a_friend_too() {
    let (mut world, [ada, ben, cem]) = World::chain();
    let other = identity(4).member();
    let subject = Subject::Member(other);
    let secret = InviteSecret([77; 16]);
    let id = secret.id();
    world.command(ada, Command::Remove { subject }).unwrap();
    let petname = String::from("dora");
    world.command(ada, Command::Invite { id, petname }).unwrap();
    world.together(&[ada, ben], Span::secs(30));
    assert!(world.node(cem).circle().is_member(other));
    world.together(&[ben, cem], Span::secs(30));
    assert!(!world.node(cem).circle().is_member(other));
    world.together(&[cem], Span::secs(1));
    let dora = world.add(identity(8), Vec::new());
    world.knock(cem, dora, secret, id);
    world.run(Span::secs(20));
    let member = world.node(dora).member();
    assert_eq!(world.node(dora).circle().members().count(), 5);
    assert_eq!(world.node(cem).petname(member), "dora");
    world.together(&[ben, cem], Span::secs(30));
    world.together(&[ada, ben], Span::secs(30));
    assert!(world.node(ada).circle().is_member(member));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_carry_budget_is_never_overrun(
        steps in prop::collection::vec((0_u8..4, 0_u8..12, 1_u32..400), 1..60),
        grant in 1_u64..6000,
    ) {
        let (mut world, devices) = World::circle(2);
        let (owner, carrier) = (devices[0], devices[1]);
        let to = world.node(owner).member();
        world.command(carrier, Command::Offer { to, bytes: grant }).unwrap();
        world.everybody_near();
        let link = *world.links.keys().next().unwrap();
        for (what, at, bytes) in steps {
            let (shard, kind) = (ShardId([at; 32]), PackKind::Large);
            let event = match what {
                0 => Event::Message { link, message: Message::Carry { shard, bytes } },
                1 => Event::Message { link, message: Message::Put { shard, bytes, owner: to, kind } },
                2 => Event::Received { link, shard, outcome: Ok(()) },
                _ => Event::Received { link, shard, outcome: Err(TransferError::WrongBytes) },
            };
            let comes = matches!(event, Event::Received { outcome: Ok(()), .. });
            let promised = world.node(carrier).carriage.ledger.reservation(link, shard);
            if comes && promised.is_some() {
                world.host(carrier).parcels.insert((to, shard), vec![0]);
            }
            world.tell(carrier, event);
            world.settle();
            let node = world.node(carrier);
            let carried = node.carriage.ledger.promised_of(to);
            prop_assert!(carried <= grant / limits::CARRY_PART);
            prop_assert!(carried + node.ledger.promised_of(to) <= grant);
        }
    }
}

#[test]
fn what_is_carried_gives_way_to_what_is_kept() {
    let (mut world, [ada, ben, _]) = World::chain();
    let to = world.node(ada).member();
    // Room for three packs and a half, of which a parcel takes what is left.
    let bytes = 7 * BYTES as u64 / 2 + 20_000;
    world.command(ben, Command::Offer { to, bytes }).unwrap();
    world.together(&[ada, ben], Span::secs(20));
    for seed in 0..3 {
        world.back_up(ada, 10 + seed, PackKind::Small, 3 * BYTES / 10);
        world.back_up(ada, 20 + seed, PackKind::Large, 6 * BYTES / 10);
    }
    world.together(&[ada, ben], Span::secs(60));
    let carried = world.carried(ben);
    assert!(carried > 0);
    let kept = world.hosts[&ben].kept_bytes(to);
    let left = bytes - kept as u64 - carried as u64;
    let more = usize::try_from(left).unwrap() + 1000;
    world.back_up(ada, 30, PackKind::Metadata, more);
    world.together(&[ada, ben], Span::secs(20));
    assert_eq!(world.carried(ben), 0);
    world.run(Span::secs(60));
    assert_eq!(world.hosts[&ben].kept_bytes(to), kept + more);
}
