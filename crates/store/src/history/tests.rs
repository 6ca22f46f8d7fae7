//! The history keeps what it acknowledged, cuts what was torn, and stays small.

use carryall_core::{
    event::LinkClass,
    id::{DeviceId, MemberId, hex},
    meeting::Network,
    time::{Span, Timestamp},
};

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    trial::{cut_everywhere, fill_everywhere},
};

const PATH: &str = "/v/meetings";

fn meeting(at: u64) -> Meeting {
    Meeting {
        device: DeviceId([1; 32]),
        member: MemberId([2; 32]),
        class: LinkClass::Lan,
        network: Network([3; 8]),
        start: Timestamp(1_800_000_000_000) + Span::hours(at * 5),
        offset_minutes: 60,
        length: Span::secs(600),
        linked: Span::secs(9),
        sent: 20_000 + at * 1_003,
        received: 0,
    }
}

fn open(disk: &MemDisk) -> Result<(History, Vec<Meeting>), HistoryError> {
    let mut found = Vec::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let history = History::open(shared, Path::new(PATH))?;
    history.read(&mut |meeting| found.push(meeting))?;
    Ok((history, found))
}

fn prepared(disk: &MemDisk) {
    disk.create_dir_all(Path::new("/v")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
}

fn disk_with(count: u64) -> MemDisk {
    let disk = MemDisk::new();
    prepared(&disk);
    let (history, _) = open(&disk).unwrap();
    (0..count).for_each(|at| history.append(&meeting(at)).unwrap());
    disk
}

#[test]
fn what_was_remembered_is_known_again() {
    let disk = disk_with(0);
    assert!(disk.files().is_empty(), "looking leaves nothing behind");
    let disk = disk_with(5).crash(Survival::Synced);
    let (history, found) = open(&disk).unwrap();
    assert_eq!(found, (0..5).map(meeting).collect::<Vec<_>>());
    history.append(&meeting(5)).unwrap();
    assert_eq!(open(&disk).unwrap().1.len(), 6);
}

/// Meetings are written down.
pub(crate) fn remembering() -> u64 {
    cut_everywhere(
        prepared,
        |disk| {
            let Ok((history, found)) = open(disk) else {
                return 0;
            };
            let count = found.len() as u64;
            (count..3)
                .take_while(|at| history.append(&meeting(*at)).is_ok())
                .count()
        },
        |disk, acknowledged| {
            let (history, found) = open(disk).unwrap();
            assert!(found.len() >= *acknowledged, "{found:?}");
            let expected: Vec<Meeting> = (0..found.len() as u64).map(meeting).collect();
            assert_eq!(found, expected);
            history.append(&meeting(9)).unwrap();
            assert_eq!(open(disk).unwrap().1.last(), Some(&meeting(9)));
        },
        |disk| drop(open(disk)),
    )
}

#[test]
fn a_full_disk_costs_only_what_did_not_fit() {
    fill_everywhere(
        prepared,
        |disk| {
            let Ok((history, _)) = open(disk) else {
                return (0, None);
            };
            let done = (0..3).filter(|at| history.append(&meeting(*at)).is_ok());
            (done.count(), Some(history))
        },
        |disk, (done, history)| {
            assert_eq!(open(disk).unwrap().1.len(), *done);
            if let Some(history) = history {
                history.append(&meeting(9)).unwrap();
                assert_eq!(open(disk).unwrap().1.len(), done + 1);
            }
        },
    );
}

#[test]
fn a_damaged_record_costs_itself() {
    let whole = disk_with(4);
    let bytes = whole.read_file(Path::new(PATH)).unwrap().len();
    let record = (bytes - HEADER_BYTES) / 4;
    for bit in (HEADER_BYTES as u64 * 8)..(bytes as u64 * 8) {
        let disk = whole.crash(Survival::All);
        disk.rot(Path::new(PATH), bit).unwrap();
        let hit = (bit as usize / 8 - HEADER_BYTES) / record;
        let (history, found) = open(&disk).unwrap();
        let kept = (0..4).filter(|at| *at != hit as u64).map(meeting);
        assert_eq!(found, kept.collect::<Vec<_>>(), "bit {bit}");
        history.append(&meeting(7)).unwrap();
        assert_eq!(open(&disk).unwrap().1.len(), 4);
    }
}

#[test]
fn every_torn_end_is_cut_off() {
    let whole = disk_with(2).read_file(Path::new(PATH)).unwrap();
    for len in 0..whole.len() {
        let disk = disk_with(0);
        disk.write_file(Path::new(PATH), &whole[..len]).unwrap();
        let (history, found) = open(&disk).unwrap();
        let left = disk.read_file(Path::new(PATH)).unwrap().len();
        assert!(left <= len && found.len() < 2);
        history.append(&meeting(8)).unwrap();
        let (_, again) = open(&disk).unwrap();
        assert_eq!(again.len(), found.len() + 1, "cut to {len}");
    }
}

#[test]
fn too_many_records_become_fewer() {
    let disk = disk_with(0);
    let (history, _) = open(&disk).unwrap();
    // Pieces of an hour: a friend who never leaves.
    let piece = |at: u64| Meeting {
        start: meeting(0).start + Span::hours(at),
        length: Span::hours(1),
        ..meeting(1)
    };
    let mut bytes = header();
    (0..RECORDS_MAX as u64).for_each(|at| put_record(&mut bytes, &piece(at)));
    disk.write_file(Path::new(PATH), &bytes).unwrap();
    drop(history);
    let (history, found) = open(&disk).unwrap();
    assert_eq!(found.len(), RECORDS_MAX);
    history.append(&piece(RECORDS_MAX as u64)).unwrap();
    let (_, found) = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(found.len(), 2, "one long meeting, and what came since");
    assert_eq!(found[0].length, Span::hours(RECORDS_MAX as u64));
    assert_eq!(disk.files(), [Path::new(PATH)]);
}

#[test]
fn a_newer_history_is_refused_politely_and_left_alone() {
    let disk = disk_with(1);
    let mut bytes = disk.read_file(Path::new(PATH)).unwrap();
    bytes[MAGIC.len()] = 2;
    disk.write_file(Path::new(PATH), &bytes).unwrap();
    let error = open(&disk).unwrap_err();
    let said = "the history /v/meetings has format version 2, this program reads up to 1";
    assert_eq!(error.to_string(), said);
    bytes[MAGIC.len()] = 1;
    bytes.truncate(HEADER_BYTES);
    let newer = [2, 0, 2, 0];
    let check = check([2, 0], &newer[2..]);
    bytes.extend_from_slice(&newer);
    bytes.extend_from_slice(&check);
    disk.write_file(Path::new(PATH), &bytes).unwrap();
    assert!(matches!(
        open(&disk),
        Err(HistoryError::TooNew { found: 2, .. })
    ));
    assert_eq!(disk.read_file(Path::new(PATH)).unwrap(), bytes);
}

#[test]
fn the_file_never_changes() {
    let bytes = disk_with(2).read_file(Path::new(PATH)).unwrap();
    let golden = include_str!("../../../../testdata/format/meetings-file.txt");
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(hex(&bytes), lines.collect::<String>());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_opened_politely(
        content in proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
        whole_header: bool,
    ) {
        let disk = disk_with(0);
        let mut bytes = if whole_header { header() } else { Vec::new() };
        bytes.extend(content);
        disk.write_file(Path::new(PATH), &bytes).unwrap();
        if let Ok((history, found)) = open(&disk) {
            history.append(&meeting(1)).unwrap();
            proptest::prop_assert_eq!(open(&disk).unwrap().1.len(), found.len() + 1);
        }
    }
}
