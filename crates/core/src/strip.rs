//! Strips: a stretch of a pack's ciphertext as groups of shards: of the data shards in which it lies, or of
//! any `k`.
//!
//! The code works on columns of 64 bytes, so the same groups of any `k` shards make those groups of all
//! others, and a photo can be read without its pack.

use alloc::{collections::BTreeSet, vec, vec::Vec};
use core::ops::Range;

use crate::{limits::GROUP_BYTES, record::Coding, shard};

/// A piece of ciphertext within one data shard, and the shards that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    /// The data shard in which it lies.
    data: u8,
    /// In which groups of it.
    pub groups: Range<u32>,
    /// Where in these groups.
    within: Range<usize>,
    /// The shards that make it: that one alone, or any `k`.
    pub from: Vec<u8>,
}

impl Strip {
    /// Returns the bytes, given the groups of the shards that make them, by index and group.
    pub fn make<'a>(
        &self,
        coding: &Coding,
        part: impl Fn(u8, u32) -> Option<&'a [u8]>,
    ) -> Option<Vec<u8>> {
        let mut stripes = Vec::with_capacity(self.from.len());
        for index in &self.from {
            let groups = self.groups.clone().map(|group| part(*index, group));
            stripes.push((*index, groups.collect::<Option<Vec<&[u8]>>>()?.concat()));
        }
        if let [(index, stripe)] = &stripes[..]
            && *index == self.data
        {
            return Some(stripe.get(self.within.clone())?.to_vec());
        }
        // Stripes of all shards are coded as a short pack.
        let width = stripes.first()?.1.len();
        let narrow = Coding {
            shard_bytes: u32::try_from(width).ok()?,
            ..*coding
        };
        let slices: Vec<(u8, &[u8])> = (stripes.iter())
            .map(|(index, stripe)| (*index, stripe.as_slice()))
            .collect();
        let whole = shard::rebuild(&narrow, &slices, width * usize::from(coding.k)).ok()?;
        let stripe = whole.chunks(width).nth(usize::from(self.data))?;
        Some(stripe.get(self.within.clone())?.to_vec())
    }
}

/// Returns the strips of a stretch of ciphertext, made of shards that are near; nothing where these don't
/// do.
pub fn strips(coding: &Coding, range: &Range<usize>, near: &BTreeSet<u8>) -> Option<Vec<Strip>> {
    let shard_bytes = coding.shard_bytes as usize;
    let mut strips = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (data, offset) = (at / shard_bytes, at % shard_bytes);
        let bytes = (shard_bytes - offset).min(range.end - at);
        let first = offset / GROUP_BYTES;
        let end = (offset + bytes).div_ceil(GROUP_BYTES);
        let start = offset - first * GROUP_BYTES;
        let data = u8::try_from(data).ok()?;
        let from = if near.contains(&data) {
            vec![data]
        } else {
            let any: Vec<u8> = near.iter().copied().take(usize::from(coding.k)).collect();
            if any.len() < usize::from(coding.k) || coding.k == 1 {
                return None;
            }
            any
        };
        strips.push(Strip {
            data,
            groups: u32::try_from(first).ok()?..u32::try_from(end).ok()?,
            within: start..start + bytes,
            from,
        });
        at += bytes;
    }
    Some(strips)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ciphertext and its shards.
    fn coded(k: u8, bytes: usize) -> (Vec<u8>, Coding, Vec<Vec<u8>>) {
        let ciphertext: Vec<u8> = (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect();
        let coding = Coding::new(k, bytes).unwrap();
        let shards = shard::encode(&ciphertext, &coding).unwrap();
        let shards = shards.into_iter().map(|it| it.into_owned()).collect();
        (ciphertext, coding, shards)
    }

    fn read(k: u8, near: &[u8], range: Range<usize>) -> Option<(Vec<u8>, usize)> {
        let (ciphertext, coding, shards) = coded(k, 500_000);
        let near = near.iter().copied().collect();
        let strips = strips(&coding, &range, &near)?;
        let (mut read, mut moved) = (Vec::new(), 0);
        for strip in strips {
            moved += strip.from.len() * strip.groups.len();
            let part = |index: u8, group: u32| {
                let shard = &shards[usize::from(index)];
                let start = group as usize * GROUP_BYTES;
                shard.get(start..shard.len().min(start + GROUP_BYTES))
            };
            read.extend(strip.make(&coding, part).unwrap());
        }
        assert_eq!(read, ciphertext[range]);
        Some((read, moved))
    }

    #[test]
    fn a_stretch_comes_from_the_shards_in_which_it_lies() {
        assert_eq!(read(3, &[0, 1, 2, 5], 100_000..200_000).unwrap().1, 7 + 1);
        assert_eq!(read(1, &[0], 5..499_999).unwrap().1, 31);
        read(4, &[0, 1, 2, 3], 0..500_000).unwrap();
    }

    #[test]
    fn any_k_shards_make_what_none_of_them_holds() {
        read(3, &[2, 4, 6], 0..500_000).unwrap();
        read(2, &[4, 5], 249_990..250_090).unwrap();
        assert_eq!(read(3, &[1, 2], 0..100), None);
        assert_eq!(read(1, &[], 0..100), None);
    }
}
