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
    rest: Rest,
    /// So many bytes are to be read without much rest, since something was damaged.
    hurry: u64,
}

/// What the scrub waits for.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// A shard is being read.
    Reading,
    /// A shard of so many bytes was read.
    Since(Timestamp, u64),
    /// Other things go first until then.
    Until(Timestamp),
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            at: (MemberId([0; 32]), ShardId([0; 32])),
            rest: Rest::Reading,
            hurry: 0,
        }
    }
}

impl Node {
    /// Begins where a machine that runs for eight hours of every day has come to by now, so that
    /// nothing has to be remembered.
    pub(super) fn begin_scrub(&mut self) {
        let month = limits::SCRUB_MONTH.0;
        let share = (u128::from(self.now.0 % month) << 32) / u128::from(month);
        self.scrub.at = self.ledger.place(u32::try_from(share).unwrap_or(u32::MAX));
        self.scrub.rest = Rest::Until(self.now + limits::SCRUB_WAIT);
    }

    pub(super) fn scrub_if_due(&mut self) {
        if self.scrub_timeout().is_none_or(|at| at > self.now) {
            return;
        }
        let strained = self.strain.busy || self.strain.low_battery;
        let next = self.ledger.after(self.scrub.at);
        let Some((owner, shard, _)) = next.filter(|_| !strained && self.paused.is_none()) else {
            self.scrub.rest = Rest::Until(self.now + limits::SCRUB_WAIT);
            return;
        };
        self.scrub.at = (owner, shard);
        self.scrub.rest = Rest::Reading;
        self.effect(Effect::Scrub { owner, shard });
    }

    /// A shard was read.
    pub(super) fn scrubbed(&mut self, good: bool) {
        let (owner, shard) = self.scrub.at;
        // One that was damaged is off the ledger already.
        let bytes = u64::from(self.ledger.length(owner, shard).unwrap_or(1));
        self.scrub.hurry = if good {
            self.scrub.hurry.saturating_sub(bytes)
        } else {
            self.ledger.bytes()
        };
        self.scrub.rest = Rest::Since(self.now, bytes);
    }

    /// Returns when to read the next shard. What comes meanwhile makes the round longer, and so each
    /// rest shorter.
    pub(super) fn scrub_timeout(&self) -> Option<Timestamp> {
        let all = self.ledger.bytes();
        match self.scrub.rest {
            _ if all == 0 => None,
            Rest::Reading => None,
            Rest::Until(at) => Some(at),
            Rest::Since(at, bytes) => {
                let fastest = bytes.saturating_mul(1000) / limits::SCRUB_RATE;
                let share = u128::from(limits::SCRUB_ROUND.0) * u128::from(bytes) / u128::from(all);
                let share = u64::try_from(share).unwrap_or(u64::MAX);
                let rest = if self.scrub.hurry > 0 {
                    fastest
                } else {
                    fastest.max(share)
                };
                Some(at + Span(rest.max(1)))
            }
        }
    }
}
