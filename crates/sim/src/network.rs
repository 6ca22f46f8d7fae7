//! Links between machines: bytes in order, late, and cut off at any byte.

use std::collections::BTreeMap;

use carryall_core::{
    event::LinkId,
    id::ShardId,
    time::{Span, Timestamp},
};

use crate::{options::Faults, rng::Rng, world::Place};

/// What a near link carries in a millisecond, in bytes.
const BYTES_PER_MS: u64 = 20_000;
/// Pieces of a shard stream have at most this many bytes.
const PIECE_BYTES_MAX: u64 = 96 << 10;
/// Where the air is shared, a piece takes at most so many seconds of it.
const PIECE_SECS_MAX: u64 = 5;
/// Cuts come after at most this many bytes: a few shards.
const CUT_BYTES_BITS_MAX: u64 = 22;

/// One of the two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The machine that dialled.
    Dialler,
    /// The machine that was dialled.
    Accepter,
}

impl End {
    /// Returns the opposite end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Accepter,
            Self::Accepter => Self::Dialler,
        }
    }
}

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    /// An encoded message.
    Frame(Vec<u8>),
    /// Bytes of a shard stream.
    Piece {
        shard: ShardId,
        /// Where in the shard they belong.
        offset: u32,
        bytes: Vec<u8>,
        /// Whether the stream ends with them.
        last: bool,
    },
}

impl Parcel {
    fn len(&self) -> u64 {
        match self {
            // A frame has a length before it.
            Self::Frame(bytes) => bytes.len() as u64 + 4,
            Self::Piece { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Returns what is left of it when only `len` bytes pass; half a frame is nothing.
    fn truncated(self, len: u64) -> Option<Self> {
        match self {
            Self::Piece {
                shard,
                offset,
                mut bytes,
                ..
            } if len > 0 => {
                bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                Some(Self::Piece {
                    shard,
                    offset,
                    bytes,
                    last: false,
                })
            }
            _ => None,
        }
    }
}

/// A connection between two machines.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) dialler: usize,
    pub(crate) accepter: usize,
    /// Bytes still pass.
    pub(crate) open: bool,
    /// Bytes that pass before the cut.
    left: u64,
    /// When the last parcel towards each end arrives.
    busy_until: [Timestamp; 2],
    /// Bytes of messages, both ways.
    pub(crate) control_bytes: u64,
    /// Bytes of shards, both ways.
    pub(crate) shard_bytes: u64,
}

impl Wire {
    /// Returns the machine at an end.
    pub(crate) const fn machine(&self, end: End) -> usize {
        match end {
            End::Dialler => self.dialler,
            End::Accepter => self.accepter,
        }
    }

    /// Returns the end at which a machine is.
    pub(crate) const fn end(&self, machine: usize) -> End {
        if self.dialler == machine {
            End::Dialler
        } else {
            End::Accepter
        }
    }
}

/// What became of a parcel.
#[derive(Debug)]
pub(crate) enum Carried {
    /// It arrives then.
    Whole(Timestamp, Parcel),
    /// Only this part arrives, and the link breaks then.
    Cut(Timestamp, Option<Parcel>),
    /// The link is gone.
    Lost,
}

/// All links there ever were.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    wires: BTreeMap<LinkId, Wire>,
    next: u64,
    rng: Rng,
    pub(crate) faults: Faults,
    /// What all shards in one place have together, in bytes a second; nothing: links don't disturb
    /// each other.
    pace: Option<u64>,
    /// Until when the air of each place is in use.
    air: BTreeMap<Place, Timestamp>,
}

impl Network {
    pub(crate) const fn new(rng: Rng, faults: Faults) -> Self {
        Self {
            wires: BTreeMap::new(),
            next: 1,
            rng,
            faults,
            pace: None,
            air: BTreeMap::new(),
        }
    }

    /// Lets all that are in one place share so many bytes a second.
    pub(crate) fn set_pace(&mut self, bytes_per_sec: u64) {
        self.pace = Some(bytes_per_sec);
    }

    /// Returns the longest piece of a shard that travels at once, in bytes.
    pub(crate) fn piece_bytes_max(&self) -> u64 {
        self.pace
            .map_or(PIECE_BYTES_MAX, |pace| pace * PIECE_SECS_MAX)
    }

    /// Makes a link.
    pub(crate) fn connect(&mut self, dialler: usize, accepter: usize) -> LinkId {
        let link = LinkId(self.next);
        self.next += 1;
        let cut = self.rng.chance(self.faults.cut_per_mille);
        let left = if cut {
            // Every order of magnitude alike, so that cuts fall into hellos and into shards.
            let bits = self.rng.between(1, CUT_BYTES_BITS_MAX);
            self.rng.between(1 << (bits - 1), 1 << bits)
        } else {
            u64::MAX
        };
        let wire = Wire {
            dialler,
            accepter,
            open: true,
            left,
            busy_until: [Timestamp(0); 2],
            control_bytes: 0,
            shard_bytes: 0,
        };
        self.wires.insert(link, wire);
        link
    }

    pub(crate) fn wire(&self, link: LinkId) -> Option<&Wire> {
        self.wires.get(&link)
    }

    /// Lets no more bytes pass. Returns whether any did.
    pub(crate) fn break_off(&mut self, link: LinkId) -> bool {
        self.wires
            .get_mut(&link)
            .is_some_and(|wire| std::mem::replace(&mut wire.open, false))
    }

    /// Returns the open links of a machine.
    pub(crate) fn links_of(&self, machine: usize) -> Vec<LinkId> {
        let mine = |wire: &Wire| wire.open && (wire.dialler == machine || wire.accepter == machine);
        self.wires
            .iter()
            .filter(|(_, wire)| mine(wire))
            .map(|(link, _)| *link)
            .collect()
    }

    /// Returns the bytes of messages and of shards that passed over all links.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let wires = self.wires.values();
        wires.fold((0, 0), |sum, it| {
            (sum.0 + it.control_bytes, sum.1 + it.shard_bytes)
        })
    }

    /// Returns when the last parcel on a link arrives.
    pub(crate) fn last_arrival(&self, link: LinkId) -> Timestamp {
        let wire = self.wires.get(&link);
        wire.and_then(|wire| wire.busy_until.iter().max().copied())
            .unwrap_or_default()
    }

    /// Returns a delay of one parcel.
    pub(crate) fn delay(&mut self) -> Span {
        Span::millis(1 + self.rng.below(u64::from(self.faults.delay_ms_max)))
    }

    /// Carries a parcel towards an end, in a place.
    pub(crate) fn carry(
        &mut self,
        now: Timestamp,
        link: LinkId,
        towards: End,
        place: Option<Place>,
        parcel: Parcel,
    ) -> Carried {
        let delay = self.delay();
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.open) else {
            return Carried::Lost;
        };
        let len = parcel.len();
        let passed = len.min(wire.left);
        let at = match (self.pace, place, &parcel) {
            (Some(pace), Some(place), Parcel::Piece { .. }) => {
                let air = self.air.entry(place).or_default();
                *air = now.max(*air) + Span::millis(passed * 1000 / pace);
                *air
            }
            // Messages are nothing beside shards of their true size.
            _ => {
                let after = wire.busy_until[towards as usize];
                let at = (now + delay).max(after) + Span::millis(passed / BYTES_PER_MS);
                wire.busy_until[towards as usize] = at;
                at
            }
        };
        wire.left -= passed;
        match parcel {
            Parcel::Frame(_) => wire.control_bytes += passed,
            Parcel::Piece { .. } => wire.shard_bytes += passed,
        }
        if passed < len {
            return Carried::Cut(at, parcel.truncated(passed));
        }
        Carried::Whole(at, parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_on_a_byte() {
        let faults = Faults {
            cut_per_mille: 1000,
            ..Faults::default()
        };
        let mut network = Network::new(Rng::new(1), faults);
        let link = network.connect(0, 1);
        let mut came = 0;
        for offset in 0..10_000 {
            let bytes = vec![0; 1000];
            let shard = ShardId([0; 32]);
            let piece = Parcel::Piece {
                shard,
                offset,
                bytes,
                last: false,
            };
            match network.carry(Timestamp(0), link, End::Accepter, None, piece) {
                Carried::Whole(..) => came += 1000,
                Carried::Cut(_, Some(Parcel::Piece { bytes, .. })) => {
                    came += bytes.len() as u64;
                    network.break_off(link);
                }
                Carried::Cut(..) => network.break_off(link).then_some(()).unwrap(),
                Carried::Lost => break,
            }
        }
        assert_eq!(network.wire(link).unwrap().shard_bytes, came);
        assert!(came < 10_000_000);
    }
}
