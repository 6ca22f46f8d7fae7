//! Who waits for which part of a shard that friends are to show.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carryall_core::id::ShardId;
use tokio::sync::oneshot;

/// A group of a shard.
pub(crate) type Part = (ShardId, u32);

/// Those who wait. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts(Arc<Mutex<Waiting>>);

type Waiting = BTreeMap<Part, Vec<oneshot::Sender<Vec<u8>>>>;

impl Parts {
    /// Waits for a part, from now on.
    pub(crate) fn wait(&self, part: Part) -> oneshot::Receiver<Vec<u8>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().entry(part).or_default().push(sender);
        receiver
    }

    /// Hands a part to all who wait for it.
    pub(super) fn shown(&self, part: Part, data: &[u8]) {
        for waiting in self.waiting().remove(&part).unwrap_or_default() {
            // Whoever has lost patience needs it no more.
            let _ = waiting.send(data.to_vec());
        }
    }

    /// Returns those of these parts for which nobody waits any more.
    pub(crate) fn given_up(&self, parts: &[Part]) -> Vec<Part> {
        let mut waiting = self.waiting();
        let mut given_up = Vec::new();
        for part in parts {
            let Some(senders) = waiting.get_mut(part) else {
                continue;
            };
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(part);
                given_up.push(*part);
            }
        }
        given_up
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // The map is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
