//! Told meetings: whom a device met, written down for the devices of its owner that come after it.
//!
//! Once a week they go into the device's own feed, sealed to its owner, so that whoever loses a disk
//! still knows where to look for friends. Feeds are kept by everybody for ever: a meeting takes some
//! fifteen bytes here, and only what habits are made of is told, never on which network it was.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    event::LinkClass,
    id::{DeviceId, MemberId},
    limits,
    meeting::{Meeting, Network},
    time::{Span, Timestamp},
};

/// One minute, in which times are told.
const MINUTE: u64 = 60_000;
/// One kibibyte, in which amounts are told.
const KIB: u64 = 1024;

/// What one entry tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What was met until then is told, in this entry or an earlier one.
    pub until: Timestamp,
    peers: Vec<Peer>,
}

/// The meetings with one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Peer {
    device: DeviceId,
    member: MemberId,
    meetings: Vec<Row>,
}

/// One meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// Minutes between the beginning of the one before, at first of 1970, and the beginning of this.
    after: u64,
    minutes: u64,
    offset_minutes: i16,
    class: LinkClass,
    linked_s: u64,
    sent_kib: u64,
    received_kib: u64,
}

impl Told {
    /// Tells the newest of these meetings, so many that they fit an entry.
    pub(crate) fn new<'a>(until: Timestamp, meetings: impl Iterator<Item = &'a Meeting>) -> Self {
        let mut meetings: Vec<&Meeting> = meetings.collect();
        meetings.sort_unstable_by_key(|it| (it.start, it.device));
        let surplus = meetings.len().saturating_sub(limits::TOLD_MEETINGS_MAX);
        let mut peers: BTreeMap<(DeviceId, MemberId), (u64, Vec<Row>)> = BTreeMap::new();
        for meeting in &meetings[surplus..] {
            let (last, rows) = peers.entry((meeting.device, meeting.member)).or_default();
            let start = meeting.start.0 / MINUTE;
            rows.push(Row {
                after: start - core::mem::replace(last, start),
                minutes: meeting.length.0.div_ceil(MINUTE),
                offset_minutes: meeting.offset_minutes,
                class: meeting.class,
                linked_s: meeting.linked.0.div_ceil(1000),
                sent_kib: meeting.sent.div_ceil(KIB),
                received_kib: meeting.received.div_ceil(KIB),
            });
        }
        let peers = peers.into_iter();
        Self {
            until,
            peers: peers
                .map(|((device, member), (_, meetings))| Peer {
                    device,
                    member,
                    meetings,
                })
                .collect(),
        }
    }

    /// Returns the meetings, in the order of the devices and then of time. Numbers that no meeting can
    /// have end the row of a device.
    pub(crate) fn meetings(&self) -> impl Iterator<Item = Meeting> {
        self.peers.iter().flat_map(|peer| {
            let mut minute = 0_u64;
            let rows = peer.meetings.iter().map_while(move |row| {
                minute = minute.checked_add(row.after)?;
                let meeting = Meeting {
                    device: peer.device,
                    member: peer.member,
                    class: row.class,
                    network: Network::UNKNOWN,
                    start: Timestamp(minute.checked_mul(MINUTE)?),
                    offset_minutes: row.offset_minutes,
                    length: Span(row.minutes.checked_mul(MINUTE)?),
                    linked: Span(row.linked_s.checked_mul(1000)?),
                    sent: row.sent_kib.checked_mul(KIB)?,
                    received: row.received_kib.checked_mul(KIB)?,
                };
                meeting.is_possible().then_some(meeting)
            });
            rows.take(limits::TOLD_MEETINGS_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::{decode, encode},
        golden::assert_golden,
        id::hex,
        meeting::tests::meeting,
    };

    /// A meeting as it is told: whole minutes, seconds and kibibytes, and no network.
    fn rounded(meeting: Meeting) -> Meeting {
        Meeting {
            network: Network::UNKNOWN,
            start: Timestamp(meeting.start.0 / MINUTE * MINUTE),
            length: Span(meeting.length.0.div_ceil(MINUTE) * MINUTE),
            linked: Span(meeting.linked.0.div_ceil(1000) * 1000),
            sent: meeting.sent.div_ceil(KIB) * KIB,
            received: meeting.received.div_ceil(KIB) * KIB,
            ..meeting
        }
    }

    #[test]
    fn encodings_never_change() {
        let later = Meeting {
            start: meeting().end() + Span::days(7),
            ..meeting()
        };
        let told = Told::new(later.end(), [meeting(), later].iter());
        assert_golden(
            include_str!("../../../testdata/format/told.txt"),
            &[("told", hex(&encode(&told)))],
        );
    }

    #[test]
    fn the_newest_are_told_and_fit_an_entry() {
        let met = |at: u64| Meeting {
            // Nobody meets more devices than there are meetings.
            device: DeviceId(*blake3::hash(&at.to_le_bytes()).as_bytes()),
            start: Timestamp(Span::hours(at).0),
            ..meeting()
        };
        let most = limits::TOLD_MEETINGS_MAX as u64;
        let all: Vec<Meeting> = (1..=2 * most).map(met).collect();
        let told = Told::new(Timestamp(0), all.iter());
        let mut starts: Vec<Timestamp> = told.meetings().map(|it| it.start).collect();
        starts.sort_unstable();
        assert_eq!(starts.len() as u64, most);
        assert_eq!(starts[0], met(most + 1).start);
        let bytes = encode(&told).len();
        assert!(bytes < limits::ENTRY_BYTES_MAX - 4096, "{bytes}");
    }

    #[test]
    fn impossible_numbers_are_passed_over() {
        let mut told = Told::new(Timestamp(0), [meeting()].iter());
        let good = told.peers[0].meetings[0];
        told.peers[0].meetings.push(Row {
            after: u64::MAX,
            ..good
        });
        told.peers[0].meetings.push(good);
        assert_eq!(told.meetings().count(), 1);
    }

    proptest! {
        #[test]
        fn meetings_come_back(starts in proptest::collection::vec((0_u64..1 << 42, 0_u64..1 << 30, 0_u8..4), 0..40)) {
            let meetings: Vec<Meeting> = (starts.into_iter())
                .map(|(start, length, peer)| Meeting {
                    device: DeviceId([peer; 32]),
                    start: Timestamp(start),
                    length: Span(length),
                    ..meeting()
                })
                .collect();
            let told = Told::new(Timestamp(7), meetings.iter());
            let told: Told = decode("told meetings", &encode(&told)).unwrap();
            let order = |it: &Meeting| (it.device, it.start, it.length);
            let mut found: Vec<Meeting> = told.meetings().collect();
            let mut wanted: Vec<Meeting> = meetings.into_iter().map(rounded).collect();
            found.sort_by_key(order);
            wanted.sort_by_key(order);
            prop_assert_eq!(found, wanted);
        }
    }
}
