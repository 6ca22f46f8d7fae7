//! A circle that settles: friends are met one after the other, then what the first had too much goes.
//!
//! Nothing breaks, and nobody's files change after the first day: what is looked at is how much room
//! one owner's backup takes at all others together, in time.

use std::path::Path;

use carryall_core::{placement::members_target, plan::Order, time::Span};

use crate::{
    checker::trash::Trash,
    host::{Halt, Host},
    join,
    lab::Lab,
    options::Faults,
    rng::Rng,
    trace::Trace,
    workload,
    world::{BEGIN, Place},
};

/// Files of the owner, each in a pack of its own, and the bytes of each.
const FILES: u64 = 8;
const FILE_BYTES: u64 = 300_000;
/// How long two meet.
const MEETING: Span = Span::hours(1);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Bytes that the packs have to take at friends, each with as many shards as it shall have.
    pub target: u64,
    /// Bytes at friends, their trash included, when all were met, and at the end of each day after.
    pub bytes: Vec<u64>,
    /// Bytes in the trash at the end of each of these days.
    pub trash: Vec<u64>,
}

/// Lets an owner meet so many friends, and then so many days pass.
///
/// # Errors
///
/// Returns the first promise that was not kept, or what stopped the run.
pub fn settle(seed: u64, friends: usize, days: u64) -> Result<Settled, String> {
    let mut circle = Settling::begin(seed, friends).map_err(|error| error.to_string())?;
    circle.meet_all();
    let mut settled = Settled {
        target: circle.target(),
        bytes: Vec::new(),
        trash: Vec::new(),
    };
    let mut checker = Trash::default();
    for day in 0..=days {
        circle
            .lab
            .run_until(circle.lab.now + Span::days(u64::from(day > 0)));
        for machine in 1..=friends {
            checker.check(&circle.lab, machine)?;
        }
        let (bytes, trash) = circle.room();
        settled.bytes.push(bytes);
        settled.trash.push(trash);
    }
    Ok(settled)
}

#[derive(Debug)]
struct Settling {
    lab: Lab,
    friends: usize,
}

impl Settling {
    fn begin(seed: u64, friends: usize) -> Result<Self, Halt> {
        let rng = Rng::new(seed).fork("settling", 0);
        let mut lab = Lab::new(BEGIN, &rng, Faults::default(), Trace::new(false));
        for at in 0..=friends {
            let mut rng = rng.fork("machine", at as u64);
            let mut machine = join::make(&mut rng, &format!("member {at}"), at == 0, BEGIN)?;
            machine.place = Some(Place::Home);
            let host = Host::open(&machine.disk, rng.seed(), BEGIN, None, Order::Plan)?;
            machine.host = Some(host);
            lab.machines.push(machine);
            lab.started(at);
        }
        let mut invites = rng.fork("invites", 0);
        for guest in 1..=friends {
            if !join::invite(&mut lab, 0, guest, &mut invites) {
                return Err(Halt::because("a guest was not welcomed"));
            }
        }
        lab.run_until(lab.now + Span::secs(600));
        for at in 0..=friends {
            lab.go(at, None);
        }
        let mut content = rng.fork("content", 0);
        for at in 0..FILES {
            let bytes = content.bytes(usize::try_from(FILE_BYTES).unwrap_or(0));
            let name = format!("{at}.jpg");
            workload::add(&lab.machines[0].disk, Path::new(&name), &bytes)
                .map_err(|error| Halt::new(&error))?;
            let report = lab.with_host(0, Host::back_up);
            report.ok_or_else(|| Halt::because("a machine is off"))??;
        }
        Ok(Self { lab, friends })
    }

    /// The owner meets one friend after the other, then the first one again.
    fn meet_all(&mut self) {
        self.lab.go(0, Some(Place::Home));
        for friend in (1..=self.friends).chain([1]) {
            self.lab.go(friend, Some(Place::Home));
            self.lab.run_until(self.lab.now + MEETING);
            self.lab.go(friend, None);
        }
        self.lab.go(0, None);
    }

    fn target(&self) -> u64 {
        let Some(owner) = &self.lab.machines[0].host else {
            return 0;
        };
        let packs = owner.node.packs();
        packs
            .map(|pack| {
                let members = members_target(pack.kind, &pack.coding, self.friends);
                members as u64 * u64::from(pack.coding.shard_bytes)
            })
            .sum()
    }

    /// Returns the bytes at all friends together, and how many of them are in the trash.
    fn room(&self) -> (u64, u64) {
        let owner = self.lab.machines[0].member;
        let friends = self.lab.machines[1..].iter();
        let hosts = friends.filter_map(|machine| machine.host.as_ref());
        hosts.fold((0, 0), |(all, trash), host| {
            let trashed = host.trashed();
            let in_trash: u64 = trashed.iter().map(|(it, _)| u64::from(it.bytes)).sum();
            (all + host.kept_for(owner), trash + in_trash)
        })
    }
}
