//! A portrait of a directory: all that a restore must bring back, to be compared afterwards.
//!
//! Contents are compared by their BLAKE3 hash, so that the originals can be destroyed in between.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What a directory and everything in it looks like.
#[derive(Debug)]
pub(crate) struct Portrait {
    looks: BTreeMap<PathBuf, Look>,
}

/// What one file, folder or link looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    kind: Kind,
    mode: u32,
    mtime_secs: i64,
    mtime_nanos: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File {
        bytes: u64,
        hash: [u8; 32],
        /// The first other path of the same inode, in order.
        twin: Option<PathBuf>,
    },
    Folder,
    Link {
        target: OsString,
    },
}

/// What a portrait holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Regular files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Folders, the outermost included.
    pub(crate) folders: u64,
    /// Symbolic links.
    pub(crate) links: u64,
}

impl Portrait {
    /// Looks at everything under `root`, and at `root` itself. Pipes, sockets and devices are
    /// passed over: no backup holds them.
    pub(crate) fn take(root: &Path) -> io::Result<Self> {
        let mut portrait = Self {
            looks: BTreeMap::new(),
        };
        let mut inodes = BTreeMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(inner) = waiting.pop() {
            let path = if inner.as_os_str().is_empty() {
                root.to_owned()
            } else {
                root.join(&inner)
            };
            let metadata = fs::symlink_metadata(&path)?;
            let kind = if metadata.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(inner.join(entry?.file_name()));
                }
                Kind::Folder
            } else if metadata.is_symlink() {
                Kind::Link {
                    target: fs::read_link(&path)?.into_os_string(),
                }
            } else if metadata.is_file() {
                if metadata.nlink() > 1 {
                    let inode = (metadata.dev(), metadata.ino());
                    inodes
                        .entry(inode)
                        .or_insert_with(Vec::new)
                        .push(inner.clone());
                }
                Kind::File {
                    bytes: metadata.len(),
                    hash: hash(&path)?,
                    twin: None,
                }
            } else {
                continue;
            };
            let look = Look {
                kind,
                mode: metadata.mode() & 0o7777,
                mtime_secs: metadata.mtime(),
                mtime_nanos: metadata.mtime_nsec(),
            };
            portrait.looks.insert(inner, look);
        }
        for mut twins in inodes.into_values() {
            twins.sort();
            for path in &twins[1..] {
                if let Some(Look {
                    kind: Kind::File { twin, .. },
                    ..
                }) = portrait.looks.get_mut(path)
                {
                    *twin = Some(twins[0].clone());
                }
            }
        }
        Ok(portrait)
    }

    /// Returns how much there is.
    pub(crate) fn count(&self) -> Count {
        let mut count = Count::default();
        for look in self.looks.values() {
            match &look.kind {
                Kind::File { bytes, .. } => {
                    count.files += 1;
                    count.bytes += bytes;
                }
                Kind::Folder => count.folders += 1,
                Kind::Link { .. } => count.links += 1,
            }
        }
        count
    }

    /// Returns one sentence for each way in which `other` is not the same as this.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut sentences = Vec::new();
        for (path, look) in &self.looks {
            match other.looks.get(path) {
                None => sentences.push(format!("{path:?} is missing")),
                Some(found) if found == look => {}
                Some(found) => sentences.push(difference(path, look, found)),
            }
        }
        let new = other
            .looks
            .keys()
            .filter(|path| !self.looks.contains_key(*path));
        sentences.extend(new.map(|path| format!("{path:?} was not there before")));
        sentences
    }
}

/// Says how two looks differ.
fn difference(path: &Path, look: &Look, found: &Look) -> String {
    if look.kind != found.kind {
        match (&look.kind, &found.kind) {
            (
                Kind::File { bytes, hash, .. },
                Kind::File {
                    bytes: new_bytes,
                    hash: new_hash,
                    ..
                },
            ) => {
                if bytes != new_bytes {
                    format!("{path:?} has {new_bytes} bytes instead of {bytes}")
                } else if hash != new_hash {
                    format!("{path:?} has other bytes")
                } else {
                    format!("{path:?} is hard-linked otherwise")
                }
            }
            (Kind::Link { target }, Kind::Link { target: new }) => {
                format!("{path:?} links to {new:?} instead of {target:?}")
            }
            _ => format!("{path:?} is of another kind"),
        }
    } else if look.mode != found.mode {
        format!(
            "{path:?} has mode {:o} instead of {:o}",
            found.mode, look.mode
        )
    } else {
        format!(
            "{path:?} has time {}.{:09} instead of {}.{:09}",
            found.mtime_secs, found.mtime_nanos, look.mtime_secs, look.mtime_nanos
        )
    }
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn scene(root: &Path) {
        fs::create_dir_all(root.join("d/empty")).unwrap();
        fs::write(root.join("d/f"), b"12345").unwrap();
        fs::hard_link(root.join("d/f"), root.join("d/g")).unwrap();
        symlink("f", root.join("d/l")).unwrap();
        for (index, path) in ["d/f", "d/empty", "d", ""].iter().enumerate() {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, index as u32);
            File::open(root.join(path))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
    }

    fn changed(change: impl Fn(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        scene(&a);
        scene(&b);
        change(&b);
        let before = Portrait::take(&a).unwrap();
        assert_eq!(
            before.count(),
            Count {
                files: 2,
                bytes: 10,
                folders: 3,
                links: 1
            }
        );
        let mut found = before.differences(&Portrait::take(&b).unwrap());
        // The link's own time is the moment of its making.
        found.retain(|sentence| !(sentence.contains("d/l") && sentence.contains("time")));
        found
    }

    #[test]
    fn sees_every_difference() {
        assert_eq!(changed(|_| ()), Vec::<String>::new());
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(changed(|b| set(&b.join("d/empty"), 0o711))[0].contains("mode 711"));
        assert!(changed(|b| fs::remove_dir(b.join("d/empty")).unwrap())[0].contains("time"));
        assert!(changed(|b| fs::remove_dir(b.join("d/empty")).unwrap())[1].contains("missing"));
        assert!(
            changed(|b| fs::write(b.join("d/f"), b"12346").unwrap())[0].contains("other bytes")
        );
        assert!(changed(|b| fs::write(b.join("d/f"), b"1").unwrap())[0].contains("has 1 bytes"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 9);
        let touch = |b: &Path| {
            File::open(b.join("d/f"))
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        assert!(changed(touch)[0].contains(".000000009 instead of 1000000.000000000"));
        let split = |b: &Path| {
            fs::remove_file(b.join("d/g")).unwrap();
            fs::copy(b.join("d/f"), b.join("d/g")).unwrap();
        };
        assert!(
            changed(split)
                .iter()
                .any(|sentence| sentence.contains("hard-linked"))
        );
        let relink = |b: &Path| {
            fs::remove_file(b.join("d/l")).unwrap();
            symlink("g", b.join("d/l")).unwrap();
        };
        assert!(
            changed(relink)
                .iter()
                .any(|sentence| sentence.contains("links to"))
        );
        assert!(changed(|b| fs::write(b.join("new"), b"").unwrap()).len() >= 2);
    }
}
