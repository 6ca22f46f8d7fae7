//! What a node is told about its surroundings when it starts.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use zeroize::Zeroizing;

/// How far links may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// Addresses that are dialled directly; no relay is ever asked.
    #[default]
    Lan,
}

/// Everything that [`crate::Net::start`] needs.
#[derive(Clone)]
pub struct NetConfig {
    /// The device's Ed25519 secret: the link's identity.
    pub device_secret: Zeroizing<[u8; 32]>,
    /// How far links may reach.
    pub reach: Reach,
    /// Where to listen, at most one address of each family; port 0 finds a free one. Empty means
    /// every interface, both families.
    pub bind: Vec<SocketAddr>,
    /// A dial or handshake that takes longer has failed.
    pub dial_timeout: Duration,
    /// Whether shards take a TCP connection of their own where the peer is near.
    pub lanes: bool,
    /// The beacon; nothing for a node that only dials.
    pub beacon: Option<BeaconConfig>,
}

impl NetConfig {
    /// Returns a configuration that listens on every interface and beacons with defaults.
    pub fn new(device_secret: [u8; 32]) -> Self {
        Self {
            device_secret: Zeroizing::new(device_secret),
            reach: Reach::Lan,
            bind: Vec::new(),
            dial_timeout: Duration::from_secs(5),
            lanes: true,
            beacon: Some(BeaconConfig::default()),
        }
    }

    /// Returns a configuration that never leaves this machine: demos and tests.
    pub fn loopback(device_secret: [u8; 32]) -> Self {
        Self {
            bind: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            beacon: Some(BeaconConfig {
                loopback_only: true,
                ..BeaconConfig::default()
            }),
            ..Self::new(device_secret)
        }
    }
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("reach", &self.reach)
            .field("bind", &self.bind)
            .field("lanes", &self.lanes)
            .field("beacon", &self.beacon)
            .finish_non_exhaustive()
    }
}

/// Where and how often the beacon speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconConfig {
    /// The UDP port that all nodes share.
    pub port: u16,
    /// The IPv4 group, of administrative scope (RFC 2365).
    pub group_v4: Ipv4Addr,
    /// The IPv6 group, of link-local scope (RFC 4291).
    pub group_v6: Ipv6Addr,
    /// Whether to speak and listen on the loopback interface only.
    pub loopback_only: bool,
    /// When it speaks.
    pub rhythm: Rhythm,
}

impl Default for BeaconConfig {
    fn default() -> Self {
        Self {
            port: 47_473,
            group_v4: Ipv4Addr::new(239, 255, 71, 83),
            group_v6: Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x4347, 0x4753),
            loopback_only: false,
            rhythm: Rhythm::default(),
        }
    }
}

/// When the beacon speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Moments of a burst after something changed.
    pub burst: Vec<Duration>,
    /// Between two beacons while there is work.
    pub busy: Duration,
    /// Between two beacons while there is none.
    pub idle: Duration,
    /// The same for each device near, if that is longer: all of them together take no more of the air
    /// than this allows. While there is work, a quarter of it.
    pub idle_each: Duration,
    /// How soon a beacon tells that we know something else than before.
    pub told: Duration,
    /// Shortest time between a beacon and one that tells of that.
    pub told_again: Duration,
    /// Every wait is lengthened or shortened by up to this share, in percent, so that devices
    /// don't speak in step.
    pub jitter_percent: u32,
    /// Shortest time between two replies to one peer.
    pub reply: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            burst: vec![
                Duration::ZERO,
                // Soon again: the first packet after a link came up is often lost.
                Duration::from_millis(250),
                Duration::from_secs(1),
                Duration::from_secs(3),
            ],
            busy: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            // A beacon is two or three frames of 138 to 158 bytes, so that is 1.5 kbit/s at most.
            idle_each: Duration::from_millis(2400),
            told: Duration::from_secs(2),
            told_again: Duration::from_secs(10),
            jitter_percent: 25,
            reply: Duration::from_secs(1),
        }
    }
}
