//! Our own parcels on a courier: noted, read back while the disk rests here, and taken home after a loss.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    courier::{Bill, Parcel},
    id::{DeviceId, MemberId},
    limits,
    node::Wayside,
};
use carryall_store::aside::AsideError;

use super::visit::{End, Visit, failed};

/// So many bytes are read back between two looks at whether anything else is to be done.
const SLICE_BYTES: u64 = 64 << 20;

/// Our parcels on the courier in this visit.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Put there in this visit: reading them back would prove the memory of this machine.
    pub(super) fresh: BTreeSet<Parcel>,
    /// To be read back.
    due: Vec<Parcel>,
    /// Read back, and not noted yet.
    read: Vec<Parcel>,
    /// Something is left to do that no news will tell of.
    pub(super) unfinished: bool,
}

impl Visit<'_> {
    /// Notes what lies there of ours, all of it durable, and what of it is to be read back.
    pub(super) fn note_aboard(&mut self, listed: Vec<Parcel>) -> Result<(), End> {
        let courier = self.courier.card().courier;
        let (noted, due) = self.ask(move |node, now| {
            let noted = node.note_aboard(now, courier, &listed);
            (noted, node.due_aboard(now, courier, &listed))
        })?;
        if let Err(error) = noted {
            tracing::warn!(%error, "can't note what lies on the courier");
        }
        self.own.due = due;
        self.own
            .due
            .retain(|parcel| !self.own.fresh.contains(parcel));
        self.harden()
    }

    /// Reads some of our parcels back. The disk may be unplugged meanwhile.
    pub(super) fn read_some_back(&mut self) -> Result<(), End> {
        let mut bytes = 0;
        while bytes < SLICE_BYTES {
            let Some(parcel) = self.own.due.pop() else {
                break;
            };
            bytes += u64::from(parcel.bytes);
            if self.courier.read_parcel(&parcel).is_some() {
                self.own.read.push(parcel);
                continue;
            }
            self.courier.check().map_err(failed)?;
            self.courier.remove_parcel(&parcel).map_err(failed)?;
            self.own.unfinished = true;
            self.problem("a parcel of yours went bad on the courier, and is put there anew".into());
        }
        let some = self.own.read.len() >= limits::RECEIPT_SHARDS_MAX;
        if some || self.own.due.is_empty() && !self.own.read.is_empty() {
            let courier = self.courier.card().courier;
            let read = std::mem::take(&mut self.own.read);
            let noted = self.ask(move |node, now| node.read_aboard(now, courier, &read))?;
            if let Err(error) = noted {
                tracing::warn!(%error, "can't note what was read back from the courier");
            }
        }
        Ok(())
    }

    /// Sets aside what lies there of packs that this device wants back: put there by any device of its
    /// owner, one that was lost among them.
    pub(super) fn take_home(&mut self, bills: &[(DeviceId, MemberId, Bill)]) -> Result<(), End> {
        let own = bills.iter().filter(|(_, member, _)| *member == self.member);
        let own: Vec<Parcel> = own.flat_map(|(_, _, bill)| bill.parcels.clone()).collect();
        if own.is_empty() {
            return Ok(());
        }
        let wanted = self.ask(move |node, _| node.wanted_aboard(&own))?;
        for Wayside {
            pack,
            index,
            parcel,
        } in wanted
        {
            self.may_go_on()?;
            let Some(content) = self.courier.read_parcel(&parcel) else {
                self.courier.check().map_err(failed)?;
                continue;
            };
            let shards = BTreeMap::from([(index, content)]);
            match self.world.store.aside.put(pack, &shards) {
                Ok(()) => self.ask(move |node, now| node.found_aboard(now, pack, index))?,
                Err(error) => {
                    // There is room again once the restore has used what came so far.
                    self.own.unfinished = true;
                    if !matches!(error, AsideError::Full { .. }) {
                        self.problem(format!("what lies on the courier can't come back: {error}"));
                    }
                    break;
                }
            }
        }
        Ok(())
    }
}
