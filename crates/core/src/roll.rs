//! Roll: the shards that a holder signed for, numbered in the order in which its feed names them.
//!
//! A terabyte at twenty friends has more than a million shards there, and all are proved every two
//! weeks: named by their ids, the outcomes of one day would be 3 MB in a feed that everybody keeps. The
//! numbers of what was asked for lie beside each other, since what came together is asked for together,
//! so they are written as runs, and a day takes a few kilobytes.
//!
//! Everybody who reads a feed reads the same entries in the same order, so a number means the same shard
//! to all devices of the owner, at any time. Outcomes may come before the receipts that they name: they
//! wait for them.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    entry::AuditList,
    id::{DeviceId, Stem},
    time::Timestamp,
};

/// A set of numbers on a roll. It is encoded as runs: how many numbers lie between the end of the run
/// before and its beginning, and how many it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct Numbers {
    /// In order, none empty, no two touching.
    runs: Vec<Range<u32>>,
}

impl Numbers {
    /// Returns the numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().cloned().flatten()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(ExactSizeIterator::len).sum()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns the number behind the last.
    fn end(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.end)
    }
}

impl FromIterator<u32> for Numbers {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut runs: Vec<Range<u32>> = Vec::new();
        for number in numbers {
            // No roll has so many that there is no number behind one.
            let end = number.saturating_add(1);
            match runs.last_mut() {
                Some(run) if run.end == number => run.end = end,
                _ => runs.push(number..end),
            }
        }
        Self { runs }
    }
}

impl From<Numbers> for Vec<(u32, u32)> {
    fn from(numbers: Numbers) -> Self {
        let mut last = 0;
        let runs = numbers.runs.into_iter();
        runs.map(|run| {
            (
                run.start - core::mem::replace(&mut last, run.end),
                run.end - run.start,
            )
        })
        .collect()
    }
}

impl TryFrom<Vec<(u32, u32)>> for Numbers {
    type Error = &'static str;

    fn try_from(encoded: Vec<(u32, u32)>) -> Result<Self, Self::Error> {
        let mut runs = Vec::with_capacity(encoded.len());
        let mut last: Option<u32> = None;
        for (gap, count) in encoded {
            if count == 0 || gap == 0 && last.is_some() {
                return Err("a run is empty, or touches the one before");
            }
            let start = last.unwrap_or(0).checked_add(gap);
            let end = start.and_then(|start| start.checked_add(count));
            let (Some(start), Some(end)) = (start, end) else {
                return Err("a run has no end");
            };
            runs.push(start..end);
            last = Some(end);
        }
        Ok(Self { runs })
    }
}

/// What one holder signed for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roll {
    stems: Vec<[u8; 12]>,
    /// Outcomes that name what it will have signed for.
    waiting: Vec<AuditList>,
}

impl Roll {
    /// Notes that the holder signs for a shard. Returns the number that this gives it.
    pub(crate) fn sign(&mut self, stem: Stem) -> u32 {
        self.stems.push(stem.0);
        u32::try_from(self.stems.len() - 1).unwrap_or(u32::MAX)
    }

    /// Returns how often the holder signed for anything.
    pub(crate) fn len(&self) -> usize {
        self.stems.len()
    }

    /// Returns outcomes as they are written down; nothing that names numbers not given yet.
    pub(crate) fn list(
        &self,
        holder: DeviceId,
        time: Timestamp,
        proved: Numbers,
        failed: Numbers,
    ) -> Option<AuditList> {
        let check = self.check(&proved, &failed)?;
        Some(AuditList {
            holder,
            time,
            proved,
            failed,
            check,
        })
    }

    /// Takes outcomes, which wait until all that they name is signed for.
    pub(crate) fn wait(&mut self, list: AuditList) {
        self.waiting.push(list);
    }

    /// Returns outcomes that need not wait any more, with the shards that were shown and those that
    /// were not. Outcomes that are about another feed of the holder are given up.
    pub(crate) fn due(&mut self) -> Vec<Outcome> {
        let mut due = Vec::new();
        for list in core::mem::take(&mut self.waiting) {
            match self.check(&list.proved, &list.failed) {
                None => self.waiting.push(list),
                Some(check) if check == list.check => {
                    for (numbers, good) in [(&list.proved, true), (&list.failed, false)] {
                        due.extend(numbers.iter().map(|number| Outcome {
                            stem: Stem(self.stems[number as usize]),
                            number,
                            at: list.time,
                            good,
                        }));
                    }
                }
                Some(_) => {}
            }
        }
        due
    }

    /// Returns what the names of these shards hash to; nothing while they are not all known.
    fn check(&self, proved: &Numbers, failed: &Numbers) -> Option<[u8; 8]> {
        if proved.end().max(failed.end()) as usize > self.stems.len() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for run in proved.runs.iter().chain(&failed.runs) {
            hasher.update(self.stems[run.start as usize..run.end as usize].as_flattened());
        }
        hasher.finalize().as_bytes().first_chunk().copied()
    }
}

/// One outcome of a probe, as heard from a device of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stem: Stem,
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
    pub(crate) good: bool,
}
