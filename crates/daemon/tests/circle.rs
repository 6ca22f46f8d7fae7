//! Three engines on loopback: the whole story from the first backup to the recovery, in one process.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Duration,
};

use carryall_daemon::{
    Engine, Naming, OpenOptions,
    api::{
        backup::{BackupLine, BackupRequest, BackupSummary},
        invite::{JoinLine, JoinRequest},
        path,
        restore::{RestoreLine, RestoreRequest, RestoreSummary},
        status::Status,
    },
    exit::Exit,
    found, open, recover,
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep},
};

/// Nothing here takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(90);

/// A port that nobody uses now: the beacons of one test must not be heard in another.
fn beacon_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn configure(home: &Path, beacon_port: u16) {
    fs::create_dir_all(home).unwrap();
    let text = format!(
        "bind = \"loopback\"\nport = 0\napi_port = 0\nbeacon_port = {beacon_port}\n\
         keep_free = 0\nwatch = false\n"
    );
    fs::write(home.join("config.toml"), text).unwrap();
}

fn naming(name: &str) -> Naming {
    Naming {
        member: name.to_owned(),
        device: format!("{name}'s disk"),
    }
}

async fn online(home: &Path) -> Engine {
    open(home, OpenOptions { net: true }).await.unwrap()
}

async fn last<T>(mut lines: Receiver<T>) -> T {
    let mut last = None;
    while let Some(line) = lines.recv().await {
        last = Some(line);
    }
    last.unwrap()
}

async fn join(engine: &Engine, link: String) -> JoinLine {
    let request = JoinRequest {
        link: Some(link),
        timeout_secs: Some(20),
    };
    last(engine.join(request).await.unwrap()).await
}

async fn backup(engine: &Engine, folder: &Path) -> BackupSummary {
    let paths = vec![path::to_text(folder.as_os_str().as_encoded_bytes())];
    match last(engine.backup(BackupRequest { paths }).await.unwrap()).await {
        BackupLine::Summary(summary) => summary,
        other => panic!("{other:?}"),
    }
}

async fn restore(engine: &Engine, to: &Path) -> RestoreSummary {
    let to = path::to_text(to.as_os_str().as_encoded_bytes());
    let request = RestoreRequest {
        to,
        ..RestoreRequest::default()
    };
    match last(engine.restore(request).await.unwrap()).await {
        RestoreLine::Summary(summary) => summary,
        other => panic!("{other:?}"),
    }
}

async fn status_when(engine: &Engine, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = engine.status().await.unwrap();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never {what}: {status:#?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Some files of every sort, the same each time.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("empty")).unwrap();
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    let mut state = 7_u64;
    for (name, bytes) in [
        ("photo", 3_000_000),
        ("deep/film", 20_000_000),
        ("deep/er/note", 10),
        ("nothing", 0),
    ] {
        let content: Vec<u8> = (0..bytes)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                u8::try_from(state >> 56).unwrap()
            })
            .collect();
        fs::write(folder.join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("photo", folder.join("link")).unwrap();
}

/// Everything below a folder: path, kind, content.
fn listing(folder: &Path) -> Vec<(PathBuf, String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                stack.push(path);
                found.push((relative, "folder".to_owned(), Vec::new()));
            } else if kind.is_symlink() {
                let target = fs::read_link(path).unwrap();
                found.push((
                    relative,
                    format!("link to {}", target.display()),
                    Vec::new(),
                ));
            } else {
                found.push((relative, "file".to_owned(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_backup_is_only_here() {
    let place = TempDir::new().unwrap();
    let (home, folder) = (place.path().join("home"), place.path().join("files"));
    configure(&home, beacon_port());
    fill(&folder);
    let founded = found(&home, &naming("Anna")).unwrap();
    assert_eq!(founded.words.split(' ').count(), 12);
    let engine = open(&home, OpenOptions::default()).await.unwrap();
    let empty = engine.status().await.unwrap();
    assert_eq!((empty.packs, empty.safe), (0, false));
    let summary = backup(&engine, &folder).await;
    assert_eq!(
        (summary.files, summary.exit),
        (4, Exit::NotYetSafe),
        "{summary:?}"
    );
    let status = status_when(&engine, "counted", |status| status.packs > 0).await;
    assert!(status.headline.contains("only here"), "{}", status.headline);
    assert_eq!(status.bytes_safe, 0);
    assert_eq!(engine.snapshots().await.unwrap().snapshots.len(), 1);
    engine.close().await;

    // After a restart nothing is forgotten, and the files come back from this very device.
    let engine = open(&home, OpenOptions::default()).await.unwrap();
    assert_eq!(engine.status().await.unwrap().packs, status.packs);
    let summary = restore(&engine, &place.path().join("back")).await;
    assert_eq!(
        (summary.exit, summary.failed.len()),
        (Exit::Done, 0),
        "{summary:?}"
    );
    assert_eq!(listing(&place.path().join("back/files")), listing(&folder));
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_half_of_the_friends_brings_everything_back() {
    let place = TempDir::new().unwrap();
    let port = beacon_port();
    let folder = place.path().join("files");
    fill(&folder);
    let anna_home = place.path().join("anna");
    configure(&anna_home, port);
    let words = found(&anna_home, &naming("Anna")).unwrap().words;
    let anna = online(&anna_home).await;
    let mut friends = Vec::new();
    for name in ["Bob", "Carol", "Dave", "Eve"] {
        let home = place.path().join(name);
        configure(&home, port);
        found(&home, &naming(name)).unwrap();
        let friend = online(&home).await;
        let invited = anna.invite(name.to_owned()).await.unwrap();
        let joined = join(&friend, invited.link).await;
        assert!(
            matches!(joined, JoinLine::Summary { .. }),
            "{name}: {joined:?}"
        );
        friends.push(friend);
    }
    backup(&anna, &folder).await;
    // Four friends: any two of them suffice, so three can vanish, this device apart.
    let settled = |status: &Status| status.safe && status.health_min == 3;
    let status = status_when(&anna, "settled", settled).await;
    assert_eq!(status.target, 3);
    anna.close().await;
    let original = listing(&folder);
    fs::remove_dir_all(&anna_home).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for gone in friends.drain(..2) {
        gone.close().await;
    }
    let again_home = place.path().join("again");
    configure(&again_home, port);
    recover(&again_home, &words, &naming("Anna")).unwrap();
    let again = online(&again_home).await;
    let invited = friends[0].invite(String::new()).await.unwrap();
    let joined = join(&again, invited.link).await;
    assert!(
        matches!(
            joined,
            JoinLine::Summary {
                recovered: true,
                ..
            }
        ),
        "{joined:?}"
    );
    let summary = restore(&again, &place.path().join("back")).await;
    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    assert_eq!(listing(&place.path().join("back/files")), original);
    again.close().await;
    for friend in friends {
        friend.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_before_anybody_had_it_is_saved_anew() {
    let place = TempDir::new().unwrap();
    let port = beacon_port();
    let (anna_home, bob_home) = (place.path().join("anna"), place.path().join("bob"));
    for home in [&anna_home, &bob_home] {
        configure(home, port);
        found(home, &naming("Somebody")).unwrap();
    }
    let folder = place.path().join("files");
    fill(&folder);
    let anna = online(&anna_home).await;
    backup(&anna, &folder).await;
    let film = fs::read(folder.join("deep/film")).unwrap();
    fs::write(folder.join("deep/film"), &film[1..]).unwrap();
    let bob = online(&bob_home).await;
    let invited = anna.invite("Bob".to_owned()).await.unwrap();
    join(&bob, invited.link).await;
    // Bob gets what can still be made; the film as it was is lost, and the next snapshot says so.
    let held = |status: &Status| status.members.iter().any(|bob| bob.bytes_held_for_me > 0);
    status_when(&anna, "held in part", held).await;
    backup(&anna, &folder).await;
    status_when(&anna, "safe", |status| status.safe).await;
    let summary = restore(&anna, &place.path().join("back")).await;
    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    assert_eq!(listing(&place.path().join("back/files")), listing(&folder));
    anna.close().await;
    bob.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_leads_to_a_snapshot_by_itself() {
    let place = TempDir::new().unwrap();
    let (home, folder) = (place.path().join("home"), place.path().join("files"));
    fill(&folder);
    configure(&home, beacon_port());
    let text = fs::read_to_string(home.join("config.toml")).unwrap();
    let text = text.replace("watch = false", "watch = true\nquiet_secs = 1");
    fs::write(home.join("config.toml"), text).unwrap();
    found(&home, &naming("Anna")).unwrap();
    let engine = online(&home).await;
    backup(&engine, &folder).await;
    let serving = tokio::spawn({
        let engine = engine.clone();
        async move { engine.serve(|_| {}).await }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    while engine.status().await.unwrap().snapshots < 2 {
        assert!(Instant::now() < deadline, "no snapshot was made");
        // Rewritten until it is noticed: the watch may begin after the first time.
        number += 1;
        fs::write(
            folder.join("photo"),
            format!("another one, number {number}"),
        )
        .unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    assert!(home.join("api.json").exists());
    engine.stop();
    serving.await.unwrap().unwrap();
    assert!(!home.join("api.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_comes_back_from_one_friend() {
    let place = TempDir::new().unwrap();
    let port = beacon_port();
    let home = |name: &str| {
        let home = place.path().join(name);
        configure(&home, port);
        home
    };
    let folder = place.path().join("files");
    fill(&folder);
    let (anna_home, bob_home) = (home("anna"), home("bob"));
    let words = found(&anna_home, &naming("Anna")).unwrap().words;
    found(&bob_home, &naming("Bob")).unwrap();
    let (anna, bob) = (online(&anna_home).await, online(&bob_home).await);
    let invited = anna.invite("Bob".to_owned()).await.unwrap();
    let joined = join(&bob, invited.link.clone()).await;
    assert!(matches!(joined, JoinLine::Summary { .. }), "{joined:?}");
    backup(&anna, &folder).await;
    let status = status_when(&anna, "safe", |status| status.safe).await;
    assert_eq!(status.bytes_only_here, 0);
    assert_eq!(status.members[0].petname, "Bob");

    // The disk is lost, with the files on it. Only the words are left, and Bob.
    anna.close().await;
    let original = listing(&folder);
    fs::remove_dir_all(&anna_home).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let again_home = home("anna again");
    recover(&again_home, &words, &naming("Anna")).unwrap();
    let again = online(&again_home).await;
    let invited = bob.invite(String::new()).await.unwrap();
    let joined = join(&again, invited.link).await;
    assert!(
        matches!(
            joined,
            JoinLine::Summary {
                recovered: true,
                ..
            }
        ),
        "{joined:?}"
    );
    let summary = restore(&again, &place.path().join("back")).await;
    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    assert_eq!(listing(&place.path().join("back/files")), original);
    again.close().await;
    bob.close().await;
}
