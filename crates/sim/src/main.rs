//! Replays one simulated run: `carryall-sim --seed N --days D`, or compares orders of encounters:
//! `carryall-sim --scenario office --seeds 200 --days 7 --compare`. Or lives through years, and compares
//! policies: `carryall-sim --scenario family --years 3 --seeds 200 --report DIR`. Or shows what parcels are
//! worth: `carryall-sim --scenario village --days 120 --seeds 20 --parcels`. Or burns a house in each seed:
//! `carryall-sim --seeds 200 --homecoming`.

use std::{ops::Range, path::PathBuf, process::ExitCode, time::Instant};

use carryall_sim::{
    Options, Scenario, Setting, Violation, carry, come_home, compare, lies, live, run,
};
use clap::{Parser, ValueEnum};

/// Days between two meetings with a liar, where every twentieth shard is dropped, and where one is.
const MEETINGS_EVERY: [u32; 2] = [7, 5];

/// Runs a simulated circle. What is not given follows from the seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides everything that is not given.
    #[arg(long, required_unless_present_any = ["compare", "years", "liars", "parcels", "homecoming"])]
    seed: Option<u64>,
    /// How many days.
    #[arg(long)]
    days: Option<u32>,
    /// How many machines, one per member: 2 to 32.
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=32))]
    devices: Option<u16>,
    /// How people's days go.
    #[arg(long, value_enum)]
    scenario: Option<Life>,
    /// Sets a fault: cut, loss, restart, full, rot, destroy (in a thousand), delay (ms), skew (minutes).
    #[arg(long, value_name = "NAME=VALUE", value_parser = fault)]
    fault: Vec<(String, u32)>,
    /// Switches off all faults that are not set.
    #[arg(long)]
    calm: bool,
    /// Compares how long new packs wait to be safe in a week at the office, for each order of
    /// encounters, on the seeds from 1 on.
    #[arg(long, conflicts_with_all = ["seed", "devices", "fault", "calm", "trace"])]
    compare: bool,
    /// How many seeds to run, from 1 on, where no seed is given.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Lives through so many years of a family, an office or a village, under our policy and others.
    #[arg(long, conflicts_with_all = ["days", "devices", "fault", "calm", "compare", "trace"])]
    years: Option<u32>,
    /// Leaves out the other policies.
    #[arg(long, requires = "years")]
    alone: bool,
    /// Writes the table and plots of the years there.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", requires = "years")]
    report: Option<PathBuf>,
    /// Shows how soon friends are named who drop shards.
    #[arg(long, conflicts_with_all = ["seed", "days", "devices", "fault", "calm", "compare", "years", "trace"])]
    liars: bool,
    /// Shows how soon four friends hold a pack, by how many may carry the same shard to somebody.
    #[arg(long, conflicts_with_all = ["devices", "fault", "calm", "compare", "years", "liars", "trace"])]
    parcels: bool,
    /// Burns somebody's house after eight weeks, and shows whether their files are back when it was said.
    #[arg(long, conflicts_with_all = ["seed", "scenario", "days", "devices", "fault", "calm", "compare", "years", "liars", "parcels", "trace"])]
    homecoming: bool,
    /// Prints every event.
    #[arg(long)]
    trace: bool,
}

/// How people's days go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Life {
    /// Short meetings, some people at a time; for short runs.
    Cafe,
    /// Long days together, weekends apart.
    Office,
    /// Evenings at home; over years, relatives in several homes who visit each other.
    Family,
    /// Neighbours who meet in the café and visit each other; for years.
    Village,
}

impl Life {
    const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::Cafe => Some(Scenario::Cafe),
            Self::Office => Some(Scenario::Office),
            Self::Family => Some(Scenario::Family),
            Self::Village => None,
        }
    }

    const fn setting(self) -> Option<Setting> {
        match self {
            Self::Cafe => None,
            Self::Office => Some(Setting::Office),
            Self::Family => Some(Setting::Family),
            Self::Village => Some(Setting::Village),
        }
    }
}

fn fault(text: &str) -> Result<(String, u32), String> {
    let (name, value) = text.split_once('=').ok_or("say NAME=VALUE")?;
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is not a number"))?;
    Ok((name.to_owned(), value))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.liars {
        return show_liars(1..args.seeds + 1);
    }
    if args.parcels {
        return show_parcels(&args);
    }
    if args.homecoming {
        return show_homecomings(&args);
    }
    if let Some(years) = args.years {
        return show_years(&args, years);
    }
    let Some(seed) = args.seed else {
        return show_comparison(&args);
    };
    let mut options = Options::from_seed(seed);
    options.days = args.days.unwrap_or(options.days).max(1);
    options.devices = args.devices.map_or(options.devices, usize::from);
    match args.scenario.map(Life::scenario) {
        Some(Some(scenario)) => options.scenario = scenario,
        Some(None) => return misused("a village is simulated over years only: say --years 3"),
        None => {}
    }
    if args.calm {
        options.faults = carryall_sim::Faults::default();
    }
    for (name, value) in &args.fault {
        if let Err(error) = options.faults.set(name, *value) {
            eprintln!("carryall-sim: {error}");
            return ExitCode::from(2);
        }
    }
    println!("{options:?}");
    let began = Instant::now();
    let outcome = run(&options, args.trace);
    println!("{}", outcome.report);
    println!("wall time       {} ms", began.elapsed().as_millis());
    for violation in &outcome.violations {
        println!("VIOLATION of {violation}");
    }
    if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show_comparison(args: &Args) -> ExitCode {
    if args.scenario.is_some_and(|it| it != Life::Office) {
        return misused("orders are compared in the office only");
    }
    let began = Instant::now();
    match compare(args.seeds, args.days.unwrap_or(7)) {
        Ok(comparison) => {
            println!("{comparison}");
            println!();
            println!("new packs       {}", comparison.rows[0].1.packs());
            println!("wall time       {} s", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("carryall-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misused(what: &str) -> ExitCode {
    eprintln!("carryall-sim: {what}");
    ExitCode::from(2)
}

fn show_years(args: &Args, years: u32) -> ExitCode {
    let Some(setting) = args.scenario.and_then(Life::setting) else {
        return misused("say whose years: --scenario family, office or village");
    };
    let seeds: Range<u64> = match args.seed {
        Some(seed) => seed..seed + 1,
        None => 1..args.seeds + 1,
    };
    let began = Instant::now();
    let lived = live(setting, years, seeds, args.alone);
    let took = began.elapsed();
    println!("{lived}");
    println!();
    let encounters = lived.encounters();
    let rate = encounters as f64 * 60.0 / took.as_secs_f64();
    println!("encounters      {encounters} ({rate:.0} a minute, other policies and all)");
    println!("wall time       {} s", took.as_secs());
    if let Some(directory) = &args.report
        && let Err(error) = lived.write(directory)
    {
        eprintln!("carryall-sim: the report was not written: {error}");
        return ExitCode::FAILURE;
    }
    for (seed, violation) in &lived.violations {
        let name = setting.name();
        println!("VIOLATION of {violation}");
        println!("  replay: carryall-sim --scenario {name} --years {years} --alone --seed {seed}");
    }
    if lived.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show_parcels(args: &Args) -> ExitCode {
    let Some(setting) = args.scenario.and_then(Life::setting) else {
        return misused("say whose days: --scenario family, office or village");
    };
    let seeds: Range<u64> = match args.seed {
        Some(seed) => seed..seed + 1,
        None => 1..args.seeds + 1,
    };
    let began = Instant::now();
    let carried = carry(setting, args.days.unwrap_or(120).clamp(15, 365), seeds);
    println!("{carried}");
    verdict(began, &carried.violations)
}

fn show_homecomings(args: &Args) -> ExitCode {
    let began = Instant::now();
    let homecomings = come_home(1..args.seeds + 1);
    println!("{homecomings}");
    verdict(began, &homecomings.violations)
}

/// Says how long it took and which promises were not kept in which seed.
fn verdict(began: Instant, violations: &[(u64, Violation)]) -> ExitCode {
    println!();
    println!("wall time       {} s", began.elapsed().as_secs());
    for (seed, violation) in violations {
        println!("VIOLATION of {violation} (seed {seed})");
    }
    match violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn show_liars(seeds: Range<u64>) -> ExitCode {
    let began = Instant::now();
    let [often, seldom] = MEETINGS_EVERY;
    let many = lies(seeds.clone(), 50, often);
    let one = lies(seeds, 1, seldom);
    let second = |it: &&carryall_sim::Named| it.meeting.is_some_and(|it| it <= 2);
    let month = |it: &&carryall_sim::Named| it.days.is_some_and(|it| it <= 31);
    let (all, soon) = (many.len(), many.iter().filter(second).count());
    let in_time = one.iter().filter(month).count();
    println!(
        "who drops a twentieth, met every {often} days: named by the second meeting in {soon} of {all}"
    );
    println!(
        "who drops one of 200, met every {seldom} days: named within 31 days in {in_time} of {all}"
    );
    println!("wall time       {} s", began.elapsed().as_secs());
    if soon * 100 >= all * 99 && in_time == all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
