//! Friends come one at a time, and bring everything back, by the real program: half-fetched packs lie on
//! the disk meanwhile, and the restore goes on by itself, over a restart.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{fs, thread, time::Duration, time::Instant};

use circle::{Circle, Device, PATIENCE, noise, relative};

/// Owner and four friends: any two bring everything back, one alone brings nothing but the lists.
struct Loss {
    circle: Circle,
    friends: Vec<Device>,
    before: Vec<(std::path::PathBuf, Vec<u8>)>,
    words: String,
}

impl Loss {
    fn new() -> Self {
        let circle = Circle::new();
        let (mut ada, words) = circle.founder("ada");
        ada.start();
        let names = ["bo", "cy", "di", "ed"];
        let mut friends: Vec<Device> = names.map(|name| circle.guest(&ada, name)).into();
        let folder = circle.path("docs");
        fs::create_dir_all(&folder).unwrap();
        // One file that takes several packs, and some that share one.
        fs::write(folder.join("film.bin"), noise(1, 50 << 20)).unwrap();
        for file in 0..9 {
            let name = format!("{file}.bin");
            fs::write(folder.join(name), noise(10 + file, 6 << 20)).unwrap();
        }
        let before = relative(&folder);
        ada.save_and_lose(&folder);
        for friend in &mut friends {
            friend.stop();
        }
        Self {
            circle,
            friends,
            before,
            words,
        }
    }

    /// Comes back on a new machine, among one friend.
    fn recover(&mut self) -> Device {
        let friend = &mut self.friends[0];
        friend.start();
        let mut again = self.circle.recover("again", &self.words, friend);
        again.start();
        again
    }
}

fn restores(device: &Device) -> usize {
    let retrace = device.ok(&["retrace"]).last();
    retrace["restores"].as_array().unwrap().len()
}

fn wait(what: &str, device: &Device, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "never {what}\n{}",
            device.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn friends_who_come_one_at_a_time_bring_everything_back() {
    let mut loss = Loss::new();
    let mut again = loss.recover();
    let to = loss.circle.path("back");
    let target = to.to_str().unwrap();
    let run = again.run(&["restore", "--to", target, "--patience", "2"]);
    run.refused(5, "goes on by itself");
    assert_eq!(restores(&again), 1);
    // What one friend has waits on the disk for another one. Some packs it makes alone, since it got
    // all of them at first.
    let aside = again.home.join("aside");
    let bytes = || -> usize { relative(&aside).iter().map(|(_, it)| it.len()).sum() };
    wait("set aside", &again, || bytes() > 16 << 20);
    let kept = bytes();

    loss.friends[0].stop();
    again.kill();
    again.start();
    assert!(restores(&again) == 1 && bytes() == kept);
    loss.friends[1].start();
    wait("restored", &again, || restores(&again) == 0);
    assert!(relative(&to.join("docs")) == loss.before);
    assert!(again.whole_log().contains("\"type\":\"restored\""));
    wait("cleared", &again, || bytes() == 0);
}

#[test]
fn a_restore_that_waits_gives_way_and_can_be_given_up() {
    let mut loss = Loss::new();
    let again = loss.recover();
    let to = loss.circle.path("back");
    let target = to.to_str().unwrap();
    again
        .run(&["restore", "--to", target, "--patience", "2"])
        .refused(5, "goes on by itself");
    // One file jumps the queue as soon as another friend is there.
    loss.friends[1].start();
    let one = loss.circle.path("one");
    let what = "latest:/docs/3.bin";
    let run = again.run(&["restore", what, "--to", one.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}\n{}", again.log());
    let name = std::path::Path::new("3.bin");
    let found = relative(&one)
        .into_iter()
        .find(|(path, _)| path.ends_with(name));
    let wanted = loss.before.iter().find(|(path, _)| path.ends_with(name));
    assert!(found.unwrap().1 == wanted.unwrap().1);
    let absent = loss.circle.path("absent");
    let stopped = again.ok(&["restore", "--stop", "--to", absent.to_str().unwrap()]);
    assert_eq!(stopped.last()["restores"], 0);
    again.ok(&["restore", "--stop"]);
    assert_eq!(restores(&again), 0);
}
