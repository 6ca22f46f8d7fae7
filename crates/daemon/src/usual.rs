//! When somebody is usually met, in words.

use carryall_core::habit::{Days, Usual};

/// The days of the week, in plural: Monday is 0.
const WEEKDAYS: [&str; 7] = [
    "Mondays",
    "Tuesdays",
    "Wednesdays",
    "Thursdays",
    "Fridays",
    "Saturdays",
    "Sundays",
];

/// Returns the words: "Fridays around 19:00".
pub(crate) fn words(usual: &Usual) -> String {
    let days = days(&usual.days);
    match usual.hour {
        Some(hour) => format!("{days} around {hour:02}:00"),
        None => days,
    }
}

fn days(days: &Days) -> String {
    let these = match days {
        Days::Most => return "most days".to_owned(),
        Days::Weekdays => return "weekdays".to_owned(),
        Days::Weekends => return "weekends".to_owned(),
        Days::These(these) => these,
    };
    let name = |day: &u8| WEEKDAYS.get(usize::from(*day)).copied();
    let names: Vec<&str> = these.iter().filter_map(name).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_as_people_say_them() {
        let say = |days, hour| {
            words(&Usual {
                days,
                hour,
                network: None,
            })
        };
        assert_eq!(say(Days::These(vec![4]), Some(19)), "Fridays around 19:00");
        assert_eq!(say(Days::Weekdays, Some(9)), "weekdays around 09:00");
        assert_eq!(say(Days::Most, None), "most days");
        assert_eq!(say(Days::Weekends, None), "weekends");
        let three = Days::These(vec![0, 2, 6]);
        assert_eq!(say(three, None), "Mondays, Wednesdays and Sundays");
        assert_eq!(say(Days::These(vec![1, 3]), None), "Tuesdays and Thursdays");
    }
}
