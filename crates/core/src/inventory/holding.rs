//! One shard at one device: what is known of it, and when it is its turn to be proved.

use super::seats::Seat;
use crate::{free::Standing, limits, time::Timestamp};

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

/// One shard of one pack at one device: packed into 32 bytes, since a start goes through millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// See [`Holding`]: one more than the milliseconds; 0: never.
    proved: u64,
    failed: u64,
    signed: u32,
    released: u32,
    number: u32,
    /// The device.
    pub(super) seat: Seat,
    /// Of the shard in its pack.
    pub(super) index: u8,
    flags: u8,
}

impl Mark {
    const HELD: u8 = 1;
    const RENEWED: u8 = 2;
    const PENDING: u8 = 4;
    const INSISTED: u8 = 8;

    pub(super) const fn new(seat: Seat, index: u8) -> Self {
        Self {
            proved: 0,
            failed: 0,
            signed: 0,
            released: 0,
            number: 0,
            seat,
            index,
            flags: 0,
        }
    }

    /// Returns what the marks of a pack are in the order of.
    pub(super) const fn key(&self) -> (Seat, u8) {
        (self.seat, self.index)
    }

    pub(super) fn is_blank(&self) -> bool {
        *self == Self::new(self.seat, self.index)
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            held: self.has(Self::HELD),
            proved: time(self.proved),
            failed: time(self.failed),
            renewed: self.has(Self::RENEWED),
            signed: self.signed,
            released: self.released,
            number: self.number,
        }
    }

    /// Changes what is known of the shard there.
    pub(super) fn change<R>(&mut self, change: impl FnOnce(&mut Holding) -> R) -> R {
        let mut holding = self.holding();
        let result = change(&mut holding);
        self.set(Self::HELD, holding.held);
        self.set(Self::RENEWED, holding.renewed);
        (self.proved, self.failed) = (number(holding.proved), number(holding.failed));
        (self.signed, self.released) = (holding.signed, holding.released);
        self.number = holding.number;
        result
    }

    /// The holder says that it keeps the shard.
    pub(super) const fn is_held(&self) -> bool {
        self.has(Self::HELD)
    }

    /// It is believed to be there, or will be when it arrives.
    pub(super) fn is_placed(&self) -> bool {
        self.is_pending() || self.holding().believed()
    }

    /// On its way or stored without a receipt yet: it counts for placement only.
    pub(super) const fn is_pending(&self) -> bool {
        self.has(Self::PENDING)
    }

    pub(super) const fn set_pending(&mut self, pending: bool) {
        self.set(Self::PENDING, pending);
    }

    /// Refused, because the device says that it has it already: not worth another offer.
    pub(super) const fn is_insisted(&self) -> bool {
        self.has(Self::INSISTED)
    }

    pub(super) const fn set_insisted(&mut self, insisted: bool) {
        self.set(Self::INSISTED, insisted);
    }

    /// Returns when it is the shard's turn, if its holder claims it.
    pub(super) fn rank(&self, newest: Timestamp) -> Option<Rank> {
        (self.is_held()).then(|| Rank::of(self.holding().asked(), newest))
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }
}

fn time(number: u64) -> Option<Timestamp> {
    number.checked_sub(1).map(Timestamp)
}

fn number(time: Option<Timestamp>) -> u64 {
    time.map_or(0, |time| time.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_small() {
        assert_eq!(size_of::<Mark>(), 32);
    }

    proptest::proptest! {
        #[test]
        fn a_mark_keeps_what_is_known(
            [held, renewed, pending, insisted] in proptest::array::uniform4(proptest::bool::ANY),
            proved in proptest::option::of(0..u64::MAX),
            failed in proptest::option::of(0..u64::MAX),
            [signed, released, number] in proptest::array::uniform3(0..u32::MAX),
        ) {
            let known = Holding {
                held,
                proved: proved.map(Timestamp),
                failed: failed.map(Timestamp),
                renewed,
                signed,
                released,
                number,
            };
            let mut mark = Mark::new(7, 3);
            mark.set_pending(pending);
            mark.change(|holding| *holding = known);
            mark.set_insisted(insisted);
            proptest::prop_assert_eq!(mark.holding(), known);
            proptest::prop_assert_eq!((mark.is_pending(), mark.is_insisted()), (pending, insisted));
            proptest::prop_assert_eq!(mark.key(), (7, 3));
            let blank = known == Holding::default() && !pending && !insisted;
            proptest::prop_assert_eq!(mark.is_blank(), blank);
        }
    }
}
