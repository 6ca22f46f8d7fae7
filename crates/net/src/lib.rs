//! Links between devices: dialling, accepting, messages, shard streams and the beacon.
//!
//! This crate moves bytes and knows which key they came from. It holds no rule about whom to trust,
//! whom to dial, what to send or when somebody counts as gone: the core decides, the daemon carries
//! the decisions here. No type of the QUIC library shows in this interface.

#![forbid(unsafe_code)]

mod accept;
pub mod beacon;
pub mod config;
mod congestion;
mod control;
pub mod event;
mod frame;
mod gauge;
mod interface;
mod lane;
mod link;
mod net;
mod pace;
mod part;
mod place;
mod receive;
mod send;
pub mod shard;
mod surroundings;

pub use beacon::BeaconVoice;
pub use config::{BeaconConfig, NetConfig, Reach, Rhythm};
pub use event::{Direction, NetEvent, Transfer};
pub use gauge::Metered;
pub use net::{Net, NetError, SendError};
pub use shard::{ShardSink, ShardSource, ShardTarget};
pub use surroundings::Surroundings;
