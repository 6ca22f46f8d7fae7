//! `carryall ls`: what a snapshot holds.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use carryall_daemon::{
    api::{
        path,
        snapshot::{ListEntry, ListKind, ListLine},
    },
    exit::Exit,
};

use super::Context;
use crate::{args::LsArgs, client::query, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: &LsArgs) -> Result<Exit, CommandError> {
    let (snapshot, path) = split(&args.what);
    let recursive = if args.recursive { "true" } else { "false" };
    let route = query(
        "/v1/ls",
        &[
            ("snapshot", &snapshot),
            ("path", &path),
            ("recursive", recursive),
        ],
    );
    context.client()?.get_stream(&route, |line: ListLine| {
        context.ui.json(&line);
        match line {
            ListLine::Entry(entry) => context.ui.say(row(&entry)),
            ListLine::Failure(failure) => return Err(failure.into()),
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// Splits `SNAPSHOT[:PATH]`. The path may be typed as it is, or as `ls` prints it.
pub(super) fn split(what: &OsStr) -> (String, String) {
    let bytes = what.as_bytes();
    let colon = bytes
        .iter()
        .position(|&byte| byte == b':')
        .unwrap_or(bytes.len());
    let snapshot = String::from_utf8_lossy(&bytes[..colon]).into_owned();
    let inside = bytes.get(colon + 1..).unwrap_or_default();
    let inside = match str::from_utf8(inside) {
        Ok(text) => text.to_owned(),
        Err(_) => path::to_text(inside),
    };
    (snapshot, inside)
}

pub(super) fn row(entry: &ListEntry) -> String {
    let kind = match entry.kind {
        ListKind::File => '-',
        ListKind::Directory => 'd',
        ListKind::Symlink => 'l',
    };
    let mut mode = String::with_capacity(9);
    for (index, letter) in "rwxrwxrwx".chars().enumerate() {
        mode.push(if entry.mode >> (8 - index) & 1 == 1 {
            letter
        } else {
            '-'
        });
    }
    let time =
        u64::try_from(entry.mtime_ms).map_or_else(|_| "before 1970".to_owned(), ui::local_time);
    let target = entry
        .target
        .as_ref()
        .map(|target| format!(" -> {target}"))
        .unwrap_or_default();
    format!(
        "{kind}{mode} {:>12} {time:>19} {}{target}",
        entry.bytes, entry.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_follow_the_snapshot() {
        let split = |what: &[u8]| split(OsStr::from_bytes(what));
        assert_eq!(split(b"latest"), ("latest".into(), String::new()));
        assert_eq!(split(b"ab12:/a/b:c"), ("ab12".into(), "/a/b:c".into()));
        assert_eq!(split(b":/a"), (String::new(), "/a".into()));
        assert_eq!(split(b"latest:/a\xff"), ("latest".into(), "/a\\xff".into()));
        assert_eq!(
            split(b"latest:/a\\xff"),
            ("latest".into(), "/a\\xff".into())
        );
    }
}
