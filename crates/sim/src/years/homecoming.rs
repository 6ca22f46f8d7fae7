//! Coming home: somebody's house burns, and their files come back from five friends, each of whom they meet
//! about once a week. Is it over when the way home said it would be?

use std::{
    fmt,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use carryall_core::{
    limits,
    time::{Span, Timestamp},
};

use super::{
    cast::{Cast, Spot},
    fate::Blow,
    life::Life,
    report::days,
    score::{Forecast, quantile},
    trace::Happening,
};
use crate::{checker::Violation, rng::Rng, seeds, world::BEGIN};

/// The one whose house burns, and their machine.
const OWNER: usize = 0;
/// Their friends come after them.
const FRIENDS: usize = 5;
/// Weeks of habits before the fire.
const WEEKS: u32 = 8;
/// From the fire, at midnight, until there is a new machine.
const NEW_AFTER: Span = Span::hours(34);
/// Days after the fire until we stop looking.
const PATIENCE: u32 = 56;
/// Packs of files from before the first day.
const OLD: u8 = 12;
/// There are new files on a day, in a thousand.
const SAVES: u32 = 250;
/// When the owner is in the café, in hours.
const EVENING: Range<u64> = 16..23;

/// When a friend comes to the café.
#[derive(Clone, Copy, Debug)]
struct Habit {
    weekday: u32,
    hour: u64,
    /// Comes on that day, in a thousand.
    keeps: u32,
    /// Comes on another day, in a thousand.
    besides: u32,
}

/// What was foretold of many homecomings, and what became of them.
#[derive(Debug, Default)]
pub struct Homecomings {
    /// How many there were.
    fires: usize,
    /// Those that are over.
    over: Vec<Forecast>,
    /// Promises that were not kept, with the seed.
    pub violations: Vec<(u64, Violation)>,
}

/// Burns a house in each seed.
pub fn come_home(seeds: Range<u64>) -> Homecomings {
    let all = Mutex::new(Homecomings::default());
    seeds::for_each(seeds, |seed| {
        let (over, violations) = one(seed);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.fires += 1;
        all.over.extend(over);
        let violations = violations.into_iter().map(|it| (seed, it));
        all.violations.extend(violations);
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Lives through one fire, until all is back.
pub(super) fn one(seed: u64) -> (Option<Forecast>, Vec<Violation>) {
    let rng = Rng::new(seed).fork("homecoming", 0);
    let habits: Vec<Habit> = (0..FRIENDS)
        .map(|friend| habit(&mut rng.fork("habit", friend as u64)))
        .collect();
    // On any day of the week.
    let fire_day = 7 * WEEKS + u32::try_from(seed % 7).unwrap_or(0);
    let fire = BEGIN + Span::days(fire_day.into());
    let mut life = Life::begin(Cast::of_laptops(FRIENDS + 1), seed, limits::CARRIERS_MAX);
    for day in 0..fire_day + PATIENCE {
        let midnight = BEGIN + Span::days(day.into());
        if day == fire_day {
            life.at(fire, Happening::Blow(Blow::Break(OWNER)));
        }
        let new = fire + NEW_AFTER;
        if (midnight..midnight + Span::days(1)).contains(&new) {
            life.at(new, Happening::Blow(Blow::Replace(OWNER)));
        }
        for (at, happening) in evening(&habits, day, &mut rng.fork("day", day.into())) {
            life.at(at, happening);
        }
        if let Some(over) = life.world.score.foretold().first().copied() {
            life.end();
            return (Some(over), life.violations);
        }
    }
    life.end();
    (None, life.violations)
}

fn habit(rng: &mut Rng) -> Habit {
    let mut draw = |low, high| u32::try_from(rng.between(low, high)).unwrap_or(0);
    Habit {
        weekday: draw(0, 6),
        hour: draw(17, 20).into(),
        keeps: draw(700, 950),
        besides: draw(0, 60),
    }
}

/// Returns what happens on an evening, in order: the owner is in the café and saves what is new, and friends
/// come for half an hour to two.
fn evening(habits: &[Habit], day: u32, rng: &mut Rng) -> Vec<(Timestamp, Happening)> {
    let midnight = BEGIN + Span::days(day.into());
    let at = |minutes: u64| midnight + Span::secs(60 * minutes);
    let mut all = vec![
        (at(60 * EVENING.start), Happening::Wake(OWNER, Spot::Cafe)),
        (at(60 * EVENING.end), Happening::Sleep(OWNER)),
    ];
    let new = if day == 0 {
        OLD
    } else {
        u8::from(rng.chance(SAVES))
    };
    if new > 0 {
        all.push((at(60 * EVENING.start + 5), Happening::Save(OWNER, new)));
    }
    for (friend, habit) in habits.iter().enumerate() {
        let usual = habit.weekday == day % 7;
        let comes = rng.chance(if usual { habit.keeps } else { habit.besides });
        let from = 60 * habit.hour + rng.between(0, 50) - 25;
        let to = from + rng.between(30, 120);
        if comes {
            let machine = OWNER + 1 + friend;
            all.push((at(from), Happening::Wake(machine, Spot::Cafe)));
            all.push((at(to.min(60 * EVENING.end)), Happening::Sleep(machine)));
        }
    }
    // Stable: what was drawn first comes first at equal times.
    all.sort_by_key(|(at, _)| *at);
    all
}

impl fmt::Display for Homecomings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |value: fn(&Forecast) -> f64| {
            let mut all: Vec<f64> = self.over.iter().map(value).collect();
            all.resize(self.fires, f64::INFINITY);
            all.sort_by(f64::total_cmp);
            all
        };
        let share = |holds: fn(&Forecast) -> bool| {
            let count = self.over.iter().filter(|it| holds(it)).count();
            100.0 * count as f64 / self.fires.max(1) as f64
        };
        let (by, after) = (values(|it| it.by), values(|it| it.after));
        let off = values(|it| (it.by - it.after).abs() / it.after.max(1.0 / 24.0));
        write!(
            f,
            "| {} fires | foretold | took |\n|---|---|---|",
            self.fires
        )?;
        for (name, at) in [("p25", 250), ("p50", 500), ("p75", 750), ("p90", 900)] {
            let (by, after) = (days(quantile(&by, at)), days(quantile(&after, at)));
            write!(f, "\n| {name} | {by} | {after} |")?;
        }
        write!(
            f,
            "\n\nover by the time called likely: {:.0} %, by that called the latest: {:.0} %; a single forecast is off by {:.0} % at the median; {} never over",
            share(|it| it.after <= it.by),
            share(|it| it.after <= it.at_the_latest),
            100.0 * quantile(&off, 500),
            self.fires - self.over.len(),
        )
    }
}
