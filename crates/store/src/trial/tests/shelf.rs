//! What is kept for others.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use carryall_core::{
    id::{MemberId, ShardId},
    time::Timestamp,
};

use crate::{
    mem_disk::MemDisk,
    shelf::{Shelf, ShelfError},
    trial::cut_everywhere,
};

const OWNER: MemberId = MemberId([7; 32]);
const PATH: &str = "/v/shelf";

fn try_open(disk: &MemDisk) -> Option<Shelf> {
    Shelf::open(Arc::new(disk.clone()), Path::new(PATH), 1 << 20).ok()
}

fn open(disk: &MemDisk) -> Shelf {
    try_open(disk).expect("a shelf opens after any crash")
}

fn shard(bytes: usize, salt: u8) -> (ShardId, Vec<u8>) {
    let mut content = vec![0; bytes];
    let hasher = blake3::Hasher::new_keyed(&[salt; 32]);
    hasher.finalize_xof().fill(&mut content);
    (ShardId(*blake3::hash(&content).as_bytes()), content)
}

fn store(shelf: &Shelf, (id, content): &(ShardId, Vec<u8>)) -> Result<(), ShelfError> {
    let bytes = u32::try_from(content.len()).expect("shards are small");
    let mut incoming = shelf.reserve(OWNER, *id, bytes, Timestamp(1_000_000_000))?;
    for piece in content[incoming.offset() as usize..].chunks(20_000) {
        incoming.write(piece)?;
    }
    incoming.finish()
}

fn holds(shelf: &Shelf, (id, content): &(ShardId, Vec<u8>)) -> bool {
    let Ok(shard) = shelf.read(OWNER, *id) else {
        return false;
    };
    let mut found = vec![0; content.len() + 1];
    let count = shard.read_at(&mut found, 0).expect("it can be read");
    found[..count] == content[..]
}

/// A shard came in part, and the next encounter brings the rest.
pub(super) fn resuming() -> u64 {
    let (whole, half) = (shard(90_000, 1), shard(60_000, 2));
    let begin = |disk: &MemDisk, (id, content): &(ShardId, Vec<u8>)| {
        let shelf = open(disk);
        let bytes = u32::try_from(content.len()).expect("shards are small");
        let mut incoming =
            (shelf.reserve(OWNER, *id, bytes, Timestamp(1_000_000_000))).expect("there is room");
        incoming.write(&content[..40_000]).expect("there is room");
    };
    cut_everywhere(
        |disk| {
            begin(disk, &whole);
            begin(disk, &half);
        },
        |disk| {
            let shelf = try_open(disk);
            shelf.is_some_and(|shelf| store(&shelf, &whole).is_ok())
        },
        |disk, done| {
            let shelf = open(disk);
            assert!(
                !done || holds(&shelf, &whole),
                "an acknowledged shard is gone"
            );
            for shard in [&whole, &half] {
                assert!(holds(&shelf, shard) || store(&shelf, shard).is_ok());
                assert!(holds(&shelf, shard));
            }
        },
        |disk| {
            if let Some(shelf) = try_open(disk) {
                let _ = store(&shelf, &whole).and_then(|()| store(&shelf, &half));
            }
        },
    )
}

/// Released shards leave for good: what was not to be erased stays. What was may come back, whole.
pub(super) fn emptying() -> u64 {
    let shards: Vec<_> = (1..6)
        .map(|salt| shard(3_000 * usize::from(salt), salt))
        .collect();
    let ids: Vec<ShardId> = shards.iter().map(|(id, _)| *id).collect();
    cut_everywhere(
        |disk| {
            let shelf = open(disk);
            for shard in &shards {
                store(&shelf, shard).expect("there is room");
            }
            (shelf.discard(OWNER, &ids[..4], 3)).expect("the disk works");
        },
        |disk| {
            if let Some(shelf) = try_open(disk) {
                shelf.erase(OWNER, &ids[..1]);
                shelf.erase(OWNER, &ids[1..3]);
            }
        },
        |disk, ()| {
            let shelf = open(disk);
            let trash: BTreeSet<_> = shelf.trash().iter().map(|it| it.0.shard).collect();
            for shard in shards[..3].iter().filter(|shard| trash.contains(&shard.0)) {
                assert!(holds(&shelf, shard));
            }
            assert!(
                holds(&shelf, &shards[3]) && trash.contains(&ids[3]),
                "not to be erased yet"
            );
            assert!(holds(&shelf, &shards[4]) && shelf.contains(OWNER, ids[4]));
        },
        |disk| {
            if let Some(shelf) = try_open(disk) {
                shelf.erase(OWNER, &ids[..3]);
            }
        },
    )
}

/// Reading again finds a shard damaged: it is removed, and its owner brings it once more.
pub(super) fn replacing() -> u64 {
    let (bad, good) = (shard(50_000, 1), shard(20_000, 2));
    let path = |disk: &MemDisk| {
        let name = bad.0.to_string();
        let files = disk.files().into_iter();
        let mut found = files.filter(|path| path.ends_with(&name));
        found.next().expect("it is there")
    };
    cut_everywhere(
        |disk| {
            let shelf = open(disk);
            for shard in [&bad, &good] {
                store(&shelf, shard).expect("there is room");
            }
            assert!(disk.rot(&path(disk), 99).expect("it is there"));
        },
        |disk| {
            let Some(shelf) = try_open(disk) else {
                return false;
            };
            let found = shelf.scrub(OWNER, bad.0).is_err() && shelf.remove(OWNER, bad.0).is_ok();
            found && store(&shelf, &bad).is_ok()
        },
        |disk, replaced| {
            let shelf = open(disk);
            assert!(holds(&shelf, &good));
            assert!(
                !replaced || holds(&shelf, &bad),
                "an acknowledged shard is gone"
            );
            if shelf.scrub(OWNER, bad.0).is_err() {
                shelf.remove(OWNER, bad.0).expect("the disk works");
                store(&shelf, &bad).expect("there is room");
            }
            assert!(holds(&shelf, &bad));
        },
        |disk| {
            if let Some(shelf) = try_open(disk)
                && shelf.scrub(OWNER, bad.0).is_err()
            {
                let _ = shelf.remove(OWNER, bad.0);
                let _ = store(&shelf, &bad);
            }
        },
    )
}
