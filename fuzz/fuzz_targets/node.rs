//! A whole node under a stream of messages from a stranger at its door: no panic, no hang, and no
//! effect that touches the shelf.
#![no_main]

use carryall_core::{
    codec::decode,
    entry::DeviceClass,
    event::{Effect, Event, Gate, LinkId},
    id::DeviceId,
    key::{Identity, Names, Words},
    link::LinkFacts,
    message::Message,
    node::{Node, found},
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now = Timestamp(1_700_000_000_000);
    let root = Words::generate([1; 16]).root();
    let names = Names { member: "a", device: "b" };
    let identity = Identity::create(&root, [2; 32], names, DeviceClass::Laptop, now)
        .expect("the names are good");
    let (identity, entries) = found(identity, &[3; 32], now);
    let mut node = Node::new(identity, [4; 32], now);
    for entry in &entries {
        node.replay(entry).expect("our own feed");
    }
    node.start(now);
    let (link, peer) = (LinkId(1), DeviceId([9; 32]));
    let (dialled, facts) = (data.first().is_some_and(|byte| byte & 1 == 1), LinkFacts::near());
    node.handle_event(now, Event::LinkUp { link, peer, dialled, gate: Gate::Circle, facts });
    let mut rest = data.get(1..).unwrap_or_default();
    while let Some((length, more)) = rest.split_first() {
        let (bytes, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        let event = match decode::<Message>("message", bytes) {
            Ok(message) => Event::Message { link, message },
            Err(_) => Event::Garbage { link },
        };
        node.handle_event(now, event);
        while let Some(effect) = node.poll_effect() {
            assert!(!matches!(effect, Effect::Reserve { .. } | Effect::Receive { .. }));
        }
    }
});
