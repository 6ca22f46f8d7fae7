//! What the owner calls people. It stays on this device: feeds never carry it.

use std::{collections::BTreeMap, fs, io, path::Path};

use carryall_core::id::MemberId;

use crate::atomic;

/// The file's name in the home directory: one line `name = "..."` per member.
pub(crate) const PETNAMES_FILE: &str = "petnames.toml";

/// The owner's names for members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Petnames(BTreeMap<MemberId, String>);

impl Petnames {
    /// Reads the names. A damaged file costs only names, so it counts as empty, with a warning.
    pub(crate) fn load(home: &Path) -> Self {
        let Ok(text) = fs::read_to_string(home.join(PETNAMES_FILE)) else {
            return Self::default();
        };
        match toml::from_str::<BTreeMap<MemberId, String>>(&text) {
            Ok(names) => Self(names),
            Err(error) => {
                tracing::warn!(%error, "petnames.toml can't be read; people go by their own names");
                Self::default()
            }
        }
    }

    /// Returns all names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&MemberId, &String)> {
        self.0.iter()
    }

    /// Gives a member a name and writes all of them.
    pub(crate) fn set(&mut self, home: &Path, member: MemberId, name: &str) -> io::Result<()> {
        self.0.insert(member, name.to_owned());
        let text = toml::to_string(&self.0).map_err(io::Error::other)?;
        atomic::write(&home.join(PETNAMES_FILE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_damage_is_harmless() {
        let home = tempfile::tempdir().unwrap();
        let mut names = Petnames::load(home.path());
        names
            .set(home.path(), MemberId([7; 32]), "Bo \"the\" builder\n")
            .unwrap();
        assert_eq!(Petnames::load(home.path()), names);
        fs::write(home.path().join(PETNAMES_FILE), "= nonsense").unwrap();
        assert_eq!(Petnames::load(home.path()), Petnames::default());
    }
}
