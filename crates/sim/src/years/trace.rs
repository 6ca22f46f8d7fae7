//! The trace of some years: everything that happens to people and machines, whatever is done about it.
//! It follows from the seed alone, and is the same for every policy.

use carryall_core::time::{Span, Timestamp};

use super::{
    calendar::{Calendar, YEAR},
    cast::{Cast, Kind, Setting, Spot},
    fate::{Blow, blows},
    stays::stays,
};
use crate::{rng::Rng, world::BEGIN};

/// Somebody has new files on a day, in a thousand.
const SAVES: u32 = 250;
/// Packs of files from before the first day.
const OLD: u8 = 12;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A machine wakes up, or is opened, somewhere.
    Wake(usize, Spot),
    /// It sleeps, or is carried away.
    Sleep(usize),
    /// A person's files change, by so many packs, and a backup is made.
    Save(usize, u8),
    /// Something bad.
    Blow(Blow),
}

/// Some years of a circle.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) cast: Cast,
    pub(super) days: u32,
    calendar: Calendar,
    blows: Vec<(Timestamp, Blow)>,
    rng: Rng,
}

impl Trace {
    pub(super) fn new(setting: Setting, years: u32, seed: u64) -> Self {
        let rng = Rng::new(seed).fork(setting.name(), 0);
        let days = years * YEAR;
        let cast = Cast::new(setting, &rng);
        Self {
            days,
            calendar: Calendar::new(cast.people.len(), days, &rng),
            blows: blows(&cast, days, &rng),
            cast,
            rng,
        }
    }

    /// Cuts it short.
    pub(super) fn until(mut self, days: u32) -> Self {
        self.days = days;
        self
    }

    #[cfg(test)]
    /// Leaves out what goes wrong.
    pub(super) fn calm(mut self) -> Self {
        self.blows.clear();
        self
    }

    /// Returns what happens on a day, in order.
    pub(super) fn day(&self, day: u32) -> Vec<(Timestamp, Happening)> {
        let midnight = BEGIN + Span::days(day.into());
        let at = |minute: u64| midnight + Span::secs(60 * minute);
        let mut all = Vec::new();
        for person in 0..self.cast.people.len() {
            let rng = self.rng.fork("person", person as u64);
            let mut rng = rng.fork("day", day.into());
            let stays = stays(&self.cast, &self.calendar, person, day, &mut rng);
            let own = |kind| {
                let machines = self.cast.machines.iter().enumerate();
                machines.filter(move |(_, it)| it.owner == person && it.kind == kind)
            };
            // Each second of a minute is another machine's, so that nothing is at once.
            let place = |machine: usize| Span::secs(machine as u64);
            for stay in &stays {
                for (machine, _) in own(Kind::Laptop) {
                    if let Some((from, to)) = stay.laptop {
                        all.push((
                            at(from) + place(machine),
                            Happening::Wake(machine, stay.spot),
                        ));
                        all.push((at(to) + place(machine), Happening::Sleep(machine)));
                    }
                }
                for (machine, _) in own(Kind::Phone) {
                    let (from, to) = (stay.from.max(7 * 60), stay.to.min(23 * 60));
                    if from < to {
                        all.push((
                            at(from) + place(machine),
                            Happening::Wake(machine, stay.spot),
                        ));
                        all.push((at(to) + place(machine), Happening::Sleep(machine)));
                    }
                }
            }
            self.save(person, day, &stays, &mut rng, &mut all);
        }
        if day == 0 {
            for (machine, it) in self.cast.machines.iter().enumerate() {
                if let Some(spot) = it.stands {
                    all.push((midnight, Happening::Wake(machine, spot)));
                }
            }
        }
        let blows = self
            .blows
            .iter()
            .filter(|(when, _)| (midnight..midnight + Span::days(1)).contains(when));
        all.extend(blows.map(|(when, blow)| (*when, Happening::Blow(*blow))));
        // Stable: what was drawn first comes first at equal times.
        all.sort_by_key(|(when, _)| *when);
        all
    }

    /// A person's files change while the machine with them is open.
    fn save(
        &self,
        person: usize,
        day: u32,
        stays: &[super::stays::Stay],
        rng: &mut Rng,
        all: &mut Vec<(Timestamp, Happening)>,
    ) {
        let midnight = BEGIN + Span::days(day.into());
        let phone = self.cast.machines[self.cast.desk(person)].kind == Kind::Phone;
        let open = stays.iter().find_map(|stay| match phone {
            true => (stay.to > 9 * 60).then_some((stay.from.max(8 * 60), stay.to.min(22 * 60))),
            false => stay.laptop,
        });
        let (chance, minute) = (rng.chance(SAVES), rng.next());
        let packs = if rng.chance(150) { 2 } else { 1 };
        let old = day == 0;
        let (from, to) = open.filter(|(from, to)| from < to).unwrap_or((600, 601));
        if old || (chance && open.is_some()) {
            let minute = from + minute % (to - from);
            let packs = if old { OLD } else { packs };
            let when = midnight + Span::secs(60 * minute + 30);
            all.push((when, Happening::Save(person, packs)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nobody_is_in_two_places_and_nothing_sleeps_twice() {
        for setting in Setting::ALL {
            let trace = Trace::new(setting, 1, 7);
            let mut awake = BTreeMap::new();
            let mut last = BEGIN;
            for day in 0..trace.days {
                for (when, happening) in trace.day(day) {
                    assert!(last <= when, "{setting:?} {day}");
                    last = when;
                    match happening {
                        Happening::Wake(machine, spot) => {
                            let before = awake.insert(machine, spot);
                            assert_eq!(before, None, "{setting:?} {day} {machine}");
                        }
                        Happening::Sleep(machine) => {
                            assert!(awake.remove(&machine).is_some(), "{setting:?} {day}");
                        }
                        _ => {}
                    }
                }
            }
            // What is left is what stands somewhere.
            let stands = trace.cast.machines.iter().filter(|it| it.stands.is_some());
            assert_eq!(awake.len(), stands.count());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_days_and_others_others() {
        let days = |seed| -> Vec<_> {
            let trace = Trace::new(Setting::Village, 1, seed);
            (0..30).flat_map(|day| trace.day(day)).collect()
        };
        assert_eq!(days(1), days(1));
        assert_ne!(days(1), days(2));
    }

    #[test]
    fn machines_break_as_often_as_they_should() {
        let (mut broken, mut years) = (0, 0);
        for seed in 0..40 {
            let trace = Trace::new(Setting::Office, 3, seed);
            years += 3 * trace.cast.machines.len();
            let breaks = trace
                .blows
                .iter()
                .filter(|(_, it)| matches!(it, Blow::Break(_)));
            broken += breaks.count();
        }
        let rate = 1000 * broken / years;
        assert!((50..=110).contains(&rate), "{rate} in a thousand a year");
    }

    #[test]
    fn colleagues_meet_on_workdays_and_rarely_on_others() {
        let trace = Trace::new(Setting::Office, 1, 3);
        let mut met = [0_u32; 2];
        for day in 0..trace.days {
            let wakes = trace
                .day(day)
                .into_iter()
                .filter(|(_, it)| matches!(it, Happening::Wake(_, Spot::Office)));
            met[usize::from(trace.calendar.is_free(day))] += u32::try_from(wakes.count()).unwrap();
        }
        assert!(met[0] > 1000 && met[1] == 0, "{met:?}");
    }
}
