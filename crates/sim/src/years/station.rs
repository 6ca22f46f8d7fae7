//! A station: one machine that runs a node, from the day on which it is set up until it breaks.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
};

use carryall_core::{
    codec::{DecodeError, encode},
    entry::{Entry, SignedEntry},
    event::{LinkId, Sink},
    id::{DeviceId, EntryHash, MemberId, PackId, ShardId},
    key::Identity,
    node::Node,
    time::Timestamp,
};

use super::cast::Spot;

/// A machine with its node.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) node: Node,
    pub(super) device: DeviceId,
    pub(super) member: MemberId,
    pub(super) person: usize,
    /// Which of the cast's machines it is.
    pub(super) machine: usize,
    /// Whether it has its owner's files.
    pub(super) is_desk: bool,
    /// Where it is, while it is awake.
    pub(super) spot: Option<Spot>,
    /// How far its clock is ahead of the truth, in milliseconds.
    pub(super) skew: i64,
    /// Its disk takes nothing.
    pub(super) full: bool,
    /// It is broken, or was carried away for good.
    pub(super) gone: bool,
    /// It said what it keeps for whom, and asked for what it lacks.
    pub(super) settled: bool,
    /// When its node is woken next.
    pub(super) wake: Option<Timestamp>,
    /// When its next beacon goes out.
    pub(super) beacon: Option<Timestamp>,
    /// Shards that it takes on a link.
    pub(super) expected: HashMap<(LinkId, ShardId), Sink>,
    /// Parcels on its disk, with their owners.
    pub(super) parcels: BTreeSet<(MemberId, ShardId)>,
    /// Bytes of shards that came before a link broke.
    pub(super) partial: HashMap<ShardId, u32>,
    /// Shards of own packs that came.
    pub(super) fetched: HashMap<PackId, BTreeSet<u8>>,
    /// A restore that is under way.
    pub(super) rescue: Option<Rescue>,
}

/// What comes back after a loss.
#[derive(Debug)]
pub(super) struct Rescue {
    /// The first day of the new machine.
    pub(super) since: Timestamp,
    /// What is missing still.
    pub(super) wanted: BTreeSet<PackId>,
    /// What was foretold when it was asked for.
    pub(super) foretold: Option<Foretold>,
}

/// When a restore will be over, as foretold at its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foretold {
    pub(super) at: Timestamp,
    /// The middle of the futures.
    pub(super) by: Option<Timestamp>,
    /// Nine of ten of them.
    pub(super) at_the_latest: Option<Timestamp>,
}

impl Station {
    pub(super) fn new(
        identity: Identity,
        seed: [u8; 32],
        now: Timestamp,
        person: usize,
        machine: usize,
        is_desk: bool,
    ) -> Self {
        let (device, member) = (identity.device(), identity.member());
        Self {
            node: Node::new(identity, seed, now).checking_by(check_once),
            device,
            member,
            person,
            machine,
            is_desk,
            spot: None,
            skew: 0,
            full: false,
            gone: false,
            settled: false,
            wake: None,
            beacon: None,
            expected: HashMap::new(),
            parcels: BTreeSet::new(),
            partial: HashMap::new(),
            fetched: HashMap::new(),
            rescue: None,
        }
    }

    /// Returns what its clock shows.
    pub(super) fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.skew))
    }

    /// Returns when its node wants to be woken, if the clock goes on as it does.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let due = self.node.poll_timeout()?;
        Some(Timestamp(due.0.saturating_add_signed(-self.skew)))
    }

    /// Tells whether it belongs to the circle and can read its owner's keys.
    pub(super) fn is_in(&self) -> bool {
        self.node.identity().circle.is_some() && self.node.vault_keys().is_some()
    }
}

thread_local! {
    /// Entries whose signatures hold, of the run that is under way.
    static VERIFIED: RefCell<HashSet<EntryHash>> = RefCell::new(HashSet::new());
}

/// Checks an entry's signature the first time that any node of the run sees it.
fn check_once(signed: &SignedEntry, entry: &Entry) -> Result<(), DecodeError> {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&signed.bytes)
        .update(&encode(&signed.signature));
    let hash = EntryHash(*hasher.finalize().as_bytes());
    if VERIFIED.with_borrow(|known| known.contains(&hash)) {
        return Ok(());
    }
    signed.check_signature(entry)?;
    VERIFIED.with_borrow_mut(|known| known.insert(hash));
    Ok(())
}

/// Forgets what an earlier run on this thread has verified.
pub(super) fn forget_verified() {
    VERIFIED.with_borrow_mut(HashSet::clear);
}
