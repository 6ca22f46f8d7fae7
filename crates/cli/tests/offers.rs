//! Friends offer what they have, be it ten or a thousand: none is overfilled, and what the small ones
//! can't take goes to the large ones.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use circle::{Circle, noise};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// As 10, 100, 1000 and 1000 GB are to some 400 GB.
const OFFERS: [(&str, u64); 4] = [
    ("ben", MIB),
    ("cleo", 10 * MIB),
    ("dora", 100 * MIB),
    ("emil", 100 * MIB),
];

/// Returns what the status says of each friend, in the order of [`OFFERS`].
fn of_friends(status: &Value, key: &str) -> [u64; 4] {
    let members = status["members"].as_array().unwrap();
    OFFERS.map(|(name, _)| {
        let member = members.iter().find(|it| it["petname"] == name).unwrap();
        member[key].as_u64().unwrap()
    })
}

#[test]
fn four_friends_with_very_different_room() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let friends = OFFERS.map(|(name, bytes)| {
        let friend = circle.guest(&ada, name);
        let mib = format!("{}MiB", bytes / MIB);
        friend.ok(&["friends", "offer", "ada", &mib]);
        friend
    });
    let offers = OFFERS.map(|(_, bytes)| bytes);
    ada.wait_until("told of the offers", |status| {
        of_friends(status, "offered_to_me") == offers
    });
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    for file in 0..10 {
        let content = noise(file, 4 << 20);
        fs::write(folder.join(format!("{file}.bin")), content).unwrap();
    }
    ada.ok(&["backup", folder.to_str().unwrap()]);

    // Two of the four suffice, so a shard is half a pack, and two have room for one of each.
    let half = 20 * MIB;
    ada.wait_until("placed", |status| {
        let held = of_friends(status, "bytes_held_for_me");
        let proved = of_friends(status, "audited") == held;
        let small = held[0] > 0 && held[1] > 4 * MIB;
        let told = ["ben has no room", "cleo has no room"]
            .iter()
            .all(|risk| status["risks"].to_string().contains(risk));
        let large = held[2..].iter().all(|held| *held >= half);
        status["safe"] == true && proved && small && large && told
    });
    for friend in &friends {
        let status = friend.status();
        let mut members = status["members"].as_array().unwrap().iter();
        let member = members.find(|it| it["petname"] == "ada").unwrap();
        let kept = member["bytes_i_hold"].as_u64().unwrap();
        assert!(kept > 0, "everybody has the folder lists");
        assert!(kept <= member["offered_by_me"].as_u64().unwrap());
    }
}
