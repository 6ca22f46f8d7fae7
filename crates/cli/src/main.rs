//! The `carryall` command: words for people, JSON for scripts.
//!
//! Nothing is decided here: commands ask the node over its loopback API, whether it runs in another
//! process or, for want of one, in this.

use std::process::ExitCode;

use clap::Parser;

mod args;
mod client;
mod command;
mod demo;
mod error;
mod home;
mod log;
mod memory;
mod naming;
mod notice;
mod prompt;
mod signal;
mod ui;
mod window;

fn main() -> ExitCode {
    memory::bound();
    ExitCode::from(command::run(args::Cli::parse()).code())
}
