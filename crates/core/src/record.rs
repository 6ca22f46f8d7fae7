//! Records that an owner keeps about its own data: packs, coding, trees and snapshots.
//!
//! They travel only sealed, inside metadata packs and heads.

use alloc::{borrow::Cow, vec::Vec};

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    id::{ChunkId, PackId, ShardId, SnapshotId},
    time::Timestamp,
};

/// What a pack holds, which decides how it is kept until friends have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PackKind {
    /// Trees, index segments and snapshot records: spooled, sent first, whole copies to everybody.
    Metadata,
    /// Chunks of many small files: spooled, since one changed file would make it unrebuildable.
    Small,
    /// Chunks of large files: rebuilt from the sources when a friend turns up.
    Large,
}

/// How a sealed pack is cut into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coding {
    /// How many distinct shards rebuild the pack. 1 means that a shard is the pack itself.
    pub k: u8,
    /// How many distinct shards exist; 1 when `k` is 1, since all copies are equal.
    pub n: u8,
    /// Length of each shard in bytes, a multiple of 64 unless `k` is 1.
    pub shard_bytes: u32,
}

/// A sealed pack as its owner knows it. From `shards` and `coding` alone friends' bytes are found
/// and verified; with the epoch's key they are opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// BLAKE3 of the ciphertext.
    pub id: PackId,
    /// Which vault epoch's key seals it.
    pub epoch: u16,
    /// What it holds.
    pub kind: PackKind,
    /// Length of the ciphertext in bytes.
    pub bytes: u32,
    /// When it was made.
    pub made: Timestamp,
    /// When the newest file was changed of those whose content it holds, `made` at the latest: what a
    /// person calls new. `made` for metadata.
    pub newest: Timestamp,
    /// How it is cut.
    pub coding: Coding,
    /// The ids of its `n` shards, by index.
    pub shards: Vec<ShardId>,
}

/// One chunk inside a pack: the pack header's line for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Its plain length in bytes.
    pub raw_bytes: u32,
    /// Its stored length in bytes; equal to `raw_bytes` when stored raw.
    pub stored_bytes: u32,
}

/// A run of content: chunk ids and plain lengths, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The chunk.
    pub id: ChunkId,
    /// Its plain length in bytes.
    pub bytes: u32,
}

/// What a tree entry is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenKind<'_>")]
pub enum NodeKind {
    /// A regular file with its content.
    File {
        /// Length in bytes.
        bytes: u64,
        /// The content; holes of sparse files are ordinary zeros here and become holes on restore.
        content: Vec<ChunkRef>,
        /// Files of one snapshot that share a non-zero number are hard links of one file.
        link: u64,
        /// If it is a picture: a small JPEG of it, one chunk of a metadata pack.
        preview: Option<ChunkRef>,
    },
    /// A directory; `content` is its encoded [`Tree`].
    Directory {
        /// The chunks of the encoded tree.
        content: Vec<ChunkRef>,
    },
    /// A symbolic link and where it points, as raw bytes.
    Symlink {
        /// The target, never interpreted.
        target: Vec<u8>,
    },
}

/// A [`NodeKind`] as it is written. Trees without previews are written as they were before there were
/// any.
#[derive(Serialize, Deserialize)]
enum WrittenKind<'a> {
    File(u64, Cow<'a, [ChunkRef]>, u64),
    Directory(Cow<'a, [ChunkRef]>),
    Symlink(Cow<'a, [u8]>),
    Picture(u64, Cow<'a, [ChunkRef]>, u64, ChunkRef),
}

impl Serialize for NodeKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::File {
                bytes,
                content,
                link,
                preview,
            } => {
                let content = Cow::from(content);
                match preview {
                    None => WrittenKind::File(*bytes, content, *link),
                    Some(preview) => WrittenKind::Picture(*bytes, content, *link, *preview),
                }
            }
            Self::Directory { content } => WrittenKind::Directory(Cow::from(content)),
            Self::Symlink { target } => WrittenKind::Symlink(Cow::from(target)),
        };
        written.serialize(serializer)
    }
}

impl From<WrittenKind<'_>> for NodeKind {
    fn from(written: WrittenKind<'_>) -> Self {
        let file = |bytes, content: Cow<'_, [ChunkRef]>, link, preview| Self::File {
            bytes,
            content: content.into_owned(),
            link,
            preview,
        };
        match written {
            WrittenKind::File(bytes, content, link) => file(bytes, content, link, None),
            WrittenKind::Picture(bytes, content, link, preview) => {
                file(bytes, content, link, Some(preview))
            }
            WrittenKind::Directory(content) => Self::Directory {
                content: content.into_owned(),
            },
            WrittenKind::Symlink(target) => Self::Symlink {
                target: target.into_owned(),
            },
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNode {
    /// The name, raw bytes as the file system gave them.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits (the low 12 of st_mode).
    pub mode: u16,
    /// Owner's numeric user id.
    pub uid: u32,
    /// Owner's numeric group id.
    pub gid: u32,
    /// Modification time: nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// A directory: its nodes, sorted by name bytes, names unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The entries.
    pub nodes: Vec<TreeNode>,
}

/// A pack with the chunks in it: one line of an index segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedPack {
    /// The pack.
    pub pack: PackRecord,
    /// Its chunks in order.
    pub chunks: Vec<PackedChunk>,
}

/// Part of the index: packs and their chunks. All segments of a snapshot together know every pack
/// that it and earlier snapshots need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

/// Where a segment lies: enough to fetch it knowing nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The chunks of the encoded segment, in order.
    pub content: Vec<ChunkRef>,
    /// The metadata packs that hold those chunks.
    pub packs: Vec<PackRecord>,
    /// How many packs the segment lists: merges are decided by it.
    pub listed: u32,
}

/// One remembered folder in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Absolute path on the device that made the snapshot, raw bytes.
    pub path: Vec<u8>,
    /// The folder or file itself; its name is unique among the roots of the snapshot.
    pub node: TreeNode,
}

/// A snapshot: everything needed to restore, starting from one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Format version, [`SnapshotRecord::VERSION`].
    pub version: u16,
    /// When the scan began.
    pub time: Timestamp,
    /// The snapshot before this one on the same device.
    pub parent: Option<SnapshotId>,
    /// What was saved.
    pub roots: Vec<Root>,
    /// The index.
    pub segments: Vec<SegmentRef>,
    /// Number of files.
    pub files: u64,
    /// Plain bytes of all files.
    pub bytes: u64,
    /// Files that could not be read.
    pub unread: u64,
}

impl SnapshotRecord {
    /// The version written now.
    pub const VERSION: u16 = 1;
}

/// The content of a head entry once opened: where the newest snapshot's record lies. It is small
/// (about 300 bytes) so that everybody can keep everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRecord {
    /// The snapshot, as the chunk id of its record.
    pub snapshot: SnapshotId,
    /// The chunks of the encoded [`SnapshotRecord`].
    pub content: Vec<ChunkRef>,
    /// The metadata packs that hold those chunks.
    pub packs: Vec<PackRecord>,
    /// When the snapshot was made.
    pub time: Timestamp,
    /// Number of files, for lists.
    pub files: u64,
    /// Plain bytes of all files, for lists.
    pub bytes: u64,
}
