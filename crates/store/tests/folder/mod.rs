//! Folders for tests: how to make them and how to compare them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT};

/// Returns bytes that don't compress, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut noise);
    noise
}

/// Writes a file, its directories included.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Sets a modification time.
pub(crate) fn set_mtime(path: &Path, mtime_ns: i64) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes a folder with everything that file systems allow.
pub(crate) fn difficult(folder: &Path) {
    write(&folder.join("plain"), b"plain");
    write(&folder.join("empty"), b"");
    fs::create_dir_all(folder.join("empty directory/inside")).unwrap();
    write(&folder.join(OsStr::from_bytes(b"not UTF-8 \xff\xfe")), b"1");
    write(&folder.join("two\nlines"), b"2");
    write(&folder.join("x".repeat(255)), b"3");
    write(&folder.join("Case"), b"4");
    write(&folder.join("case"), b"5");
    write(&folder.join("sub/medium"), &noise(1, 700_000));
    write(&folder.join("sub/long"), &noise(2, 18_000_000));
    write(
        &folder.join("text"),
        "the same words again and again ".repeat(40_000).as_bytes(),
    );
    let mut deep = folder.to_path_buf();
    for _ in 0..60 {
        deep.push("deep");
    }
    write(&deep.join("bottom"), b"6");
    symlink("loop-b", folder.join("loop-a")).unwrap();
    symlink("loop-a", folder.join("loop-b")).unwrap();
    symlink("/etc", folder.join("sub/away")).unwrap();
    write(&folder.join("hard-a"), &noise(3, 5000));
    fs::hard_link(folder.join("hard-a"), folder.join("sub/hard-b")).unwrap();
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(12 << 20).unwrap();
    sparse.write_all_at(b"end", (12 << 20) - 3).unwrap();
    rustix::fs::mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for (name, mode) in [
        ("plain", 0o640),
        ("empty", 0o400),
        ("sub", 0o750),
        ("text", 0o4755),
    ] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    set_mtime(&folder.join("plain"), 1_234_567_890_123_456_789);
    set_mtime(&folder.join("empty"), -5_000_000_001);
    set_mtime(&folder.join("loop-a"), 1_000_000_000_000_000_001);
    set_mtime(&folder.join("empty directory"), 999_999_999_999_999_999);
}

/// Compares two trees: names, kinds, contents, modes, times, link targets.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (left, right) = (a.symlink_metadata().unwrap(), b.symlink_metadata().unwrap());
    let facts = |metadata: &fs::Metadata| {
        (
            metadata.mode(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.uid(),
            metadata.gid(),
        )
    };
    assert_eq!(facts(&left), facts(&right), "{}", a.display());
    if left.is_symlink() {
        assert_eq!(fs::read_link(a).unwrap(), fs::read_link(b).unwrap());
    } else if left.is_dir() {
        let names = |path: &Path| -> BTreeSet<_> {
            fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect()
        };
        assert_eq!(names(a), names(b), "{}", a.display());
        for name in names(a) {
            assert_same(&a.join(&name), &b.join(&name));
        }
    } else {
        assert!(
            fs::read(a).unwrap() == fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
}
