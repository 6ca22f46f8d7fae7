//! Whom one usually meets, and when: learnt from meetings, said in words.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use carryall_core::{
    event::LinkClass,
    id::{DeviceId, MemberId},
    meeting::{Meeting, Network},
    time::{Span, Timestamp},
};
use circle::Circle;
use serde_json::Value;

/// Returns a history of one meeting a week, on Fridays at 19:00, the last one some days ago.
fn fridays(friend: &Value, now: Timestamp) -> Vec<u8> {
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let week = Span::days(7).0;
    // 1970-01-02 was a Friday.
    let evening = Span::days(1).0 + Span::hours(19).0;
    let last = (now.0 - evening - Span::hours(10).0) / week * week + evening;
    let mut bytes = b"CRYMEET\x01".to_vec();
    for weeks in (0..6).rev() {
        let meeting = Meeting {
            device: DeviceId::from_hex(&id(&friend["devices"][0]["id"])).unwrap(),
            member: MemberId::from_hex(&id(&friend["id"])).unwrap(),
            class: LinkClass::Lan,
            network: Network::UNKNOWN,
            start: Timestamp(last - weeks * week),
            offset_minutes: 0,
            length: Span::secs(5000),
            linked: Span::secs(10),
            sent: 10_000_000,
            received: 0,
        };
        let body = meeting.to_bytes();
        let mut record = u16::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        record.extend(body);
        let check = blake3::hash(&record);
        record.extend(&check.as_bytes()[..4]);
        bytes.extend(record);
    }
    bytes
}

#[test]
fn friends_are_usually_met_on_fridays() {
    let circle = Circle::new();
    let (mut anna, _) = circle.founder("anna");
    anna.start();
    let _bob = circle.guest(&anna, "bob");
    let folder = circle.path("photos");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.jpg"), circle::noise(1, 300_000)).unwrap();
    anna.ok(&["backup", folder.to_str().unwrap()]);
    let safe = anna.wait_safe();
    assert_eq!(
        safe["members"][0]["usual"],
        Value::Null,
        "nothing is known yet"
    );
    anna.stop();

    // The node wrote down whom it met before it ended.
    let history = anna.home.join("meetings");
    let written = fs::read(&history).unwrap();
    assert!(written.starts_with(b"CRYMEET\x01") && written.len() > 100);
    let friend = anna.ok(&["friends"]).last()["members"][0].clone();
    assert!(friend["last_met"].is_u64(), "{friend}");
    assert_eq!(friend["reachable"], false);

    let now = Timestamp(friend["last_met"].as_u64().unwrap());
    fs::write(&history, fridays(&friend, now)).unwrap();
    let friend = anna.status()["members"][0].clone();
    assert_eq!(friend["usual"], "Fridays around 19:00");
    let expected = friend["expected"].as_u64().unwrap();
    assert!(expected > now.0 - Span::hours(1).0 && expected < now.0 + Span::days(7).0);
    assert_eq!(friend["bytes_per_meeting"], 5_000_000_000_u64);
    let retrace = anna.ok(&["retrace"]).last();
    assert_eq!(retrace["holders"][0]["usual"], "Fridays around 19:00");
    let home = anna.home.to_str().unwrap();
    for command in ["friends", "status", "retrace"] {
        let said = circle::carryall(&["--home", home, command], "");
        let words = "usually Fridays around 19:00, next ";
        assert!(said.stdout.contains(words), "{command}: {said:?}");
    }

    // Something new that nobody has: it is probably safe by the next meeting.
    fs::write(folder.join("b.jpg"), circle::noise(2, 300_000)).unwrap();
    anna.ok(&["backup"]);
    let outlook = anna.status()["outlook"].clone();
    assert_eq!(outlook["petname"], "bob");
    assert_eq!(outlook["by"].as_u64(), Some(expected));
}

#[test]
fn a_history_of_a_newer_program_is_refused_politely() {
    let circle = Circle::new();
    let (anna, _) = circle.founder("anna");
    fs::write(anna.home.join("meetings"), b"CRYMEET\x02").unwrap();
    anna.run(&["status"])
        .refused(1, "format version 2, this program reads up to 1");
}
