//! Couriers: what to take from a portable disk, what to put on it, and what it proves.
//!
//! A disk waits, so a visit is not a conversation: the shell asks, and is answered at once. All that
//! bears on quota, receipts and proofs is the same as in an encounter.

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::Rng as _;

use super::{
    Node,
    load::{Load, Put},
};
use crate::{
    codec::Signed,
    courier::{
        Ask, Basis, CourierCard, Label, PARCELS_MAX, Parcel, Readers, Shown, SignedReceipt, shows,
    },
    entry::{Body, ReceiptList, SignedEntry},
    event::{CommandRefused, LinkId, Notice, TransferError},
    id::{DeviceId, MemberId, PackId, ShardId, Stem},
    key, limits,
    message::Refusal,
    plan::Viewpoint,
    time::Timestamp,
};

/// What should lie on a courier of ours, and what our next bill should ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CourierPlan {
    /// Parcels that lie there and are still wanted; the others are to go.
    pub keep: Vec<Parcel>,
    /// Parcels to put there, the most urgent first.
    pub put: Vec<Put>,
    /// What holders are to show.
    pub asks: Vec<Ask>,
}

/// What came of a holder's [`Shown`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownOutcome {
    /// Shards that count as proved now and did not before.
    pub proved: u32,
    /// Shards whose proof does not hold, or that were not to be shown.
    pub wrong: u32,
}

impl Node {
    /// Makes a courier of this member: its card, for [`crate::event::Command::AddCourier`] once the
    /// label is durable on the disk, and the label.
    pub fn new_courier(
        &mut self,
        now: Timestamp,
        name: &str,
        bytes: u64,
    ) -> Result<(Signed<CourierCard>, Vec<u8>), CommandRefused> {
        if self.author.is_none() || self.identity.vault.is_empty() {
            return Err(CommandRefused::NotJoined);
        }
        let max = limits::NAME_BYTES_MAX;
        let name = key::checked_name(name).map_err(|_| CommandRefused::BadName { max })?;
        let recovery = self.circle.card(self.member).map(|card| card.recovery_key);
        let recovery = recovery.ok_or(CommandRefused::NotJoined)?;
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let readers = Readers {
            circle_secret: &self.identity.circle_secret,
            inventory: &self.identity.vault.inventory_public(),
            recovery: &recovery,
        };
        let now = self.now.max(now);
        let made = Label::create(self.member, name, bytes, now, readers, seed);
        let (label, written) = made.map_err(|_| CommandRefused::NotJoined)?;
        Ok((label.card, written))
    }

    /// Tells whether a parcel from a courier may be taken, and debits room for it if so. Answered by
    /// [`crate::event::Event::ParcelTaken`]. On [`Refusal::Have`] it is here, and to be signed for.
    pub fn admit_parcel(
        &mut self,
        now: Timestamp,
        visit: LinkId,
        parcel: &Parcel,
        owner: MemberId,
    ) -> Result<(), Refusal> {
        self.advance(now);
        let Parcel { shard, bytes, to } = *parcel;
        if !self.circle.is_member(owner) || owner == self.member || to != self.member {
            return Err(Refusal::NotAMember);
        }
        if bytes == 0 || u64::from(bytes) > limits::SHARD_BYTES_MAX || self.is_behind() {
            return Err(Refusal::Busy);
        }
        if self.ledger.trash().get(owner, shard).is_some() {
            // It was released, and is wanted again. The receipt follows from here, not from the visit.
            self.bring_back(owner, shard);
            self.drive();
            return Err(Refusal::Busy);
        }
        self.debit(visit, shard, owner, bytes)
    }

    /// A parcel is durable on our shelf, or did not come.
    pub(super) fn parcel_taken(
        &mut self,
        visit: LinkId,
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        let Some((owner, bytes)) = self.ledger.release(visit, shard) else {
            return;
        };
        if outcome.is_ok() {
            self.ledger.keep(owner, shard, bytes);
            self.notify(Notice::Kept {
                owner,
                shard,
                bytes,
            });
        }
    }

    /// Signs for parcels of an owner that are durable here. Which group of each is shown with that
    /// follows from the entries: see [`crate::courier::group_to_show`].
    pub fn sign_parcels(
        &mut self,
        now: Timestamp,
        owner: MemberId,
        shards: &[ShardId],
    ) -> Result<Vec<SignedReceipt>, CommandRefused> {
        self.advance(now);
        let here = |shard: &&ShardId| self.ledger.kept_length(owner, **shard).is_some();
        let shards: Vec<ShardId> = shards.iter().filter(here).copied().collect();
        let mut receipts = Vec::new();
        for part in shards.chunks(limits::RECEIPT_SHARDS_MAX) {
            let list = ReceiptList {
                held: part.iter().map(ShardId::stem).collect(),
                dropped: Vec::new(),
            };
            let seq = self.write_receipts(owner, &list)?;
            receipts.push(SignedReceipt {
                seq,
                hash: self.circle.chain(self.device).tip().hash,
                shards: part.to_vec(),
            });
        }
        self.drive();
        Ok(receipts)
    }

    /// Returns how many bytes our parcels may take on a courier, of which `listed` lie there; `others`
    /// take so much, and `free` bytes of the disk are left.
    pub fn courier_room(
        &self,
        card: &CourierCard,
        listed: &[Parcel],
        others: u64,
        free: u64,
    ) -> u64 {
        let share = match card.member == self.member {
            true => card.bytes,
            false => card.bytes / limits::COURIER_GUESTS_PART,
        };
        let share = share.min(card.bytes.saturating_sub(others));
        let free = free.saturating_sub(limits::COURIER_KEEP_FREE);
        let listed: u64 = listed.iter().map(|it| u64::from(it.bytes)).sum();
        share.min(free.saturating_add(listed))
    }

    /// Decides which parcels of ours should lie on a courier. `listed` are those on our own bill, and
    /// `beside` those of our other devices there; `room` is what all on our bill may take together.
    ///
    /// What lies on a courier is a hope, not a promise: whoever is met gets their shards all the same,
    /// and the parcel goes at the next visit. So parcels count for this plan alone.
    pub fn plan_courier(
        &mut self,
        now: Timestamp,
        listed: &[Parcel],
        beside: &[Parcel],
        asked: &[Ask],
        room: u64,
    ) -> CourierPlan {
        self.advance(now);
        let asks = self.plan_asks(asked);
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        let mut load = Load::new(view, self.grants_left());
        for parcel in beside {
            if let Some((pack, index)) = self.inventory.locate(parcel.shard) {
                load.add(pack, parcel, index);
            }
        }
        load.left = room;
        let mut plan = CourierPlan {
            asks,
            ..CourierPlan::default()
        };
        for parcel in listed {
            let Some((pack, index)) = self.inventory.locate(parcel.shard) else {
                continue;
            };
            if load.is_wanted(pack, parcel, index) && load.fits(parcel) {
                load.add(pack, parcel, index);
                load.take_room(parcel);
                plan.keep.push(*parcel);
            }
        }
        let others = self.circle.members().filter(|it| *it != self.member);
        for member in others {
            load.queue(self.wants.all(&self.inventory, view, member), member);
        }
        while plan.keep.len() + plan.put.len() < PARCELS_MAX {
            let Some(put) = load.next(&self.inventory, |_, index, _| Some(index)) else {
                break;
            };
            plan.put.push(put);
        }
        plan
    }

    /// Returns what holders are to show: what was asked and is not answered yet, and what is due.
    fn plan_asks(&mut self, asked: &[Ask]) -> Vec<Ask> {
        let (now, ours) = (self.now, self.member);
        let holders = self.circle.devices().filter(|(_, member)| *member != ours);
        let holders: Vec<DeviceId> = holders.map(|(device, _)| device).collect();
        let mut asks = Vec::new();
        for holder in holders {
            let open = |ask: &&Ask| {
                let waits = |shard: &ShardId| {
                    let holding = self.inventory.holding(holder, *shard);
                    holding.held && holding.proved.is_none_or(|proved| proved < ask.time)
                };
                ask.holder == holder
                    && now.since(ask.time) < limits::AUDIT_VALID
                    && ask.shards.iter().any(waits)
            };
            let kept: Vec<Ask> = asked.iter().filter(open).cloned().collect();
            let known: BTreeSet<ShardId> =
                (kept.iter()).flat_map(|ask| ask.shards.clone()).collect();
            let due = self.inventory.turns(holder);
            let due = due.take_while(|turn| self.is_due(turn));
            let due = due.map(|turn| turn.shard).filter(|it| !known.contains(it));
            let shards: Vec<ShardId> = due.take(limits::RECEIPT_SHARDS_MAX).collect();
            asks.extend(kept);
            if !shards.is_empty() {
                let mut seed = [0; 32];
                self.rng.fill_bytes(&mut seed);
                asks.push(Ask {
                    holder,
                    seed,
                    time: now,
                    shards,
                });
            }
        }
        asks
    }

    /// Takes what a holder left for us on a courier. `receipt` is the entry of its feed that the basis
    /// names, as we have it; `asked` is what our bills on that disk ask for.
    ///
    /// What is shown with a receipt counts from the receipt's time: nothing is known of later.
    pub fn take_shown(
        &mut self,
        now: Timestamp,
        holder: DeviceId,
        shown: &Shown,
        receipt: Option<&SignedEntry>,
        asked: &[Ask],
    ) -> ShownOutcome {
        self.advance(now);
        let all = u32::try_from(shown.proofs.len()).unwrap_or(u32::MAX);
        let nothing = ShownOutcome {
            proved: 0,
            wrong: all,
        };
        let foreign = self.circle.member_of(holder);
        if foreign.is_none_or(|member| member == self.member) {
            return nothing;
        }
        let basis = match shown.basis {
            Basis::Receipt(seq) => {
                receipt.and_then(|signed| self.receipt_basis(holder, seq, signed))
            }
            Basis::Ask(seed) => {
                let mut asked = asked.iter();
                let ask = asked.find(|ask| ask.holder == holder && ask.seed == seed);
                let stems = |ask: &Ask| ask.shards.iter().map(ShardId::stem).collect();
                ask.map(|ask| (ask.seed, ask.time, stems(ask)))
            }
        };
        let Some((seed, at, expected)) = basis else {
            return nothing;
        };
        let (at, expected) = (at.min(self.now), BTreeSet::from_iter(expected));
        let mut outcome = ShownOutcome::default();
        let mut proved = Vec::new();
        for (shard, proof) in &shown.proofs {
            let bytes = self.inventory.locate(*shard);
            let bytes = bytes.map(|(pack, _)| pack.record.coding.shard_bytes);
            let good = expected.contains(&shard.stem())
                && bytes.is_some_and(|bytes| shows(&seed, shard, bytes, proof));
            let known = self.inventory.holding(holder, *shard).proved;
            if !good {
                outcome.wrong += 1;
            } else if known.is_none_or(|known| known < at) && !proved.contains(shard) {
                proved.push(*shard);
            }
        }
        outcome.proved = self.note_shown(holder, at, &proved);
        self.drive();
        outcome
    }

    fn receipt_basis(
        &self,
        holder: DeviceId,
        seq: u64,
        signed: &SignedEntry,
    ) -> Option<([u8; 32], Timestamp, Vec<Stem>)> {
        let entry = signed.read().ok()?;
        if (entry.device, entry.seq) != (holder, seq) || self.identity.vault.is_empty() {
            return None;
        }
        let Ok(Body::Held(receipts)) = Body::from_entry(&entry) else {
            return None;
        };
        let list = self.receipt_list(&receipts)?;
        (receipts.owner == self.member).then_some((signed.hash().0, entry.time, list.held))
    }

    /// Notes proofs here and, sealed, in our feed. Returns how many were noted.
    fn note_shown(&mut self, holder: DeviceId, time: Timestamp, proved: &[ShardId]) -> u32 {
        let mut noted = 0;
        for list in self.inventory.outcomes(holder, time, proved, &[]) {
            noted += u32::try_from(list.proved.len()).unwrap_or(u32::MAX);
            // Taking in our own entry notes the proofs.
            self.write_outcomes(&list);
        }
        let packs: BTreeSet<PackId> = (proved.iter())
            .filter_map(|shard| Some(self.inventory.locate(*shard)?.0.record.id))
            .collect();
        packs.into_iter().for_each(|pack| self.judge(pack));
        if noted > 0 {
            let shards = noted;
            self.notify(Notice::Proved { holder, shards });
        }
        noted
    }

    /// Tells whether all own entries up to `len` are on stable storage.
    pub fn is_durable(&self, len: u64) -> bool {
        self.durable_len() >= len
    }

    /// Returns how many entries this device has written.
    pub fn written(&self) -> u64 {
        self.own_len()
    }
}
