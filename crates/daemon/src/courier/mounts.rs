//! The table of what is mounted where.

use std::{fs, path::PathBuf, time::Duration};

/// Where Linux shows the table. It is ready with priority when something was mounted or unmounted.
const TABLE: &str = "/proc/self/mountinfo";
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
    let table = fs::read_to_string(TABLE).unwrap_or_default();
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

/// Tells when the table changes.
#[derive(Debug)]
pub(super) struct Table {
    #[cfg(target_os = "linux")]
    file: Option<fs::File>,
}

impl Table {
    /// Begins to watch. What changes from here on is told, also while nobody waits.
    pub(super) fn watch() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            file: fs::File::open(TABLE).ok(),
        }
    }

    /// Waits until the table has changed, but not for long. Returns whether it may have.
    pub(super) fn changed(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(file) = &self.file {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let patience = Timespec {
                tv_sec: i64::try_from(LOOK_EVERY.as_secs()).unwrap_or(1),
                tv_nsec: 0,
            };
            let mut table = [PollFd::new(file, PollFlags::PRI | PollFlags::ERR)];
            // Interrupted, it is looked at all the same.
            return poll(&mut table, Some(&patience)).map_or(true, |ready| ready > 0);
        }
        std::thread::sleep(LOOK_EVERY);
        true
    }
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
