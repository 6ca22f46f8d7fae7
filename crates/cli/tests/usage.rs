//! The command line itself: help, usage errors, completions.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{fs, path::Path};

use circle::carryall;

const COMMANDS: [&str; 30] = [
    "",
    "demo",
    "init",
    "run",
    "invite",
    "join",
    "backup",
    "status",
    "friends",
    "friends offer",
    "friends remove",
    "friends rename",
    "snapshots",
    "ls",
    "find",
    "diff",
    "mount",
    "free",
    "restore",
    "retrace",
    "recover",
    "courier",
    "courier init",
    "courier list",
    "courier remove",
    "check",
    "config",
    "pause",
    "events",
    "completions",
];

/// Compares with the golden file, or writes it anew where `BLESS` is set.
#[test]
fn help_is_as_written_down() {
    let mut text = String::new();
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let run = carryall(&args, "");
        assert_eq!(run.code, Some(0), "{run:?}");
        text.push_str(&format!("$ carryall {}\n{}\n", args.join(" "), run.stdout));
    }
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    let text = text.join("\n") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cli/help.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    let written = fs::read_to_string(&golden).unwrap();
    assert!(
        text == written,
        "help has changed; look at it, then run this test with BLESS=1"
    );
}

#[test]
fn the_version_is_the_package_version() {
    let run = carryall(&["--version"], "");
    assert_eq!(
        run.stdout,
        format!("carryall {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["frobnicate"][..],
        &[],
        &["restore"],
        &["friends", "offer", "Ben"],
        &["courier", "init"],
        &["courier", "init", "/tmp", "--size", "much"],
        &["completions", "klingon"],
        &["demo", "--mib", "0"],
        &["demo", "--mib", "5", "--from", "/"],
        // A secret on the command line is never taken.
        &["join", "http://carryall.localhost:4747/join#ABC"],
        &["recover", "abandon", "abandon"],
    ] {
        let run = carryall(args, "");
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.stdout.is_empty(), "{args:?}: {run:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = carryall(&["completions", shell], "");
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains("retrace"), "{shell}");
    }
}
