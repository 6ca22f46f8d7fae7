//! The doors that are open: gates on the endpoint, and the beacon's voice and ears.
//!
//! They follow from what the core knows. They are set anew when that changes, and every quarter of
//! an hour, since the names of gates rotate.

use carryall_core::{
    beacon::{BeaconSeed, BeaconTable, EPOCHS_AROUND, Flags, Who},
    event::Gate,
    gate::{self, Alpn, Gates},
    id::CircleId,
    node::Node,
    time::Timestamp,
};
use carryall_net::{BeaconVoice, Net};

/// From what the names of gates and beacons follow, or changes whenever that does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    circle: Option<CircleId>,
    names: u64,
    /// The epochs whose gates are open.
    epochs: Vec<u64>,
    /// For how many epochs each way beacons are listened for.
    around: u32,
    knocking: Option<Gate>,
}

/// What our beacons say beside names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    news: [u8; 4],
    flags: Flags,
    idle: bool,
    crowd: usize,
}

/// The doors as they were set last.
#[derive(Debug, Default)]
pub(super) struct Doors {
    cause: Option<Cause>,
    word: Option<Word>,
    knocking: Option<Gate>,
    gates: Gates,
}

impl Doors {
    /// Begins to knock at a gate.
    pub(super) const fn knock(&mut self, gate: Gate) {
        self.knocking = Some(gate);
    }

    /// Ends the knocking: somebody answered.
    pub(super) const fn answered(&mut self) {
        self.knocking = None;
    }

    /// Returns the name by which to knock at a gate; nothing if we don't know its secret.
    pub(super) fn alpn(&self, gate: Gate, now: Timestamp) -> Option<Alpn> {
        self.gates.alpn(gate, now)
    }

    /// Sets the doors as the core wants them now.
    pub(super) fn follow(&mut self, node: &Node, net: &Net, now: Timestamp) {
        let times = node.gate_times(now);
        let cause = Cause {
            circle: node.identity().circle,
            names: node.names(),
            epochs: times.iter().map(|time| gate::epoch(*time)).collect(),
            around: node.epochs_around(now),
            knocking: self.knocking,
        };
        let word = Word {
            news: node.news(),
            flags: node.beacon_flags(),
            idle: node.is_idle(),
            crowd: node.crowd(),
        };
        let said = self.word.replace(word) == Some(word);
        // News come in hundreds where many meet, and names cost a hash for each member and epoch.
        if self.cause.as_ref() == Some(&cause) {
            if !said {
                net.set_voice(self.voice_of(node));
            }
            return;
        }
        self.gates = self.gates_of(node, now);
        let alpns = times.iter().flat_map(|time| self.gates.alpns(*time));
        net.set_gates(alpns.collect());
        net.set_beacon(self.voice_of(node), self.table_of(node, now));
        self.cause = Some(cause);
    }

    fn gates_of(&self, node: &Node, now: Timestamp) -> Gates {
        let identity = node.identity();
        let mut gates = match identity.circle {
            Some(_) => Gates::of_circle(node.circle(), &identity.circle_secret, now),
            None => Gates::new(),
        };
        match self.knocking {
            Some(Gate::Invite(id)) => gates.add_invite(id),
            Some(Gate::Rendezvous(member)) => {
                if let Ok(card) = identity.card.verify() {
                    gates.add_rendezvous(member, &card.rendezvous);
                }
            }
            Some(Gate::Circle) | None => {}
        }
        gates
    }

    /// Our own beacon, and that of the door at which we knock.
    fn voice_of(&self, node: &Node) -> BeaconVoice {
        let identity = node.identity();
        let own = identity
            .circle
            .map(|_| BeaconSeed::from(identity.beacon_seed));
        let door = self.knocking_seed(node).map(|(_, seed)| seed);
        BeaconVoice {
            device: node.device(),
            seeds: own.into_iter().chain(door).collect(),
            flags: node.beacon_flags(),
            news: node.news(),
            idle: node.is_idle(),
            crowd: node.crowd(),
        }
    }

    fn table_of(&self, node: &Node, now: Timestamp) -> BeaconTable {
        match self.knocking_seed(node) {
            Some(seed) => BeaconTable::new(node.device(), [seed], now, EPOCHS_AROUND),
            None => {
                let around = node.epochs_around(now);
                BeaconTable::of_circle(node.device(), node.circle(), now, around)
            }
        }
    }

    fn knocking_seed(&self, node: &Node) -> Option<(Who, BeaconSeed)> {
        match self.knocking? {
            Gate::Invite(id) => Some((Who::Invite(id), BeaconSeed::invite(&id))),
            Gate::Rendezvous(member) => {
                let card = node.identity().card.verify().ok()?;
                Some((Who::Rendezvous(member), card.rendezvous.into()))
            }
            Gate::Circle => None,
        }
    }
}
