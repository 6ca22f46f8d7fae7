//! When the beacon speaks next.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rhythm;

/// The moments that are due, earliest last.
#[derive(Debug)]
pub(super) struct Timetable {
    rhythm: Rhythm,
    moments: Vec<Instant>,
    /// How many of them belong to a burst.
    burst: usize,
    /// When it last spoke.
    last: Option<Instant>,
}

/// How often a beacon is of use to those who hear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Nothing to do, and nobody near who knows anything else.
    pub(super) idle: bool,
    /// How many others speak here.
    pub(super) crowd: usize,
}

impl Timetable {
    /// Returns an empty timetable: silence until the first announcement.
    pub(super) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            moments: Vec::new(),
            burst: 0,
            last: None,
        }
    }

    /// Begins a burst. One that is under way starts over.
    pub(super) fn announce(&mut self, now: Instant, mut random: impl FnMut() -> u32) {
        let percent = self.rhythm.jitter_percent;
        self.moments = (self.rhythm.burst.iter())
            .map(|wait| now + jittered(*wait, percent, random()))
            .collect();
        self.moments.sort_by(|a, b| b.cmp(a));
        self.burst = self.moments.len();
    }

    /// Has the beacon speak soon, unless it does so anyway: what it says has changed.
    pub(super) fn hasten(&mut self, now: Instant, mut random: impl FnMut() -> u32) {
        let soon = now + jittered(self.rhythm.told, self.rhythm.jitter_percent, random());
        let at = self
            .last
            .map_or(soon, |last| soon.max(last + self.rhythm.told_again));
        if self.burst == 0 && self.due().is_some_and(|due| due > at) {
            self.moments = vec![at];
        }
    }

    /// Returns the next moment.
    pub(super) fn due(&self) -> Option<Instant> {
        self.moments.last().copied()
    }

    /// Tells whether the next moment is one of a burst.
    pub(super) const fn is_burst(&self) -> bool {
        self.burst > 0
    }

    /// Notes that the beacon spoke: what was due is done, and after a burst comes the steady rhythm.
    pub(super) fn spoken(&mut self, now: Instant, need: Need, mut random: impl FnMut() -> u32) {
        self.last = Some(now);
        self.moments.retain(|moment| *moment > now);
        self.burst = self.burst.min(self.moments.len());
        if self.moments.is_empty() {
            let crowd = u32::try_from(need.crowd).unwrap_or(u32::MAX);
            let turn = self.rhythm.idle_each.saturating_mul(crowd);
            let wait = match need.idle {
                true => self.rhythm.idle.max(turn),
                false => self.rhythm.busy.max(turn / 4),
            };
            let wait = jittered(wait, self.rhythm.jitter_percent, random());
            self.moments.push(now + wait);
        }
    }
}

/// Lengthens or shortens `wait` by up to `percent`, evenly over all values of `random`.
fn jittered(wait: Duration, percent: u32, random: u32) -> Duration {
    let percent = f64::from(percent.min(100)) / 100.0;
    let share = f64::from(random) / f64::from(u32::MAX);
    wait.mul_f64(1.0 - percent + 2.0 * percent * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u32 = u32::MAX / 2;

    fn need(idle: bool) -> Need {
        Need { idle, crowd: 0 }
    }

    fn waits(timetable: &mut Timetable, start: Instant, idle: bool, random: u32) -> Vec<u64> {
        let mut waits = Vec::new();
        for number in 0..6 {
            let due = timetable.due().unwrap();
            assert_eq!(timetable.is_burst(), number < 4);
            // To hundredths of a second.
            let hundredths = ((due - start).as_millis() + 5) / 10;
            waits.push(hundredths.try_into().unwrap());
            timetable.spoken(due, need(idle), || random);
        }
        waits
    }

    #[test]
    fn a_burst_then_the_steady_rhythm() {
        let mut timetable = Timetable::new(Rhythm::default());
        assert_eq!(timetable.due(), None, "silent until announced");
        let start = Instant::now();
        for (idle, random, expected) in [
            (false, 0, [0, 19, 75, 225, 2_475, 4_725]),
            (false, MIDDLE, [0, 25, 100, 300, 3_300, 6_300]),
            (false, u32::MAX, [0, 31, 125, 375, 4_125, 7_875]),
            (true, MIDDLE, [0, 25, 100, 300, 12_300, 24_300]),
        ] {
            timetable.announce(start, || random);
            assert_eq!(waits(&mut timetable, start, idle, random), expected);
        }
    }

    #[test]
    fn a_new_burst_replaces_what_was_planned() {
        let mut timetable = Timetable::new(Rhythm::default());
        let start = Instant::now();
        timetable.announce(start, || MIDDLE);
        timetable.spoken(start, need(false), || MIDDLE);
        let later = start + Duration::from_millis(500);
        timetable.announce(later, || MIDDLE);
        assert_eq!(timetable.due(), Some(later));
        assert_eq!(timetable.moments.len(), 4);
    }

    #[test]
    fn moments_that_were_slept_through_are_one() {
        let mut timetable = Timetable::new(Rhythm::default());
        let start = Instant::now();
        timetable.announce(start, || MIDDLE);
        let woken = start + Duration::from_secs(3600);
        timetable.spoken(woken, need(false), || 0);
        assert_eq!(timetable.due(), Some(woken + Duration::from_millis(22_500)));
    }

    /// Returns a timetable whose burst is over, and when it last spoke.
    fn steady(need: Need) -> (Timetable, Instant) {
        let mut timetable = Timetable::new(Rhythm::default());
        let mut last = Instant::now();
        timetable.announce(last, || MIDDLE);
        for _ in 0..4 {
            last = timetable.due().unwrap();
            timetable.spoken(last, need, || MIDDLE);
        }
        (timetable, last)
    }

    #[test]
    fn a_crowd_takes_little_of_the_air_however_large_it_is() {
        // With their headers: IPv4 multicast and broadcast, IPv6 multicast.
        let bits = 8.0 * (138.0 + 138.0 + 158.0);
        for crowd in [1, 10, 50, 100, 250] {
            for (idle, most) in [(true, 2_000.0), (false, 6_100.0)] {
                let (timetable, last) = steady(Need { idle, crowd });
                let wait = (timetable.due().unwrap() - last).as_secs_f64();
                let rate = bits * (crowd + 1) as f64 / wait;
                assert!(rate <= most, "{crowd} {idle}: {rate} bit/s");
            }
        }
    }

    #[test]
    fn what_is_new_is_told_soon_but_not_again_and_again() {
        let (mut timetable, last) = steady(need(true));
        let at = |seconds| last + Duration::from_secs(seconds);
        timetable.hasten(at(1), || MIDDLE);
        assert_eq!(timetable.due(), Some(at(10)), "it spoke just now");
        timetable.spoken(at(10), need(true), || MIDDLE);
        timetable.hasten(at(60), || MIDDLE);
        let due = timetable.due().unwrap();
        assert!(due >= at(61) && due <= at(63));
        assert!(!timetable.is_burst(), "nobody is asked to answer");
        // A burst tells it anyway.
        timetable.announce(at(61), || MIDDLE);
        timetable.hasten(at(61), || MIDDLE);
        assert_eq!(timetable.moments.len(), 4);
    }

    #[test]
    fn who_is_silent_stays_silent() {
        let mut timetable = Timetable::new(Rhythm::default());
        timetable.hasten(Instant::now(), || MIDDLE);
        assert_eq!(timetable.due(), None);
    }
}
