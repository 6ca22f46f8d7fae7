//! The API without its socket, for homes where no node runs.

use std::path::Path;

use carryall_daemon::exit::Exit;

use super::{Answer, Request};
use crate::error::CommandError;

/// The API in this process.
#[derive(Debug)]
pub(crate) struct Local {}

impl Local {
    /// Opens the vault in `home`.
    pub(super) fn open(home: &Path) -> Result<Self, CommandError> {
        if !home.join("identity").exists() {
            let sentence = format!("there is no vault in {}", home.display());
            return Err(CommandError::new(Exit::NoVault, sentence).hint("carryall init"));
        }
        Err(CommandError::new(Exit::Busy, "no node is running in this home").hint("carryall run"))
    }

    pub(super) fn send(&self, _request: &Request<'_>) -> Result<Answer<'_>, CommandError> {
        Err(CommandError::new(Exit::Busy, "no node is running in this home").hint("carryall run"))
    }
}
