//! What Carryall promises, tried by the real program: nothing is called safe too early, and what is
//! called safe comes back.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;
#[path = "../src/demo/portrait.rs"]
mod portrait;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use circle::{Circle, Device, carryall, contents, noise, relative};
use portrait::Portrait;

const CANARY_NAME: &str = "canary-name-Xq7wKz";
const CANARY_TEXT: &str = "canary text that no friend may ever read, 8fJ2";

/// Makes a folder with small and large files, and names and words that friends must not see.
fn plant(folder: &Path) {
    fs::create_dir_all(folder.join("empty")).unwrap();
    fs::create_dir_all(folder.join(CANARY_NAME)).unwrap();
    fs::write(folder.join("large.bin"), noise(1, 5 << 20)).unwrap();
    fs::write(folder.join("small.bin"), noise(2, 5000)).unwrap();
    fs::write(
        folder.join(CANARY_NAME).join("letter.txt"),
        CANARY_TEXT.repeat(40),
    )
    .unwrap();
    let long = [
        noise(3, 1 << 20),
        CANARY_TEXT.repeat(20_000).into(),
        noise(4, 1 << 20),
    ]
    .concat();
    fs::write(folder.join(format!("{CANARY_NAME}.bin")), long).unwrap();
    fs::hard_link(folder.join("small.bin"), folder.join("twin.bin")).unwrap();
    symlink(CANARY_NAME, folder.join("link")).unwrap();
}

fn holds_canary(dir: &Path) -> bool {
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    contents(dir).iter().any(|(path, bytes)| {
        let path = path.to_string_lossy();
        path.contains(CANARY_NAME) || holds(bytes, CANARY_NAME) || holds(bytes, CANARY_TEXT)
    })
}

fn assert_same(before: &Portrait, restored: &Path) {
    let found = Portrait::take(restored).unwrap();
    assert_eq!(before.differences(&found), Vec::<String>::new());
}

#[test]
fn with_no_friend_a_backup_is_only_here() {
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    let folder = circle.path("docs");
    plant(&folder);
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status();
    let piped = made.is_ok_and(|status| status.success());
    let before = Portrait::take(&folder).unwrap();

    let run = device.run(&["backup", folder.to_str().unwrap()]);
    assert_eq!(run.code, Some(4), "{run:?}");
    let summary = run.last();
    assert_eq!(summary["type"], "summary");
    let count = before.count();
    assert_eq!(summary["files"].as_u64(), Some(count.files), "{summary:#}");
    assert_eq!(summary["bytes"].as_u64(), Some(count.bytes), "{summary:#}");
    assert_eq!(
        summary["skipped"].as_array().unwrap().len(),
        usize::from(piped),
        "{summary:#}"
    );
    let status = device.status();
    assert_eq!(status["safe"], false);
    assert_eq!(status["bytes_safe"], 0);
    assert_eq!(status["health_min"], 0);
    assert!(status["bytes_only_here"].as_u64() > Some(0));
    let headline = status["headline"].as_str().unwrap();
    assert!(
        headline.contains("only here") || headline.contains("only on this"),
        "{headline}"
    );

    // Nothing changed: nothing new, and no second copy.
    let again = device.run(&["backup"]);
    assert_eq!(
        (again.code, again.last()["new_bytes"].as_u64()),
        (Some(4), Some(0)),
        "{again:?}"
    );

    // What is here can be looked at and restored without anybody.
    let listed = device.ok(&["ls", "--recursive"]);
    assert!(listed.stdout.contains("/docs/large.bin"), "{listed:?}");
    let to = circle.path("back");
    let run = device.run(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_same(&before, &to.join("docs"));
    let letter = format!("latest:/docs/{CANARY_NAME}/letter.txt");
    let some = circle.path("some");
    device.ok(&["restore", &letter, "--to", some.to_str().unwrap()]);
    assert_eq!(relative(&some).len(), 1, "one file was asked for");
    device
        .run(&[
            "restore",
            "latest:/docs/none",
            "--to",
            some.to_str().unwrap(),
        ])
        .refused(1, "none");
    device
        .run(&["restore", "beef", "--to", some.to_str().unwrap()])
        .refused(1, "beef");
}

#[test]
fn what_cannot_be_read_ends_with_3_and_the_rest_is_saved() {
    use std::os::unix::fs::PermissionsExt;
    let circle = Circle::new();
    let (device, _) = circle.founder("ada");
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("open.txt"), "open").unwrap();
    let closed = folder.join("closed.txt");
    fs::write(&closed, "closed").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::File::open(&closed).is_ok() {
        // Root reads everything; there is nothing to see here.
        return;
    }
    let run = device.run(&["backup", folder.to_str().unwrap()]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert_eq!(run.last()["unread"].as_array().unwrap().len(), 1);
    let to = circle.path("back");
    device.ok(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(fs::read(to.join("docs/open.txt")).unwrap(), b"open");
}

#[test]
fn with_one_friend_it_is_safe_after_one_meeting_and_not_before() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    ben.kill();
    let folder = circle.path("docs");
    plant(&folder);
    let run = ada.run(&["backup", folder.to_str().unwrap()]);
    assert_eq!(run.code, Some(4), "{run:?}");
    let status = ada.status();
    assert_eq!(
        (&status["safe"], &status["bytes_safe"]),
        (&false.into(), &0.into()),
        "{status:#}"
    );

    ben.start();
    let status = ada.wait_safe();
    let friend = &status["members"][0];
    assert_eq!(friend["petname"], "ben");
    assert!(
        friend["audited"].as_u64() >= status["bytes_safe"].as_u64(),
        "{status:#}"
    );
    assert_eq!(status["bytes_only_here"], 0, "{status:#}");
    // Safe means safe: a backup of nothing new ends with 0, and the friend's shelf has the bytes.
    let run = ada.run(&["backup"]);
    assert!(matches!(run.code, Some(0 | 4)), "{run:?}");
    ada.wait_safe();
    let held = ben.status()["members"][0]["bytes_i_hold"].as_u64();
    assert!(held >= Some(5 << 20), "{held:?}");

    let friends = ada.ok(&["friends", "rename", "ben", "Benjamin"]);
    assert_eq!(friends.code, Some(0));
    ada.ok(&["friends", "offer", "Benjamin", "3GiB"]);
    let friends = ada.ok(&["friends"]).last();
    assert_eq!(friends["members"][0]["petname"], "Benjamin");
    assert_eq!(friends["members"][0]["offered_by_me"], 3_u64 << 30);
    ada.run(&["friends", "offer", "Nobody", "3GiB"])
        .refused(2, "Nobody");
    ada.run(&["friends", "offer", "Benjamin", "lots"])
        .refused(2, "lots");
}

#[test]
fn an_invite_lets_one_person_in_once() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let link = ada.ok(&["invite", "Ben"]).text("link");
    let mut ben = circle.device("ben");
    ben.ok_with(&["join"], &link);
    ben.start();
    let dora = circle.device("dora");
    dora.run_with(&["join"], &link).refused(1, "used");
    // A home has one circle: who has friends does not leave them by mistake.
    let (mut eve, _) = circle.founder("eve");
    eve.start();
    let other = eve.ok(&["invite", "Ben"]).text("link");
    ben.run_with(&["join"], &other).refused(1, "circle");
    assert_eq!(ben.status()["members"].as_array().unwrap().len(), 1);
}

/// All packets on this machine's loopback, as tcpdump writes them down.
struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins to capture; nothing where that is not allowed, or tcpdump is not there.
    fn begin(file: PathBuf) -> Option<Self> {
        let mut tcpdump = Command::new("tcpdump")
            .args(["-i", "lo", "-U", "-B", "65536", "-Z", "root", "-w"])
            .arg(&file)
            .arg("udp or tcp")
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(tcpdump.stderr.take()?).lines();
        let listening = lines.any(|line| line.is_ok_and(|line| line.contains("listening on lo")));
        // The rest of what it says is of no interest, but must not block it.
        thread::spawn(move || lines.for_each(drop));
        listening.then_some(Self { tcpdump, file })
    }

    /// Ends the capture and returns what went between nodes: all datagrams, and the connections to
    /// ports whose numbers are those of links too. Other connections are commands to nodes of this
    /// machine, which may well name files.
    fn end(mut self) -> Vec<u8> {
        let _ = Command::new("kill")
            .args(["-INT", &self.tcpdump.id().to_string()])
            .status();
        self.tcpdump.wait().unwrap();
        let file = fs::read(&self.file).unwrap();
        let packets = packets(&file);
        let datagrams = packets.iter().filter(|packet| packet.protocol == UDP);
        let links: BTreeSet<u16> = datagrams.flat_map(|packet| packet.ports).collect();
        let between = |packet: &&Packet<'_>| packet.ports.iter().any(|port| links.contains(port));
        let kept = packets.iter().filter(between);
        kept.flat_map(|packet| packet.bytes).copied().collect()
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

struct Packet<'a> {
    protocol: u8,
    ports: [u16; 2],
    /// From its ports on.
    bytes: &'a [u8],
}

/// Reads a capture of an interface that looks like Ethernet.
fn packets(file: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    let mut rest = &file[24..];
    while let Some((head, frames)) = rest.split_at_checked(16) {
        let kept = u32::from_le_bytes(head[8..12].try_into().unwrap());
        let Some((frame, next)) = frames.split_at_checked(kept as usize) else {
            break;
        };
        rest = next;
        let Some(ip) = frame.get(14..) else { continue };
        let (protocol, start) = match ip.first().map(|first| (first >> 4, first & 15)) {
            Some((4, words)) if ip.len() > 20 => (ip[9], usize::from(words) * 4),
            Some((6, _)) if ip.len() > 40 => (ip[6], 40),
            _ => continue,
        };
        match ip.get(start..) {
            Some(bytes) if bytes.len() >= 8 && [TCP, UDP].contains(&protocol) => {
                let port = |at| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                packets.push(Packet {
                    protocol,
                    ports: [port(0), port(2)],
                    bytes,
                });
            }
            _ => {}
        }
    }
    packets
}

/// Comes back on a new device by the words and an invite from `friend`, and restores.
fn come_back(circle: &Circle, name: &'static str, words: &str, friend: &Device, before: &Portrait) {
    bring_back(circle, circle.recover(name, words, friend), before);
}

/// Restores everything on a recovered device.
fn bring_back(circle: &Circle, mut device: Device, before: &Portrait) {
    let name = device.name;
    device.start();
    let retrace = device.ok(&["retrace"]).last();
    assert!(retrace["packs"].as_u64() > Some(0), "{retrace:#}");
    assert_eq!(retrace["packs_lost"], 0, "{retrace:#}");
    assert_eq!(
        device.ok(&["snapshots"]).last()["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let to = circle.path(&format!("{name}-files"));
    let run = device.run(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", device.log());
    assert_same(before, &to.join("docs"));
}

#[test]
fn after_a_loss_either_friend_brings_everything_back_and_neither_can_read_it() {
    let circle = Circle::new();
    let capture = Capture::begin(circle.path("packets.pcap"));
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    let mut cleo = circle.guest(&ada, "cleo");
    let folder = circle.path("docs");
    plant(&folder);
    assert!(holds_canary(&folder), "the test itself finds canaries");
    let before = Portrait::take(&folder).unwrap();
    ada.save_and_lose(&folder);
    for friend in [&ben, &cleo] {
        assert!(
            !holds_canary(&friend.home),
            "{} can read what it keeps",
            friend.name
        );
    }

    cleo.kill();
    come_back(&circle, "ada-by-ben", &words, &ben, &before);
    ben.kill();
    cleo.start();
    come_back(&circle, "ada-by-cleo", &words, &cleo, &before);

    let Some(capture) = capture else {
        eprintln!("skipped: no packets were captured, since tcpdump is not there or not allowed");
        return;
    };
    let packets = capture.end();
    let enough = packets.len() > 10 << 20;
    assert!(enough, "two friends got 7 MiB each: {}", packets.len());
    for canary in [CANARY_NAME, CANARY_TEXT] {
        let found = packets
            .windows(canary.len())
            .any(|bytes| bytes == canary.as_bytes());
        assert!(!found, "{canary} went over the network in clear");
    }
}

/// No invite, no link, nothing written down but the words: a friend's node is on the same network.
#[test]
fn near_a_friend_the_words_are_enough() {
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let _ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("letter"), "Dear Ben").unwrap();
    let before = Portrait::take(&folder).unwrap();
    ada.save_and_lose(&folder);

    let again = circle.device("again");
    let early = again.run(&["join", "--nearby"]);
    early.refused(10, "");
    assert!(early.stderr.contains("recover --nearby"), "{early:?}");
    let run = again.ok_with(&["recover", "--nearby"], &format!("{words}\n"));
    assert_eq!(run.last()["recovered"], true, "{run:?}");
    bring_back(&circle, again, &before);
}

#[test]
fn the_index_can_be_made_anew() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    plant(&folder);
    ada.ok(&["backup", folder.to_str().unwrap()]);
    ada.wait_settled();
    ada.kill();
    ben.kill();
    for device in [&ada, &ben] {
        let facts = |status: &serde_json::Value| {
            [
                "packs",
                "bytes_safe",
                "bytes_only_here",
                "health_min",
                "snapshots",
            ]
            .map(|key| status[key].clone())
        };
        let (before, shelf) = (device.status(), relative(&device.home.join("shelf")));
        fs::remove_file(device.home.join("catalogue.redb")).unwrap();
        let run = device.run(&["check", "--rebuild-index"]);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(run.last()["index_rebuilt"], true);
        assert_eq!(facts(&device.status()), facts(&before), "{}", device.name);
        assert_eq!(relative(&device.home.join("shelf")), shelf);
    }
    let run = ada.run(&["backup"]);
    assert_eq!(run.last()["new_bytes"], 0, "all is known again: {run:?}");
}

#[test]
fn a_change_leads_to_a_snapshot_by_itself_and_events_tell_of_it() {
    let circle = Circle::new();
    let (mut device, _) = circle.founder("ada");
    device.ok(&["config", "quiet_secs", "1"]);
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("first"), "1").unwrap();
    device.ok(&["backup", folder.to_str().unwrap()]);
    device.start();
    let events = device.spawn(&["events"]);
    // The watch begins a moment after the node: what changes before is found all the same.
    fs::write(folder.join("second"), "2").unwrap();
    device.wait_until("backed up again", |status| status["snapshots"] == 2);
    assert!(device.ok(&["ls", "-r"]).stdout.contains("/docs/second"));
    device.kill();
    let told = events.output();
    assert!(told.contains("\"type\":\"snapshot_made\""), "{told}");
}

#[test]
fn the_demo_tells_the_story() {
    let run = carryall(&["demo", "--mib", "12"], "");
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("byte for byte"), "{run:?}");
}
