//! A disk may be pulled out at any write, and may have been in anybody's hands.

use std::{fs, os::unix::fs::symlink};

use carryall_core::{
    codec::{Signature, Signed},
    courier::{Basis, Bill, Parcel, Readers, Run, Shown},
    entry::SignedEntry,
    id::{DeviceId, MemberId, ShardId},
    message::GroupProof,
    time::Timestamp,
};
use ed25519_dalek::SigningKey;

use super::{beneath::Beneath, *};
use crate::{
    mem_disk::{MemDisk, Survival},
    trial::cut_everywhere,
};

const SECRET: [u8; 32] = [7; 32];
const ROOT: &str = "/usb/.carryall-courier";
const BO: MemberId = MemberId([8; 32]);
const HOLDER: DeviceId = DeviceId([9; 32]);

fn label() -> Vec<u8> {
    // The base point of the curve is anybody's key.
    let mut key = [0; 32];
    key[0] = 9;
    let readers = Readers {
        circle_secret: &SECRET,
        inventory: &key,
        recovery: &key,
    };
    let name = "disk".to_owned();
    let made = Label::create(BO, name, 1 << 30, Timestamp(1), readers, [1; 32]);
    made.unwrap().1
}

fn try_open(disk: &MemDisk) -> Result<Courier, CourierError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Courier::open(disk, Path::new(ROOT), &SECRET).map(|(courier, _)| courier)
}

fn open(disk: &MemDisk) -> Courier {
    try_open(disk).unwrap()
}

fn made() -> MemDisk {
    let disk = MemDisk::new();
    make(&disk);
    disk
}

fn make(disk: &MemDisk) {
    disk.create_dir_all(Path::new("/usb")).unwrap();
    disk.write_back();
    create(disk, Path::new(ROOT), &label()).unwrap();
}

fn entry(at: u8) -> SignedEntry {
    SignedEntry {
        bytes: vec![at; 40],
        signature: Signature::sign(&writer(), "test", &[at]),
    }
}

fn writer() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn device() -> DeviceId {
    DeviceId(writer().verifying_key().to_bytes())
}

fn parcel(salt: u8) -> (Parcel, Vec<u8>) {
    let content = vec![salt; 5000 + usize::from(salt)];
    let parcel = Parcel {
        shard: ShardId(*blake3::hash(&content).as_bytes()),
        bytes: u32::try_from(content.len()).unwrap(),
        to: BO,
    };
    (parcel, content)
}

fn shown(seq: u64) -> Shown {
    let data = vec![5; 100];
    let proof = GroupProof {
        data,
        path: Vec::new(),
    };
    Shown {
        basis: Basis::Receipt(seq),
        proofs: vec![(ShardId([1; 32]), proof)],
    }
}

fn write_bill(courier: &Courier, parcels: Vec<Parcel>) -> Result<u64, CourierError> {
    let mut open = courier.read_bill(device(), &mut |_| {});
    let generation = open.next_generation();
    let bill = Bill {
        courier: courier.card().courier,
        device: device(),
        generation,
        parcels,
        asks: Vec::new(),
    };
    let signed = Signed::new(&bill, &writer());
    courier.write_bill(&mut open, bill, &signed)?;
    Ok(generation)
}

fn feeds(courier: &Courier) -> (Vec<FeedLog>, Vec<SignedEntry>, Vec<String>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let feeds = courier.read_feeds(&mut |run| entries.extend(run), &mut |what| {
        problems.push(what);
    });
    (feeds.unwrap(), entries, problems)
}

fn parcels(courier: &Courier) -> Vec<Parcel> {
    let open = courier.read_bill(device(), &mut |what| panic!("{what}"));
    open.bill.map_or_else(Vec::new, |bill| bill.parcels)
}

/// One step of a visit that is done for good.
type Done = Vec<&'static str>;

/// Feeds, a parcel, the bill that lists it, and proofs: in the order of a visit.
fn visit(disk: &MemDisk) -> Result<Done, (Done, CourierError)> {
    let mut done = Done::new();
    let all = (|| {
        let courier = try_open(disk)?;
        let (mut logs, _, _) = feeds(&courier);
        let mut feed = logs.pop().unwrap_or_else(|| courier.new_feed(device()));
        while feed.len() < 4 {
            let at = u8::try_from(feed.len()).unwrap();
            courier.append_feed(&mut feed, vec![entry(at)])?;
        }
        done.push("feed");
        let mut batch = Batch::default();
        let mut listed = parcels(&courier);
        for salt in 1..=3 {
            let (parcel, content) = parcel(salt);
            if !listed.contains(&parcel) {
                batch.add(courier.write_parcel(&parcel, &content)?);
                listed.push(parcel);
            }
        }
        courier.sync(&mut batch)?;
        write_bill(&courier, listed)?;
        done.push("bill");
        let mut log = courier.read_shown(HOLDER, BO, &mut |_| {});
        if log.bases.is_empty() {
            courier.append_shown(&mut log, shown(6))?;
        }
        done.push("shown");
        courier.sweep(parcels(&courier).into_iter());
        Ok(())
    })();
    match all {
        Ok(()) => Ok(done),
        Err(error) => Err((done, error)),
    }
}

fn prepare(disk: &MemDisk) {
    make(disk);
    let courier = open(disk);
    let mut feed = courier.new_feed(device());
    courier.append_feed(&mut feed, vec![entry(0)]).unwrap();
    let mut batch = Batch::default();
    let (first, content) = parcel(1);
    let written = courier.write_parcel(&first, &content).unwrap();
    batch.add(written);
    courier.sync(&mut batch).unwrap();
    write_bill(&courier, vec![first]).unwrap();
}

/// What is there after a disk was pulled out: all that was done, and nothing that is half there.
fn check(disk: &MemDisk, done: &[&str]) {
    let courier = open(disk);
    let (logs, entries, problems) = feeds(&courier);
    assert_eq!(problems, [""; 0]);
    assert_eq!(logs.len(), 1);
    let known: Vec<_> = (0..logs[0].len())
        .map(|at| entry(u8::try_from(at).unwrap()))
        .collect();
    assert_eq!(entries, known);
    assert!(!done.contains(&"feed") || logs[0].len() == 4);
    let listed = parcels(&courier);
    assert!(listed.contains(&parcel(1).0));
    assert!(!done.contains(&"bill") || listed.len() == 3);
    for parcel in &listed {
        let file = courier.open_parcel(parcel).unwrap();
        let content = read_whole(&*file, 1 << 20).unwrap().unwrap();
        assert_eq!(*blake3::hash(&content).as_bytes(), parcel.shard.0);
    }
    let mut found = Vec::new();
    courier.read_shown(HOLDER, BO, &mut |it| found.push(it));
    assert!(found.is_empty() || found == [shown(6)]);
    assert!(!done.contains(&"shown") || found.len() == 1);
}

#[test]
fn a_disk_that_is_pulled_out_anywhere_loses_nothing_and_goes_on() {
    let work = |disk: &MemDisk| visit(disk).unwrap_or_else(|(done, _)| done);
    let recover = |disk: &MemDisk| {
        let _ = visit(disk);
    };
    cut_everywhere(prepare, work, |disk, done| check(disk, done), recover);
    let disk = MemDisk::new();
    prepare(&disk);
    assert_eq!(visit(&disk).unwrap(), ["feed", "bill", "shown"]);
}

#[test]
fn the_making_of_a_courier_can_be_cut_short() {
    let whole = made().ops();
    for cut in 0..=whole {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/usb")).unwrap();
        disk.write_back();
        disk.freeze_after(cut);
        let created = create(&disk, Path::new(ROOT), &label()).is_ok();
        for survival in [
            Survival::All,
            Survival::Synced,
            Survival::Torn { seed: cut },
        ] {
            let found = disk.crash(survival);
            let there = is_there(&found, Path::new(ROOT));
            assert!(there || !created, "{cut}");
            if !there {
                create(&found, Path::new(ROOT), &label()).unwrap();
            }
            open(&found);
        }
    }
}

#[test]
fn one_process_is_at_a_courier() {
    let disk = made();
    let first = open(&disk);
    assert!(matches!(try_open(&disk), Err(CourierError::Busy)));
    drop(first);
    open(&disk);
}

#[test]
fn an_old_copy_of_a_disk_doubles_nothing() {
    let disk = MemDisk::new();
    prepare(&disk);
    let old: Vec<_> = disk.files();
    let old: Vec<_> = (old.iter())
        .map(|it| (it, disk.read_file(it).unwrap()))
        .collect();
    visit(&disk).unwrap();
    for (path, content) in &old {
        disk.write_file(path, content).unwrap();
    }
    check(&disk, &[]);
    // The bill of the old copy is passed over for the newer one beside it.
    assert_eq!(parcels(&open(&disk)).len(), 3);
    let clone = MemDisk::new();
    for (path, content) in &old {
        clone.write_file(path, content).unwrap();
    }
    check(&clone, &[]);
    assert_eq!(visit(&clone).unwrap(), ["feed", "bill", "shown"]);
    check(&clone, &["feed", "bill", "shown"]);
}

#[test]
fn a_label_that_is_not_ours_is_refused() {
    let disk = made();
    let path = Path::new(ROOT).join("label");
    let as_dyn: Arc<dyn Disk> = Arc::new(disk.clone());
    let foreign = Courier::open(as_dyn, Path::new(ROOT), &[8; 32]).unwrap_err();
    assert_eq!(foreign.to_string(), "it belongs to another circle");
    disk.rot(&path, 7 * 8 + 1).unwrap();
    let newer = try_open(&disk).unwrap_err();
    assert_eq!(
        newer.to_string(),
        "its format has version 3, this program reads up to 1"
    );
    disk.rot(&path, 7 * 8 + 1).unwrap();
    disk.rot(&path, 100 * 8).unwrap();
    assert_eq!(
        try_open(&disk).unwrap_err().to_string(),
        "its label is damaged"
    );
    let huge = disk.open(&path, Open::Write).unwrap();
    huge.set_len(1 << 20).unwrap();
    assert_eq!(
        try_open(&disk).unwrap_err().to_string(),
        "its label is damaged"
    );
    disk.remove_file(&path).unwrap();
    assert!(!is_there(&disk, Path::new(ROOT)));
    disk.special(&path).unwrap();
    assert!(!is_there(&disk, Path::new(ROOT)), "a FIFO is no label");
}

#[test]
fn strange_parcels_are_passed_over() {
    let disk = MemDisk::new();
    prepare(&disk);
    visit(&disk).unwrap();
    let courier = open(&disk);
    let [one, two, three] = [1, 2, 3].map(|salt| parcel(salt).0);
    let path = courier.parcel(&one);
    disk.remove_file(&path).unwrap();
    assert!(matches!(courier.open_parcel(&one), Err(ParcelError::Gone)));
    disk.symlink(Path::new("/etc/passwd"), &path).unwrap();
    assert!(matches!(
        courier.open_parcel(&one),
        Err(ParcelError::Strange(_))
    ));
    let (_, content) = parcel(1);
    let written = courier.write_parcel(&one, &content);
    assert!(written.is_err(), "never through a link");
    let path = courier.parcel(&two);
    disk.remove_file(&path).unwrap();
    disk.special(&path).unwrap();
    assert!(matches!(
        courier.open_parcel(&two),
        Err(ParcelError::Strange(_))
    ));
    let path = courier.parcel(&three);
    let file = disk.open(&path, Open::Write).unwrap();
    file.set_len(1 << 20).unwrap();
    let error = courier.open_parcel(&three).unwrap_err();
    let sentence = format!(
        "what lies in the place of shard {} is not a file of its length",
        three.shard
    );
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn strange_feeds_are_passed_over_with_a_sentence() {
    let disk = MemDisk::new();
    prepare(&disk);
    let courier = open(&disk);
    let directory = Path::new(ROOT).join("feeds");
    let names = disk.list(&directory).unwrap();
    let real = directory.join(&names[0]);
    let content = disk.read_file(&real).unwrap();
    // Another feed's journal under this name, the same in capitals, rubbish, a link and a FIFO.
    let other = courier.new_feed(HOLDER);
    let mut stranger = courier.new_feed(DeviceId([10; 32]));
    courier.append_feed(&mut stranger, vec![entry(0)]).unwrap();
    disk.write_file(&courier.small("feeds", HOLDER.as_bytes()), &content)
        .unwrap();
    let capitals = names[0].to_str().unwrap().to_uppercase();
    disk.write_file(&directory.join(&capitals), &content)
        .unwrap();
    disk.write_file(&directory.join("rubbish"), &[0xff; 100_000])
        .unwrap();
    disk.symlink(Path::new("/etc/passwd"), &directory.join("link"))
        .unwrap();
    disk.special(&directory.join("pipe")).unwrap();
    let (found, entries, problems) = feeds(&courier);
    assert_eq!(found.len(), 2);
    assert_eq!(entries.len(), 2);
    let strange = usize::from(capitals != names[0].to_str().unwrap()) + 4;
    assert_eq!(problems.len(), strange, "{problems:?}");
    assert!(
        problems
            .iter()
            .all(|it| it.ends_with("on the courier is no feed and was passed over"))
    );
    assert!(other.is_empty());

    // A rotten record ends the feed there; what we know is written behind it.
    let mut log = found
        .into_iter()
        .find(|it| it.device() == device())
        .unwrap();
    courier.append_feed(&mut log, vec![entry(1)]).unwrap();
    disk.rot(&real, content.len() as u64 * 8 + 90).unwrap();
    let (found, ..) = feeds(&courier);
    let mut log = found
        .into_iter()
        .find(|it| it.device() == device())
        .unwrap();
    assert_eq!(log.len(), 1);
    courier
        .append_feed(&mut log, vec![entry(1), entry(2)])
        .unwrap();
    let (found, ..) = feeds(&courier);
    assert!(
        found
            .iter()
            .any(|it| it.device() == device() && it.len() == 3)
    );
}

#[test]
fn a_record_is_of_its_place() {
    let disk = made();
    let courier = open(&disk);
    let key = &courier.key;
    let run = |from| Run {
        device: device(),
        from,
        entries: vec![entry(1)],
    };
    let mut feed = courier.new_feed(device());
    courier.append_feed(&mut feed, run(0).entries).unwrap();
    let path = courier.small("feeds", device().as_bytes());
    let once = disk.read_file(&path).unwrap();
    let twice = [once.clone(), once].concat();
    disk.write_file(&path, &twice).unwrap();
    let (found, entries, _) = feeds(&courier);
    assert_eq!(
        (found[0].len(), entries.len()),
        (1, 1),
        "no record counts twice"
    );
    assert!(key.open(b"elsewhere", &twice[4..]).is_err());
}

#[test]
fn damaged_bills_are_told_of_and_others_count() {
    let disk = MemDisk::new();
    prepare(&disk);
    let courier = open(&disk);
    let one = write_bill(&courier, vec![parcel(2).0]).unwrap();
    let two = write_bill(&courier, vec![parcel(3).0]).unwrap();
    assert_eq!((one, two), (2, 3));
    let newest = [0, 1].map(|slot| {
        let mut id = b"bill".to_vec();
        id.extend_from_slice(device().as_bytes());
        id.push(slot);
        courier.small("bills", &id)
    });
    let generation = |problems: &mut Vec<String>| {
        let open = courier.read_bill(device(), &mut |what| problems.push(what));
        open.bill.map(|bill| bill.generation)
    };
    let mut problems = Vec::new();
    assert_eq!(generation(&mut problems), Some(3));
    disk.rot(&newest[0], 300).unwrap();
    assert_eq!(generation(&mut problems), Some(2), "the one before counts");
    // Swapped files are of no use to anybody.
    let (a, b) = (
        disk.read_file(&newest[0]).unwrap(),
        disk.read_file(&newest[1]).unwrap(),
    );
    disk.write_file(&newest[0], &b).unwrap();
    disk.write_file(&newest[1], &a).unwrap();
    assert_eq!(problems, [""; 0]);
    assert_eq!(generation(&mut problems), None);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].ends_with("can't be read and was passed over"));
    disk.remove_file(&newest[0]).unwrap();
    disk.special(&newest[0]).unwrap();
    let huge = disk.open(&newest[1], Open::Write).unwrap();
    huge.set_len(40 << 20).unwrap();
    assert_eq!(generation(&mut problems), None);
}

#[test]
fn a_bill_of_another_device_or_disk_counts_for_nothing() {
    let disk = made();
    let courier = open(&disk);
    let mut open = courier.read_bill(HOLDER, &mut |_| {});
    let bill = Bill {
        courier: courier.card().courier,
        device: device(),
        generation: 1,
        parcels: vec![parcel(1).0],
        asks: Vec::new(),
    };
    // Somebody with the circle's key writes in another's name.
    let forged = Bill {
        device: HOLDER,
        ..bill.clone()
    };
    let signed = Signed::new(&forged, &writer());
    courier.write_bill(&mut open, forged, &signed).unwrap();
    assert_eq!(courier.read_bill(HOLDER, &mut |_| {}).bill, None);
    let elsewhere = Bill {
        courier: HOLDER,
        ..bill
    };
    let signed = Signed::new(&elsewhere, &writer());
    let mut open = courier.read_bill(device(), &mut |_| {});
    courier.write_bill(&mut open, elsewhere, &signed).unwrap();
    assert_eq!(courier.read_bill(device(), &mut |_| {}).bill, None);
}

#[test]
fn leftovers_are_swept_and_foreign_files_left() {
    let disk = MemDisk::new();
    prepare(&disk);
    let courier = open(&disk);
    let (left, content) = parcel(9);
    courier.write_parcel(&left, &content).unwrap();
    let foreign = Path::new(ROOT).join("parcels/aa/holiday.jpg");
    disk.write_file(&foreign, b"mine").unwrap();
    assert_eq!(courier.sweep(parcels(&courier).into_iter()), 1);
    assert!(courier.open_parcel(&left).is_err());
    assert!(courier.open_parcel(&parcel(1).0).is_ok());
    assert!(disk.read_file(&foreign).is_ok());
}

#[test]
fn a_parcel_that_can_not_be_read_fails_alone() {
    let disk = MemDisk::new();
    prepare(&disk);
    visit(&disk).unwrap();
    let courier = open(&disk);
    let (bad, good) = (parcel(1).0, parcel(2).0);
    disk.fail_reads(&courier.parcel(&bad), true).unwrap();
    let file = courier.open_parcel(&bad);
    let read = file.map(|file| read_whole(&*file, 1 << 20).is_err());
    assert!(read.unwrap_or(true));
    let file = courier.open_parcel(&good).unwrap();
    assert!(read_whole(&*file, 1 << 20).unwrap().is_some());
    courier.check().unwrap();
}

#[test]
fn nothing_outside_the_directory_is_reached() {
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("in"), place.path().join("out"));
    fs::create_dir_all(inside.join("real")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("file"), inside.join("file")).unwrap();
    let disk = Beneath::open(&inside).unwrap();
    for path in [
        "link/file",
        "file",
        "../out/file",
        "real/../../out/file",
        "/etc/passwd",
    ] {
        let path = Path::new(path);
        assert!(disk.open(path, Open::Read).is_err(), "{}", path.display());
        assert!(disk.open(path, Open::Write).is_err(), "{}", path.display());
    }
    let new = Path::new("link/new");
    assert!(disk.open(new, Open::New).is_err());
    assert!(disk.create_dir_all(Path::new("link/sub")).is_err());
    assert!(disk.remove_file(Path::new("link/file")).is_err());
    assert!(
        disk.rename(Path::new("file"), Path::new("link/moved"))
            .is_err()
    );
    assert!(disk.list(Path::new("link")).is_err());
    assert_eq!(
        disk.metadata(Path::new("link")).unwrap().kind,
        FileKind::Symlink
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");

    let pipe = inside.join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(
        disk.metadata(Path::new("pipe")).unwrap().kind,
        FileKind::Other
    );
    assert!(
        disk.open(Path::new("pipe"), Open::Read).is_err(),
        "and does not wait for a writer"
    );

    let file = disk.open(Path::new("real/file"), Open::New).unwrap();
    file.write_at(b"text", 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("real")).unwrap();
    assert_eq!(fs::read(inside.join("real/file")).unwrap(), b"text");
    assert!(disk.room(Path::new("")).unwrap().0 > 0);
    let lock = disk.lock(Path::new("lock")).unwrap();
    assert!(disk.lock(Path::new("lock")).is_err());
    drop(lock);
}
