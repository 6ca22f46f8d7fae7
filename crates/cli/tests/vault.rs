//! Homes that can't be used, and secrets that are wrong: one sentence each, and the right exit code.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use circle::{Circle, carryall};

const ZEROS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";

#[test]
fn without_a_vault_every_command_ends_with_10() {
    let circle = Circle::new();
    let device = circle.device("nobody");
    for args in [
        &["status"][..],
        &["friends"],
        &["snapshots"],
        &["ls"],
        &["retrace"],
        &["check"],
        &["invite"],
        &["run"],
        &["backup", "/"],
        &["restore", "--to", "/nowhere"],
    ] {
        let run = device.run(args);
        run.refused(10, "there is no vault in");
        assert!(run.stderr.contains("hint: carryall init"), "{run:?}");
    }
    assert_eq!(
        fs::read_dir(&device.home).unwrap().count(),
        1,
        "only config.toml is there"
    );
}

#[test]
fn init_gives_12_words_once() {
    let circle = Circle::new();
    let (device, words) = circle.founder("ada");
    assert_eq!(words.split(' ').count(), 12);
    device.run(&["init"]).refused(1, "there is a vault in");
    // Whoever prepares a home by hand may have the words nowhere but on paper.
    for (path, bytes) in circle::contents(&device.home) {
        let first = words.split(' ').take(3).collect::<Vec<_>>().join(" ");
        assert!(
            !bytes.windows(first.len()).any(|w| w == first.as_bytes()),
            "{path:?}"
        );
    }
    let identity = fs::metadata(device.home.join("identity")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&identity.permissions()) & 0o777,
        0o600
    );
}

#[test]
fn init_spares_a_directory_with_other_things() {
    let circle = Circle::new();
    let device = circle.device("ada");
    fs::write(device.home.join("thesis.txt"), "do not touch").unwrap();
    device.run(&["init"]).refused(1, "holds no vault");
    assert_eq!(
        fs::read(device.home.join("thesis.txt")).unwrap(),
        b"do not touch"
    );
}

#[test]
fn a_busy_home_ends_with_11() {
    let circle = Circle::new();
    let (mut device, _) = circle.founder("ada");
    device.start();
    device.run(&["run"]).refused(11, "in use");
    // Others ask the node that runs.
    assert_eq!(device.status()["running"], true);
    // A node that can't be reached still holds the vault.
    let api = device.home.join("api.json");
    fs::rename(&api, device.home.join("api.away")).unwrap();
    device.run(&["status"]).refused(11, "in use");
    fs::rename(device.home.join("api.away"), &api).unwrap();
    device.kill();
    // The file that a killed node left behind leads nowhere, and does no harm.
    assert!(api.exists());
    assert_eq!(device.status()["running"], false);
    device.run(&["events"]).refused(11, "no node is running");
}

#[test]
fn a_wrong_token_is_not_taken() {
    let circle = Circle::new();
    let (mut device, _) = circle.founder("ada");
    device.start();
    let api = device.home.join("api.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&api).unwrap()).unwrap();
    file["token"] = "0".repeat(64).into();
    fs::write(&api, file.to_string()).unwrap();
    assert_ne!(device.run(&["status"]).code, Some(0));
}

#[test]
fn wrong_words_end_with_12_and_are_named() {
    let circle = Circle::new();
    let device = circle.device("ada");
    let twelve = |last: &str| format!("{} {last}\nlink\n", ["abandon"; 11].join(" "));
    device
        .run_with(&["recover"], &twelve("abuot"))
        .refused(12, "abuot");
    device
        .run_with(&["recover"], &twelve("abandon"))
        .refused(12, "don't fit together");
    device
        .run_with(&["recover"], "abandon about\n")
        .refused(12, "12");
    assert!(!device.home.join("identity").exists());
}

#[test]
fn bad_invites_change_nothing() {
    let circle = Circle::new();
    let (inviter, _) = circle.founder("ada");
    let link = inviter.ok(&["invite", "Ben"]).text("link");
    let device = circle.device("ben");
    let (prefix, secret) = link.split_once('#').unwrap();
    let half = &link[..prefix.len() + secret.len() / 2];
    let at = prefix.len() + 9;
    let letter = if link.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let typo = format!("{}{letter}{}", &link[..at], &link[at + 1..]);
    for (input, part) in [
        ("https://example.org/", "this is not an invite link"),
        (half, "damaged or incomplete"),
        (&typo, "damaged or incomplete"),
        ("\n", "missing"),
        ("", "missing"),
    ] {
        device.run_with(&["join"], input).refused(1, part);
        device
            .run_with(&["recover"], &format!("{ZEROS}\n{input}\n"))
            .refused(1, part);
    }
    device
        .run(&["join", "--file", "/nonexistent"])
        .refused(1, "cannot read");
    assert!(!device.home.join("identity").exists());
}

#[test]
fn an_invite_goes_to_a_file_that_only_the_owner_reads() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    let file = circle.path("invite.txt");
    let file = file.to_str().unwrap();
    device.ok(&["invite", "Ben", "--file", file]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        fs::read_to_string(file)
            .unwrap()
            .starts_with("http://carryall.localhost:4747/join#")
    );
    device
        .run(&["invite", "Cleo", "--file", file])
        .refused(1, "no invite was opened");
    let home = device.home.to_str().unwrap();
    let run = carryall(&["--home", home, "invite", "--qr"], "");
    assert!(run.stdout.contains('\u{2588}'), "{run:?}");
}

/// Flips a bit of the identity file, or makes it one of format version 999.
fn spoil_identity(home: &std::path::Path, newer: bool) {
    let path = home.join("identity");
    let mut bytes = fs::read(&path).unwrap();
    if newer {
        // Behind the magic: the version, as postcard writes numbers. The hash at the end is right.
        bytes[8..10].copy_from_slice(&[0xE7, 0x07]);
        let content = bytes.len() - 32;
        let check = *blake3::hash(&bytes[..content]).as_bytes();
        bytes[content..].copy_from_slice(&check);
    } else {
        bytes[20] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_newer_format_is_politely_refused() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    spoil_identity(&device.home, true);
    let before = fs::read(device.home.join("identity")).unwrap();
    for args in [&["status"][..], &["run"], &["check", "--rebuild-index"]] {
        device.run(args).refused(1, "format version 999");
    }
    assert_eq!(fs::read(device.home.join("identity")).unwrap(), before);
}

#[test]
fn a_damaged_identity_is_said_to_be() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    spoil_identity(&device.home, false);
    device.run(&["status"]).refused(1, "is damaged");
    fs::write(device.home.join("identity"), b"").unwrap();
    device.run(&["status"]).refused(1, "is damaged");
}

#[test]
fn a_misspelt_setting_is_named() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    device.run(&["config", "speed", "9"]).refused(2, "speed");
    device
        .run(&["config", "watch", "perhaps"])
        .refused(2, "perhaps");
    device.ok(&["config", "quiet_secs", "7"]);
    assert!(
        device
            .ok(&["config", "quiet_secs"])
            .stdout
            .contains("\"7\"")
    );
    fs::write(device.home.join("config.toml"), "spede = 9\n").unwrap();
    device.run(&["status"]).refused(1, "spede");
}

#[test]
fn rules_for_links_are_settings_with_clear_refusals() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    let refused = [
        ("direct.rate", "fast", "it is a length such as"),
        ("direct.hours", "22-25", "two hours of the day"),
        ("metered", "sometimes", "'auto', 'yes' or 'no'"),
    ];
    for (key, value, sentence) in refused {
        device.run(&["config", key, value]).refused(2, sentence);
    }
    for (key, value, shown) in [
        ("direct.rate", "300k", "307200"),
        ("direct_hours", "22-07", "22-07"),
        ("metered.bulk", "yes", "true"),
    ] {
        device.ok(&["config", key, value]);
        assert!(device.ok(&["config", key]).stdout.contains(shown), "{key}");
    }
}

#[test]
fn a_pause_outlives_the_process_and_can_be_ended() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    device
        .run(&["pause", "a while"])
        .refused(2, "no length of time");
    assert!(device.ok(&["pause", "2h"]).stdout.contains("until"));
    let paused = device.ok(&["status"]);
    assert!(
        !paused.stdout.contains("\"paused_until\":null"),
        "{paused:?}"
    );
    device.ok(&["pause", "off"]);
    let status = device.ok(&["status"]);
    assert!(
        status.stdout.contains("\"paused_until\":null"),
        "{status:?}"
    );
}
