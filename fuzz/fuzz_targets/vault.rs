//! The files of a vault: feeds, shelved shards, parts, the history and the catalogue, with any bytes in
//! them. They are opened without a panic, and what is written afterwards is there.
#![no_main]

use std::{path::Path, sync::Arc};

use carryall_core::{
    habit::Habits,
    id::{DeviceId, MemberId, ShardId},
    time::{Span, Timestamp},
};
use carryall_store::{
    catalogue::Catalogue, feeds::Feeds, history::History, mem_disk::MemDisk, shelf::Shelf, spool::Spool,
};
use libfuzzer_sys::fuzz_target;

const OWN: DeviceId = DeviceId([1; 32]);
const OWNER: MemberId = MemberId([2; 32]);

fuzz_target!(|data: &[u8]| {
    let Some((which, content)) = data.split_first() else { return };
    let shard = ShardId([3; 32]);
    let path = match which % 6 {
        0 => format!("/feeds/{OWN}.feed"),
        1 => format!("/feeds/{}.feed", DeviceId([4; 32])),
        2 => format!("/shelf/{OWNER}/03/{shard}"),
        3 => format!("/shelf/incoming/{shard}.part"),
        4 => "/meetings".to_owned(),
        _ => "/catalogue.redb".to_owned(),
    };
    let disk = MemDisk::new();
    disk.write_file(Path::new(&path), content).expect("the disk is empty");
    let disk = Arc::new(disk);

    if which % 6 == 5 {
        // On its own, since making a new catalogue takes longer than all the rest.
        if let Ok(catalogue) = Catalogue::open(disk, Path::new("/catalogue.redb")) {
            let _ = catalogue.needs_rebuild();
            let _ = catalogue.packs();
            let _ = catalogue.snapshots();
        }
        return;
    }
    if let Ok(history) = History::open(disk.clone(), Path::new("/meetings")) {
        let (now, mut habits) = (Timestamp(1_800_000_000_000), Habits::default());
        history.read(&mut |meeting| habits.add(meeting)).expect("the disk is sound");
        for member in habits.meetings().map(|it| it.member) {
            let _ = (habits.usual(member, now, 60), habits.interval(member, now));
            let _ = habits.forecast(member, now, 60).map(|it| (it.next(), it.within(Span::days(9))));
        }
    }
    let mut entries = 0;
    let feeds = Feeds::open(disk.clone(), Path::new("/feeds"), OWN, &mut |_, _, _| entries += 1);
    if let Ok(feeds) = feeds {
        assert_eq!(feeds.tips().iter().map(|tip| tip.len).sum::<u64>(), entries);
    }
    let shelf = Shelf::open(disk.clone(), Path::new("/shelf"), 0).expect("the disk is sound");
    assert!(shelf.scrub(OWNER, shard).is_err());
    assert!(shelf.prove(OWNER, shard, 0).is_err());
    if let Ok(incoming) = shelf.reserve(OWNER, shard, 70_000, Timestamp(0)) {
        assert!(incoming.finish().is_err());
    }
    Spool::open(disk, Path::new("/spool"), 1 << 20).expect("the disk is sound");
});
