//! What a device keeps on its disks, and the order in which it gets there.

#![forbid(unsafe_code)]

pub mod aside;
pub mod backup;
pub mod browse;
pub mod catalogue;
pub mod courier;
pub mod days;
pub mod difference;
pub mod disk;
pub mod drill;
pub mod error;
pub mod feeds;
pub mod free;
pub mod freed;
pub mod history;
pub mod index;
pub mod mem_disk;
pub mod os_disk;
pub mod prune;
pub mod rebuild;
pub mod restore;
pub(crate) mod scan;
pub mod shelf;
pub mod spool;
#[cfg(test)]
mod trial;
pub mod vault;
