//! Three who form a chain: Ada's node and Cem's never run at the same time, and Ben's meets both. All
//! that they have for each other goes by him.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use circle::{Circle, Clock, Device, PATIENCE, contents, noise, relative};
use serde_json::Value;

/// What Ben keeps for Ada; a tenth of it is for what he carries. A shard of 16 MiB in two fits, and no
/// second one.
const OFFER: u64 = 120 << 20;

/// Returns what a device's status says of a member.
fn of(device: &Device, name: &str, key: &str) -> u64 {
    let status = device.status();
    let mut members = status["members"].as_array().unwrap().iter();
    let member = members.find(|it| it["petname"] == name);
    member.map_or(0, |it| it[key].as_u64().unwrap())
}

fn wait(what: &str, device: &Device, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "{} never {what}: {:#}\n{}",
            device.name,
            device.status(),
            device.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Tells whether an encounter with a member is over: all that was to be said is.
fn has_parted(device: &Device, name: &str) -> bool {
    let status = device.status();
    let mut members = status["members"].as_array().unwrap().iter();
    members.any(|it| it["petname"] == name && it["link"].is_null())
}

fn have_the_same_feeds(one: &Device, other: &Device) -> bool {
    // Which entries were written at once differs, and each entry's length doesn't.
    let lengths = |device: &Device| {
        let feeds = relative(&device.home.join("feeds")).into_iter();
        let lengths = feeds.map(|(path, bytes)| (path, bytes.len()));
        lengths.collect::<Vec<_>>()
    };
    lengths(one) == lengths(other)
}

fn members(status: &Value) -> usize {
    status["members"].as_array().unwrap().len()
}

/// Ada, Ben and Cem, whose nodes are off. Only Ben was ever met by the other two; two more were met by
/// Ada, so that half of a pack is enough for one friend.
fn chain(circle: &Circle, clock: &Clock) -> [Device; 3] {
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    for name in ["dan", "eli"] {
        circle.guest(&ada, name).stop();
    }
    let mut ben = circle.guest(&ada, "ben");
    let offer = format!("{}MiB", OFFER >> 20);
    ben.ok(&["friends", "offer", "ada", &offer]);
    ada.wait_until("told", |status| members(status) == 3);
    wait("offered", &ada, || {
        of(&ada, "ben", "offered_to_me") == OFFER
    });
    ada.stop();
    let mut cem = circle.guest(&ben, "cem");
    cem.wait_until("told", |status| members(status) == 4);
    cem.stop();
    ben.stop();
    // What happened this hour is no habit yet.
    clock.set_ahead(5);
    // With four friends, two suffice.
    meet(&mut ada, &mut ben, "told", have_the_same_feeds);
    [ada, ben, cem]
}

/// Watches how many bytes lie in a directory, as often as it can. Returns the most.
fn watch(dir: &Path, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (dir, over) = (dir.to_owned(), over.clone());
    thread::spawn(move || {
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            // What gets its place while we look is seen in both: as `shard.part`, then as `shard`.
            let files = contents(&dir).into_iter();
            let named =
                files.map(|(path, bytes)| (path.file_stem().map(OsStr::to_owned), bytes.len()));
            let bytes: usize = named.collect::<BTreeMap<_, _>>().values().sum();
            most = most.max(bytes as u64);
            thread::sleep(Duration::from_millis(2));
        }
        most
    })
}

/// Both run until a condition holds, and then end.
fn meet(
    one: &mut Device,
    other: &mut Device,
    what: &str,
    condition: impl Fn(&Device, &Device) -> bool,
) {
    one.start();
    other.start();
    wait(what, one, || condition(one, other));
    one.stop();
    other.stop();
}

#[test]
fn two_who_never_meet_keep_each_others_data_by_a_friend() {
    let mut circle = Circle::new();
    let Some(clock) = circle.clock() else { return };
    let [mut ada, mut ben, mut cem] = chain(&circle, &clock);
    let parcels = ben.home.join("parcels");
    let over = Arc::new(AtomicBool::new(false));
    let most = watch(&parcels, &over);

    let folder = circle.path("docs");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..4 {
        fs::write(folder.join(format!("{file}.bin")), noise(file, 8 << 20)).unwrap();
    }
    ada.ok(&["backup", folder.to_str().unwrap()]);
    // Two packs with a shard of each for Cem, one at a time; and what lists the files.
    for round in 1..=2 {
        meet(&mut ada, &mut ben, "entrusted", |ada, ben| {
            of(ben, "ada", "bytes_i_carry") > 8 << 20 && has_parted(ada, "ben")
        });
        assert!(!contents(&parcels).is_empty(), "round {round}");
        meet(&mut ben, &mut cem, "delivered", |ben, cem| {
            let rid = of(ben, "ada", "bytes_i_carry") == 0 && contents(&parcels).is_empty();
            rid && of(cem, "ada", "bytes_i_hold") > round * (8 << 20)
        });
    }
    let kept = of(&cem, "ada", "bytes_i_hold");
    meet(&mut ada, &mut ben, "heard of the receipts", |ada, _| {
        of(ada, "cem", "bytes_held_for_me") == kept
    });

    // The other way round, and Ada's feed with her newest head is Cem's now.
    let letters = circle.path("letters");
    fs::create_dir_all(&letters).unwrap();
    fs::write(letters.join("one.bin"), noise(9, 8 << 20)).unwrap();
    cem.ok(&["backup", letters.to_str().unwrap()]);
    meet(&mut ben, &mut cem, "entrusted", |ben, cem| {
        of(ben, "cem", "bytes_i_carry") > 0 && has_parted(cem, "ben")
    });
    meet(&mut ada, &mut ben, "given hers", |ada, ben| {
        of(ben, "cem", "bytes_i_carry") == 0 && of(ada, "cem", "bytes_i_hold") > 4 << 20
    });
    meet(&mut ben, &mut cem, "told", have_the_same_feeds);

    over.store(true, Ordering::Relaxed);
    let most = most.join().unwrap();
    assert!(most > 8 << 20, "{most}");
    assert!(most <= OFFER / 10, "{most} is more than Ben carries");
    for (device, stranger) in [(&ada, &cem), (&cem, &ada)] {
        let id = stranger.status()["member"].as_str().unwrap().to_owned();
        let log = device.whole_log();
        let mut met = log.lines().filter(|line| line.contains("\"met\""));
        assert!(!met.any(|line| line.contains(&id)), "{}", device.name);
    }
}

#[test]
fn a_friends_friend_completes_an_invite() {
    let mut circle = Circle::new();
    let Some(clock) = circle.clock() else { return };
    let [mut ada, mut ben, mut cem] = chain(&circle, &clock);
    let link = ada.ok(&["invite", "dora"]).text("link");
    ada.ok(&["friends", "remove", "dan"]);
    // Who is removed is heard of by everybody, and who is invited.
    meet(&mut ada, &mut ben, "told", have_the_same_feeds);
    meet(&mut ben, &mut cem, "told", have_the_same_feeds);
    assert_eq!(members(&cem.status()), 3, "dan is gone");
    cem.start();
    let mut dora = circle.device("dora");
    dora.ok_with(&["join", "--name", "dora"], &link);
    dora.start();
    cem.wait_until("with dora", |status| members(status) == 4);
    dora.wait_until("with all", |status| members(status) == 4);
    // A second guest is refused, though who invited knows nothing of the first.
    let again = circle
        .device("eve")
        .run_with(&["join", "--name", "eve"], &link);
    again.refused(1, "used already");
    dora.stop();
    cem.stop();
    meet(&mut ben, &mut cem, "told", have_the_same_feeds);
    meet(&mut ada, &mut ben, "told", have_the_same_feeds);
    assert_eq!(members(&ada.status()), 4);
}
