//! Freeing: whether the files that a pack was made of may leave this device.
//!
//! They may when friends hold all of the pack that they shall hold, by proof, and one of them could
//! still vanish afterwards: with a single friend the copy here is the second one, and stays. Receipts
//! count for nothing here, nor does what lies at devices that are gone for good.
//!
//! This looks at packs at one moment. That what was freed stays in later snapshots is not its part.

#[cfg(test)]
mod tests;

use crate::{
    health::{Spread, health, holders},
    id::MemberId,
    placement::{health_target, members_target},
    record::{Coding, PackKind},
    time::Timestamp,
};

/// The least health of what is freed: once the owner's copy is gone, one more may vanish.
pub const HEALTH_MIN: u32 = 2;

/// How a member's word that it holds a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Proved lately.
    Proved,
    /// Proved once, and not lately.
    Stale(Timestamp),
    /// Never proved.
    Unproved,
    /// The last proof failed.
    Refuted,
    /// The device was away for longer than it ever is.
    Gone,
}

/// A shard that a member says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who says so.
    pub member: MemberId,
    /// The shard's index.
    pub index: u8,
    /// What that is worth.
    pub standing: Standing,
}

/// Why files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Nothing is known of the pack.
    Unknown,
    /// There are too few other members to spare one.
    FewFriends {
        /// How many there are.
        others: usize,
    },
    /// Fewer members hold something of it, by proof, than shall.
    Thin {
        /// How many do.
        hold: usize,
        /// How many shall.
        want: usize,
    },
    /// Enough members hold something of it, but too few of them could be spared.
    Needed,
    /// It would do if this member proved again what it proved last at that time.
    Stale {
        /// Who.
        member: MemberId,
        /// When.
        proved: Timestamp,
    },
    /// It would do if this member proved what it says it holds.
    Unproved {
        /// Who.
        member: MemberId,
    },
    /// It would do if this member had not failed to prove what it said it holds.
    Refuted {
        /// Who.
        member: MemberId,
    },
    /// It would do if this member were not away for longer than ever.
    Gone {
        /// Who.
        member: MemberId,
    },
}

/// Tells whether the files that a pack was made of may go. `held` is what members other than the owner
/// say that they hold of it, and `others` counts these members.
///
/// Folder lists are whole at whoever has them and stay here anyway: two who proved them are enough,
/// while the newest ones are on their way to the rest.
pub fn judge(kind: PackKind, coding: &Coding, held: &[Held], others: usize) -> Result<(), Refusal> {
    if others < HEALTH_MIN as usize {
        return Err(Refusal::FewFriends { others });
    }
    let (needed, want) = match kind {
        PackKind::Metadata => (HEALTH_MIN, HEALTH_MIN as usize),
        PackKind::Small | PackKind::Large => (
            health_target(kind, coding, others).max(HEALTH_MIN),
            members_target(kind, coding, others),
        ),
    };
    let proved = spread(held, |standing| standing == Standing::Proved);
    if health(coding, &proved) >= needed {
        return Ok(());
    }
    let said = spread(held, |_| true);
    if health(coding, &said) >= needed
        && let Some(worst) = held.iter().max_by_key(|it| (it.standing, it.member))
        && let Some(refusal) = doubt(worst)
    {
        return Err(refusal);
    }
    let hold = holders(&proved);
    if hold < want {
        return Err(Refusal::Thin { hold, want });
    }
    Err(Refusal::Needed)
}

fn spread(held: &[Held], which: impl Fn(Standing) -> bool) -> Spread {
    let mut spread = Spread::new();
    for it in held.iter().filter(|it| which(it.standing)) {
        spread.entry(it.member).or_default().insert(it.index);
    }
    spread
}

/// Returns what keeps a member's word from counting.
const fn doubt(held: &Held) -> Option<Refusal> {
    let member = held.member;
    match held.standing {
        Standing::Proved => None,
        Standing::Stale(proved) => Some(Refusal::Stale { member, proved }),
        Standing::Unproved => Some(Refusal::Unproved { member }),
        Standing::Refuted => Some(Refusal::Refuted { member }),
        Standing::Gone => Some(Refusal::Gone { member }),
    }
}
