//! What is remembered of drills, in a small file of the home directory.

use std::{fs, io, path::Path};

use carryall_core::drill::Drills;

use crate::atomic;

/// The file's name in the home directory.
const DRILLS_FILE: &str = "drills.json";

/// Returns what is remembered. A damaged file counts as none: a drill comes sooner then.
pub(crate) fn load(home: &Path) -> Drills {
    let bytes = fs::read(home.join(DRILLS_FILE)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Remembers it.
pub(crate) fn save(home: &Path, drills: &Drills) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(drills)?;
    bytes.push(b'\n');
    atomic::write(&home.join(DRILLS_FILE), &bytes)
}

#[cfg(test)]
mod tests {
    use carryall_core::time::Timestamp;

    use super::*;

    #[test]
    fn what_is_remembered_comes_back_and_damage_is_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(load(home.path()), Drills::default());
        let mut drills = Drills {
            tried: Some(Timestamp(7)),
            ..Drills::default()
        };
        drills.note(Timestamp(9), (16, 1000), 0);
        save(home.path(), &drills).unwrap();
        assert_eq!(load(home.path()), drills);
        fs::write(home.path().join(DRILLS_FILE), b"{\"proof\":").unwrap();
        assert_eq!(load(home.path()), Drills::default());
    }
}
