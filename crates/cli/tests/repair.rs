//! What friends lose goes to others without a command, and what rots on a shelf is found, by the real
//! program. The clock leaps over the weeks that this takes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use circle::{Circle, Clock, Device, PATIENCE, noise, relative};
use serde_json::Value;

const DAY: u64 = 24;

/// Writes files of 4 MiB each.
fn fill(folder: &Path, seed: u64, files: u64) {
    fs::create_dir_all(folder).unwrap();
    for file in 0..files {
        let name = format!("{file:03}.bin");
        fs::write(folder.join(name), noise(seed + file, 4 << 20)).unwrap();
    }
}

/// Waits, much longer where there is much to do, until the status fulfils a condition.
fn wait_for(
    what: &str,
    device: &Device,
    times: u32,
    mut condition: impl FnMut(&Value) -> bool,
) -> Value {
    let started = Instant::now();
    loop {
        let status = device.status();
        if condition(&status) {
            return status;
        }
        let patience = started.elapsed() < PATIENCE * times;
        assert!(patience, "never {what}: {status:#}\n{}", device.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the largest shard on a device's shelf.
fn largest_shard(device: &Device) -> PathBuf {
    let shelf = device.home.join("shelf");
    let files = relative(&shelf).into_iter();
    let largest = files.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    shelf.join(largest.0)
}

#[test]
fn a_shard_that_rots_is_found_by_its_holder_and_sent_again() {
    let mut circle = Circle::new();
    let Some(clock) = circle.clock() else { return };
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fill(&folder, 1, 3);
    ada.ok(&["backup", folder.to_str().unwrap()]);
    ada.wait_settled();
    ben.stop();
    let shard = largest_shard(&ben);
    let good = fs::read(&shard).unwrap();
    let mut rotten = good.clone();
    rotten[good.len() / 2] ^= 1;
    fs::write(&shard, &rotten).unwrap();

    ben.start();
    let mut ahead = 0;
    // Within ten days of running all is read again.
    wait_for("sent again", &ben, 1, |_| {
        ahead = (ahead + 3).min(10 * DAY);
        clock.set_ahead(ahead);
        fs::read(&shard).is_ok_and(|now| now == good)
    });
    assert!(
        ben.whole_log().contains("its owner is told"),
        "{}",
        ben.log()
    );
    ada.wait_settled();
}

/// Tells whether friends have shown all that they keep, and nothing is under way with these.
fn is_calm(status: &Value, with: &[Device]) -> bool {
    let calm = |member: &Value| {
        let linked =
            with.iter().any(|it| member["petname"] == it.name) && !member["link"].is_null();
        !linked && member["audited"] == member["bytes_held_for_me"]
    };
    status["members"].as_array().unwrap().iter().all(calm)
}

/// Weeks pass in which some friends are away, and the others are not.
fn weeks_pass(clock: &Clock, owner: &Device, others: &[Device], times: u32) {
    clock.set_ahead(32 * DAY);
    wait_for("shown what they keep", owner, times, |status| {
        let members = status["members"].as_array().unwrap();
        let shown = |name: &str| {
            let mut found = members.iter().filter(|it| it["petname"] == name);
            found.all(|it| it["audited"] == it["bytes_held_for_me"])
        };
        others.iter().all(|it| shown(it.name))
    });
    // They were met, and the two were not, a day ago.
    clock.set_ahead(34 * DAY);
    owner.status();
    clock.set_ahead(34 * DAY + 2);
}

/// Two of five friends lose everything, and then the owner does, of so many files of 4 MiB.
fn two_friends_vanish_and_then_the_owner(files: u64, times: u32) {
    let mut circle = Circle::new();
    let Some(clock) = circle.clock() else { return };
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let guests = ["ben", "cleo", "dora", "emil", "fred"];
    let mut friends = Vec::from(guests.map(|name| circle.guest(&ada, name)));
    let folder = circle.path("docs");
    fill(&folder.join("kept"), 1, files / 2);
    fill(&folder.join("moved"), 1 + files / 2, files - files / 2);
    ada.ok(&["backup", folder.to_str().unwrap()]);
    let settled = |status: &Value| status["safe"] == true && status["health_min"] == 3;
    wait_for("settled", &ada, times, settled);
    let before = relative(&folder);
    // A half can't be made again from the files: only friends have it.
    fs::rename(folder.join("moved"), circle.path("elsewhere")).unwrap();

    // Those who keep most: of some packs only what two others have is left.
    let status = ada.status();
    let kept = |friend: &Device| {
        let mut members = status["members"].as_array().unwrap().iter();
        let member = members.find(|it| it["petname"] == friend.name).unwrap();
        member["bytes_held_for_me"].as_u64()
    };
    friends.sort_by_key(kept);
    let mut lost = friends.split_off(3);
    wait_for("calm", &ada, times, |status| is_calm(status, &[]));
    for lost in &mut lost {
        lost.kill();
        fs::remove_dir_all(&lost.home).unwrap();
    }
    // What they said last is heard before the weeks pass.
    wait_for("left", &ada, times, |status| is_calm(status, &lost));
    weeks_pass(&clock, &ada, &friends, times);
    let gone = |status: &Value| {
        let risks = status["risks"].to_string();
        risks.matches("was away for longer than it ever is").count()
    };
    // Two of the three bring everything back again, whichever.
    wait_for("repaired", &ada, times, |status| {
        gone(status) == 2 && status["health_min"] == 2
    });
    assert!(
        ada.whole_log().contains("\"type\":\"repairing\""),
        "{}",
        ada.log()
    );

    ada.kill();
    fs::remove_dir_all(&ada.home).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    friends.remove(0).kill();
    let mut again = circle.recover("again", &words, &friends[0]);
    again.start();
    let to = circle.path("back");
    let run = again.run(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", again.log());
    assert!(relative(&to.join("docs")) == before);
}

#[test]
fn what_two_friends_and_then_the_owner_lose_comes_back() {
    two_friends_vanish_and_then_the_owner(8, 1);
}

/// `cargo test --workspace --test repair -- --ignored`
#[test]
#[ignore = "takes two minutes, and 12 GiB of disk"]
fn two_gib_that_two_friends_and_then_the_owner_lose_come_back() {
    two_friends_vanish_and_then_the_owner(512, 20);
}
