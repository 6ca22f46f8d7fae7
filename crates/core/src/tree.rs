//! Strict reading and writing of trees, index segments and snapshot records.
//!
//! What is written can be read: both directions check the same rules. A record that breaks one is
//! refused as a whole, so whoever restores never meets a name that leaves its directory, a length
//! that lies, or a pack that can't exist.

use alloc::{collections::BTreeSet, vec::Vec};

use thiserror::Error;

use crate::{
    codec::{self, DecodeError},
    limits,
    record::{
        ChunkRef, HeadRecord, IndexedPack, NodeKind, PackRecord, PackedChunk, Segment, SegmentRef,
        SnapshotRecord, Tree, TreeNode,
    },
};

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Not an encoding of such a record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A name that is empty, too long, `.`, `..`, or contains a slash or zero byte.
    #[error("a name that no file can have")]
    Name,
    /// Two equal names, or names out of order.
    #[error("names are not unique and sorted")]
    Order,
    /// A path or link target that is empty, too long or contains a zero byte.
    #[error("an impossible path")]
    Path,
    /// More mode bits than there are, or a time that no clock shows.
    #[error("impossible attributes")]
    Attributes,
    /// A chunk that is empty or too long, or chunks that don't add up to the file.
    #[error("impossible content lengths")]
    Content,
    /// A pack whose length, coding and shards don't fit together.
    #[error("an impossible pack")]
    Pack,
}

/// A record with rules beyond its encoding.
trait Checked {
    fn check(&self) -> Result<(), RecordError>;
}

/// Tells whether a name can stand in a directory without leaving it.
pub fn name_is_safe(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= limits::FILE_NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn path_is_possible(path: &[u8]) -> bool {
    !path.is_empty() && path.len() <= limits::PATH_BYTES_MAX && !path.contains(&0)
}

/// Returns the sum of the lengths of possible chunks.
fn content_bytes(content: &[ChunkRef]) -> Result<u64, RecordError> {
    let mut total = 0;
    for chunk in content {
        if chunk.bytes == 0 || chunk.bytes as usize > limits::CHUNK_BYTES_MAX {
            return Err(RecordError::Content);
        }
        total += u64::from(chunk.bytes);
    }
    Ok(total)
}

/// Returns nothing if content has possible chunks, and any at all, of at most `max` bytes together.
fn check_content(content: &[ChunkRef], max: usize) -> Result<(), RecordError> {
    let bytes = content_bytes(content)?;
    if bytes == 0 || bytes > max as u64 {
        return Err(RecordError::Content);
    }
    Ok(())
}

impl Checked for TreeNode {
    fn check(&self) -> Result<(), RecordError> {
        if !name_is_safe(&self.name) {
            return Err(RecordError::Name);
        }
        // What seconds in 64 bits can say, as file systems do.
        let seconds = self.mtime_ns.div_euclid(1_000_000_000);
        if self.mode > 0o7777 || i64::try_from(seconds).is_err() {
            return Err(RecordError::Attributes);
        }
        match &self.kind {
            NodeKind::File { bytes, content, .. } if content_bytes(content)? != *bytes => {
                Err(RecordError::Content)
            }
            NodeKind::File { preview, .. } => match preview {
                Some(preview) => check_content(&[*preview], limits::PREVIEW_BYTES_MAX),
                None => Ok(()),
            },
            NodeKind::Directory { content } => check_content(content, limits::TREE_BYTES_MAX),
            NodeKind::Symlink { target } if path_is_possible(target) => Ok(()),
            NodeKind::Symlink { .. } => Err(RecordError::Path),
        }
    }
}

impl Checked for Tree {
    fn check(&self) -> Result<(), RecordError> {
        let sorted = self.nodes.is_sorted_by(|a, b| a.name < b.name);
        if !sorted {
            return Err(RecordError::Order);
        }
        self.nodes.iter().try_for_each(Checked::check)
    }
}

impl Checked for PackRecord {
    fn check(&self) -> Result<(), RecordError> {
        let bytes = usize::try_from(self.bytes).map_err(|_| RecordError::Pack)?;
        self.coding.check(bytes).map_err(|_| RecordError::Pack)?;
        let whole = self.coding.k != 1
            || self
                .shards
                .first()
                .is_some_and(|shard| shard.0 == self.id.0);
        if self.shards.len() == usize::from(self.coding.n) && whole {
            Ok(())
        } else {
            Err(RecordError::Pack)
        }
    }
}

impl Checked for PackedChunk {
    fn check(&self) -> Result<(), RecordError> {
        let raw_bytes = 1..=limits::CHUNK_BYTES_MAX;
        let possible = raw_bytes.contains(&(self.raw_bytes as usize))
            && (1..=self.raw_bytes).contains(&self.stored_bytes);
        possible.then_some(()).ok_or(RecordError::Content)
    }
}

impl Checked for IndexedPack {
    fn check(&self) -> Result<(), RecordError> {
        self.pack.check()?;
        self.chunks.iter().try_for_each(Checked::check)?;
        let stored: u64 = self
            .chunks
            .iter()
            .map(|chunk| u64::from(chunk.stored_bytes))
            .sum();
        if self.chunks.len() > limits::PACK_CHUNKS_MAX || stored > u64::from(self.pack.bytes) {
            return Err(RecordError::Pack);
        }
        Ok(())
    }
}

impl Checked for Segment {
    fn check(&self) -> Result<(), RecordError> {
        self.packs.iter().try_for_each(Checked::check)
    }
}

impl Checked for SegmentRef {
    fn check(&self) -> Result<(), RecordError> {
        check_content(&self.content, limits::SEGMENT_BYTES_MAX)?;
        self.packs.iter().try_for_each(Checked::check)
    }
}

impl Checked for SnapshotRecord {
    fn check(&self) -> Result<(), RecordError> {
        let mut names = BTreeSet::new();
        for root in &self.roots {
            root.node.check()?;
            if !path_is_possible(&root.path) {
                return Err(RecordError::Path);
            }
            if !names.insert(root.node.name.as_slice()) {
                return Err(RecordError::Order);
            }
        }
        self.segments.iter().try_for_each(Checked::check)
    }
}

impl Checked for HeadRecord {
    fn check(&self) -> Result<(), RecordError> {
        check_content(&self.content, limits::SNAPSHOT_BYTES_MAX)?;
        self.packs.iter().try_for_each(Checked::check)
    }
}

fn write<T: Checked + serde::Serialize>(
    what: &'static str,
    record: &T,
    max: usize,
) -> Result<Vec<u8>, RecordError> {
    record.check()?;
    let bytes = codec::encode(record);
    if bytes.len() > max {
        return Err(DecodeError::TooLong(what).into());
    }
    Ok(bytes)
}

fn read<T>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, RecordError>
where
    T: Checked + serde::Serialize + serde::de::DeserializeOwned,
{
    if bytes.len() > max {
        return Err(DecodeError::TooLong(what).into());
    }
    let record: T = codec::decode(what, bytes)?;
    record.check()?;
    Ok(record)
}

impl Tree {
    /// Returns the encoding. Fails where nobody could read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        write("tree", self, limits::TREE_BYTES_MAX)
    }

    /// Reads a tree.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        read("tree", bytes, limits::TREE_BYTES_MAX)
    }
}

impl Segment {
    /// Returns the encoding. Fails where nobody could read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        write("index segment", self, limits::SEGMENT_BYTES_MAX)
    }

    /// Reads a segment.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        read("index segment", bytes, limits::SEGMENT_BYTES_MAX)
    }
}

impl SnapshotRecord {
    /// Returns the encoding. Fails where nobody could read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        write("snapshot", self, limits::SNAPSHOT_BYTES_MAX)
    }

    /// Reads a snapshot record. One of a newer version is named as such.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        const WHAT: &str = "snapshot";
        let (found, _) =
            postcard::take_from_bytes::<u16>(bytes).map_err(|_| DecodeError::Malformed(WHAT))?;
        if found != Self::VERSION {
            let (what, known) = (WHAT, Self::VERSION);
            return Err(DecodeError::TooNew { what, found, known }.into());
        }
        read(WHAT, bytes, limits::SNAPSHOT_BYTES_MAX)
    }
}

impl HeadRecord {
    /// Longest encoding, in bytes: sealed, it must fit a feed entry.
    pub const BYTES_MAX: usize = limits::ENTRY_BYTES_MAX - (2 << 10);

    /// Returns the encoding. Fails where nobody could read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        write("head", self, Self::BYTES_MAX)
    }

    /// Reads a head.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        read("head", bytes, Self::BYTES_MAX)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        golden::assert_golden,
        id::{ChunkId, PackId, ShardId, SnapshotId, hex},
        record::{Coding, PackKind, Root},
        time::Timestamp,
    };

    fn chunk(seed: u8, bytes: u32) -> ChunkRef {
        ChunkRef {
            id: ChunkId([seed; 32]),
            bytes,
        }
    }

    fn node(name: &[u8], kind: NodeKind) -> TreeNode {
        TreeNode {
            name: name.to_vec(),
            kind,
            mode: 0o644,
            uid: 1000,
            gid: 100,
            mtime_ns: 1_700_000_000_123_456_789,
        }
    }

    fn file(name: &[u8]) -> TreeNode {
        let content = vec![chunk(1, 300_000), chunk(2, 7)];
        let (bytes, link) = (300_007, 0);
        node(
            name,
            NodeKind::File {
                bytes,
                content,
                link,
                preview: None,
            },
        )
    }

    fn tree() -> Tree {
        let empty = NodeKind::File {
            bytes: 0,
            content: vec![],
            link: 3,
            preview: None,
        };
        let content = vec![chunk(4, 50)];
        let target = b"../\xff elsewhere".to_vec();
        Tree {
            nodes: vec![
                node(b"\x01\xfe not UTF-8\n", empty),
                file(b"a.jpg"),
                node(b"folder", NodeKind::Directory { content }),
                node(b"link", NodeKind::Symlink { target }),
            ],
        }
    }

    /// A directory with a picture whose preview has so many bytes.
    fn album(preview_bytes: u32) -> Tree {
        let mut picture = file(b"a.jpg");
        if let NodeKind::File { preview, .. } = &mut picture.kind {
            *preview = Some(chunk(9, preview_bytes));
        }
        Tree {
            nodes: vec![picture],
        }
    }

    fn pack(k: u8) -> PackRecord {
        let coding = Coding::new(k, 100_000).unwrap();
        let id = PackId([9; 32]);
        PackRecord {
            id,
            epoch: 0,
            kind: PackKind::Metadata,
            bytes: 100_000,
            made: Timestamp(1),
            newest: Timestamp(1),
            coding,
            shards: if k == 1 {
                vec![ShardId(id.0)]
            } else {
                (0..coding.n).map(|i| ShardId([i; 32])).collect()
            },
        }
    }

    fn segment() -> Segment {
        let chunks = vec![PackedChunk {
            id: ChunkId([1; 32]),
            raw_bytes: 300_000,
            stored_bytes: 90_000,
        }];
        Segment {
            packs: vec![IndexedPack {
                pack: pack(4),
                chunks,
            }],
        }
    }

    fn snapshot() -> SnapshotRecord {
        let content = vec![chunk(5, 900)];
        SnapshotRecord {
            version: SnapshotRecord::VERSION,
            time: Timestamp(1_700_000_000_000),
            parent: Some(SnapshotId([6; 32])),
            roots: vec![Root {
                path: b"/home/anna/photos".to_vec(),
                node: node(b"photos", NodeKind::Directory { content }),
            }],
            segments: vec![SegmentRef {
                content: vec![chunk(7, 77)],
                packs: vec![pack(1)],
                listed: 1,
            }],
            files: 2,
            bytes: 300_007,
            unread: 0,
        }
    }

    pub(crate) fn head() -> HeadRecord {
        HeadRecord {
            snapshot: SnapshotId([8; 32]),
            content: vec![chunk(8, 700)],
            packs: vec![pack(1)],
            time: Timestamp(1_700_000_000_000),
            files: 2,
            bytes: 300_007,
        }
    }

    #[test]
    fn records_round_trip() {
        let (a, b, c, d) = (tree(), segment(), snapshot(), head());
        assert_eq!(Tree::from_bytes(&a.to_bytes().unwrap()), Ok(a));
        assert_eq!(Segment::from_bytes(&b.to_bytes().unwrap()), Ok(b));
        assert_eq!(SnapshotRecord::from_bytes(&c.to_bytes().unwrap()), Ok(c));
        assert_eq!(HeadRecord::from_bytes(&d.to_bytes().unwrap()), Ok(d));
        assert_eq!(Tree::from_bytes(&[0]), Ok(Tree::default()));
        assert_eq!(reread(&album(10_000)), Ok(album(10_000)));
    }

    #[test]
    fn impossible_previews_are_refused() {
        for bytes in [0, limits::PREVIEW_BYTES_MAX as u32 + 1] {
            assert_eq!(reread(&album(bytes)), Err(RecordError::Content));
        }
        assert!(reread(&album(limits::PREVIEW_BYTES_MAX as u32)).is_ok());
    }

    #[test]
    fn encodings_never_change() {
        assert_golden(
            include_str!("../../../testdata/format/record.txt"),
            &[
                ("tree", hex(&tree().to_bytes().unwrap())),
                ("picture", hex(&album(10_000).to_bytes().unwrap())),
                ("segment", hex(&segment().to_bytes().unwrap())),
                ("snapshot", hex(&snapshot().to_bytes().unwrap())),
                ("head", hex(&head().to_bytes().unwrap())),
            ],
        );
    }

    /// Encodes without checking and reads back.
    fn reread(tree: &Tree) -> Result<Tree, RecordError> {
        let refused = tree.to_bytes();
        let read = Tree::from_bytes(&codec::encode(tree));
        assert_eq!(refused.is_err(), read.is_err());
        read
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let long = vec![b'x'; limits::FILE_NAME_BYTES_MAX + 1];
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"/etc/passwd",
            b"a\0b",
            &long,
        ] {
            let nodes = vec![file(name)];
            assert_eq!(reread(&Tree { nodes }), Err(RecordError::Name));
        }
        for name in [&b"..."[..], b"..a", b" ", b"\\", &long[1..]] {
            let nodes = vec![file(name)];
            assert!(reread(&Tree { nodes }).is_ok());
        }
    }

    #[test]
    fn names_are_unique_and_sorted() {
        for nodes in [[file(b"b"), file(b"a")], [file(b"a"), file(b"a")]] {
            let nodes = nodes.to_vec();
            assert_eq!(reread(&Tree { nodes }), Err(RecordError::Order));
        }
    }

    #[test]
    fn impossible_nodes_are_refused() {
        let changed = |change: fn(&mut TreeNode)| {
            let mut nodes = vec![file(b"a")];
            change(&mut nodes[0]);
            reread(&Tree { nodes })
        };
        assert_eq!(
            changed(|node| node.mode = 0o10000),
            Err(RecordError::Attributes)
        );
        assert_eq!(
            changed(|node| node.mtime_ns = i128::MAX),
            Err(RecordError::Attributes)
        );
        assert!(changed(|node| node.mtime_ns = -1).is_ok());
        for (bytes, lengths) in [(8, vec![7]), (0, vec![0]), (5 << 20, vec![5 << 20])] {
            let content = lengths.into_iter().map(|bytes| chunk(1, bytes)).collect();
            let link = 0;
            let nodes = vec![node(
                b"a",
                NodeKind::File {
                    bytes,
                    content,
                    link,
                    preview: None,
                },
            )];
            assert_eq!(reread(&Tree { nodes }), Err(RecordError::Content));
        }
        let content = vec![];
        let nodes = vec![node(b"a", NodeKind::Directory { content })];
        assert_eq!(reread(&Tree { nodes }), Err(RecordError::Content));
        for target in [&b""[..], b"a\0"] {
            let target = target.to_vec();
            let nodes = vec![node(b"a", NodeKind::Symlink { target })];
            assert_eq!(reread(&Tree { nodes }), Err(RecordError::Path));
        }
    }

    #[test]
    fn impossible_packs_are_refused() {
        let changed = |k, change: fn(&mut PackRecord)| {
            let mut head = head();
            head.packs = vec![pack(k)];
            change(&mut head.packs[0]);
            HeadRecord::from_bytes(&codec::encode(&head)).map(|_| ())
        };
        assert_eq!(changed(4, |_| ()), Ok(()));
        let changes: [fn(&mut PackRecord); 7] = [
            |pack| pack.bytes = 0,
            |pack| pack.bytes = u32::MAX,
            |pack| pack.coding.k = 0,
            |pack| pack.coding.k = 255,
            |pack| pack.coding.n = 0,
            |pack| pack.coding.shard_bytes += 64,
            |pack| pack.shards.truncate(0),
        ];
        for change in changes {
            assert_eq!(changed(4, change), Err(RecordError::Pack));
            assert_eq!(changed(1, change), Err(RecordError::Pack));
        }
        assert_eq!(
            changed(1, |pack| pack.shards[0].0[0] ^= 1),
            Err(RecordError::Pack)
        );
    }

    #[test]
    fn impossible_snapshots_are_refused() {
        let changed = |change: fn(&mut SnapshotRecord)| {
            let mut record = snapshot();
            change(&mut record);
            SnapshotRecord::from_bytes(&codec::encode(&record)).map(|_| ())
        };
        let (what, found, known) = ("snapshot", 2, 1);
        assert_eq!(
            changed(|record| record.version = 2),
            Err(DecodeError::TooNew { what, found, known }.into())
        );
        assert_eq!(
            changed(|record| record.roots.push(record.roots[0].clone())),
            Err(RecordError::Order)
        );
        assert_eq!(
            changed(|record| record.roots[0].path.clear()),
            Err(RecordError::Path)
        );
        assert_eq!(
            changed(|record| record.segments[0].content.clear()),
            Err(RecordError::Content)
        );
    }

    #[test]
    fn hostile_lengths_cost_nothing() {
        // A tree that promises 2^63 nodes.
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(
            Tree::from_bytes(&bytes),
            Err(DecodeError::Malformed("tree").into())
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Tree::from_bytes(&bytes);
            let _ = Segment::from_bytes(&bytes);
            let _ = SnapshotRecord::from_bytes(&bytes);
            let _ = HeadRecord::from_bytes(&bytes);
        }

        /// A changed byte gives another valid record or none, never the same or a panic.
        #[test]
        fn changed_bytes_never_mean_the_same(at: proptest::sample::Index, bit in 0_u8..8) {
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                bytes
            };
            prop_assert_ne!(Tree::from_bytes(&flipped(&tree().to_bytes().unwrap())), Ok(tree()));
            prop_assert_ne!(
                Segment::from_bytes(&flipped(&segment().to_bytes().unwrap())),
                Ok(segment())
            );
            prop_assert_ne!(
                SnapshotRecord::from_bytes(&flipped(&snapshot().to_bytes().unwrap())),
                Ok(snapshot())
            );
            prop_assert_ne!(
                HeadRecord::from_bytes(&flipped(&head().to_bytes().unwrap())),
                Ok(head())
            );
        }

        #[test]
        fn trees_round_trip(
            names in proptest::collection::btree_set(
                proptest::collection::vec(any::<u8>(), 1..20), 0..20
            ),
            mode in 0_u16..0o10000,
            mtime_ns in any::<i64>(),
        ) {
            let nodes: Vec<TreeNode> = names
                .iter()
                .filter(|name| name_is_safe(name))
                .map(|name| TreeNode { mode, mtime_ns: i128::from(mtime_ns), ..file(name) })
                .collect();
            let tree = Tree { nodes };
            prop_assert_eq!(Tree::from_bytes(&tree.to_bytes().unwrap()), Ok(tree));
        }
    }

    #[test]
    fn errors_say_what_was_read() {
        let error = Tree::from_bytes(&[1]).unwrap_err();
        assert_eq!(format!("{error}"), "malformed tree");
    }
}
