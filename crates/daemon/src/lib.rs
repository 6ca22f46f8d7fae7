//! The node: it runs the core on the real world, and answers people and scripts on loopback.
//!
//! It decides nothing about placement, trust or repair; the core does. It never listens to anybody
//! but this machine, except through `carryall_net`.

pub mod api;
pub mod exit;
