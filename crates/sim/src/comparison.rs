//! Orders of encounters compared: how long until a new pack is safe, if time runs out?
//!
//! Nothing breaks in these weeks. The people, their files and their meetings follow from the seed
//! alone, and are the same for each order; the order is all that differs.

use std::{
    fmt, io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use carryall_core::{
    id::PackId,
    plan::Order,
    record::PackKind,
    time::{Span, Timestamp},
};

use crate::{
    agenda::Task,
    diary::{self, COLLEAGUES},
    host::{Halt, Host},
    join,
    lab::Lab,
    options::Faults,
    rng::Rng,
    seeds,
    trace::Trace,
    workload,
    world::{BEGIN, Place},
};

/// What the air of a room carries in a second, in bytes, for all who are in it. All sizes are about a
/// two-thousandth of what they stand for: some 25 Mbit/s.
const AIR_BYTES_PER_SEC: u64 = 1600;
/// New content of a backup, in bytes: 160 to 640 MB.
const NEW_BYTES: [u64; 2] = [80_000, 320_000];
/// Backups of each colleague before the week, which wait to be placed too.
const BACKLOG: u64 = 10;
/// The age of what they hold: a month for each.
const BACKLOG_AGE: Span = Span::days(30);

/// How the new packs of some weeks fared with one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How long each waited until friends alone could rebuild it, by proof, as its owner knew. What was
    /// never safe waited until the end.
    waits: Vec<Span>,
    /// How many were safe at the end.
    safe: usize,
    /// How many packs waited since before the week, and how many of them were safe at the end.
    backlog: (usize, usize),
}

impl Waits {
    fn add(&mut self, other: Self) {
        self.waits.extend(other.waits);
        self.safe += other.safe;
        self.backlog.0 += other.backlog.0;
        self.backlog.1 += other.backlog.1;
    }

    /// Returns how many packs there were.
    pub fn packs(&self) -> usize {
        self.waits.len()
    }

    /// Returns the mean wait in hours.
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.waits.iter().map(|wait| wait.0).sum();
        hours(sum as f64 / self.waits.len().max(1) as f64)
    }

    /// Returns the wait in hours that so many packs in a thousand don't exceed.
    pub fn quantile(&self, per_mille: usize) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = (waits.len() * per_mille / 1000).min(waits.len().saturating_sub(1));
        waits.get(at).map_or(0.0, |wait| hours(wait.0 as f64))
    }

    /// Returns the share of older packs that were safe at the end.
    pub fn backlog_safe(&self) -> f64 {
        share(self.backlog.1, self.backlog.0)
    }

    /// Returns the share of packs that were safe at the end.
    pub fn share_safe(&self) -> f64 {
        share(self.safe, self.waits.len())
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn hours(ms: f64) -> f64 {
    ms / 3_600_000.0
}

/// Each order with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// In the order of the table.
    pub rows: [(&'static str, Waits); 3],
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| order | mean h | p50 h | p99 h | safe at the end | older safe at the end |"
        )?;
        write!(f, "|---|---|---|---|---|---|")?;
        for (name, waits) in &self.rows {
            let (mean, share) = (waits.mean(), 100.0 * waits.share_safe());
            let older = 100.0 * waits.backlog_safe();
            let (median, late) = (waits.quantile(500), waits.quantile(990));
            write!(
                f,
                "\n| {name} | {mean:.1} | {median:.1} | {late:.1} | {share:.1} % | {older:.1} % |"
            )?;
        }
        Ok(())
    }
}

/// Lets each of the seeds from 1 on live through the same days, once for each order.
///
/// # Errors
///
/// Returns what stopped a run: an error of this program.
pub fn compare(seeds: u64, days: u32) -> Result<Comparison, String> {
    let done = Mutex::new(Vec::new());
    // Each order of each seed by itself: of few seeds no processor waits for long.
    seeds::for_each(0..3 * seeds, |job| {
        let (seed, row) = (job / 3 + 1, (job % 3) as usize);
        let order = [Order::Plan, Order::Random(seed), Order::OldestFirst][row];
        let waits = Week::live(seed, days, order);
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(((seed, row), waits));
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(job, _)| *job);
    let mut rows = ["plan", "random", "oldest first"].map(|name| (name, Waits::default()));
    for ((seed, row), waits) in done {
        let waits = waits.map_err(|error| format!("seed {seed}: {error}"))?;
        rows[row].1.add(waits);
    }
    Ok(Comparison { rows })
}

/// One week under way.
#[derive(Debug)]
struct Week {
    rng: Rng,
    lab: Lab,
    order: Order,
    /// New packs, and when each was made.
    made: Vec<(PackId, Timestamp)>,
    /// Packs from before the week.
    backlog: Vec<PackId>,
}

impl Week {
    fn live(seed: u64, days: u32, order: Order) -> Result<Waits, Halt> {
        let rng = Rng::new(seed).fork("week", 0);
        let lab = Lab::new(BEGIN, &rng, Faults::default(), Trace::new(false));
        let mut week = Self {
            rng,
            lab,
            order,
            made: Vec::new(),
            backlog: Vec::new(),
        };
        week.begin()?;
        for day in 0..days {
            for (at, task) in diary::day(&week.rng, day) {
                week.lab.run_until(at);
                match task {
                    Task::Go(machine, place) => week.lab.go(machine, place),
                    Task::Work(machine) => {
                        let now = week.lab.now;
                        let packs = week.work(machine, now)?;
                        week.made.extend(packs.into_iter().map(|pack| (pack, now)));
                    }
                    _ => {}
                }
            }
        }
        week.lab.run_until(BEGIN + Span::days(days.into()));
        Ok(week.waits())
    }

    /// Makes the circle, and what there was before the week.
    fn begin(&mut self) -> Result<(), Halt> {
        for at in 0..COLLEAGUES {
            let mut rng = self.rng.fork("machine", at as u64);
            let mut machine = join::make(&mut rng, &format!("member {at}"), at == 0, BEGIN)?;
            machine.place = Some(Place::Home);
            let host = Host::open(&machine.disk, rng.seed(), BEGIN, None, self.order)?;
            machine.host = Some(host);
            self.lab.machines.push(machine);
            self.lab.started(at);
        }
        let mut rng = self.rng.fork("invites", 0);
        for guest in 1..COLLEAGUES {
            if !join::invite(&mut self.lab, 0, guest, &mut rng) {
                return Err(Halt::because("a guest was not welcomed"));
            }
        }
        self.lab.run_until(self.lab.now + Span::secs(600));
        for at in 0..COLLEAGUES {
            self.lab.go(at, None);
        }
        self.lab.network.set_pace(AIR_BYTES_PER_SEC);
        for at in 0..COLLEAGUES {
            for age in (1..=BACKLOG).rev() {
                let packs = self.work(at, Timestamp(BEGIN.0 - age * BACKLOG_AGE.0))?;
                self.backlog.extend(packs);
            }
        }
        Ok(())
    }

    /// A file is made, as it were at `time`, and a backup now. Returns the new packs of content.
    fn work(&mut self, machine: usize, time: Timestamp) -> Result<Vec<PackId>, Halt> {
        let mut rng = self.rng.fork("work", time.0 ^ machine as u64);
        let here = &self.lab.machines[machine];
        let file = |error: io::Error| Halt::new(&error);
        here.disk.set_now(time);
        let content = rng.between(NEW_BYTES[0], NEW_BYTES[1]);
        let content = rng.bytes(usize::try_from(content).unwrap_or(0));
        let name = format!("{:x}.jpg", rng.next());
        workload::add(&here.disk, Path::new(&name), &content).map_err(file)?;
        here.disk.set_now(here.clock(self.lab.now));
        let report = self.lab.with_host(machine, Host::back_up);
        let report = report.ok_or_else(|| Halt::because("a machine is off"))??;
        let content = |pack: &&carryall_core::record::PackRecord| pack.kind != PackKind::Metadata;
        let packs = report.packs.iter().filter(content);
        Ok(packs.map(|pack| pack.id).collect())
    }

    fn waits(&self) -> Waits {
        let is_safe = |pack: &&PackId| self.lab.witness.safe.contains_key(*pack);
        let backlog = self.backlog.iter().filter(is_safe).count();
        let mut waits = Waits {
            backlog: (self.backlog.len(), backlog),
            ..Waits::default()
        };
        for (pack, made) in &self.made {
            let safe = self.lab.witness.safe.get(pack).copied();
            waits.safe += usize::from(safe.is_some());
            waits.waits.push(safe.unwrap_or(self.lab.now).since(*made));
        }
        waits
    }
}
