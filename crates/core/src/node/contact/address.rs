//! Where a device was heard or met.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::{limits, time::Timestamp};

/// Addresses of one device, last heard first.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Vec<(Timestamp, SocketAddr)>);

impl Heard {
    /// Notes that the device is at this address. Tells whether that is new.
    pub(super) fn note(&mut self, address: SocketAddr, now: Timestamp) -> bool {
        let known = self.0.iter().position(|(_, known)| *known == address);
        if let Some(at) = known {
            self.0.remove(at);
        }
        self.0.insert(0, (now, address));
        self.0.truncate(limits::HEARD_MAX);
        known.is_none()
    }

    /// Returns the addresses that were noted at `earliest` or later.
    pub(super) fn since(&self, earliest: Timestamp) -> impl Iterator<Item = SocketAddr> {
        let heard = self.0.iter();
        heard
            .filter(move |(at, _)| *at >= earliest)
            .map(|(_, address)| *address)
    }
}

/// Tells whether two addresses look as if they belonged to one network. A guess, good enough to say
/// whom to try first.
pub(super) fn same_network(one: &SocketAddr, other: &SocketAddr) -> bool {
    match (one.ip(), other.ip()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 9).into()
    }

    #[test]
    fn the_last_heard_comes_first_and_few_are_kept() {
        let mut heard = Heard::default();
        assert!(heard.note(at(1), Timestamp(1)));
        assert!(heard.note(at(2), Timestamp(2)));
        assert!(!heard.note(at(1), Timestamp(3)));
        let known: Vec<_> = heard.since(Timestamp(0)).collect();
        assert_eq!(known, [at(1), at(2)]);
        let fresh: Vec<_> = heard.since(Timestamp(3)).collect();
        assert_eq!(fresh, [at(1)]);
        for last in 10..100 {
            heard.note(at(last), Timestamp(4));
        }
        assert_eq!(heard.since(Timestamp(0)).count(), limits::HEARD_MAX);
        assert_eq!(heard.since(Timestamp(0)).next(), Some(at(99)));
    }

    #[test]
    fn networks() {
        assert!(same_network(&at(1), &at(2)));
        assert!(!same_network(&at(1), &"10.0.1.1:9".parse().unwrap()));
        assert!(!same_network(&at(1), &"[::1]:9".parse().unwrap()));
    }
}
