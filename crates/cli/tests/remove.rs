//! A friend is removed by the real program, and so is a device that was stolen.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::fs;

use circle::{Circle, noise};

#[test]
fn a_removed_friend_is_refused_and_what_it_keeps_does_not_count() {
    let circle = Circle::new();
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let ben = circle.guest(&ada, "ben");
    let cem = circle.guest(&ada, "cem");
    let folder = circle.path("docs");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    fs::write(folder.join("old.bin"), noise(1, 2 << 20)).unwrap();
    ada.ok(&["backup", &path]);
    let before = ada.wait_settled();
    assert_eq!(before["health_min"], 2, "{before:#}");

    ada.run(&["friends", "remove", "ada", "--device"]).refused(
        2,
        "you have no other device called 'ada': this is your only one",
    );
    ada.run(&["friends", "remove", "nobody"])
        .refused(2, "nobody in this circle is called 'nobody'");
    let removed = ada.ok(&["friends", "remove", "cem"]).text("headline");
    assert!(removed.contains("if this device is lost"), "{removed}");
    let after = ada.status();
    assert_eq!(after["health_min"], 1, "cem's don't count: {after:#}");
    assert_eq!(after["members"].as_array().unwrap().len(), 1);

    // Nobody gives it anything new, and it is told why.
    let told = cem.wait_until("told", |status| {
        let risks = status["risks"].as_array().unwrap();
        (risks.iter()).any(|it| {
            it.as_str()
                .unwrap()
                .contains("does not belong to the circle")
        })
    });
    let kept = |status: &serde_json::Value| {
        let members = status["members"].as_array().unwrap();
        (members.iter())
            .map(|it| it["bytes_i_hold"].as_u64().unwrap())
            .sum::<u64>()
    };
    fs::write(folder.join("new.bin"), noise(2, 2 << 20)).unwrap();
    ada.ok(&["backup", &path]);
    let settled = ada.wait_settled();
    assert_eq!(settled["health_min"], 1, "{settled:#}");
    assert!(kept(&ben.status()) > 4 << 20);
    assert_eq!(kept(&cem.status()), kept(&told));
    let members = ben.wait_until("told", |status| {
        status["members"].as_array().unwrap().len() == 1
    });
    assert_eq!(members["members"][0]["petname"], "ada");
}

#[test]
fn a_stolen_device_is_refused_and_the_new_one_goes_on() {
    let circle = Circle::new();
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    fs::write(folder.join("old.bin"), noise(1, 1 << 20)).unwrap();
    ada.ok(&["backup", &path]);
    ada.wait_settled();

    let stolen = ada.status()["device"].as_str().unwrap().to_owned();
    let mut new = circle.recover("new", &words, &ben);
    new.start();
    new.run(&["friends", "remove", "phone", "--device"])
        .refused(2, "you have no other device called 'phone', but ");
    new.ok(&["friends", "remove", &stolen[..8], "--device"]);
    ada.wait_until("told", |status| {
        let risks = status["risks"].as_array().unwrap();
        (risks.iter()).any(|it| {
            it.as_str()
                .unwrap()
                .contains("does not belong to the circle")
        })
    });
    fs::write(folder.join("new.bin"), noise(2, 1 << 20)).unwrap();
    new.ok(&["backup", &path]);
    new.wait_settled();
    let to = circle.path("back");
    let run = new.run(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", new.log());
    for (name, seed) in [("old.bin", 1), ("new.bin", 2)] {
        assert!(fs::read(to.join("docs").join(name)).unwrap() == noise(seed, 1 << 20));
    }
}
