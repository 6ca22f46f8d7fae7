//! The first judgement of a link: near, far, or through somebody.
//!
//! Only what is measured counts. A shared subnet alone proves nothing, since a VPN makes far things
//! look near.

use std::{net::SocketAddr, time::Duration};

use carryall_core::event::LinkClass;

use crate::interface::Interface;

/// Nearer than this is a LAN. Wi-Fi with power saving stays below it, few far links do.
const LAN_RTT: Duration = Duration::from_millis(20);

/// Judges a link by its path: the peer's address (nothing through a relay) and round-trip time.
pub(crate) fn judge(
    remote: Option<SocketAddr>,
    rtt: Duration,
    interfaces: &[Interface],
) -> LinkClass {
    let Some(remote) = remote else {
        return LinkClass::Relay;
    };
    let ip = remote.ip().to_canonical();
    if ip.is_loopback() || interfaces.iter().any(|interface| interface.ip == ip) {
        // This machine, however busy it is.
        return LinkClass::Lan;
    }
    if rtt < LAN_RTT && interfaces.iter().any(|interface| interface.reaches(ip)) {
        LinkClass::Lan
    } else {
        LinkClass::Direct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        let home = [Interface {
            index: 2,
            ip: "192.168.1.7".parse().unwrap(),
            prefix: 24,
            broadcast: None,
        }];
        let judge = |remote: &str, ms| {
            judge(
                Some(remote.parse().unwrap()),
                Duration::from_millis(ms),
                &home,
            )
        };
        assert_eq!(judge("127.0.0.1:1", 500), LinkClass::Lan);
        assert_eq!(judge("[::ffff:127.0.0.1]:1", 500), LinkClass::Lan);
        assert_eq!(judge("192.168.1.7:1", 500), LinkClass::Lan);
        assert_eq!(judge("192.168.1.9:1", 3), LinkClass::Lan);
        assert_eq!(judge("192.168.1.9:1", 45), LinkClass::Direct);
        assert_eq!(judge("203.0.113.9:1", 3), LinkClass::Direct);
        assert_eq!(
            super::judge(None, Duration::from_millis(1), &home),
            LinkClass::Relay
        );
    }
}
