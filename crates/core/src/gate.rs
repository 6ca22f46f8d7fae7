//! Gates: secret names of the protocol, by which a door opens only to who knows the circle, an open
//! invite or a member's rendezvous.
//!
//! QUIC sends the protocol's name (ALPN, RFC 7301) in clear and answers a wrong one before it shows
//! its certificate. A name that follows from a secret and changes every 15 minutes keeps scanners
//! from learning who listens. It proves nothing: what comes in is checked by keys.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use crate::{
    beacon::EPOCH_SECS,
    circle::Circle,
    event::Gate,
    id::{InviteId, MemberId, hex},
    time::Timestamp,
};

/// Length of a gate's name in bytes: hexadecimal digits.
pub const ALPN_BYTES: usize = 16;

/// The name of a gate in one epoch.
pub type Alpn = [u8; ALPN_BYTES];

/// From what the names of a gate follow.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Secret([u8; 32]);

impl Secret {
    fn circle(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("carryall 2026 circle gate v1", secret))
    }

    fn invite(id: &InviteId) -> Self {
        let secret = id.as_bytes();
        Self(blake3::derive_key("carryall 2026 invite gate v1", secret))
    }

    fn rendezvous(secret: &[u8; 32]) -> Self {
        let context = "carryall 2026 rendezvous gate v1";
        Self(blake3::derive_key(context, secret))
    }

    fn alpn(&self, epoch: u64) -> Alpn {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"carryall alpn v1");
        hasher.update(&epoch.to_le_bytes());
        let digits = hex(&hasher.finalize().as_bytes()[..ALPN_BYTES / 2]);
        let mut alpn = [0; ALPN_BYTES];
        alpn.copy_from_slice(digits.as_bytes());
        alpn
    }
}

/// Returns the epoch of gates at `now`, the same for everybody.
pub const fn epoch(now: Timestamp) -> u64 {
    now.as_secs() / EPOCH_SECS
}

/// Returns the name of the circle's own gate in an epoch.
pub fn circle_alpn(circle_secret: &[u8; 32], epoch: u64) -> Alpn {
    Secret::circle(circle_secret).alpn(epoch)
}

/// Returns the name of an invite's gate in an epoch.
pub fn invite_alpn(id: &InviteId, epoch: u64) -> Alpn {
    Secret::invite(id).alpn(epoch)
}

/// Returns the name of a member's rendezvous in an epoch, from the secret in their card.
pub fn rendezvous_alpn(secret: &[u8; 32], epoch: u64) -> Alpn {
    Secret::rendezvous(secret).alpn(epoch)
}

/// The gates of a device: those it opens and those it knocks at.
#[derive(Clone, Default)]
pub struct Gates {
    secrets: BTreeMap<Gate, Secret>,
}

impl Gates {
    /// Returns no gates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the gates of a member's device: the circle's, and those of its open invites and of all
    /// members' rendezvous.
    pub fn of_circle(circle: &Circle, circle_secret: &[u8; 32], now: Timestamp) -> Self {
        let mut gates = Self::new();
        gates.add_circle(circle_secret);
        for invite in circle.answered_invites(now) {
            gates.add_invite(invite.id);
        }
        for member in circle.members() {
            if let Some(card) = circle.card(member) {
                let secret = Secret::rendezvous(&card.rendezvous);
                gates.secrets.insert(Gate::Rendezvous(member), secret);
            }
        }
        gates
    }

    /// Adds the circle's own gate.
    pub fn add_circle(&mut self, circle_secret: &[u8; 32]) {
        (self.secrets).insert(Gate::Circle, Secret::circle(circle_secret));
    }

    /// Adds the gate of an invite.
    pub fn add_invite(&mut self, id: InviteId) {
        (self.secrets).insert(Gate::Invite(id), Secret::invite(&id));
    }

    /// Adds a member's rendezvous, from the secret in their card or from their words.
    pub fn add_rendezvous(&mut self, member: MemberId, secret: &[u8; 32]) {
        (self.secrets).insert(Gate::Rendezvous(member), Secret::rendezvous(secret));
    }

    /// Returns the names to listen to at `now`: those of the epoch, the one before and the one after,
    /// since clocks differ.
    pub fn alpns(&self, now: Timestamp) -> Vec<(Alpn, Gate)> {
        let now = epoch(now);
        let mut alpns = Vec::with_capacity(self.secrets.len() * 3);
        for (gate, secret) in &self.secrets {
            for epoch in [now, now.wrapping_sub(1), now.wrapping_add(1)] {
                alpns.push((secret.alpn(epoch), *gate));
            }
        }
        alpns
    }

    /// Returns the name by which to knock at a gate now; nothing if its secret is not known here.
    pub fn alpn(&self, gate: Gate, now: Timestamp) -> Option<Alpn> {
        Some(self.secrets.get(&gate)?.alpn(epoch(now)))
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
