//! The settings in `config.toml`: few, typed, each with its reason. Unknown keys are refused.
//!
//! Nothing secret is ever in it, and nothing that the program could find out by itself.

mod keep;

use std::{fs, io, num::NonZeroU64, path::Path};

use carryall_core::policy::{self, Hours, Policy, Rule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::keep::{Age, Keep, age};
use crate::{api::config::Setting, atomic};

/// The file's name in the home directory.
pub const CONFIG_FILE: &str = "config.toml";

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether changes in remembered folders lead to new snapshots by themselves.
    pub watch: bool,
    /// Seconds without a change before such a snapshot is made.
    pub quiet_secs: u64,
    /// Seconds between two looks at everything, for what the system did not report.
    pub rescan_secs: u64,
    /// Whether pictures that are new or changed get previews, to be looked at where they are not.
    pub previews: bool,
    /// Bytes that stay free on this disk, whatever friends would like to store.
    pub keep_free: u64,
    /// Bytes of small-file packs kept until friends have them; more are made anew when needed.
    pub spool_cap: u64,
    /// Bytes of shards per second on a far link; 0 is no limit.
    pub direct_rate: u64,
    /// Hours in which far links carry shards.
    pub direct_hours: DayHours,
    /// Whether links through a relay carry shards.
    pub relay_bulk: bool,
    /// Whether links that cost by the byte carry shards.
    pub metered_bulk: bool,
    /// Whether this device pays for its network by the byte.
    pub metered: Metering,
    /// Interfaces that cost by the byte in any case.
    pub metered_on: Vec<String>,
    /// Where the node listens for other devices.
    pub bind: Bind,
    /// UDP port for links; another free one is taken when it is in use, and 0 always means any.
    pub port: u16,
    /// UDP port of the beacon, the same for a whole circle.
    pub beacon_port: u16,
    /// First TCP port that the loopback API tries; 0 means any.
    pub api_port: u16,
    /// Which snapshots stay when the node forgets by itself.
    pub keep: Keep,
}

/// Whether this device pays for its network by the byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metering {
    /// NetworkManager knows, if anybody does.
    #[default]
    Auto,
    /// Wherever it is.
    Yes,
    /// Nowhere.
    No,
}

/// Hours of the day, written `22-07`, or `always`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayHours(pub Hours);

const HOURS_WANTED: &str = "it is two hours of the day such as 22-07, or 'always'";

impl TryFrom<String> for DayHours {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hour = |text: &str| text.trim().parse().ok();
        let hours = match text.trim() {
            "always" => Some(Hours::ALWAYS),
            text => text
                .split_once('-')
                .and_then(|(from, to)| Hours::new(hour(from)?, hour(to)?)),
        };
        hours.map(Self).ok_or(HOURS_WANTED)
    }
}

impl From<DayHours> for String {
    fn from(DayHours(hours): DayHours) -> Self {
        let (from, to) = hours.bounds();
        if hours == Hours::ALWAYS {
            "always".to_owned()
        } else {
            format!("{from:02}-{to:02}")
        }
    }
}

/// Where the node listens for other devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// On every interface.
    #[default]
    All,
    /// On this machine only: demos and tests.
    Loopback,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            watch: true,
            quiet_secs: 10,
            rescan_secs: 3600,
            previews: true,
            keep_free: 1 << 30,
            spool_cap: 2 << 30,
            direct_rate: policy::FAR_RATE.get(),
            direct_hours: DayHours(Hours::ALWAYS),
            relay_bulk: false,
            metered_bulk: false,
            metered: Metering::Auto,
            metered_on: Vec::new(),
            bind: Bind::All,
            port: 47_474,
            beacon_port: 47_473,
            api_port: crate::api::PORT,
            keep: Keep::default(),
        }
    }
}

/// Why settings can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read or written.
    #[error("cannot use config.toml: {0}")]
    Io(#[from] io::Error),
    /// The file is no valid configuration.
    #[error("config.toml is not valid: {}", .0.message())]
    Malformed(#[from] toml::de::Error),
    /// There is no such setting.
    #[error("there is no setting '{0}'")]
    UnknownKey(String),
    /// The value does not fit the setting.
    #[error("'{value}' is no value for {key}: {want}")]
    BadValue {
        /// The setting.
        key: &'static str,
        /// What was typed.
        value: String,
        /// What fits.
        want: &'static str,
    },
}

impl Config {
    /// Reads the settings of a home directory; defaults where there is no file.
    pub fn load(home: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(home.join(CONFIG_FILE)) {
            Ok(text) => Ok(toml::from_str(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the settings, atomically.
    pub fn save(&self, home: &Path) -> Result<(), ConfigError> {
        let text = toml::to_string_pretty(self).map_err(io::Error::other)?;
        atomic::write(&home.join(CONFIG_FILE), text.as_bytes())?;
        Ok(())
    }

    /// Returns the rules for links that these settings make. `utc_offset` is how far the owner's
    /// clock is ahead of UTC, in seconds.
    pub fn policy(&self, utc_offset: i32) -> Policy {
        let lan = Policy::default().lan;
        let far = |bulk| Rule {
            bulk,
            rate: NonZeroU64::new(self.direct_rate),
            hours: Hours::ALWAYS,
        };
        let direct = Rule {
            hours: self.direct_hours.0,
            ..far(true)
        };
        Policy {
            lan,
            direct,
            relay: far(self.relay_bulk),
            metered: far(self.metered_bulk),
            utc_offset,
        }
    }

    /// Changes one setting from what a person typed. Lengths may have units (`10GiB`, `500M`), and
    /// keys a dot for their underscore.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key_of(key).as_str() {
            "watch" => self.watch = flag("watch", value)?,
            "quiet_secs" => self.quiet_secs = number("quiet_secs", value)?,
            "rescan_secs" => self.rescan_secs = number("rescan_secs", value)?.max(60),
            "previews" => self.previews = flag("previews", value)?,
            "keep_free" => self.keep_free = length("keep_free", value)?,
            "spool_cap" => self.spool_cap = length("spool_cap", value)?,
            "direct_rate" => self.direct_rate = length("direct_rate", value)?,
            "direct_hours" => {
                self.direct_hours = DayHours::try_from(value.to_owned())
                    .map_err(|want| bad("direct_hours", value, want))?;
            }
            "relay_bulk" => self.relay_bulk = flag("relay_bulk", value)?,
            "metered_bulk" => self.metered_bulk = flag("metered_bulk", value)?,
            "metered" => {
                self.metered = match value {
                    "auto" => Metering::Auto,
                    "yes" => Metering::Yes,
                    "no" => Metering::No,
                    _ => return Err(bad("metered", value, "it is 'auto', 'yes' or 'no'")),
                }
            }
            "metered_on" => {
                let names = value.split([',', ' ']).filter(|name| !name.is_empty());
                self.metered_on = names.map(str::to_owned).collect();
            }
            "bind" => {
                self.bind = match value {
                    "all" => Bind::All,
                    "loopback" => Bind::Loopback,
                    _ => return Err(bad("bind", value, "it is 'all' or 'loopback'")),
                }
            }
            "port" => self.port = port("port", value)?,
            "beacon_port" => self.beacon_port = port("beacon_port", value)?,
            "api_port" => self.api_port = port("api_port", value)?,
            typed => match typed.strip_prefix("keep_") {
                Some(rule) => self.keep.set(rule, value)?,
                None => return Err(ConfigError::UnknownKey(key.to_owned())),
            },
        }
        Ok(())
    }

    /// Returns all settings for people.
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |key: &str, value: String, restart: bool, about: &str| Setting {
            key: key.to_owned(),
            value,
            about: about.to_owned(),
            restart,
        };
        let bind = match self.bind {
            Bind::All => "all",
            Bind::Loopback => "loopback",
        };
        let metered = match self.metered {
            Metering::Auto => "auto",
            Metering::Yes => "yes",
            Metering::No => "no",
        };
        let mut settings = vec![
            setting(
                "watch",
                self.watch.to_string(),
                true,
                "make snapshots by itself after changes",
            ),
            setting(
                "quiet_secs",
                self.quiet_secs.to_string(),
                true,
                "seconds without a change before that",
            ),
            setting(
                "rescan_secs",
                self.rescan_secs.to_string(),
                true,
                "seconds between two looks at everything",
            ),
            setting(
                "previews",
                self.previews.to_string(),
                false,
                "keep a small copy of each new picture to look at",
            ),
            setting(
                "keep_free",
                self.keep_free.to_string(),
                true,
                "bytes that friends may never use of this disk",
            ),
            setting(
                "spool_cap",
                self.spool_cap.to_string(),
                true,
                "bytes of small files kept twice until friends have them",
            ),
            setting(
                "direct_rate",
                self.direct_rate.to_string(),
                false,
                "bytes per second to a friend who is far; 0 is no limit",
            ),
            setting(
                "direct_hours",
                self.direct_hours.into(),
                false,
                "hours in which friends who are far get more than news, such as 22-07",
            ),
            setting(
                "relay_bulk",
                self.relay_bulk.to_string(),
                false,
                "let more than news go through relays",
            ),
            setting(
                "metered_bulk",
                self.metered_bulk.to_string(),
                false,
                "let more than news go where it costs by the byte",
            ),
            setting(
                "metered",
                metered.to_owned(),
                false,
                "whether this network costs by the byte: 'yes', 'no', or 'auto' for what NetworkManager knows",
            ),
            setting(
                "metered_on",
                self.metered_on.join(","),
                false,
                "interfaces that cost by the byte in any case, such as wwan0",
            ),
            setting(
                "bind",
                bind.to_owned(),
                true,
                "listen on 'all' interfaces or on 'loopback' only",
            ),
            setting(
                "port",
                self.port.to_string(),
                true,
                "UDP port for links to other devices",
            ),
            setting(
                "beacon_port",
                self.beacon_port.to_string(),
                true,
                "UDP port of the beacon, the same for a circle",
            ),
            setting(
                "api_port",
                self.api_port.to_string(),
                true,
                "first TCP port the loopback API tries",
            ),
        ];
        settings.extend(self.keep.settings());
        settings
    }
}

/// Returns a key as it stands in the file: `direct.rate` may be typed for `direct_rate`.
pub fn key_of(typed: &str) -> String {
    typed.replace('.', "_")
}

fn bad(key: &'static str, value: &str, want: &'static str) -> ConfigError {
    let value = value.to_owned();
    ConfigError::BadValue { key, value, want }
}

fn flag(key: &'static str, value: &str) -> Result<bool, ConfigError> {
    match value {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err(bad(key, value, "it is 'on' or 'off'")),
    }
}

fn number(key: &'static str, value: &str) -> Result<u64, ConfigError> {
    value
        .parse()
        .map_err(|_| bad(key, value, "it is a whole number"))
}

fn port(key: &'static str, value: &str) -> Result<u16, ConfigError> {
    value
        .parse()
        .map_err(|_| bad(key, value, "it is a port number, 0 to 65535"))
}

fn length(key: &'static str, value: &str) -> Result<u64, ConfigError> {
    bytes(value).ok_or_else(|| bad(key, value, "it is a length such as 10GiB, 500M or 0"))
}

/// Returns the bytes that a length with an optional unit stands for. Units are powers of 1024.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let letter = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_with_units() {
        assert_eq!(bytes("0"), Some(0));
        assert_eq!(bytes("10GiB"), Some(10 << 30));
        assert_eq!(bytes("500 M"), Some(500 << 20));
        assert_eq!(bytes("7kb"), Some(7 << 10));
        assert_eq!(bytes("12 parsecs"), None);
        assert_eq!(bytes("99999999999999T"), None);
        assert_eq!(bytes(""), None);
    }

    #[test]
    fn what_is_saved_is_loaded_and_unknown_keys_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::load(home.path()).unwrap();
        assert_eq!(config, Config::default());
        for setting in config.settings() {
            config.set(&setting.key, &setting.value).unwrap();
        }
        assert_eq!(config, Config::default(), "every shown value can be typed");
        config.set("quiet_secs", "3").unwrap();
        config.save(home.path()).unwrap();
        assert_eq!(Config::load(home.path()).unwrap().quiet_secs, 3);
        fs::write(home.path().join(CONFIG_FILE), "speed = 9\n").unwrap();
        assert!(matches!(
            Config::load(home.path()),
            Err(ConfigError::Malformed(_))
        ));
        assert!(matches!(
            config.set("speed", "9"),
            Err(ConfigError::UnknownKey(_))
        ));
        assert!(matches!(
            config.set("watch", "9"),
            Err(ConfigError::BadValue { .. })
        ));
    }

    #[test]
    fn the_rules_for_links_follow_from_settings() {
        let mut config = Config::default();
        assert_eq!(config.policy(0), Policy::default());
        for (key, value) in [
            ("direct.rate", "300k"),
            ("direct.hours", "22-07"),
            ("relay.bulk", "on"),
            ("metered_bulk", "yes"),
            ("metered", "no"),
            ("metered_on", "wwan0, ppp0"),
        ] {
            config.set(key, value).unwrap();
        }
        let policy = config.policy(3600);
        assert_eq!(policy.utc_offset, 3600);
        assert_eq!(policy.direct.rate, NonZeroU64::new(300 << 10));
        assert_eq!(policy.direct.hours.bounds(), (22, 7));
        assert!(policy.relay.bulk && policy.metered.bulk);
        assert_eq!(policy.lan, Policy::default().lan);
        assert_eq!(config.metered_on, ["wwan0", "ppp0"]);
        config.set("direct_rate", "0").unwrap();
        assert_eq!(config.policy(0).direct.rate, None);
        let home = tempfile::tempdir().unwrap();
        config.save(home.path()).unwrap();
        assert_eq!(Config::load(home.path()).unwrap(), config);
    }

    #[test]
    fn bad_values_get_a_sentence() {
        let mut config = Config::default();
        for (key, value) in [
            ("direct.rate", "fast"),
            ("direct.hours", "22-25"),
            ("direct.hours", "nights"),
            ("metered", "sometimes"),
            ("metered.bulk", "a bit"),
        ] {
            let error = config.set(key, value).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("'{value}' is no value for")),
                "{error}"
            );
        }
        assert_eq!(config, Config::default());
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(CONFIG_FILE), "direct_hours = '7 to 9'\n").unwrap();
        let error = Config::load(home.path()).unwrap_err().to_string();
        assert!(error.contains("two hours of the day"), "{error}");
    }
}
