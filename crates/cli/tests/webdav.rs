//! Snapshots over WebDAV, by the real program: after a loss, whoever has the address looks at a photo
//! without bringing back the pack in which it lies, and nobody else sees anything.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use circle::{
    Circle, PATIENCE,
    lost::Lost,
    web::{self, Share},
};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_photo_is_looked_at_by_webdav_and_its_pack_stays_where_it_is() {
    let mut lost = Lost::new();
    lost.again.start();
    let share = Share::new(&lost.again, &[]);
    let list = |path: &str| share.ask("PROPFIND", path, "Depth: 1\r\n");
    let started = Instant::now();
    let mut listed = list("latest/photos/2026/summer/");
    while listed.status != 207 {
        assert!(started.elapsed() < PATIENCE, "{}", listed.head);
        thread::sleep(Duration::from_millis(50));
        listed = list("latest/photos/2026/summer/");
    }
    let summer = listed.text();
    assert_eq!(summer.matches("<D:response>").count(), 4, "{summer}");
    for file in 0..3 {
        assert!(summer.contains(&format!("/summer/{file}.jpg<")), "{summer}");
    }
    assert!(summer.contains(">4194304<"), "{summer}");
    // A link is what it leads to.
    let photos = list("latest/photos/").text();
    assert!(photos.contains("/photos/notes<"), "{photos}");
    assert_eq!(
        share.ask("GET", "latest/photos/notes", "").text(),
        "the lake"
    );

    let lists = lost.packs_fetched();
    let photo = "latest/photos/2026/summer/1.jpg";
    let wanted = lost.content("2026/summer/1.jpg");
    let part = share.ask("GET", photo, "Range: bytes=2000000-2000999\r\n");
    assert_eq!(part.status, 206, "{}", part.head);
    assert!(
        part.head
            .contains("content-range: bytes 2000000-2000999/4194304")
    );
    assert!(part.body == wanted[2_000_000..2_001_000]);
    let head = share.ask("HEAD", photo, "");
    assert!(
        head.head.contains("content-length: 4194304"),
        "{}",
        head.head
    );
    assert!(share.ask("GET", photo, "").body == wanted);
    assert_eq!(lost.packs_fetched(), lists, "no pack came for that");
    let index = share.ask("GET", "latest/photos/2026/summer/", "");
    assert!(index.text().contains("1.jpg</a>"), "{}", index.text());
    assert!(index.head.contains("content-security-policy: sandbox"));
    assert_eq!(share.ask("GET", "latest/photos/winter", "").status, 404);

    // What nobody in reach has is said to be so, and is no empty folder or a file of zeros.
    lost.friends.clear();
    let far = share.ask("GET", "latest/photos/2026/summer/2.jpg", "");
    assert_eq!(far.status, 503, "{}", far.head);
    assert!(
        far.text().contains("nobody in reach has it"),
        "{}",
        far.text()
    );
    let part = share.ask(
        "GET",
        "latest/photos/2026/summer/2.jpg",
        "Range: bytes=9-\r\n",
    );
    assert_eq!(part.status, 503, "{}", part.head);
    share.end();
}

#[test]
fn only_whoever_has_the_address_looks_and_nobody_writes() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    let mount = ["mount", "--webdav"];
    ada.run(&mount).refused(11, "no node is running");
    ada.run(&["mount"]).refused(2, "required");
    let folder = circle.path("notes");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("lake.txt"), "the lake").unwrap();
    ada.start();
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let share = Share::new(&ada, &[]);
    let file = "latest/notes/lake.txt";
    assert_eq!(share.ask("GET", file, "").text(), "the lake");

    for method in [
        "PUT",
        "DELETE",
        "MKCOL",
        "MOVE",
        "COPY",
        "PROPPATCH",
        "LOCK",
    ] {
        let answer = share.ask(method, file, "Destination: /x\r\nContent-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method}: {}", answer.head);
        assert!(answer.text().contains("nothing was written"), "{method}");
        assert!(answer.head.contains("allow: head,get,options,propfind"));
    }
    let options = share.ask("OPTIONS", file, "");
    assert!(
        options
            .head
            .contains("allow: head,get,options,propfind\r\n"),
        "{}",
        options.head
    );
    let endless = share.ask("PROPFIND", "", "Depth: infinity\r\nX-Litmus: 1\r\n");
    assert_eq!(endless.status, 403, "{}", endless.head);
    assert!(endless.text().contains("propfind-finite-depth"));
    // Who does not say how deep sees the folder and what is in it.
    let listed = share.ask("PROPFIND", "latest/notes/", "").text();
    assert_eq!(listed.matches("<D:response>").count(), 2, "{listed}");
    assert_eq!(share.ask("GET", "../../etc/passwd", "").status, 403);

    let (port, own) = (share.port, format!("Host: 127.0.0.1:{}\r\n", share.port));
    let there = format!("/{}/{file}", share.secret);
    assert_eq!(web::ask(port, "GET", &there, &own).status, 200);
    let rebound = format!("Host: evil.example:{port}\r\n");
    assert_eq!(web::ask(port, "GET", &there, &rebound).status, 403);
    let page = format!("{own}Origin: http://evil.example\r\n");
    assert_eq!(web::ask(port, "GET", &there, &page).status, 403);
    let wrong = there.replace(&share.secret, &"0".repeat(64));
    for path in [wrong.as_str(), "/", &format!("/{file}")] {
        let answer = web::ask(port, "GET", path, &own);
        assert_eq!(answer.status, 403, "{path}: {}", answer.head);
    }
    share.end();
}

#[test]
fn parts_of_files_and_what_did_not_change_are_answered_as_asked() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    let folder = circle.path("notes");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lake.txt"), "the lake").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    ada.start();
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let share = Share::new(&ada, &[]);
    let ask = |headers: &str| share.ask("GET", "latest/notes/lake.txt", headers);
    for (range, status, text) in [
        ("0-2", 206, "the"),
        ("4-", 206, "lake"),
        ("-3", 206, "ake"),
        ("7-99", 206, "e"),
        ("8-", 416, ""),
        ("5-4", 416, ""),
        // Two at once: all of it.
        ("0-1,3-4", 200, "the lake"),
    ] {
        let answer = ask(&format!("Range: bytes={range}\r\n"));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{range}"
        );
    }
    let whole = ask("");
    let tag = whole.head.lines().find_map(|it| it.strip_prefix("etag: "));
    let same = format!("If-None-Match: {}\r\n", tag.unwrap());
    assert_eq!(ask(&same).status, 304);
    assert_eq!(ask("If-None-Match: \"other\"\r\n").status, 200);
    assert_eq!(ask("If-Match: \"other\"\r\n").status, 412);
    let part = "If-Range: \"other\"\r\nRange: bytes=0-2\r\n";
    assert_eq!(ask(part).text(), "the lake");
    let empty = share.ask("GET", "latest/notes/empty", "");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    share.end();
}

/// Names that have a meaning somewhere between a person and a disk.
const NAMES: [&str; 9] = [
    "a lake",
    "m\u{fc}de B\u{e4}ume",
    "#1",
    "100%",
    "per%20cent",
    "Ada's \"lake\"",
    "a&b<c>",
    "what?",
    "one;two+three",
];

#[test]
fn a_real_client_lists_and_reads_whatever_the_names_are_and_writes_nothing() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    let folder = circle.path("notes");
    fs::create_dir_all(folder.join("many")).unwrap();
    for name in NAMES {
        fs::write(folder.join(name), name).unwrap();
    }
    fs::write(folder.join("empty"), "").unwrap();
    for file in 0..2000 {
        fs::write(folder.join(format!("many/{file}")), "").unwrap();
    }
    ada.start();
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let share = Share::new(&ada, &[]);
    let taken = circle.path("taken");
    fs::create_dir(&taken).unwrap();
    let quoted = |name: &str| name.replace('"', "\\\"");
    let gets: String = (NAMES.iter().chain(&["empty"]))
        .map(|name| format!("get \"{0}\" \"{0}\"\n", quoted(name)))
        .collect();
    let script = format!(
        "cd latest/notes\nls\n{gets}put empty new\ndelete empty\nmkcol new\nls many\nquit\n"
    );
    let Some(told) = cadaver(&share, &taken, &script) else {
        eprintln!("skipped: the client cadaver is not there");
        return;
    };
    for name in NAMES {
        let read = fs::read_to_string(taken.join(name));
        assert_eq!(read.ok().as_deref(), Some(name), "{told}");
    }
    assert_eq!(fs::read(taken.join("empty")).unwrap(), b"", "{told}");
    assert_eq!(told.matches("405 Method Not Allowed").count(), 3, "{told}");
    let many = told.rsplit("/many/'").next().unwrap();
    assert!(many.contains("succeeded"), "{told}");
    assert!(many.lines().count() > 2000, "{}", many.lines().count());
    share.end();
}

/// Gives commands to a client by that name, which works in a folder. Returns what it says.
fn cadaver(share: &Share, folder: &Path, commands: &str) -> Option<String> {
    let address = format!("http://127.0.0.1:{}/{}/", share.port, share.secret);
    let mut client = Command::new("cadaver")
        .arg(address)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = client.stdin.take().unwrap();
    input.write_all(commands.as_bytes()).unwrap();
    drop(input);
    let output = client.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
