//! Taking from a courier: parcels for this member, what is asked of this device, and what friends show.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, PoisonError},
    thread,
    vec::IntoIter,
};

use carryall_core::{
    courier::{Basis, Bill, Parcel, Shown, SignedReceipt, group_to_show},
    event::{Event, TransferError},
    id::{DeviceId, MemberId, ShardId},
    limits,
    message::Refusal,
};
use carryall_store::{
    courier::{Courier, ParcelError, ShownLog},
    shelf::{Shelf, ShelfError},
};

use super::visit::{End, Visit, failed};
use crate::clock;

/// So many bytes are taken before they are signed for together. Four times as many were no faster.
const BATCH_BYTES: u64 = 64 << 20;
/// So many parcels at most.
const BATCH_PARCELS: usize = 512;
/// How many parcels are copied at a time: while one is read, those before it wait for their sync.
const COPIES: usize = 3;
/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Most asks of one bill that are answered: somebody may write as many as there is room for.
const ASKS_MAX: usize = 4;

/// What became of one parcel.
struct Copied {
    parcel: Parcel,
    outcome: Result<(), TransferError>,
    problem: Option<String>,
}

impl Visit<'_> {
    /// Takes what an owner's bill lists for this member. While some parcels are copied, those before them
    /// are signed for, and those after them are read ahead.
    pub(super) fn take(&mut self, owner: MemberId, bill: &Bill) -> Result<(), End> {
        let mine = bill.parcels.iter().filter(|it| it.to == self.member);
        let mut mine = mine.copied().collect::<Vec<_>>().into_iter();
        let mut to_sign = Vec::new();
        let mut next = self.next_batch(&mut mine)?;
        loop {
            let batch = mem::replace(&mut next, self.next_batch(&mut mine)?);
            let over = batch.is_empty();
            if over && to_sign.is_empty() {
                return Ok(());
            }
            let (wanted, mut here) = self.admit(owner, batch)?;
            let (courier, store) = (self.courier.clone(), self.world.store.clone());
            let (copied, signed) = thread::scope(|scope| {
                let copying = scope.spawn(move || copy_all(&courier, &store.shelf, owner, wanted));
                let signed = self.sign_for(owner, &to_sign);
                (copying.join().unwrap_or_default(), signed)
            });
            here.append(&mut self.note_copied(copied)?);
            signed?;
            to_sign = here;
        }
    }

    /// Returns the next few parcels that are there, and has them read ahead.
    fn next_batch(&mut self, parcels: &mut IntoIter<Parcel>) -> Result<Vec<Parcel>, End> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_PARCELS {
            let Some(parcel) = parcels.next() else { break };
            match self.courier.open_parcel(&parcel) {
                Ok(file) => {
                    file.prefetch();
                    bytes += u64::from(parcel.bytes);
                    batch.push(parcel);
                }
                Err(ParcelError::Gone) => {}
                Err(error @ ParcelError::Strange(_)) => {
                    self.problem(format!("{error}; it was passed over"));
                }
                Err(ParcelError::Disk(error)) => {
                    self.courier.check().map_err(failed)?;
                    self.problem(format!(
                        "a parcel can't be read and was passed over: {error}"
                    ));
                }
            }
        }
        Ok(batch)
    }

    /// Asks the core about parcels. Returns those that are to be copied, and those that are here already.
    fn admit(
        &mut self,
        owner: MemberId,
        batch: Vec<Parcel>,
    ) -> Result<(Vec<Parcel>, Vec<Parcel>), End> {
        self.may_go_on()?;
        let (number, asked) = (self.number, batch.clone());
        let verdicts = self.ask(move |node, now| {
            let admit = |parcel: &Parcel| node.admit_parcel(now, number, parcel, owner);
            asked.iter().map(admit).collect::<Vec<_>>()
        })?;
        let (mut wanted, mut here) = (Vec::new(), Vec::new());
        for (parcel, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Ok(()) => wanted.push(parcel),
                Err(Refusal::Have) => here.push(parcel),
                Err(Refusal::OfferUsedUp) => self.problem(
                    "parcels stay on the courier: what you offered their owner is used up".into(),
                ),
                Err(_) => {}
            }
        }
        Ok((wanted, here))
    }

    /// Tells the core what became of parcels. Returns those that are here now.
    fn note_copied(&mut self, copied: Vec<Copied>) -> Result<Vec<Parcel>, End> {
        let (visit, mut here) = (self.number, Vec::new());
        for Copied {
            parcel,
            outcome,
            problem,
        } in copied
        {
            let shard = parcel.shard;
            self.world.inbox.tell(Event::ParcelTaken {
                visit,
                shard,
                outcome,
            });
            if outcome.is_ok() {
                self.taken += u64::from(parcel.bytes);
                here.push(parcel);
            }
            if outcome == Err(TransferError::WrongBytes) {
                // Its owner sees that it is gone, and puts it there again.
                self.courier.remove_parcel(&parcel).map_err(failed)?;
            }
            if let Some(problem) = problem {
                self.courier.check().map_err(failed)?;
                self.problem(problem);
            }
        }
        Ok(here)
    }

    /// Signs for parcels that are here, shows a part of each, and only then removes them.
    fn sign_for(&mut self, owner: MemberId, here: &[Parcel]) -> Result<(), End> {
        if here.is_empty() {
            return Ok(());
        }
        let shards: Vec<ShardId> = here.iter().map(|parcel| parcel.shard).collect();
        let signed = self.ask(move |node, now| node.sign_parcels(now, owner, &shards))?;
        let receipts = match signed {
            Ok(receipts) => receipts,
            Err(error) => {
                self.problem(format!("parcels wait to be signed for: {error}"));
                return Ok(());
            }
        };
        self.harden()?;
        let mut log = self.shown_to(owner);
        for receipt in receipts {
            let SignedReceipt { seq, hash, shards } = receipt;
            let shards: BTreeSet<ShardId> = shards.into_iter().collect();
            let signed = here.iter().filter(|parcel| shards.contains(&parcel.shard));
            let shown = signed.map(|parcel| (parcel.shard, parcel.bytes));
            self.show(&mut log, owner, (Basis::Receipt(seq), hash.0), shown)?;
        }
        self.shown.insert(owner, log);
        self.write_feeds()?;
        for parcel in here {
            self.courier.remove_parcel(parcel).map_err(failed)?;
        }
        Ok(())
    }

    /// Returns what this device has left for an owner; it is read once a visit.
    fn shown_to(&mut self, owner: MemberId) -> ShownLog {
        let read = || self.courier.read_shown(self.device, owner, &mut |_| {});
        self.shown.remove(&owner).unwrap_or_else(read)
    }

    /// Leaves the groups of shards that follow from a seed for their owner.
    fn show(
        &self,
        log: &mut ShownLog,
        owner: MemberId,
        (basis, seed): (Basis, [u8; 32]),
        shards: impl Iterator<Item = (ShardId, u32)>,
    ) -> Result<(), End> {
        let mut proofs = Vec::new();
        for (shard, bytes) in shards {
            let group = group_to_show(&seed, &shard, bytes);
            match self.world.store.shelf.prove(owner, shard, group) {
                Ok(proof) => proofs.push((shard, proof)),
                Err(error) => {
                    tracing::warn!(shard = %shard.short(), %error, "can't prove a shard");
                    if matches!(error, ShelfError::Damaged(_) | ShelfError::Missing(_)) {
                        let lost = Event::ShardLost { owner, shard };
                        self.world.inbox.tell(lost);
                    }
                }
            }
        }
        let shown = Shown { basis, proofs };
        self.courier.append_shown(log, shown).map_err(failed)
    }

    /// Shows what an owner's bill asks this device for, unless that lies there already.
    pub(super) fn answer(&mut self, owner: MemberId, bill: &Bill) -> Result<(), End> {
        let ours = bill.asks.iter().filter(|ask| ask.holder == self.device);
        let asks: Vec<_> = ours.take(ASKS_MAX).cloned().collect();
        if asks.is_empty() {
            return Ok(());
        }
        let mut log = self.shown_to(owner);
        let kept = self.world.store.shelf.list();
        for ask in asks {
            let basis = Basis::Ask(ask.seed);
            if log.bases.contains(&basis) {
                continue;
            }
            let asked = ask.shards.into_iter().take(limits::RECEIPT_SHARDS_MAX);
            let asked: BTreeSet<ShardId> = asked.collect();
            let kept = kept.iter().filter(|it| it.owner == owner);
            let kept = kept.filter(|it| asked.contains(&it.shard));
            let shown = kept.map(|it| (it.shard, it.bytes));
            self.show(&mut log, owner, (basis, ask.seed), shown)?;
        }
        self.shown.insert(owner, log);
        Ok(())
    }

    /// Takes what holders left for this member.
    pub(super) fn use_shown(&mut self, bills: &[(DeviceId, MemberId, Bill)]) -> Result<(), End> {
        let own = bills.iter().filter(|(_, member, _)| *member == self.member);
        let asks: Vec<_> = own.flat_map(|(_, _, bill)| bill.asks.clone()).collect();
        let devices = self.ask(|node, _| node.circle().devices().collect::<Vec<_>>())?;
        for (holder, member) in devices {
            if member == self.member {
                continue;
            }
            let mut end = Ok(());
            let (mut wrong, mut waiting) = (0, false);
            let log = self.courier.read_shown(holder, self.member, &mut |shown| {
                let receipt = match shown.basis {
                    Basis::Receipt(seq) => {
                        let feeds = &self.world.store.feeds;
                        let read = feeds.read(holder, seq, seq + 1, 1);
                        let found = read.unwrap_or_default().into_iter().next();
                        waiting |= found.is_none();
                        found
                    }
                    Basis::Ask(_) => None,
                };
                let asks = asks.clone();
                let taken = self.ask(move |node, now| {
                    node.take_shown(now, holder, &shown, receipt.as_ref(), &asks)
                });
                match taken {
                    Ok(outcome) => wrong += outcome.wrong,
                    Err(error) => end = Err(error),
                }
            });
            end?;
            if log.bases.is_empty() || waiting {
                continue;
            }
            self.harden()?;
            self.courier.remove_shown(log).map_err(failed)?;
            if wrong > 0 {
                self.problem(format!(
                    "{wrong} proofs that lay on the courier did not hold and were passed over"
                ));
            }
        }
        Ok(())
    }
}

/// Copies parcels onto the shelf, a few at a time.
fn copy_all(
    courier: &Courier,
    shelf: &Shelf,
    owner: MemberId,
    parcels: Vec<Parcel>,
) -> Vec<Copied> {
    let (waiting, copied) = (Mutex::new(parcels.into_iter()), Mutex::new(Vec::new()));
    // A disk that turns, or that a program in between serves, is fastest where one file is read at a time.
    let reading = Mutex::new(());
    let next = || waiting.lock().ok()?.next();
    let work = || {
        while let Some(parcel) = next() {
            let done = copy(courier, shelf, owner, parcel, &reading);
            if let Ok(mut copied) = copied.lock() {
                copied.push(done);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..COPIES {
            scope.spawn(work);
        }
    });
    copied.into_inner().unwrap_or_default()
}

fn copy(
    courier: &Courier,
    shelf: &Shelf,
    owner: MemberId,
    parcel: Parcel,
    reading: &Mutex<()>,
) -> Copied {
    let copied = |outcome, problem| Copied {
        parcel,
        outcome,
        problem,
    };
    let file = match courier.open_parcel(&parcel) {
        Ok(file) => file,
        Err(error) => {
            let problem = format!("a parcel can't be read and was passed over: {error}");
            return copied(Err(TransferError::LinkLost), Some(problem));
        }
    };
    let mut incoming = match shelf.reserve(owner, parcel.shard, parcel.bytes, clock::now()) {
        Ok(incoming) => incoming,
        // It came another way meanwhile.
        Err(ShelfError::Have) => return copied(Ok(()), None),
        Err(ShelfError::Busy) => return copied(Err(TransferError::LinkLost), None),
        Err(error) => return refused(parcel, &error),
    };
    let mut buffer = vec![0; READ_BYTES];
    // Nobody leaves anything half done under it.
    let turn = reading.lock().unwrap_or_else(PoisonError::into_inner);
    while incoming.offset() < parcel.bytes {
        let left = (parcel.bytes - incoming.offset()) as usize;
        let part = &mut buffer[..left.min(READ_BYTES)];
        match file.read_at(part, u64::from(incoming.offset())) {
            Ok(0) => {
                let problem = "a parcel ends early and was passed over".to_owned();
                return copied(Err(TransferError::WrongBytes), Some(problem));
            }
            Ok(count) => {
                if let Err(error) = incoming.write(&part[..count]) {
                    return refused(parcel, &error);
                }
            }
            Err(error) => {
                let problem = format!("a parcel can't be read and was passed over: {error}");
                return copied(Err(TransferError::LinkLost), Some(problem));
            }
        }
    }
    drop(turn);
    match incoming.finish() {
        Ok(()) => copied(Ok(()), None),
        Err(error) => refused(parcel, &error),
    }
}

/// Our own disk, or the parcel's content, is not as it should be.
fn refused(parcel: Parcel, error: &ShelfError) -> Copied {
    let (outcome, problem) = match error {
        ShelfError::WrongBytes(shard) => (
            TransferError::WrongBytes,
            format!(
                "a parcel does not hold shard {} and was passed over",
                shard.short()
            ),
        ),
        error if error.is_full() => (
            TransferError::DiskFull,
            "parcels stay on the courier: this disk is full".to_owned(),
        ),
        error => (
            TransferError::Disk,
            format!("parcels stay on the courier: {error}"),
        ),
    };
    Copied {
        parcel,
        outcome: Err(outcome),
        problem: Some(problem),
    }
}
