//! Putting on a courier what should travel, and taking off what need not any more.

use std::collections::{BTreeSet, VecDeque};

use carryall_core::{
    codec::Signed,
    courier::{Bill, Parcel},
    event::{Event, TransferError},
    id::{DeviceId, MemberId},
    node::Put,
};
use carryall_store::courier::{Batch, OpenBill};
use tokio::task::JoinHandle;

use super::visit::{End, Visit, failed};
use crate::packs::{self, Loaded};

/// So many bytes are written before they are synced and listed together.
const BATCH_BYTES: u64 = 64 << 20;
/// How many shards are made ahead while others are written.
const AHEAD: usize = 2;

impl Visit<'_> {
    /// Brings what lies on the courier of ours up to date.
    pub(super) fn put_on(&mut self, bills: &[(DeviceId, MemberId, Bill)]) -> Result<(), End> {
        let mut problems = Vec::new();
        let mut open = (self.courier).read_bill(self.device, &mut |what| problems.push(what));
        let before = open.bill.clone();
        let listed = before.as_ref().map_or(&[][..], |bill| &bill.parcels[..]);
        // What is not there was taken, or spoilt.
        let there = |parcel: &&Parcel| self.courier.open_parcel(parcel).is_ok();
        let listed_there: Vec<Parcel> = listed.iter().filter(there).copied().collect();
        let (mut beside, mut others) = (Vec::new(), 0);
        for (device, member, bill) in bills.iter().filter(|(it, ..)| *it != self.device) {
            debug_assert_eq!(*device, bill.device, "checked when it was read");
            others += bytes(&bill.parcels);
            if *member == self.member {
                beside.extend_from_slice(&bill.parcels);
            }
        }
        let free = self.courier.room().map_err(failed)?;
        let card = self.courier.card().clone();
        let asked = before
            .as_ref()
            .map_or_else(Vec::new, |bill| bill.asks.clone());
        let plan = self.ask(move |node, now| {
            let room = node.courier_room(&card, &listed_there, others, free);
            node.plan_courier(now, &listed_there, &beside, &asked, room)
        })?;

        let bill = Bill {
            courier: self.courier.card().courier,
            device: self.device,
            generation: 0,
            parcels: plan.keep,
            asks: plan.asks,
        };
        let as_before = before
            .as_ref()
            .is_some_and(|before| (&before.parcels, &before.asks) == (&bill.parcels, &bill.asks));
        let nothing = bill.parcels.is_empty() && bill.asks.is_empty();
        if !(as_before || before.is_none() && nothing) {
            self.write_bill(&mut open, bill.clone())?;
        }
        let kept: BTreeSet<Parcel> = bill.parcels.iter().copied().collect();
        for parcel in listed.iter().filter(|parcel| !kept.contains(parcel)) {
            self.courier.remove_parcel(parcel).map_err(failed)?;
        }
        self.put_all(&mut open, bill, plan.put)?;
        let listed = open.bill.map_or_else(Vec::new, |bill| bill.parcels);
        self.note_aboard(listed)
    }

    fn put_all(&mut self, open: &mut OpenBill, mut bill: Bill, puts: Vec<Put>) -> Result<(), End> {
        let mut puts = puts.into_iter();
        let mut ahead: VecDeque<(Put, JoinHandle<Result<Loaded, TransferError>>)> = VecDeque::new();
        let mut batch = Batch::default();
        let mut written = Vec::new();
        loop {
            while ahead.len() < AHEAD {
                let Some(put) = puts.next() else { break };
                let world = self.world.clone();
                let load = async move { packs::load(&world, put.pack, put.index).await };
                ahead.push_back((put, self.handle.spawn(load)));
            }
            let next = ahead.pop_front();
            let over = next.is_none();
            if let Some((put, loading)) = next {
                self.may_go_on()?;
                let loaded = self.handle.block_on(loading);
                match loaded.unwrap_or(Err(TransferError::Disk)) {
                    Ok(loaded) => {
                        let wrote =
                            (self.courier).write_parcel(&mut batch, &put.parcel, loaded.shard());
                        wrote.map_err(failed)?;
                        written.push(put.parcel);
                    }
                    Err(TransferError::SourceChanged) => {
                        let broken = Event::PackBroken { pack: put.pack };
                        self.world.inbox.tell(broken);
                    }
                    Err(error) => {
                        tracing::warn!(pack = %put.pack.short(), %error, "can't make a shard");
                    }
                }
            }
            if batch.bytes() >= BATCH_BYTES || over && !written.is_empty() {
                self.courier.sync(&mut batch).map_err(failed)?;
                self.put += bytes(&written);
                self.own.fresh.extend(written.iter().copied());
                bill.parcels.append(&mut written);
                self.write_bill(open, bill.clone())?;
            }
            if over {
                return Ok(());
            }
        }
    }

    fn write_bill(&self, open: &mut OpenBill, mut bill: Bill) -> Result<(), End> {
        bill.generation = open.next_generation();
        let key = self.world.store.vault.identity().signing_key();
        let signed = Signed::new(&bill, &key);
        let written = self.courier.write_bill(open, bill, &signed);
        written.map_err(failed)
    }
}

fn bytes(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| u64::from(parcel.bytes)).sum()
}
