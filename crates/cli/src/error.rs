//! What went wrong, for people: one sentence, what caused it, and what to type next.

use std::{error::Error, fmt};

use carryall_daemon::{api::Failure, engine::EngineError, exit::Exit};

use crate::ui::{self, Ui};

/// Why a command ended early. Printed as `error:`, `caused by:` and `hint:` lines.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// The exit code this leads to.
    pub(crate) exit: Exit,
    /// One sentence.
    sentence: String,
    /// The error below, if there is one worth showing.
    cause: Option<Box<dyn Error + Send + Sync>>,
    /// What to type next.
    hint: Option<String>,
}

impl CommandError {
    /// Returns an error that ends with `exit` and says `sentence`.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
            cause: None,
            hint: None,
        }
    }

    /// Returns a plain failure.
    pub(crate) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Failed, sentence)
    }

    /// Returns the error for an answer that ended before its last line.
    pub(crate) fn cut_short() -> Self {
        Self::failed("the node stopped before this was done; nothing was lost")
            .hint("type the same command again: it goes on where it was")
    }

    /// Adds what to type next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error below.
    pub(crate) fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Prints the error to standard error, and as JSON to standard output if a script listens.
    pub(crate) fn print(&self, ui: Ui) {
        ui.json(&serde_json::json!({
            "type": "error",
            "exit": self.exit,
            "error": self.sentence,
            "hint": self.hint,
        }));
        eprintln!("error: {}", ui::clean(&self.sentence));
        let mut cause = self.source();
        while let Some(error) = cause {
            eprintln!("caused by: {}", ui::clean(&error.to_string()));
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {}", ui::clean(hint));
        }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        let hint = Some(failure.hint).filter(|hint| !hint.is_empty());
        Self {
            exit: failure.exit,
            sentence: failure.error,
            cause: None,
            hint,
        }
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        Failure::from(&error).into()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &dyn Error)
    }
}
