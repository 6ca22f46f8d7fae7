//! The holder's side: taking shards, giving them back, proving them, signing for them.

use alloc::vec::Vec;

use super::Node;
use crate::{
    codec::encode,
    entry::{Body, ReceiptList, Receipts},
    event::{CommandRefused, Effect, LinkId, Notice, Source, TransferError},
    id::{MemberId, ShardId},
    key, limits,
    message::{Farewell, Message, Refusal},
    policy::Bulk,
};

impl Node {
    /// The peer wants to put a shard here.
    pub(super) fn put(&mut self, link: LinkId, shard: ShardId, bytes: u32, owner: MemberId) {
        if bytes == 0 || u64::from(bytes) > limits::SHARD_BYTES_MAX {
            return self.close(link, Farewell::ProtocolError);
        }
        if !self.may_put(link, shard, owner) {
            let reason = Refusal::Unaddressed;
            return self.send(link, Message::Refuse { shard, reason });
        }
        if self.ledger.trash().get(owner, shard).is_some() && self.circle.is_member(owner) {
            // It was released, and is wanted again. The receipt follows.
            self.bring_back(owner, shard);
            let reason = Refusal::Have;
            return self.send(link, Message::Refuse { shard, reason });
        }
        if let Err(reason) = self.admit_shard(link, shard, bytes, owner) {
            if reason == Refusal::Have {
                // The receipt may have been lost in a crash between the shelf and the feed.
                self.sign_for(owner, shard);
            }
            return self.send(link, Message::Refuse { shard, reason });
        }
        self.reserve(link, shard, owner, bytes, false);
    }

    /// Has the disk make room for a shard that the peer may send, or for a parcel.
    pub(super) fn reserve(
        &mut self,
        link: LinkId,
        shard: ShardId,
        owner: MemberId,
        bytes: u32,
        parcel: bool,
    ) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.receives.insert(shard);
        }
        self.effect(Effect::Reserve {
            link,
            shard,
            owner,
            bytes,
            parcel,
        });
    }

    /// Tells whether the peer may put a shard here: it is its member's, or its owner said that the peer
    /// brings it.
    fn may_put(&self, link: LinkId, shard: ShardId, owner: MemberId) -> bool {
        self.encounters.get(&link).is_some_and(|encounter| {
            encounter.member == Some(owner) || self.is_addressed(encounter.peer, owner, shard)
        })
    }

    fn admit_shard(
        &mut self,
        link: LinkId,
        shard: ShardId,
        bytes: u32,
        owner: MemberId,
    ) -> Result<(), Refusal> {
        if !self.circle.is_member(owner) || owner == self.member {
            return Err(Refusal::NotAMember);
        }
        if (self.encounters.get(&link)).is_none_or(|it| it.our_terms.bulk == Bulk::Nothing) {
            return Err(Refusal::Busy);
        }
        let receives = self
            .encounters
            .get(&link)
            .map_or(0, |encounter| encounter.receives.len());
        if receives >= 2 * limits::SENDS_IN_FLIGHT_MAX {
            return Err(Refusal::Busy);
        }
        let debited = self.debit(link, shard, owner, bytes);
        let fits = self.ledger.promised_of(owner) + u64::from(bytes) <= self.grant_to(owner);
        if debited == Err(Refusal::OfferUsedUp) && fits {
            // There is room as soon as nothing is carried.
            self.carry_nothing_of(owner);
            return Err(Refusal::Busy);
        }
        debited
    }

    /// Debits room on the shelf for a shard: what is carried for its owner lies within the same offer.
    pub(super) fn debit(
        &mut self,
        link: LinkId,
        shard: ShardId,
        owner: MemberId,
        bytes: u32,
    ) -> Result<(), Refusal> {
        let carried = self.carriage.ledger.promised_of(owner);
        let grant = self.grant_to(owner).saturating_sub(carried);
        self.ledger.reserve(link, shard, owner, bytes, grant)
    }

    /// Returns how many bytes this device keeps for a member at most.
    pub(crate) fn grant_to(&self, owner: MemberId) -> u64 {
        self.circle
            .offer(self.device, owner)
            .unwrap_or(limits::OFFER_BYTES_DEFAULT)
    }

    /// The shelf has room, or hasn't.
    pub(super) fn reserved(&mut self, link: LinkId, shard: ShardId, outcome: Result<u32, Refusal>) {
        let Some((sink, bytes)) = self.promised(link, shard) else {
            return;
        };
        match outcome {
            Ok(offset) if offset < bytes => {
                self.effect(Effect::Receive {
                    link,
                    shard,
                    bytes,
                    offset,
                    sink,
                });
                self.send(link, Message::Accept { shard, offset });
            }
            Ok(_) => self.turn_down(link, shard, Refusal::Busy),
            Err(reason) => self.turn_down(link, shard, reason),
        }
    }

    pub(super) fn turn_down(&mut self, link: LinkId, shard: ShardId, reason: Refusal) {
        self.unpromise(link, shard);
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.receives.remove(&shard);
        }
        self.send(link, Message::Refuse { shard, reason });
    }

    /// A shard stream ended: onto the shelf, or for a restore.
    pub(super) fn received(
        &mut self,
        link: LinkId,
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        let fetched = self
            .encounters
            .get_mut(&link)
            .and_then(|it| it.fetches.remove(&shard));
        if let Some((pack, index)) = fetched {
            return self.shard_fetched(link, (pack, index), shard, outcome);
        }
        let Some((owner, bytes)) = self.ledger.reservation(link, shard) else {
            return self.parcel_received(link, shard, outcome);
        };
        match outcome {
            Ok(()) => {
                self.ledger.release(link, shard);
                self.ledger.keep(owner, shard, bytes);
                if let Some(encounter) = self.encounters.get_mut(&link) {
                    encounter.receives.remove(&shard);
                    encounter.bytes_received += u64::from(bytes);
                    encounter.progress = true;
                }
                self.sign_for(owner, shard);
                self.send(link, Message::Stored { shard });
                self.notify(Notice::Kept {
                    owner,
                    shard,
                    bytes,
                });
            }
            Err(TransferError::DiskFull) => self.turn_down(link, shard, Refusal::DiskFull),
            Err(_) => self.turn_down(link, shard, Refusal::Busy),
        }
    }

    /// Puts a durable shard on the next receipt.
    pub(super) fn sign_for(&mut self, owner: MemberId, shard: ShardId) {
        let shards = self.receipts.entry(owner).or_default();
        if !shards.contains(&shard) {
            shards.push(shard);
        }
        if shards.len() >= limits::RECEIPT_SHARDS_MAX {
            self.receipts_due.fill(self.now);
            self.flush_receipts_if_due();
        } else {
            let more = self.encounters.values().any(|it| !it.receives.is_empty());
            self.receipts_due.add(self.now, limits::RECEIPT_WAIT, more);
        }
    }

    pub(super) fn flush_receipts_if_due(&mut self) {
        if !self.receipts_due.is_due(self.now) {
            return;
        }
        if self.is_behind() {
            return self.receipts_due.delay(self.now);
        }
        self.receipts_due.clear();
        for (owner, held) in core::mem::take(&mut self.receipts) {
            let held = held.iter().map(ShardId::stem).collect();
            let dropped = Vec::new();
            // A holder without a circle holds nothing.
            let _ = self.write_receipts(owner, &ReceiptList { held, dropped });
        }
    }

    /// Signs for shards. Returns the entry's position in our feed.
    pub(super) fn write_receipts(
        &mut self,
        owner: MemberId,
        list: &ReceiptList,
    ) -> Result<u64, CommandRefused> {
        let public = self.circle.card(owner).map(|card| card.inventory_key);
        let info = key::context::RECEIPTS.as_bytes();
        let sealed = key::seal_to(
            &public.ok_or(CommandRefused::UnknownMember(owner))?,
            info,
            &encode(list),
            &mut self.rng,
        );
        let sealed = sealed.map_err(|_| CommandRefused::UnknownMember(owner))?;
        self.append(&Body::Held(Receipts { owner, sealed }))
    }

    /// A shard on our shelf is gone or damaged: say so before anybody relies on it.
    pub(super) fn shard_lost(&mut self, owner: MemberId, shard: ShardId) {
        if self.ledger.lose(owner, shard) {
            let dropped = alloc::vec![shard.stem()];
            let held = Vec::new();
            let _ = self.write_receipts(owner, &ReceiptList { held, dropped });
        }
    }

    /// The peer asks for a shard. It gets its own member's only.
    pub(super) fn asked(&mut self, link: LinkId, shard: ShardId, offset: u32) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let Some(owner) = encounter.member else {
            return;
        };
        if encounter.our_terms.bulk == Bulk::Nothing {
            let reason = Refusal::Busy;
            return self.send(link, Message::Refuse { shard, reason });
        }
        let bytes = self.ledger.length(owner, shard);
        if encounter.serves.len() >= 2 * limits::FETCHES_IN_FLIGHT_MAX
            || bytes.is_none_or(|bytes| offset >= bytes)
        {
            return self.send(link, Message::Missing { shard });
        }
        encounter.serves.insert(shard);
        let source = Source::Shelf { owner };
        self.effect(Effect::SendShard {
            link,
            shard,
            offset,
            source,
            priority: 0,
        });
    }

    /// A stream that we sent is handed over.
    pub(super) fn sent(
        &mut self,
        link: LinkId,
        shard: ShardId,
        outcome: Result<(), TransferError>,
    ) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if encounter.serves.remove(&shard) {
            let Some(owner) = encounter.member else {
                return;
            };
            let bytes = self.ledger.length(owner, shard).unwrap_or(0);
            match outcome {
                Ok(()) => encounter.bytes_sent += u64::from(bytes),
                Err(TransferError::Disk | TransferError::WrongBytes) => {
                    self.send(link, Message::Missing { shard });
                }
                Err(_) => {}
            }
        } else if let Err(error) = outcome {
            let owner = encounter.deliveries.get(&shard).copied();
            self.withdraw(link, shard);
            let spoilt = matches!(error, TransferError::Disk | TransferError::WrongBytes);
            if let Some(owner) = owner.filter(|_| spoilt) {
                self.parcel_spoilt(owner, shard);
            }
        }
    }

    /// The peer wants to see ranges of its shards.
    pub(super) fn challenged(&mut self, link: LinkId, nonce: u64, probes: Vec<(ShardId, u32)>) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let Some(owner) = encounter.member else {
            return;
        };
        if probes.len() > limits::PROBES_MAX || encounter.proving > 2 * limits::PROBES_MAX {
            return self.close(link, Farewell::ProtocolError);
        }
        for (shard, group) in probes {
            if self.ledger.length(owner, shard).is_none() {
                let proof = None;
                self.send(
                    link,
                    Message::Proof {
                        nonce,
                        shard,
                        group,
                        proof,
                    },
                );
                continue;
            }
            if let Some(encounter) = self.encounters.get_mut(&link) {
                encounter.proving += 1;
            }
            self.effect(Effect::Prove {
                link,
                nonce,
                shard,
                owner,
                group,
            });
        }
    }

    /// A proof that we were asked for is made.
    pub(super) fn proof_made(&mut self, link: LinkId, message: Message) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.proving = encounter.proving.saturating_sub(1);
        self.send(link, message);
    }
}
