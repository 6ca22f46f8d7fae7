//! Where a device keeps its vault.

use std::{env, path::PathBuf};

use carryall_daemon::exit::Exit;

use crate::error::CommandError;

/// Returns the home directory that the command line names, else the platform's, as an absolute path.
pub(crate) fn locate(given: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    let home = match given.filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => home,
        None => data_directory()
            .map(|directory| directory.join("carryall"))
            .ok_or_else(|| {
                CommandError::new(Exit::Usage, "this account has no home directory")
                    .hint("name one with --home DIR")
            })?,
    };
    std::path::absolute(&home).map_err(|error| {
        CommandError::failed(format!("cannot find {}", home.display())).because(error)
    })
}

fn data_directory() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    }
}
