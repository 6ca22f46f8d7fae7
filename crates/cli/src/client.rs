//! How commands reach the node: over loopback where one runs, else in this process.
//!
//! Both ways speak the same HTTP API, so a command is the same code in both cases.

mod local;
mod remote;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use carryall_daemon::{
    api::{API_FILE, ApiFile, Failure},
    exit::Exit,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::{local::Local, remote::Remote},
    error::CommandError,
};

/// How long a vault may be in use before that is said to be so.
pub(crate) const BUSY_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between two tries.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of `api.json`.
const API_FILE_BYTES_MAX: u64 = 4096;

/// A way to ask the node.
#[derive(Debug)]
pub(crate) enum Client {
    /// The node that runs in another process.
    Remote(Remote),
    /// No node runs: the API without its socket.
    Local(Local),
}

/// Whether a command without a node meets friends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What is on this disk is enough.
    Alone,
    /// Friends near by are called.
    Friends,
}

/// What was asked: the body is JSON, absent for `GET`.
struct Request<'a> {
    route: &'a str,
    body: Option<Vec<u8>>,
}

/// An answer that is still being read.
struct Answer<'a> {
    status: u16,
    body: Box<dyn Read + 'a>,
}

impl Client {
    /// Finds the way to the node of this home.
    ///
    /// A vault in use is asked for again for a moment: its node may be about to answer, or another
    /// command about to end.
    pub(crate) fn open(home: &Path, reach: Reach) -> Result<Self, CommandError> {
        let started = Instant::now();
        loop {
            if let Some(file) = api_file(home)?
                && let Some(remote) = Remote::connect(&file)
            {
                return Ok(Self::Remote(remote));
            }
            match Local::open(home, reach) {
                Err(error) if error.exit == Exit::Busy && started.elapsed() < BUSY_PATIENCE => {
                    thread::sleep(BUSY_PAUSE);
                }
                local => return local.map(Self::Local),
            }
        }
    }

    /// Finds the node of this home that runs in another process.
    pub(crate) fn running(home: &Path) -> Option<Self> {
        api_file(home)
            .ok()
            .flatten()
            .and_then(|file| Remote::connect(&file))
            .map(Self::Remote)
    }

    /// Whether a node runs in another process.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Asks for something.
    pub(crate) fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, CommandError> {
        whole(self.send(&Request { route, body: None })?)
    }

    /// Asks for bytes.
    pub(crate) fn get_bytes(&self, route: &str) -> Result<Vec<u8>, CommandError> {
        let mut bytes = Vec::new();
        let mut answer = checked(self.send(&Request { route, body: None })?)?;
        let read = answer.body.read_to_end(&mut bytes);
        read.map_err(|error| CommandError::cut_short().because(error))?;
        Ok(bytes)
    }

    /// Asks for something to be done.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        route: &str,
        body: &impl Serialize,
    ) -> Result<T, CommandError> {
        whole(self.send(&Request {
            route,
            body: Some(json(body)?),
        })?)
    }

    /// Asks for something that is answered line by line.
    pub(crate) fn get_stream<T: DeserializeOwned>(
        &self,
        route: &str,
        each: impl FnMut(T) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        lines(self.send(&Request { route, body: None })?, each)
    }

    /// Asks for something to be done that is told line by line.
    pub(crate) fn post_stream<T: DeserializeOwned>(
        &self,
        route: &str,
        body: &impl Serialize,
        each: impl FnMut(T) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        lines(
            self.send(&Request {
                route,
                body: Some(json(body)?),
            })?,
            each,
        )
    }

    fn send(&self, request: &Request<'_>) -> Result<Answer<'_>, CommandError> {
        match self {
            Self::Remote(remote) => remote.send(request),
            Self::Local(local) => local.send(request),
        }
    }
}

/// Returns `route` with these parameters.
pub(crate) fn query(route: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = route.to_owned();
    for (index, (key, value)) in parameters.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

/// Returns how to talk to the node, if one left word. A file that a crash left half-written counts
/// as none.
fn api_file(home: &Path) -> Result<Option<ApiFile>, CommandError> {
    let path = home.join(API_FILE);
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => {
            let sentence = format!("cannot read {}", path.display());
            return Err(CommandError::failed(sentence).because(error));
        }
    };
    let mut text = String::new();
    if file
        .take(API_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .is_err()
    {
        return Ok(None);
    }
    Ok(serde_json::from_str(&text).ok())
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, CommandError> {
    serde_json::to_vec(body)
        .map_err(|error| CommandError::failed("cannot put this request into words").because(error))
}

/// Reads an answer that comes in one piece.
fn whole<T: DeserializeOwned>(answer: Answer<'_>) -> Result<T, CommandError> {
    let mut text = Vec::new();
    let mut answer = checked(answer)?;
    answer
        .body
        .read_to_end(&mut text)
        .map_err(|error| CommandError::cut_short().because(error))?;
    serde_json::from_slice(&text).map_err(misunderstood)
}

/// Reads an answer that comes in lines.
fn lines<T: DeserializeOwned>(
    answer: Answer<'_>,
    mut each: impl FnMut(T) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut reader = BufReader::new(checked(answer)?.body);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader
            .read_until(b'\n', &mut line)
            .map_err(|error| CommandError::cut_short().because(error))?;
        if length == 0 {
            return Ok(());
        }
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            each(serde_json::from_slice(&line).map_err(misunderstood)?)?;
        }
    }
}

/// Turns an answer that says no into an error.
fn checked(mut answer: Answer<'_>) -> Result<Answer<'_>, CommandError> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let mut text = Vec::new();
    // What can't be read can't explain the refusal either.
    let _ = answer.body.read_to_end(&mut text);
    Err(match serde_json::from_slice::<Failure>(&text) {
        Ok(failure) => failure.into(),
        Err(_) if answer.status == 401 => CommandError::new(
            Exit::WrongWords,
            "the node does not accept the token in api.json",
        )
        .hint("stop the node and start it again: carryall run"),
        Err(_) => CommandError::failed(format!("the node refused with status {}", answer.status)),
    })
}

fn misunderstood(error: serde_json::Error) -> CommandError {
    CommandError::failed("the node speaks another version of this program")
        .because(error)
        .hint("stop the node and start it again: carryall run")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &'static str) -> Answer<'static> {
        Answer {
            status,
            body: Box::new(text.as_bytes()),
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query("/v1/ls", &[]), "/v1/ls");
        let route = query(
            "/v1/ls",
            &[("path", "/a b\\x0a&=\u{e9}"), ("recursive", "true")],
        );
        assert_eq!(
            route,
            "/v1/ls?path=%2Fa%20b%5Cx0a%26%3D%C3%A9&recursive=true"
        );
    }

    #[test]
    fn lines_come_one_by_one() {
        let mut seen = Vec::new();
        lines(answer(200, "1\n\n2\n3"), |number: u8| {
            seen.push(number);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [1, 2, 3]);
        let error = lines(answer(200, "1\nx\n"), |_: u8| Ok(())).unwrap_err();
        assert!(error.to_string().contains("another version"));
    }

    #[test]
    fn a_refusal_keeps_its_sentence_and_code() {
        let text = r#"{"error":"no room","hint":"carryall friends","exit":5}"#;
        let error = whole::<u8>(answer(409, text)).unwrap_err();
        assert_eq!(
            (error.exit, error.to_string().as_str()),
            (Exit::OutOfReach, "no room")
        );
        assert_eq!(
            whole::<u8>(answer(401, "")).unwrap_err().exit,
            Exit::WrongWords
        );
        assert_eq!(
            whole::<u8>(answer(500, "<html>")).unwrap_err().exit,
            Exit::Failed
        );
    }

    #[test]
    fn a_torn_api_file_counts_as_none() {
        let home = tempfile::tempdir().unwrap();
        assert!(api_file(home.path()).unwrap().is_none());
        fs::write(home.path().join(API_FILE), "{\"port\":47").unwrap();
        assert!(api_file(home.path()).unwrap().is_none());
        fs::write(
            home.path().join(API_FILE),
            "{\"port\":47,\"token\":\"t\",\"pid\":1}",
        )
        .unwrap();
        assert_eq!(api_file(home.path()).unwrap().unwrap().port, 47);
    }
}
