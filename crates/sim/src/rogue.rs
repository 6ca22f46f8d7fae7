//! A device in the wrong hands: it does to its owner's backup whatever its keys allow, day after day.
//!
//! It deletes all files, forgets every snapshot, asks friends to release all that they keep, and floods
//! its feed with heads of past and future dates. Then the owner notices, comes back by the words on a
//! new machine, and removes it. Friends do nothing.

use std::{path::Path, sync::Arc};

use carryall_core::{
    entry::{Body, Subject},
    event::Command,
    feed::Author,
    head::seal_head,
    id::{PackId, SnapshotId},
    plan::Order,
    record::HeadRecord,
    time::{Span, Timestamp},
};
use carryall_store::{disk::Disk, vault::Vault};

use crate::{
    checker::{
        recovery::{bring_back, compare_all, in_directory},
        trash::Trash,
    },
    host::{FILES, HOME, Halt, Host, Rescue},
    join,
    lab::Lab,
    options::{Faults, Mistake},
    rng::Rng,
    trace::Trace,
    witness::Made,
    workload,
    world::{BEGIN, Place},
};

const FRIENDS: usize = 3;
/// Days on which the owner makes a snapshot.
const GOOD_DAYS: u64 = 12;
/// How long all are together on each day.
const MEETING: Span = Span::hours(1);
/// How long the new machine may take to bring all back.
const PATIENCE: Span = Span::hours(6);

/// What is done to whom, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rampage {
    /// Decides the rest.
    pub seed: u64,
    /// How many days the device is in the wrong hands.
    pub days: u64,
    /// How many heads it makes up on each of them.
    pub flood: u64,
    /// Put into all hosts on purpose.
    pub mistake: Option<Mistake>,
}

/// Lets a device go on the rampage, then its owner come back. Returns how many snapshots came back: all
/// of them.
///
/// # Errors
///
/// Returns the first promise that was not kept, or what stopped the run.
pub fn rampage(rampage: Rampage) -> Result<u64, String> {
    let mut theft = Theft::begin(rampage).map_err(|error| error.to_string())?;
    let mut checker = Trash::default();
    for day in 0..GOOD_DAYS + rampage.days {
        let done = match day < GOOD_DAYS {
            true => theft.back_up(day),
            false => theft.rage(),
        };
        done.map_err(|error| error.to_string())?;
        theft.meet();
        for friend in 1..=FRIENDS {
            checker.check(&theft.lab, friend)?;
        }
    }
    in_directory(|directory| theft.come_back(directory)).map_err(|error| error.to_string())
}

#[derive(Debug)]
struct Theft {
    lab: Lab,
    rampage: Rampage,
    made: Vec<Made>,
    rng: Rng,
}

impl Theft {
    fn begin(rampage: Rampage) -> Result<Self, Halt> {
        let rng = Rng::new(rampage.seed).fork("rogue", 0);
        let mut lab = Lab::new(BEGIN, &rng, Faults::default(), Trace::new(false));
        for at in 0..=FRIENDS {
            let mut rng = rng.fork("machine", at as u64);
            let mut machine = join::make(&mut rng, &format!("member {at}"), at == 0, BEGIN)?;
            machine.place = Some(Place::Home);
            let (seed, mistake) = (rng.seed(), rampage.mistake);
            let host = Host::open(&machine.disk, seed, BEGIN, mistake, Order::Plan)?;
            machine.host = Some(host);
            lab.machines.push(machine);
            lab.started(at);
        }
        let mut invites = rng.fork("invites", 0);
        for guest in 1..=FRIENDS {
            if !join::invite(&mut lab, 0, guest, &mut invites) {
                return Err(Halt::because("a guest was not welcomed"));
            }
        }
        lab.run_until(lab.now + Span::secs(600));
        let mut theft = Self {
            lab,
            rampage,
            made: Vec::new(),
            rng: rng.fork("days", 0),
        };
        theft.scatter();
        Ok(theft)
    }

    /// Everybody goes where nobody else is.
    fn scatter(&mut self) {
        for machine in 0..self.lab.machines.len() {
            self.lab.go(machine, None);
        }
    }

    /// All are together for an hour; then the rest of the day passes.
    fn meet(&mut self) {
        let tomorrow = self.lab.now + Span::days(1);
        for machine in 0..self.lab.machines.len() {
            self.lab.go(machine, Some(Place::Home));
        }
        self.lab.run_until(self.lab.now + MEETING);
        self.scatter();
        self.lab.run_until(tomorrow);
    }

    fn back_up(&mut self, day: u64) -> Result<(), Halt> {
        let disk = self.lab.machines[0].disk.clone();
        let change = match day {
            0 => workload::begin(&disk, &mut self.rng),
            _ => workload::change(&disk, &mut self.rng),
        };
        change.map_err(|error| Halt::new(&error))?;
        let report = self.lab.with_host(0, Host::back_up);
        let report = report.ok_or_else(|| Halt::because("a machine is off"))??;
        self.made.push(Made {
            machine: 0,
            snapshot: report.snapshot,
            time: self.lab.now,
            portrait: workload::portrait(&disk).map_err(|error| Halt::new(&error))?,
            packs: report.packs.iter().map(|pack| pack.id).collect(),
            safe: None,
        });
        Ok(())
    }

    /// What the device does on each day in the wrong hands.
    fn rage(&mut self) -> Result<(), Halt> {
        self.flood()?;
        let disk = self.lab.machines[0].disk.clone();
        for file in disk.files() {
            if file.starts_with(FILES) {
                disk.remove_file(&file).map_err(|error| Halt::new(&error))?;
            }
        }
        let done = self.lab.with_host(0, |host, now| {
            let snapshots: Vec<SnapshotId> =
                host.heads().iter().map(|head| head.snapshot).collect();
            let packs: Vec<PackId> = host.node.packs().map(|pack| pack.id).collect();
            let forget = Command::Forget {
                snapshots,
                forgotten: true,
            };
            host.command(now, forget)?;
            host.command(now, Command::Release { packs })
        });
        let done = done.ok_or_else(|| Halt::because("a machine is off"))?;
        done.map_err(|error| Halt::new(&error))
    }

    /// Writes heads into the device's feed that its program would never write.
    fn flood(&mut self) -> Result<(), Halt> {
        let now = self.lab.now;
        let rogue = &mut self.lab.machines[0];
        let real = rogue.host.as_ref().and_then(|host| host.heads().pop());
        let real = real.ok_or_else(|| Halt::because("there is no head to copy"))?;
        rogue.host = None;
        rogue.boot += 1;
        let shared: Arc<dyn Disk> = Arc::new(rogue.disk.clone());
        let vault = Vault::open(shared, Path::new(HOME)).map_err(|error| Halt::new(&error))?;
        let feeds = vault.feeds(&mut |_, _, _| {});
        let feeds = feeds.map_err(|error| Halt::new(&error))?;
        let identity = vault.identity();
        let keys = identity.vault.head_keys(0);
        let mut tips = feeds.tips().into_iter();
        let tip = tips.find(|tip| tip.device == rogue.device);
        let (Some(tip), Some(circle), Some(keys)) = (tip, identity.circle, keys) else {
            return Err(Halt::because("the rogue device is in no circle"));
        };
        let mut author = Author::resume(circle, &identity.device_secret, tip.len, tip.hash);
        let mut entries = Vec::new();
        for at in 0..self.rampage.flood {
            let time = match at % 2 {
                0 => Timestamp(now.0 / self.rampage.flood * at),
                _ => now + Span::days(at),
            };
            let made_up = HeadRecord {
                snapshot: SnapshotId(self.rng.seed()),
                time,
                ..real.clone()
            };
            let head = seal_head(&keys, &made_up).map_err(|error| Halt::new(&error))?;
            let entry = author.write(time, &Body::Head(head));
            entries.push(entry.map_err(|error| Halt::new(&error))?);
        }
        let appended = feeds.append(rogue.device, tip.len, &entries);
        appended.map_err(|error| Halt::new(&error))?;
        drop((feeds, vault));
        let (seed, mistake) = (self.rng.seed(), self.rampage.mistake);
        rogue.host = Some(Host::open(&rogue.disk, seed, now, mistake, Order::Plan)?);
        self.lab.started(0);
        Ok(())
    }

    /// The owner comes back by the words, removes the device, and brings everything back from friends.
    fn come_back(mut self, directory: &Path) -> Result<u64, Halt> {
        let anew = self.lab.machines.len();
        let words = self.lab.machines[0].words.clone();
        let mut machine = join::make_anew(&words, &mut self.rng, self.lab.now)?;
        let (seed, now) = (self.rng.seed(), self.lab.now);
        machine.host = Some(Host::open(&machine.disk, seed, now, None, Order::Plan)?);
        machine.place = Some(Place::Home);
        self.lab.machines.push(machine);
        self.lab.go(1, Some(Place::Home));
        self.lab.started(anew);
        if !join::invite(&mut self.lab, 1, anew, &mut self.rng) {
            return Err(Halt::because("the friend's invite was not accepted"));
        }
        self.lab.run_until(self.lab.now + Span::secs(600));
        let subject = Subject::Device(self.lab.machines[0].device);
        let removed = self.lab.with_host(anew, |host, now| {
            host.command(now, Command::Remove { subject })
        });
        let removed = removed.ok_or_else(|| Halt::because("a machine is off"))?;
        removed.map_err(|error| Halt::new(&error))?;
        self.meet();
        for friend in (1..=FRIENDS).chain([anew]) {
            self.lab.go(friend, Some(Place::Home));
        }
        let expected: Vec<&Made> = self.made.iter().collect();
        let mut rescue = Rescue::new(directory, expected.iter().map(|made| made.snapshot));
        bring_back(&mut self.lab, anew, &mut rescue, PATIENCE)?;
        compare_all(&self.lab, anew, &rescue, &expected)?;
        Ok(expected.len() as u64)
    }
}
