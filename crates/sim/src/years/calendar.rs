//! The calendar: workdays, weekends, holidays, and when somebody is away.

use crate::rng::Rng;

/// Days of a year.
pub(super) const YEAR: u32 = 365;
/// Holidays that fall on a workday, per year.
const HOLIDAYS: u32 = 9;

/// The days of some years.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    holidays: Vec<u32>,
    /// Of each person: the first day away, and the first back.
    away: Vec<Vec<(u32, u32)>>,
}

impl Calendar {
    pub(super) fn new(people: usize, days: u32, rng: &Rng) -> Self {
        let mut draw = rng.fork("holidays", 0);
        let years = days.div_ceil(YEAR);
        let any = |rng: &mut Rng, year: u32| {
            year * YEAR + u32::try_from(rng.below(YEAR.into())).unwrap_or(0)
        };
        let holidays = (0..years).flat_map(|year| vec![year; HOLIDAYS as usize]);
        let holidays = holidays.map(|year| any(&mut draw, year)).collect();
        let away = (0..people).map(|person| {
            let mut rng = rng.fork("away", person as u64);
            let mut trips = Vec::new();
            for year in 0..years {
                for _ in 0..2 {
                    let from = any(&mut rng, year);
                    let length = u32::try_from(rng.between(7, 16)).unwrap_or(7);
                    trips.push((from, from + length));
                }
            }
            trips
        });
        Self {
            holidays,
            away: away.collect(),
        }
    }

    /// Tells whether nobody works. Day 0 is a Monday.
    pub(super) fn is_free(&self, day: u32) -> bool {
        day % 7 >= 5 || self.holidays.contains(&day)
    }

    /// Tells whether somebody is far away, with what they carry.
    pub(super) fn is_away(&self, person: usize, day: u32) -> bool {
        let trips = self.away.get(person).into_iter().flatten();
        trips
            .into_iter()
            .any(|(from, to)| (*from..*to).contains(&day))
    }
}
