//! The owner's side: putting shards on friends' shelves, in the order of the plan.

use super::Node;
use crate::{
    entry::{Addresses, Body, Offer},
    event::{CommandRefused, Effect, LinkId, Notice, Source},
    id::{MemberId, PackId, ShardId},
    limits,
    message::{Message, Refusal},
    plan::{Queue, Viewpoint, assess},
    policy::Bulk,
    record::PackKind,
    time::Timestamp,
};

use super::{encounter::Outgoing, entrust::hoped_for};

/// Streams of metadata are above all others.
const METADATA_PRIORITY: i32 = 1 << 30;

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
        let bulk = encounter.bulk();
        if bulk == Bulk::Nothing {
            return;
        }
        if encounter.planned != Some(self.generation) {
            let view = Viewpoint::new(&self.circle, self.member, &self.stance);
            let queue = Queue::new(&mut self.wants, &self.inventory, view, member, bulk);
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
            // What it shall carry is thought about when it has all that is its own.
            encounter.parcels = None;
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
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        let encounter = self.encounters.get_mut(&link)?;
        if encounter.sends.len() >= limits::SENDS_IN_FLIGHT_MAX {
            return None;
        }
        loop {
            let room_below = encounter.room_below;
            let queue = &mut encounter.queue;
            let (id, index) = queue.front(&self.inventory, view, member, room_below)?;
            let record = &self.inventory.pack(id)?.record;
            let (known, now) = ((&self.bills, &self.inventory), self.now);
            let hoped = hoped_for(known, self.device, now, record, member);
            let index = hoped
                .filter(|at| {
                    !encounter
                        .sends
                        .contains_key(&record.shards[usize::from(*at)])
                })
                .unwrap_or(index);
            let shard = record.shards.get(usize::from(index)).copied();
            match shard {
                Some(shard) if !encounter.sends.contains_key(&shard) => {
                    let outgoing = Outgoing {
                        pack: id,
                        index,
                        bytes: record.coding.shard_bytes,
                    };
                    return Some((record.kind, outgoing, shard));
                }
                // What is under way was refused or lost meanwhile; it is not tried twice in a row.
                _ => queue.give_up(id),
            }
        }
    }

    /// Everybody in an encounter may need more of a pack than was known.
    pub(super) fn replan(&mut self, id: PackId) {
        self.look_for(id);
        let Some(pack) = self.inventory.pack(id) else {
            return;
        };
        if !pack.available {
            self.repair.look_at(id);
        }
        self.wants.look_at(&self.inventory, id);
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        for encounter in self.encounters.values_mut() {
            let Some(member) = encounter.member.filter(|_| encounter.planned.is_some()) else {
                continue;
            };
            if let Some((urgency, _)) = assess(pack, view, member) {
                encounter.queue.push(urgency, id);
            }
        }
    }

    /// Tells whether a member should get anything of ours that belongs to `bulk`.
    pub(super) fn wants_anything(&mut self, member: MemberId, bulk: Bulk) -> bool {
        let view = Viewpoint::new(&self.circle, self.member, &self.stance);
        self.wants.anything(&self.inventory, view, member, bulk)
    }

    /// Thinks about who may be met soon, if that was long ago.
    pub(super) fn consider_chances(&mut self) {
        let now = self.now;
        let recent = |made: Timestamp| now.since(made) < limits::CHANCES_VALID;
        if self.chances_made.is_some_and(recent) {
            return;
        }
        self.chances_made = Some(now);
        let chances = self.chances(now);
        if self.stance.chances != chances {
            self.stance.chances = chances;
            // What each member lacks is the same as before, only its order isn't.
            self.generation += 1;
        }
    }

    /// What anybody needs may have changed altogether.
    pub(super) fn replan_all(&mut self) {
        self.generation += 1;
        self.wants.look_at_all();
        self.repair.look_at_all();
    }

    /// The peer takes a shard.
    pub(super) fn accepted(&mut self, link: LinkId, shard: ShardId, offset: u32) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        encounter.streams = encounter.streams.saturating_add(1);
        let carried = encounter.carries.get(&shard).map(|it| it.outgoing);
        let own = encounter.sends.get(&shard).copied().or(carried);
        let Some(outgoing) = own else {
            return self.delivery_accepted(link, shard, offset);
        };
        if offset >= outgoing.bytes {
            return self.refused(link, shard, Refusal::Busy);
        }
        let Some(pack) = self.inventory.pack(outgoing.pack) else {
            // It broke while the peer made up its mind.
            return self.withdraw(link, shard);
        };
        let first = match pack.record.kind {
            PackKind::Metadata => METADATA_PRIORITY,
            PackKind::Small | PackKind::Large => 0,
        };
        // One after the other: when the link breaks, one shard is half there, not all of them.
        let priority = first.saturating_sub(encounter.streams);
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
            encounter.queue.give_up(outgoing.pack);
            self.inventory.clear_pending(peer, shard);
            self.replan(outgoing.pack);
            self.send(link, Message::Missing { shard });
        } else if encounter.carries.remove(&shard).is_some() {
            self.send(link, Message::Missing { shard });
        } else if encounter.deliveries.remove(&shard).is_some() {
            encounter.turned_down.insert(shard);
            self.send(link, Message::Missing { shard });
        }
    }

    /// The peer doesn't take a shard.
    pub(super) fn refused(&mut self, link: LinkId, shard: ShardId, reason: Refusal) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        let Some(outgoing) = encounter.sends.remove(&shard) else {
            let (carrying, owner) = (
                encounter.carries.remove(&shard),
                encounter.deliveries.remove(&shard),
            );
            return match (carrying, owner, reason) {
                (Some(carrying), _, Refusal::Have) => self.entrusted(link, shard, carrying),
                (Some(_), ..) => self.not_entrusted(link, reason),
                (_, Some(owner), Refusal::Have) => self.delivered(link, owner, shard),
                (_, Some(_), _) => self.not_delivered(link, shard, reason),
                _ => self.not_served(link, shard),
            };
        };
        let peer = encounter.peer;
        match reason {
            // Its receipt follows; until then the shard counts as placed.
            Refusal::Have => {
                return self.inventory.note_insisted(peer, shard);
            }
            Refusal::OfferUsedUp
            | Refusal::DiskFull
            | Refusal::NotAMember
            | Refusal::Unaddressed => {
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
            Refusal::Busy => encounter.queue.give_up(outgoing.pack),
        }
        self.inventory.clear_pending(peer, shard);
        self.replan(outgoing.pack);
    }

    /// The peer has a shard on stable storage. It counts for placement now, for health after its
    /// receipt and a proof.
    pub(super) fn stored(&mut self, link: LinkId, shard: ShardId) {
        let Some(encounter) = self.encounters.get_mut(&link) else {
            return;
        };
        if let Some(outgoing) = encounter.sends.remove(&shard) {
            encounter.bytes_sent += u64::from(outgoing.bytes);
        } else if let Some(carrying) = encounter.carries.remove(&shard) {
            encounter.bytes_sent += u64::from(carrying.outgoing.bytes);
            self.entrusted(link, shard, carrying);
        } else if let Some(owner) = encounter.deliveries.remove(&shard) {
            self.delivered(link, owner, shard);
        }
    }

    /// A pack of ours can't be made here any more.
    pub(super) fn pack_broken(&mut self, pack: PackId) {
        self.inventory.set_unavailable(pack);
        self.notify(Notice::SourceChanged { pack });
    }

    pub(super) fn offer(&mut self, to: MemberId, bytes: u64) -> Result<(), CommandRefused> {
        if !self.circle.is_member(to) {
            return Err(CommandRefused::UnknownMember(to));
        }
        self.append(&Body::Offered(Offer { to, bytes })).map(|_| ())
    }

    pub(super) fn locate(&mut self, addresses: Addresses) {
        let others = |address: &core::net::SocketAddr| !address.ip().is_loopback();
        self.contacts.set_own(addresses.direct.clone());
        let known = self.circle.addresses(self.device).map(|(_, known)| known);
        if known.is_some_and(|known| known.direct.iter().any(others))
            && !addresses.direct.iter().any(others)
        {
            // Out of reach: where we were is where to look for us.
            return;
        }
        if known != Some(&addresses) && (known.is_some() || !addresses.direct.is_empty()) {
            // Before we belong to a circle nobody needs to find us.
            let _ = self.append(&Body::Located(addresses));
        }
    }
}
