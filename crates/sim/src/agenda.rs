//! The agenda: who does what when, and what goes wrong when. It is drawn before it happens.

use carryall_core::time::{Span, Timestamp};
use carryall_store::mem_disk::Survival;

use crate::{
    options::{Faults, Options, Scenario},
    rng::Rng,
    world::{BEGIN, Place, stays},
};

/// A day's end is this close to midnight: tasks of one day come before those of the next.
const DAY: Span = Span::hours(24);
/// A machine is off for at most this long, in seconds.
const OFF_SECS_MAX: u64 = 3 * 3600;
/// A disk is full for at most this long, in seconds.
const FULL_SECS_MAX: u64 = 8 * 3600;
/// A power cut comes within this many disk operations: in the middle of something.
const CUT_OPS_MAX: u64 = 500;

/// Something that happens from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// A machine is brought to a place, or away.
    Go(usize, Option<Place>),
    /// Files change, and a backup is made.
    Work(usize),
    /// The power goes after so many disk operations.
    PowerCut(usize, u64),
    /// The machine is down, and this is left on its disk.
    Crash(usize, Survival),
    /// The machine is switched on.
    Start(usize),
    /// The disk is full.
    Fill(usize),
    /// There is room again.
    Drain(usize),
    /// A bit on a shelf turns.
    Rot(usize),
    /// The machine is destroyed, and its disk.
    Destroy(usize),
    /// What if this machine were destroyed now?
    Drill(usize),
}

/// Draws the days.
#[derive(Debug)]
pub(crate) struct Agenda {
    rng: Rng,
    scenario: Scenario,
    faults: Faults,
    devices: usize,
    /// The machine that is destroyed, and on which day.
    doomed: Option<(usize, u32)>,
    /// The days of drills.
    drills: Vec<u32>,
}

impl Agenda {
    pub(crate) fn new(options: &Options, rng: &Rng) -> Self {
        let rng = rng.fork("agenda", 0);
        let mut draw = rng.fork("run", 0);
        let faults = options.faults;
        let machine = draw.index(options.devices);
        let day = u32::try_from(draw.below(options.days.into())).unwrap_or(0);
        let doomed = draw
            .chance(faults.destroy_per_mille)
            .then_some((machine, day));
        let drills = vec![u32::try_from(draw.below(options.days.into())).unwrap_or(0)];
        Self {
            rng,
            scenario: options.scenario,
            faults,
            devices: options.devices,
            doomed,
            drills,
        }
    }

    /// Returns what happens on a day, in order.
    pub(crate) fn day(&self, day: u32) -> Vec<(Timestamp, Task)> {
        let midnight = BEGIN + Span::days(day.into());
        let mut tasks = Vec::new();
        for machine in 0..self.devices {
            let rng = self.rng.fork("machine", machine as u64);
            self.go(day, machine, &mut rng.fork("go", day.into()), &mut tasks);
            work(
                midnight,
                machine,
                &mut rng.fork("work", day.into()),
                &mut tasks,
            );
            self.fail(
                midnight,
                machine,
                &mut rng.fork("fail", day.into()),
                &mut tasks,
            );
        }
        let mut rng = self.rng.fork("circle", day.into());
        let noon = midnight + Span::secs(rng.below(86_400));
        if let Some((machine, _)) = self.doomed.filter(|doomed| doomed.1 == day) {
            tasks.push((noon, Task::Destroy(machine)));
        }
        for _ in self.drills.iter().filter(|drill| **drill == day) {
            let at = midnight + Span::secs(rng.between(6 * 3600, 86_399));
            tasks.push((at, Task::Drill(rng.index(self.devices))));
        }
        // Stable: what was drawn first comes first at equal times.
        tasks.sort_by_key(|(at, _)| *at);
        for (at, _) in &mut tasks {
            *at = (*at).min(midnight + DAY);
        }
        tasks
    }

    fn go(&self, day: u32, machine: usize, rng: &mut Rng, tasks: &mut Vec<(Timestamp, Task)>) {
        for stay in stays(self.scenario, machine, day, rng) {
            tasks.push((stay.from, Task::Go(machine, Some(stay.place))));
            tasks.push((stay.to, Task::Go(machine, None)));
        }
    }

    fn fail(
        &self,
        midnight: Timestamp,
        machine: usize,
        rng: &mut Rng,
        tasks: &mut Vec<(Timestamp, Task)>,
    ) {
        let faults = &self.faults;
        let moment = |rng: &mut Rng| midnight + Span::secs(rng.between(6 * 3600, 20 * 3600));
        if rng.chance(faults.restart_per_mille) {
            let mut at = moment(rng);
            if let Some(visit) = midst(tasks, machine, rng) {
                at = visit;
            }
            let survival = match rng.below(3) {
                0 => Survival::All,
                1 => Survival::Synced,
                _ => Survival::Torn { seed: rng.next() },
            };
            // Half of them in the middle of a backup.
            if rng.chance(500) {
                tasks.push((at, Task::PowerCut(machine, rng.below(CUT_OPS_MAX))));
                tasks.push((at, Task::Work(machine)));
            } else {
                tasks.push((at, Task::PowerCut(machine, rng.below(CUT_OPS_MAX / 10))));
            }
            let down = at + Span::secs(rng.between(1, 120));
            tasks.push((down, Task::Crash(machine, survival)));
            tasks.push((
                down + Span::secs(1 + rng.below(OFF_SECS_MAX)),
                Task::Start(machine),
            ));
        }
        if rng.chance(faults.full_per_mille) {
            let at = moment(rng);
            tasks.push((at, Task::Fill(machine)));
            tasks.push((
                at + Span::secs(1 + rng.below(FULL_SECS_MAX)),
                Task::Drain(machine),
            ));
        }
        if rng.chance(faults.rot_per_mille) {
            tasks.push((moment(rng), Task::Rot(machine)));
        }
    }
}

/// Returns a moment soon after a machine's arrival, when much is going on.
fn midst(tasks: &[(Timestamp, Task)], machine: usize, rng: &mut Rng) -> Option<Timestamp> {
    let arrival = tasks
        .iter()
        .find(|(_, task)| matches!(task, Task::Go(it, Some(_)) if *it == machine));
    arrival.map(|(at, _)| *at + Span::millis(rng.below(20_000)))
}

/// One or two backups a day, at any time.
fn work(midnight: Timestamp, machine: usize, rng: &mut Rng, tasks: &mut Vec<(Timestamp, Task)>) {
    for _ in 0..rng.between(1, 2) {
        let at = midnight + Span::secs(rng.between(7 * 3600, 22 * 3600));
        tasks.push((at, Task::Work(machine)));
    }
}
