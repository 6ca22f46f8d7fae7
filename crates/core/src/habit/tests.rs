//! Habits of people with a week.

use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::{
    id::DeviceId,
    meeting::{Network, tests::meeting},
};

/// Midnight of a Monday, in UTC.
const MONDAY: Timestamp = Timestamp(1_780_272_000_000);
const BOB: MemberId = MemberId([2; 32]);
const MINUTE: u64 = 60_000;

fn at(day: u64, hour: u64, minute: u64) -> Timestamp {
    MONDAY + Span::days(day) + Span::hours(hour) + Span(minute * MINUTE)
}

/// An hour and a half, where clocks show UTC.
fn met(day: u64, hour: u64, minute: u64) -> Meeting {
    Meeting {
        start: at(day, hour, minute),
        offset_minutes: 0,
        ..meeting()
    }
}

fn habits(meetings: impl IntoIterator<Item = Meeting>) -> Habits {
    let mut habits = Habits::default();
    meetings.into_iter().for_each(|it| habits.add(it));
    habits
}

/// On these days of so many weeks.
fn weekly(weeks: u64, days: &[u64], hour: u64) -> Habits {
    let all = (0..weeks).flat_map(|week| days.iter().map(move |day| 7 * week + day));
    habits(all.map(|day| met(day, hour, day * 7 % 20)))
}

fn within(habits: &Habits, now: Timestamp, hours: u64) -> u32 {
    let forecast = habits.forecast(BOB, now, 0).unwrap();
    forecast.within(Span::hours(hours))
}

#[test]
fn weights_halve_every_four_weeks() {
    assert_eq!(weight(0), WEIGHT);
    assert_eq!((weight(4), weight(8)), (WEIGHT / 2, WEIGHT / 4));
    assert!((1..60).all(|week| weight(week) <= weight(week - 1)));
    assert_eq!(weight(u64::MAX), 0);
}

#[test]
fn one_coffee_is_one_meeting() {
    let sips = (0..20).map(|sip| Meeting {
        length: Span::secs(10),
        linked: Span::secs(5),
        ..met(4, 19, 3 * sip)
    });
    let habits = habits(sips);
    assert_eq!(habits.len(), 1);
    let coffee = habits.meetings().next().unwrap();
    assert_eq!(coffee.length, Span::secs(57 * 60 + 10));
    assert_eq!(coffee.linked, Span::secs(100));
    assert_eq!(coffee.sent, 20 * meeting().sent);
}

#[test]
fn a_piece_between_two_meetings_makes_them_one() {
    let mut habits = habits([met(0, 9, 0), met(0, 11, 30)]);
    assert_eq!(habits.len(), 2);
    habits.add(met(0, 10, 20));
    assert_eq!(habits.len(), 1);
    let other = Meeting {
        device: DeviceId([9; 32]),
        ..met(0, 10, 20)
    };
    habits.add(other);
    assert_eq!(habits.len(), 2, "another device is met at the same time");
}

#[test]
fn usually_fridays_around_seven() {
    assert_eq!(weekly(2, &[4], 19).usual(BOB, at(14, 12, 0), 0), None);
    for (weeks, now) in [(3, 20), (20, 140)] {
        let usual = weekly(weeks, &[4], 19)
            .usual(BOB, at(now, 12, 0), 0)
            .unwrap();
        assert_eq!((usual.days, usual.hour), (Days::These(vec![4]), Some(19)));
        assert_eq!(usual.network, Some(meeting().network));
    }
    let two = weekly(6, &[1, 3], 8).usual(BOB, at(42, 12, 0), 0).unwrap();
    assert_eq!((two.days, two.hour), (Days::These(vec![1, 3]), Some(8)));
}

#[test]
fn usually_weekdays_weekends_or_most_days() {
    let usual = |days: &[u64], weeks| {
        let now = at(7 * weeks, 7, 0);
        weekly(weeks, days, 9).usual(BOB, now, 0).map(|it| it.days)
    };
    assert_eq!(usual(&[0, 1, 2, 3, 4], 4), Some(Days::Weekdays));
    assert_eq!(usual(&[0, 1, 3, 4], 4), Some(Days::Weekdays));
    assert_eq!(usual(&[5, 6], 4), Some(Days::Weekends));
    assert_eq!(usual(&[0, 1, 2, 3, 4, 5, 6], 4), Some(Days::Most));
    assert_eq!(usual(&[0, 2, 4, 6], 4), Some(Days::Most));
    assert_eq!(usual(&[0, 1, 2, 3, 4], 1), Some(Days::Weekdays));
    let first_days = habits((0..3).map(|day| met(day, 9, 0)));
    let usual = first_days.usual(BOB, at(3, 8, 0), 0).unwrap();
    assert_eq!((usual.days, usual.hour), (Days::Most, Some(9)));
}

#[test]
fn no_habit_no_words() {
    // Once a week, each time on another day and at another hour.
    let scattered = habits((0..14).map(|week| met(7 * week + week * 3 % 7, week * 5 % 24, 0)));
    assert_eq!(scattered.usual(BOB, at(98, 12, 0), 0), None);
    assert_eq!(Habits::default().usual(BOB, MONDAY, 0), None);
    // On Fridays, at any hour.
    let fridays = habits((0..8).map(|week| met(7 * week + 4, week * 3, 0)));
    let usual = fridays.usual(BOB, at(56, 12, 0), 0).unwrap();
    assert_eq!((usual.days, usual.hour), (Days::These(vec![4]), None));
}

#[test]
fn who_stayed_away_is_no_longer_usual() {
    let habits = weekly(12, &[4], 19);
    assert!(habits.usual(BOB, at(84, 12, 0), 0).is_some());
    assert_eq!(habits.usual(BOB, at(84 + 42, 12, 0), 0), None);
    let friday = |weeks: u64| within(&habits, at(7 * weeks + 4, 12, 0), 24);
    assert!(friday(12) > 950, "{}", friday(12));
    assert!(friday(16) < 550, "{}", friday(16));
    assert!(friday(20) < 300, "{}", friday(20));
    assert_eq!(friday(60), 0);
}

#[test]
fn clocks_that_change_for_summer_change_no_habit() {
    // At seven in the evening on the wall: 18:00 UTC in winter, 17:00 in summer.
    let all = (0..12).map(|week| {
        let summer = week >= 6;
        Meeting {
            offset_minutes: if summer { 120 } else { 60 },
            ..met(7 * week + 4, if summer { 17 } else { 18 }, 5)
        }
    });
    let habits = habits(all);
    let usual = habits.usual(BOB, at(84, 12, 0), 120).unwrap();
    assert_eq!((usual.days, usual.hour), (Days::These(vec![4]), Some(19)));
    let next = |offset| habits.forecast(BOB, at(85, 12, 0), offset).unwrap().next();
    assert_eq!(next(120), Some(at(88, 17, 0)));
    assert_eq!(next(60), Some(at(88, 18, 0)));
}

#[test]
fn a_night_belongs_to_its_evening() {
    let nights = (0..6).map(|week| Meeting {
        length: Span::hours(5),
        ..met(7 * week + 4, 22, 0)
    });
    let usual = habits(nights).usual(BOB, at(42, 12, 0), 0).unwrap();
    assert_eq!((usual.days, usual.hour), (Days::These(vec![4]), Some(22)));
}

#[test]
fn probabilities_follow_the_week() {
    let habits = weekly(8, &[0, 1, 2, 3, 4], 9);
    let sunday_noon = at(55, 12, 0);
    assert_eq!(within(&habits, sunday_noon, 6), 0);
    assert!(within(&habits, sunday_noon, 24) > 950);
    let forecast = habits.forecast(BOB, sunday_noon, 0).unwrap();
    assert_eq!(forecast.next(), Some(at(56, 9, 0)));
    // While they usually sit here, now.
    assert!(within(&habits, at(57, 9, 30), 0) > 950);
    let here = habits.forecast(BOB, at(57, 9, 30), 0).unwrap();
    assert_eq!(here.next(), Some(at(57, 9, 0)));
    assert_eq!(habits.forecast(MemberId([7; 32]), sunday_noon, 0), None);
}

#[test]
fn the_second_day_tells_something_and_a_week_more() {
    let days = |count: u64| {
        let habits = habits((0..count).map(|day| met(day, 18, 0)));
        within(&habits, at(count, 12, 0), 24)
    };
    assert!((100..400).contains(&days(1)), "{}", days(1));
    assert!((500..900).contains(&days(4)), "{}", days(4));
    assert!(days(8) > 850, "{}", days(8));
}

#[test]
fn somebody_met_once_a_month_comes_in_some_weeks() {
    let habits = habits((0..6).map(|month| met(28 * month + 4, 19, 0)));
    let now = at(28 * 5 + 5, 12, 0);
    let forecast = habits.forecast(BOB, now, 0).unwrap();
    assert!(forecast.within(Span::days(7)) < 400);
    assert!(forecast.within(Span::days(28)) > 600);
    let next = forecast.next().unwrap();
    let days = next.since(now).0 / Span::days(1).0;
    assert!((6..35).contains(&days), "{days}");
}

#[test]
fn only_links_that_carry_packs_make_a_meeting() {
    let by = |class| {
        let meetings = (0..6).map(|week| Meeting {
            class,
            ..met(7 * week + 4, 19, 0)
        });
        habits(meetings)
    };
    let now = at(42, 12, 0);
    for class in [LinkClass::Relay, LinkClass::Metered] {
        assert_eq!(by(class).forecast(BOB, now, 0), None);
        assert_eq!(by(class).usual(BOB, now, 0), None);
        assert_eq!(
            by(class).last_met(BOB, meeting().device),
            Some(met(39, 19, 0).end())
        );
    }
    assert!(by(LinkClass::Direct).usual(BOB, now, 0).is_some());
}

#[test]
fn a_meeting_moves_its_length_at_the_rate_that_there_was() {
    let now = at(10, 0, 0);
    let bytes = |habits: &Habits, class| habits.bytes_per_meeting(BOB, class, now);
    let idle = Meeting {
        sent: 0,
        received: 0,
        linked: Span(0),
        length: Span::secs(1800),
        ..met(0, 9, 0)
    };
    let mut habits = habits([idle]);
    assert_eq!(bytes(&habits, LinkClass::Lan), None);
    habits.add(Meeting {
        sent: 3_000_000,
        received: 1_000_000,
        linked: Span::secs(2),
        length: Span::secs(3600),
        ..met(1, 9, 0)
    });
    // Half an hour and an hour; two megabytes a second.
    assert_eq!(bytes(&habits, LinkClass::Lan), Some(2700 * 2_000_000));
    assert_eq!(bytes(&habits, LinkClass::Direct), None);
}

#[test]
fn meetings_come_at_intervals() {
    let weeks = |habits: &Habits| {
        let between = habits.interval(BOB, at(70, 0, 0))?;
        Some(between.0 / Span::hours(1).0)
    };
    assert_eq!(weeks(&weekly(1, &[4], 19)), None);
    let hours = weeks(&weekly(10, &[4], 19)).unwrap();
    assert!((160..=176).contains(&hours), "{hours}");
    let hours = weeks(&weekly(10, &[0, 1, 2, 3, 4, 5, 6], 9)).unwrap();
    assert!((23..=25).contains(&hours), "{hours}");
}

#[test]
fn what_a_wrong_clock_left_in_the_future_says_nothing() {
    let mut habits = weekly(5, &[4], 19);
    let now = at(35, 12, 0);
    let before = (habits.usual(BOB, now, 0), habits.forecast(BOB, now, 0));
    habits.add(met(3000, 9, 0));
    let after = (habits.usual(BOB, now, 0), habits.forecast(BOB, now, 0));
    assert_eq!(before, after);
    assert!(before.0.is_some());
}

#[test]
fn of_too_many_the_oldest_are_forgotten() {
    let mut crowded = Habits::default();
    for day in 0..limits::MEMBER_MEETINGS_MAX as u64 + 7 {
        crowded.add(met(day, 9, 0));
    }
    assert_eq!(crowded.len(), limits::MEMBER_MEETINGS_MAX);
    assert_eq!(crowded.meetings().next().unwrap().start, at(7, 9, 0));
    for at in 0..limits::MEETINGS_MAX as u64 {
        let member = MemberId([u8::try_from(at % 100).unwrap() + 100; 32]);
        crowded.add(Meeting {
            member,
            ..met(2000 + at / 100, 9, 0)
        });
    }
    assert_eq!(crowded.len(), limits::MEETINGS_MAX);
    assert_eq!(
        crowded.last_met(BOB, meeting().device),
        None,
        "they were the oldest"
    );
    assert_eq!(crowded.meetings().count(), crowded.len());
}

fn any_pieces() -> impl Strategy<Value = Vec<Meeting>> {
    let piece = (0..3_u8, 0..400_u64, 1..90_u64, 0..2_u8, any::<bool>()).prop_map(
        |(device, start, minutes, network, far)| Meeting {
            device: DeviceId([device; 32]),
            class: if far {
                LinkClass::Direct
            } else {
                LinkClass::Lan
            },
            network: Network([network; 8]),
            start: MONDAY + Span(start * 10 * MINUTE),
            length: Span(minutes * MINUTE),
            ..meeting()
        },
    );
    proptest::collection::vec(piece, 1..40)
}

proptest! {
    #[test]
    fn the_order_of_pieces_does_not_matter(pieces in any_pieces(), seed in any::<u64>()) {
        let mut shuffled = pieces.clone();
        let mut random = seed;
        for at in (1..shuffled.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, (random >> 33) as usize % (at + 1));
        }
        let whole = habits(pieces.clone());
        prop_assert_eq!(&whole, &habits(shuffled));
        // What was compacted is the same.
        prop_assert_eq!(&whole, &habits(whole.meetings().copied()));
        let sent = |all: &mut dyn Iterator<Item = &Meeting>| all.map(|it| it.sent).sum::<u64>();
        prop_assert_eq!(sent(&mut whole.meetings()), sent(&mut pieces.iter()));
    }

    #[test]
    fn a_longer_wait_is_no_less_likely_to_end(pieces in any_pieces(), now in 0..4000_u64) {
        let now = MONDAY + Span(now * 10 * MINUTE);
        if let Some(forecast) = habits(pieces).forecast(BOB, now, 0) {
            let mut before = 0;
            for hours in 0..168 {
                let likely = forecast.within(Span::hours(hours));
                prop_assert!(before <= likely && likely < 1000);
                before = likely;
            }
            if let Some(next) = forecast.next() {
                prop_assert!(next + Span::hours(1) > now);
                prop_assert!(forecast.within(Span::days(182)) >= 500);
            }
        }
    }

    #[test]
    fn no_time_is_too_odd(
        times in proptest::collection::vec((any::<u64>(), any::<u64>(), -1080_i16..=1080), 1..6),
        now in any::<u64>(),
        offset in -1080_i16..=1080,
    ) {
        let pieces = times.iter().map(|(start, length, offset_minutes)| Meeting {
            start: Timestamp(*start),
            length: Span(*length),
            offset_minutes: *offset_minutes,
            ..meeting()
        });
        let habits = habits(pieces);
        let now = Timestamp(now);
        let _ = habits.usual(BOB, now, offset);
        let _ = habits.bytes_per_meeting(BOB, LinkClass::Lan, now);
        if let Some(forecast) = habits.forecast(BOB, now, offset) {
            prop_assert!(forecast.within(Span(u64::MAX)) <= 1000);
            let _ = forecast.next();
        }
    }
}
