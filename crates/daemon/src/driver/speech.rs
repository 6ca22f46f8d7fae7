//! What is said on each link, in order: messages, runs of feed entries, and the farewell.
//!
//! Entries are read from disk, which takes a while; what is said after them waits for them.

use std::{collections::BTreeMap, ops::Range};

use carryall_core::{
    codec,
    entry::SignedEntry,
    event::LinkId,
    id::DeviceId,
    limits,
    message::{Farewell, Message},
};
use carryall_net::Net;
use tokio::sync::mpsc;

use super::feeds::Feeds;

/// Room in a frame for what surrounds the entries.
const FRAME_OVERHEAD: usize = 16;

/// One thing to say.
#[derive(Debug)]
enum Words {
    Message(Message),
    Entries(DeviceId, Range<u64>),
    Farewell(Farewell),
}

/// The links' speakers.
#[derive(Debug)]
pub(super) struct Speech {
    net: Option<Net>,
    feeds: Feeds,
    speakers: BTreeMap<LinkId, mpsc::UnboundedSender<Words>>,
}

impl Speech {
    pub(super) const fn new(net: Option<Net>, feeds: Feeds) -> Self {
        Self {
            net,
            feeds,
            speakers: BTreeMap::new(),
        }
    }

    /// Says a message after all that was said before.
    pub(super) fn say(&mut self, link: LinkId, message: Message) {
        self.queue(link, Words::Message(message));
    }

    /// Says a run of a feed's entries, in frames that fit.
    pub(super) fn say_entries(&mut self, link: LinkId, device: DeviceId, run: Range<u64>) {
        self.queue(link, Words::Entries(device, run));
    }

    /// Says farewell and closes.
    pub(super) fn farewell(&mut self, link: LinkId, farewell: Farewell) {
        self.queue(link, Words::Farewell(farewell));
    }

    /// Forgets a link that is gone.
    pub(super) fn hang_up(&mut self, link: LinkId) {
        self.speakers.remove(&link);
    }

    fn queue(&mut self, link: LinkId, words: Words) {
        let Some(net) = &self.net else { return };
        let speaker = self.speakers.entry(link).or_insert_with(|| {
            let (sender, queue) = mpsc::unbounded_channel();
            tokio::spawn(speak(net.clone(), self.feeds.clone(), link, queue));
            sender
        });
        // A speaker that ended belongs to a link that is about to be reported as gone.
        let _ = speaker.send(words);
    }
}

async fn speak(net: Net, feeds: Feeds, link: LinkId, mut queue: mpsc::UnboundedReceiver<Words>) {
    while let Some(words) = queue.recv().await {
        let said = match words {
            Words::Message(message) => net.send_patiently(link, &message).await.is_ok(),
            Words::Entries(device, run) => say_entries(&net, &feeds, link, device, run).await,
            Words::Farewell(farewell) => {
                net.close_link(link, farewell);
                false
            }
        };
        if !said {
            return;
        }
    }
}

/// Says entries run by run, so that a long feed is never in memory as a whole.
async fn say_entries(
    net: &Net,
    feeds: &Feeds,
    link: LinkId,
    device: DeviceId,
    mut run: Range<u64>,
) -> bool {
    while !run.is_empty() {
        let entries = feeds.read(device, run.clone()).await;
        let Some(count) = u64::try_from(entries.len()).ok().filter(|&count| count > 0) else {
            // The disk failed, and said so in the log. The peer asks again at the next encounter.
            return true;
        };
        run.start += count;
        for frame in frames(entries) {
            if net
                .send_patiently(link, &Message::Entries(frame))
                .await
                .is_err()
            {
                return false;
            }
        }
    }
    true
}

/// Splits entries into runs whose messages fit a frame each.
fn frames(entries: Vec<SignedEntry>) -> Vec<Vec<SignedEntry>> {
    let mut frames: Vec<Vec<SignedEntry>> = Vec::new();
    let mut room = 0;
    for entry in entries {
        let bytes = codec::encode(&entry).len();
        match frames.last_mut() {
            Some(frame) if bytes <= room => frame.push(entry),
            _ => {
                frames.push(vec![entry]);
                room = limits::FRAME_BYTES_MAX - FRAME_OVERHEAD;
            }
        }
        room = room.saturating_sub(bytes);
    }
    frames
}

#[cfg(test)]
mod tests {
    use carryall_core::codec::Signature;
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn frames_fit_and_lose_nothing() {
        let signature = Signature::sign(&SigningKey::from_bytes(&[1; 32]), "test", b"");
        let lengths = [
            1,
            40_000,
            30_000,
            10,
            limits::ENTRY_BYTES_MAX,
            limits::ENTRY_BYTES_MAX,
            5,
        ];
        let entry = |bytes| SignedEntry {
            bytes: vec![7; bytes],
            signature,
        };
        let entries: Vec<_> = lengths.into_iter().map(entry).collect();
        let frames = frames(entries.clone());
        assert_eq!(frames.concat(), entries);
        assert_eq!(frames.len(), 4);
        for frame in frames {
            let message = codec::encode(&Message::Entries(frame));
            assert!(message.len() <= limits::FRAME_BYTES_MAX);
        }
    }
}
