//! A simulated circle: the same core and the same store on simulated disks, links, clocks and people.
//!
//! A run is decided by its seed: the same seed gives the same trace, bit by bit. Nothing in here reads
//! a real clock or real chance, and the only real files are those of a restore, in a directory of
//! their own that is removed again.

#![forbid(unsafe_code)]

mod agenda;
mod checker;
mod comparison;
mod diary;
mod host;
mod join;
mod lab;
mod machine;
mod network;
mod options;
mod queue;
mod report;
mod rng;
mod rogue;
mod run;
mod seeds;
mod settling;
mod trace;
mod witness;
mod workload;
mod world;
mod years;

pub use checker::Violation;
pub use comparison::{Comparison, Waits, compare};
pub use options::{Faults, Mistake, Options, Scenario, UnknownFault};
pub use report::Report;
pub use rogue::{Rampage, rampage};
pub use run::{Outcome, run};
pub use settling::{Settled, settle};
pub use years::{Carried, Homecomings, Named, Setting, Years, carry, come_home, lie, lies, live};
