//! Cuts the power at every operation of some work, and at every operation of the recovery after it.

use crate::mem_disk::{MemDisk, Survival};

#[cfg(test)]
mod tests;

/// In so many ways what was not synced survives in part, at each operation.
const TORN: u64 = 6;

/// Where the power was cut, for whoever reads why a check failed.
struct Scene {
    cut: u64,
    survival: Survival,
    second: Option<u64>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (cut, survival) = (self.cut, self.survival);
            eprintln!("cut at operation {cut}, {survival:?} survived");
            if let Some(second) = self.second {
                eprintln!("and cut again at operation {second} of the recovery");
            }
        }
    }
}

/// Runs `work` once for every operation that it makes on a disk prepared by `prepare`, with the power
/// cut there, and lets `check` look at what several kinds of crash leave: everything written, nothing
/// but what was synced, and of the rest each sector and each name by chance, so in any order. `work`
/// returns what was acknowledged to it. `check` is what the next process does; `recover` is the same,
/// cut at every operation of its own, and what that leaves is checked again. Returns how often the power
/// was cut.
pub(crate) fn cut_everywhere<A>(
    prepare: impl Fn(&MemDisk),
    work: impl Fn(&MemDisk) -> A,
    check: impl Fn(&MemDisk, &A),
    recover: impl Fn(&MemDisk),
) -> u64 {
    cut_with(1, prepare, work, check, recover)
}

/// The same, where the recovery takes so many operations that only one in `stride` of them is cut.
pub(crate) fn cut_with<A>(
    stride: usize,
    prepare: impl Fn(&MemDisk),
    work: impl Fn(&MemDisk) -> A,
    check: impl Fn(&MemDisk, &A),
    recover: impl Fn(&MemDisk),
) -> u64 {
    let prepared = MemDisk::new();
    prepare(&prepared);
    let whole = prepared.crash(Survival::All);
    let acknowledged = work(&whole);
    check(&whole.crash(Survival::Synced), &acknowledged);
    let last = whole.ops();
    assert!(last > 0, "the work changes nothing");
    let mut cuts = 0;
    for cut in 0..=last {
        let torn = (0..TORN).map(|again| Survival::Torn {
            seed: cut + again * 1_000_000,
        });
        let survivals = [Survival::All, Survival::Synced].into_iter().chain(torn);
        let disk = prepared.crash(Survival::All);
        disk.freeze_after(cut);
        let acknowledged = work(&disk);
        for survival in survivals {
            let second = None;
            let _scene = Scene {
                cut,
                survival,
                second,
            };
            check(&disk.crash(survival), &acknowledged);
            cuts += 1;
        }
        let survival = Survival::Torn { seed: cut };
        for at in (cut % stride as u64..).step_by(stride) {
            let second = Some(at);
            let _scene = Scene {
                cut,
                survival,
                second,
            };
            let disk = disk.crash(survival);
            disk.freeze_after(at);
            recover(&disk);
            let done = disk.ops() < at;
            check(&disk.crash(Survival::Torn { seed: at }), &acknowledged);
            cuts += 1;
            if done {
                break;
            }
        }
    }
    cuts
}

/// Runs `work` once for every operation that it makes, with no room left from there on, then lets
/// `check` look at the disk, on which there is room again.
pub(crate) fn fill_everywhere<A>(
    prepare: impl Fn(&MemDisk),
    work: impl Fn(&MemDisk) -> A,
    check: impl Fn(&MemDisk, &A),
) {
    let whole = MemDisk::new();
    prepare(&whole);
    let first = whole.ops();
    work(&whole);
    for full in first..whole.ops() {
        let disk = MemDisk::new();
        prepare(&disk);
        disk.fill_after(Some(full));
        let acknowledged = work(&disk);
        disk.fill_after(None);
        check(&disk, &acknowledged);
    }
}

/// Kills the process at every operation of `work`, lets `see` look, and cuts the power then: what was
/// seen once, and may have been told to others, is seen again.
pub(crate) fn what_is_seen_stays<S: PartialEq + std::fmt::Debug>(
    prepare: impl Fn(&MemDisk),
    work: impl Fn(&MemDisk),
    see: impl Fn(&MemDisk) -> S,
) {
    let whole = MemDisk::new();
    prepare(&whole);
    let first = whole.ops();
    work(&whole);
    for cut in first..=whole.ops() {
        let disk = MemDisk::new();
        prepare(&disk);
        disk.freeze_after(cut);
        work(&disk);
        disk.thaw();
        let seen = see(&disk);
        assert_eq!(see(&disk.crash(Survival::Synced)), seen, "cut {cut}");
    }
}
