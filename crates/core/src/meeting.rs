//! A meeting: a device was near or connected, from when on, for how long, and what went over the
//! links meanwhile.
//!
//! Devices connect on demand, so an evening with a friend has many short encounters, or none at all.
//! All that lies less than [`limits::MEETING_GAP`] apart is one meeting. It is written down in pieces
//! of at most [`limits::MEETING_PIECE`], so that a crash loses little of it.

use core::net::IpAddr;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    event::LinkClass,
    id::{DeviceId, MemberId},
    limits,
    time::{Span, Timestamp},
};

/// The context of the key under which networks are hashed.
const NETWORK_CONTEXT: &str = "carryall 2026 network v1";
/// Farthest that local time is from UTC anywhere, and some room for politics, in minutes.
const OFFSET_MINUTES_MAX: u16 = 18 * 60;
/// Longest encoding of a meeting, in bytes: two ids and numbers of at most ten bytes each.
pub const MEETING_BYTES_MAX: usize = 160;

/// A network as this device names it for itself: who has the history, but not this device's secret,
/// can't tell which one it is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Network(pub [u8; 8]);

impl Network {
    /// Some network of which nothing is known that tells it from others.
    pub const UNKNOWN: Self = Self([0; 8]);

    /// Returns the name of the network behind a gateway: its address and hardware address.
    /// `secret` is a secret of this device alone.
    pub fn behind(secret: &[u8; 32], gateway: IpAddr, hardware: [u8; 6]) -> Self {
        Self::hashed(secret, &(true, gateway, hardware))
    }

    /// Returns the name of a network without a gateway: its subnets, as address and leading bits.
    /// `secret` is a secret of this device alone.
    pub fn of_subnets(secret: &[u8; 32], mut subnets: Vec<(IpAddr, u8)>) -> Self {
        subnets.sort_unstable();
        subnets.dedup();
        if subnets.is_empty() {
            return Self::UNKNOWN;
        }
        Self::hashed(secret, &(false, subnets))
    }

    fn hashed(secret: &[u8; 32], traits: &impl Serialize) -> Self {
        let key = blake3::derive_key(NETWORK_CONTEXT, secret);
        let hash = blake3::keyed_hash(&key, &codec::encode(traits));
        let mut name = [0; 8];
        name.copy_from_slice(&hash.as_bytes()[..8]);
        Self(name)
    }
}

/// Where this device is, and what the clocks on the walls show there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The network.
    pub network: Network,
    /// How far local time is ahead of UTC, in minutes.
    pub offset_minutes: i16,
}

/// A meeting, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Who was met.
    pub device: DeviceId,
    /// Whose device that was.
    pub member: MemberId,
    /// The best link there was; a beacon alone is a local one.
    pub class: LinkClass,
    /// On which network of ours.
    pub network: Network,
    /// When it began.
    pub start: Timestamp,
    /// How far local time was ahead of UTC then, in minutes: habits follow the clock on the wall.
    pub offset_minutes: i16,
    /// How long it lasted.
    pub length: Span,
    /// For how much of that there was a connection.
    pub linked: Span,
    /// Shard bytes that went to the device.
    pub sent: u64,
    /// Shard bytes that came from it.
    pub received: u64,
}

impl Meeting {
    /// The version of the encoding written now.
    pub const VERSION: u16 = 1;

    /// Returns when it ended.
    pub fn end(&self) -> Timestamp {
        self.start + self.length
    }

    /// Returns the bytes of both directions.
    pub fn bytes(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// Returns the encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&(Self::VERSION, self))
    }

    /// Returns the meeting that `bytes` encode.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let what = "meeting";
        if bytes.len() > MEETING_BYTES_MAX {
            return Err(DecodeError::TooLong(what));
        }
        // A newer version may have other fields, so its number is looked at first.
        let (found, _) =
            postcard::take_from_bytes::<u16>(bytes).map_err(|_| DecodeError::Malformed(what))?;
        if found > Self::VERSION {
            let known = Self::VERSION;
            return Err(DecodeError::TooNew { what, found, known });
        }
        let (version, meeting) = codec::decode::<(u16, Self)>(what, bytes)?;
        if version == 0 || !meeting.is_possible() {
            return Err(DecodeError::Malformed(what));
        }
        Ok(meeting)
    }

    /// Tells whether its times can be those of a meeting.
    pub(crate) fn is_possible(&self) -> bool {
        let ends = (self.start.0).checked_add(self.length.0).is_some();
        ends && self.offset_minutes.unsigned_abs() <= OFFSET_MINUTES_MAX
    }

    /// Returns the part of it that lies between two times, the first not included; nothing if none does.
    /// Its amounts are taken for evenly spread.
    pub(crate) fn between(&self, from: Timestamp, until: Timestamp) -> Option<Self> {
        let (start, end) = (self.start.max(from), self.end().min(until));
        let length = end.since(start);
        if self.end() <= from || self.start > until || length == Span(0) && self.length > Span(0) {
            return None;
        }
        let part = |amount: u64| {
            let part = u128::from(amount) * u128::from(length.0) / u128::from(self.length.0.max(1));
            u64::try_from(part).unwrap_or(amount)
        };
        let whole = length == self.length;
        Some(match whole {
            true => *self,
            false => Self {
                start,
                length,
                linked: Span(part(self.linked.0)),
                sent: part(self.sent),
                received: part(self.received),
                ..*self
            },
        })
    }

    /// Tells whether it was over a link that carries packs.
    pub(crate) const fn carries(&self) -> bool {
        matches!(self.class, LinkClass::Lan | LinkClass::Direct)
    }

    /// Tells whether `later`, which does not begin before this one, goes on with this meeting.
    pub(crate) fn continues_in(&self, later: &Self) -> bool {
        self.device == later.device
            && self.member == later.member
            && self.network == later.network
            && later.start.since(self.end()) < limits::MEETING_GAP
    }

    /// Takes in what follows it in the same meeting.
    pub(crate) fn take(&mut self, later: &Self) {
        let end = self.end().max(later.end());
        self.length = end.since(self.start);
        self.linked = Span(self.linked.0.saturating_add(later.linked.0));
        self.class = self.class.min(later.class);
        self.sent = self.sent.saturating_add(later.sent);
        self.received = self.received.saturating_add(later.received);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{golden::assert_golden, id::hex};

    pub(crate) fn meeting() -> Meeting {
        Meeting {
            device: DeviceId([1; 32]),
            member: MemberId([2; 32]),
            class: LinkClass::Lan,
            network: Network([1, 2, 3, 4, 5, 6, 7, 8]),
            start: Timestamp(1_800_000_000_000),
            offset_minutes: 120,
            length: Span::secs(5400),
            linked: Span::secs(70),
            sent: 1 << 30,
            received: 4097,
        }
    }

    fn any_meeting() -> impl Strategy<Value = Meeting> {
        let classes = [
            LinkClass::Lan,
            LinkClass::Direct,
            LinkClass::Relay,
            LinkClass::Metered,
        ];
        let ids = (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<[u8; 8]>());
        let times = (0..u64::MAX / 2, 0..u64::MAX / 2, any::<u64>());
        let numbers = (any::<u64>(), any::<u64>(), -1080_i16..=1080);
        (
            ids,
            times,
            numbers,
            proptest::sample::select(classes.to_vec()),
        )
            .prop_map(
                |((device, member, network), times, numbers, class)| Meeting {
                    device: DeviceId(device),
                    member: MemberId(member),
                    class,
                    network: Network(network),
                    start: Timestamp(times.0),
                    offset_minutes: numbers.2,
                    length: Span(times.1),
                    linked: Span(times.2),
                    sent: numbers.0,
                    received: numbers.1,
                },
            )
    }

    #[test]
    fn encodings_and_network_names_never_change() {
        let (secret, subnet) = ([7; 32], ("192.168.1.0".parse().unwrap(), 24));
        let gateway = "192.168.1.1".parse().unwrap();
        assert_golden(
            include_str!("../../../testdata/format/meeting.txt"),
            &[
                ("meeting", hex(&meeting().to_bytes())),
                (
                    "behind",
                    hex(&Network::behind(&secret, gateway, [2, 0, 0, 0, 0, 1]).0),
                ),
                (
                    "subnets",
                    hex(&Network::of_subnets(&secret, vec![subnet]).0),
                ),
            ],
        );
    }

    #[test]
    fn networks_are_told_apart_by_their_owner_only() {
        let (one, two) = ([1; 32], [2; 32]);
        let gateway: IpAddr = "192.168.1.1".parse().unwrap();
        let home = Network::behind(&one, gateway, [1; 6]);
        assert_eq!(home, Network::behind(&one, gateway, [1; 6]));
        assert_ne!(home, Network::behind(&one, gateway, [2; 6]));
        assert_ne!(home, Network::behind(&two, gateway, [1; 6]));
        let subnets = |names: &[&str]| {
            let subnets = names.iter().map(|it| (it.parse().unwrap(), 24)).collect();
            Network::of_subnets(&one, subnets)
        };
        let both = subnets(&["10.0.0.0", "10.1.0.0"]);
        assert_eq!(both, subnets(&["10.1.0.0", "10.0.0.0", "10.1.0.0"]));
        assert_ne!(both, subnets(&["10.0.0.0"]));
        assert_eq!(subnets(&[]), Network::UNKNOWN);
    }

    #[test]
    fn a_newer_version_and_impossible_times_are_refused() {
        let mut bytes = meeting().to_bytes();
        bytes[0] = 2;
        let newer = DecodeError::TooNew {
            what: "meeting",
            found: 2,
            known: 1,
        };
        assert_eq!(Meeting::from_bytes(&bytes), Err(newer));
        bytes[0] = 0;
        let malformed = Err(DecodeError::Malformed("meeting"));
        assert_eq!(Meeting::from_bytes(&bytes), malformed);
        let offset_minutes = 1081;
        let on_the_moon = Meeting {
            offset_minutes,
            ..meeting()
        };
        assert_eq!(Meeting::from_bytes(&on_the_moon.to_bytes()), malformed);
        let length = Span(u64::MAX);
        let endless = Meeting {
            length,
            ..meeting()
        };
        assert_eq!(Meeting::from_bytes(&endless.to_bytes()), malformed);
    }

    #[test]
    fn what_follows_soon_is_the_same_meeting() {
        let first = meeting();
        let mut later = Meeting {
            class: LinkClass::Direct,
            start: first.end() + Span(limits::MEETING_GAP.0 - 1),
            ..first
        };
        assert!(first.continues_in(&later));
        let mut both = first;
        both.take(&later);
        assert_eq!((both.start, both.end()), (first.start, later.end()));
        assert_eq!(both.class, LinkClass::Lan);
        assert_eq!(both.bytes(), 2 * first.bytes());
        later.start = first.end() + limits::MEETING_GAP;
        assert!(!first.continues_in(&later));
        later.start = first.end();
        later.network = Network::UNKNOWN;
        assert!(!first.continues_in(&later));
    }

    #[test]
    fn a_meeting_that_goes_on_is_cut_where_one_wants() {
        let whole = meeting();
        let middle = whole.start + Span(whole.length.0 / 2);
        assert_eq!(whole.between(Timestamp(0), whole.end()), Some(whole));
        assert_eq!(whole.between(whole.end(), whole.end() + Span(9)), None);
        assert_eq!(whole.between(Timestamp(0), whole.start), None);
        let first = whole.between(Timestamp(0), middle).unwrap();
        let second = whole.between(middle, whole.end() + Span(9)).unwrap();
        assert_eq!((first.start, first.end()), (whole.start, middle));
        assert_eq!(first.sent + second.sent, whole.sent);
        assert!(first.continues_in(&second));
        let mut both = first;
        both.take(&second);
        assert_eq!((both.start, both.end()), (whole.start, whole.end()));
        let moment = Meeting {
            length: Span(0),
            ..whole
        };
        assert_eq!(moment.between(Timestamp(0), moment.start), Some(moment));
        assert_eq!(moment.between(moment.start, moment.start + Span(9)), None);
    }

    proptest! {
        #[test]
        fn meetings_round_trip(meeting in any_meeting()) {
            let bytes = meeting.to_bytes();
            prop_assert!(bytes.len() <= MEETING_BYTES_MAX);
            prop_assert_eq!(Meeting::from_bytes(&bytes), Ok(meeting));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..170)) {
            if let Ok(meeting) = Meeting::from_bytes(&bytes) {
                prop_assert_eq!(meeting.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_is_another_meeting_or_none(at in 0_usize..90, to in any::<u8>()) {
            let whole = meeting().to_bytes();
            let mut bytes = whole.clone();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(found) = Meeting::from_bytes(&bytes) {
                prop_assert_eq!(found == meeting(), bytes == whole);
            }
        }
    }
}
