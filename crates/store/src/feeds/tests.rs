//! Feeds keep what they acknowledged, cut what was torn, and never fork.

use carryall_core::codec::Signature;
use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    trial::{cut_everywhere, fill_everywhere, what_is_seen_stays},
};

const OWN: DeviceId = DeviceId([1; 32]);
const OTHER: DeviceId = DeviceId([2; 32]);

fn entry(seq: u64, bytes: usize) -> SignedEntry {
    let key = SigningKey::from_bytes(&[3; 32]);
    let mut content = vec![0x5a; bytes];
    content[..8].copy_from_slice(&seq.to_le_bytes());
    SignedEntry {
        signature: Signature::sign(&key, "test", b""),
        bytes: content,
    }
}

fn entries(from: u64, count: u64) -> Vec<SignedEntry> {
    (from..from + count)
        .map(|seq| entry(seq, 40 + usize::try_from(seq * 97 % 700).unwrap()))
        .collect()
}

fn open(disk: &MemDisk) -> Result<(Feeds, BTreeMap<DeviceId, Vec<SignedEntry>>), FeedError> {
    let mut found: BTreeMap<DeviceId, Vec<SignedEntry>> = BTreeMap::new();
    let mut each = |device, seq: u64, entry| {
        let feed = found.entry(device).or_default();
        assert_eq!(feed.len() as u64, seq);
        feed.push(entry);
    };
    let feeds = Feeds::open(
        Arc::new(disk.clone()),
        Path::new("/v/feeds"),
        OWN,
        &mut each,
    )?;
    Ok((feeds, found))
}

fn own_path() -> PathBuf {
    feed_path(Path::new("/v/feeds"), OWN)
}

#[test]
fn round_trip() {
    let disk = MemDisk::new();
    let (feeds, _) = open(&disk).unwrap();
    let all = entries(0, 200);
    assert_eq!(feeds.append(OWN, 0, &all[..150]).unwrap(), 150);
    assert_eq!(
        feeds.append(OWN, 100, &all[100..]).unwrap(),
        200,
        "known ones are passed over"
    );
    assert_eq!(feeds.append(OWN, 0, &all[..3]).unwrap(), 200);
    assert!(matches!(
        feeds.append(OTHER, 1, &all[1..]),
        Err(FeedError::Gap {
            len: 0,
            from: 1,
            ..
        })
    ));
    assert_eq!(feeds.append(OTHER, 0, &all[..70]).unwrap(), 70);
    for (from, to) in [
        (0, 200),
        (0, 1),
        (63, 65),
        (64, 64),
        (130, 500),
        (199, 200),
        (200, 300),
    ] {
        let expected = &all[from as usize..(to as usize).clamp(from as usize, 200)];
        assert_eq!(feeds.read(OWN, from, to, usize::MAX).unwrap(), expected);
    }
    assert_eq!(feeds.read(OWN, 0, 200, 0).unwrap(), all[..1]);
    let some = feeds.read(OWN, 0, 200, 5000).unwrap();
    assert!(some.len() > 5 && some.len() < 50 && some[..] == all[..some.len()]);

    let tips = feeds.tips();
    assert_eq!(
        tips[0],
        Tip {
            device: OWN,
            len: 200,
            hash: all[199].hash()
        }
    );
    assert_eq!(
        tips[1],
        Tip {
            device: OTHER,
            len: 70,
            hash: all[69].hash()
        }
    );
    let (reopened, found) = open(&disk).unwrap();
    assert_eq!(reopened.tips(), tips);
    assert_eq!(
        (&found[&OWN][..], &found[&OTHER][..]),
        (&all[..], &all[..70])
    );
    assert!(reopened.cuts().is_empty());
    reopened.remove(OTHER).unwrap();
    reopened.remove(OWN).unwrap();
    assert_eq!(open(&disk).unwrap().0.tips(), tips[..1]);
}

/// Entries of the own feed are appended: what was acknowledged is there, and nothing torn before it.
pub(crate) fn appending() -> u64 {
    let all = entries(0, 40);
    cut_everywhere(
        |disk| drop(open(disk).unwrap()),
        |disk| {
            let mut acknowledged = 0;
            let Ok((feeds, _)) = open(disk) else { return 0 };
            for (from, to) in [(0, 3), (3, 4), (4, 30), (30, 31), (31, 40)] {
                match feeds.append(OWN, from, &all[from as usize..to]) {
                    Ok(len) => acknowledged = len,
                    Err(_) => break,
                }
            }
            acknowledged
        },
        |disk, acknowledged| {
            let (feeds, found) = open(disk).unwrap();
            feeds.check_own().unwrap();
            let found = found.get(&OWN).map_or(&[][..], |found| found);
            assert!(found.len() as u64 >= *acknowledged);
            assert_eq!(found, &all[..found.len()]);
            let len = feeds.append(OWN, 0, &all).unwrap();
            assert_eq!(len, 40);
            assert_eq!(open(&disk.crash(Survival::Synced)).unwrap().1[&OWN], all);
        },
        |disk| drop(open(disk)),
    )
}

/// Friends' entries come in between: what was acknowledged of the own feed is there, and what is there
/// of theirs is theirs, so that the rest can be had again.
pub(crate) fn merging() -> u64 {
    let (own, others) = (entries(0, 12), entries(100, 30));
    let others: Vec<SignedEntry> = others.into_iter().collect();
    let steps = |feeds: &Feeds| {
        let mut acknowledged = (0, 0);
        for (from, to) in [(0, 10), (10, 11), (11, 30)] {
            match feeds.append(OTHER, from, &others[from as usize..to]) {
                Ok(len) => acknowledged.1 = len,
                Err(_) => break,
            }
            let mine = acknowledged.0;
            match feeds.append(OWN, mine, &own[mine as usize..mine as usize + 4]) {
                Ok(len) => acknowledged.0 = len,
                Err(_) => break,
            }
        }
        acknowledged
    };
    cut_everywhere(
        |disk| drop(open(disk).unwrap()),
        |disk| open(disk).map_or((0, 0), |(feeds, _)| steps(&feeds)),
        |disk, acknowledged| {
            let (feeds, found) = open(disk).unwrap();
            feeds.check_own().unwrap();
            let of = |device| found.get(&device).map_or(&[][..], |found| found);
            assert!(of(OWN).len() as u64 >= acknowledged.0);
            assert_eq!(of(OWN), &own[..of(OWN).len()]);
            assert_eq!(of(OTHER), &others[..of(OTHER).len()]);
            assert_eq!(feeds.append(OTHER, 0, &others).unwrap(), 30);
            assert_eq!(feeds.append(OWN, 0, &own).unwrap(), 12);
        },
        |disk| {
            if let Ok((feeds, _)) = open(disk) {
                let _ = feeds.append(OTHER, 0, &others);
                let _ = feeds.append(OWN, 0, &own);
            }
        },
    )
}

#[test]
fn own_entries_seen_after_a_kill_stay() {
    let all = entries(0, 12);
    what_is_seen_stays(
        |disk| drop(open(disk).unwrap()),
        |disk| {
            let Ok((feeds, _)) = open(disk) else { return };
            for from in [0, 5] {
                let to = usize::try_from(from).unwrap() + 6;
                let _ = feeds.append(OWN, from, &all[to - 6..to]);
            }
        },
        |disk| open(disk).unwrap().1.remove(&OWN),
    );
}

#[test]
fn a_full_disk_leaves_the_feed_as_it_was() {
    let all = entries(0, 20);
    fill_everywhere(
        |disk| {
            let (feeds, _) = open(disk).unwrap();
            feeds.append(OWN, 0, &all[..5]).unwrap();
        },
        |disk| {
            let Ok((feeds, _)) = open(disk) else { return 5 };
            match feeds.append(OWN, 5, &all[5..]) {
                Ok(len) => len,
                Err(error) => {
                    assert!(matches!(&error, FeedError::Disk(error) if error.is_full()));
                    assert_eq!(feeds.len(OWN), 5);
                    assert_eq!(feeds.read(OWN, 0, 9, usize::MAX).unwrap(), all[..5]);
                    5
                }
            }
        },
        |disk, len| {
            let (feeds, found) = open(disk).unwrap();
            assert_eq!(found[&OWN], all[..*len as usize]);
            assert_eq!(feeds.append(OWN, *len, &all[*len as usize..]).unwrap(), 20);
        },
    );
}

#[test]
fn a_failed_append_can_be_repeated_at_once() {
    let disk = MemDisk::new();
    let all = entries(0, 3000);
    let (feeds, _) = open(&disk).unwrap();
    feeds.append(OWN, 0, &all[..1]).unwrap();
    disk.set_capacity(Some(16 << 10));
    assert!(feeds.append(OWN, 1, &all[1..]).is_err());
    disk.set_capacity(None);
    assert_eq!(feeds.append(OWN, 1, &all[1..]).unwrap(), 3000);
    assert_eq!(open(&disk).unwrap().1[&OWN], all);
}

#[test]
fn any_flipped_bit_of_the_own_feed_stops_writing_and_loses_nothing_before_it() {
    let all = entries(0, 6);
    let clean = MemDisk::new();
    let (feeds, _) = open(&clean).unwrap();
    for seq in 0..6 {
        feeds
            .append(OWN, seq, &all[seq as usize..=seq as usize])
            .unwrap();
    }
    let bits = clean.read_file(&own_path()).unwrap().len() as u64 * 8;
    for bit in (0..bits).step_by(3) {
        let disk = clean.crash(Survival::All);
        disk.rot(&own_path(), bit).unwrap();
        let before = disk.read_file(&own_path()).unwrap();
        let (feeds, found) = match open(&disk) {
            Ok(opened) => opened,
            Err(FeedError::TooNew { .. }) => continue,
            Err(error) => panic!("bit {bit}: {error}"),
        };
        let found = found.get(&OWN).map_or(&[][..], |found| found);
        assert!(found.len() < 6, "bit {bit} went unnoticed");
        assert_eq!(found, &all[..found.len()], "bit {bit}");
        let kept = found.len() as u64;
        assert!(
            matches!(feeds.check_own(), Err(FeedError::OwnDamaged { kept: k, .. }) if k == kept),
            "bit {bit} would fork the feed"
        );
        assert!(feeds.append(OWN, kept, &all[found.len()..]).is_err());
        assert_eq!(feeds.append(OTHER, 0, &all).unwrap(), 6);
        assert_eq!(
            disk.read_file(&own_path()).unwrap(),
            before,
            "evidence is kept"
        );
    }
}

#[test]
fn a_lost_sector_before_a_later_append_is_damage_not_a_torn_end() {
    let disk = MemDisk::new();
    let (feeds, _) = open(&disk).unwrap();
    let all: Vec<_> = (0..4).map(|seq| entry(seq, 2000)).collect();
    for seq in 0..4 {
        feeds
            .append(OWN, seq, &all[seq as usize..=seq as usize])
            .unwrap();
    }
    let file = disk.open(&own_path(), crate::disk::Open::Write).unwrap();
    file.write_at(&[0; 512], 3072).unwrap();
    let (feeds, found) = open(&disk).unwrap();
    assert_eq!(found[&OWN], all[..1]);
    assert!(feeds.check_own().is_err());
}

#[test]
fn others_feeds_are_cut_at_damage_and_go_on_from_there() {
    let disk = MemDisk::new();
    let all = entries(0, 50);
    let (feeds, _) = open(&disk).unwrap();
    feeds.append(OTHER, 0, &all).unwrap();
    let path = feed_path(Path::new("/v/feeds"), OTHER);
    let len = disk.read_file(&path).unwrap().len() as u64;
    disk.rot(&path, len * 4).unwrap();
    assert!(matches!(
        feeds.read(OTHER, 0, 50, usize::MAX),
        Err(FeedError::Damaged(_))
    ));
    let (feeds, found) = open(&disk).unwrap();
    let kept = found[&OTHER].len();
    assert!(kept > 10 && kept < 40);
    let cut = feeds.cuts()[0];
    assert_eq!((cut.device, cut.kept), (OTHER, kept as u64));
    feeds.append(OTHER, kept as u64, &all[kept..]).unwrap();
    assert_eq!(open(&disk).unwrap().1[&OTHER], all);
}

#[test]
fn an_unreadable_sector_of_others_costs_only_the_rest() {
    let disk = MemDisk::new();
    let (feeds, _) = open(&disk).unwrap();
    feeds.append(OTHER, 0, &entries(0, 5)).unwrap();
    feeds.append(OWN, 0, &entries(0, 5)).unwrap();
    disk.fail_reads(&feed_path(Path::new("/v/feeds"), OTHER), true)
        .unwrap();
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found[&OWN].len(), 5);
    assert!(!found.contains_key(&OTHER));
    disk.fail_reads(&own_path(), true).unwrap();
    assert!(matches!(open(&disk), Err(FeedError::Disk(_))));
}

#[test]
fn the_file_never_changes() {
    let disk = MemDisk::new();
    let (feeds, _) = open(&disk).unwrap();
    let all = [entry(0, 8), entry(1, 9), entry(2, 10)];
    feeds.append(OWN, 0, &all[..1]).unwrap();
    feeds.append(OWN, 1, &all[1..]).unwrap();
    let found = carryall_core::id::hex(&disk.read_file(&own_path()).unwrap());
    let golden = include_str!("../../../../testdata/format/feed-file.txt");
    let expected: String = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(found, expected);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_opened_politely(
        content in proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
        whole_magic: bool,
    ) {
        let mut file = if whole_magic { b"CRYFEED\x01".to_vec() } else { Vec::new() };
        file.extend_from_slice(&content);
        let disk = MemDisk::new();
        for device in [OWN, OTHER] {
            let path = feed_path(Path::new("/v/feeds"), device);
            disk.write_file(&path, &file).unwrap();
        }
        if let Ok((feeds, _)) = open(&disk) {
            let len = feeds.len(OTHER);
            feeds.append(OTHER, len, &entries(0, 2)).unwrap();
            assert_eq!(open(&disk).unwrap().0.len(OTHER), len + 2);
        }
    }
}

/// Found by the simulator, seed 11: a holder signed for shards, lost power, and had forgotten the head
/// and the wrapped keys without which the shards were worth nothing to their owner.
#[test]
fn what_others_said_is_as_durable_as_our_next_entry() {
    let disk = MemDisk::new();
    let (feeds, _) = open(&disk).unwrap();
    let all = entries(0, 9);
    feeds.append(OTHER, 0, &all[..4]).unwrap();
    feeds.append(OWN, 0, &all[..1]).unwrap();
    feeds.append(OTHER, 4, &all[4..]).unwrap();
    let (_, found) = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(found[&OTHER], all[..4]);
    feeds.append(OWN, 1, &all[1..2]).unwrap();
    let (_, found) = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(found[&OTHER], all);
}
