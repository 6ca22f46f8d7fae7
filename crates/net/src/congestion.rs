//! How fast a link may be filled: CUBIC near, BBR far.
//!
//! CUBIC (RFC 9438) takes every lost packet for a full queue. Near, that is what it is, and CUBIC costs
//! the processor least. Far, packets also get lost on the way: at 40 ms and one in a thousand, CUBIC
//! moves a tenth of what the link carries. BBR (draft-ietf-ccwg-bbr) measures what arrives instead.

use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{
    Connection, Controller, ControllerFactory, ControllerMetrics, PathId, RttEstimator,
};
use noq_proto::congestion::{Bbr3Config, CubicConfig};

/// From this shortest round-trip time on a path is far. Wi-Fi stays below it, packets that cross a
/// city's edge don't.
pub(crate) const FAR_RTT: Duration = Duration::from_millis(8);
/// A far path whose shortest time falls below this was a near one on a busy machine.
const NEAR_RTT: Duration = Duration::from_millis(4);
/// So many packets must be acknowledged before a path is judged: the first ones wait for keys.
const JUDGED_PACKETS: u32 = 24;

/// Makes controllers that find out for themselves whether their path is near or far.
#[derive(Debug, Default)]
pub(crate) struct ByDistance {
    near: Arc<CubicConfig>,
    far: Arc<Bbr3Config>,
}

impl ControllerFactory for ByDistance {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Governor {
            governor: Arc::clone(&self.near).build(now, mtu),
            distance: Distance::default(),
            mtu,
            factory: self,
        })
    }
}

/// Returns the shortest round trip that packets on a path took; nothing before the first came back.
/// The transport's own estimate is an average, which one packet that had to wait for the cable or for
/// a neighbour's address spoils for seconds.
pub(crate) fn shortest_rtt(connection: &Connection, path: PathId) -> Option<Duration> {
    let controller = connection.congestion_state(path)?.into_any();
    controller.downcast::<Governor>().ok()?.distance.shortest
}

/// Whether a path is far, by the packets acknowledged so far.
#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    packets: u32,
    shortest: Option<Duration>,
    far: bool,
}

impl Distance {
    /// Takes one acknowledged packet and the path's shortest round-trip time. Tells whether the
    /// judgement changed.
    fn note(&mut self, shortest: Duration) -> bool {
        self.packets = self.packets.saturating_add(1);
        self.shortest = Some(shortest);
        let before = self.far;
        if self.packets >= JUDGED_PACKETS {
            let threshold = if self.far { NEAR_RTT } else { FAR_RTT };
            self.far = shortest >= threshold;
        }
        self.far != before
    }
}

/// The controller of one path.
struct Governor {
    governor: Box<dyn Controller>,
    distance: Distance,
    mtu: u16,
    factory: Arc<ByDistance>,
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor")
            .field("distance", &self.distance)
            .finish_non_exhaustive()
    }
}

impl Controller for Governor {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest: u64) {
        self.governor.on_sent(now, bytes, largest);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, number: u64) {
        self.governor.on_packet_sent(now, bytes, number);
    }

    fn on_cwnd_limited(&mut self) {
        self.governor.on_cwnd_limited();
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        number: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        if self.distance.note(rtt.min()) {
            // What the old one knew of packets under way is lost, which costs a round trip.
            self.governor = if self.distance.far {
                Arc::clone(&self.factory.far).build(now, self.mtu)
            } else {
                Arc::clone(&self.factory.near).build(now, self.mtu)
            };
        }
        self.governor
            .on_ack(now, sent, bytes, number, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_acked: Option<u64>,
    ) {
        self.governor
            .on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        persistent: bool,
        ecn: bool,
        lost_bytes: u64,
        largest_lost: u64,
    ) {
        self.governor
            .on_congestion_event(now, sent, persistent, ecn, lost_bytes, largest_lost);
    }

    fn on_packet_lost(&mut self, bytes: u16, number: u64, now: Instant) {
        self.governor.on_packet_lost(bytes, number, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        self.governor.on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.governor.on_mtu_update(mtu);
    }

    fn on_ack_frequency_update(&mut self, threshold: u64, delay: Duration) {
        self.governor.on_ack_frequency_update(threshold, delay);
    }

    fn window(&self) -> u64 {
        self.governor.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.governor.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            governor: self.governor.clone_box(),
            distance: self.distance,
            mtu: self.mtu,
            factory: Arc::clone(&self.factory),
        })
    }

    fn initial_window(&self) -> u64 {
        self.governor.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(times_ms: &[u64]) -> Distance {
        let mut distance = Distance::default();
        let mut shortest = Duration::MAX;
        for time in times_ms {
            shortest = shortest.min(Duration::from_millis(*time));
            distance.note(shortest);
        }
        distance
    }

    #[test]
    fn far_is_what_no_packet_crossed_quickly() {
        assert!(!judged(&[1; 100]).far);
        assert!(judged(&[40; 100]).far);
        assert!(!judged(&[40; 10]).far, "the first packets prove nothing");
        let mut busy = vec![30; 100];
        busy.push(1);
        assert!(
            !judged(&busy).far,
            "a near path that began on a busy machine"
        );
        let mut jitter = vec![9; 100];
        jitter.push(6);
        assert!(judged(&jitter).far, "no going to and fro at the border");
    }

    #[test]
    fn a_path_changes_its_governor_with_its_distance() {
        let factory = Arc::new(ByDistance::default());
        let mut path = factory.build(Instant::now(), 1200);
        path.on_mtu_update(1400);
        assert!(path.window() > 0);
        let copy = path.clone_box();
        assert_eq!(copy.window(), path.window());
        assert_eq!(
            copy.metrics().pacing_rate,
            None,
            "CUBIC leaves pacing to the transport"
        );
    }
}
