//! The holder's own scrub: reading again what lies on the shelf, slowly, round and round.
//!
//! A probe sees one range of a shard; a bad sector beside it waits for the day on which the shard is
//! needed. So the holder looks for itself, and its owner hears what is damaged in time.

use super::Node;
use crate::{
    event::Effect,
    id::{MemberId, ShardId},
    limits,
    time::{Span, Timestamp},
};

/// How far the scrub is.
#[derive(Debug)]
pub(super) struct Scrub {
    /// The shard that was read last.
    at: (MemberId, ShardId),
    /// When to read the next one; nothing while one is being read.
    next: Option<Timestamp>,
    /// So many bytes are to be read without much rest, since something was damaged.
    hurry: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            at: (MemberId([0; 32]), ShardId([0; 32])),
            next: None,
            hurry: 0,
        }
    }
}

impl Node {
    /// Begins anywhere, else the end of a long shelf would never be read on a machine that is
    /// switched off every night.
    pub(super) fn begin_scrub(&mut self) {
        let anywhere = blake3::hash(&self.now.0.to_le_bytes());
        self.scrub.at = (MemberId(*anywhere.as_bytes()), ShardId([0; 32]));
        self.scrub.next = Some(self.now + limits::SCRUB_WAIT);
    }

    pub(super) fn scrub_if_due(&mut self) {
        if self.scrub.next.is_none_or(|at| at > self.now) {
            return;
        }
        let strained = self.strain.busy || self.strain.low_battery;
        let next = self.ledger.after(self.scrub.at);
        let Some((owner, shard, _)) = next.filter(|_| !strained && self.paused.is_none()) else {
            self.scrub.next = Some(self.now + limits::SCRUB_WAIT);
            return;
        };
        self.scrub.at = (owner, shard);
        self.scrub.next = None;
        self.effect(Effect::Scrub { owner, shard });
    }

    /// A shard was read.
    pub(super) fn scrubbed(&mut self, good: bool) {
        let (owner, shard) = self.scrub.at;
        let all = self.ledger.bytes();
        // One that was damaged is off the ledger already.
        let bytes = u64::from(self.ledger.length(owner, shard).unwrap_or(1));
        let hurried = self.scrub.hurry > 0 || !good;
        self.scrub.hurry = if good {
            self.scrub.hurry.saturating_sub(bytes)
        } else {
            all
        };
        let fastest = bytes.saturating_mul(1000) / limits::SCRUB_RATE;
        let share = u128::from(limits::SCRUB_ROUND.0) * u128::from(bytes) / u128::from(all.max(1));
        let rest = if hurried {
            fastest
        } else {
            fastest.max(u64::try_from(share).unwrap_or(u64::MAX))
        };
        self.scrub.next = Some(self.now + Span(rest.max(1)));
    }

    pub(super) fn scrub_timeout(&self) -> Option<Timestamp> {
        self.scrub.next.filter(|_| self.ledger.bytes() > 0)
    }
}
