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
}

impl Timetable {
    /// Returns an empty timetable: silence until the first announcement.
    pub(super) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            moments: Vec::new(),
            burst: 0,
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

    /// Returns the next moment.
    pub(super) fn due(&self) -> Option<Instant> {
        self.moments.last().copied()
    }

    /// Tells whether the next moment is one of a burst.
    pub(super) const fn is_burst(&self) -> bool {
        self.burst > 0
    }

    /// Notes that the beacon spoke: what was due is done, and after a burst comes the steady rhythm.
    pub(super) fn spoken(&mut self, now: Instant, idle: bool, mut random: impl FnMut() -> u32) {
        self.moments.retain(|moment| *moment > now);
        self.burst = self.burst.min(self.moments.len());
        if self.moments.is_empty() {
            let wait = match idle {
                true => self.rhythm.idle,
                false => self.rhythm.busy,
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

    fn waits(timetable: &mut Timetable, start: Instant, idle: bool, random: u32) -> Vec<u64> {
        let mut waits = Vec::new();
        for number in 0..6 {
            let due = timetable.due().unwrap();
            assert_eq!(timetable.is_burst(), number < 4);
            // To hundredths of a second.
            let hundredths = ((due - start).as_millis() + 5) / 10;
            waits.push(hundredths.try_into().unwrap());
            timetable.spoken(due, idle, || random);
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
        timetable.spoken(start, false, || MIDDLE);
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
        timetable.spoken(woken, false, || 0);
        assert_eq!(timetable.due(), Some(woken + Duration::from_millis(22_500)));
    }
}
