//! The owner's side: putting shards on friends' shelves, in the order of the plan.

use super::Node;
use crate::{
    entry::{Addresses, Body, Offer},
    event::{CommandRefused, Effect, LinkId, Notice, Source},
    id::{MemberId, PackId, ShardId},
    limits,
    message::{Message, Refusal},
    placement::next_shard,
    plan,
    record::PackKind,
};

use super::encounter::Outgoing;

impl Node {
    /// Offers the peer shards until enough are under way.
    pub(super) fn put_on(&mut self, link: LinkId) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let Some(member) = encounter.member.filter(|member| *member != self.member) else {
            return;
        };
        // What is too large for the rest of an offer does not keep smaller shards away.
        let closed = !matches!(encounter.no_room, None | Some(Refusal::OfferUsedUp));
        if closed || !self.circle.is_member(member) {
            return;
        }
        if encounter.planned != Some(self.generation) {
            let queue = plan::queue(&self.inventory, self.view(), member).into();
            let generation = self.generation;
            if let Some(encounter) = self.encounters.get_mut(&link) {
                encounter.queue = queue;
                encounter.planned = Some(generation);
            }
        }
        while let Some((pack, outgoing, shard)) = self.next_put(link, member) {
            let Some(encounter) = self.encounters.get_mut(&link) else {
                return;
            };
            encounter.sends.insert(shard, outgoing);
            let peer = encounter.peer;
            self.inventory.note_pending(peer, shard);
            let (owner, bytes) = (self.member, outgoing.bytes);
            self.send(
                link,
                Message::Put {
                    shard,
                    bytes,
                    owner,
                    kind: pack,
                },
            );
        }
    }

    /// Returns the next shard for the peer, if there is one and the window has room.
    fn next_put(
        &mut self,
        link: LinkId,
        member: MemberId,
    ) -> Option<(PackKind, Outgoing, ShardId)> {
        let others = self.others();
        loop {
            let encounter = self.encounters.get_mut(&link)?;
            if encounter.sends.len() >= limits::SENDS_IN_FLIGHT_MAX {
                return None;
            }
            let id = *encounter.queue.front()?;
            let room_below = encounter.room_below;
            let found = self
                .inventory
                .pack(id)
                .filter(|pack| pack.available && pack.record.coding.shard_bytes < room_below)
                .and_then(|pack| {
                    let record = &pack.record;
                    let spread = self
                        .inventory
                        .placed_spread(record, &self.circle, self.member);
                    let index = next_shard(record.kind, &record.coding, &spread, member, others)?;
                    let shard = *record.shards.get(usize::from(index))?;
                    let bytes = record.coding.shard_bytes;
                    Some((
                        record.kind,
                        Outgoing {
                            pack: id,
                            index,
                            bytes,
                        },
                        shard,
                    ))
                });
            match found {
                // The same shard may be refused or lost once; it is not tried twice in a row.
                Some((_, _, shard)) if encounter.sends.contains_key(&shard) => {
                    encounter.queue.pop_front();
                }
                Some(found) => return Some(found),
                None => {
                    encounter.queue.pop_front();
                }
            }
        }
    }

    /// The peer takes a shard.
    pub(super) fn accepted(&mut self, link: LinkId, shard: ShardId, offset: u32) {
        let Some(encounter) = self.encounters.get(&link) else {
            return;
        };
        let Some(outgoing) = encounter.sends.get(&shard).copied() else {
            return;
        };
        if offset >= outgoing.bytes {
            return self.refused(link, shard, Refusal::Busy);
        }
        let Some(pack) = self.inventory.pack(outgoing.pack) else {
            // It broke while the peer made up its mind.
            return self.withdraw(link, shard);
        };
        let priority = i32::from(pack.record.kind == PackKind::Metadata);
        let source = Source::Own {
            pack: outgoing.pack,
            index: outgoing.index,
        };
        self.effect(Effect::SendShard {
            link,
            shard,
            offset,
            source,
            priority,
        });
    }

    /// We can't send a shard after all, which the peer took and waits for.
    pub(super) fn withdraw(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let peer = encounter.peer;
        if let Some(outgoing) = encounter.sends.remove(&shard) {
            if encounter.queue.front() == Some(&outgoing.pack) {
                encounter.queue.pop_front();
            }
            self.inventory.clear_pending(peer, shard);
            self.send(link, Message::Missing { shard });
        }
    }

    /// The peer doesn't take a shard.
    pub(super) fn refused(&mut self, link: LinkId, shard: ShardId, reason: Refusal) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let Some(outgoing) = encounter.sends.remove(&shard) else {
            return;
        };
        let peer = encounter.peer;
        match reason {
            // Its receipt follows; until then the shard counts as placed.
            Refusal::Have => {
                self.inventory.note_insisted(peer, shard);
                self.audit_look += 1;
                return;
            }
            Refusal::OfferUsedUp | Refusal::DiskFull | Refusal::NotAMember => {
                if reason == Refusal::OfferUsedUp {
                    encounter.room_below = encounter.room_below.min(outgoing.bytes);
                }
                if encounter.no_room.replace(reason) != Some(reason) {
                    self.notify(Notice::NoRoom {
                        holder: peer,
                        reason,
                    });
                }
            }
            Refusal::Busy => {
                if encounter.queue.front() == Some(&outgoing.pack) {
                    encounter.queue.pop_front();
                }
            }
        }
        self.inventory.clear_pending(peer, shard);
    }

    /// The peer has a shard on stable storage. It counts for placement now, for health after its
    /// receipt and a proof.
    pub(super) fn stored(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if let Some(outgoing) = encounter.sends.remove(&shard) {
            encounter.bytes_sent += u64::from(outgoing.bytes);
        }
    }

    /// A pack of ours can't be made here any more.
    pub(super) fn pack_broken(&mut self, pack: PackId) {
        self.inventory.set_unavailable(pack);
        self.generation += 1;
        self.notify(Notice::SourceChanged { pack });
    }

    pub(super) fn offer(&mut self, to: MemberId, bytes: u64) -> Result<(), CommandRefused> {
        if !self.circle.is_member(to) {
            return Err(CommandRefused::UnknownMember(to));
        }
        self.append(&Body::Offered(Offer { to, bytes })).map(|_| ())
    }

    pub(super) fn locate(&mut self, addresses: Addresses) {
        let known = self.circle.addresses(self.device).map(|(_, known)| known);
        if known != Some(&addresses) && (known.is_some() || !addresses.direct.is_empty()) {
            // Before we belong to a circle nobody needs to find us.
            let _ = self.append(&Body::Located(addresses));
        }
    }
}
