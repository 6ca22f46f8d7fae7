//! Retention: which snapshots are kept, by rules of so many per hour, day, week, month and year.
//!
//! Rules look at dates, and dates can lie: a clock was wrong, or a stolen device floods its owner with
//! snapshots of chosen dates, so that rules drop the good ones. So each device's snapshots compete
//! among themselves only; one that comes later in a feed counts as no older than those before it; one
//! from the future takes no place and is kept; and nothing that came in the last
//! [`limits::KEEP_RECENT`] goes at all, unless it is named.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, SnapshotId},
    limits,
    time::{Span, Timestamp},
};

/// A snapshot with what is known of its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it says that it was made.
    pub time: Timestamp,
    /// The device that published it.
    pub device: DeviceId,
    /// Its head's position in that device's feed; nothing where the feed is no longer known so far back.
    pub place: Option<u64>,
}

/// How many to keep of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The last so many.
    pub last: u32,
    /// The last of each of so many hours in which there are any; the same for the others.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks, which begin on Monday.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// All of the last so many milliseconds.
    pub within: Option<Span>,
    /// How far local time is ahead of UTC, in minutes.
    pub offset_minutes: i16,
}

impl Rules {
    /// Tells whether no rule keeps anything.
    pub fn are_empty(&self) -> bool {
        let offset_minutes = self.offset_minutes;
        *self
            == Self {
                offset_minutes,
                ..Self::default()
            }
    }
}

/// Why a snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is the newest of its device.
    Newest,
    /// It came lately: no rule drops it yet.
    Recent,
    /// It says that it comes from the future.
    Future,
    /// It is one of the last.
    Last,
    /// It is the last of its hour.
    Hourly,
    /// It is the last of its day.
    Daily,
    /// It is the last of its week.
    Weekly,
    /// It is the last of its month.
    Monthly,
    /// It is the last of its year.
    Yearly,
    /// It is within the span.
    Within,
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub id: SnapshotId,
    /// Why it is kept; nothing if it is not.
    pub kept: Option<Reason>,
}

/// A rule on its way through the snapshots, newest first.
struct Rule {
    reason: Reason,
    left: u32,
    bucket: fn(i64) -> i64,
    seen: Option<i64>,
}

impl Rule {
    fn keeps(&mut self, local_secs: i64) -> bool {
        let bucket = (self.bucket)(local_secs);
        if self.left == 0 || self.seen == Some(bucket) {
            return false;
        }
        self.seen = Some(bucket);
        self.left -= 1;
        true
    }
}

/// Applies rules to snapshots.
pub fn judge(snapshots: &[Dated], rules: &Rules, now: Timestamp) -> Vec<Verdict> {
    let mut by_device: BTreeMap<DeviceId, Vec<Dated>> = BTreeMap::new();
    for snapshot in snapshots {
        by_device
            .entry(snapshot.device)
            .or_default()
            .push(*snapshot);
    }
    let judged = by_device.into_values();
    judged
        .flat_map(|of_one| judge_one(of_one, rules, now))
        .collect()
}

/// Returns the newest snapshot of each device, in the order in which it made them. They stay whoever names
/// them: the device's next backup builds on it, and what was freed there may lie in it alone.
pub fn newest_of_each(snapshots: &[Dated]) -> BTreeMap<DeviceId, SnapshotId> {
    let mut snapshots = snapshots.to_vec();
    snapshots.sort_unstable_by_key(|it| (it.place, it.time, it.id));
    let each = snapshots.into_iter().map(|it| (it.device, it.id));
    each.collect()
}

fn judge_one(mut snapshots: Vec<Dated>, rules: &Rules, now: Timestamp) -> Vec<Verdict> {
    snapshots.sort_unstable_by_key(|it| (it.place, it.time, it.id));
    let mut latest = Timestamp(0);
    let mut aged: Vec<(Timestamp, bool, SnapshotId)> = Vec::new();
    for snapshot in snapshots {
        let future = snapshot.time > now;
        if !future {
            latest = latest.max(snapshot.time);
        }
        aged.push((latest, future, snapshot.id));
    }
    let rule = |reason, left, bucket| Rule {
        reason,
        left,
        bucket,
        seen: None,
    };
    let mut counted = [
        rule(Reason::Hourly, rules.hourly, hour),
        rule(Reason::Daily, rules.daily, day),
        rule(Reason::Weekly, rules.weekly, week),
        rule(Reason::Monthly, rules.monthly, month),
        rule(Reason::Yearly, rules.yearly, year),
    ];
    let mut last = rules.last;
    let mut newest = true;
    let mut verdicts = Vec::new();
    for (time, future, id) in aged.into_iter().rev() {
        if future {
            let kept = Some(Reason::Future);
            verdicts.push(Verdict { id, kept });
            continue;
        }
        let local = i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 2)
            + 60 * i64::from(rules.offset_minutes);
        let mut kept = None;
        // Every rule counts what it would keep, whatever another one keeps already.
        for rule in &mut counted {
            if rule.keeps(local) {
                kept = kept.or(Some(rule.reason));
            }
        }
        let age = now.since(time);
        if rules.within.is_some_and(|within| age <= within) {
            kept = kept.or(Some(Reason::Within));
        }
        if last > 0 {
            last -= 1;
            kept = Some(Reason::Last);
        }
        if age <= limits::KEEP_RECENT {
            kept = kept.or(Some(Reason::Recent));
        }
        if core::mem::take(&mut newest) {
            kept = kept.or(Some(Reason::Newest));
        }
        verdicts.push(Verdict { id, kept });
    }
    verdicts
}

const fn hour(local: i64) -> i64 {
    local.div_euclid(3600)
}

const fn day(local: i64) -> i64 {
    local.div_euclid(86_400)
}

/// 1970 began on a Thursday.
const fn week(local: i64) -> i64 {
    (day(local) + 3).div_euclid(7)
}

const fn month(local: i64) -> i64 {
    let (year, month) = civil(day(local));
    year * 12 + month
}

const fn year(local: i64) -> i64 {
    civil(day(local)).0
}

/// Returns year and month of a day since 1970 (Howard Hinnant's days_from_civil, inverted).
const fn civil(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 32]);
    /// Wednesday, 2026-11-25, 12:00 UTC.
    const NOW: Timestamp = Timestamp(1_795_608_000_000);

    fn id(at: usize) -> SnapshotId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(at as u64).to_be_bytes());
        SnapshotId(id)
    }

    /// Snapshots of one device in the order of its feed, by their ages in days.
    fn aged(days: &[i64]) -> Vec<Dated> {
        let dated = days.iter().enumerate().map(|(at, days)| Dated {
            id: id(at),
            time: Timestamp(NOW.0.saturating_add_signed(-days * 86_400_000)),
            device: DEVICE,
            place: Some(at as u64),
        });
        dated.collect()
    }

    fn kept(snapshots: &[Dated], rules: &Rules) -> Vec<usize> {
        let verdicts = judge(snapshots, rules, NOW);
        assert_eq!(verdicts.len(), snapshots.len());
        let stays = |at: &usize| {
            let verdict = verdicts.iter().find(|it| it.id == snapshots[*at].id);
            verdict.unwrap().kept.is_some()
        };
        (0..snapshots.len()).filter(stays).collect()
    }

    #[test]
    fn the_newest_of_each_device_is_what_it_made_last_whatever_the_dates() {
        let mut all = aged(&[3, 9, 5]);
        let other = DeviceId([2; 32]);
        all.extend(aged(&[90]).into_iter().map(|it| Dated {
            id: id(7),
            device: other,
            ..it
        }));
        let newest: Vec<_> = newest_of_each(&all).into_iter().collect();
        assert_eq!(newest, [(DEVICE, id(2)), (other, id(7))]);
    }

    #[test]
    fn calendar() {
        for (date, year, month) in [
            (0, 1970, 1),
            (59, 1970, 3),
            (11_016, 2000, 2),
            (11_017, 2000, 3),
            (20_782, 2026, 11),
            (-1, 1969, 12),
        ] {
            assert_eq!(civil(date), (year, month), "{date}");
        }
        // Sunday and Monday.
        assert_eq!(week(3 * 86_400), week(4 * 86_400) - 1);
    }

    #[test]
    fn rules_keep_the_last_of_each_span() {
        let days = aged(&[800, 500, 401, 400, 130, 101, 100, 61, 60, 40]);
        let none = Rules::default();
        assert!(none.are_empty());
        // The newest stays in any case.
        assert_eq!(kept(&days, &none), [9]);
        let rules = |change: fn(&mut Rules)| {
            let mut rules = Rules::default();
            change(&mut rules);
            rules
        };
        assert_eq!(kept(&days, &rules(|it| it.last = 3)), [7, 8, 9]);
        assert_eq!(kept(&days, &rules(|it| it.daily = 4)), [6, 7, 8, 9]);
        // 400 days ago was 2025-10-21: years 2024, 2025 and 2026.
        assert_eq!(kept(&days, &rules(|it| it.yearly = 3)), [0, 3, 9]);
        // October, September, August.
        assert_eq!(kept(&days, &rules(|it| it.monthly = 3)), [6, 8, 9]);
        let within = rules(|it| it.within = Some(Span::days(100)));
        assert_eq!(kept(&days, &within), [6, 7, 8, 9]);
    }

    #[test]
    fn what_came_in_the_last_thirty_days_stays() {
        let all = aged(&[90, 29, 29, 10, 5, 5, 1, 0]);
        let rules = Rules {
            last: 1,
            ..Rules::default()
        };
        assert_eq!(kept(&all, &rules), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn devices_do_not_displace_each_other() {
        let mut all = aged(&[100, 99]);
        all[1].device = DeviceId([2; 32]);
        let rules = Rules {
            last: 1,
            ..Rules::default()
        };
        assert_eq!(kept(&all, &rules), [0, 1]);
    }

    proptest::proptest! {
        /// A device that went rogue publishes whatever dates it likes.
        #[test]
        fn a_flood_drops_nothing_of_the_last_thirty_days(
            flood in proptest::collection::vec(-4000_i64..4000, 0..60),
            at in 0_usize..6,
            counts in proptest::array::uniform5(0_u32..4),
        ) {
            let mut days = vec![200, 29, 20, 10, 3, 0];
            let before = days.len();
            let at = at.min(before);
            let mut all: Vec<i64> = days.drain(..at).collect();
            all.extend(&flood);
            all.extend(&days);
            let genuine: Vec<usize> = (0..all.len())
                .filter(|it| *it < at || *it >= at + flood.len())
                .collect();
            let [last, hourly, daily, weekly, yearly] = counts;
            let rules = Rules { last, hourly, daily, weekly, yearly, ..Rules::default() };
            let stays = kept(&aged(&all), &rules);
            for it in genuine.iter().filter(|it| all[**it] <= 29) {
                proptest::prop_assert!(stays.contains(it), "{} of {:?}", it, all);
            }
        }
    }
}
