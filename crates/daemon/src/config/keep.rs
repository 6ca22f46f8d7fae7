//! Which snapshots to keep when the node forgets by itself: restic's rules, as settings. Without any
//! rule nothing is forgotten.

use carryall_core::{retention::Rules, time::Span};
use serde::{Deserialize, Serialize};

use super::{ConfigError, Setting, bad};

/// See the module. What a rule does is said in [`Rules`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The last so many.
    pub last: u32,
    /// The last of each of so many hours; the same for the others.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// All of the last time so long.
    pub within: Age,
}

/// A length of time such as `1y6m`; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(String);

const AGE_WANTED: &str = "it is a length of time such as 1y6m, 30d or 12h; 0 for none";

impl TryFrom<String> for Age {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.trim() {
            "" | "0" => Ok(Self::default()),
            text => age(text).map(|_| Self(text.to_owned())).ok_or(AGE_WANTED),
        }
    }
}

impl From<Age> for String {
    fn from(Age(text): Age) -> Self {
        if text.is_empty() {
            "0".to_owned()
        } else {
            text
        }
    }
}

impl Keep {
    /// Returns the rules. `utc_offset` is how far the owner's clock is ahead of UTC, in seconds.
    pub fn rules(&self, utc_offset: i32) -> Rules {
        Rules {
            last: self.last,
            hourly: self.hourly,
            daily: self.daily,
            weekly: self.weekly,
            monthly: self.monthly,
            yearly: self.yearly,
            within: age(&self.within.0),
            offset_minutes: i16::try_from(utc_offset / 60).unwrap_or(0),
        }
    }

    /// Changes one rule from what a person typed. `rule` is the key after `keep_`.
    pub(super) fn set(&mut self, rule: &str, value: &str) -> Result<(), ConfigError> {
        let (key, count) = match rule {
            "last" => ("keep_last", &mut self.last),
            "hourly" => ("keep_hourly", &mut self.hourly),
            "daily" => ("keep_daily", &mut self.daily),
            "weekly" => ("keep_weekly", &mut self.weekly),
            "monthly" => ("keep_monthly", &mut self.monthly),
            "yearly" => ("keep_yearly", &mut self.yearly),
            "within" => {
                let within = Age::try_from(value.to_owned());
                self.within = within.map_err(|want| bad("keep_within", value, want))?;
                return Ok(());
            }
            _ => return Err(ConfigError::UnknownKey(format!("keep_{rule}"))),
        };
        let number = value.parse();
        *count = number.map_err(|_| bad(key, value, "it is how many to keep; 0 for no rule"))?;
        Ok(())
    }

    /// Returns all rules for people.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let counts = [
            ("last", self.last, "the last so many snapshots"),
            (
                "hourly",
                self.hourly,
                "the last snapshot of each of so many hours",
            ),
            ("daily", self.daily, "the same of so many days"),
            ("weekly", self.weekly, "the same of so many weeks"),
            ("monthly", self.monthly, "the same of so many months"),
            ("yearly", self.yearly, "the same of so many years"),
        ];
        let within = (
            "within",
            String::from(self.within.clone()),
            "all of a time such as 1y6m",
        );
        let counts = counts.map(|(rule, count, what)| (rule, count.to_string(), what));
        let rules = counts.into_iter().chain([within]);
        let setting = |(rule, value, what): (&str, String, &str)| Setting {
            key: format!("keep_{rule}"),
            value,
            about: format!(
                "when the node forgets by itself, keep {what}; it does if any of these rules is not 0"
            ),
            restart: false,
        };
        rules.map(setting).collect()
    }
}

/// Returns the time that a length such as `2y5m7d3h` stands for: years, months, days and hours, each
/// as long as it may be.
pub fn age(text: &str) -> Option<Span> {
    const HOUR_MS: u64 = 3_600_000;
    let mut rest = text;
    let mut hours = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let each = match unit.as_bytes().first()? {
            b'y' => 366 * 24,
            b'm' => 31 * 24,
            b'd' => 24,
            b'h' => 1,
            _ => return None,
        };
        hours = hours.checked_add(number.parse::<u64>().ok()?.checked_mul(each)?)?;
        rest = &unit[1..];
    }
    (hours > 0).then_some(Span(hours.checked_mul(HOUR_MS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_restic_writes_them() {
        assert_eq!(age("1d"), Some(Span::days(1)));
        let long = Span::hours((732 + 155 + 7) * 24 + 3);
        assert_eq!(age("2y5m7d3h"), Some(long));
        let huge = "99999999999999999999y";
        for bad in ["", "0h", "d", "7", "1w", "7d3", huge, "1é"] {
            assert_eq!(age(bad), None, "{bad}");
        }
    }

    #[test]
    fn rules_follow_from_settings() {
        let mut keep = Keep::default();
        assert!(keep.rules(3600).are_empty(), "off by default");
        keep.set("daily", "7").unwrap();
        keep.set("within", "1y").unwrap();
        let rules = keep.rules(3600);
        assert_eq!((rules.daily, rules.offset_minutes), (7, 60));
        assert_eq!(rules.within, Some(Span::days(366)));
        for (rule, value) in [("daily", "some"), ("within", "soon"), ("often", "1")] {
            assert!(keep.set(rule, value).is_err());
        }
        keep.set("within", "0").unwrap();
        keep.set("daily", "0").unwrap();
        assert_eq!(keep, Keep::default());
    }
}
