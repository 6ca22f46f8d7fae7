//! The file of one shard: bytes, group values, footer.

use std::path::PathBuf;

use carryall_core::{
    id::{MemberId, ShardId},
    limits::{GROUP_BYTES, SHARD_BYTES_MAX},
    message::GroupProof,
    proof::{self, GroupHasher, ProofError, group_bytes, group_value},
};

use crate::{
    disk::{DiskFile, read_exact_at},
    error::At,
    shelf::ShelfError,
};

/// The chaining value of one group.
type GroupValue = [u8; 32];

/// Magic and version at the very end of a file.
const MAGIC: &[u8; 4] = b"CSH\x01";
const FOOTER_BYTES: usize = 40;
const SCRUB_BYTES: usize = 1 << 20;

/// Returns how many groups a shard has.
pub(super) fn group_count(shard_bytes: u32) -> usize {
    (shard_bytes as usize).div_ceil(GROUP_BYTES)
}

/// Returns the length of the file of a shard.
pub(super) fn file_bytes(shard_bytes: u32) -> u64 {
    footer_offset(shard_bytes) + FOOTER_BYTES as u64
}

fn footer_offset(shard_bytes: u32) -> u64 {
    u64::from(shard_bytes) + 32 * group_count(shard_bytes) as u64
}

/// Returns the length of the shard in a file of some length, if there is one.
pub(super) fn shard_bytes(file_bytes: u64) -> Option<u32> {
    let content = file_bytes.checked_sub(FOOTER_BYTES as u64)?;
    let groups = content.div_ceil(GROUP_BYTES as u64 + 32);
    let bytes = u32::try_from(content.checked_sub(32 * groups)?).ok()?;
    let exact = bytes > 0 && self::file_bytes(bytes) == file_bytes;
    (exact && u64::from(bytes) <= SHARD_BYTES_MAX).then_some(bytes)
}

/// What a file says about its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) owner: MemberId,
    pub(super) bytes: u32,
}

impl Footer {
    pub(super) fn write(self, file: &dyn DiskFile) -> std::io::Result<()> {
        let mut footer = [0; FOOTER_BYTES];
        footer[..32].copy_from_slice(self.owner.as_bytes());
        footer[32..36].copy_from_slice(&self.bytes.to_le_bytes());
        footer[36..].copy_from_slice(MAGIC);
        file.write_at(&footer, footer_offset(self.bytes))
    }

    /// Reads the footer of a file of some length; nothing if it has none that fits.
    pub(super) fn read(file: &dyn DiskFile, file_bytes: u64) -> std::io::Result<Option<Self>> {
        let Some(bytes) = shard_bytes(file_bytes) else {
            return Ok(None);
        };
        let mut footer = [0; FOOTER_BYTES];
        read_exact_at(file, &mut footer, footer_offset(bytes))?;
        let mut owner = [0; 32];
        owner.copy_from_slice(&footer[..32]);
        let good = footer[32..36] == bytes.to_le_bytes() && footer[36..] == *MAGIC;
        let owner = MemberId(owner);
        Ok(good.then_some(Self { owner, bytes }))
    }
}

/// Reads the group values of a file.
pub(super) fn read_values(
    file: &dyn DiskFile,
    shard_bytes: u32,
) -> std::io::Result<Vec<GroupValue>> {
    let mut bytes = vec![0; 32 * group_count(shard_bytes)];
    read_exact_at(file, &mut bytes, u64::from(shard_bytes))?;
    Ok(bytes.as_chunks::<32>().0.to_vec())
}

/// Writes group values from the one with number `first` on.
pub(super) fn write_values(
    file: &dyn DiskFile,
    shard_bytes: u32,
    first: usize,
    values: &[GroupValue],
) -> std::io::Result<()> {
    let offset = u64::from(shard_bytes) + 32 * first as u64;
    file.write_at(values.as_flattened(), offset)
}

/// Returns the values of the leading groups of a part that really are on the disk. The last group is
/// never among them, so that something is left to come.
pub(super) fn arrived_values(
    file: &dyn DiskFile,
    shard_bytes: u32,
) -> std::io::Result<Vec<GroupValue>> {
    let mut values = read_values(file, shard_bytes)?;
    values.pop();
    let mut data = vec![0; GROUP_BYTES];
    let mut arrived = 0;
    for (value, group) in values.iter().zip(0..) {
        read_exact_at(file, &mut data, u64::from(group) * GROUP_BYTES as u64)?;
        if group_value(group, &data) != Ok(*value) {
            break;
        }
        arrived += 1;
    }
    values.truncate(arrived);
    Ok(values)
}

/// A shard on the shelf, open for reading.
#[derive(Debug)]
pub struct ShelvedShard {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    shard: ShardId,
    bytes: u32,
}

impl ShelvedShard {
    pub(super) fn new(
        file: Box<dyn DiskFile>,
        path: PathBuf,
        shard: ShardId,
    ) -> Result<Self, ShelfError> {
        let len = file.len().at("look at", &path)?;
        match Footer::read(&*file, len).at("read", &path)? {
            Some(footer) => Ok(Self {
                file,
                path,
                shard,
                bytes: footer.bytes,
            }),
            None => Err(ShelfError::Damaged(shard)),
        }
    }

    /// Returns the shard's length.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Reads at `offset`; fewer bytes than asked for only at the end of the shard. They are not
    /// checked here: who gets the whole shard checks all of it.
    pub fn read_at(&self, buffer: &mut [u8], offset: u32) -> Result<usize, ShelfError> {
        let left = self.bytes.saturating_sub(offset) as usize;
        let count = buffer.len().min(left);
        read_exact_at(&*self.file, &mut buffer[..count], u64::from(offset))
            .at("read", &self.path)?;
        Ok(count)
    }

    pub(super) fn prove(&self, group: u32) -> Result<GroupProof, ShelfError> {
        let bytes = u64::from(self.bytes);
        let len = group_bytes(bytes, group).ok_or(ShelfError::NoGroup(group))?;
        let mut data = vec![0; len];
        let offset = u64::from(group) * GROUP_BYTES as u64;
        read_exact_at(&*self.file, &mut data, offset).at("read", &self.path)?;
        let values = self.values()?;
        let proof = proof::prove(&values, bytes, group, data);
        // A proof that the owner would refuse is no proof: better say that the shard is damaged.
        proof
            .and_then(|proof| {
                proof::verify(&self.shard, bytes, group, &proof)?;
                Ok(proof)
            })
            .map_err(|_: ProofError| ShelfError::Damaged(self.shard))
    }

    pub(super) fn scrub(&self) -> Result<(), ShelfError> {
        let values = self.values()?;
        let mut hasher = GroupHasher::new();
        let mut buffer = vec![0; SCRUB_BYTES.min(self.bytes as usize)];
        let mut offset = 0;
        while offset < self.bytes {
            let count = self.read_at(&mut buffer, offset)?;
            hasher.update(&buffer[..count]);
            offset += u32::try_from(count).expect("a buffer is far below 4 GiB");
        }
        if hasher.finish() != (self.shard, values) {
            return Err(ShelfError::Damaged(self.shard));
        }
        Ok(())
    }

    fn values(&self) -> Result<Vec<GroupValue>, ShelfError> {
        Ok(read_values(&*self.file, self.bytes).at("read", &self.path)?)
    }
}
