//! What travels on a disk between members who never meet.

use super::*;
use crate::courier::{Ask, Basis, Parcel, Shown, SignedReceipt, group_to_show};

const VISIT: LinkId = LinkId(u64::MAX);
const MUCH: u64 = 1 << 40;

impl World {
    /// Nobody is near anybody from now on.
    fn part(&mut self) {
        let devices: Vec<DeviceId> = self.hosts.keys().copied().collect();
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.cut(link));
        self.settle();
        for device in devices {
            self.host(device).up = false;
        }
    }

    fn alone(&mut self, device: DeviceId) {
        self.host(device).up = true;
    }

    /// Carries all that one device knows to another.
    fn carry_feeds(&mut self, from: DeviceId, to: DeviceId) {
        self.alone(to);
        for entries in self.hosts[&from].feeds.clone().into_values() {
            self.tell(to, Event::Carried { entries });
        }
        self.settle();
    }

    fn plan(&mut self, owner: DeviceId, listed: &[Parcel], room: u64) -> CourierPlan {
        let now = self.now;
        let node = &mut self.host(owner).node;
        node.plan_courier(now, listed, &[], &[], room)
    }

    /// Lets a device take all parcels that are addressed to it. Returns its receipts.
    fn take(
        &mut self,
        holder: DeviceId,
        owner: DeviceId,
        parcels: &[Parcel],
    ) -> Vec<SignedReceipt> {
        self.alone(holder);
        let (now, whose) = (self.now, self.node(owner).member());
        let me = self.node(holder).member();
        let mut here = Vec::new();
        for parcel in parcels.iter().filter(|it| it.to == me) {
            let node = &mut self.host(holder).node;
            match node.admit_parcel(now, VISIT, parcel, whose) {
                Ok(()) => {}
                Err(Refusal::Have) => {
                    here.push(parcel.shard);
                    continue;
                }
                Err(_) => continue,
            }
            let content = self.content(owner, parcel.shard);
            self.host(holder)
                .shelf
                .insert((whose, parcel.shard), content);
            let (visit, shard, outcome) = (VISIT, parcel.shard, Ok(()));
            self.tell(
                holder,
                Event::ParcelTaken {
                    visit,
                    shard,
                    outcome,
                },
            );
            here.push(parcel.shard);
        }
        self.settle();
        let signed = (self.host(holder).node).sign_parcels(now, whose, &here);
        self.settle();
        signed.unwrap()
    }

    fn content(&self, owner: DeviceId, shard: ShardId) -> Vec<u8> {
        let (pack, index) = self.node(owner).inventory.locate(shard).unwrap();
        let (record, sealed) = &self.hosts[&owner].packs[&pack.record.id];
        cut(sealed, &record.coding)[usize::from(index)].clone()
    }

    fn show(&self, owner: DeviceId, basis: Basis, seed: [u8; 32], shards: &[ShardId]) -> Shown {
        let shown = shards.iter().map(|shard| {
            let content = self.content(owner, *shard);
            let bytes = u32::try_from(content.len()).unwrap();
            let group = group_to_show(&seed, shard, bytes);
            (*shard, prove(&content, group).unwrap())
        });
        let proofs = shown.collect();
        Shown { basis, proofs }
    }

    fn take_shown(
        &mut self,
        owner: DeviceId,
        holder: DeviceId,
        shown: &Shown,
        asked: &[Ask],
    ) -> ShownOutcome {
        self.alone(owner);
        let now = self.now;
        let receipt = match shown.basis {
            Basis::Receipt(seq) => {
                let feed = &self.hosts[&owner].feeds[&holder];
                feed.get(usize::try_from(seq).unwrap()).cloned()
            }
            Basis::Ask(_) => None,
        };
        let node = &mut self.host(owner).node;
        let outcome = node.take_shown(now, holder, shown, receipt.as_ref(), asked);
        self.settle();
        outcome
    }
}

fn parcels(plan: &CourierPlan) -> Vec<Parcel> {
    let put = plan.put.iter().map(|put| put.parcel);
    plan.keep.iter().copied().chain(put).collect()
}

#[test]
fn a_pack_travels_by_disk_and_is_safe_when_the_disk_is_back() {
    let (mut world, devices) = World::circle(2);
    let (ada, bo) = (devices[0], devices[1]);
    world.part();
    world.alone(ada);
    world.back_up(ada, 9, PackKind::Large, 100_000);
    world.back_up(ada, 8, PackKind::Metadata, 5_000);
    let before = world.shard_bytes;
    let plan = world.plan(ada, &[], MUCH);
    assert_eq!(plan.put.len(), 2);
    let kind = |at: usize| {
        world
            .node(ada)
            .inventory
            .pack(plan.put[at].pack)
            .unwrap()
            .record
            .kind
    };
    assert_eq!(kind(0), PackKind::Metadata, "the most urgent first");
    let again = world.plan(ada, &parcels(&plan), MUCH);
    assert_eq!((again.keep, again.put), (parcels(&plan), vec![]));

    world.carry_feeds(ada, bo);
    let receipts = world.take(bo, ada, &parcels(&plan));
    assert_eq!(receipts.len(), 1);
    let SignedReceipt { seq, hash, shards } = &receipts[0];
    assert_eq!(shards.len(), 2);
    let shown = world.show(ada, Basis::Receipt(*seq), hash.0, shards);

    world.carry_feeds(bo, ada);
    assert!(!world.safe(ada), "a receipt alone counts for nothing");
    let mut wrong = shown.clone();
    wrong.proofs[0].1.data[0] ^= 1;
    let outcome = world.take_shown(ada, bo, &wrong, &[]);
    assert_eq!((outcome.proved, outcome.wrong), (1, 1));
    assert!(!world.safe(ada));
    let outcome = world.take_shown(ada, bo, &shown, &[]);
    assert_eq!((outcome.proved, outcome.wrong), (1, 0));
    assert!(world.safe(ada));
    let feed = world.hosts[&ada].feeds[&ada].len();
    let outcome = world.take_shown(ada, bo, &shown, &[]);
    assert_eq!(
        outcome.proved, 0,
        "an old copy of the disk proves nothing anew"
    );
    assert_eq!(world.hosts[&ada].feeds[&ada].len(), feed);
    let plan = world.plan(ada, &parcels(&plan), MUCH);
    assert_eq!(parcels(&plan), [], "what arrived is off the disk");
    assert_eq!(world.shard_bytes, before, "nothing went over any link");
}

#[test]
fn a_receipt_is_proved_by_its_own_groups_alone() {
    let (mut world, devices) = World::circle(3);
    let (ada, bo) = (devices[0], devices[1]);
    world.part();
    world.alone(ada);
    world.back_up(ada, 9, PackKind::Large, 40 * limits::GROUP_BYTES);
    let plan = world.plan(ada, &[], MUCH);
    world.carry_feeds(ada, bo);
    let receipts = world.take(bo, ada, &parcels(&plan));
    let SignedReceipt { seq, hash, shards } = &receipts[0];
    world.carry_feeds(bo, ada);
    let mut seed = hash.0;
    seed[0] ^= 1;
    let chosen = world.show(ada, Basis::Receipt(*seq), seed, shards);
    assert_eq!(
        world.take_shown(ada, bo, &chosen, &[]).proved,
        0,
        "a group of one's own choice"
    );
    let other = world.show(ada, Basis::Receipt(seq - 1), hash.0, shards);
    assert_eq!(
        world.take_shown(ada, bo, &other, &[]).proved,
        0,
        "another entry"
    );
    let good = world.show(ada, Basis::Receipt(*seq), hash.0, shards);
    assert_eq!(
        world.take_shown(ada, devices[2], &good, &[]).proved,
        0,
        "another holder"
    );
    assert_eq!(world.take_shown(ada, bo, &good, &[]).proved, 1);
}

#[test]
fn everybody_gets_their_own_part() {
    let (mut world, devices) = World::circle(5);
    let ada = devices[0];
    world.part();
    world.alone(ada);
    for seed in 0..3 {
        world.back_up(ada, seed, PackKind::Large, 100_000);
    }
    let plan = world.plan(ada, &[], MUCH);
    let shards: BTreeSet<ShardId> = plan.put.iter().map(|put| put.parcel.shard).collect();
    assert_eq!(shards.len(), plan.put.len(), "no shard twice");
    // Two shards make a pack: the first gets both, the others one each.
    let mut of_members = BTreeMap::<MemberId, usize>::new();
    for put in &plan.put {
        *of_members.entry(put.parcel.to).or_default() += 1;
    }
    let counts: Vec<usize> = of_members.into_values().collect();
    assert_eq!(counts.iter().sum::<usize>(), 3 * 5, "{counts:?}");
    assert_eq!(counts.len(), 4);

    let first: BTreeSet<PackId> = plan.put[..2].iter().map(|put| put.pack).collect();
    assert_eq!(first.len(), 1, "one pack is whole before the next begins");
    let bytes = u64::from(plan.put[0].parcel.bytes);
    let short = world.plan(ada, &[], bytes * 4 - 1);
    assert_eq!(short.put.len(), 3, "no more than there is room for");
    assert_eq!(short.put[..], plan.put[..3]);
}

#[test]
fn what_a_meeting_delivered_is_off_the_disk() {
    let (mut world, devices) = World::circle(2);
    let (ada, bo) = (devices[0], devices[1]);
    world.host(bo).up = false;
    world.back_up(ada, 9, PackKind::Large, 100_000);
    let plan = world.plan(ada, &[], MUCH);
    assert_eq!(plan.put.len(), 1);
    let listed = parcels(&plan);
    world.host(bo).up = true;
    world.everybody_near();
    world.run(Span::secs(30));
    assert!(
        world.safe(ada),
        "a parcel keeps no shard back from a meeting"
    );
    assert_eq!(parcels(&world.plan(ada, &listed, MUCH)), []);

    // The disk comes all the same: it is known, and signed for once more.
    let owner = world.node(ada).member();
    let kept = world.hosts[&bo].kept_bytes(owner);
    world.take(bo, ada, &listed);
    assert_eq!(world.hosts[&bo].kept_bytes(owner), kept);
}

#[test]
fn parcels_are_admitted_like_anybody_elses_shards() {
    let (mut world, devices) = World::circle(3);
    let (ada, bo) = (devices[0], devices[1]);
    let (owner, me) = (world.node(ada).member(), world.node(bo).member());
    world
        .command(
            bo,
            Command::Offer {
                to: owner,
                bytes: 1000,
            },
        )
        .unwrap();
    let now = world.now;
    let node = &mut world.host(bo).node;
    let parcel = |shard, bytes, to| Parcel {
        shard: ShardId([shard; 32]),
        bytes,
        to,
    };
    let mut admit = |parcel: Parcel, owner| node.admit_parcel(now, VISIT, &parcel, owner);
    assert_eq!(
        admit(parcel(1, 600, owner), owner),
        Err(Refusal::NotAMember)
    );
    assert_eq!(admit(parcel(1, 600, me), me), Err(Refusal::NotAMember));
    let stranger = MemberId([9; 32]);
    assert_eq!(
        admit(parcel(1, 600, me), stranger),
        Err(Refusal::NotAMember)
    );
    assert_eq!(admit(parcel(1, 0, me), owner), Err(Refusal::Busy));
    assert_eq!(admit(parcel(1, u32::MAX, me), owner), Err(Refusal::Busy));
    assert_eq!(admit(parcel(1, 600, me), owner), Ok(()));
    assert_eq!(admit(parcel(2, 600, me), owner), Err(Refusal::OfferUsedUp));
    world.tell(bo, Event::VisitOver { visit: VISIT });
    world.settle();
    let node = &mut world.host(bo).node;
    let room = node.admit_parcel(now, VISIT, &parcel(2, 600, me), owner);
    assert_eq!(room, Ok(()), "what did not come gives its room back");
}

#[test]
fn what_grew_old_is_asked_for_by_disk() {
    let (mut world, devices) = World::circle(2);
    let (ada, bo) = (devices[0], devices[1]);
    world.back_up(ada, 9, PackKind::Large, 100_000);
    world.run(Span::secs(30));
    assert!(world.safe(ada));
    world.part();
    world.now = world.now + limits::AUDIT_VALID + Span::days(1);
    world.alone(ada);
    assert!(!world.safe(ada));
    let plan = world.plan(ada, &[], MUCH);
    let [ask] = &plan.asks[..] else {
        panic!("{plan:?}");
    };
    assert_eq!((ask.holder, ask.shards.len()), (bo, 1));
    let now = world.now;
    let again = (world.host(ada).node).plan_courier(now, &[], &[], &plan.asks, MUCH);
    assert_eq!(
        again.asks, plan.asks,
        "what is not answered is not asked anew"
    );

    let answer = world.show(ada, Basis::Ask(ask.seed), ask.seed, &ask.shards);
    let forged = world.show(ada, Basis::Ask([1; 32]), [1; 32], &ask.shards);
    world.now = world.now + Span::days(3);
    assert_eq!(world.take_shown(ada, bo, &forged, &plan.asks).proved, 0);
    assert_eq!(world.take_shown(ada, bo, &answer, &plan.asks).proved, 1);
    assert!(world.safe(ada));
    assert_eq!(world.plan(ada, &[], MUCH).asks, []);
}

#[test]
fn a_courier_is_made_told_of_and_removed_by_its_owner() {
    let (mut world, devices) = World::circle(3);
    let (ada, bo) = (devices[0], devices[1]);
    let now = world.now;
    let made = world.host(ada).node.new_courier(now, "blue disk", 1 << 40);
    let (card, label) = made.unwrap();
    let secret = world.node(ada).identity.circle_secret;
    let (read, _) = crate::courier::Label::open(&label, &secret).unwrap();
    assert_eq!(read.card, card);
    world
        .command(ada, Command::AddCourier { card: card.clone() })
        .unwrap();
    // Whoever has the card can repeat it, and it stays its owner's.
    world.command(bo, Command::AddCourier { card }).unwrap();
    world.everybody_near();
    world.run(Span::secs(20));
    let courier = read.card.verify().unwrap().courier;
    for device in &devices {
        let circle = world.node(*device).circle();
        assert_eq!(circle.couriers().count(), 1);
        assert_eq!(circle.courier(courier).unwrap().name, "blue disk");
        assert!(!circle.is_device(courier), "it never speaks");
    }
    let subject = Subject::Device(courier);
    let refused = world.command(bo, Command::Remove { subject });
    assert_eq!(refused, Err(CommandRefused::ForeignDevice(courier)));
    world.command(ada, Command::Remove { subject }).unwrap();
    world.run(Span::secs(20));
    for device in &devices {
        let circle = world.node(*device).circle();
        assert_eq!(circle.courier(courier), None);
        assert!(circle.is_courier_removed(&read.card.verify().unwrap()));
    }
}
