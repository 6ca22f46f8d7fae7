//! The owner's side of parcels: which friend takes which shards along for whom.
//!
//! A friend says in an encounter whom it will probably meet. When it has all that is its own, it is
//! given shards for those whom it is much likelier to meet than we are, one each and as urgent as in
//! any plan. What it has taken we write into our feed: without such a bill nobody takes them from it.
//! When a receipt comes, from whichever way, all who carry that shard are told to drop it.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{
    Node,
    batch::Batch,
    encounter::Outgoing,
    load::{Load, Put},
};
use crate::{
    codec::encode,
    courier::Parcel,
    entry::{Body, Entrustment, ParcelList, Recall},
    event::{CommandRefused, LinkId, Notice},
    health::{Indices, union},
    id::{DeviceId, MemberId, PackId, ShardId, Stem},
    inventory::Inventory,
    key, limits,
    message::{Message, Refusal},
    parcel::{Bills, is_likelier},
    plan::Viewpoint,
    policy::Bulk,
    record::PackRecord,
    time::Timestamp,
};

/// Chances are told in so many parts: enough to choose by, and little to learn from.
const TOLD_PARTS: u32 = 10;

/// What waits to be written into our feed.
#[derive(Debug, Default)]
pub(super) struct Entrusting {
    /// By carrier and addressee.
    bills: BTreeMap<(DeviceId, MemberId), Vec<Stem>>,
    recalls: BTreeMap<(DeviceId, MemberId), Vec<Stem>>,
    due: Batch,
}

/// A shard of ours on its way to a carrier.
#[derive(Clone, Debug)]
pub(crate) struct Carrying {
    pub(crate) outgoing: Outgoing,
    to: Vec<MemberId>,
}

/// Who carries what to whom, or will in a moment.
type Hopes = BTreeMap<(Stem, MemberId), BTreeSet<DeviceId>>;

/// Returns which shard of a pack is on its way to a member already by somebody else, and lies with
/// nobody: met before that, the member gets the same one from us, and not two.
pub(super) fn hoped_for(
    (bills, inventory): (&Bills, &Inventory),
    author: DeviceId,
    now: Timestamp,
    record: &PackRecord,
    member: MemberId,
) -> Option<u8> {
    let hoped = |shard: &ShardId| {
        let mut bills = bills.of(shard.stem(), now);
        bills.any(|(to, bill)| to == member && bill.author == author)
            && inventory.holders(*shard).next().is_none()
    };
    let found = record.shards.iter().position(hoped)?;
    u8::try_from(found).ok()
}

impl Node {
    /// Has so many friends carry each shard at most, for comparison; 0: none carries anything.
    #[must_use]
    pub fn with_carriers(mut self, carriers: usize) -> Self {
        self.carriers = carriers;
        self
    }

    /// Tells a peer whom we will probably meet, roughly.
    pub(super) fn say_expecting(&mut self, link: LinkId) {
        let member = self.encounters.get(&link).and_then(|it| it.member);
        let Some(peer) = member.filter(|it| *it != self.member && self.circle.is_member(*it))
        else {
            return;
        };
        let chance = |member| self.stance.chances.of(member) * TOLD_PARTS / 1000;
        let expected: Vec<(MemberId, u8)> = (self.circle.members())
            .filter(|it| *it != self.member && *it != peer)
            .filter_map(|it| Some((it, u8::try_from(chance(it)).ok().filter(|it| *it > 0)?)))
            .collect();
        if !expected.is_empty() {
            self.send(link, Message::Expecting(expected));
        }
    }

    /// A peer tells whom it will probably meet.
    pub(super) fn expecting(&mut self, link: LinkId, expected: Vec<(MemberId, u8)>) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            let told = expected.into_iter().take(limits::DEVICES_MAX);
            encounter.expects = told
                .map(|(member, parts)| (member, u32::from(parts) * 1000 / TOLD_PARTS))
                .collect();
            encounter.parcels = None;
        }
    }

    /// Offers the peer parcels, once it has all that is its own.
    pub(super) fn entrust(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let others = encounter.member.filter(|it| *it != self.member);
        let ready = others.is_some()
            && encounter.bulk() == Bulk::Everything
            && encounter.sends.is_empty()
            && encounter.no_room.is_none()
            && encounter.planned == Some(self.generation)
            && !encounter.carries_closed
            && !encounter.expects.is_empty()
            && (encounter.parcels.as_ref()).is_none_or(|parcels| !parcels.is_empty());
        if !ready || self.carriers == 0 || self.is_behind() || self.identity.vault.is_empty() {
            return;
        }
        if encounter.parcels.is_none() {
            let parcels = self.plan_parcels(link);
            if let Some(encounter) = self.encounters.get_mut(&link) {
                encounter.parcels = Some(parcels);
            }
        }
        while let Some((shard, bytes)) = self.next_parcel(link) {
            self.send(link, Message::Carry { shard, bytes });
        }
    }

    /// Takes the next parcel out of the plan of an encounter, if the window has room.
    fn next_parcel(&mut self, link: LinkId) -> Option<(ShardId, u32)> {
        let encounter = self.encounters.get_mut(&link)?;
        if encounter.carries.len() >= limits::SENDS_IN_FLIGHT_MAX {
            return None;
        }
        let parcels = encounter.parcels.as_mut()?;
        let put = parcels.pop_front()?;
        let shard = put.parcel.shard;
        // Copies of the same shard may go to several.
        let mut to = alloc::vec![put.parcel.to];
        parcels.retain(|other| {
            let same = other.parcel.shard == shard;
            if same {
                to.push(other.parcel.to);
            }
            !same
        });
        let outgoing = Outgoing {
            pack: put.pack,
            index: put.index,
            bytes: put.parcel.bytes,
        };
        encounter.carries.insert(shard, Carrying { outgoing, to });
        Some((shard, outgoing.bytes))
    }

    /// Decides what the peer should carry.
    fn plan_parcels(&mut self, link: LinkId) -> VecDeque<Put> {
        let Some(encounter) = self.encounters.get(&link) else {
            return VecDeque::new();
        };
        let (peer, now) = (encounter.peer, self.now);
        let likelier = |(member, theirs): (&MemberId, &u32)| {
            let others = *member != self.member && encounter.member != Some(*member);
            (others
                && self.circle.is_member(*member)
                && is_likelier(*theirs, self.stance.chances.of(*member))
                && !self.is_member_near(*member, now))
            .then_some(*member)
        };
        let addressees: BTreeSet<MemberId> =
            encounter.expects.iter().filter_map(likelier).collect();
        if addressees.is_empty() {
            return VecDeque::new();
        }
        let (hopes, grants) = (self.hopes(), self.grants_left());
        let grant = self.circle.offer(peer, self.member);
        let grant = grant.unwrap_or(limits::OFFER_BYTES_DEFAULT) / limits::CARRY_PART;
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        let mut load = Load::new(view, grants);
        let (mut again, mut carried) = (Vec::new(), BTreeSet::new());
        for ((stem, to), carriers) in &hopes {
            let Some((pack, shard)) = self.inventory.by_stem(*stem) else {
                continue;
            };
            let Some((_, index)) = self.inventory.locate(shard) else {
                continue;
            };
            let bytes = pack.record.coding.shard_bytes;
            let parcel = Parcel {
                shard,
                bytes,
                to: *to,
            };
            let id = pack.record.id;
            if carriers.contains(&peer) {
                carried.insert((shard, bytes));
            } else if carriers.len() < self.carriers
                && addressees.contains(to)
                && pack.available
                && load.is_wanted(pack, &parcel, index)
            {
                again.push(Put {
                    pack: id,
                    index,
                    parcel,
                });
            }
            load.add(pack, &parcel, index);
        }
        let carried: u64 = carried.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        load.left = grant.saturating_sub(carried);
        for member in &addressees {
            load.queue(self.wants.all(&self.inventory, view, *member), *member);
        }
        let mut parcels = VecDeque::new();
        while let Some(put) = load.next(&self.inventory, |spread, index, n| {
            // From the other end than shards for those whom we meet, who do not know of this one.
            let fresh = Indices::first_n(n).without(union(spread)).last();
            fresh.or(Some(index))
        }) {
            parcels.push_back(put);
        }
        parcels.extend(again.into_iter().filter(|put| load.take_room(&put.parcel)));
        parcels
    }

    /// Returns who carries what of ours to whom, by our bills and by what is under way.
    fn hopes(&self) -> Hopes {
        let mut hopes = Hopes::new();
        let ours = |device| self.circle.member_of(device) == Some(self.member);
        for (stem, to, bill) in self.bills.all(self.now) {
            if ours(bill.author) {
                hopes.entry((stem, to)).or_default().insert(bill.carrier);
            }
        }
        for ((carrier, to), stems) in &self.entrusting.bills {
            for stem in stems {
                hopes.entry((*stem, *to)).or_default().insert(*carrier);
            }
        }
        for encounter in self.encounters.values() {
            for (shard, carrying) in &encounter.carries {
                for to in &carrying.to {
                    let carriers = hopes.entry((shard.stem(), *to)).or_default();
                    carriers.insert(encounter.peer);
                }
            }
        }
        hopes
    }

    /// A carrier has a shard of ours, be it that it has it for itself: it is to bring it to others.
    pub(super) fn entrusted(&mut self, link: LinkId, shard: ShardId, carrying: Carrying) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.progress = true;
        let (peer, more) = (encounter.peer, !encounter.carries.is_empty());
        for to in carrying.to {
            let bills = self.entrusting.bills.entry((peer, to)).or_default();
            bills.push(shard.stem());
        }
        self.entrusting
            .due
            .add(self.now, limits::RECEIPT_WAIT, more);
    }

    /// A carrier does not take a parcel.
    pub(super) fn not_entrusted(&mut self, link: LinkId, reason: Refusal) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            // Whoever has no room for one has none for the next. It is asked again next time.
            encounter.carries_closed |= reason != Refusal::Busy;
        }
    }

    /// Tells whether bills wait to be written.
    pub(super) fn is_entrusting(&self) -> bool {
        !self.entrusting.bills.is_empty()
    }

    pub(super) fn entrust_timeout(&self) -> Option<Timestamp> {
        self.entrusting.due.due()
    }

    /// Writes the bills and recalls that wait, if it is time.
    pub(super) fn write_bills_if_due(&mut self) {
        if !self.entrusting.due.is_due(self.now) {
            return;
        }
        if self.is_behind() || self.identity.vault.is_empty() {
            return self.entrusting.due.delay(self.now);
        }
        self.entrusting.due.clear();
        for ((carrier, to), stems) in core::mem::take(&mut self.entrusting.bills) {
            // Without a circle there are no carriers; who left it since carries nothing.
            if self.write_bill(carrier, to, &stems).is_ok() {
                let shards = u32::try_from(stems.len()).unwrap_or(u32::MAX);
                self.notify(Notice::Entrusted {
                    carrier,
                    to,
                    shards,
                });
            }
        }
        for ((carrier, to), stems) in core::mem::take(&mut self.entrusting.recalls) {
            let _ = self.write_recall(carrier, to, &stems);
        }
    }

    fn write_bill(
        &mut self,
        carrier: DeviceId,
        to: MemberId,
        stems: &[Stem],
    ) -> Result<(), CommandRefused> {
        let addressee = self.circle.card(to).map(|card| card.inventory_key);
        let addressee = addressee.ok_or(CommandRefused::UnknownMember(to))?;
        for part in stems.chunks(limits::ENTRUSTED_SHARDS_MAX) {
            let body = Body::Entrusted(Entrustment {
                carrier,
                to,
                to_carrier: self.seal_to_carrier(carrier, part)?,
                to_addressee: self.seal_parcels(&addressee, part)?,
                to_owner: self.seal_to_ourselves(part)?,
            });
            self.append(&body)?;
        }
        Ok(())
    }

    fn write_recall(
        &mut self,
        carrier: DeviceId,
        to: MemberId,
        stems: &[Stem],
    ) -> Result<(), CommandRefused> {
        for part in stems.chunks(limits::ENTRUSTED_SHARDS_MAX) {
            let body = Body::Recalled(Recall {
                carrier,
                to,
                to_carrier: self.seal_to_carrier(carrier, part)?,
                to_owner: self.seal_to_ourselves(part)?,
            });
            self.append(&body)?;
        }
        Ok(())
    }

    fn seal_to_carrier(
        &mut self,
        carrier: DeviceId,
        stems: &[Stem],
    ) -> Result<Vec<u8>, CommandRefused> {
        let certificate = self.circle.device(carrier);
        let key = certificate.map(|it| it.sealing_key);
        self.seal_parcels(&key.ok_or(CommandRefused::ForeignDevice(carrier))?, stems)
    }

    fn seal_to_ourselves(&mut self, stems: &[Stem]) -> Result<Vec<u8>, CommandRefused> {
        let key = self.identity.vault.inventory_public();
        self.seal_parcels(&key, stems)
    }

    fn seal_parcels(&mut self, key: &[u8; 32], stems: &[Stem]) -> Result<Vec<u8>, CommandRefused> {
        let plain = encode(&ParcelList {
            shards: stems.to_vec(),
        });
        let info = key::context::PARCELS.as_bytes();
        let sealed = key::seal_to(key, info, &plain, &mut self.rng);
        sealed.map_err(|_| CommandRefused::UnknownMember(self.member))
    }

    /// Receipts came for a pack: what nobody waits for any more is recalled from all who carry it.
    pub(super) fn recall_needless(&mut self, id: PackId) {
        let Some(pack) = self.inventory.pack(id).filter(|_| !self.bills.is_empty()) else {
            return;
        };
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        let mut load = Load::new(view, BTreeMap::new());
        let mut needless = Vec::new();
        for (index, shard) in (0..=u8::MAX).zip(&pack.record.shards) {
            for (to, bill) in self.bills.of(shard.stem(), self.now) {
                let parcel = Parcel {
                    shard: *shard,
                    bytes: pack.record.coding.shard_bytes,
                    to,
                };
                if bill.author == self.device && !load.is_wanted(pack, &parcel, index) {
                    needless.push((bill.carrier, to, shard.stem()));
                }
            }
        }
        self.recall(needless);
    }

    /// All that is known is known: recalls what came while we were off.
    pub(super) fn recall_all_needless(&mut self) {
        let ours = self.bills.all(self.now);
        let ours = ours.filter(|(.., bill)| bill.author == self.device);
        let packs: BTreeSet<PackId> = ours
            .filter_map(|(stem, ..)| Some(self.inventory.by_stem(stem)?.0.record.id))
            .collect();
        packs.into_iter().for_each(|id| self.recall_needless(id));
    }

    /// A pack is given up: nobody need carry anything of it.
    pub(super) fn recall_pack(&mut self, id: PackId) {
        let Some(pack) = self.inventory.pack(id) else {
            return;
        };
        let mut needless = Vec::new();
        for shard in &pack.record.shards {
            let bills = self.bills.of(shard.stem(), self.now);
            let ours = bills.filter(|(_, bill)| bill.author == self.device);
            needless.extend(ours.map(|(to, bill)| (bill.carrier, to, shard.stem())));
        }
        self.recall(needless);
    }

    fn recall(&mut self, needless: Vec<(DeviceId, MemberId, Stem)>) {
        for (carrier, to, stem) in needless {
            let recalls = self.entrusting.recalls.entry((carrier, to)).or_default();
            if !recalls.contains(&stem) {
                recalls.push(stem);
            }
            let more = self.encounters.values().any(|it| it.is_open());
            self.entrusting
                .due
                .add(self.now, limits::RECEIPT_WAIT, more);
        }
    }
}
