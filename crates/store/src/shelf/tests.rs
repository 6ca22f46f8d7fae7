//! Shards are on the shelf whole or not at all, and what was acknowledged stays.

use carryall_core::{limits::GROUP_BYTES, proof};

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    trial::{cut_everywhere, fill_everywhere, what_is_seen_stays},
};

const OWNER: MemberId = MemberId([7; 32]);
const NOW: Timestamp = Timestamp(1_000_000_000);
const KEEP_FREE: u64 = 1 << 20;

fn open(disk: &MemDisk) -> Shelf {
    Shelf::open(Arc::new(disk.clone()), Path::new("/v/shelf"), KEEP_FREE).unwrap()
}

fn shard(bytes: usize, salt: u8) -> (ShardId, Vec<u8>) {
    let content: Vec<u8> = (0..bytes)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ salt)
        .collect();
    (ShardId(*blake3::hash(&content).as_bytes()), content)
}

fn store(shelf: &Shelf, id: ShardId, content: &[u8]) -> Result<u32, ShelfError> {
    let mut incoming = shelf.reserve(OWNER, id, u32::try_from(content.len()).unwrap(), NOW)?;
    let offset = incoming.offset();
    for piece in content[offset as usize..].chunks(10_000) {
        incoming.write(piece)?;
    }
    incoming.finish()?;
    Ok(offset)
}

fn content_of(shelf: &Shelf, id: ShardId) -> Result<Vec<u8>, ShelfError> {
    let shard = shelf.read(OWNER, id)?;
    let mut content = vec![0; shard.bytes() as usize + 9];
    let count = shard.read_at(&mut content, 0)?;
    content.truncate(count);
    Ok(content)
}

/// Lengths around the edges of groups.
fn lengths() -> Vec<usize> {
    let edges = [1, 2, 3, 4, 5, 8, 9].map(|groups| groups * GROUP_BYTES);
    let around = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]);
    [1, 64, 1024].into_iter().chain(around).collect()
}

#[test]
fn shards_of_all_lengths_are_kept_proved_and_listed() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    let mut total = 0;
    for (salt, bytes) in (0..).zip(lengths()) {
        let (id, content) = shard(bytes, salt);
        assert_eq!(store(&shelf, id, &content).unwrap(), 0);
        total += bytes as u64;
        assert_eq!(content_of(&shelf, id).unwrap(), content);
        shelf.scrub(OWNER, id).unwrap();
        let bytes = bytes as u64;
        let groups = u32::try_from(proof::groups(bytes)).unwrap();
        for group in 0..groups {
            let shown = shelf.prove(OWNER, id, group).unwrap();
            proof::verify(&id, bytes, group, &shown).unwrap();
        }
        assert!(matches!(
            shelf.prove(OWNER, id, groups),
            Err(ShelfError::NoGroup(_))
        ));
        assert!(matches!(store(&shelf, id, &content), Err(ShelfError::Have)));
    }
    assert_eq!(shelf.usage(OWNER), total);
    assert_eq!(shelf.usage(MemberId([8; 32])), 0);
    let again = open(&disk);
    assert_eq!(again.list(), shelf.list());
    assert_eq!(again.list().len(), lengths().len());
    assert_eq!(again.usage(OWNER), total);

    let first = again.list()[0];
    again.remove(OWNER, first.shard).unwrap();
    again.remove(OWNER, first.shard).unwrap();
    assert_eq!(again.usage(OWNER), total - u64::from(first.bytes));
    assert!(matches!(
        again.read(OWNER, first.shard),
        Err(ShelfError::Missing(_))
    ));
}

#[test]
fn file_lengths_tell_shard_lengths() {
    for bytes in (1..200_000).step_by(31).chain([SHARD_BYTES_MAX as u32]) {
        assert_eq!(shard_bytes(file_bytes(bytes)), Some(bytes));
    }
    for wrong in [0, 39, 40, 41, 72, file_bytes(GROUP_BYTES as u32) + 1] {
        assert_eq!(shard_bytes(wrong), None, "{wrong}");
    }
    assert_eq!(shard_bytes(u64::MAX), None);
}

/// Shards come onto the shelf: what was acknowledged is there, whole.
pub(crate) fn receiving() -> u64 {
    let shards = [
        shard(50_000, 1),
        shard(16_384, 2),
        shard(100, 3),
        shard(70_000, 4),
    ];
    cut_everywhere(
        |disk| drop(open(disk)),
        |disk| {
            let opened = Shelf::open(Arc::new(disk.clone()), Path::new("/v/shelf"), KEEP_FREE);
            let Ok(shelf) = opened else { return 0 };
            let stored = shards
                .iter()
                .take_while(|(id, content)| store(&shelf, *id, content).is_ok());
            stored.count()
        },
        |disk, acknowledged| {
            let shelf = open(disk);
            assert!(shelf.damaged().is_empty());
            let listed = shelf.list();
            for (id, _) in &shards[..*acknowledged] {
                assert!(shelf.contains(OWNER, *id), "an acknowledged shard is gone");
            }
            for shelved in listed {
                shelf.scrub(shelved.owner, shelved.shard).unwrap();
            }
            for (id, content) in &shards {
                match store(&shelf, *id, content) {
                    Ok(_) | Err(ShelfError::Have) => {}
                    Err(error) => panic!("an honest sender was refused: {error}"),
                }
                assert_eq!(content_of(&shelf, *id).unwrap(), *content);
            }
            let files = disk.crash(Survival::Synced).files();
            assert_eq!(files.len(), shards.len(), "leftovers: {files:?}");
        },
        |disk| {
            drop(Shelf::open(
                Arc::new(disk.clone()),
                Path::new("/v/shelf"),
                KEEP_FREE,
            ));
        },
    )
}

#[test]
fn shards_seen_after_a_kill_stay() {
    let shards = [shard(50_000, 1), shard(100, 3)];
    what_is_seen_stays(
        |_| (),
        |disk| {
            let opened = Shelf::open(Arc::new(disk.clone()), Path::new("/v/shelf"), KEEP_FREE);
            let Ok(shelf) = opened else { return };
            for (id, content) in &shards {
                let _ = store(&shelf, *id, content);
            }
        },
        |disk| open(disk).list(),
    );
}

#[test]
fn a_full_disk_is_a_clean_refusal() {
    let kept = shard(40_000, 1);
    let new = shard(90_000, 2);
    fill_everywhere(
        |disk| {
            store(&open(disk), kept.0, &kept.1).unwrap();
        },
        |disk| {
            let Ok(shelf) = Shelf::open(Arc::new(disk.clone()), Path::new("/v/shelf"), 0) else {
                return;
            };
            match store(&shelf, new.0, &new.1) {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_full(), "{error}");
                    assert!(!shelf.contains(OWNER, new.0));
                }
            }
            assert_eq!(content_of(&shelf, kept.0).unwrap(), kept.1);
        },
        |disk, ()| {
            let shelf = open(disk);
            assert!(matches!(
                store(&shelf, new.0, &new.1),
                Ok(_) | Err(ShelfError::Have)
            ));
            assert_eq!(shelf.list().len(), 2);
            assert_eq!(disk.files().len(), 2);
        },
    );
}

#[test]
fn room_is_promised_once_and_given_back() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    disk.set_capacity(Some(KEEP_FREE + 250_000));
    let (a, content) = shard(100_000, 1);
    let (b, _) = shard(100_000, 2);
    let (c, _) = shard(100_000, 3);
    let mut first = shelf.reserve(OWNER, a, 100_000, NOW).unwrap();
    let second = shelf.reserve(OWNER, b, 100_000, NOW).unwrap();
    assert!(matches!(
        shelf.reserve(OWNER, c, 100_000, NOW),
        Err(ShelfError::Full { .. })
    ));
    assert!(matches!(
        shelf.reserve(OWNER, a, 100_000, NOW),
        Err(ShelfError::Busy)
    ));
    drop(second);
    first.write(&content).unwrap();
    let third = shelf.reserve(OWNER, c, 100_000, NOW).unwrap();
    drop(third);
    first.finish().unwrap();
    assert!(disk.room(Path::new("/")).unwrap().0 > KEEP_FREE);
    for bytes in [0, u32::MAX] {
        assert!(matches!(
            shelf.reserve(OWNER, c, bytes, NOW),
            Err(ShelfError::BadLength(_))
        ));
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let disk = MemDisk::new();
    let (id, content) = shard(200_000, 1);
    let mut shelf = open(&disk);
    let mut expected = 0;
    for round in 0..4 {
        let mut incoming = shelf.reserve(OWNER, id, 200_000, NOW).unwrap();
        assert_eq!(incoming.offset(), expected);
        let from = expected as usize;
        incoming.write(&content[from..from + 40_000]).unwrap();
        expected = (expected + 40_000) / GROUP_BYTES as u32 * GROUP_BYTES as u32;
        drop(incoming);
        if round % 2 == 0 {
            shelf = open(&disk.crash(Survival::All));
        }
        if round == 0 {
            // The copy went its own way; the first disk still has the part too.
            shelf = open(&disk);
        }
    }
    let offset = store(&shelf, id, &content).unwrap();
    assert_eq!(offset, expected);
    assert_eq!(content_of(&shelf, id).unwrap(), content);
}

#[test]
fn wrong_bytes_leave_nothing() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    for bytes in [100, 16_384, 50_000] {
        let (id, mut content) = shard(bytes, 1);
        content[bytes / 2] ^= 1;
        assert!(matches!(
            store(&shelf, id, &content),
            Err(ShelfError::WrongBytes(_))
        ));
        assert!(disk.files().is_empty());
        content[bytes / 2] ^= 1;
        let mut incoming = shelf.reserve(OWNER, id, bytes as u32, NOW).unwrap();
        assert_eq!(incoming.offset(), 0);
        incoming.write(&content[..bytes - 1]).unwrap();
        assert!(matches!(
            incoming.write(b"ab"),
            Err(ShelfError::WrongBytes(_))
        ));
        drop(incoming);
        assert!(disk.files().is_empty());
        let mut incoming = shelf.reserve(OWNER, id, bytes as u32, NOW).unwrap();
        incoming.write(&content[..bytes - 1]).unwrap();
        assert!(matches!(incoming.finish(), Err(ShelfError::Incomplete)));
        store(&shelf, id, &content).unwrap();
        shelf.remove(OWNER, id).unwrap();
    }
}

#[test]
fn stale_and_foreign_parts_are_collected() {
    let disk = MemDisk::new();
    disk.set_now(NOW);
    let begin = |shelf: &Shelf, salt, owner| {
        let (id, content) = shard(50_000, salt);
        let mut incoming = shelf.reserve(owner, id, 50_000, NOW).unwrap();
        incoming.write(&content[..40_000]).unwrap();
    };
    let shelf = open(&disk);
    let gone = MemberId([9; 32]);
    begin(&shelf, 1, OWNER);
    begin(&shelf, 2, gone);
    disk.write_file(Path::new("/v/shelf/incoming/rubbish"), b"x")
        .unwrap();
    let name = format!("/v/shelf/incoming/{}.part", shard(1, 9).0);
    disk.write_file(Path::new(&name), &[0; 1000]).unwrap();
    let shelf_again = open(&disk);
    assert_eq!(
        disk.files().len(),
        2,
        "files that are no parts are removed on opening"
    );
    drop(shelf);
    let keep = |owner| owner == OWNER;
    assert_eq!(shelf_again.collect(NOW, &keep).unwrap(), 1);
    assert_eq!(shelf_again.collect(NOW + Span::days(6), &keep).unwrap(), 0);
    let busy = shelf_again
        .reserve(OWNER, shard(50_000, 1).0, 50_000, NOW)
        .unwrap();
    assert_eq!(busy.offset(), 32_768);
    assert_eq!(shelf_again.collect(NOW + Span::days(8), &keep).unwrap(), 0);
    drop(busy);
    assert_eq!(shelf_again.collect(NOW + Span::days(8), &keep).unwrap(), 1);
    assert!(disk.files().is_empty());
}

#[test]
fn another_owner_or_length_starts_anew() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    let (id, content) = shard(50_000, 1);
    let mut squatter = shelf.reserve(MemberId([9; 32]), id, 50_001, NOW).unwrap();
    squatter.write(&[0; 40_000]).unwrap();
    drop(squatter);
    assert_eq!(store(&shelf, id, &content).unwrap(), 0);
    assert_eq!(disk.files().len(), 1);
}

#[test]
fn any_flipped_bit_is_found() {
    let clean = MemDisk::new();
    let shards = [shard(300, 1), shard(40_000, 2)];
    for (id, content) in &shards {
        store(&open(&clean), *id, content).unwrap();
    }
    for (id, content) in &shards {
        let path = open(&clean).inner.path(OWNER, *id);
        let bits = clean.read_file(&path).unwrap().len() as u64 * 8;
        // Every bit of the trailer, and some of the content.
        let content_bits = content.len() as u64 * 8;
        let owner_bits = content_bits + 256 * content.len().div_ceil(GROUP_BYTES) as u64;
        for bit in (0..content_bits).step_by(797).chain(content_bits..bits) {
            let disk = clean.crash(Survival::All);
            assert!(disk.rot(&path, bit).unwrap());
            let shelf = open(&disk);
            let whole = shelf.scrub(OWNER, *id).is_ok();
            // The owner is told by the path too; the footer's copy serves parts.
            let harmless = (owner_bits..owner_bits + 256).contains(&bit);
            assert_eq!(whole, harmless, "bit {bit}");
            let group = (bit / 8 / GROUP_BYTES as u64) as u32;
            if bit < content_bits {
                assert!(shelf.prove(OWNER, *id, group).is_err(), "bit {bit}");
            }
        }
    }
}

#[test]
fn a_shard_found_damaged_can_be_sent_again() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    let (id, content) = shard(40_000, 1);
    store(&shelf, id, &content).unwrap();
    let path = shelf.inner.path(OWNER, id);
    disk.rot(&path, 8).unwrap();
    assert!(matches!(
        shelf.prove(OWNER, id, 0),
        Err(ShelfError::Damaged(_))
    ));
    assert_eq!(
        (shelf.usage(OWNER), shelf.damaged()),
        (0, vec![(OWNER, id)])
    );
    assert_eq!(store(&shelf, id, &content).unwrap(), 0);
    shelf.scrub(OWNER, id).unwrap();
    assert_eq!((shelf.usage(OWNER), shelf.damaged()), (40_000, Vec::new()));

    disk.remove_file(&path).unwrap();
    assert!(matches!(shelf.read(OWNER, id), Err(ShelfError::Missing(_))));
    assert!(!shelf.contains(OWNER, id));
    store(&shelf, id, &content).unwrap();
}

#[test]
fn a_shortened_file_does_not_count_and_is_replaced() {
    let disk = MemDisk::new();
    let (id, content) = shard(40_000, 1);
    let shelf = open(&disk);
    store(&shelf, id, &content).unwrap();
    let path = shelf.inner.path(OWNER, id);
    let file = disk.open(&path, Open::Write).unwrap();
    // Some shard has a file of that length, so it is only found out when it is opened.
    file.set_len(20_000).unwrap();
    let shelf = open(&disk);
    assert!(shelf.contains(OWNER, id));
    assert!(matches!(shelf.read(OWNER, id), Err(ShelfError::Damaged(_))));
    // No shard has a file of that length.
    file.set_len(30).unwrap();
    let shelf = open(&disk);
    assert!(shelf.list().is_empty());
    assert_eq!(shelf.damaged(), [(OWNER, id)]);
    assert!(matches!(shelf.read(OWNER, id), Err(ShelfError::Damaged(_))));
    store(&shelf, id, &content).unwrap();
    assert!(shelf.damaged().is_empty());
    shelf.scrub(OWNER, id).unwrap();
}

#[test]
fn the_file_never_changes() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    let (id, content) = shard(GROUP_BYTES + 1, 1);
    store(&shelf, id, &content).unwrap();
    let file = disk.read_file(&shelf.inner.path(OWNER, id)).unwrap();
    assert_eq!(file[..content.len()], content);
    let found = carryall_core::id::hex(&file[content.len()..]);
    let golden = include_str!("../../../../testdata/format/shelf-file.txt");
    let expected: String = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(found, expected);
}

proptest::proptest! {
    #[test]
    fn any_files_are_opened_politely(
        shelved in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        part in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
    ) {
        let disk = MemDisk::new();
        let (id, content) = shard(100, 1);
        let shelf = open(&disk);
        let mut good_footer = OWNER.as_bytes().to_vec();
        let bytes = part.len() as u32;
        good_footer.extend_from_slice(&bytes.to_le_bytes());
        good_footer.extend_from_slice(b"CSH\x01");
        let part = [part, vec![0; 32], good_footer].concat();
        let other = shard(bytes as usize, 2).0;
        disk.write_file(&shelf.inner.path(OWNER, id), &shelved).unwrap();
        disk.write_file(&shelf.inner.part_path(other), &part).unwrap();
        let shelf = open(&disk);
        assert!(shelf.scrub(OWNER, id).is_err());
        assert!(shelf.prove(OWNER, id, 0).is_err());
        shelf.remove(OWNER, id).unwrap();
        store(&shelf, id, &content).unwrap();
        if bytes > 0 {
            store(&shelf, other, &shard(bytes as usize, 2).1).unwrap();
        }
    }
}

#[test]
fn a_discarded_shard_is_served_comes_back_and_is_erased() {
    let disk = MemDisk::new();
    let shelf = open(&disk);
    let (one, two) = (shard(50_000, 1), shard(100, 2));
    for (id, content) in [&one, &two] {
        store(&shelf, *id, content).unwrap();
    }
    let both = [one.0, two.0, shard(7, 7).0];
    assert_eq!(shelf.discard(OWNER, &both, 5).unwrap(), [one.0, two.0]);
    assert_eq!(shelf.discard(OWNER, &both, 6).unwrap(), []);
    assert_eq!((shelf.list().len(), shelf.usage(OWNER)), (0, 0));
    assert!(!shelf.contains(OWNER, one.0));
    assert_eq!(content_of(&shelf, one.0).unwrap(), one.1);
    shelf.scrub(OWNER, one.0).unwrap();
    let again = open(&disk);
    assert_eq!(again.trash(), shelf.trash());
    assert!(again.trash().iter().all(|(_, trashed)| trashed.day == 5));
    assert_eq!(again.retrieve(OWNER, &both).unwrap(), [one.0, two.0]);
    assert_eq!(again.usage(OWNER), 50_100);
    assert_eq!(content_of(&again, one.0).unwrap(), one.1);
    again.discard(OWNER, &[two.0], 9).unwrap();
    assert_eq!(again.erase(OWNER, &[two.0]), [two.0]);
    assert!(matches!(
        again.read(OWNER, two.0),
        Err(ShelfError::Missing(_))
    ));
    assert_eq!((again.trash().len(), disk.files().len()), (0, 1));
}

/// Shards go to the trash and come back: each is in one place at any time, whole.
pub(crate) fn discarding() -> u64 {
    let shards = [shard(50_000, 1), shard(100, 2), shard(20_000, 3)];
    let all: Vec<ShardId> = shards.iter().map(|(id, _)| *id).collect();
    let opened =
        |disk: &MemDisk| Shelf::open(Arc::new(disk.clone()), Path::new("/v/shelf"), KEEP_FREE).ok();
    cut_everywhere(
        |disk| {
            let shelf = open(disk);
            for (id, content) in &shards {
                store(&shelf, *id, content).unwrap();
            }
        },
        |disk| {
            let Some(shelf) = opened(disk) else { return 0 };
            let steps = [
                shelf.discard(OWNER, &all, 3).is_ok(),
                shelf.retrieve(OWNER, &all[..2]).is_ok(),
                shelf.discard(OWNER, &all[..1], 4).is_ok(),
            ];
            steps.iter().take_while(|done| **done).count()
        },
        |disk, done| {
            let shelf = open(disk);
            let trashed: BTreeMap<ShardId, u32> = (shelf.trash().iter())
                .map(|(it, trashed)| (it.shard, trashed.day))
                .collect();
            for (id, content) in &shards {
                assert_eq!(content_of(&shelf, *id).unwrap(), *content);
                let twice = shelf.contains(OWNER, *id) && trashed.contains_key(id);
                assert!(!twice, "in two places");
            }
            if *done == 3 {
                assert_eq!(trashed, BTreeMap::from([(all[0], 4), (all[2], 3)]));
            }
        },
        |disk| drop(opened(disk)),
    )
}

#[test]
fn a_disk_that_refuses_leaves_shards_where_they_were() {
    let kept = shard(40_000, 1);
    fill_everywhere(
        |disk| {
            store(&open(disk), kept.0, &kept.1).unwrap();
        },
        |disk| {
            let shelf = open(disk);
            let moved = shelf.discard(OWNER, &[kept.0], 1).is_ok();
            assert_eq!(shelf.contains(OWNER, kept.0), !moved);
            assert_eq!(content_of(&shelf, kept.0).unwrap(), kept.1);
        },
        |disk, ()| assert_eq!(content_of(&open(disk), kept.0).unwrap(), kept.1),
    );
}
