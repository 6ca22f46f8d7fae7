//! A vault is made whole or not at all, is opened once, and refuses what it can't read.

use std::os::unix::fs::PermissionsExt;

use carryall_core::{
    entry::DeviceClass,
    key::{Names, Words},
    time::Timestamp,
};

use super::*;
use crate::{
    mem_disk::{MemDisk, Survival},
    os_disk::OsDisk,
    trial::{cut_everywhere, fill_everywhere, what_is_seen_stays},
};

const HOME: &str = "/home/anna/carryall";

fn identity(seed: u8) -> Identity {
    let names = Names {
        member: "Anna",
        device: "laptop",
    };
    let root = Words::generate([3; 16]).root();
    Identity::create(&root, [seed; 32], names, DeviceClass::Laptop, Timestamp(5)).unwrap()
}

fn create(disk: &MemDisk, seed: u8) -> Result<Vault, VaultError> {
    Vault::create(Arc::new(disk.clone()), Path::new(HOME), identity(seed))
}

fn open(disk: &MemDisk) -> Result<Vault, VaultError> {
    Vault::open(Arc::new(disk.clone()), Path::new(HOME))
}

#[test]
fn made_opened_and_replaced() {
    let disk = MemDisk::new();
    assert!(matches!(open(&disk), Err(VaultError::NoVault(_))));
    assert!(disk.files().is_empty(), "looking leaves nothing behind");
    let vault = create(&disk, 1).unwrap();
    assert!(matches!(open(&disk), Err(VaultError::Busy(_))));
    assert!(matches!(create(&disk, 2), Err(VaultError::Exists(_))));
    vault.replace_identity(identity(2)).unwrap();
    assert_eq!(vault.identity(), identity(2));
    drop(vault);
    let vault = open(&disk.crash(Survival::Synced)).unwrap();
    assert_eq!(vault.identity(), identity(2));
    assert_eq!(vault.home(), Path::new(HOME));
    assert!(matches!(create(&disk, 3), Err(VaultError::Exists(_))));
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let disk = MemDisk::new();
    let photo = Path::new(HOME).join("photo.jpg");
    disk.write_file(&photo, b"x").unwrap();
    assert!(matches!(create(&disk, 1), Err(VaultError::Foreign(_))));
    assert_eq!(disk.files(), [photo]);
}

#[test]
fn parts_open_in_a_new_vault_and_again() {
    let disk = MemDisk::new();
    for round in 0..2 {
        let vault = if round == 0 {
            create(&disk, 1)
        } else {
            open(&disk)
        }
        .unwrap();
        let mut entries = 0;
        let feeds = vault.feeds(&mut |_, _, _| entries += 1).unwrap();
        let shelf = vault.shelf(0).unwrap();
        let spool = vault.spool(100).unwrap();
        let catalogue = vault.catalogue().unwrap();
        assert!(feeds.tips().is_empty() && shelf.list().is_empty() && spool.list().is_empty());
        assert!(catalogue.needs_rebuild().unwrap() && entries == 0);
    }
}

/// A vault is made and its identity replaced: there is none, or a whole one.
pub(crate) fn founding() -> u64 {
    cut_everywhere(
        |_| (),
        |disk| {
            let Ok(vault) = create(disk, 1) else { return 0 };
            1 + u8::from(vault.replace_identity(identity(2)).is_ok())
        },
        |disk, acknowledged| {
            match open(disk) {
                Ok(vault) => {
                    let found = vault.identity();
                    let known = [identity(1), identity(2)];
                    let at = known.iter().position(|known| *known == found).unwrap();
                    assert!(at + 1 >= usize::from(*acknowledged));
                }
                Err(VaultError::NoVault(_)) => {
                    assert_eq!(*acknowledged, 0);
                    drop(create(disk, 1).unwrap());
                }
                Err(error) => panic!("{error}"),
            }
            open(disk).unwrap().replace_identity(identity(3)).unwrap();
            assert_eq!(
                disk.files().len(),
                2,
                "lock and identity: {:?}",
                disk.files()
            );
        },
        |disk| drop(open(disk).or_else(|_| create(disk, 1))),
    )
}

#[test]
fn an_identity_seen_after_a_kill_stays() {
    what_is_seen_stays(
        |disk| drop(create(disk, 1).unwrap()),
        |disk| {
            if let Ok(vault) = open(disk) {
                let _ = vault.replace_identity(identity(2));
            }
        },
        |disk| open(disk).unwrap().identity().device(),
    );
    what_is_seen_stays(
        |_| (),
        |disk| drop(create(disk, 1)),
        |disk| open(disk).map(|vault| vault.identity().device()).ok(),
    );
}

#[test]
fn a_full_disk_leaves_the_old_identity() {
    fill_everywhere(
        |disk| drop(create(disk, 1).unwrap()),
        |disk| match open(disk).unwrap().replace_identity(identity(2)) {
            Ok(()) => 2,
            Err(VaultError::Disk(error)) if error.is_full() => 1,
            Err(error) => panic!("{error}"),
        },
        |disk, seed| {
            assert_eq!(open(disk).unwrap().identity(), identity(*seed));
            assert_eq!(disk.files().len(), 2);
        },
    );
}

#[test]
fn any_flipped_bit_and_any_cut_are_damage() {
    let clean = MemDisk::new();
    drop(create(&clean, 1).unwrap());
    let path = Path::new(HOME).join("identity");
    let whole = clean.read_file(&path).unwrap();
    for bit in 0..whole.len() as u64 * 8 {
        let disk = clean.crash(Survival::All);
        disk.rot(&path, bit).unwrap();
        assert!(
            matches!(open(&disk), Err(VaultError::Damaged(_))),
            "bit {bit}"
        );
    }
    for len in 0..whole.len() {
        let disk = clean.crash(Survival::All);
        disk.write_file(&path, &whole[..len]).unwrap();
        assert!(
            matches!(open(&disk), Err(VaultError::Damaged(_))),
            "cut to {len}"
        );
    }
}

#[test]
fn a_newer_vault_is_refused_politely() {
    let disk = MemDisk::new();
    drop(create(&disk, 1).unwrap());
    let path = Path::new(HOME).join("identity");
    let mut content = disk.read_file(&path).unwrap();
    content.truncate(content.len() - 32);
    content[MAGIC.len()] = 9;
    let check = blake3::hash(&content);
    content.extend_from_slice(check.as_bytes());
    disk.write_file(&path, &content).unwrap();
    let error = open(&disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the vault has format version 9, this program reads up to 1"
    );
}

#[test]
fn on_a_real_disk_others_may_not_read_it_and_two_can_not_open_it() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("deep/home");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let vault = Vault::create(disk.clone(), &home, identity(1)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home), mode(&home.join("identity"))), (0o700, 0o600));
    assert!(matches!(
        Vault::open(disk.clone(), &home),
        Err(VaultError::Busy(_))
    ));
    drop(vault);
    assert_eq!(Vault::open(disk, &home).unwrap().identity(), identity(1));
}
