//! The pause: until when the node does nothing by itself. It outlives the process.

use std::{fs, io, path::Path};

use carryall_core::time::Timestamp;

use crate::atomic;

/// The file's name in the home directory: milliseconds since 1970. No file, no pause.
const PAUSE_FILE: &str = "paused-until";

/// Returns until when the node pauses, if it does. A damaged file counts as none.
pub(crate) fn load(home: &Path, now: Timestamp) -> Option<Timestamp> {
    let text = fs::read_to_string(home.join(PAUSE_FILE)).ok()?;
    let until = text.trim().parse().ok().map(Timestamp);
    until.filter(|until| *until > now)
}

/// Remembers until when the node pauses; nothing for no pause.
pub(crate) fn save(home: &Path, until: Option<Timestamp>) -> io::Result<()> {
    let path = home.join(PAUSE_FILE);
    match until {
        Some(until) => atomic::write(&path, format!("{}\n", until.0).as_bytes()),
        None => atomic::remove(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_remembered_until_it_is_over() {
        let home = tempfile::tempdir().unwrap();
        let (now, until) = (Timestamp(1000), Timestamp(2000));
        assert_eq!(load(home.path(), now), None);
        save(home.path(), Some(until)).unwrap();
        assert_eq!(load(home.path(), now), Some(until));
        assert_eq!(load(home.path(), until), None);
        save(home.path(), None).unwrap();
        save(home.path(), None).unwrap();
        assert_eq!(load(home.path(), now), None);
        fs::write(home.path().join(PAUSE_FILE), "soon").unwrap();
        assert_eq!(load(home.path(), now), None);
    }
}
