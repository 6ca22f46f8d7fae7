//! The door: which strangers get as far as a handshake.
//!
//! A connection attempt that does not offer one of our rotating secret protocol names is not
//! answered at all, so that a scanner learns neither our key nor that anybody is here.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use carryall_core::{event::Gate, gate::Alpn, limits};
use iroh::endpoint::Incoming;
use tokio::{sync::Semaphore, time::timeout};

use crate::net::Net;

/// Handshakes under way at a time. Further attempts are not answered; honest dialers try again.
const HANDSHAKES_MAX: usize = 64;
/// From so many on, callers must first prove that they can be reached at their address.
const HANDSHAKES_UNPROVEN: usize = 16;

/// Links above which nobody is let in: more than a circle has devices. Dialling goes on.
const LINKS_MAX: usize = 2 * limits::DEVICES_MAX;

/// The protocol names that open a gate, and which.
#[derive(Debug, Default)]
pub(crate) struct Gates(RwLock<BTreeMap<Alpn, Gate>>);

impl Gates {
    pub(crate) fn set(&self, gates: impl IntoIterator<Item = (Alpn, Gate)>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = gates.into_iter().collect();
    }

    fn get(&self, alpn: &[u8]) -> Option<Gate> {
        let gates = self.0.read().unwrap_or_else(PoisonError::into_inner);
        gates.get(<&Alpn>::try_from(alpn).ok()?).copied()
    }

    /// Tells whether an attempt may be answered. Our dialers offer one short name in a first packet
    /// with room to spare, so one that shows none is a stranger's, or comes again.
    fn may_answer(&self, incoming: &Incoming) -> bool {
        let offered = incoming.decrypt().and_then(|initial| initial.alpns());
        (offered.into_iter().flatten())
            .filter_map(Result::ok)
            .any(|alpn| self.get(&alpn).is_some())
    }
}

/// Accepts connections until the endpoint closes.
pub(crate) async fn run(net: Net) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = net.endpoint().accept().await {
        if !net.gates().may_answer(&incoming) || net.links_up() >= LINKS_MAX {
            incoming.ignore();
            continue;
        }
        let Ok(slot) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let crowded = handshakes.available_permits() + HANDSHAKES_UNPROVEN < HANDSHAKES_MAX;
        if crowded && !incoming.remote_addr_validated() {
            let _ = incoming.retry();
            continue;
        }
        let net = net.clone();
        tokio::spawn(async move {
            let shaken = timeout(net.dial_timeout(), incoming).await;
            drop(slot);
            let Ok(Ok(connection)) = shaken else { return };
            // Gone if the names rotated in between: then it is as if it had come too late.
            if let Some(gate) = net.gates().get(connection.alpn()) {
                net.link_up(connection, (false, gate)).await;
            }
        });
    }
}
