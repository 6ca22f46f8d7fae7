//! What an event is, in a line: the trace is made of it.

use carryall_core::{
    codec::decode,
    entry::{Entry, SignedEntry},
    event::Event,
    message::Message,
};

/// Returns what an event is, without the bytes in it.
pub(super) fn gist(event: &Event) -> String {
    match event {
        Event::Message { link, message } => match message {
            Message::Hello(hello) => {
                let lens: Vec<u64> = hello.tips.iter().map(|tip| tip.len).collect();
                format!("{} hello {lens:?}", link.0)
            }
            Message::Entries(entries) => {
                let places: Vec<String> = entries.iter().map(place).collect();
                format!("{} entries {}", link.0, places.join(" "))
            }
            Message::Proof {
                shard,
                group,
                proof,
                ..
            } => {
                format!(
                    "{} proof {} {group} {}",
                    link.0,
                    shard.short(),
                    proof.is_some()
                )
            }
            other => format!("{} {other:?}", link.0),
        },
        Event::Proof {
            link,
            shard,
            group,
            proof,
            ..
        } => {
            format!(
                "{} proved {} {group} {}",
                link.0,
                shard.short(),
                proof.is_some()
            )
        }
        other => format!("{other:?}"),
    }
}

fn place(signed: &SignedEntry) -> String {
    match decode::<Entry>("entry", &signed.bytes) {
        Ok(entry) => format!("{}:{}:{}", entry.device.short(), entry.seq, entry.kind),
        Err(error) => error.to_string(),
    }
}
