//! Full disks, on either side: a clear sentence, reading still works, and it goes on when there is
//! room. Needs the right to mount a small file system; passes without a try where that is missing.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod circle;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use circle::{Circle, PATIENCE, noise};

/// A disk of a few MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one in place of a directory. Nothing where that is not allowed.
    fn mount(dir: &Path, mib: u64) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("no right to mount: not tried");
        }
        mounted.then(|| Self(dir.to_owned()))
    }

    fn grow(&self, mib: u64) {
        let size = format!("remount,size={mib}m");
        let grown = Command::new("mount")
            .args(["-o", &size])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill(folder: &Path, files: u64, bytes: usize) {
    fs::create_dir(folder).unwrap();
    for file in 0..files {
        fs::write(folder.join(format!("file-{file}")), noise(file, bytes)).unwrap();
    }
}

#[test]
fn a_friend_whose_disk_is_full_says_so_and_goes_on_later() {
    let circle = Circle::new();
    let Some(disk) = SmallDisk::mount(&circle.path("ben"), 28) else {
        return;
    };
    let (mut ada, _) = circle.founder("ada");
    ada.start();
    let mut ben = circle.guest(&ada, "ben");
    let folder = circle.path("docs");
    fill(&folder, 6, 9 << 20);
    assert_eq!(ada.run(&["backup", folder.to_str().unwrap()]).code, Some(4));
    let started = Instant::now();
    while !ada.log().contains("\"type\":\"no_room\"") {
        assert!(
            started.elapsed() < PATIENCE,
            "{:#}\n{}",
            ada.status(),
            ada.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
    let status = ada.status();
    assert_eq!(status["safe"], false, "{status:#}");
    assert!(status["bytes_only_here"].as_u64() > Some(0), "{status:#}");
    assert_eq!(
        ben.status()["running"],
        true,
        "a full disk can still be read"
    );
    ben.ok(&["friends"]);

    disk.grow(200);
    // Both have a moment's rest, and meet anew.
    ben.kill();
    ada.kill();
    ben.start();
    ada.start();
    ada.wait_safe();
    ben.kill();
}

#[test]
fn an_owner_whose_disk_is_full_is_told_and_loses_nothing() {
    let circle = Circle::new();
    let Some(_disk) = SmallDisk::mount(&circle.path("ada"), 8) else {
        return;
    };
    let (device, _) = circle.founder("ada");
    let folder = circle.path("docs");
    fs::create_dir(&folder).unwrap();
    fill(&folder.join("before"), 20, 20 << 10);
    assert_eq!(
        device.run(&["backup", folder.to_str().unwrap()]).code,
        Some(4)
    );
    let kept = circle::relative(&folder);
    let ballast = device.home.join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=1k"])
        .arg(format!("of={}", ballast.display()))
        .output()
        .unwrap();
    assert!(!filled.status.success(), "the disk is full now");

    fill(&folder.join("after"), 30, 60 << 10);
    device
        .run(&["backup"])
        .refused(1, "no room left on the disk");
    assert_eq!(device.status()["snapshots"], 1);
    let to = circle.path("back");
    device.ok(&["restore", "--to", to.to_str().unwrap()]);
    assert_eq!(circle::relative(&to.join("docs")), kept);

    fs::remove_file(&ballast).unwrap();
    let run = device.run(&["backup"]);
    assert_eq!(
        (run.code, run.last()["files"].as_u64()),
        (Some(4), Some(50)),
        "{run:?}"
    );
}
