//! Friends come one at a time, and bring everything back, by the real program: half-fetched packs lie on
//! the disk meanwhile, and the restore goes on by itself, over a restart.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{fs, thread, time::Duration, time::Instant};

use circle::{Circle, Device, PATIENCE, noise, relative};

/// Owner and friends, of four of whom any two bring everything back; one alone brings nothing but the
/// lists.
struct Loss {
    circle: Circle,
    friends: Vec<Device>,
    before: Vec<(std::path::PathBuf, Vec<u8>)>,
    words: String,
}

impl Loss {
    fn new() -> Self {
        Self::of(&["bo", "cy", "di", "ed"], |_, ada| ada.start())
    }

    /// The owner's node is started as is said.
    fn of(names: &[&'static str], start: impl FnOnce(&Circle, &mut Device)) -> Self {
        let circle = Circle::new();
        let (mut ada, words) = circle.founder("ada");
        start(&circle, &mut ada);
        let mut friends: Vec<Device> = (names.iter())
            .map(|name| circle.guest(&ada, name))
            .collect();
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
        // What each has signed for all have heard of.
        for friend in &mut friends {
            come_to_silence(friend);
        }
        friends.iter_mut().for_each(Device::stop);
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

fn wait(what: &str, device: &Device, mut condition: impl FnMut() -> bool) {
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

/// Waits until a node has had nothing to say for a while.
fn come_to_silence(device: &Device) {
    let (mut last, mut since) = (0, Instant::now());
    wait("was silent", device, || {
        let said = device.whole_log().len();
        if said != last {
            (last, since) = (said, Instant::now());
        }
        since.elapsed() > Duration::from_secs(2)
    });
}

/// Waits until more bytes have come than before, and no more come or all is back. Returns how many came.
fn come_to_rest(device: &Device, before: u64) -> u64 {
    let received = || -> u64 {
        let log = device.whole_log();
        let parted = log.lines().filter(|line| line.contains("\"parted\""));
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        let bytes = parted.filter_map(|line| read(line)?["received"].as_u64());
        bytes.sum()
    };
    let (mut last, mut since) = (before, Instant::now());
    wait("came to rest", device, || {
        restores(device) == 0 || received() > before
    });
    while restores(device) > 0 && since.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(100));
        let now = received();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
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

/// Six homes, of which one burns with all that is in it. Only one of the others is on at any time, and
/// whose turn it is says `retrace`.
#[test]
fn after_a_fire_the_way_home_leads_from_one_friend_to_the_next() {
    let names = ["bo", "cy", "di", "ed", "fay"];
    let mut loss = Loss::of(&names, |circle, ada| {
        // The house has a portable disk in it, too.
        let disk = circle.path("disk");
        fs::create_dir_all(&disk).unwrap();
        ada.ok(&["courier", "init", disk.to_str().unwrap()]);
        ada.start_with(&["--path", disk.to_str().unwrap()]);
    });
    fs::remove_dir_all(loss.circle.path("disk")).unwrap();
    let again = loss.recover();
    let to = loss.circle.path("back");
    let run = again.run(&["restore", "--to", to.to_str().unwrap(), "--patience", "2"]);
    run.refused(5, "goes on by itself");
    let (mut visited, mut came) = (vec![0], 0);
    loop {
        came = come_to_rest(&again, came);
        if restores(&again) == 0 {
            break;
        }
        let retrace = again.ok(&["retrace"]).last();
        let mut stops = retrace["stops"].as_array().unwrap().iter();
        let next = stops.find(|stop| stop["reachable"] == false);
        let next = next.unwrap_or_else(|| panic!("{visited:?}: {retrace:#}\n{}", again.log()));
        let next = names.iter().position(|it| next["petname"] == *it).unwrap();
        assert!(!visited.contains(&next), "{visited:?}: {retrace:#}");
        loss.friends[visited[visited.len() - 1]].stop();
        loss.friends[next].start();
        visited.push(next);
    }
    assert!(relative(&to.join("docs")) == loss.before);
    let count = visited.len();
    assert!((2..=3).contains(&count), "half of five: {visited:?}");
}
