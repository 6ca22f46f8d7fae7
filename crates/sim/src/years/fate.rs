//! Fate: what breaks, burns, leaves, lies, fills up, rots and goes wrong by the clock, and when.

use carryall_core::time::{Span, Timestamp};

use super::{
    calendar::YEAR,
    cast::{Cast, Kind},
};
use crate::{rng::Rng, world::BEGIN};

/// Homes that burn, are flooded or robbed, in a thousand per year.
const BURNS: u32 = 7;
/// People who leave the circle without a word, in a thousand per year.
const QUITS: u32 = 15;
/// Disks on which sectors rot, in a thousand per year.
const ROTS: u32 = 50;
/// Machines that stop keeping some of what they say they keep, in a thousand per year.
const CHEATS: u32 = 15;
/// Disks that are full for some days, in a thousand per year.
const FILLS: u32 = 150;
/// Clocks that jump, in a thousand per year.
const JUMPS: u32 = 100;

/// Something bad, to a machine or a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// A machine is gone for good, with its disk.
    Break(usize),
    /// Its owner has a new one.
    Replace(usize),
    /// A person's machines are never seen again.
    Quit(usize),
    /// So many of the shards on a machine's disk, in a thousand, are damaged.
    Rot(usize, u32),
    /// A machine drops so many of its shards, in a thousand, and does not say so.
    Cheat(usize, u32),
    /// The disk is full.
    Fill(usize),
    /// There is room again.
    Drain(usize),
    /// The clock is so many milliseconds ahead from now on.
    Skew(usize, i64),
}

/// Draws all blows of some days, in order.
pub(super) fn blows(cast: &Cast, days: u32, rng: &Rng) -> Vec<(Timestamp, Blow)> {
    let mut blows = Vec::new();
    for (at, machine) in cast.machines.iter().enumerate() {
        let rng = rng.fork("fate", at as u64);
        for when in moments(days, machine.fails, &mut rng.fork("break", 0)) {
            lose(at, when, &mut rng.fork("new", when.0), &mut blows);
        }
        for when in moments(days, ROTS, &mut rng.fork("rot", 0)) {
            let share = u32::try_from(rng.fork("rot", when.0).between(1, 30)).unwrap_or(1);
            blows.push((when, Blow::Rot(at, share)));
        }
        for when in moments(days, CHEATS, &mut rng.fork("cheat", 0)) {
            blows.push((when, Blow::Cheat(at, 50)));
        }
        for when in moments(days, FILLS, &mut rng.fork("fill", 0)) {
            let until = when + Span::hours(rng.fork("fill", when.0).between(6, 14 * 24));
            blows.push((when, Blow::Fill(at)));
            blows.push((until, Blow::Drain(at)));
        }
        for when in moments(days, JUMPS, &mut rng.fork("jump", 0)) {
            let mut rng = rng.fork("jump", when.0);
            let most = Span::days(2).0;
            let skew =
                i64::try_from(rng.below(2 * most)).unwrap_or(0) - i64::try_from(most).unwrap_or(0);
            let until = when + Span::hours(rng.between(1, 48));
            blows.push((when, Blow::Skew(at, skew)));
            blows.push((until, Blow::Skew(at, 0)));
        }
    }
    for home in 0..cast.open.len() {
        for when in moments(days, BURNS, &mut rng.fork("burn", home as u64)) {
            let lives = |owner: usize| cast.people[owner].home == home;
            for (at, machine) in cast.machines.iter().enumerate() {
                // Phones are saved, and half of the laptops.
                let mut rng = rng.fork("burn", when.0).fork("machine", at as u64);
                let there = match machine.kind {
                    Kind::Box => true,
                    Kind::Laptop => rng.chance(500),
                    Kind::Phone => false,
                };
                if lives(machine.owner) && there {
                    lose(at, when, &mut rng, &mut blows);
                }
            }
        }
    }
    for person in 0..cast.people.len() {
        // The first one keeps the circle together, and some must stay.
        let stays = person.is_multiple_of(3);
        let moment = moments(days, QUITS, &mut rng.fork("quit", person as u64));
        if let Some(when) = moment.first().filter(|_| !stays) {
            blows.push((*when, Blow::Quit(person)));
        }
    }
    // Stable: what was drawn first comes first at equal times.
    blows.sort_by_key(|(when, _)| *when);
    blows
}

fn lose(machine: usize, when: Timestamp, rng: &mut Rng, blows: &mut Vec<(Timestamp, Blow)>) {
    blows.push((when, Blow::Break(machine)));
    let new = when + Span::hours(rng.between(24, 12 * 24));
    blows.push((new, Blow::Replace(machine)));
}

/// Returns when something happens that happens so often in a thousand years.
fn moments(days: u32, per_mille: u32, rng: &mut Rng) -> Vec<Timestamp> {
    let mean = f64::from(YEAR) * 86_400e3 * 1000.0 / f64::from(per_mille.max(1));
    let end = BEGIN + Span::days(days.into());
    let mut moments = Vec::new();
    let mut now = BEGIN;
    loop {
        now = now + rng.wait(Span(mean as u64));
        if now >= end {
            return moments;
        }
        moments.push(now);
    }
}
