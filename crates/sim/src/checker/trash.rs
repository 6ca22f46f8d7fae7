//! Trash: what was kept for somebody goes slowly, or not at all.
//!
//! Verified, once a day: what was on a shelf the day before is there still or in the trash, and what
//! was in the trash is there still, or back on the shelf, or has lain there for its days.
//!
//! Not verified: shards on which a bit was turned on purpose; that an owner had the right to release
//! (the core's tests do that); what lies on a disk while no process runs.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    id::{MemberId, ShardId},
    limits,
    time::{Span, Timestamp},
};

use crate::lab::Lab;

/// Somebody's shard at a machine.
type Key = (usize, MemberId, ShardId);

/// What was where on the day before.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    shelved: BTreeSet<Key>,
    /// And since when it was seen there.
    trashed: BTreeMap<Key, Timestamp>,
}

impl Trash {
    /// Compares a machine with what it was a day ago.
    pub(crate) fn check(&mut self, lab: &Lab, machine: usize) -> Result<(), String> {
        let here = &lab.machines[machine];
        let Some(host) = &here.host else {
            return Ok(());
        };
        let key = |owner, shard| (machine, owner, shard);
        let shelved: BTreeSet<Key> = (host.shelved().iter())
            .map(|(_, it)| key(it.owner, it.shard))
            .collect();
        let trashed: BTreeSet<Key> = (host.trashed().iter())
            .map(|(it, _)| key(it.owner, it.shard))
            .collect();
        let mut gone = Ok(());
        self.shelved.retain(|key| {
            let rotten = (here.device, key.1, key.2);
            let there = key.0 != machine
                || shelved.contains(key)
                || trashed.contains(key)
                || lab.witness.rotten.contains(&rotten);
            if !there {
                gone = Err(format!("shard {} is gone from the shelf", key.2));
            }
            key.0 != machine
        });
        // What was seen on the last day may have come a day later than it was seen first.
        let least = Span::days(u64::from(limits::TRASH_DAYS) - 1);
        self.trashed.retain(|key, since| {
            let stays = key.0 != machine || trashed.contains(key);
            let early = lab.now.since(*since) < least;
            if !stays && !shelved.contains(key) && early {
                gone = Err(format!("shard {} left the trash too early", key.2));
            }
            stays
        });
        self.shelved.extend(shelved);
        for key in trashed {
            self.trashed.entry(key).or_insert(lab.now);
        }
        gone
    }
}
