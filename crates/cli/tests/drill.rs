//! A drill brings files back from friends alone: when asked, and every quarter by itself.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use circle::{Circle, Device, noise};

const DAY: u64 = 24;

fn back_up(circle: &Circle, ada: &Device) {
    let folder = circle.path("docs");
    fs::create_dir_all(folder.join("small")).unwrap();
    fs::write(folder.join("large.bin"), noise(1, 3 << 20)).unwrap();
    for file in 2..8 {
        fs::write(folder.join(format!("small/{file}")), noise(file, 5000)).unwrap();
    }
    ada.ok(&["backup", folder.to_str().unwrap()]);
    ada.wait_settled();
}

#[test]
fn a_drill_needs_friends_and_nothing_else() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    back_up(&circle, &ada);
    assert!(ada.status()["last_proof"].is_null(), "none was had yet");
    // Neither the files nor the spool are looked at.
    fs::rename(circle.path("docs"), circle.path("elsewhere")).unwrap();
    let run = ada.run(&["check", "--drill"]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", ada.log());
    let drill = run.last()["drill"].clone();
    assert_eq!(drill["files"], 7, "{drill:#}");
    assert_eq!(drill["bytes"], (3 << 20) + 6 * 5000);
    let proof = ada.status()["last_proof"].clone();
    assert_eq!(proof["files"], 7, "{proof:#}");
    for device in [&mut ada, &mut ben] {
        device.kill();
    }
    ada.start();
    let run = ada.run(&["check", "--drill"]);
    assert_eq!(run.code, Some(5), "nobody is there: {run:?}");
    assert_eq!(ada.status()["last_proof"], proof);
}

#[test]
fn every_quarter_one_is_had_by_itself() {
    let mut circle = Circle::new();
    let Some(clock) = circle.clock() else { return };
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let _ben = circle.guest(&ada, "ben");
    back_up(&circle, &ada);
    assert!(ada.status()["last_proof"].is_null(), "not on the first day");
    let mut last = 0;
    // The first after a day, then each quarter; friends show what they keep before.
    for days in [2, 95, 190] {
        clock.set_ahead(days * DAY);
        let status = ada.wait_until("drilled", |status| {
            status["last_proof"]["at"].as_u64() > Some(last)
        });
        let proof = &status["last_proof"];
        assert_eq!(proof["files"], 7, "{proof:#}");
        let at = proof["at"].as_u64().unwrap();
        assert!(at - last > 80 * DAY * 3600 * 1000, "{at} after {last}");
        last = at;
    }
}
