//! Replay: feeds on their way from our disk into a node, before anything else happens.
//!
//! Each entry names the hash of the one before it, so the signature of a feed's last entry vouches for
//! the whole feed: all were checked one by one when they came. A start that checked each again would
//! spend a quarter of its time on that.

use alloc::vec::Vec;

use super::Node;
use crate::{
    entry::{CheckSignature, SignedEntry},
    feed::{FeedError, is_chain},
    id::DeviceId,
};

/// Takes feeds, entry by entry, each from its beginning; feeds come in any order.
#[expect(missing_debug_implementations, reason = "it borrows a closure")]
pub struct Replay<'a> {
    node: &'a mut Node,
    refused: &'a mut dyn FnMut(DeviceId, u64, FeedError),
    device: Option<DeviceId>,
    feed: Vec<SignedEntry>,
}

impl Replay<'_> {
    /// Takes the next entry of the feed of a device.
    pub fn take(&mut self, device: DeviceId, entry: SignedEntry) {
        if self.device != Some(device) {
            self.learn();
            self.device = Some(device);
        }
        self.feed.push(entry);
    }

    /// Has the node learn what is left. Without this it lacks the last feed.
    pub fn finish(mut self) {
        self.learn();
    }

    fn learn(&mut self) {
        let (Some(device), feed) = (self.device, core::mem::take(&mut self.feed)) else {
            return;
        };
        let check = self.node.check;
        if is_vouched(&feed, check) {
            self.node.check = |_, _| Ok(());
        }
        for (seq, entry) in (0..).zip(&feed) {
            if let Err(error) = self.node.replay(entry) {
                (self.refused)(device, seq, error);
            }
        }
        self.node.check = check;
    }
}

/// Tells whether the signature of the last of these entries, which are one chain, is good.
fn is_vouched(feed: &[SignedEntry], check: CheckSignature) -> bool {
    let good = |last: &SignedEntry| last.read().is_ok_and(|entry| check(last, &entry).is_ok());
    is_chain(feed) && feed.last().is_some_and(good)
}

impl Node {
    /// Takes the feeds that are on our disk already, before anything else happens. `refused` is told
    /// which entries are of no use.
    pub fn replaying<'a>(
        &'a mut self,
        refused: &'a mut dyn FnMut(DeviceId, u64, FeedError),
    ) -> Replay<'a> {
        Replay {
            node: self,
            refused,
            device: None,
            feed: Vec::new(),
        }
    }
}
