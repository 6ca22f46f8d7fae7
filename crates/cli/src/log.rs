//! Diagnostics on standard error, for whoever looks for a fault. Results never go this way.

use std::io;

use tracing_subscriber::EnvFilter;

/// Environment variable that names what to log, as `tracing_subscriber` wants it.
const VARIABLE: &str = "CARRYALL_LOG";

/// Starts to print diagnostics: warnings, and more for each time that `--verbose` was given.
pub(crate) fn start(verbose: u8) {
    let ours = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let others = if verbose < 3 { "off" } else { "info" };
    let directives = ["core", "store", "net", "daemon", "cli"]
        .iter()
        .fold(others.to_owned(), |all, name| {
            format!("{all},carryall_{name}={ours}")
        });
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(directives));
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}
