//! The difference of two snapshots: folders that hold the same are passed over unread.

use std::{cmp::Ordering, vec::IntoIter};

use carryall_core::record::{NodeKind, SnapshotRecord, TreeNode};

use crate::browse::{BrowseError, Library};

/// How a name differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is in the second snapshot alone.
    Added,
    /// It is in the first snapshot alone.
    Removed,
    /// It holds something else, or is something else.
    Changed,
    /// Its owner, permissions or time alone differ.
    Dressed,
}

/// Is told a path, how it differs, and what is there: in the second snapshot, unless it was removed.
/// Returns false to end.
pub type Visit<'a> = dyn FnMut(&[u8], Difference, &TreeNode) -> bool + 'a;

/// Two folders with the same path, of which some names are still to be compared.
struct Pair {
    path: Vec<u8>,
    first: Sorted,
    second: Sorted,
}

type Sorted = std::iter::Peekable<IntoIter<TreeNode>>;

fn sorted(mut nodes: Vec<TreeNode>) -> Sorted {
    nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    nodes.into_iter().peekable()
}

impl Library<'_> {
    /// Visits what differs between two snapshots at and below `path`, in the order of paths, until
    /// `visit` returns false.
    ///
    /// # Errors
    /// [`BrowseError::NoPath`] if neither has anything there.
    pub fn differences(
        &self,
        (first, second): (&SnapshotRecord, &SnapshotRecord),
        path: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), BrowseError> {
        let select = |record| match self.select(record, path) {
            Err(BrowseError::NoPath(_)) => Ok(None),
            selected => selected.map(Some),
        };
        let (first, second) = (select(first)?, select(second)?);
        if first.is_none() && second.is_none() {
            return Err(BrowseError::NoPath(path.to_vec()));
        }
        let mut above: Vec<u8> = Vec::new();
        let names: Vec<&[u8]> = (path.split(|byte| *byte == b'/'))
            .filter(|name| !name.is_empty())
            .collect();
        for name in names.iter().take(names.len().saturating_sub(1)) {
            above.push(b'/');
            above.extend_from_slice(name);
        }
        let mut stack = vec![Pair {
            path: above,
            first: sorted(first.unwrap_or_default()),
            second: sorted(second.unwrap_or_default()),
        }];
        while let Some(pair) = stack.last_mut() {
            let order = match (pair.first.peek(), pair.second.peek()) {
                (None, None) => {
                    stack.pop();
                    continue;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            let a = (order != Ordering::Greater)
                .then(|| pair.first.next())
                .flatten();
            let b = (order != Ordering::Less)
                .then(|| pair.second.next())
                .flatten();
            let Some(name) = a.as_ref().or(b.as_ref()).map(|node| node.name.clone()) else {
                continue;
            };
            let path = [pair.path.as_slice(), &name].join(&b'/');
            if let Some(difference) = difference(a.as_ref(), b.as_ref())
                && let Some(node) = b.as_ref().or(a.as_ref())
                && !visit(&path, difference, node)
            {
                return Ok(());
            }
            let (first, second) = (self.below(a.as_ref())?, self.below(b.as_ref())?);
            if !same_content(a.as_ref(), b.as_ref()) && (first.is_some() || second.is_some()) {
                stack.push(Pair {
                    path,
                    first: sorted(first.unwrap_or_default()),
                    second: sorted(second.unwrap_or_default()),
                });
            }
        }
        Ok(())
    }

    /// Returns what is in a folder.
    fn below(&self, node: Option<&TreeNode>) -> Result<Option<Vec<TreeNode>>, BrowseError> {
        match node.map(|node| &node.kind) {
            Some(NodeKind::Directory { content }) => Ok(Some(self.tree(content)?.nodes)),
            _ => Ok(None),
        }
    }
}

fn difference(a: Option<&TreeNode>, b: Option<&TreeNode>) -> Option<Difference> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return Some(Difference::Removed),
        (None, Some(_)) => return Some(Difference::Added),
        (None, None) => return None,
    };
    let both_folders = matches!(
        (&a.kind, &b.kind),
        (NodeKind::Directory { .. }, NodeKind::Directory { .. })
    );
    // What a folder holds is told name by name, and its time follows from that.
    let dress = |node: &TreeNode| (node.mode, node.uid, node.gid);
    if !both_folders && !same_content(Some(a), Some(b)) {
        Some(Difference::Changed)
    } else if dress(a) != dress(b) || !both_folders && a.mtime_ns != b.mtime_ns {
        Some(Difference::Dressed)
    } else {
        None
    }
}

fn same_content(a: Option<&TreeNode>, b: Option<&TreeNode>) -> bool {
    match (a.map(|node| &node.kind), b.map(|node| &node.kind)) {
        (
            Some(NodeKind::File { bytes, content, .. }),
            Some(NodeKind::File {
                bytes: others,
                content: theirs,
                ..
            }),
        ) => bytes == others && content == theirs,
        (a, b) => a == b,
    }
}
