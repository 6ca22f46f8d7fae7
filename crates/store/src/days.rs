//! The count of observed days on disk: one small file, replaced as a whole.

use std::{io, path::Path};

use carryall_core::{
    codec::DecodeError,
    days::{DAYS_BYTES_MAX, Days},
};
use thiserror::Error;

use crate::{
    disk::{Disk, Open, read_exact_at, replace},
    error::{At, DiskError},
};

/// Why the count can't be read or written.
#[derive(Debug, Error)]
pub enum DaysError {
    /// A newer program wrote it.
    #[error(transparent)]
    TooNew(DecodeError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Reads the count. One that is missing or damaged begins anew, at what lies in the trash: deletion
/// only takes longer then.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Days, DaysError> {
    let file = match disk.open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Days::default()),
        opened => opened.at("open", path)?,
    };
    let len = usize::try_from(file.len().at("look at", path)?).unwrap_or(usize::MAX);
    if len > DAYS_BYTES_MAX {
        return Ok(Days::default());
    }
    let mut bytes = vec![0; len];
    read_exact_at(&*file, &mut bytes, 0).at("read", path)?;
    match Days::from_bytes(&bytes) {
        Err(error @ DecodeError::TooNew { .. }) => Err(DaysError::TooNew(error)),
        read => Ok(read.unwrap_or_default()),
    }
}

/// Writes the count, durably.
pub fn write(disk: &dyn Disk, path: &Path, days: &Days) -> Result<(), DaysError> {
    Ok(replace(disk, path, &days.to_bytes())?)
}

#[cfg(test)]
pub(crate) mod tests {
    use carryall_core::time::Timestamp;

    use super::*;
    use crate::{
        mem_disk::{MemDisk, Survival},
        trial::cut_everywhere,
    };

    const PATH: &str = "/v/days";

    fn counted(count: u32) -> Days {
        let mut days = Days::default();
        days.begin(Timestamp(1_700_000_000_000));
        days.at_least(count);
        days
    }

    fn prepare(disk: &MemDisk) {
        disk.create_dir_all(Path::new("/v")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        write(disk, Path::new(PATH), &counted(1)).unwrap();
    }

    /// Observed days are counted: no count goes back.
    pub(crate) fn counting() -> u64 {
        cut_everywhere(
            prepare,
            |disk| {
                (2..5)
                    .take_while(|count| write(disk, Path::new(PATH), &counted(*count)).is_ok())
                    .last()
                    .unwrap_or(1)
            },
            |disk, written| {
                let count = read(disk, Path::new(PATH)).unwrap().count();
                assert!((*written..=written + 1).contains(&count), "{count}");
            },
            |disk| drop(read(disk, Path::new(PATH))),
        )
    }

    #[test]
    fn a_damaged_count_begins_anew_and_a_newer_one_is_refused() {
        let disk = MemDisk::new();
        prepare(&disk);
        let disk = disk.crash(Survival::Synced);
        let bytes = disk.read_file(Path::new(PATH)).unwrap();
        disk.write_file(Path::new(PATH), &bytes[..3]).unwrap();
        assert_eq!(read(&disk, Path::new(PATH)).unwrap(), Days::default());
        disk.write_file(Path::new(PATH), &[9; 10]).unwrap();
        assert!(matches!(
            read(&disk, Path::new(PATH)),
            Err(DaysError::TooNew(_))
        ));
    }
}
