//! The carrier's side of parcels: shards of a friend that lie here until somebody is met who is to have
//! them, and the addressee's: what it may take from a carrier.
//!
//! Parcels lie within a share of what we offer their owner, debited before a byte is accepted. They are
//! given to their addressee alone, never to another carrier. Of a shard that lies on our own shelf,
//! nothing more has to lie here to bring it to others.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Node, encounter::Encounter};
use crate::{
    codec::decode,
    entry::{Body, Entry, ParcelList},
    event::{Effect, LinkId, Notice, Sink, Source, TransferError},
    id::{DeviceId, MemberId, ShardId, Stem},
    key,
    ledger::Ledger,
    limits,
    message::{Farewell, Message, Refusal},
    parcel::Bill,
    policy::Bulk,
    record::PackKind,
    time::Timestamp,
};

/// A shard here that is to go to somebody, by its owner and the addressee.
type Errand = (MemberId, ShardId, MemberId);

/// What we carry for whom.
#[derive(Debug, Default)]
pub(super) struct Carriage {
    /// What lies here, and what is promised.
    pub(super) ledger: Ledger,
    /// Parcels whose bill has not come, and since when they are here.
    unbilled: BTreeMap<(MemberId, ShardId), Timestamp>,
    /// Which device of the addressee said that it has a shard, and how long its feed was then: its
    /// receipt is further on.
    delivered: BTreeMap<Errand, (DeviceId, u64)>,
    /// Who refused something, and when to try again.
    rests: BTreeMap<DeviceId, Timestamp>,
    /// The disk was asked to drop these.
    going: BTreeSet<(MemberId, ShardId)>,
    review_at: Option<Timestamp>,
    /// Changes whenever there is more to deliver.
    version: u64,
}

/// What is to be given to the peer of an encounter, as far as it was known when last looked.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    version: Option<u64>,
    errands: Vec<(MemberId, ShardId)>,
}

impl Node {
    /// Takes a parcel that lies on our disk, before anything else happens.
    pub fn learn_parcel(&mut self, owner: MemberId, shard: ShardId, bytes: u32) {
        self.carriage.ledger.keep(owner, shard, bytes);
        self.carriage.unbilled.insert((owner, shard), self.now);
    }

    /// Returns how many bytes lie here that are carried for a member.
    pub fn carried_for(&self, owner: MemberId) -> u64 {
        self.carriage.ledger.bytes_of(owner)
    }

    /// Returns how many bytes are carried for a member at most, beside what is kept for it.
    fn carry_budget(&self, owner: MemberId) -> u64 {
        let grant = self.grant_to(owner);
        let room = grant.saturating_sub(self.ledger.promised_of(owner));
        room.min(grant / limits::CARRY_PART)
    }

    /// Begins with the parcels that were learnt.
    pub(super) fn begin_carrying(&mut self) {
        let billed = self.carriage.unbilled.keys().copied();
        let billed: Vec<_> = billed.filter(|it| self.is_billed(*it)).collect();
        for parcel in billed {
            self.carriage.unbilled.remove(&parcel);
        }
        self.carriage.review_at = Some(self.now);
    }

    /// An owner's device says who carries what, or that it need not any more.
    pub(super) fn note_bills(&mut self, entry: &Entry, body: &Body) {
        let (carrier, to, to_carrier, to_addressee, to_owner, recalled) = match body {
            Body::Entrusted(it) => {
                let addressee = Some(&it.to_addressee);
                (
                    it.carrier,
                    it.to,
                    &it.to_carrier,
                    addressee,
                    &it.to_owner,
                    false,
                )
            }
            Body::Recalled(it) => (it.carrier, it.to, &it.to_carrier, None, &it.to_owner, true),
            _ => return,
        };
        let owner = self.circle.member_of(entry.device);
        let foreign = owner.is_some_and(|owner| owner != self.member);
        let vault = &self.identity.vault;
        let info = key::context::PARCELS.as_bytes();
        let plain = if carrier == self.device {
            key::open_with(&self.identity.sealing_secret, info, to_carrier).ok()
        } else if vault.is_empty() {
            return self.unopened.push(entry.clone());
        } else if to == self.member {
            to_addressee.and_then(|it| key::open_with(&vault.inventory, info, it).ok())
        } else if foreign {
            return;
        } else {
            key::open_with(&vault.inventory, info, to_owner).ok()
        };
        let list = plain.and_then(|plain| decode::<ParcelList>("parcels", &plain).ok());
        let author = entry.device;
        for shard in list.unwrap_or_default().shards {
            if recalled {
                let same = |bill: &Bill| (bill.author, bill.carrier) == (author, carrier);
                self.bills.strike(shard, to, same);
                continue;
            }
            let bill = Bill {
                author,
                seq: entry.seq,
                carrier,
                at: entry.time.min(self.now),
            };
            if bill.is_valid(self.now) {
                self.bills.note(shard, to, bill);
            }
        }
        if carrier == self.device {
            let billed = self.carriage.unbilled.keys().copied();
            let billed: Vec<_> = billed.filter(|it| self.is_billed(*it)).collect();
            for parcel in billed {
                self.carriage.unbilled.remove(&parcel);
            }
            self.carriage.version += 1;
            self.carriage.review_at = Some(self.now);
            self.contacts.touch();
        }
    }

    /// Returns who is to have a shard that we carry for an owner, and by which bills.
    fn errands(&self, owner: MemberId, stem: Stem) -> impl Iterator<Item = (MemberId, &Bill)> {
        self.bills.of(stem, self.now).filter(move |(to, bill)| {
            bill.carrier == self.device
                && self.circle.member_of(bill.author) == Some(owner)
                && *to != self.member
                && self.circle.is_member(*to)
        })
    }

    fn is_billed(&self, (owner, shard): (MemberId, ShardId)) -> bool {
        self.errands(owner, shard.stem()).next().is_some()
    }

    /// Tells whether an owner said that this device brings us a shard.
    pub(super) fn is_addressed(&self, carrier: DeviceId, owner: MemberId, shard: ShardId) -> bool {
        self.bills.of(shard.stem(), self.now).any(|(to, bill)| {
            to == self.member
                && bill.carrier == carrier
                && self.circle.member_of(bill.author) == Some(owner)
        })
    }

    /// The peer wants us to carry a shard of its member's.
    pub(super) fn carry(&mut self, link: LinkId, shard: ShardId, bytes: u32) {
        if bytes == 0 || u64::from(bytes) > limits::SHARD_BYTES_MAX {
            return self.close(link, Farewell::ProtocolError);
        }
        match self.admit_to_carry(link, shard, bytes) {
            Ok(owner) => self.reserve(link, shard, owner, bytes, true),
            Err(reason) => self.send(link, Message::Refuse { shard, reason }),
        }
    }

    fn admit_to_carry(
        &mut self,
        link: LinkId,
        shard: ShardId,
        bytes: u32,
    ) -> Result<MemberId, Refusal> {
        let encounter = self.encounters.get(&link).ok_or(Refusal::Busy)?;
        let owner = encounter.member.filter(|it| self.circle.is_member(*it));
        let owner = owner.filter(|it| *it != self.member);
        let owner = owner.ok_or(Refusal::NotAMember)?;
        if self.ledger.kept_length(owner, shard).is_some() {
            return Err(Refusal::Have);
        }
        if encounter.our_terms.bulk != Bulk::Everything
            || encounter.receives.len() >= 2 * limits::SENDS_IN_FLIGHT_MAX
            || self.ledger.reservation(link, shard).is_some()
        {
            return Err(Refusal::Busy);
        }
        let budget = self.carry_budget(owner);
        let debited = (self.carriage.ledger).reserve(link, shard, owner, bytes, budget);
        if debited == Err(Refusal::Have) && self.carriage.going.contains(&(owner, shard)) {
            // It is on its way out.
            return Err(Refusal::Busy);
        }
        debited.map(|()| owner)
    }

    /// A parcel came, or did not.
    pub(super) fn parcel_received(
        &mut self,
        link: LinkId,
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        let Some((owner, bytes)) = self.carriage.ledger.reservation(link, shard) else {
            return;
        };
        match outcome {
            Ok(()) => {
                self.carriage.ledger.release(link, shard);
                self.carriage.ledger.keep(owner, shard, bytes);
                if !self.is_billed((owner, shard)) {
                    self.carriage.unbilled.insert((owner, shard), self.now);
                }
                (self.carriage.review_at).get_or_insert(self.now + limits::PARCELS_REVIEW);
                self.carriage.version += 1;
                if let Some(encounter) = self.encounters.get_mut(&link) {
                    encounter.receives.remove(&shard);
                    encounter.bytes_received += u64::from(bytes);
                    encounter.progress = true;
                }
                self.send(link, Message::Stored { shard });
            }
            Err(TransferError::DiskFull) => self.turn_down(link, shard, Refusal::DiskFull),
            Err(_) => self.turn_down(link, shard, Refusal::Busy),
        }
    }

    /// Returns what lies here of an owner under a name, be it on the shelf: where, and its length.
    fn here(&self, owner: MemberId, stem: Stem) -> Option<(ShardId, Source, u32)> {
        if let Some((shard, bytes)) = self.carriage.ledger.by_stem(owner, stem) {
            let going = self.carriage.going.contains(&(owner, shard));
            return (!going).then_some((shard, Source::Parcel { owner }, bytes));
        }
        let (shard, bytes) = self.ledger.by_stem(owner, stem)?;
        Some((shard, Source::Shelf { owner }, bytes))
    }

    /// Returns what is here for a member and was not said to have arrived, with its bill.
    fn undelivered(&self, to: MemberId) -> impl Iterator<Item = (MemberId, ShardId, &Bill)> {
        let bills = self.bills.to(to, self.now);
        bills.filter_map(move |(stem, bill)| {
            if bill.carrier != self.device {
                return None;
            }
            let owner = self.circle.member_of(bill.author)?;
            let (shard, ..) = self.here(owner, stem)?;
            let open = !self.carriage.delivered.contains_key(&(owner, shard, to));
            open.then_some((owner, shard, bill))
        })
    }

    /// Tells whether something is here for a device's member, and it may be asked to take it.
    pub(super) fn carries_for(&self, device: DeviceId, member: MemberId) -> bool {
        let rests = self.carriage.rests.get(&device);
        rests.is_none_or(|until| *until <= self.now) && self.undelivered(member).next().is_some()
    }

    /// Offers the peer what we carry for it.
    pub(super) fn deliver(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let Some(member) = encounter.member.filter(|it| *it != self.member) else {
            return;
        };
        let rests = self.carriage.rests.get(&encounter.peer);
        if encounter.bulk() != Bulk::Everything || rests.is_some_and(|until| *until > self.now) {
            return;
        }
        if encounter.outbox.version != Some(self.carriage.version) {
            // What it has not heard of it can't take.
            let told = |bill: &Bill| {
                (encounter.theirs.get(&bill.author)).is_some_and(|theirs| *theirs > bill.seq)
            };
            let ready = self.undelivered(member).filter(|(.., bill)| told(bill));
            let errands: BTreeSet<_> = ready.map(|(owner, shard, _)| (owner, shard)).collect();
            let all = self
                .undelivered(member)
                .map(|(owner, shard, _)| (owner, shard));
            let complete = all.collect::<BTreeSet<_>>() == errands;
            let version = complete.then_some(self.carriage.version);
            if let Some(encounter) = self.encounters.get_mut(&link) {
                let errands = errands.into_iter().rev().collect();
                encounter.outbox = Outbox { version, errands };
            }
        }
        while let Some((owner, shard, bytes)) = self.next_errand(link) {
            let Some(encounter) = self.encounters.get_mut(&link) else {
                return;
            };
            encounter.deliveries.insert(shard, owner);
            self.send(
                link,
                Message::Put {
                    shard,
                    bytes,
                    owner,
                    kind: PackKind::Large,
                },
            );
        }
    }

    fn next_errand(&mut self, link: LinkId) -> Option<(MemberId, ShardId, u32)> {
        loop {
            let encounter = self.encounters.get_mut(&link)?;
            if encounter.deliveries.len() >= limits::SENDS_IN_FLIGHT_MAX {
                return None;
            }
            let (owner, shard) = encounter.outbox.errands.pop()?;
            let busy = encounter.deliveries.contains_key(&shard)
                || encounter.sends.contains_key(&shard)
                || encounter.turned_down.contains(&shard);
            if let Some((_, _, bytes)) = self.here(owner, shard.stem()).filter(|_| !busy) {
                return Some((owner, shard, bytes));
            }
        }
    }

    /// The addressee takes a parcel.
    pub(super) fn delivery_accepted(&mut self, link: LinkId, shard: ShardId, offset: u32) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let Some(owner) = encounter.deliveries.get(&shard) else {
            return;
        };
        // One after the other, and behind our own.
        let priority = -encounter.streams;
        match self.here(*owner, shard.stem()) {
            Some((_, source, bytes)) if offset < bytes => self.effect(Effect::SendShard {
                link,
                shard,
                offset,
                source,
                priority,
            }),
            _ => self.withdraw(link, shard),
        }
    }

    /// The addressee has a parcel, by its word.
    pub(super) fn delivered(&mut self, link: LinkId, owner: MemberId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let (peer, Some(to)) = (encounter.peer, encounter.member) else {
            return;
        };
        let bytes = self
            .here(owner, shard.stem())
            .map_or(0, |(.., bytes)| bytes);
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.bytes_sent += u64::from(bytes);
            encounter.progress = true;
        }
        let len = self.circle.chain(peer).tip().len;
        (self.carriage.delivered).insert((owner, shard, to), (peer, len));
        self.notify(Notice::Delivered { owner, to, shard });
    }

    /// The addressee does not take a parcel now.
    pub(super) fn not_delivered(&mut self, link: LinkId, shard: ShardId, reason: Refusal) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.turned_down.insert(shard);
        if reason != Refusal::Busy {
            let until = self.now + limits::NO_ROOM_WAIT;
            self.carriage.rests.insert(encounter.peer, until);
        }
    }

    /// An encounter is over. What was stored without a receipt is offered again, and then signed for.
    pub(super) fn delivery_over(&mut self, encounter: &Encounter) {
        let (peer, delivered) = (encounter.peer, &mut self.carriage.delivered);
        delivered.retain(|_, (device, _)| *device != peer);
        if !encounter.turned_down.is_empty() {
            let until = self.now + limits::NO_ROOM_WAIT;
            self.carriage.rests.insert(peer, until);
        }
    }

    /// What refused may take more now.
    pub(super) fn rest_no_more(&mut self, device: DeviceId) {
        self.carriage.rests.remove(&device);
    }

    /// Somebody wrote a receipt for an owner: what it said that it has, it has signed for now. The entry
    /// is on its way to our disk, and to the owner.
    pub(super) fn note_receipt_for(&mut self, holder: DeviceId, seq: u64, owner: MemberId) {
        let mut signed: Vec<Errand> = Vec::new();
        self.carriage.delivered.retain(|errand, (device, len)| {
            let is_it = errand.0 == owner && *device == holder && seq >= *len;
            if is_it {
                signed.push(*errand);
            }
            !is_it
        });
        for (owner, shard, to) in &signed {
            let (circle, me) = (&self.circle, self.device);
            self.bills.strike(shard.stem(), *to, |bill| {
                bill.carrier == me && circle.member_of(bill.author) == Some(*owner)
            });
        }
        if !signed.is_empty() {
            self.carriage.review_at = Some(self.now);
        }
    }

    /// A parcel can't be read: it is no use to anybody.
    pub(super) fn parcel_spoilt(&mut self, owner: MemberId, shard: ShardId) {
        if self.carriage.ledger.kept_length(owner, shard).is_some() {
            self.drop_parcels(owner, alloc::vec![shard]);
        }
    }

    /// Who belongs to the circle may have changed.
    pub(super) fn review_soon(&mut self) {
        if self.carriage.review_at.is_some() {
            self.carriage.review_at = Some(self.now);
        }
    }

    /// Returns when to look through the parcels.
    pub(super) fn parcels_timeout(&self) -> Option<Timestamp> {
        self.carriage.review_at
    }

    /// Drops what nobody waits for any more, if it is time to look.
    pub(super) fn review_parcels(&mut self) {
        if self.carriage.review_at.is_none_or(|at| at > self.now) {
            return;
        }
        let now = self.now;
        self.bills.prune(now);
        let mut useless = BTreeMap::<MemberId, Vec<ShardId>>::new();
        for (owner, shard, _) in self.carriage.ledger.kept() {
            let since = self.carriage.unbilled.get(&(owner, shard));
            let waits = since.is_some_and(|since| now.since(*since) < limits::UNBILLED_KEPT);
            let wanted = waits || self.is_billed((owner, shard));
            // An offer may have become less.
            let fits = self.carriage.ledger.bytes_of(owner) <= self.carry_budget(owner);
            if !(wanted && fits && self.circle.is_member(owner)) {
                useless.entry(owner).or_default().push(shard);
            }
        }
        for (owner, shards) in useless {
            self.drop_parcels(owner, shards);
        }
        let any = self.carriage.ledger.bytes() > 0;
        self.carriage.review_at = any.then(|| now + limits::PARCELS_REVIEW);
    }

    /// Drops what is carried for an owner: it needs the room for what is kept here.
    pub(super) fn carry_nothing_of(&mut self, owner: MemberId) {
        let all = self.carriage.ledger.kept();
        let shards = all.filter(|(whose, ..)| *whose == owner).map(|it| it.1);
        self.drop_parcels(owner, shards.collect());
    }

    fn drop_parcels(&mut self, owner: MemberId, mut shards: Vec<ShardId>) {
        let sent = |shard: &ShardId| {
            let mut open = self.encounters.values();
            open.any(|it| it.deliveries.get(shard) == Some(&owner))
        };
        shards.retain(|shard| !sent(shard));
        shards.retain(|shard| self.carriage.going.insert((owner, *shard)));
        if !shards.is_empty() {
            self.effect(Effect::DropParcels { owner, shards });
        }
    }

    /// Parcels are gone from the disk.
    pub(super) fn parcels_dropped(&mut self, owner: MemberId, shards: &[ShardId]) {
        for shard in shards {
            self.carriage.ledger.lose(owner, *shard);
            self.carriage.unbilled.remove(&(owner, *shard));
        }
        self.carriage.going.retain(|(whose, _)| *whose != owner);
    }

    /// Returns where a shard goes that was promised room on a link.
    pub(crate) fn promised(&self, link: LinkId, shard: ShardId) -> Option<(Sink, u32)> {
        if let Some((owner, bytes)) = self.carriage.ledger.reservation(link, shard) {
            return Some((Sink::Parcel { owner }, bytes));
        }
        let (owner, bytes) = self.ledger.reservation(link, shard)?;
        Some((Sink::Shelf { owner }, bytes))
    }

    /// Takes back what was promised for a shard on a link.
    pub(super) fn unpromise(&mut self, link: LinkId, shard: ShardId) {
        self.ledger.release(link, shard);
        self.carriage.ledger.release(link, shard);
    }

    /// Takes back all that was promised on a link.
    pub(super) fn unpromise_link(&mut self, link: LinkId) {
        self.ledger.release_link(link);
        self.carriage.ledger.release_link(link);
    }
}
