//! A machine: a disk, a clock that may be wrong, a place, and a process while it runs.

use carryall_core::{
    id::{DeviceId, MemberId},
    key::{Identity, Words},
    time::Timestamp,
};
use carryall_store::mem_disk::MemDisk;

use crate::{host::Host, world::Place};

/// One machine and who it belongs to.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) device: DeviceId,
    pub(crate) member: MemberId,
    /// What its owner keeps on paper.
    pub(crate) words: Words,
    /// All secrets, as they were at first: for the checkers.
    pub(crate) secrets: Identity,
    pub(crate) disk: MemDisk,
    pub(crate) host: Option<Host>,
    pub(crate) place: Option<Place>,
    /// How far its clock is ahead of the truth, in milliseconds.
    pub(crate) skew_ms: i64,
    /// Counts starts: what was meant for an earlier process does not reach a later one.
    pub(crate) boot: u64,
    /// Counts arrivals.
    pub(crate) visit: u64,
    /// When its disk has answered all that was asked so far.
    pub(crate) disk_busy: Timestamp,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) woken: Timestamp,
    pub(crate) spins: u32,
    /// The number of disk operations after which its power is gone.
    power_cut: Option<u64>,
    /// Its disk is full.
    pub(crate) full: bool,
    /// It could not start for want of room.
    pub(crate) waits: bool,
    /// Gone for good.
    pub(crate) destroyed: bool,
}

impl Machine {
    /// Returns a machine that is off.
    pub(crate) fn new(secrets: Identity, words: Words, disk: MemDisk) -> Self {
        Self {
            device: secrets.device(),
            member: secrets.member(),
            words,
            secrets,
            disk,
            host: None,
            place: None,
            skew_ms: 0,
            boot: 0,
            visit: 0,
            disk_busy: Timestamp(0),
            wake: None,
            woken: Timestamp(0),
            spins: 0,
            power_cut: None,
            full: false,
            waits: false,
            destroyed: false,
        }
    }

    /// Returns what its clock shows.
    pub(crate) fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.skew_ms))
    }

    /// Returns when its clock shows this.
    pub(crate) fn when(&self, clock: Timestamp) -> Timestamp {
        Timestamp(clock.0.saturating_add_signed(-self.skew_ms))
    }

    /// Cuts the power after so many more disk operations.
    pub(crate) fn cut_power_after(&mut self, ops: u64) {
        let at = self.disk.ops() + ops;
        self.power_cut = Some(at);
        self.disk.freeze_after(at);
    }

    /// Tells whether the power is gone.
    pub(crate) fn is_without_power(&self) -> bool {
        self.power_cut.is_some_and(|at| self.disk.ops() >= at)
    }

    /// Replaces the disk by what a crash left of it.
    pub(crate) fn replace_disk(&mut self, disk: MemDisk) {
        self.disk = disk;
        self.power_cut = None;
    }
}
