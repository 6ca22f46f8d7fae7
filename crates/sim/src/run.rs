//! A run: days in the life of a circle, with everything that goes wrong, then a calm end.

use carryall_core::{
    event::Command,
    plan::Order,
    time::{Span, Timestamp},
};
use carryall_store::mem_disk::Survival;

use crate::{
    agenda::{Agenda, Task},
    checker::{
        Violation, convergence, durability, durability::Durability, quiet, quota, recovery,
        trash::Trash,
    },
    host::{Halt, Host},
    join,
    lab::Lab,
    options::{Faults, Mistake, Options},
    report::Report,
    rng::Rng,
    trace::Trace,
    witness::Made,
    workload,
    world::{BEGIN, Place},
};

/// Offers below the default are between these, in bytes.
const OFFER_BYTES: [u64; 2] = [600 << 10, 4 << 20];

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    /// Figures.
    pub report: Report,
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
}

/// Runs a simulation. With `print` every event is written to standard output.
pub fn run(options: &Options, print: bool) -> Outcome {
    let rng = Rng::new(options.seed);
    let mut run = Run {
        lab: Lab::new(BEGIN, &rng, Faults::default(), Trace::new(print)),
        agenda: Agenda::new(options, &rng),
        durability: Durability::default(),
        trash: Trash::default(),
        violations: Vec::new(),
        drills: 0,
        rng,
        options,
    };
    match run.begin() {
        Ok(()) => run.live(),
        Err(error) => run.violate("start", 0, error.to_string()),
    }
    let report = Report::of(&run.lab, run.drills);
    Outcome {
        report,
        violations: run.violations,
    }
}

/// A run under way.
#[derive(Debug)]
struct Run<'a> {
    options: &'a Options,
    rng: Rng,
    lab: Lab,
    agenda: Agenda,
    durability: Durability,
    trash: Trash,
    violations: Vec<Violation>,
    drills: u64,
}

impl Run<'_> {
    fn violate(&mut self, checker: &'static str, machine: usize, what: String) {
        self.violations.push(Violation {
            checker,
            at: self.lab.now,
            machine,
            what,
        });
    }

    fn check(&mut self, checker: &'static str, machine: usize, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.violate(checker, machine, what);
        }
    }

    /// Makes the machines and brings them into one circle.
    fn begin(&mut self) -> Result<(), Halt> {
        for at in 0..self.options.devices {
            let mut rng = self.rng.fork("machine", at as u64);
            let mut machine = join::make(&mut rng, &format!("member {at}"), at == 0, BEGIN)?;
            machine.place = Some(Place::Home);
            self.lab.machines.push(machine);
            self.start(at);
        }
        let mut rng = self.rng.fork("invites", 0);
        for guest in 1..self.options.devices {
            let inviter = rng.index(guest);
            if !join::invite(&mut self.lab, inviter, guest, &mut rng) {
                return Err(Halt::because("a guest was not welcomed"));
            }
        }
        for at in 0..self.options.devices {
            self.offer(at);
            let mut rng = self.rng.fork("first files", at as u64);
            workload::begin(&self.lab.machines[at].disk, &mut rng).map_err(|e| Halt::new(&e))?;
        }
        self.lab.network.faults = self.options.faults;
        for at in 0..self.options.devices {
            self.skew(at);
            self.lab.go(at, None);
        }
        Ok(())
    }

    /// Some keep less for some than the default.
    fn offer(&mut self, machine: usize) {
        let mut rng = self.rng.fork("offers", machine as u64);
        let all_small = self.options.mistake == Some(Mistake::ForgetShelf);
        for other in 0..self.options.devices {
            let bytes = rng.between(OFFER_BYTES[0], OFFER_BYTES[1]);
            if other == machine || !(rng.chance(200) || all_small) {
                continue;
            }
            let to = self.lab.machines[other].member;
            self.lab.with_host(machine, |host, now| {
                // Who has not heard of a member yet keeps the default for them.
                let _ = host.command(now, Command::Offer { to, bytes });
            });
        }
    }

    fn skew(&mut self, machine: usize) {
        let most = i64::from(self.options.faults.skew_minutes_max) * 60_000;
        let drawn = self
            .rng
            .fork("skew", self.lab.now.0 ^ machine as u64)
            .below(most as u64 * 2 + 1);
        self.lab.machines[machine].skew_ms = i64::try_from(drawn).unwrap_or(0) - most;
    }

    /// Lets the days pass, then checks the end.
    fn live(&mut self) {
        for day in 0..self.options.days {
            for (at, task) in self.agenda.day(day) {
                self.lab.run_until(at);
                self.write_back();
                self.perform(task);
            }
            for machine in 0..self.lab.machines.len() {
                let checked = quota::check(&self.lab, machine);
                self.check("quota", machine, checked);
                let checked = self.trash.check(&self.lab, machine);
                self.check("trash", machine, checked);
            }
        }
        self.end();
    }

    /// Sometimes disks take what was not synced, as kernels make them do after a while.
    fn write_back(&mut self) {
        let mut rng = self.rng.fork("write back", self.lab.now.0);
        for machine in &self.lab.machines {
            if rng.chance(500) && !machine.is_without_power() {
                machine.disk.write_back();
            }
        }
    }

    fn perform(&mut self, task: Task) {
        self.lab.trace.note(self.lab.now, 0, &task);
        match task {
            Task::Go(machine, place) => {
                if !self.lab.machines[machine].destroyed {
                    self.lab.go(machine, place);
                }
            }
            Task::Work(machine) => self.work(machine),
            Task::PowerCut(machine, ops) => self.lab.machines[machine].cut_power_after(ops),
            Task::Crash(machine, survival) => self.crash(machine, survival),
            Task::Start(machine) => {
                self.skew(machine);
                self.start(machine);
            }
            Task::Fill(machine) => self.set_full(machine, true),
            Task::Drain(machine) => self.set_full(machine, false),
            Task::Rot(machine) => self.rot(machine),
            Task::Destroy(machine) => self.destroy(machine),
            Task::Drill(owner) => self.drill(owner),
        }
    }

    /// Fills a disk, or makes room again: then a process that could not start for want of it does.
    fn set_full(&mut self, machine: usize, full: bool) {
        let here = &mut self.lab.machines[machine];
        here.disk.fill_after(full.then_some(0));
        here.full = full;
        if !full && here.waits {
            self.start(machine);
        }
    }

    fn start(&mut self, machine: usize) {
        let now = self.lab.machines[machine].clock(self.lab.now);
        let here = &mut self.lab.machines[machine];
        if here.destroyed || here.host.is_some() {
            return;
        }
        here.waits = false;
        here.boot += 1;
        here.visit += 1;
        let seed = self
            .rng
            .fork("boot", here.boot << 8 | machine as u64)
            .seed();
        here.disk.set_now(now);
        match Host::open(&here.disk, seed, now, self.options.mistake, Order::Plan) {
            Ok(host) => {
                here.host = Some(host);
                self.lab.started(machine);
                let checked = durability::check_snapshots(&self.lab, machine);
                self.check("durability", machine, checked);
            }
            Err(_) if here.full => here.waits = true,
            Err(error) => self.violate("durability", machine, format!("can't start: {error}")),
        }
    }

    fn crash(&mut self, machine: usize, survival: Survival) {
        let here = &mut self.lab.machines[machine];
        if here.destroyed {
            return;
        }
        here.host = None;
        here.boot += 1;
        let left = here.disk.crash(survival);
        let checked = self.durability.check(&self.lab, machine);
        self.check("durability", machine, checked);
        self.lab.break_links(machine);
        self.lab.machines[machine].replace_disk(left);
    }

    fn work(&mut self, machine: usize) {
        let mut rng = self.rng.fork("work", self.lab.now.0 ^ machine as u64);
        let here = &self.lab.machines[machine];
        here.disk.set_now(here.clock(self.lab.now));
        if here.host.is_none() || workload::change(&here.disk, &mut rng).is_err() {
            return;
        }
        self.back_up(machine);
    }

    /// Makes a backup, and notes what it has to bring back one day.
    fn back_up(&mut self, machine: usize) {
        let Some(Ok(report)) = self.lab.with_host(machine, Host::back_up) else {
            return;
        };
        let here = &self.lab.machines[machine];
        let (Some(host), false) = (&here.host, here.is_without_power()) else {
            return;
        };
        let noted = workload::portrait(&here.disk)
            .map_err(|error| Halt::new(&error))
            .and_then(|portrait| Ok((portrait, host.packs_of(&report.head)?)));
        match noted {
            Ok((mut portrait, Some(packs))) if report.unread == 0 => {
                if self.options.mistake == Some(Mistake::WrongContent) {
                    portrait.pop_last();
                }
                let (snapshot, time, safe) = (report.snapshot, self.lab.now, None);
                self.lab.witness.made(Made {
                    machine,
                    snapshot,
                    time,
                    portrait,
                    packs,
                    safe,
                });
            }
            Ok(_) => {}
            Err(error) => self.violate("recovery", machine, format!("just made: {error}")),
        }
    }

    fn rot(&mut self, machine: usize) {
        let mut rng = self.rng.fork("rot", self.lab.now.0 ^ machine as u64);
        let Some(host) = &self.lab.machines[machine].host else {
            return;
        };
        let shelved = host.shelved();
        if shelved.is_empty() {
            return;
        }
        let (path, shelved) = &shelved[rng.index(shelved.len())];
        let bit = rng.below(u64::from(shelved.bytes) * 8);
        if self.lab.machines[machine]
            .disk
            .rot(path, bit)
            .unwrap_or(false)
        {
            let device = self.lab.machines[machine].device;
            self.lab
                .witness
                .rotten
                .insert((device, shelved.owner, shelved.shard));
        }
    }

    fn destroy(&mut self, machine: usize) {
        self.lab.break_links(machine);
        let here = &mut self.lab.machines[machine];
        here.host = None;
        here.boot += 1;
        here.destroyed = true;
        here.place = None;
    }

    fn drill(&mut self, owner: usize) {
        let mut rng = self.rng.fork("drill", self.lab.now.0 ^ owner as u64);
        let checked = recovery::check(&self.lab, owner, &mut rng);
        match checked {
            Ok(restored) => self.drills += restored,
            Err(what) => self.violate("recovery", owner, what),
        }
    }

    /// Faults stop, all meet.
    fn end(&mut self) {
        self.lab.network.faults = Faults::default();
        for machine in 0..self.lab.machines.len() {
            self.set_full(machine, false);
            if self.lab.machines[machine].is_without_power() {
                self.crash(machine, Survival::Synced);
            }
            self.start(machine);
            self.work(machine);
        }
        self.gather();
        if let Err((machine, what)) = convergence::check(&mut self.lab) {
            self.violate("convergence", machine, what);
        }
        let running = self.running();
        for (at, &dialler) in running.iter().enumerate() {
            for &accepter in &running[at + 1..] {
                let checked = quiet::check(&mut self.lab, dialler, accepter);
                self.check("quiet", dialler, checked);
            }
        }
        for &machine in &running {
            let checked = self.durability.check(&self.lab, machine);
            self.check("durability", machine, checked);
            let checked = quota::check(&self.lab, machine);
            self.check("quota", machine, checked);
        }
        let owner = running[self.rng.fork("last drill", 0).index(running.len())];
        self.drill(owner);
        self.part(&running);
    }

    fn running(&self) -> Vec<usize> {
        let machines = self.lab.machines.iter().enumerate();
        machines
            .filter(|(_, it)| it.host.is_some())
            .map(|(at, _)| at)
            .collect()
    }

    fn gather(&mut self) {
        for machine in self.running() {
            self.lab.go(machine, Some(Place::Home));
        }
    }

    /// All part for longer than parts of shards are kept.
    fn part(&mut self, running: &[usize]) {
        for &machine in running {
            self.lab.go(machine, None);
        }
        let later = Timestamp(self.lab.now.0) + convergence::APART;
        self.lab.run_until(later);
        self.lab.run_until(self.lab.now + Span::secs(1));
        for &machine in running {
            let checked = convergence::check_leftovers(&mut self.lab, machine);
            self.check("convergence", machine, checked);
        }
    }
}
