//! Secrets come in here: from a prompt, from standard input line by line, or from a file. Never
//! from the command line, where other users of the machine could read them.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Read},
    path::Path,
};

use crate::error::CommandError;

/// Most bytes of a secret's line or file: ten times the longest invite.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// Asks for a secret: at a terminal without showing it, else the next line of standard input.
pub(crate) fn secret(question: &str) -> Result<String, CommandError> {
    let answer = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{question}: "))
    } else {
        next_line()
    };
    let answer = answer.map_err(|error| {
        CommandError::failed(format!("cannot read {}", lower(question))).because(error)
    })?;
    let answer = answer.trim();
    if answer.is_empty() {
        return Err(CommandError::failed(format!(
            "{} is missing",
            lower(question)
        )));
    }
    Ok(answer.to_owned())
}

/// Returns the secret in a file, or asks for it.
pub(crate) fn secret_or_file(question: &str, file: Option<&Path>) -> Result<String, CommandError> {
    let Some(path) = file else {
        return secret(question);
    };
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| {
        CommandError::failed(format!("cannot read {}", path.display())).because(error)
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(CommandError::failed(format!("{} is empty", path.display())));
    }
    Ok(text.to_owned())
}

/// Whether somebody sits at the keyboard and can be asked again.
pub(crate) fn can_ask_again() -> bool {
    io::stdin().is_terminal()
}

/// Reads one line and not a byte more, so that the next secret stays for the next question.
fn next_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(SECRET_BYTES_MAX)
        .read_line(&mut line)?;
    Ok(line)
}

fn lower(question: &str) -> String {
    let mut letters = question.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
