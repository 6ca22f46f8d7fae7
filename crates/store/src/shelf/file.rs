//! The file of one shard: bytes, group values, footer.

use std::path::PathBuf;

use carryall_core::{
    id::{MemberId, ShardId},
    limits::{GROUP_BYTES, SHARD_BYTES_MAX},
    message::GroupProof,
};

use crate::{
    disk::{DiskFile, read_exact_at},
    error::At,
    shelf::{
        ShelfError,
        groups::{GroupHasher, GroupValue, group_count, path, root},
    },
};

/// Magic and version at the very end of a file.
const MAGIC: &[u8; 4] = b"CSH\x01";
const FOOTER_BYTES: usize = 40;
const SCRUB_BYTES: usize = 1 << 20;

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

/// Returns the values of the leading groups of a part that really are on the disk, at most those
/// that are whole.
pub(super) fn arrived_values(
    file: &dyn DiskFile,
    shard_bytes: u32,
) -> std::io::Result<Vec<GroupValue>> {
    let claimed = read_values(file, shard_bytes)?;
    let mut hasher = GroupHasher::new(shard_bytes, Vec::new());
    let mut group = vec![0; GROUP_BYTES];
    for (index, value) in claimed.iter().enumerate() {
        let offset = index * GROUP_BYTES;
        let len = GROUP_BYTES.min(shard_bytes as usize - offset);
        if *value == [0; 32] || len < GROUP_BYTES {
            break;
        }
        read_exact_at(file, &mut group[..len], offset as u64)?;
        hasher.update(&group[..len]);
        if hasher.values().last() != Some(value) {
            return Ok(claimed[..index].to_vec());
        }
    }
    Ok(hasher.values().to_vec())
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
        let values = self.values()?;
        let index = group as usize;
        let value = values.get(index).ok_or(ShelfError::NoGroup(group))?;
        let offset = index * GROUP_BYTES;
        let mut data = vec![0; GROUP_BYTES.min(self.bytes as usize - offset)];
        read_exact_at(&*self.file, &mut data, offset as u64).at("read", &self.path)?;
        let mut hasher = GroupHasher::new(self.bytes, values[..index].to_vec());
        hasher.update(&data);
        if hasher.values().last() != Some(value) {
            return Err(ShelfError::Damaged(self.shard));
        }
        let path = path(&values, index);
        Ok(GroupProof { data, path })
    }

    pub(super) fn scrub(&self) -> Result<(), ShelfError> {
        let values = self.values()?;
        let mut hasher = GroupHasher::new(self.bytes, Vec::new());
        let mut buffer = vec![0; SCRUB_BYTES.min(self.bytes as usize)];
        let mut offset = 0;
        while offset < self.bytes {
            let count = self.read_at(&mut buffer, offset)?;
            hasher.update(&buffer[..count]);
            offset += u32::try_from(count).expect("a buffer is far below 4 GiB");
        }
        if hasher.values() != values {
            return Err(ShelfError::Damaged(self.shard));
        }
        Ok(())
    }

    /// Reads the group values and checks them against the shard's id.
    fn values(&self) -> Result<Vec<GroupValue>, ShelfError> {
        let values = read_values(&*self.file, self.bytes).at("read", &self.path)?;
        if root(&values) != *self.shard.as_bytes() {
            return Err(ShelfError::Damaged(self.shard));
        }
        Ok(values)
    }
}
