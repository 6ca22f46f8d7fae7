//! The node: it runs the core on the real world, and answers people and scripts on loopback.
//!
//! It decides nothing about placement, trust or repair; the core does. It never listens to anybody
//! but this machine, except through `carryall_net`.

#![forbid(unsafe_code)]

pub mod api;
mod atomic;
mod clock;
pub mod config;
mod courier;
mod drills;
mod driver;
pub mod engine;
pub mod exit;
pub mod founding;
mod live;
pub mod loopback;
mod machine;
mod meter;
mod metered;
mod orders;
mod packs;
mod pause;
mod petnames;
mod quiet;
mod rules;
mod serve;
mod store;
mod usual;
mod watch;

pub use engine::{Engine, EngineError, OpenOptions, open};
pub use founding::{Founded, Naming, found, recover, recover_by_courier};
