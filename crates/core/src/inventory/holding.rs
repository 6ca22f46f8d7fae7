//! One shard at one device: what is known of it, and when it is its turn to be proved.

use crate::{free::Standing, id::DeviceId, limits, time::Timestamp};

/// What is known of one shard at one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The holder signed that it keeps the shard, and has not signed that it dropped it.
    pub held: bool,
    /// When it last showed a random range of it.
    pub proved: Option<Timestamp>,
    /// When it last failed to.
    pub failed: Option<Timestamp>,
    /// It signed for the shard again since it failed: worth another probe.
    pub renewed: bool,
    /// The position behind its last receipt for the shard, in its feed. No feed has four billion.
    signed: u32,
    /// How much of its feed was known when we released the shard; 0: never.
    released: u32,
    /// One more than the number that the shard got on the holder's roll when it signed for it,
    /// not holding it before; 0: it never did.
    number: u32,
}

impl Holding {
    /// Takes the holder's word at a position of its feed, with the shard's number on its roll if it says
    /// that it holds it. Returns whether it counts as holding now.
    pub(super) fn hear(&mut self, number: Option<u32>, at: u64) -> bool {
        let behind = position(at).saturating_add(1);
        if number.is_some() {
            self.signed = self.signed.max(behind);
        }
        if let Some(number) = number.filter(|_| !self.held) {
            self.number = number.saturating_add(1);
        }
        let held = number.is_some() && behind > self.released;
        self.renewed |= held && !self.held;
        self.held = held;
        held
    }

    /// Takes the outcome of a probe. The newest of each kind counts, in whatever order they are heard of.
    pub(super) fn prove(&mut self, at: Timestamp, good: bool) {
        let slot = if good {
            &mut self.proved
        } else {
            &mut self.failed
        };
        *slot = (*slot).max(Some(at));
        self.renewed &= good;
    }

    /// Takes the outcome of a probe for what the holder signed for under a number. It may have failed,
    /// dropped the shard and taken it anew before we hear of the failure: it is renewed all the same.
    pub(super) fn prove_number(&mut self, number: u32, at: Timestamp, good: bool) {
        let renewed = self.renewed && number.saturating_add(1) < self.number;
        self.prove(at, good);
        self.renewed |= renewed;
    }

    /// Returns the shard's number on the holder's roll.
    pub(super) fn number(&self) -> Option<u32> {
        self.number.checked_sub(1)
    }

    /// Notes that the owner released the shard, having seen so much of the holder's feed. Returns
    /// whether it counts as holding all the same, since it signed again later.
    pub(super) fn release(&mut self, seen: u64) -> bool {
        self.released = self.released.max(position(seen)).max(1);
        self.held &= self.signed > self.released;
        self.renewed &= self.held;
        self.held
    }

    /// Tells whether the shard may lie in the holder's trash: it still gives it back.
    pub fn may_be_trashed(&self) -> bool {
        !self.held && self.released > 0 && !self.is_refuted()
    }

    /// Tells whether the holder should still be believed to have the shard, proof or not.
    pub fn believed(&self) -> bool {
        self.held && (self.renewed || !self.is_refuted())
    }

    /// Tells whether the holder may give the shard back.
    pub fn may_be_given(&self) -> bool {
        self.believed() || self.may_be_trashed()
    }

    /// Tells whether the last probe failed.
    pub fn is_refuted(&self) -> bool {
        self.failed
            .is_some_and(|failed| self.proved.is_none_or(|good| good <= failed))
    }

    /// Tells whether the shard counts for health now.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.held
            && !self.is_refuted()
            && self
                .proved
                .is_some_and(|proved| now.since(proved) <= limits::AUDIT_VALID)
    }

    /// Returns how the holder's word that it keeps the shard stands; nothing if it doesn't say so.
    pub(super) fn standing(&self, now: Timestamp) -> Option<Standing> {
        let standing = || match self.proved {
            _ if self.counts(now) => Standing::Proved,
            _ if self.is_refuted() => Standing::Refuted,
            Some(proved) => Standing::Stale(proved),
            None => Standing::Unproved,
        };
        self.held.then(standing)
    }

    /// Returns when the holder was last asked for what it claims now; nothing if it never was.
    pub(super) fn asked(&self) -> Option<Timestamp> {
        if self.is_refuted() && self.renewed {
            return None;
        }
        self.proved.max(self.failed)
    }
}

fn position(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX - 1)
}

/// A shard's place in the order of proofs: smaller is sooner. What was never proved comes before what
/// was, the newest content first, then what was not asked for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    const ASKED: u64 = 1 << 63;

    fn of(asked: Option<Timestamp>, newest: Timestamp) -> Self {
        Self(match asked {
            None => (Self::ASKED - 1).saturating_sub(newest.0),
            Some(asked) => Self::ASKED | asked.0,
        })
    }

    /// Returns when the shard was last asked for.
    pub(super) fn asked(self) -> Option<Timestamp> {
        (self.0 & Self::ASKED != 0).then_some(Timestamp(self.0 & !Self::ASKED))
    }
}

/// One shard of one pack at one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) device: DeviceId,
    /// Of the shard in its pack.
    pub(super) index: u8,
    pub(super) holding: Holding,
    /// On its way or stored without a receipt yet: it counts for placement only.
    pub(super) pending: bool,
    /// Refused, because the device says that it has it already: not worth another offer.
    pub(super) insisted: bool,
}

impl Mark {
    pub(super) fn new(device: DeviceId, index: u8) -> Self {
        Self {
            device,
            index,
            holding: Holding::default(),
            pending: false,
            insisted: false,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        *self == Self::new(self.device, self.index)
    }

    /// Returns when it is the shard's turn, if its holder claims it.
    pub(super) fn rank(&self, newest: Timestamp) -> Option<Rank> {
        (self.holding.held).then(|| Rank::of(self.holding.asked(), newest))
    }
}
