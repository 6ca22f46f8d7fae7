//! A device's own backup.

use std::{
    cell::Cell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use carryall_core::{
    id::{PackId, SnapshotId},
    key::VaultKeys,
    record::{HeadRecord, PackKind},
    time::{Span, Timestamp},
};

use crate::{
    backup::{self, Context, Request, Unwatched},
    browse::Library,
    catalogue::Catalogue,
    disk::Disk,
    free,
    freed::Freed,
    index,
    mem_disk::MemDisk,
    prune,
    rebuild::Rebuilder,
    spool::Spool,
    trial::{cut_everywhere, cut_with},
};

const HOME: &str = "/home";
const FOLDER: &str = "/data";
/// So late that every file's times have settled.
const BEGIN: Timestamp = Timestamp(4_000_000_000_000);

/// The parts of a vault that a backup needs.
struct Place {
    disk: Arc<dyn Disk>,
    keys: VaultKeys,
    catalogue: Catalogue,
    spool: Spool,
}

impl Place {
    fn try_open(disk: &MemDisk) -> Option<Self> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let home = Path::new(HOME);
        Some(Self {
            catalogue: Catalogue::open(disk.clone(), &home.join("catalogue.redb")).ok()?,
            spool: Spool::open(disk.clone(), &home.join("spool"), 1 << 30).ok()?,
            keys: VaultKeys::generate([3; 96]),
            disk,
        })
    }

    /// Opens a home that is whole.
    fn open(disk: &MemDisk) -> Self {
        let place = Self::try_open(disk).expect("a home opens after any crash");
        let damaged = place.catalogue.needs_rebuild().expect("it can be read");
        assert!(!damaged, "a crash damaged the catalogue");
        place
    }

    /// Makes a home.
    fn make(disk: &MemDisk) -> Self {
        disk.create_dir_all(Path::new(HOME))
            .expect("the disk works");
        let place = Self::try_open(disk).expect("the disk works");
        let mut batch = place.catalogue.batch().expect("the disk works");
        batch.complete().expect("the disk works");
        batch.commit().expect("the disk works");
        place
    }

    fn context(&self) -> Context<'_> {
        Context {
            disk: &*self.disk,
            home: Path::new(HOME),
            keys: &self.keys,
            catalogue: &self.catalogue,
            spool: &self.spool,
        }
    }

    /// Runs a backup, and adds to what was promised.
    fn back_up(&self, promised: &mut Promised) -> Option<()> {
        let known = self.catalogue.snapshots().ok()?.len() as u64;
        let roots = [PathBuf::from(FOLDER)];
        let request = Request {
            roots: &roots,
            now: BEGIN + Span::secs(known),
            data_shards: &|kind| if kind == PackKind::Metadata { 1 } else { 2 },
            previews: true,
            late_bytes: 1 << 20,
            workers: 0,
        };
        let mut on_pack = |pack: &carryall_core::record::PackRecord| {
            promised.packs.push(pack.id);
        };
        let report = backup::run(&self.context(), &request, &Unwatched, &mut on_pack).ok()?;
        promised.snapshots.push(report.snapshot);
        Some(())
    }

    fn heads(&self) -> Vec<HeadRecord> {
        let library = Library::new(&self.context()).expect("it can be read");
        library.snapshots().expect("it can be read")
    }

    fn pack_ids(&self) -> BTreeSet<PackId> {
        let packs = self.catalogue.packs().expect("it can be read");
        packs.into_iter().map(|(_, pack)| pack.id).collect()
    }

    /// Checks that all that was promised is there: each pack can be made, bit by bit, and each snapshot
    /// is listed with all of its files.
    fn keeps(&self, promised: &Promised) {
        let rebuilder = Rebuilder::new();
        for pack in &promised.packs {
            (rebuilder.pack(&self.context(), *pack)).expect("a promised pack can be made");
        }
        let library = Library::new(&self.context()).expect("it can be read");
        for snapshot in &promised.snapshots {
            let record = library
                .snapshot(*snapshot)
                .expect("a promised snapshot is there");
            assert_eq!(library.lost_files(&record).expect("it can be read"), 0);
        }
    }

    /// Checks that the next backup comes to its end, and that nothing grows.
    fn goes_on(&self) {
        let mut next = Promised::default();
        self.back_up(&mut next).expect("a backup after a crash");
        self.keeps(&next);
        let known = self.pack_ids();
        let spooled = self.spool.list().into_iter();
        let stray = spooled.filter(|(pack, _)| !known.contains(pack));
        assert_eq!(stray.count(), 0, "nobody needs these");
    }
}

/// What was said to be safe from here on.
#[derive(Clone, Debug, Default)]
struct Promised {
    packs: Vec<PackId>,
    snapshots: Vec<SnapshotId>,
}

/// Tells of one in so many disks that a whole backup shall follow: each takes as long as twenty looks.
#[derive(Default)]
struct Sample(Cell<u32>);

impl Sample {
    fn is_next(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get().is_multiple_of(9)
    }
}

/// Bytes that don't compress.
fn noise(salt: u8, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let hasher = blake3::Hasher::new_keyed(&[salt; 32]);
    hasher.finalize_xof().fill(&mut content);
    content
}

fn write(disk: &MemDisk, name: &str, content: &[u8]) {
    let path = Path::new(FOLDER).join(name);
    disk.write_file(&path, content).expect("the disk works");
}

/// A home that has saved nothing yet, and a folder with small files and a large one.
fn with_files(disk: &MemDisk) -> Place {
    for at in 0..3 {
        write(disk, &format!("note {at}"), &noise(at, 3_000));
    }
    write(disk, "photo", &noise(77, 400_000));
    Place::make(disk)
}

/// The same, saved.
fn saved(disk: &MemDisk) -> Place {
    let place = with_files(disk);
    place
        .back_up(&mut Promised::default())
        .expect("the disk works");
    place
}

fn back_up(disk: &MemDisk) -> Promised {
    let mut promised = Promised::default();
    if let Some(place) = Place::try_open(disk) {
        let _ = place.back_up(&mut promised);
    }
    promised
}

/// Looks at what is left of a backup that was cut off.
fn looks() -> impl Fn(&MemDisk, &Promised) {
    let sample = Sample::default();
    move |disk, promised| {
        let place = Place::open(disk);
        place.keeps(promised);
        if sample.is_next() {
            place.goes_on();
        }
    }
}

pub(super) fn backing_up() -> u64 {
    cut_with(
        2,
        |disk| drop(with_files(disk)),
        back_up,
        looks(),
        |disk| drop(back_up(disk)),
    )
}

pub(super) fn backing_up_again() -> u64 {
    cut_with(
        2,
        |disk| {
            drop(saved(disk));
            write(disk, "note 1", &noise(101, 4_000));
            write(disk, "another photo", &noise(78, 300_000));
        },
        back_up,
        looks(),
        |disk| drop(back_up(disk)),
    )
}

/// Folders are remembered and forgotten.
pub(super) fn choosing() -> u64 {
    let names: [&[u8]; 3] = [b"/a", b"/b", b"/c"];
    let choose = |disk: &MemDisk| {
        let Some(place) = Place::try_open(disk) else {
            return 0;
        };
        let step = |at: usize| {
            let mut batch = place.catalogue.batch().ok()?;
            match names.get(at) {
                Some(name) => batch.remember_root(name, Timestamp(1)).ok()?,
                None => batch.forget_root(names[1]).ok()?,
            }
            batch.commit().ok()
        };
        (0..4).take_while(|at| step(*at).is_some()).count()
    };
    let after = |steps: usize| -> Vec<Vec<u8>> {
        let names = names.iter().take(steps).map(|name| name.to_vec());
        names.filter(|name| steps < 4 || name != b"/b").collect()
    };
    cut_everywhere(
        |disk| drop(Place::make(disk)),
        choose,
        |disk, done| {
            let roots = Place::open(disk).catalogue.roots().expect("it can be read");
            let roots: Vec<Vec<u8>> = roots.into_iter().map(|(root, _)| root).collect();
            // What was under way when the power failed is done or not; then it may be done anew.
            assert!(
                (*done..=4).any(|steps| after(steps) == roots),
                "{done}: {roots:?}"
            );
        },
        |disk| drop(Place::try_open(disk)),
    )
}

/// A home with a second snapshot.
fn saved_twice(disk: &MemDisk) -> Place {
    let place = saved(disk);
    write(disk, "second photo", &noise(79, 300_000));
    place
        .back_up(&mut Promised::default())
        .expect("the disk works");
    place
}

/// Old snapshots are forgotten, and what none needs any more is dropped.
pub(super) fn pruning() -> u64 {
    let prepare = |disk: &MemDisk| {
        let place = saved_twice(disk);
        for gone in ["photo", "note 1"] {
            (disk.remove_file(&Path::new(FOLDER).join(gone))).expect("the disk works");
        }
        place
            .back_up(&mut Promised::default())
            .expect("the disk works");
        place
    };
    let prune = |place: &Place| -> Option<BTreeSet<PackId>> {
        let found = prune::find(&place.context()).ok()?;
        let packs: Vec<PackId> = found.packs.iter().map(|pack| pack.id).collect();
        for pack in &packs {
            place.spool.remove(*pack).ok()?;
        }
        prune::drop_packs(&place.context(), &packs).ok()?;
        Some(packs.into_iter().collect())
    };
    let forget = |place: &Place| {
        let mut rows = place.catalogue.snapshots().ok()?;
        rows.pop();
        let mut batch = place.catalogue.batch().ok()?;
        for row in rows {
            batch.remove_snapshot(row.id, row.head.time).ok()?;
        }
        batch.commit().ok()
    };
    // What stays, as it comes out where nothing is cut.
    let clean = MemDisk::new();
    let place = prepare(&clean);
    let newest = place.heads().pop().expect("three were made");
    forget(&place).expect("the disk works");
    let dropped = prune(&place).expect("the disk works");
    assert!(!dropped.is_empty());
    let needed = Promised {
        packs: place.pack_ids().into_iter().collect(),
        snapshots: vec![newest.snapshot],
    };
    let sample = Sample::default();
    cut_everywhere(
        |disk| drop(prepare(disk)),
        |disk| {
            let Some(place) = Place::try_open(disk) else {
                return 0;
            };
            let steps = [forget(&place).is_some(), prune(&place).is_some()];
            steps.iter().take_while(|done| **done).count()
        },
        |disk, done| {
            let place = Place::open(disk);
            place.keeps(&needed);
            let heads = place.heads();
            let forgotten = heads.iter().all(|head| head.snapshot == newest.snapshot);
            assert!(forgotten || *done == 0, "a forgotten snapshot is back");
            let known = place.pack_ids();
            assert!(
                *done < 2 || known.is_disjoint(&dropped),
                "a dropped pack is back"
            );
            if sample.is_next() {
                forget(&place).expect("it goes on");
                prune(&place).expect("it goes on");
                place.keeps(&needed);
                place.goes_on();
            }
        },
        |disk| {
            if let Some(place) = Place::try_open(disk) {
                let _ = prune(&place);
            }
        },
    )
}

/// Files leave for good, since friends have them.
pub(super) fn freeing() -> u64 {
    let names = ["note 0", "note 1", "note 2", "photo"];
    let clean = MemDisk::new();
    let place = saved(&clean);
    let newest = place.heads().pop().expect("one was made");
    let library = Library::new(&place.context()).expect("it can be read");
    let record = library.snapshot(newest.snapshot).expect("it is there");
    let before = library.list(&record, b"/data").expect("it is there");
    let free = |disk: &MemDisk| {
        let place = Place::try_open(disk)?;
        let found = free::find(&place.context(), Path::new(FOLDER), &|_| Ok(())).ok()?;
        found.remove(&place.context()).ok()
    };
    let sample = Sample::default();
    cut_everywhere(
        |disk| drop(saved(disk)),
        |disk| free(disk).is_some(),
        |disk, done| {
            let place = Place::open(disk);
            let freed = Freed::read(disk, Path::new(HOME)).expect("it is whole");
            for name in names {
                let path = Path::new(FOLDER).join(name);
                let known = freed.get(path.as_os_str().as_encoded_bytes()).is_some();
                assert!(known || disk.metadata(&path).is_ok(), "{name} was deleted");
                assert!(known || !done, "{name} is not on the list");
            }
            if sample.is_next() {
                // Whatever is where: the next snapshot has the same files.
                let mut next = Promised::default();
                place.back_up(&mut next).expect("a backup after a crash");
                let library = Library::new(&place.context()).expect("it can be read");
                let record = library.snapshot(next.snapshots[0]);
                let record = record.expect("it is there");
                assert_eq!(
                    library.list(&record, b"/data").expect("it is there"),
                    before
                );
            }
        },
        |disk| drop(free(disk)),
    )
}

/// The catalogue is made anew from the heads in the feed and the packs in the spool.
pub(super) fn rebuilding() -> u64 {
    let prepare = saved_twice;
    let clean = MemDisk::new();
    let place = prepare(&clean);
    let heads = place.heads();
    let promised = Promised {
        packs: place.pack_ids().into_iter().collect(),
        snapshots: heads.iter().map(|head| head.snapshot).collect(),
    };
    let rebuild = |place: &Place| {
        place.catalogue.clear().ok()?;
        let learnt = index::rebuild(&place.context(), &heads).ok()?;
        learnt.absent.is_empty().then_some(())
    };
    let sample = Sample::default();
    cut_with(
        9,
        |disk| drop(prepare(disk)),
        |disk| Place::try_open(disk).is_some_and(|place| rebuild(&place).is_some()),
        |disk, done| {
            let place = Place::try_open(disk).expect("a home opens after any crash");
            let unfinished = place.catalogue.needs_rebuild().expect("it can be read");
            assert!(!(unfinished && *done), "what was made anew is gone");
            if unfinished {
                rebuild(&place).expect("it goes on");
            }
            place.keeps(&promised);
            if sample.is_next() {
                place.goes_on();
            }
        },
        |disk| {
            if let Some(place) = Place::try_open(disk)
                && place.catalogue.needs_rebuild().is_ok_and(|it| it)
            {
                let _ = rebuild(&place);
            }
        },
    )
}

/// A machine with nothing but the words learns from a friend what there was.
pub(super) fn recovering() -> u64 {
    let lost = MemDisk::new();
    let place = saved(&lost);
    write(&lost, "second photo", &noise(79, 300_000));
    place
        .back_up(&mut Promised::default())
        .expect("the disk works");
    let head = place.heads().pop().expect("two were made");
    let fetch = |pack: PackId| {
        let got = place.spool.get(pack).expect("it can be read");
        got.expect("metadata stays in the spool")
    };
    let learn = |here: &Place| {
        loop {
            let learnt = index::learn(&here.context(), &head).ok()?;
            if learnt.absent.is_empty() {
                return Some(());
            }
            for pack in &learnt.absent {
                index::keep(&here.context(), pack.id, &fetch(pack.id)).ok()?;
            }
            here.spool.sync().ok()?;
        }
    };
    cut_with(
        3,
        |disk| drop(Place::make(disk)),
        |disk| Place::try_open(disk).is_some_and(|here| learn(&here).is_some()),
        |disk, done| {
            let here = Place::open(disk);
            if !done {
                learn(&here).expect("it goes on");
            }
            assert_eq!(here.heads().len(), 2);
            let library = Library::new(&here.context()).expect("it can be read");
            assert!(library.absent().expect("it can be read").is_empty());
            let record = library.snapshot(head.snapshot).expect("it is there");
            assert_eq!(library.lost_files(&record).expect("it can be read"), 0);
        },
        |disk| {
            if let Some(here) = Place::try_open(disk) {
                let _ = learn(&here);
            }
        },
    )
}

/// A pack whose source is gone comes back from friends into the spool, until others have its shards.
pub(super) fn repairing() -> u64 {
    let whole = MemDisk::new();
    let place = saved(&whole);
    let packs = place.catalogue.packs().expect("it can be read");
    let large = packs.iter().find(|it| it.1.kind == PackKind::Large);
    let lost = large.expect("there is a photo").1.id;
    let bytes = (Rebuilder::new().pack(&place.context(), lost)).expect("it can be made");
    let others = Promised {
        packs: packs
            .iter()
            .map(|it| it.1.id)
            .filter(|id| *id != lost)
            .collect(),
        snapshots: Vec::new(),
    };
    cut_everywhere(
        |disk| {
            drop(saved(disk));
            (disk.remove_file(&Path::new(FOLDER).join("photo"))).expect("the disk works");
        },
        |disk| {
            let Some(place) = Place::try_open(disk) else {
                return 0;
            };
            let came = place.spool.put_always(lost, &bytes).is_ok() && place.spool.sync().is_ok();
            if !came {
                return 0;
            }
            let before = disk.ops();
            let gone = place.spool.remove(lost).is_ok();
            1 + u8::from(gone || disk.ops() > before)
        },
        |disk, done| {
            let place = Place::open(disk);
            let found = place.spool.get(lost).expect("what is there is whole");
            assert!(
                *done != 1 || found.is_some(),
                "what came for repair is gone"
            );
            assert!(found.is_none_or(|found| found[..] == bytes[..]));
            place.keeps(&others);
        },
        |disk| {
            if let Some(place) = Place::try_open(disk) {
                let _ = place.spool.put_always(lost, &bytes);
                let _ = place.spool.sync();
            }
        },
    )
}
