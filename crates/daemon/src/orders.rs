//! Restores that are not done yet. They go on whenever a friend comes within reach, over restarts.

use std::{fs, io, path::Path};

use carryall_core::id::SnapshotId;
use serde::{Deserialize, Serialize};

use crate::{api::restore::RestoreProgress, atomic};

/// The file's name in the home directory. No file, no orders.
const ORDERS_FILE: &str = "restores.json";

/// What is to be restored, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) snapshot: SnapshotId,
    /// The path text inside the snapshot; everything when empty.
    pub(crate) path: String,
    /// The path text of the target directory.
    pub(crate) to: String,
    pub(crate) overwrite: bool,
}

/// An order, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) order: Order,
    /// Nothing until it was begun in this process.
    pub(crate) progress: Option<RestoreProgress>,
    /// What it waits for, in a sentence.
    pub(crate) waits: Option<String>,
}

/// All orders, the one to go on with first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders(Vec<Standing>);

impl Orders {
    /// Reads the orders. A damaged file costs no data, so it counts as none, with a warning.
    pub(crate) fn load(home: &Path) -> Self {
        let Ok(bytes) = fs::read(home.join(ORDERS_FILE)) else {
            return Self::default();
        };
        let orders: Vec<Order> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "restores.json can't be read; restores have to be begun again");
            Vec::new()
        });
        Self(orders.into_iter().map(Standing::new).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.0.iter()
    }

    /// Adds an order before all others: whoever asks now is waiting.
    pub(crate) fn add(&mut self, home: &Path, order: Order) -> io::Result<()> {
        self.0.retain(|standing| standing.order != order);
        self.0.insert(0, Standing::new(order));
        self.save(home)
    }

    /// Removes an order that is done, or that can't be done.
    pub(crate) fn remove(&mut self, home: &Path, order: &Order) -> io::Result<()> {
        self.0.retain(|standing| standing.order != *order);
        self.save(home)
    }

    /// Gives up all orders, or those to one directory. Returns how many.
    pub(crate) fn stop(&mut self, home: &Path, to: Option<&str>) -> io::Result<u64> {
        let before = self.0.len();
        (self.0).retain(|standing| to.is_some_and(|to| standing.order.to != to));
        self.save(home)?;
        Ok((before - self.0.len()) as u64)
    }

    /// Lets the next one have its turn.
    pub(crate) fn turn(&mut self) {
        if !self.0.is_empty() {
            self.0.rotate_left(1);
        }
    }

    /// Notes how far an order is.
    pub(crate) fn note(&mut self, order: &Order, progress: RestoreProgress) {
        if let Some(standing) = self.find(order) {
            standing.progress = Some(progress);
        }
    }

    /// Notes what an order waits for.
    pub(crate) fn note_wait(&mut self, order: &Order, waits: Option<String>) {
        if let Some(standing) = self.find(order) {
            standing.waits = waits;
        }
    }

    fn find(&mut self, order: &Order) -> Option<&mut Standing> {
        self.0.iter_mut().find(|standing| standing.order == *order)
    }

    fn save(&self, home: &Path) -> io::Result<()> {
        let path = home.join(ORDERS_FILE);
        if self.0.is_empty() {
            return atomic::remove(&path);
        }
        let orders: Vec<&Order> = self.0.iter().map(|standing| &standing.order).collect();
        let mut bytes = serde_json::to_vec(&orders)?;
        bytes.push(b'\n');
        atomic::write(&path, &bytes)
    }
}

impl Standing {
    fn new(order: Order) -> Self {
        Self {
            order,
            progress: None,
            waits: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(to: &str) -> Order {
        Order {
            snapshot: SnapshotId([7; 32]),
            path: "/photos".to_owned(),
            to: to.to_owned(),
            overwrite: false,
        }
    }

    fn targets(orders: &Orders) -> Vec<&str> {
        orders.iter().map(|it| it.order.to.as_str()).collect()
    }

    #[test]
    fn orders_survive_a_restart_the_newest_first() {
        let home = tempfile::tempdir().unwrap();
        let mut orders = Orders::load(home.path());
        for to in ["/a", "/b", "/c", "/a"] {
            orders.add(home.path(), order(to)).unwrap();
        }
        assert_eq!(targets(&Orders::load(home.path())), ["/a", "/c", "/b"]);
        orders.turn();
        assert_eq!(targets(&orders), ["/c", "/b", "/a"]);
        orders.remove(home.path(), &order("/c")).unwrap();
        assert_eq!(orders.stop(home.path(), Some("/a")).unwrap(), 1);
        assert_eq!(orders.stop(home.path(), Some("/a")).unwrap(), 0);
        assert_eq!(targets(&Orders::load(home.path())), ["/b"]);
        assert_eq!(orders.stop(home.path(), None).unwrap(), 1);
        assert!(!home.path().join(ORDERS_FILE).exists());
        fs::write(home.path().join(ORDERS_FILE), b"[{").unwrap();
        assert_eq!(Orders::load(home.path()), Orders::default());
    }
}
