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
    assert!(far.body.is_empty(), "{}", far.body.len());
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
    assert_eq!(endless.status, 501, "{}", endless.head);
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
