//! Where somebody is on one day, and when their laptop is open there.

use super::{
    calendar::Calendar,
    cast::{Cast, Spot},
};
use crate::rng::Rng;

/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// A part of a day at one place, in minutes since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) spot: Spot,
    pub(super) from: u64,
    pub(super) to: u64,
    /// When the laptop is open.
    pub(super) laptop: Option<(u64, u64)>,
}

/// Returns where a person is, in order and without overlap. Nights are at home.
pub(super) fn stays(
    cast: &Cast,
    calendar: &Calendar,
    person: usize,
    day: u32,
    rng: &mut Rng,
) -> Vec<Stay> {
    let who = &cast.people[person];
    let home = Spot::Home(who.home);
    if calendar.is_away(person, day) {
        return Vec::new();
    }
    let mut outings = Vec::new();
    let free = calendar.is_free(day);
    if !free && !who.at_home {
        let from = rng.between(7 * 60, 9 * 60 + 30);
        let to = from + rng.between(6 * 60, 9 * 60);
        // Who works elsewhere meets nobody there.
        outings.push((who.office.then_some(Spot::Office), from, to));
    }
    if free && rng.chance(who.visits) {
        let from = rng.between(10 * 60, 15 * 60);
        let to = from + rng.between(90, 7 * 60);
        outings.push((host_of(cast, person, rng), from, to));
    } else if rng.chance(who.cafe) {
        let from = rng.between(18 * 60 + 30, 20 * 60);
        outings.push((Some(Spot::Cafe), from, from + rng.between(30, 150)));
    }
    let mut stays = Vec::new();
    let mut now = 0;
    for (spot, from, to) in outings {
        if from > now {
            stays.push(at_home(home, now, from, who.evenings, rng));
        }
        if let Some(spot) = spot {
            let laptop = rng
                .chance(who.carries)
                .then(|| (from + rng.between(2, 20), to - 5));
            let laptop = laptop.filter(|(from, to)| from < to);
            stays.push(Stay {
                spot,
                from,
                to,
                laptop,
            });
        }
        now = to + rng.between(10, 40);
    }
    if now < DAY {
        stays.push(at_home(home, now, DAY, who.evenings, rng));
    }
    stays
}

/// Somebody else's home: mostly the first one's, where there is most room.
fn host_of(cast: &Cast, person: usize, rng: &mut Rng) -> Option<Spot> {
    let host = if rng.chance(400) {
        0
    } else {
        rng.index(cast.people.len())
    };
    let home = cast.people[host].home;
    (home != cast.people[person].home).then_some(Spot::Home(home))
}

fn at_home(spot: Spot, from: u64, to: u64, evenings: u32, rng: &mut Rng) -> Stay {
    // Awake from seven to eleven at night.
    let (first, last) = (from.max(7 * 60), to.min(23 * 60));
    let used = last > first + 45 && rng.chance(evenings);
    let laptop = used.then(|| {
        let start = rng.between(first, last - 40);
        (start, (start + rng.between(30, 4 * 60)).min(last))
    });
    Stay {
        spot,
        from,
        to,
        laptop,
    }
}
