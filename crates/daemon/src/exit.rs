//! Exit codes, frozen: scripts rely on them.

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum Exit {
    /// 0: done.
    #[default]
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: done in part; some files could not be read, written or freed.
    Partial,
    /// 4: saved here, not yet safe.
    NotYetSafe,
    /// 5: not enough shards in reach now.
    OutOfReach,
    /// 10: there is no vault.
    NoVault,
    /// 11: the vault is busy, or no node is running.
    Busy,
    /// 12: wrong words or key.
    WrongWords,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// Returns the process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::NotYetSafe => 4,
            Self::OutOfReach => 5,
            Self::NoVault => 10,
            Self::Busy => 11,
            Self::WrongWords => 12,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Usage,
            3 => Self::Partial,
            4 => Self::NotYetSafe,
            5 => Self::OutOfReach,
            10 => Self::NoVault,
            11 => Self::Busy,
            12 => Self::WrongWords,
            130 => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}
