//! Where this device is: on which network, and what the clocks on the walls show.

use std::time::{Duration, Instant};

use carryall_core::meeting::{Network, Whereabouts};
use carryall_net::Surroundings as Seen;

/// How often to look. A clock that is changed for summer, or a gateway that takes a moment to answer,
/// makes no other sign.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    looked: Option<Instant>,
    whereabouts: Option<Whereabouts>,
}

impl Surroundings {
    /// Has the next look come at the next chance.
    pub(super) const fn look_soon(&mut self) {
        self.looked = None;
    }

    /// Returns where we are, if it is time to look and something changed.
    pub(super) fn look(&mut self, secret: &[u8; 32], online: bool) -> Option<Whereabouts> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let network = match Seen::now() {
            _ if !online => Network::UNKNOWN,
            Seen::Behind { gateway, hardware } => Network::behind(secret, gateway, hardware),
            Seen::Subnets(subnets) => Network::of_subnets(secret, subnets),
            Seen::Unclear => Network::UNKNOWN,
        };
        let offset_minutes = offset_minutes();
        let here = Whereabouts {
            network,
            offset_minutes,
        };
        (self.whereabouts.replace(here) != Some(here)).then_some(here)
    }
}

/// Returns how far local time is ahead of UTC now.
fn offset_minutes() -> i16 {
    let zone = jiff::tz::TimeZone::system();
    let offset = zone.to_offset(jiff::Timestamp::now());
    i16::try_from(offset.seconds() / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let mut surroundings = Surroundings::default();
        let here = surroundings.look(&[1; 32], false).unwrap();
        assert_eq!(here.network, Network::UNKNOWN);
        assert_eq!(surroundings.look(&[1; 32], false), None);
        surroundings.look_soon();
        assert_eq!(surroundings.look(&[1; 32], false), None);
        assert!(surroundings.looked.is_some());
    }
}
