//! Replays one simulated run: `carryall-sim --seed N --days D`.

use std::{process::ExitCode, time::Instant};

use carryall_sim::{Options, Scenario, run};
use clap::Parser;

/// Runs a simulated circle. What is not given follows from the seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides everything that is not given.
    #[arg(long)]
    seed: u64,
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
    let mut options = Options::from_seed(args.seed);
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
