//! What a node can tell about itself at any moment, without changing.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use crate::{
    event::{LinkClass, LinkId},
    health::{
        Indices,
        disk::{DiskShare, health_with_disks},
        health, union,
    },
    id::{DeviceId, MemberId, PackId, ShardId},
    key::{Identity, VaultKeys},
    limits,
    message::Refusal,
    node::{Node, Travel},
    outlook::Expected,
    placement::{health_target, members_target},
    record::{PackKind, PackRecord},
    time::Timestamp,
    track::{self, Tally},
};

/// How safe everything is now. Bytes are bytes of sealed packs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Safety {
    /// Number of packs.
    pub packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Bytes of packs that can be rebuilt without this device, by proof.
    pub bytes_safe: u64,
    /// Of these, bytes of packs that friends can't rebuild without what lies on couriers.
    pub bytes_by_courier: u64,
    /// Bytes of packs that friends hold enough of by their word, not all of it proved yet.
    pub bytes_claimed: u64,
    /// How many members could vanish before the first pack is lost; 0 also when there is no pack. What
    /// couriers add is told in [`crate::health::disk`].
    pub health_min: u32,
    /// The `health_min` that placement works towards with the members there are.
    pub target: u32,
    /// Packs that fewer members hold than should.
    pub packs_below_target: u64,
    /// Packs that can neither be made here nor rebuilt by friends, if all kept their word.
    pub packs_lost: u64,
}

impl Safety {
    /// Returns the bytes that would be lost with this device.
    pub fn bytes_only_here(&self) -> u64 {
        self.bytes - self.bytes_safe
    }
}

/// Another member, or another device of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub member: MemberId,
    /// What the owner calls them.
    pub petname: String,
    /// Their devices.
    pub devices: Vec<DeviceView>,
    /// Bytes of our shards that they signed for.
    pub bytes_held_for_me: u64,
    /// Of these, bytes proved lately.
    pub bytes_audited: u64,
    /// Bytes of our shards that they took from a courier, by their word, and have not proved yet.
    pub bytes_by_courier: u64,
    /// Bytes of our shards that lie on couriers for them.
    pub on_couriers: Vec<OnCourier>,
    /// Bytes of their shards on our shelf.
    pub bytes_i_hold: u64,
    /// Bytes of their parcels that lie here until somebody else is met.
    pub bytes_i_carry: u64,
    /// How much they keep for us at most.
    pub offered_to_me: u64,
    /// How much we keep for them at most.
    pub offered_by_me: u64,
    /// Why they take no more now.
    pub refusal: Option<Refusal>,
    /// When they are met.
    pub expected: Expected,
}

/// Shards of ours on a courier, for one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnCourier {
    /// The disk.
    pub courier: DeviceId,
    /// Its owner's name for it.
    pub name: String,
    /// How many bytes.
    pub bytes: u64,
    /// What we call those with whom it was last seen, if that was not with us.
    pub seen_with: Option<String>,
}

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Which.
    pub device: DeviceId,
    /// Its owner's name for it.
    pub name: String,
    /// The link, while there is an encounter.
    pub link: Option<LinkClass>,
    /// Whether its beacon was heard lately, or there is an encounter.
    pub near: bool,
    /// When it was last met.
    pub last_met: Option<Timestamp>,
    /// Whether it said last that this device does not belong to the circle.
    pub turned_away: bool,
    /// How many shards of ours it was asked to show in the last month, and how many of them it could
    /// not, though it had signed for them.
    pub shown: Tally,
    /// It was away for longer than it ever is: what it keeps goes to others.
    pub gone: bool,
}

/// A shard under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underway {
    /// The connection.
    pub link: LinkId,
    /// The peer.
    pub peer: DeviceId,
    /// The shard.
    pub shard: ShardId,
    /// Whether it goes to the peer.
    pub outgoing: bool,
    /// Its length.
    pub bytes: u32,
}

/// What is still to come for a restore, and from whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetraceView {
    /// Packs that are wanted and not here.
    pub packs_missing: u64,
    /// Their bytes.
    pub bytes_missing: u64,
    /// Packs of which devices in reach have enough.
    pub packs_in_reach: u64,
    /// Packs of which all known holders together don't have enough.
    pub packs_nowhere: u64,
    /// What of it lies on couriers.
    pub couriers: Vec<OnCourier>,
    /// Each device that has something of it: who will probably be met first, then who has most.
    pub holders: Vec<HolderView>,
}

/// What one device holds of some packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// The device.
    pub device: DeviceId,
    /// How many shards.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When its member will probably be met, if habits tell; now, of whoever is near.
    pub next: Option<Timestamp>,
}

impl Node {
    /// Returns this device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Returns this device's member.
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Returns the circle as far as it is known here.
    pub fn circle(&self) -> &crate::circle::Circle {
        &self.circle
    }

    /// Returns who we are, with the keys as they are now.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the vault's keys, unless this device still waits for them.
    pub fn vault_keys(&self) -> Option<&VaultKeys> {
        Some(&self.identity.vault).filter(|vault| !vault.is_empty())
    }

    /// Returns the digest of what we know, for our beacon.
    pub fn news(&self) -> [u8; 4] {
        self.knowledge().news
    }

    /// Returns a number that changes whenever it may have changed who is who on the wire: the circle's
    /// names, and those of open invites.
    pub const fn names(&self) -> u64 {
        self.names
    }

    /// Tells whether there is nothing to do and nobody near who knows anything else: the slower rhythm
    /// of beacons suffices.
    pub fn is_idle(&self) -> bool {
        self.encounters.is_empty() && self.knocking.is_none() && !self.contacts.is_wanting()
    }

    /// Returns how many other devices were heard lately.
    pub fn crowd(&self) -> usize {
        self.contacts.crowd()
    }

    /// Returns how many other members there are: `k` and `n` of new packs follow from it.
    pub fn friends(&self) -> usize {
        self.others()
    }

    /// Returns how safe everything is at `now`.
    pub fn safety(&self, now: Timestamp) -> Safety {
        let mut safety = Safety {
            health_min: u32::MAX,
            target: u32::MAX,
            ..Safety::default()
        };
        let others = self.others();
        let (on_disks, said_on_disks) = (self.on_disks(Some(now)), self.on_disks(None));
        let elsewhere = self.couriers_elsewhere(now);
        let company = |gone| self.inventory.company(&self.circle, self.member, gone);
        let (everybody, present) = (company(&BTreeSet::new()), company(&self.stance.gone));
        for (number, pack) in self.inventory.numbered() {
            let record = &pack.record;
            let bytes = u64::from(record.bytes);
            let proved = pack.proved_among(&everybody, now);
            let mut now_health = health(&record.coding, &proved);
            if let Some(disks) = on_disks.get(&number) {
                let share = |(courier, indices): (&DeviceId, &Indices)| {
                    let (with, indices) = (*elsewhere.get(courier)?, *indices);
                    Some(DiskShare { with, indices })
                };
                let shares: Vec<DiskShare> = disks.iter().filter_map(share).collect();
                let with = health_with_disks(&record.coding, &proved, &shares);
                let only = now_health == 0 && with > 0;
                safety.bytes_by_courier += if only { bytes } else { 0 };
                now_health = with;
            }
            let claimed = pack.placed_among(&present);
            safety.packs += 1;
            safety.bytes += bytes;
            safety.bytes_safe += if now_health > 0 { bytes } else { 0 };
            safety.bytes_claimed += if health(&record.coding, &claimed) > 0 {
                bytes
            } else {
                0
            };
            safety.health_min = safety.health_min.min(now_health);
            let target = health_target(record.kind, &record.coding, others);
            safety.target = safety.target.min(target);
            let members = members_target(record.kind, &record.coding, others);
            safety.packs_below_target += u64::from(proved.len() < members);
            // Whoever is away for long, or gone for good, may have it all the same.
            let nowhere = || {
                let said = pack.held_spread(&self.circle, self.member, &BTreeSet::new());
                let disks = said_on_disks.get(&number).into_iter().flatten();
                let all = disks.fold(union(&said), |all, (_, one)| all.union(*one));
                all.len() < u32::from(record.coding.k)
            };
            safety.packs_lost += u64::from(now_health == 0 && !pack.available && nowhere());
        }
        if safety.packs == 0 {
            (safety.health_min, safety.target) = (0, 0);
        }
        safety
    }

    /// Returns the other members.
    pub fn members(&self, now: Timestamp) -> Vec<MemberView> {
        let sums = self.inventory.bytes_by_device(now);
        let mut travels = self.travels(now);
        let others = self
            .circle
            .members()
            .filter(|member| *member != self.member);
        let mut view = |member: MemberId| {
            let devices: Vec<DeviceView> = self
                .circle
                .devices_of(member)
                .map(|it| self.device_view(it, now))
                .collect();
            let own = sums
                .iter()
                .filter(|(it, ..)| self.circle.member_of(*it) == Some(member));
            let (held, audited) = own.fold((0, 0), |sum, (_, held, audited)| {
                (sum.0 + held, sum.1 + audited)
            });
            let Travel { on_disks, taken } = travels.remove(&member).unwrap_or_default();
            MemberView {
                member,
                petname: self.petname(member),
                bytes_by_courier: taken,
                on_couriers: self.on_couriers(on_disks, now),
                bytes_held_for_me: held,
                bytes_audited: audited,
                bytes_i_hold: self.ledger.bytes_of(member),
                bytes_i_carry: self.carried_for(member),
                offered_to_me: self.offer_of(member),
                offered_by_me: self.grant_to(member),
                refusal: devices
                    .iter()
                    .find_map(|it| self.contacts.refusal(it.device, now)),
                devices,
                expected: self.expected(member, now),
            }
        };
        others.map(&mut view).collect()
    }

    fn on_couriers(&self, bytes: BTreeMap<DeviceId, u64>, now: Timestamp) -> Vec<OnCourier> {
        let view = |(courier, bytes)| {
            let seen = self.circle.courier_seen(courier, now);
            let others = seen.filter(|(member, _)| *member != self.member);
            Some(OnCourier {
                courier,
                name: self.circle.courier(courier)?.name.clone(),
                bytes,
                seen_with: others.map(|(member, _)| self.petname(member)),
            })
        };
        bytes.into_iter().filter_map(view).collect()
    }

    fn device_view(&self, device: DeviceId, now: Timestamp) -> DeviceView {
        let encounter = self
            .encounters
            .values()
            .find(|it| it.peer == device && it.is_open());
        DeviceView {
            device,
            name: self
                .circle
                .device(device)
                .map_or_else(String::new, |it| it.name.clone()),
            link: encounter.map(|encounter| encounter.class),
            near: self.is_near(device, now),
            last_met: encounter
                .map(|_| now)
                .or_else(|| self.contacts.last_met(device).max(self.last_met(device))),
            turned_away: self.contacts.has_turned_away(device),
            shown: (self.inventory.track(device))
                .map_or_else(Tally::default, |track| track.over(track::SHOWN, now)),
            gone: self.stance.gone.contains(&device),
        }
    }

    /// By our history.
    fn last_met(&self, device: DeviceId) -> Option<Timestamp> {
        self.habits.last_met(self.circle.member_of(device)?, device)
    }

    /// Returns how many bytes a member keeps for us at most.
    fn offer_of(&self, member: MemberId) -> u64 {
        self.circle
            .member_offer(member, self.member)
            .unwrap_or(limits::OFFER_BYTES_DEFAULT)
    }

    /// Returns the shards under way.
    pub fn underway(&self) -> Vec<Underway> {
        let mut underway = Vec::new();
        for (link, encounter) in &self.encounters {
            let (link, peer) = (*link, encounter.peer);
            let carries = encounter.carries.iter();
            let carries = carries.map(|(shard, carrying)| (shard, &carrying.outgoing));
            for (shard, outgoing) in encounter.sends.iter().chain(carries) {
                let (shard, bytes) = (*shard, outgoing.bytes);
                underway.push(Underway {
                    link,
                    peer,
                    shard,
                    outgoing: true,
                    bytes,
                });
            }
            for shard in &encounter.receives {
                let bytes = self.promised(link, *shard).map_or(0, |(_, bytes)| bytes);
                underway.push(Underway {
                    link,
                    peer,
                    shard: *shard,
                    outgoing: false,
                    bytes,
                });
            }
            for shard in encounter.fetches.keys() {
                let found = self.inventory.locate(*shard);
                let bytes = found.map_or(0, |(pack, _)| pack.record.coding.shard_bytes);
                underway.push(Underway {
                    link,
                    peer,
                    shard: *shard,
                    outgoing: false,
                    bytes,
                });
            }
        }
        underway
    }

    /// Returns what is missing for the packs that are being fetched.
    pub fn retrace(&self, now: Timestamp) -> RetraceView {
        self.retrace_of(self.wanted_packs(), now)
    }

    /// Returns who holds what of the given packs of ours.
    pub fn retrace_of<'a>(
        &self,
        packs: impl Iterator<Item = &'a PackRecord>,
        now: Timestamp,
    ) -> RetraceView {
        let mut view = RetraceView::default();
        let mut holders: BTreeMap<DeviceId, (u64, u64)> = BTreeMap::new();
        let (on_disks, mut on_couriers) = (self.on_disks(None), BTreeMap::new());
        for record in packs {
            view.packs_missing += 1;
            view.bytes_missing += u64::from(record.bytes);
            let aside = self.shards_aside(record.id);
            let aside: BTreeSet<usize> = aside.into_iter().map(usize::from).collect();
            let (mut known, mut near) = (aside.clone(), aside);
            for (index, shard) in record.shards.iter().enumerate() {
                for device in self.inventory.holders(*shard) {
                    let (shards, bytes) = holders.entry(device).or_default();
                    *shards += 1;
                    *bytes += u64::from(record.coding.shard_bytes);
                    known.insert(index);
                    if self.device_view(device, now).near {
                        near.insert(index);
                    }
                }
            }
            let number = self.inventory.number(record.id);
            let disks = number.and_then(|number| on_disks.get(&number));
            for (courier, indices) in disks.into_iter().flatten() {
                let lying = (0..record.coding.n).filter(|index| indices.contains(*index));
                known.extend(lying.map(usize::from));
                let bytes = u64::from(indices.len()) * u64::from(record.coding.shard_bytes);
                *on_couriers.entry(*courier).or_default() += bytes;
            }
            let k = usize::from(record.coding.k);
            view.packs_in_reach += u64::from(near.len() >= k);
            view.packs_nowhere += u64::from(known.len() < k);
        }
        let mut expected: BTreeMap<MemberId, Option<Timestamp>> = BTreeMap::new();
        for (device, (shards, bytes)) in holders {
            let member = self.circle.member_of(device);
            let next = member.and_then(|member| {
                let known = expected.entry(member);
                *known.or_insert_with(|| self.expected(member, now).next)
            });
            view.holders.push(HolderView {
                device,
                shards,
                bytes,
                next,
            });
        }
        let order = |it: &HolderView| {
            let known = it.next.unwrap_or(Timestamp(u64::MAX));
            (known, core::cmp::Reverse(it.bytes), it.device)
        };
        view.holders.sort_by_key(order);
        view.couriers = self.on_couriers(on_couriers, now);
        view
    }

    /// Returns how many bytes others say that they hold of these packs of ours.
    pub fn held_of(&self, packs: &[PackId]) -> u64 {
        let held = |pack: crate::inventory::OwnPack<'_>| {
            let shards = pack.record.shards.iter();
            let copies: usize = shards
                .map(|shard| self.inventory.claimants(*shard).count())
                .sum();
            copies as u64 * u64::from(pack.record.coding.shard_bytes)
        };
        let packs = packs.iter().filter_map(|id| self.inventory.pack(*id));
        packs.map(held).sum()
    }

    /// Tells whether a pack of ours can be given up and still be had back for a while: friends hold
    /// enough of it, by their word. One that lies only here can't be had back, so a new one stays.
    pub fn may_release(&self, pack: &PackRecord, now: Timestamp) -> bool {
        let held = self.inventory.pack(pack.id).map(|pack| {
            let spread = pack.held_spread(&self.circle, self.member, &self.stance.gone);
            union(&spread).len() >= u32::from(pack.record.coding.k)
        });
        held == Some(true) || now.since(pack.made) > limits::KEEP_RECENT
    }

    /// Returns the packs that this device knows of its own vault.
    pub fn packs(&self) -> impl Iterator<Item = &PackRecord> {
        self.inventory.packs().map(|pack| pack.record)
    }

    /// Returns those of our packs whose shards this device can't make itself.
    pub fn packs_missing(&self) -> impl Iterator<Item = &PackRecord> {
        let missing = self.inventory.packs().filter(|pack| !pack.available);
        missing.map(|pack| pack.record)
    }

    /// Returns how many members could vanish before a pack of ours is lost, by proof; nothing if the
    /// pack is unknown.
    pub fn pack_health(&self, pack: PackId, now: Timestamp) -> Option<u32> {
        let record = &self.inventory.pack(pack)?.record;
        Some(
            self.inventory
                .health(record, &self.circle, self.member, now),
        )
    }

    /// Tells whether the plan for a device of another member has shards to put there.
    pub fn has_shards_for(&self, device: DeviceId) -> bool {
        self.circle.member_of(device).is_some_and(|member| {
            member != self.member
                && crate::plan::wants_anything(&self.inventory, self.view(), member)
        })
    }

    /// Tells whether a pack's spooled copy may be dropped when room is short: enough members hold it.
    pub fn is_settled(&self, pack: PackId, now: Timestamp) -> bool {
        self.inventory.pack(pack).is_some_and(|pack| {
            let record = &pack.record;
            let proved = self
                .inventory
                .proved_spread(record, &self.circle, self.member, now);
            record.kind != PackKind::Metadata && proved.len() >= 2 * usize::from(record.coding.k)
        })
    }
}
