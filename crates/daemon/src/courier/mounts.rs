//! The table of what is mounted where.

use std::{fs, path::PathBuf, time::Duration};

/// How often directories are looked at that no table tells of.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// File systems that portable disks have. Others may be far away, and looking at them may take long.
const PORTABLE: [&str; 16] = [
    "vfat",
    "msdos",
    "exfat",
    "fuse.exfat",
    "fuseblk",
    "ntfs",
    "ntfs3",
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "f2fs",
    "hfsplus",
    "udf",
    "fuse.exfat-fuse",
];
/// More of them than that are not looked at.
const PLACES_MAX: usize = 256;

/// Returns where portable disks may be mounted.
pub(super) fn places() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(place);
    places.take(PLACES_MAX).collect()
}

/// Reads one line: `id parent major:minor root place options … - type source options`.
fn place(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let kind = after.split(' ').next()?;
    let place = before.split(' ').nth(4)?;
    PORTABLE
        .contains(&kind)
        .then(|| PathBuf::from(unescape(place)))
}

/// Spaces and the like are written in three octal digits after a backslash.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, sign) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escape, sign);
    }
    plain
}

/// Waits until the table has changed, or a while.
#[cfg(target_os = "linux")]
pub(super) fn changed() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec {
        tv_sec: i64::try_from(LOOK_EVERY.as_secs()).unwrap_or(1),
        tv_nsec: 0,
    };
    let Ok(table) = fs::File::open("/proc/self/mountinfo") else {
        return std::thread::sleep(LOOK_EVERY);
    };
    let flags = PollFlags::PRI | PollFlags::ERR;
    // Interrupted, it is looked at earlier.
    let _ = poll(&mut [PollFd::new(&table, flags)], Some(&patience));
}

/// Waits a while.
#[cfg(not(target_os = "linux"))]
pub(super) fn changed() {
    std::thread::sleep(LOOK_EVERY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_file_systems_are_looked_at() {
        let usb = "36 35 98:0 / /media/blue\\040disk rw,noatime shared:1 - vfat /dev/sdb1 rw";
        assert_eq!(place(usb), Some("/media/blue disk".into()));
        let far = "36 35 0:40 / /mnt/far rw - nfs4 server:/ rw";
        assert_eq!(place(far), None);
        assert_eq!(place("nonsense"), None);
    }
}
