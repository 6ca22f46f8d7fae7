//! Notices when this machine comes into a network, leaves it, or wakes up.
//!
//! Where the kernel tells, it is asked at once and otherwise only seldom, since notices may get lost.
//! Nobody tells of a wake, so two clocks are compared: only one of them runs on during sleep.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kernel;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "place/poll.rs"]
mod kernel;

use std::time::{Duration, SystemTime};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::interface::{self, Interface};
use kernel::Notices;

/// How often clocks are compared, and interfaces looked at where nobody tells of changes.
const TICK: Duration = Duration::from_secs(2);
/// How often interfaces are looked at although nobody told of a change, in ticks.
const TICKS_UNTOLD: u32 = 15;
/// Changes come in company; they are looked at together.
const SETTLE: Duration = Duration::from_millis(10);
/// Clocks that part by more between two ticks mean that the machine slept, or that somebody set the
/// time, which is rare and costs a few beacons.
const SLEPT: Duration = Duration::from_secs(3);

/// Where this machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The addresses of this machine.
    pub(crate) interfaces: Vec<Interface>,
    /// How often it woke up.
    pub(crate) wakes: u64,
}

impl Place {
    /// Looks around. Where interfaces can't be listed, there are none.
    pub(crate) fn look() -> Self {
        Self {
            interfaces: interface::list().unwrap_or_default(),
            wakes: 0,
        }
    }
}

/// Keeps `place` up to date until nobody looks at them any more.
pub(crate) async fn watch(place: watch::Sender<Place>) {
    let mut notices = Notices::open();
    let mut clocks = Clocks::now();
    let mut untold = 0;
    loop {
        let mut told = false;
        tokio::select! {
            () = place.closed() => return,
            () = notices.next() => {
                told = true;
                sleep(SETTLE).await;
            }
            () = sleep(TICK) => untold += 1,
        }
        let woken = clocks.parted();
        let due = !notices.are_told() || untold >= TICKS_UNTOLD;
        if told || woken || due {
            untold = 0;
            look(&place, woken).await;
        }
    }
}

async fn look(place: &watch::Sender<Place>, woken: bool) {
    let found = tokio::task::spawn_blocking(interface::list).await;
    place.send_if_modified(|known| {
        let mut changed = woken;
        known.wakes += u64::from(woken);
        // While they can't be listed, nothing is known to have changed.
        if let Ok(Ok(found)) = found {
            changed |= known.interfaces != found;
            known.interfaces = found;
        }
        changed
    });
}

/// The two clocks when they were last compared.
#[derive(Debug)]
struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }

    /// Tells whether the wall clock ran ahead since the last time.
    fn parted(&mut self) -> bool {
        let now = Self::now();
        let steady = now.steady.duration_since(self.steady);
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        *self = now;
        wall > steady + SLEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_ran_ahead_means_sleep() {
        let mut clocks = Clocks::now();
        assert!(!clocks.parted());
        clocks.wall -= Duration::from_secs(60);
        assert!(clocks.parted());
        assert!(!clocks.parted(), "told once");
        clocks.wall += Duration::from_secs(60);
        assert!(!clocks.parted(), "a clock that was set back is no sleep");
    }

    #[tokio::test]
    async fn a_wake_is_told_although_no_address_changed() {
        let (sender, mut receiver) = watch::channel(Place::look());
        look(&sender, true).await;
        assert!(receiver.has_changed().unwrap());
        assert_eq!(receiver.borrow_and_update().wakes, 1);
    }
}
