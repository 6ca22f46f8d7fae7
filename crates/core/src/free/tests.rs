//! Single judgements, and ten thousand histories against a plain account of what was proved.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use rand_core::Rng as _;

use super::*;
use crate::{
    id::{DeviceId, PackId, ShardId},
    inventory::Inventory,
    limits,
    placement::{data_shards, next_shard},
    record::PackRecord,
    thin::{Claim, surplus},
    time::Span,
};

const HISTORIES: u64 = 10_000;
const STEPS: usize = 40;
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

fn member(at: u8) -> MemberId {
    MemberId([at; 32])
}

/// Claims of members, each with indices and a standing.
fn claims(of: &[(u8, &[u8], Standing)]) -> Vec<Held> {
    let each = |(at, indices, standing): &(u8, &[u8], Standing)| {
        let claim = |index: &u8| Held {
            member: member(*at),
            index: *index,
            standing: *standing,
        };
        indices.iter().map(claim).collect::<Vec<_>>()
    };
    of.iter().flat_map(each).collect()
}

fn large(k: u8, held: &[(u8, &[u8], Standing)], others: usize) -> Result<(), Refusal> {
    let coding = Coding {
        k,
        n: 2 * k + 2,
        shard_bytes: 64,
    };
    judge(PackKind::Large, &coding, &claims(held), others)
}

#[test]
fn a_single_friend_is_never_enough() {
    use Standing::Proved;
    assert_eq!(large(1, &[], 0), Err(Refusal::FewFriends { others: 0 }));
    assert_eq!(
        large(1, &[(1, &[0], Proved)], 1),
        Err(Refusal::FewFriends { others: 1 })
    );
    assert_eq!(large(1, &[(1, &[0], Proved), (2, &[0], Proved)], 2), Ok(()));
}

#[test]
fn the_whole_target_must_be_proved() {
    use Standing::{Gone, Proved, Refuted, Stale, Unproved};
    let with = |last: Standing| {
        let held: [(u8, &[u8], Standing); 4] = [
            (1, &[0], Proved),
            (2, &[1], Proved),
            (3, &[2], Proved),
            (4, &[3], last),
        ];
        large(2, &held, 4)
    };
    let (member, proved) = (member(4), BEGIN);
    assert_eq!(with(Proved), Ok(()));
    assert_eq!(with(Unproved), Err(Refusal::Unproved { member }));
    assert_eq!(with(Stale(proved)), Err(Refusal::Stale { member, proved }));
    assert_eq!(with(Refuted), Err(Refusal::Refuted { member }));
    assert_eq!(with(Gone), Err(Refusal::Gone { member }));
    let thin = large(2, &[(1, &[0, 1], Proved), (2, &[2], Unproved)], 4);
    assert_eq!(thin, Err(Refusal::Thin { hold: 1, want: 4 }));
}

#[test]
fn who_holds_it_must_be_dispensable() {
    use Standing::Proved;
    // Cut for six friends, of whom three are left: all of them are needed.
    let held: [(u8, &[u8], Standing); 3] =
        [(1, &[0], Proved), (2, &[1], Proved), (3, &[2], Proved)];
    assert_eq!(large(3, &held, 3), Err(Refusal::Needed));
    // One shard with everybody is one shard.
    let held: [(u8, &[u8], Standing); 4] = [1, 2, 3, 4].map(|at| (at, &[0_u8][..], Proved));
    assert_eq!(large(2, &held, 4), Err(Refusal::Needed));
}

#[test]
fn folder_lists_need_two_who_proved_them() {
    use Standing::{Proved, Unproved};
    let coding = Coding {
        k: 1,
        n: 1,
        shard_bytes: 64,
    };
    let lists = |held| judge(PackKind::Metadata, &coding, &claims(held), 6);
    assert_eq!(
        lists(&[(1, &[0], Proved), (2, &[0], Proved), (3, &[0], Unproved)]),
        Ok(())
    );
    assert_eq!(
        lists(&[(1, &[0], Proved)]),
        Err(Refusal::Thin { hold: 1, want: 2 })
    );
}

/// All that was ever said about one shard at one device, without an index.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    held: bool,
    shown: Option<Timestamp>,
    failed: Option<Timestamp>,
}

/// A pack, who has it, and what is said about that.
struct History {
    rng: ChaCha8Rng,
    now: Timestamp,
    others: usize,
    record: PackRecord,
    inventory: Inventory,
    /// Positions in the feed of each device.
    said_until: u64,
    /// Who is in the circle: a member has one device, or two.
    members: BTreeMap<DeviceId, MemberId>,
    gone: BTreeSet<DeviceId>,
    /// What really lies on disks.
    truth: BTreeSet<(DeviceId, u8)>,
    account: BTreeMap<(DeviceId, u8), Said>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let others = 1 + (rng.next_u32() % 7) as usize;
        // The circle may have been another size when the pack was cut.
        let when_cut = match rng.next_u32() % 4 {
            0 => 1 + (rng.next_u32() % 7) as usize,
            _ => others,
        };
        let coding = Coding::new(data_shards(PackKind::Large, when_cut), 100_000).unwrap();
        let record = PackRecord {
            id: PackId([1; 32]),
            epoch: 0,
            kind: PackKind::Large,
            bytes: 100_000,
            made: BEGIN,
            newest: BEGIN,
            coding,
            shards: (0..coding.n).map(|at| ShardId([at + 1; 32])).collect(),
        };
        let mut members = BTreeMap::new();
        for at in 0..u8::try_from(others).unwrap() {
            members.insert(DeviceId([2 * at; 32]), member(at));
            if rng.next_u32().is_multiple_of(4) {
                members.insert(DeviceId([2 * at + 1; 32]), member(at));
            }
        }
        let mut inventory = Inventory::default();
        inventory.add_pack(record.clone(), true);
        Self {
            rng,
            now: BEGIN,
            others,
            record,
            inventory,
            said_until: 0,
            members,
            gone: BTreeSet::new(),
            truth: BTreeSet::new(),
            account: BTreeMap::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end.max(1)
    }

    fn someone(&mut self) -> Option<(DeviceId, MemberId)> {
        let at = self.below(self.members.len());
        self.members.iter().nth(at).map(|(it, of)| (*it, *of))
    }

    fn held(&self) -> Vec<Held> {
        let pack = self.inventory.pack(self.record.id).unwrap();
        let member_of = |device| self.members.get(&device).copied();
        pack.held(&member_of, member(200), &self.gone, self.now)
    }

    fn shard(&self, index: u8) -> ShardId {
        self.record.shards[usize::from(index)]
    }

    /// A device says that it has a shard, or that it does not.
    fn say(&mut self, device: DeviceId, index: u8, held: bool) {
        self.said_until += 1;
        let (stem, at) = (self.shard(index).stem(), self.said_until);
        self.inventory.note_receipt(device, stem, held, at);
        self.account.entry((device, index)).or_default().held = held;
    }

    /// A meeting: the member gets what it should, as far as time allows.
    fn place(&mut self) {
        let Some((device, of)) = self.someone() else {
            return;
        };
        for _ in 0..1 + self.below(3) {
            let mut placed = Spread::new();
            for ((at, index), said) in &self.account {
                if let Some(member) = self.members.get(at).filter(|_| said.held) {
                    placed.entry(*member).or_default().insert(*index);
                }
            }
            let (kind, coding) = (self.record.kind, self.record.coding);
            let Some(index) = next_shard(kind, &coding, &placed, of, self.others) else {
                return;
            };
            self.truth.insert((device, index));
            self.say(device, index, true);
        }
    }

    /// A device says that it has what it does not have.
    fn lie(&mut self) {
        let index = self.below(usize::from(self.record.coding.n));
        if let Some((device, _)) = self.someone() {
            self.say(device, u8::try_from(index).unwrap(), true);
        }
    }

    /// A device shows what it says that it has, or some of it.
    fn audit(&mut self) {
        let Some((device, _)) = self.someone() else {
            return;
        };
        for index in 0..self.record.coding.n {
            let said = self.account.get(&(device, index)).copied();
            if !said.is_some_and(|said| said.held) || self.below(8) == 0 {
                continue;
            }
            let good = self.truth.contains(&(device, index));
            let shard = self.shard(index);
            self.inventory.note_audit(device, shard, self.now, good);
            let said = self.account.entry((device, index)).or_default();
            *(if good {
                &mut said.shown
            } else {
                &mut said.failed
            }) = Some(self.now);
        }
    }

    /// What is on a disk is lost, all or one shard, and the owner is told or not.
    fn lose(&mut self) {
        let Some((device, _)) = self.someone() else {
            return;
        };
        let (all, told) = (self.below(2) == 0, self.below(2) == 0);
        let mut has: Vec<u8> = (self.truth.iter())
            .filter(|(at, _)| *at == device)
            .map(|(_, index)| *index)
            .collect();
        has.truncate(if all { has.len() } else { 1 });
        for index in has {
            self.truth.remove(&(device, index));
            if told {
                self.say(device, index, false);
            }
        }
    }

    fn release(&mut self, device: DeviceId, index: u8) {
        let (shard, seen) = (self.shard(index), self.said_until + 1);
        self.inventory.note_release(device, shard, seen);
        self.account.entry((device, index)).or_default().held = false;
        self.truth.remove(&(device, index));
    }

    /// The first holders' surplus is given up.
    fn thin(&mut self) {
        let claims: Vec<Claim> = (self.account.iter())
            .filter(|(_, said)| said.held)
            .filter_map(|((device, index), said)| {
                Some(Claim {
                    member: *self.members.get(device)?,
                    device: *device,
                    index: *index,
                    proved: said.is_proved(self.now) && !self.gone.contains(device),
                })
            })
            .collect();
        let (kind, coding) = (self.record.kind, self.record.coding);
        for claim in surplus(kind, &coding, &claims, self.others, &|_| Span(0)) {
            self.release(claim.device, claim.index);
        }
    }

    fn step(&mut self) {
        match self.below(20) {
            0..7 => self.place(),
            7..14 => self.audit(),
            14 => self.lose(),
            15 => self.thin(),
            16 => match self.below(3) {
                0 => self.lie(),
                1 => {
                    if let Some((_, of)) = self.someone() {
                        self.members.retain(|_, it| *it != of);
                        self.others -= 1;
                    }
                }
                _ => {
                    // An owner may give up anything, by mistake or by a prune.
                    let index = self.below(usize::from(self.record.coding.n));
                    if let Some((device, _)) = self.someone() {
                        self.release(device, u8::try_from(index).unwrap());
                    }
                }
            },
            17 => {
                if let Some((device, _)) = self.someone()
                    && !self.gone.remove(&device)
                {
                    self.gone.insert(device);
                }
            }
            _ => self.now = self.now + Span::hours(1 + self.below(400) as u64),
        }
    }

    /// Returns what each member proved that it has, by the account alone.
    fn proved(&self) -> BTreeMap<MemberId, BTreeSet<u8>> {
        let mut proved: BTreeMap<MemberId, BTreeSet<u8>> = BTreeMap::new();
        for ((device, index), said) in &self.account {
            if let Some(member) = self.members.get(device)
                && said.is_proved(self.now)
                && !self.gone.contains(device)
            {
                proved.entry(*member).or_default().insert(*index);
            }
        }
        proved
    }
}

impl Said {
    fn is_proved(&self, now: Timestamp) -> bool {
        let lately = |at: Timestamp| now.since(at) <= limits::AUDIT_VALID;
        self.held && self.shown.is_some_and(lately) && self.failed < self.shown
    }
}

/// Tells whether `k` distinct shards are left, whichever `vanished` of these members do.
fn survives(proved: &BTreeMap<MemberId, BTreeSet<u8>>, vanished: usize, k: usize) -> bool {
    let all: Vec<&BTreeSet<u8>> = proved.values().collect();
    (0..1_u32 << all.len())
        .filter(|gone| gone.count_ones() as usize == vanished.min(all.len()))
        .all(|gone| {
            let left = all.iter().enumerate().filter(|(at, _)| gone >> at & 1 == 0);
            let left: BTreeSet<u8> = left.flat_map(|(_, it)| it.iter().copied()).collect();
            left.len() >= k
        })
}

/// A rule of when files may go.
type Rule<'a> = &'a dyn Fn(PackKind, &Coding, &[Held], usize) -> Result<(), Refusal>;

/// How often a rule let files go, and how often it refused, by reason.
#[derive(Debug, Default)]
struct Judged {
    freed: u32,
    refused: [u32; 7],
}

/// Judges at every moment of many histories. What may go must come back from those who proved that
/// they have it, though as many of them vanish as the pack was meant to survive, and one in any case.
/// Returns the first moment at which it would not.
fn live(histories: u64, rule: Rule<'_>) -> Result<Judged, String> {
    let mut judged = Judged::default();
    for seed in 0..histories {
        let mut history = History::new(seed);
        for step in 0..STEPS {
            history.step();
            let (kind, coding) = (history.record.kind, history.record.coding);
            match rule(kind, &coding, &history.held(), history.others) {
                Ok(()) => {
                    judged.freed += 1;
                    let k = usize::from(coding.k);
                    let holders = history.others.min(2 * k);
                    let vanished = holders.saturating_sub(k).max(1);
                    let proved = history.proved();
                    if !survives(&proved, vanished, k) {
                        return Err(format!(
                            "history {seed}, step {step}: {vanished} of {proved:?}, k = {k}"
                        ));
                    }
                }
                Err(refusal) => {
                    judged.refused[match refusal {
                        Refusal::FewFriends { .. } => 0,
                        Refusal::Thin { .. } => 1,
                        Refusal::Needed => 2,
                        Refusal::Stale { .. } => 3,
                        Refusal::Unproved { .. } => 4,
                        Refusal::Refuted { .. } => 5,
                        Refusal::Gone { .. } => 6,
                        Refusal::Unknown => unreachable!("the pack is known"),
                    }] += 1;
                }
            }
        }
    }
    Ok(judged)
}

#[test]
fn the_last_safe_copy_never_goes() {
    let judged = live(HISTORIES, &judge).unwrap();
    assert!(judged.freed > 10_000, "{judged:?}");
    assert!(judged.refused.iter().all(|it| *it > 100), "{judged:?}");
}

/// What the histories are worth: each rule that asks for a little less loses something in them.
#[test]
fn every_weaker_rule_loses_something() {
    let believing = |which: fn(Standing) -> bool| {
        move |kind: PackKind, coding: &Coding, held: &[Held], others: usize| {
            let mut held = held.to_vec();
            for it in held.iter_mut().filter(|it| which(it.standing)) {
                it.standing = Standing::Proved;
            }
            judge(kind, coding, &held, others)
        }
    };
    let with_health = |less: u32| {
        move |kind: PackKind, coding: &Coding, held: &[Held], others: usize| {
            let needed = health_target(kind, coding, others).max(HEALTH_MIN) - less;
            let proved = spread(held, |standing| standing == Standing::Proved);
            let enough = health(coding, &proved) >= needed;
            enough.then_some(()).ok_or(Refusal::Needed)
        }
    };
    // This one asks for as much, so that it is the rest that loses.
    live(HISTORIES, &with_health(0)).unwrap();
    let weaker: [(&str, Rule<'_>); 5] = [
        ("one holder less", &with_health(1)),
        ("receipts count", &believing(|it| it == Standing::Unproved)),
        ("failures don't", &believing(|it| it == Standing::Refuted)),
        (
            "old proofs count",
            &believing(|it| matches!(it, Standing::Stale(_))),
        ),
        ("the absent count", &believing(|it| it == Standing::Gone)),
    ];
    for (name, rule) in weaker {
        assert!(live(HISTORIES, rule).is_err(), "{name}");
    }
}
