//! What the network tells the daemon.

use std::net::SocketAddr;

use carryall_core::{
    beacon::{Beacon, Who},
    event::{Gate, LinkId, TransferError},
    id::{DeviceId, ShardId},
    link::LinkFacts,
    message::Message,
};

/// What happened on a link or on the air. For each link, [`NetEvent::LinkUp`] comes first and
/// [`NetEvent::LinkDown`] last; between them every [`crate::Net::send_shard`] and
/// [`crate::Net::expect_shard`] is answered exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A beacon was recognised. It proves nothing but knowledge of a seed.
    BeaconSeen {
        /// Whose seed.
        who: Who,
        /// What it says.
        beacon: Beacon,
        /// How many epochs its sender's clock is ahead of ours.
        skew: i32,
        /// Where its sender can be dialled: the packet's address, the beacon's port.
        address: SocketAddr,
    },
    /// A connection is up; the peer has proven its device key.
    LinkUp {
        /// The connection.
        link: LinkId,
        /// The peer.
        peer: DeviceId,
        /// Whether we dialled.
        dialled: bool,
        /// The door.
        gate: Gate,
        /// What is known of the link so far.
        facts: LinkFacts,
        /// The peer's address as seen from here; nothing through a relay.
        remote: Option<SocketAddr>,
    },
    /// More is known of a link, or it takes another way.
    LinkMeasured {
        /// The connection.
        link: LinkId,
        /// All that is known now.
        facts: LinkFacts,
    },
    /// Something came from the peer lately.
    Alive {
        /// The connection.
        link: LinkId,
    },
    /// A connection is gone.
    LinkDown {
        /// The connection.
        link: LinkId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The device that was dialled.
        device: DeviceId,
    },
    /// The peer said something.
    Message {
        /// The connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// The peer said something that is no message. The link closes.
    Garbage {
        /// The connection.
        link: LinkId,
    },
    /// A shard was sent, or not.
    ShardSent {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// Bytes that went out in this try.
        bytes: u32,
        /// The outcome: fine once the peer's transport has everything.
        outcome: Result<(), TransferError>,
    },
    /// A shard was received, or not.
    ShardReceived {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// Bytes that came in this try.
        bytes: u32,
        /// The outcome: fine once the target has verified everything.
        outcome: Result<(), TransferError>,
        /// What lies in memory if that was the target: the shard, or as much of its beginning as
        /// came before the link broke. Empty otherwise.
        content: Vec<u8>,
    },
    /// The addresses at which this node can be dialled changed, or this machine woke up.
    Arrived {
        /// All addresses now, as [`crate::Net::addresses`] returns them.
        addresses: Vec<SocketAddr>,
    },
}

/// Which way a shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the peer.
    Sending,
    /// From the peer.
    Receiving,
}

/// How far a shard under way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The connection.
    pub link: LinkId,
    /// The peer.
    pub peer: DeviceId,
    /// The shard.
    pub shard: ShardId,
    /// Which way.
    pub direction: Direction,
    /// Bytes that are there, those of earlier tries included.
    pub done: u32,
    /// Length of the shard.
    pub bytes: u32,
}
