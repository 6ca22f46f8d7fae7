//! The loopback API: its routes and the shapes of requests and answers.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`status::Status`] |
//! | `GET /v1/friends` | | [`status::Friends`] |
//! | `POST /v1/friends/offer` | [`status::OfferRequest`] | `{}` |
//! | `POST /v1/friends/rename` | [`status::RenameRequest`] | `{}` |
//! | `POST /v1/invite` | [`invite::InviteRequest`] | [`invite::Invited`] |
//! | `POST /v1/join` | [`invite::JoinRequest`] | lines of [`invite::JoinLine`] |
//! | `POST /v1/backup` | [`backup::BackupRequest`] | lines of [`backup::BackupLine`] |
//! | `GET /v1/snapshots` | | [`snapshot::Snapshots`] |
//! | `GET /v1/ls?snapshot=&path=&recursive=` | | lines of [`snapshot::ListLine`] |
//! | `POST /v1/free` | [`free::FreeRequest`] | [`free::FreeReport`] |
//! | `POST /v1/restore` | [`restore::RestoreRequest`] | lines of [`restore::RestoreLine`] |
//! | `GET /v1/retrace` | | [`restore::Retrace`] |
//! | `POST /v1/check` | [`check::CheckRequest`] | lines of [`check::CheckLine`] |
//! | `GET /v1/config` | | [`config::Settings`] |
//! | `POST /v1/config` | [`config::SetRequest`] | [`config::Settings`] |
//! | `POST /v1/pause` | [`pause::Pause`] | [`pause::Pause`] |
//! | `GET /v1/events` | | lines of [`carryall_core::event::Notice`], until closed |
//! | `POST /v1/stop` | | `{}` |
//!
//! Every request carries `Authorization: Bearer TOKEN` with the token of `api.json`. Errors are a
//! [`Failure`] with status 4xx or 5xx; a stream that fails ends with a line of type `failure`.
//! Paths in JSON are [`path`] texts. Times are milliseconds since 1970, lengths are bytes.

pub mod backup;
pub mod check;
pub mod config;
pub mod courier;
pub mod free;
pub mod invite;
pub mod path;
pub mod pause;
pub mod restore;
pub mod retention;
pub mod snapshot;
pub mod status;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// Why a request failed: one clear sentence, and what to type next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened, and that nothing was lost.
    pub error: String,
    /// The next command to type; may be empty.
    #[serde(default)]
    pub hint: String,
    /// The exit code that a command ends with.
    pub exit: Exit,
}

/// `api.json` in the home directory while a node runs: how to talk to it. Mode 0600.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFile {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The bearer token.
    pub token: String,
    /// The node's process id.
    pub pid: u32,
}

/// The name of the [`ApiFile`] in the home directory.
pub const API_FILE: &str = "api.json";
/// The first port that a node tries.
pub const PORT: u16 = 4747;
