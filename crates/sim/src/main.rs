//! Replays one simulated run: `carryall-sim --seed N --days D`, or compares orders of encounters:
//! `carryall-sim --scenario office --seeds 200 --days 7 --compare`.

use std::{process::ExitCode, time::Instant};

use carryall_sim::{Options, Scenario, compare, run};
use clap::Parser;

/// Runs a simulated circle. What is not given follows from the seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides everything that is not given.
    #[arg(long, required_unless_present = "compare")]
    seed: Option<u64>,
    /// How many days.
    #[arg(long)]
    days: Option<u32>,
    /// How many machines, one per member: 2 to 32.
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=32))]
    devices: Option<u16>,
    /// How people's days go.
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
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
    /// How many seeds to compare on.
    #[arg(long, default_value_t = 20, requires = "compare")]
    seeds: u64,
    /// Prints every event.
    #[arg(long)]
    trace: bool,
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
    let Some(seed) = args.seed else {
        return show_comparison(&args);
    };
    let mut options = Options::from_seed(seed);
    options.days = args.days.unwrap_or(options.days).max(1);
    options.devices = args.devices.map_or(options.devices, usize::from);
    options.scenario = args.scenario.unwrap_or(options.scenario);
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
    if args.scenario.is_some_and(|it| it != Scenario::Office) {
        eprintln!("carryall-sim: orders are compared in the office only");
        return ExitCode::from(2);
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
