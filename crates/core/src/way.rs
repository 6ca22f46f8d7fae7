//! The way home: whose devices to meet, or which disks to plug in, until packs of ours are back, and when
//! that will be.
//!
//! A cover of what is missing, chosen greedily: whoever brings most for the time that it takes to meet
//! them comes first, and whoever turns out not to be needed is left out. The forecast asks what happens
//! if everybody is met as habits say, whether on the list or not: the middle of many drawn futures. Disks
//! are not in them: whether one is plugged in is no habit.

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::{
    health::Indices,
    id::{DeviceId, MemberId},
    node::Node,
    record::PackRecord,
    time::{Span, Timestamp},
};

/// What every stop costs beside the time until it: a short list is worth some waiting.
const STOP_COST: Span = Span::days(1);
/// What it costs to look for somebody of whom nobody knows when they are met.
const UNKNOWN_WAIT: Span = Span::days(26 * 7);
/// How far ahead meetings are drawn, in hours.
const HOURS_AHEAD: usize = 12 * 7 * 24;
/// Futures drawn for a forecast. Odd, so that there is a middle one.
const FUTURES: usize = 99;
/// Groups of packs looked at in each future; of more, every so manieth.
const GROUPS_PER_FUTURE: usize = 2000;

/// One device to meet, or disk to plug in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The device or courier.
    pub device: DeviceId,
    /// What it brings of what those before it don't, in shard bytes.
    pub bytes: u64,
    /// Packs that are whole from then on.
    pub packs: u64,
    /// When it will probably have brought that, if habits tell; now, if it is near, or a disk that was
    /// last seen with us.
    pub by: Option<Timestamp>,
    /// Who could take its place.
    pub instead: Vec<DeviceId>,
}

/// The way home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Whom to meet, the soonest first.
    pub stops: Vec<Stop>,
    /// When all that can come back will more likely than not be back, if habits tell.
    pub by: Option<Timestamp>,
    /// When it will be back in nine of ten futures, if habits tell.
    pub at_the_latest: Option<Timestamp>,
}

/// Packs of which the same devices have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    packs: u64,
    /// The bytes of one shard of each.
    shard_bytes: u64,
    lacking: u32,
    /// What each device has of it that is not here.
    given: Vec<(usize, Indices)>,
}

/// What each device has of a pack.
type Given = Vec<(DeviceId, Indices)>;

impl Group {
    /// Returns how many shards it still lacks after it has got some.
    fn left(&self, got: Indices) -> u32 {
        self.lacking.saturating_sub(got.len())
    }

    fn given_by(&self, devices: &[bool]) -> Indices {
        let given = self.given.iter().filter(|(device, _)| devices[*device]);
        given.fold(Indices::default(), |all, (_, it)| all.union(*it))
    }

    fn is_whole_with(&self, devices: &[bool]) -> bool {
        self.left(self.given_by(devices)) == 0
    }
}

/// Leaves out those of whom something speaks against, unless nothing comes back without them.
fn without_needless(
    given: BTreeMap<DeviceId, Indices>,
    lacking: usize,
    against: impl Fn(&DeviceId) -> bool,
) -> BTreeMap<DeviceId, Indices> {
    if !given.keys().any(&against) {
        return given;
    }
    let mut rest = given.clone();
    rest.retain(|device, _| !against(device));
    let all = rest.values().fold(Indices::default(), |a, b| a.union(*b));
    let enough = usize::try_from(all.len()).is_ok_and(|len| len >= lacking);
    if enough { rest } else { given }
}

/// All that is missing, and who has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Missing {
    devices: Vec<DeviceId>,
    groups: Vec<Group>,
}

impl Missing {
    /// Gathers what is missing, without what nobody can make whole. `given` is what each device has of
    /// a pack and what is here.
    fn new(packs: impl Iterator<Item = (u64, u32, BTreeMap<DeviceId, Indices>)>) -> Self {
        let mut numbers: BTreeMap<DeviceId, usize> = BTreeMap::new();
        let mut groups: BTreeMap<(u32, Given), (u64, u64)> = BTreeMap::new();
        for (shard_bytes, lacking, given) in packs {
            let all = given.values().fold(Indices::default(), |a, b| a.union(*b));
            if lacking == 0 || all.len() < lacking {
                continue;
            }
            numbers.extend(given.keys().map(|device| (*device, 0)));
            let key = (lacking, given.into_iter().collect());
            let (packs, bytes) = groups.entry(key).or_default();
            *packs += 1;
            *bytes += shard_bytes;
        }
        for (number, (_, at)) in numbers.iter_mut().enumerate() {
            *at = number;
        }
        let groups = groups
            .into_iter()
            .map(|((lacking, given), (packs, bytes))| {
                let given = given.into_iter();
                Group {
                    packs,
                    shard_bytes: bytes,
                    lacking,
                    given: given.map(|(device, it)| (numbers[&device], it)).collect(),
                }
            });
        Self {
            groups: groups.collect(),
            devices: numbers.into_keys().collect(),
        }
    }

    /// Returns the set of no devices.
    fn nobody(&self) -> Vec<bool> {
        alloc::vec![false; self.devices.len()]
    }

    /// Chooses devices that together make everything whole. `cost` tells what it costs to get so many
    /// bytes from one.
    fn cover(&self, cost: impl Fn(usize, u64) -> Span) -> Vec<usize> {
        let mut chosen = self.nobody();
        let mut order = Vec::new();
        loop {
            let gains = self.gains(&chosen);
            let worth = |(device, gain): (usize, &u64)| {
                let hours = (cost(device, *gain).0 + STOP_COST.0) / Span::hours(1).0;
                let worth = u128::from(*gain) * 1_000_000 / u128::from(hours.max(1));
                (*gain > 0).then_some((worth, core::cmp::Reverse(device)))
            };
            let best = gains.iter().enumerate().filter_map(worth).max();
            let Some((_, core::cmp::Reverse(device))) = best else {
                break;
            };
            chosen[device] = true;
            order.push(device);
        }
        // The last ones are the most likely to be needed: who came early may have become needless.
        for at in (0..order.len()).rev() {
            chosen[order[at]] = false;
            if self.is_covered(&chosen) {
                order.remove(at);
            } else {
                chosen[order[at]] = true;
            }
        }
        order
    }

    fn is_covered(&self, devices: &[bool]) -> bool {
        self.groups.iter().all(|it| it.is_whole_with(devices))
    }

    /// Returns how many bytes each device would bring that those chosen don't.
    fn gains(&self, chosen: &[bool]) -> Vec<u64> {
        let mut gains = alloc::vec![0; self.devices.len()];
        for group in &self.groups {
            let got = group.given_by(chosen);
            let left = group.left(got);
            for (device, it) in &group.given {
                let new = it.without(got).len().min(left);
                gains[*device] += u64::from(new) * group.shard_bytes;
            }
        }
        gains
    }

    /// Returns what a stop brings beside what others do: bytes, and packs that become whole with it.
    fn brought(&self, device: usize, before: &[bool]) -> (u64, u64) {
        let mut after = before.to_vec();
        after[device] = true;
        let whole = |devices: &[bool]| -> u64 {
            let groups = self.groups.iter().filter(|it| it.is_whole_with(devices));
            groups.map(|it| it.packs).sum()
        };
        (self.gains(before)[device], whole(&after) - whole(before))
    }

    /// Returns who could take the place of a stop.
    fn instead_of(&self, device: usize, chosen: &[bool]) -> Vec<usize> {
        let mut devices = chosen.to_vec();
        devices[device] = false;
        let mut others = (0..self.devices.len()).collect::<Vec<_>>();
        others.retain(|other| {
            if *other == device || devices[*other] {
                return false;
            }
            devices[*other] = true;
            let covered = self.is_covered(&devices);
            devices[*other] = false;
            covered
        });
        others
    }

    /// Returns after which of these times, one for each device, everything is whole.
    fn whole_at(&self, times: &[Option<Span>]) -> Option<Span> {
        let stride = self.groups.len().div_ceil(GROUPS_PER_FUTURE).max(1);
        let mut last = Span(0);
        for group in self.groups.iter().step_by(stride) {
            let mut given: Vec<(Span, Indices)> = (group.given.iter())
                .filter_map(|(device, it)| Some((times[*device]?, *it)))
                .collect();
            given.sort_unstable_by_key(|(time, _)| *time);
            let mut got = Indices::default();
            let whole = given.into_iter().find_map(|(time, it)| {
                got = got.union(it);
                (group.left(got) == 0).then_some(time)
            });
            last = last.max(whole?);
        }
        Some(last)
    }
}

/// When a member may be met: for this hour and each that follows, by the clock on the wall, the
/// probability in thousandths that there was a meeting by its end. And how old this hour is.
struct Waits(Vec<u32>, Span);

impl Waits {
    /// Draws how long it takes; nothing if it takes longer than is looked ahead.
    fn draw(&self, rng: &mut ChaCha20Rng) -> Option<Span> {
        let chance = rng.next_u32() % 1000;
        let hour = self.0.partition_point(|met| *met <= chance);
        // Some time in that hour.
        let within = u64::from(rng.next_u32()) % Span::hours(1).0;
        let begins = Span::hours(hour as u64).0 + within;
        (hour < self.0.len()).then(|| Span(begins.saturating_sub(self.1.0)))
    }
}

impl Node {
    /// Returns when a disk can be plugged in, if that is known.
    fn at_hand(&self, courier: DeviceId, now: Timestamp) -> Option<Timestamp> {
        let owner = self.circle.courier(courier)?.member;
        let seen = self.circle.courier_seen(courier, now);
        let with = seen.map_or(owner, |(member, _)| member);
        match with == self.member {
            true => Some(now),
            false => self.expected(with, now).next,
        }
    }

    /// Returns whom to meet until these packs of ours, which are missing here, are back.
    pub fn way_home<'a>(&self, packs: impl Iterator<Item = &'a PackRecord>, now: Timestamp) -> Way {
        let devices = self.circle.devices().map(|(device, _)| device);
        let replaced = devices.filter(|device| self.circle.seems_replaced(*device));
        let replaced: BTreeSet<DeviceId> = replaced.collect();
        let on_disks = self.on_disks(None);
        let missing = Missing::new(packs.map(|record| {
            let aside = self.shards_aside(record.id);
            let lacking = usize::from(record.coding.k).saturating_sub(aside.len());
            let mut given: BTreeMap<DeviceId, Indices> = BTreeMap::new();
            for (index, shard) in record.shards.iter().enumerate() {
                let index = u8::try_from(index).unwrap_or(u8::MAX);
                if !aside.contains(&index) {
                    for device in self.inventory.givers(*shard) {
                        given.entry(device).or_default().insert(index);
                    }
                }
            }
            let number = self.inventory.number(record.id);
            let disks = number.and_then(|number| on_disks.get(&number));
            for (courier, lying) in disks.into_iter().flatten() {
                let new = (0..record.coding.n)
                    .filter(|index| lying.contains(*index) && !aside.contains(index));
                new.for_each(|index| given.entry(*courier).or_default().insert(index));
            }
            let given = without_needless(given, lacking, |device| replaced.contains(device));
            let bytes = u64::from(record.coding.shard_bytes);
            (bytes, u32::try_from(lacking).unwrap_or(u32::MAX), given)
        }));
        let members: Vec<Option<MemberId>> = (missing.devices.iter())
            .map(|device| self.circle.member_of(*device))
            .collect();
        let when = |device: usize, bytes: u64| {
            let (id, member) = (missing.devices[device], members[device]);
            match member {
                _ if self.is_near(id, now) => Some(now),
                Some(member) => self.moved_by(member, bytes, now),
                None => self.at_hand(id, now),
            }
        };
        let cost = |device, bytes| when(device, bytes).map_or(UNKNOWN_WAIT, |by| by.since(now));
        let mut order = missing.cover(cost);
        let gains = missing.gains(&missing.nobody());
        order.sort_by_key(|device| cost(*device, gains[*device]));
        let mut chosen = missing.nobody();
        order.iter().for_each(|device| chosen[*device] = true);
        let mut met = missing.nobody();
        let stops = order.iter().map(|device| {
            let (bytes, packs) = missing.brought(*device, &met);
            met[*device] = true;
            let instead = missing.instead_of(*device, &chosen).into_iter();
            Stop {
                device: missing.devices[*device],
                bytes,
                packs,
                by: when(*device, bytes),
                instead: instead.map(|it| missing.devices[it]).collect(),
            }
        });
        let stops = stops.collect();
        let (by, at_the_latest) = self.futures(&missing, &members, now);
        Way {
            stops,
            by,
            at_the_latest,
        }
    }

    /// Returns when everything is back in the middle one of many futures, and in nine of ten.
    fn futures(
        &self,
        missing: &Missing,
        members: &[Option<MemberId>],
        now: Timestamp,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        if missing.groups.is_empty() {
            return (None, None);
        }
        let offset = self.whereabouts().offset_minutes;
        let local = now.0.saturating_add_signed(i64::from(offset) * 60_000);
        let into_hour = Span(local % Span::hours(1).0);
        let gains = missing.gains(&missing.nobody());
        let mut waits: BTreeMap<MemberId, Waits> = BTreeMap::new();
        let mut more: Vec<Span> = Vec::new();
        for (device, member) in members.iter().enumerate() {
            let Some(member) = *member else {
                more.push(Span(0));
                continue;
            };
            let each = self.bytes_per_meeting(member, now).unwrap_or(u64::MAX);
            let meetings = gains[device].div_ceil(each.max(1)).saturating_sub(1);
            let between = self.habits.interval(member, now).unwrap_or(UNKNOWN_WAIT);
            more.push(Span(between.0.saturating_mul(meetings)));
            if let Some(forecast) = self.habits.forecast(member, now, offset) {
                let mut met = 0;
                let hours = (0..HOURS_AHEAD).map(|hour| {
                    met = forecast.within(Span::hours(hour as u64)).max(met);
                    met
                });
                waits
                    .entry(member)
                    .or_insert_with(|| Waits(hours.collect(), into_hour));
            }
        }
        let mut rng = ChaCha20Rng::from_seed([0; 32]);
        let mut ends: Vec<Span> = (0..FUTURES)
            .map(|_| {
                let mut first: BTreeMap<MemberId, Option<Span>> = BTreeMap::new();
                for (member, waits) in &waits {
                    first.insert(*member, waits.draw(&mut rng));
                }
                let times: Vec<Option<Span>> = (members.iter().enumerate())
                    .map(|(device, member)| {
                        if self.is_near(missing.devices[device], now) {
                            return Some(Span(0));
                        }
                        let wait = first.get(&(*member)?).copied().flatten()?;
                        Some(Span(wait.0.saturating_add(more[device].0)))
                    })
                    .collect();
                missing.whole_at(&times).unwrap_or(Span(u64::MAX))
            })
            .collect();
        ends.sort_unstable();
        let at = |number: usize| {
            let end = ends[number];
            (end != Span(u64::MAX)).then(|| now + end)
        };
        (at(FUTURES / 2), at(FUTURES * 9 / 10))
    }
}
