//! Putting on a courier what should travel, and taking off what need not any more.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use carryall_core::{
    codec::Signed,
    courier::{Bill, Parcel},
    event::{Event, TransferError},
    id::{DeviceId, MemberId},
    node::Put,
};
use carryall_store::courier::{Batch, OpenBill, Written};
use tokio::task::JoinHandle;

use super::visit::{End, Visit, failed};
use crate::packs::{self, Loaded};

/// So many bytes are synced together, and listed at least.
const BATCH_BYTES: u64 = 64 << 20;
/// So many are listed at most.
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// How many shards are made ahead while others are written.
const AHEAD: usize = 3;
/// How many may be written while others are synced.
const WRITTEN: usize = 16;

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

    /// Makes, writes and lists, each beside the others: the disk never waits for a shard to be made, nor
    /// the making for the disk.
    fn put_all(&mut self, open: &mut OpenBill, bill: Bill, puts: Vec<Put>) -> Result<(), End> {
        if puts.is_empty() {
            return Ok(());
        }
        let (written, to_list) = mpsc::sync_channel(WRITTEN);
        let visit = &*self;
        let mut listed = Vec::new();
        let (made, end) = thread::scope(|scope| {
            let listed = &mut listed;
            let lister = scope.spawn(move || visit.list(open, bill, to_list, listed));
            let made = visit.make(puts, &written);
            drop(written);
            (made, lister.join().unwrap_or(Err(End::Later)))
        });
        self.put += bytes(&listed);
        self.own.fresh.extend(listed);
        // Whoever makes stops without a word when nobody lists any more.
        end.and(made)
    }

    /// Makes shards and writes them onto the disk.
    fn make(&self, puts: Vec<Put>, written: &SyncSender<(Parcel, Written)>) -> Result<(), End> {
        let mut puts = puts.into_iter();
        let mut ahead: VecDeque<(Put, JoinHandle<Result<Loaded, TransferError>>)> = VecDeque::new();
        loop {
            while ahead.len() < AHEAD {
                let Some(put) = puts.next() else { break };
                let world = self.world.clone();
                let load = async move { packs::load(&world, put.pack, put.index).await };
                ahead.push_back((put, self.handle.spawn(load)));
            }
            let Some((put, loading)) = ahead.pop_front() else {
                return Ok(());
            };
            self.may_go_on()?;
            let loaded = self.handle.block_on(loading);
            match loaded.unwrap_or(Err(TransferError::Disk)) {
                Ok(loaded) => {
                    let parcel = self.courier.write_parcel(&put.parcel, loaded.shard());
                    if written.send((put.parcel, parcel.map_err(failed)?)).is_err() {
                        return Ok(());
                    }
                }
                Err(TransferError::SourceChanged) => {
                    self.world.inbox.tell(Event::PackBroken { pack: put.pack });
                }
                Err(error) => {
                    tracing::warn!(pack = %put.pack.short(), %error, "can't make a shard");
                }
            }
        }
    }

    /// Puts parcels on stable storage and lists them, many at a time. `listed` are those that are listed.
    fn list(
        &self,
        open: &mut OpenBill,
        mut bill: Bill,
        written: Receiver<(Parcel, Written)>,
        listed: &mut Vec<Parcel>,
    ) -> Result<(), End> {
        let (mut batch, mut fresh, mut fresh_bytes) = (Batch::default(), Vec::new(), 0);
        let mut listed_bytes = 0;
        loop {
            let next = written.recv().ok();
            let over = next.is_none();
            if let Some((parcel, written)) = next {
                batch.add(written);
                fresh.push(parcel);
                fresh_bytes += u64::from(parcel.bytes);
            }
            if batch.unsynced_bytes() >= BATCH_BYTES {
                batch.harden().map_err(failed)?;
            }
            // A bill names all that lies there: the more it is, the less often it is written.
            let enough = (listed_bytes / 8).clamp(BATCH_BYTES, BATCH_BYTES_MAX);
            if fresh_bytes >= enough || over && !fresh.is_empty() {
                self.courier.sync(&mut batch).map_err(failed)?;
                bill.parcels.extend_from_slice(&fresh);
                self.write_bill(open, bill.clone())?;
                listed.append(&mut fresh);
                listed_bytes += std::mem::take(&mut fresh_bytes);
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
