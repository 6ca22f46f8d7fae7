//! What lies on couriers: what is said of it, what it is worth, and that it comes home.

use super::*;
use crate::courier::Parcel;

impl World {
    /// Makes a courier of a device's owner that all hear of.
    fn courier(&mut self, owner: DeviceId, name: &str) -> DeviceId {
        let now = self.now;
        let made = self.host(owner).node.new_courier(now, name, 1 << 40);
        let (card, _) = made.unwrap();
        let courier = card.verify().unwrap().courier;
        self.command(owner, Command::AddCourier { card }).unwrap();
        courier
    }

    /// Puts all that a device would put on a courier there.
    fn load(&mut self, owner: DeviceId, courier: DeviceId) -> Vec<Parcel> {
        let now = self.now;
        let node = &mut self.host(owner).node;
        let plan = node.plan_courier(now, &[], &[], &[], 1 << 40);
        let listed: Vec<Parcel> = plan.put.iter().map(|put| put.parcel).collect();
        node.note_aboard(now, courier, &listed).unwrap();
        self.settle();
        listed
    }

    fn read_back(&mut self, owner: DeviceId, courier: DeviceId, parcels: &[Parcel]) {
        let now = self.now;
        let node = &mut self.host(owner).node;
        node.read_aboard(now, courier, parcels).unwrap();
        self.settle();
    }

    /// Somebody has the disk, and others hear of it.
    fn sight(&mut self, device: DeviceId, courier: DeviceId) {
        self.host(device).up = true;
        let now = self.now;
        self.host(device).node.sight_courier(now, courier);
        self.settle();
    }

    /// Carries the feed of a device to another.
    fn hear(&mut self, who: DeviceId, of: DeviceId) {
        let entries = self.hosts[&of].feeds[&of].clone();
        self.tell(who, Event::Carried { entries });
        self.settle();
    }

    fn view_of(&self, device: DeviceId, other: DeviceId) -> crate::view::MemberView {
        let member = self.node(other).member();
        let mut all = self.node(device).members(self.now).into_iter();
        all.find(|it| it.member == member).unwrap()
    }
}

/// Everybody but the first is away, who has one pack.
fn alone(count: u8) -> (World, Vec<DeviceId>) {
    let (mut world, devices) = World::circle(count);
    for device in &devices[1..] {
        world.switch_off(*device);
    }
    world.back_up(devices[0], 9, PackKind::Large, 100_000);
    (world, devices)
}

#[test]
fn what_travels_is_told_until_it_is_proved() {
    let (mut world, devices) = alone(2);
    let (ada, bo) = (devices[0], devices[1]);
    let disk = world.courier(ada, "blue disk");
    let listed = world.load(ada, disk);
    let bytes: u64 = listed.iter().map(|it| u64::from(it.bytes)).sum();
    let view = world.view_of(ada, bo);
    let [lies] = &view.on_couriers[..] else {
        panic!("{view:?}");
    };
    assert_eq!((lies.courier, lies.bytes), (disk, bytes));
    assert_eq!((lies.name.as_str(), &lies.seen_with), ("blue disk", &None));
    assert_eq!(view.bytes_by_courier, 0);

    world.hear(bo, ada);
    world.sight(bo, disk);
    world.hear(ada, bo);
    let view = world.view_of(ada, bo);
    assert_eq!(view.on_couriers[0].seen_with, Some(view.petname.clone()));

    // Bo signs, and the news come another way than the proofs.
    let owner = world.node(ada).member();
    let shards: Vec<ShardId> = listed.iter().map(|it| it.shard).collect();
    for parcel in &listed {
        let (now, shard) = (world.now, parcel.shard);
        let visit = LinkId(u64::MAX);
        let admitted = (world.host(bo).node).admit_parcel(now, visit, parcel, owner);
        assert_eq!(admitted, Ok(()));
        let outcome = Ok(());
        world.tell(
            bo,
            Event::ParcelTaken {
                visit,
                shard,
                outcome,
            },
        );
        world.settle();
    }
    let now = world.now;
    (world.host(bo).node.sign_parcels(now, owner, &shards)).unwrap();
    world.settle();
    world.hear(ada, bo);
    let view = world.view_of(ada, bo);
    assert_eq!((view.bytes_by_courier, view.on_couriers.len()), (bytes, 0));
    assert!(!world.safe(ada));

    // Once it is proved, or off the disk, there is no more to say.
    (world.host(ada).node.note_aboard(now, disk, &[])).unwrap();
    world.settle();
    assert_eq!(world.view_of(ada, bo).bytes_by_courier, 0);
}

#[test]
fn disks_count_by_half_once_read_back_and_only_where_others_have_them() {
    let (mut world, devices) = alone(3);
    let (ada, bo, cleo) = (devices[0], devices[1], devices[2]);
    let disks = [world.courier(ada, "blue"), world.courier(ada, "red")];
    let listed = world.load(ada, disks[0]);
    world.load(ada, disks[1]);
    for (device, disk) in [(bo, disks[0]), (cleo, disks[1])] {
        world.hear(device, ada);
        world.sight(device, disk);
        world.hear(ada, device);
    }
    assert!(!world.safe(ada), "nobody has read it back");
    world.read_back(ada, disks[0], &listed);
    assert!(!world.safe(ada), "one disk is half a friend");
    world.read_back(ada, disks[1], &listed);
    let safety = world.node(ada).safety(world.now);
    assert_eq!((safety.health_min, safety.bytes_only_here()), (1, 0));
    assert_eq!(safety.bytes_by_courier, safety.bytes);

    // At home it is in the same fire as everything else.
    world.now = world.now + Span::hours(1);
    world.sight(ada, disks[0]);
    assert!(!world.safe(ada));
    world.now = world.now + Span::hours(1);
    world.sight(bo, disks[0]);
    world.hear(ada, bo);
    assert!(world.safe(ada));
    let later = world.now + limits::ABOARD_VALID;
    assert_eq!(world.node(ada).safety(later).health_min, 0, "it grew old");

    let subject = Subject::Device(disks[1]);
    world.command(ada, Command::Remove { subject }).unwrap();
    assert!(!world.safe(ada), "nobody brings a removed disk back");
}

#[test]
fn what_lies_aboard_keeps_nothing_back_from_a_meeting() {
    let (mut world, devices) = alone(2);
    let (ada, bo) = (devices[0], devices[1]);
    let disk = world.courier(ada, "blue");
    let listed = world.load(ada, disk);
    world.read_back(ada, disk, &listed);
    world.host(bo).up = true;
    world.everybody_near();
    world.run(Span::secs(30));
    assert!(world.safe(ada));
    let view = world.view_of(ada, bo);
    assert_eq!((view.bytes_by_courier, view.on_couriers.len()), (0, 0));
    assert_eq!(world.node(ada).safety(world.now).bytes_by_courier, 0);
}

#[test]
fn what_is_wanted_back_comes_from_a_disk() {
    let (mut world, devices) = alone(2);
    let ada = devices[0];
    let disk = world.courier(ada, "blue");
    let listed = world.load(ada, disk);
    assert_eq!(world.node(ada).wanted_aboard(&listed), []);
    let packs = world.hosts[&ada].packs.values();
    let packs: Vec<PackRecord> = packs.map(|(record, _)| record.clone()).collect();
    let missing = world.node(ada).retrace_of(packs.iter(), world.now);
    assert_eq!((missing.packs_nowhere, missing.packs_in_reach), (0, 0));
    let on_disk = &missing.couriers[0];
    let bytes = u64::from(listed[0].bytes);
    assert_eq!((on_disk.courier, on_disk.bytes), (disk, bytes));
    // It is here, as far as anybody knows.
    let way = world.node(ada).way_home(packs.iter(), world.now);
    let stops = way.stops.iter().map(|it| (it.device, it.packs, it.by));
    assert_eq!(stops.collect::<Vec<_>>(), [(disk, 1, Some(world.now))]);
    assert_eq!(way.by, None, "that it is plugged in is no habit");

    world.command(ada, Command::Fetch { packs }).unwrap();
    let wanted = world.node(ada).wanted_aboard(&listed);
    assert_eq!(wanted.len(), 1);
    let (pack, index, now) = (wanted[0].pack, wanted[0].index, world.now);
    // The shell puts it aside, where the host looks for it.
    let (record, sealed) = world.hosts[&ada].packs[&pack].clone();
    let content = cut(&sealed, &record.coding)[usize::from(index)].clone();
    let host = world.host(ada);
    host.fetched.insert((pack, index), content);
    host.aside.insert(pack);
    host.node.found_aboard(now, pack, index);
    world.settle();
    assert_eq!(world.node(ada).wanted_packs().count(), 0);
    assert_eq!(world.hosts[&ada].restored[&pack], sealed);
    assert_eq!(world.node(ada).wanted_aboard(&listed), []);
}

#[test]
fn what_lies_aboard_is_known_after_a_restart() {
    let (mut world, devices) = alone(2);
    let ada = devices[0];
    let disk = world.courier(ada, "blue disk");
    let listed = world.load(ada, disk);
    let mut again = Node::new(world.node(ada).identity.clone(), [9; 32], world.now);
    for entry in world.hosts[&ada].feeds.values().flatten() {
        again.replay(entry).unwrap();
    }
    assert_eq!(again.aboard.all().count(), listed.len());
}
