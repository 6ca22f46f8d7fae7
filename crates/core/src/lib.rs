//! What Carryall knows and decides, without touching the world.
//!
//! This crate is a state machine: events and the time go in, effects come out. It seals, codes,
//! signs, folds feeds into knowledge and plans encounters. It never reads a clock, a disk, a socket
//! or the system's randomness; `no_std` lets the compiler check that.
#![forbid(unsafe_code)]
#![no_std]

extern crate alloc;

pub mod aboard;
pub mod beacon;
pub mod chunk;
pub mod circle;
pub mod codec;
pub mod compression;
pub mod courier;
pub mod days;
pub mod drill;
pub mod entry;
pub mod event;
pub mod feed;
pub mod free;
pub mod gate;
#[cfg(test)]
mod golden;
pub mod habit;
pub mod head;
pub mod health;
pub mod id;
pub mod inventory;
pub mod invite;
pub mod key;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod meeting;
pub mod message;
pub mod name;
pub mod node;
pub mod outlook;
pub mod pack;
pub mod parcel;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod proof;
pub mod record;
pub mod retention;
pub mod roll;
pub mod shard;
pub mod strip;
pub mod thin;
pub mod time;
pub mod told;
pub mod track;
pub mod trash;
pub mod tree;
pub mod view;
pub mod way;
