//! Drills: every quarter some files are brought back from friends alone, to see that it works.
//!
//! Audits prove that friends have the bytes. A drill proves that the bytes are the files: that shards
//! make packs, keys open them, and folder lists lead to the content. This is the rule when one is due
//! and how much it takes.

use serde::{Deserialize, Serialize};

use crate::{limits, time::Timestamp};

/// What a drill takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Files, chosen by chance.
    pub files: usize,
    /// Bytes of packs with their content. Folder lists come on top.
    pub bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            files: limits::DRILL_FILES,
            bytes: limits::DRILL_BYTES,
        }
    }
}

/// A drill in which all that was asked for came back from friends as it had been saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When it ended.
    pub at: Timestamp,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is remembered of drills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    /// The last one in which all came back.
    pub proof: Option<Proof>,
    /// When one was begun last, however it ended.
    pub tried: Option<Timestamp>,
    /// How many files did not come back as they had been saved, in the last one that came to an end.
    pub failed: u64,
}

impl Drills {
    /// Notes the end of a drill: so many files came back, and so many did not.
    pub fn note(&mut self, at: Timestamp, (files, bytes): (u64, u64), failed: u64) {
        self.failed = failed;
        if failed == 0 && files > 0 {
            self.proof = Some(Proof { at, files, bytes });
        }
    }

    /// Returns when the next one is due, given when the first pack was made. A clock that was ahead
    /// must not put it off for years.
    pub fn due(&self, first_pack: Timestamp, now: Timestamp) -> Timestamp {
        let believed = |at: &Timestamp| *at <= now;
        let proved = self.proof.map(|proof| proof.at).filter(believed);
        let due = match proved {
            Some(at) => at + limits::DRILL_EVERY,
            None => first_pack + limits::DRILL_FIRST,
        };
        let again = self
            .tried
            .filter(believed)
            .map(|at| at + limits::DRILL_AGAIN);
        due.max(again.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn one_is_due_every_quarter_and_sooner_after_one_that_failed() {
        let day = |days| Timestamp(1_700_000_000_000) + Span::days(days);
        let mut drills = Drills::default();
        assert_eq!(drills.due(day(0), day(5)), day(1));
        drills.tried = Some(day(5));
        assert_eq!(drills.due(day(0), day(5)), day(5) + limits::DRILL_AGAIN);
        drills.note(day(5), (16, 1000), 0);
        assert_eq!(drills.due(day(0), day(5)), day(5) + limits::DRILL_EVERY);
        assert_eq!(drills.proof.unwrap().files, 16);
        drills.tried = Some(day(100));
        drills.note(day(100), (15, 900), 1);
        assert_eq!(drills.proof.unwrap().at, day(5), "that was no proof");
        assert_eq!(drills.failed, 1);
        assert_eq!(drills.due(day(0), day(100)), day(100) + limits::DRILL_AGAIN);
        assert_eq!(
            drills.due(day(0), day(2)),
            day(1),
            "what lies in the future never was"
        );
    }

    #[test]
    fn nothing_brought_back_proves_nothing() {
        let mut drills = Drills::default();
        drills.note(Timestamp(7), (0, 0), 0);
        assert_eq!(drills.proof, None);
    }
}
