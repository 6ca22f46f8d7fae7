//! Cuts the power at every operation of some work, and at every operation of the recovery after it.

use crate::mem_disk::{MemDisk, Survival};

/// Runs `work` once for every operation that it makes on a disk prepared by `prepare`, with the power
/// cut there, and lets `check` look at what several kinds of crash leave. `work` returns what was
/// acknowledged to it. `check` is what the next process does; it too is cut at every operation, and
/// what that leaves is checked again.
pub(crate) fn cut_everywhere<A>(
    prepare: impl Fn(&MemDisk),
    work: impl Fn(&MemDisk) -> A,
    check: impl Fn(&MemDisk, &A),
    recover: impl Fn(&MemDisk),
) {
    let whole = MemDisk::new();
    prepare(&whole);
    let first = whole.ops();
    let acknowledged = work(&whole);
    check(&whole.crash(Survival::Synced), &acknowledged);
    let last = whole.ops();
    assert!(last > first, "the work changes nothing");
    for cut in first..=last {
        let survivals = [
            Survival::All,
            Survival::Synced,
            Survival::Torn { seed: cut },
            Survival::Torn {
                seed: cut + 1_000_000,
            },
            Survival::Torn {
                seed: cut + 2_000_000,
            },
        ];
        let disk = MemDisk::new();
        prepare(&disk);
        disk.freeze_after(cut);
        let acknowledged = work(&disk);
        for survival in survivals {
            check(&disk.crash(survival), &acknowledged);
        }
        let found = Survival::Torn { seed: cut };
        for second in 0.. {
            let disk = disk.crash(found);
            disk.freeze_after(second);
            recover(&disk);
            let done = disk.ops() < second;
            check(&disk.crash(Survival::Torn { seed: second }), &acknowledged);
            if done {
                break;
            }
        }
    }
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
