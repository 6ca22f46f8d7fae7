//! Signals that end a command which goes on until it is ended.

use carryall_daemon::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};

/// Waits for one, and returns what it means. Ctrl-C is an interruption; a service that is told to
/// stop is done.
pub(crate) async fn signalled() -> Exit {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Done,
    }
}
