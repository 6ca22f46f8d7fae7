//! Power cuts: the node is killed at random moments of backup and replication, and goes on.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;
#[path = "../src/demo/portrait.rs"]
mod portrait;

use std::{fs, path::Path, thread, time::Duration};

use circle::{Circle, Device, noise};
use portrait::Portrait;

/// Longest time until a kill, in milliseconds: a backup of a few MiB and its replication fit.
const KILL_AFTER_MS: u64 = 900;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        let bytes = noise(self.0, 8);
        u64::from_le_bytes(bytes.try_into().unwrap()) % end
    }
}

fn backup(device: &Device, folder: &Path) -> Option<String> {
    let run = device.run(&["backup", folder.to_str().unwrap()]);
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    matches!(run.code, Some(0 | 4)).then(|| run.text("snapshot"))
}

/// Kills one of two nodes `kills` times, and sees that nothing acknowledged is lost.
fn survive(seed: u64, kills: u64) {
    let (circle, mut dice) = (Circle::new(), Dice(seed));
    let (mut ada, words) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    let mut acknowledged = Vec::new();
    for kill in 0..kills {
        let size = usize::try_from(dice.below(4 << 20)).unwrap();
        fs::write(
            folder.join(format!("file-{kill}")),
            noise(seed ^ kill, size),
        )
        .unwrap();
        let pause = Duration::from_millis(dice.below(KILL_AFTER_MS));
        let both = dice.below(2) == 0;
        let (ada_home, name) = (ada.home.clone(), ada.name);
        let asked = folder.clone();
        let asking = thread::spawn(move || backup(&Device::at(name, ada_home), &asked));
        thread::sleep(pause);
        ada.kill();
        if both {
            ben.kill();
        }
        acknowledged.extend(asking.join().unwrap());
        ada.start();
        if both {
            ben.start();
        }
    }
    acknowledged.extend(backup(&ada, &folder));
    assert!(!acknowledged.is_empty());
    ada.wait_settled();

    let listed = ada.ok(&["snapshots"]).stdout;
    for snapshot in &acknowledged {
        assert!(
            listed.contains(snapshot),
            "{snapshot} was acknowledged: {listed}"
        );
    }
    for device in [&ada, &ben] {
        let left: Vec<_> = circle::contents(&device.home)
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| {
                path.extension()
                    .is_some_and(|end| end == "part" || end == "tmp")
            })
            .collect();
        assert!(left.is_empty(), "left over: {left:?}");
    }
    let before = Portrait::take(&folder).unwrap();
    ada.kill();
    fs::remove_dir_all(&ada.home).unwrap();
    let mut anew = circle.recover("anew", &words, &ben);
    anew.start();
    let to = circle.path("back");
    let run = anew.run(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let found = Portrait::take(&to.join("docs")).unwrap();
    assert_eq!(before.differences(&found), Vec::<String>::new());
}

#[test]
fn killed_a_dozen_times_nothing_acknowledged_is_lost() {
    survive(0xCA11, 12);
}

/// Minutes. Run it by `cargo test -p carryall-cli --test crash -- --ignored`.
#[test]
#[ignore = "takes minutes; the short form runs always"]
fn killed_a_hundred_times_nothing_acknowledged_is_lost() {
    survive(0xB16_CA11, 100);
}
