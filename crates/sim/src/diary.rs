//! A week in an office: who is in, who has coffee or a meeting with whom, and when files are made.

use std::collections::BTreeMap;

use carryall_core::time::{Span, Timestamp};

use crate::{
    agenda::Task,
    rng::Rng,
    world::{BEGIN, Place},
};

/// How many work there.
pub(crate) const COLLEAGUES: usize = 4;
/// Rooms in which some meet at the same time.
const ROOMS: u8 = 2;
/// In each half hour of the day a room is used so many times in a thousand.
const USED_PER_MILLE: u32 = 450;
/// The half hours of a day in which people meet: from nine to six.
const HALF_HOURS: std::ops::Range<u64> = 18..36;
/// Minutes of one of them.
const HALF_HOUR: u64 = 30;

/// A time spent at work, in minutes from midnight.
type Hours = (u64, u64);

/// Returns what happens on a day, in order. At a desk nobody is in reach of anybody.
pub(crate) fn day(rng: &Rng, day: u32) -> Vec<(Timestamp, Task)> {
    let mut rng = rng.fork("office day", day.into());
    let weekend = day % 7 >= 5;
    let mut tasks = Vec::new();
    let mut hours: BTreeMap<usize, Hours> = BTreeMap::new();
    for colleague in 0..COLLEAGUES {
        let (from, to) = (rng.between(8 * 60, 10 * 60), rng.between(930, 1110));
        let is_in = rng.chance(850) && !weekend;
        let works = if weekend {
            rng.below(2)
        } else {
            rng.between(2, 3)
        };
        for _ in 0..works {
            let at = moment(day, rng.between(from, to), &mut rng);
            tasks.push((at, Task::Work(colleague)));
        }
        if is_in {
            hours.insert(colleague, (from, to));
        }
    }
    for half_hour in HALF_HOURS {
        let start = half_hour * HALF_HOUR;
        let within = |(from, to): Hours| from <= start && start + HALF_HOUR <= to;
        let mut free: Vec<usize> = hours
            .iter()
            .filter(|(_, hours)| within(**hours))
            .map(|(colleague, _)| *colleague)
            .collect();
        for room in 0..ROOMS {
            let (most, minutes) = if rng.chance(600) {
                (3, rng.between(3, 8))
            } else {
                (4, rng.between(10, 25))
            };
            let size = 2 + rng.index(most - 1);
            let from = start + rng.below(4);
            if !rng.chance(USED_PER_MILLE) || free.len() < size {
                continue;
            }
            for _ in 0..size {
                let colleague = free.swap_remove(rng.index(free.len()));
                let come = moment(day, from, &mut rng);
                let leave = moment(day, from + minutes, &mut rng);
                tasks.push((come, Task::Go(colleague, Some(Place::Room(room)))));
                tasks.push((leave, Task::Go(colleague, None)));
            }
        }
    }
    tasks.sort_by_key(|(at, _)| *at);
    tasks
}

fn moment(day: u32, minute: u64, rng: &mut Rng) -> Timestamp {
    BEGIN + Span::days(day.into()) + Span::secs(minute * 60 + rng.below(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_in_two_rooms_and_weekends_are_quiet() {
        let mut met = 0;
        for at in 0..14 {
            let mut places = [None; COLLEAGUES];
            for (_, task) in day(&Rng::new(3), at) {
                if let Task::Go(colleague, place) = task {
                    assert!(at % 7 < 5);
                    assert_ne!(places[colleague].is_some(), place.is_some());
                    places[colleague] = place;
                    met += 1;
                }
            }
            assert_eq!(places, [None; COLLEAGUES]);
        }
        assert!(met > 150, "{met}");
    }
}
