//! Freeing local copies of what friends hold.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// Body of `POST /v1/free`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeRequest {
    /// The folder or file, an absolute path text.
    pub path: String,
    /// Only say what could be freed.
    #[serde(default)]
    pub dry_run: bool,
    /// Instead: let go of what was freed there, so that the next snapshot does not hold it.
    #[serde(default)]
    pub let_go: bool,
}

/// Answer to `POST /v1/free`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeReport {
    /// Folders directly below the path, and the path itself for the files in it.
    pub folders: Vec<FreeFolder>,
    /// Files that can be freed, or are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that stay.
    pub files_kept: u64,
    /// Their bytes.
    pub bytes_kept: u64,
    /// Files that were freed earlier; of a request to let go: those that were let go.
    pub files_freed: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// 0; 3 if some files stay; 4 if all do and friends don't hold enough yet.
    pub exit: Exit,
}

/// What of a folder can be freed, or is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeFolder {
    /// Its path, as a path text.
    pub path: String,
    /// Files that can be freed, or are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why the rest stays.
    pub kept: Vec<Kept>,
    /// Files that were freed earlier.
    pub files_freed: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// Names that are in no snapshot yet.
    pub unsaved: u64,
}

/// Files that stay for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The reason, to follow "they stay, since".
    pub reason: String,
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first few, as path texts.
    pub first: Vec<String>,
}
