//! The memory disk behaves like the operating system's, and crashes as it promises.

use std::{io::ErrorKind, sync::Arc};

use super::*;
use crate::os_disk::OsDisk;

/// Everything that the store expects of any disk.
fn conform(disk: &dyn Disk, home: &Path) {
    let at = |name: &str| home.join(name);
    let kind = |result: io::Result<Box<dyn DiskFile>>| result.unwrap_err().kind();
    disk.create_dir_all(&at("a/b")).unwrap();
    disk.create_dir_all(&at("a/b")).unwrap();
    assert_eq!(disk.metadata(&at("a/b")).unwrap().kind, FileKind::Directory);
    assert_eq!(disk.metadata(&at("a/b")).unwrap().mode, 0o700);

    // Opening.
    assert_eq!(kind(disk.open(&at("a/f"), Open::Read)), ErrorKind::NotFound);
    assert_eq!(
        kind(disk.open(&at("x/f"), Open::Write)),
        ErrorKind::NotFound
    );
    let file = disk.open(&at("a/f"), Open::New).unwrap();
    assert_eq!(
        kind(disk.open(&at("a/f"), Open::New)),
        ErrorKind::AlreadyExists
    );
    assert!(disk.open(&at("a/b"), Open::Read).is_err());
    assert!(disk.open(&at("a/f/g"), Open::Write).is_err());

    // Content: writes at any offset, holes read as zeros, reads end where the file ends.
    assert!(file.is_empty().unwrap());
    file.write_at(b"hello", 0).unwrap();
    file.write_at(b"world", 5000).unwrap();
    assert_eq!(file.len().unwrap(), 5005);
    let mut buffer = [1; 16];
    assert_eq!(file.read_at(&mut buffer, 4998).unwrap(), 7);
    assert_eq!(&buffer[..7], b"\0\0world");
    assert_eq!(file.read_at(&mut buffer, 5005).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 99_999).unwrap(), 0);
    file.set_len(3).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
    assert_eq!(&buffer[..8], b"hel\0\0\0\0\0");
    file.sync().unwrap();
    let facts = file.metadata().unwrap();
    assert_eq!(
        (facts.kind, facts.bytes, facts.mode),
        (FileKind::File, 8, 0o600)
    );
    assert_eq!(facts.ino, disk.metadata(&at("a/f")).unwrap().ino);
    let reader = disk.open(&at("a/f"), Open::Read).unwrap();
    assert!(reader.write_at(b"x", 0).is_err());

    // Names.
    let other = disk.open(&at("a/b/g"), Open::Write).unwrap();
    other.write_at(b"other", 0).unwrap();
    disk.rename(&at("a/b/g"), &at("a/f")).unwrap();
    assert_eq!(disk.metadata(&at("a/f")).unwrap().bytes, 5);
    assert_eq!(reader.len().unwrap(), 8, "an open file outlives its name");
    assert_eq!(
        disk.rename(&at("a/none"), &at("a/f")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(disk.rename(&at("a/f"), &at("a/b")).is_err());
    assert_eq!(
        disk.remove_dir(&at("a")).unwrap_err().kind(),
        ErrorKind::DirectoryNotEmpty
    );
    assert!(disk.remove_file(&at("a/b")).is_err());
    assert_eq!(
        disk.remove_file(&at("a/none")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let mut names = disk.list(&at("a")).unwrap();
    names.sort();
    assert_eq!(names, ["b", "f"]);
    disk.sync_dir(&at("a")).unwrap();
    disk.remove_dir(&at("a/b")).unwrap();
    disk.remove_file(&at("a/f")).unwrap();
    assert_eq!(
        disk.metadata(&at("a/f")).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // Room and locks.
    let (free, total) = disk.room(&at("not/yet/there")).unwrap();
    assert!(free > 0 && free <= total);
    let lock = disk.lock(&at("lock")).unwrap();
    assert_eq!(
        disk.lock(&at("lock")).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(lock);
    disk.lock(&at("lock")).unwrap();
}

/// Symbolic links are seen, never followed at the end of a path.
fn conform_links(disk: &dyn Disk, home: &Path) {
    let link = home.join("link");
    assert_eq!(disk.metadata(&link).unwrap().kind, FileKind::Symlink);
    assert_eq!(disk.read_link(&link).unwrap(), Path::new("target"));
    assert!(disk.read_link(home).is_err());
    for how in [Open::Read, Open::Write, Open::New] {
        assert!(disk.open(&link, how).is_err());
    }
    assert!(disk.open(&home.join("target"), Open::Read).is_ok());
    assert_eq!(
        disk.metadata(&home.join("fifo")).unwrap().kind,
        FileKind::Other
    );
    assert!(disk.open(&home.join("fifo"), Open::Read).is_err());
    disk.remove_file(&link).unwrap();
    assert!(disk.open(&home.join("target"), Open::Read).is_ok());
}

#[test]
fn memory_and_system_disks_conform() {
    let directory = tempfile::tempdir().unwrap();
    conform(&OsDisk, directory.path());
    conform(&MemDisk::new(), Path::new("/"));
}

#[test]
fn memory_and_system_disks_treat_links_alike() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    std::fs::write(home.join("target"), b"x").unwrap();
    std::os::unix::fs::symlink("target", home.join("link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, home.join("fifo"), mode).unwrap();
    conform_links(&OsDisk, home);

    let disk = MemDisk::new();
    disk.write_file(Path::new("/target"), b"x").unwrap();
    disk.symlink(Path::new("target"), Path::new("/link"))
        .unwrap();
    disk.special(Path::new("/fifo")).unwrap();
    conform_links(&disk, Path::new("/"));
}

#[test]
fn unsynced_content_and_names_are_lost() {
    let disk = MemDisk::new();
    let (a, b) = (Path::new("/a"), Path::new("/b"));
    disk.write_file(a, b"old").unwrap();
    disk.open(a, Open::Write).unwrap().sync().unwrap();
    assert!(disk.crash(Survival::Synced).files().is_empty());
    disk.sync_dir(Path::new("/")).unwrap();
    disk.open(a, Open::Write)
        .unwrap()
        .write_at(b"NEW", 0)
        .unwrap();
    disk.write_file(b, b"unsynced").unwrap();
    disk.sync_dir(Path::new("/")).unwrap();

    let after = disk.crash(Survival::Synced);
    assert_eq!(after.read_file(a).unwrap(), b"old");
    assert_eq!(after.read_file(b).unwrap(), b"");
    let after = disk.crash(Survival::All);
    assert_eq!(after.read_file(a).unwrap(), b"NEW");
    assert_eq!(after.read_file(b).unwrap(), b"unsynced");
    assert_eq!(
        disk.read_file(a).unwrap(),
        b"NEW",
        "a crash image is a copy"
    );
}

#[test]
fn a_rename_survives_whole_or_not_at_all() {
    let disk = MemDisk::new();
    disk.write_file(Path::new("/x/a"), b"a").unwrap();
    disk.create_dir_all(Path::new("/y")).unwrap();
    for directory in ["/", "/x", "/y"] {
        disk.sync_dir(Path::new(directory)).unwrap();
    }
    disk.rename(Path::new("/x/a"), Path::new("/y/b")).unwrap();
    for seed in 0..50 {
        let files = disk.crash(Survival::Torn { seed }).files();
        assert!(
            files == [Path::new("/x/a")] || files == [Path::new("/y/b")],
            "{files:?}"
        );
    }
    disk.sync_dir(Path::new("/y")).unwrap();
    assert_eq!(disk.crash(Survival::Synced).files(), [Path::new("/y/b")]);
}

#[test]
fn torn_writes_tear_at_sectors_and_depend_on_the_seed_alone() {
    let disk = MemDisk::new();
    let path = Path::new("/f");
    disk.write_file(path, &[1; 8192]).unwrap();
    disk.open(path, Open::Write).unwrap().sync().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.open(path, Open::Write)
        .unwrap()
        .write_at(&[2; 8192], 0)
        .unwrap();
    let mut mixed = 0;
    for seed in 0..20 {
        let torn = disk.crash(Survival::Torn { seed }).read_file(path).unwrap();
        assert_eq!(torn.len(), 8192);
        for sector in torn.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]));
        }
        mixed += usize::from(torn.contains(&1) && torn.contains(&2));
        let again = disk.crash(Survival::Torn { seed }).read_file(path).unwrap();
        assert_eq!(torn, again);
    }
    assert!(mixed > 10);
}

#[test]
fn faults_come_when_told() {
    let disk = MemDisk::new();
    let path = Path::new("/f");
    disk.write_file(path, &[0; 4096]).unwrap();
    disk.set_capacity(Some(8192));
    let file = disk.open(path, Open::Write).unwrap();
    let error = file.write_at(&[1; 8192], 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.room(path).unwrap(), (0, 8192));
    disk.remove_file(path).unwrap();
    drop(file);
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.used(), 0);
    disk.set_capacity(None);

    disk.write_file(path, b"abc").unwrap();
    assert!(disk.rot(path, 8).unwrap());
    assert!(!disk.rot(path, 24).unwrap());
    assert_eq!(disk.read_file(path).unwrap(), b"acc");
    disk.fail_reads(path, true).unwrap();
    assert!(disk.read_file(path).is_err());
    disk.fail_reads(path, false).unwrap();

    disk.freeze_after(disk.ops() + 1);
    disk.remove_file(path).unwrap();
    assert!(disk.sync_dir(Path::new("/")).is_err());
    assert!(disk.metadata(Path::new("/")).is_err());
    assert_eq!(disk.crash(Survival::Synced).files(), [path; 0]);
}

#[test]
fn a_deleted_open_file_gives_its_room_back_in_the_end() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let file = disk.open(Path::new("/f"), Open::New).unwrap();
    file.write_at(&[1; 10_000], 0).unwrap();
    let used = (1 << 40) - disk.room(Path::new("/")).unwrap().0;
    assert_eq!(used, 12_288);
    disk.remove_file(Path::new("/f")).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    drop(file);
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.room(Path::new("/")).unwrap().0, 1 << 40);
}
