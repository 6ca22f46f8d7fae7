//! The holder's side of deletion: what owners released goes to the trash, comes back when a device of
//! theirs says so, and is erased when its days are over.
//!
//! Orders are entries of owners' feeds. They are carried out one after the other, each once: when its
//! shards have moved, our own feed says so.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Node;
use crate::{
    codec::decode,
    days::Days,
    entry::{Body, Obedience, ReceiptList, Release, ReleaseList, Veto},
    event::{Effect, Notice},
    id::{DeviceId, MemberId, ShardId},
    key, limits,
    time::{Span, Timestamp},
    trash::Trashed,
};

/// What a device of an owner wants of us.
#[derive(Debug)]
enum Order {
    /// Let go of the shards that this names, sealed to us.
    Release(Vec<u8>),
    /// Bring everything back.
    Veto,
}

/// Orders, and how far they are carried out.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// By author and position.
    waiting: BTreeMap<(DeviceId, u64), Order>,
    /// Everything before this position of a feed is done.
    done: BTreeMap<DeviceId, u64>,
    /// Whose releases are void up to where, and who says so.
    vetoes: BTreeMap<(DeviceId, DeviceId), u64>,
    /// The one that the disk is at.
    at: Option<(DeviceId, u64)>,
    /// How often the disk was asked to bring shards back, and has not answered.
    retrieving: usize,
    days: Days,
    /// How much of a day in progress is on the disk.
    kept: Span,
}

impl Node {
    /// Takes the count of observed days, before anything else happens.
    pub fn learn_days(&mut self, days: Days) {
        let count = self.orders.days.count();
        self.orders.days = days;
        self.orders.days.at_least(count);
    }

    /// Takes a shard that lies in our trash, before anything else happens.
    pub fn learn_trashed(&mut self, owner: MemberId, shard: ShardId, trashed: Trashed) {
        self.orders.days.at_least(trashed.day);
        self.ledger.keep_trashed(owner, shard, trashed);
    }

    /// Returns how many bytes of a member are in our trash.
    pub fn trash_of(&self, owner: MemberId) -> u64 {
        self.ledger.trash().bytes_of(owner)
    }

    /// A device released shards; some of ours, perhaps.
    pub(super) fn note_release(&mut self, author: DeviceId, seq: u64, release: Release) {
        if release.holder == self.device {
            self.order(author, seq, Order::Release(release.to_holder));
        }
    }

    /// A device takes releases back.
    pub(super) fn note_veto(&mut self, author: DeviceId, seq: u64, veto: &Veto) {
        for (device, upto) in &veto.released {
            let known = self.orders.vetoes.entry((*device, author)).or_default();
            *known = (*known).max(*upto);
        }
        self.order(author, seq, Order::Veto);
    }

    /// A device removes another one: what its owner has in the trash comes back.
    pub(super) fn note_theft(&mut self, author: DeviceId, seq: u64) {
        self.order(author, seq, Order::Veto);
    }

    fn order(&mut self, author: DeviceId, seq: u64, order: Order) {
        let done = self.orders.done.get(&author).copied().unwrap_or(0);
        if author != self.device && seq >= done {
            self.orders.waiting.insert((author, seq), order);
        }
    }

    /// Our own feed says how far an author's orders are carried out.
    pub(super) fn note_obedience(&mut self, obedience: Obedience) {
        let Obedience { author, upto } = obedience;
        let done = self.orders.done.entry(author).or_default();
        *done = (*done).max(upto);
        let upto = *done;
        self.orders
            .waiting
            .retain(|(of, seq), _| *of != author || *seq >= upto);
    }

    /// Carries out the next order, if there is one and the disk is not at one.
    pub(super) fn obey(&mut self) {
        let some = |node: &Self| !node.orders.waiting.is_empty() && node.orders.at.is_none();
        while some(self) && self.author.is_some() && !self.is_behind() {
            // Those of who does not belong to the circle wait: their admission may come later.
            let next = self.orders.waiting.iter().find_map(|(place, order)| {
                let owner = self.circle.member_of(place.0)?;
                (owner != self.member).then_some((*place, owner, order))
            });
            let Some((place, owner, order)) = next else {
                return;
            };
            self.orders.at = Some(place);
            let effect = match order {
                Order::Release(sealed) => {
                    let shards = self.read_release(owner, sealed);
                    if self.is_void(place, owner) {
                        // Its owner has stopped counting them, until they are signed for again.
                        (shards.into_iter()).for_each(|shard| self.sign_for(owner, shard));
                        None
                    } else {
                        let day = self.orders.days.count();
                        let any = !shards.is_empty();
                        any.then_some(Effect::Discard { owner, shards, day })
                    }
                }
                Order::Veto => {
                    let trash = self.ledger.trash().of(owner);
                    let shards: Vec<ShardId> = trash.map(|(shard, _)| shard).collect();
                    let any = !shards.is_empty();
                    self.orders.retrieving += usize::from(any);
                    any.then_some(Effect::Retrieve { owner, shards })
                }
            };
            match effect {
                Some(effect) => self.effect(effect),
                None => self.obeyed(),
            }
        }
    }

    /// Tells whether a device of the same owner has taken a release back.
    fn is_void(&self, (author, seq): (DeviceId, u64), owner: MemberId) -> bool {
        let all = (author, DeviceId([0; 32]))..=(author, DeviceId([0xff; 32]));
        (self.orders.vetoes.range(all))
            .any(|((_, by), upto)| seq < *upto && self.circle.member_of(*by) == Some(owner))
    }

    /// Returns which shards on our shelf a release names.
    fn read_release(&self, owner: MemberId, sealed: &[u8]) -> Vec<ShardId> {
        let secret = &self.identity.sealing_secret;
        let plain = key::open_with(secret, key::context::RELEASE.as_bytes(), sealed).ok();
        let list = plain.and_then(|plain| decode::<ReleaseList>("release", &plain).ok());
        let named: BTreeSet<ShardId> = list.unwrap_or_default().shards.into_iter().collect();
        let ours = |shard: &ShardId| self.ledger.kept_length(owner, *shard).is_some();
        named.into_iter().filter(ours).collect()
    }

    /// The order that the disk was at is carried out, as far as the disk let us.
    fn obeyed(&mut self) {
        let Some((author, seq)) = self.orders.at.take() else {
            return;
        };
        let obedience = Obedience {
            author,
            upto: seq + 1,
        };
        if self.append(&Body::Obeyed(obedience)).is_err() {
            // Once more after the next start; what has moved does not move again.
            self.orders.waiting.remove(&(author, seq));
        }
    }

    /// Shards are in the trash.
    pub(super) fn discarded(&mut self, owner: MemberId, shards: &[ShardId]) {
        if self.ledger.trash().is_empty() {
            self.orders.days.begin(self.now);
            self.keep_days();
        }
        let day = self.orders.days.count();
        let moved: Vec<ShardId> = (shards.iter().copied())
            .filter(|shard| self.ledger.discard(owner, *shard, day))
            .collect();
        if let Some(waiting) = self.receipts.get_mut(&owner) {
            waiting.retain(|shard| !moved.contains(shard));
        }
        let count = u32::try_from(moved.len()).unwrap_or(u32::MAX);
        if count > 0 {
            let (held, dropped) = (Vec::new(), moved.iter().map(ShardId::stem).collect());
            let _ = self.write_receipts(owner, &ReceiptList { held, dropped });
            self.notify(Notice::Discarded {
                owner,
                shards: count,
            });
        }
        self.obeyed();
        self.obey();
    }

    /// Brings back a shard that its owner puts here once more.
    pub(super) fn bring_back(&mut self, owner: MemberId, shard: ShardId) {
        self.orders.retrieving += 1;
        let shards = alloc::vec![shard];
        self.effect(Effect::Retrieve { owner, shards });
    }

    /// Shards are on the shelf again: for a veto, or because the owner puts them here once more.
    pub(super) fn retrieved(&mut self, owner: MemberId, shards: &[ShardId]) {
        let mut count = 0;
        for shard in shards {
            if self.ledger.retrieve(owner, *shard) {
                self.sign_for(owner, *shard);
                count += 1;
            }
        }
        if count > 0 {
            self.notify(Notice::Retrieved {
                owner,
                shards: count,
            });
        }
        self.orders.retrieving = self.orders.retrieving.saturating_sub(1);
        let order = self.orders.at.and_then(|at| self.orders.waiting.get(&at));
        if matches!(order, Some(Order::Veto)) && self.orders.retrieving == 0 {
            self.obeyed();
            self.obey();
        }
    }

    /// Shards are gone for good.
    pub(super) fn erased(&mut self, owner: MemberId, shards: &[ShardId]) {
        let bytes = self.ledger.erased(owner, shards);
        let shards = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        if shards > 0 {
            self.notify(Notice::Erased {
                owner,
                shards,
                bytes,
            });
        }
    }

    /// Counts the days, and erases what is due when one more is over.
    pub(super) fn observe(&mut self) {
        if self.observe_at().is_none_or(|at| at > self.now) {
            return;
        }
        let counted = self.orders.days.observe(self.now);
        if counted || self.orders.days.ran().0 >= self.orders.kept.0 + limits::DAYS_PIECE.0 {
            self.keep_days();
        }
        if !counted || self.orders.days.is_frozen() {
            return;
        }
        for (owner, shards) in self.ledger.take_due(self.orders.days.count()) {
            self.effect(Effect::Erase { owner, shards });
        }
    }

    /// Returns when to look at the clock; never while the trash is empty.
    pub(super) fn observe_at(&self) -> Option<Timestamp> {
        (!self.ledger.trash().is_empty()).then(|| self.orders.days.look_again())
    }

    /// Has the count of days stored.
    pub(super) fn keep_days(&mut self) {
        self.orders.kept = self.orders.days.ran();
        let days = self.orders.days;
        self.effect(Effect::KeepDays { days });
    }
}
