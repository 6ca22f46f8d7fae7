//! The plan of an encounter: what to put on the peer's shelf, in which order.
//!
//! An encounter may end at any byte, so the order is the policy: metadata first, then what is least
//! safe, then what hardly anybody else may be met for soon, then what is newest, then what is small.
//! How new a pack is, its newest file says: within one first backup of years, today's photos go first.
//!
//! Several encounters may go on at once, and each changes how urgent things are for the others. So a
//! [`Queue`] only remembers how urgent each pack was when it was queued, and looks again when the pack
//! comes to the front. A pack that has become less urgent meanwhile goes back to its new place. One
//! that has become more urgent has to be queued again: see [`Queue::push`].

use alloc::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, binary_heap::PeekMut},
    vec::Vec,
};
use core::cmp::Reverse;

use crate::{
    circle::Circle,
    health::{Spread, holders, union},
    id::{DeviceId, MemberId, PackId},
    inventory::{Inventory, OwnPack, Tally},
    outlook::Chances,
    placement::{is_settled, members_target, next_shard},
    policy::Bulk,
    record::{Coding, PackKind, PackRecord},
};

/// In which order packs are put on shelves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The order described in [`crate::plan`]. The others are there to be compared with it.
    #[default]
    Plan,
    /// By chance, decided by the number, whatever is safe already.
    Random(u64),
    /// The oldest first, whatever is safe already.
    OldestFirst,
}

/// What an owner thinks of the others, and the order it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stance {
    /// Which order was chosen.
    pub order: Order,
    /// Members who could not show what they said they keep too often to be relied on.
    pub doubted: BTreeSet<MemberId>,
    /// Devices that are gone for good, by all that is known: what they hold is to be made good.
    pub gone: BTreeSet<DeviceId>,
    /// Who may be met soon.
    pub chances: Chances,
}

/// From whose point of view a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    /// Who belongs to the circle.
    pub circle: &'a Circle,
    /// The owner of the packs.
    pub me: MemberId,
    /// How many other members there are.
    pub others: usize,
    /// What is thought of them.
    pub stance: &'a Stance,
}

impl<'a> Viewpoint<'a> {
    /// Returns the point of view of `me`.
    pub fn new(circle: &'a Circle, me: MemberId, stance: &'a Stance) -> Self {
        let others = circle.members().filter(|member| *member != me).count();
        Self {
            circle,
            me,
            others,
            stance,
        }
    }

    /// Tells whether others than `member` should get what is left of a pack that friends can rebuild:
    /// `member` is doubted, and there are enough who aren't and have nothing of it yet.
    fn prefers_others(&self, record: &PackRecord, placed: &Spread, member: MemberId) -> bool {
        let doubted = &self.stance.doubted;
        if !doubted.contains(&member) || union(placed).len() < u32::from(record.coding.k) {
            return false;
        }
        let reliable = |it: &&MemberId| **it != self.me && !doubted.contains(*it);
        let holding = placed.keys().filter(reliable).count();
        let everybody = self.others - doubted.len().min(self.others);
        let target = members_target(record.kind, &record.coding, self.others);
        everybody.saturating_sub(holding) >= target.saturating_sub(holders(placed))
    }
}

/// How urgent it is to place a pack: smaller is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    is_data: bool,
    safety: usize,
    /// Tenths of a chance that somebody else is met soon who could take the pack.
    elsewhere: u32,
    age: Reverse<u64>,
    bytes: u32,
}

impl Urgency {
    fn of(pack: OwnPack<'_>, placed: &Spread, view: Viewpoint<'_>, member: MemberId) -> Self {
        let record = &pack.record;
        match view.stance.order {
            Order::Plan => {
                let promised = copies(&record.coding, placed);
                let held = if pack.is_underway() {
                    copies(
                        &record.coding,
                        &pack.held_spread(view.circle, view.me, &view.stance.gone),
                    )
                } else {
                    promised
                };
                Self {
                    is_data: record.kind != PackKind::Metadata,
                    // What is only on its way counts half.
                    safety: held + promised,
                    elsewhere: view.stance.chances.elsewhere(placed, member) / 100,
                    age: Reverse(record.newest.0),
                    bytes: record.bytes,
                }
            }
            Order::Random(seed) => Self::by(shuffled(record.id, seed)),
            Order::OldestFirst => Self::by(record.newest.0),
        }
    }

    /// Smaller is more urgent.
    fn by(number: u64) -> Self {
        Self {
            is_data: false,
            safety: 0,
            elsewhere: 0,
            age: Reverse(u64::MAX - number),
            bytes: 0,
        }
    }
}

/// Returns how many members hold something of a pack once friends can rebuild it, 0 before.
fn copies(coding: &Coding, spread: &Spread) -> usize {
    if union(spread).len() < u32::from(coding.k) {
        return 0;
    }
    holders(spread)
}

fn shuffled(id: PackId, seed: u64) -> u64 {
    let start = id.0.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
    // Finalizer of splitmix64.
    let mut mixed = start ^ seed;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Returns the shard of a pack that `member` should get next, and how urgent that is; nothing if it
/// should get none now.
pub fn assess(pack: OwnPack<'_>, view: Viewpoint<'_>, member: MemberId) -> Option<(Urgency, u8)> {
    if !pack.available || pack.is_insisted(view.circle, member) {
        return None;
    }
    let placed = pack.placed_spread(view.circle, view.me, &view.stance.gone);
    assess_beside(pack, &placed, view, member)
}

/// The same, were the pack's shards placed like this.
pub(crate) fn assess_beside(
    pack: OwnPack<'_>,
    placed: &Spread,
    view: Viewpoint<'_>,
    member: MemberId,
) -> Option<(Urgency, u8)> {
    if !pack.available || pack.is_insisted(view.circle, member) {
        return None;
    }
    let record = &pack.record;
    let index = next_shard(record.kind, &record.coding, placed, member, view.others)?;
    if view.prefers_others(record, placed, member) {
        return None;
    }
    Some((Urgency::of(pack, placed, view, member), index))
}

/// Tells whether `member` should get anything at all. It may look at every pack; see [`Wants`].
pub fn wants_anything(inventory: &Inventory, view: Viewpoint<'_>, member: MemberId) -> bool {
    inventory
        .packs()
        .any(|pack| assess(pack, view, member).is_some())
}

/// Tells whether a pack belongs to this part of the bulk. What can't wait until a battery is full
/// again is metadata, and what friends could not rebuild even if all kept their word.
fn belongs(pack: OwnPack<'_>, view: Viewpoint<'_>, bulk: Bulk) -> bool {
    let record = &pack.record;
    match bulk {
        Bulk::Nothing => false,
        Bulk::Urgent if record.kind == PackKind::Metadata => true,
        Bulk::Urgent => {
            let placed = pack.placed_spread(view.circle, view.me, &view.stance.gone);
            union(&placed).len() < u32::from(record.coding.k)
        }
        Bulk::Everything => true,
    }
}

/// What a member should get in one encounter.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(Urgency, PackId)>>,
    /// Not to be tried again in this encounter.
    given_up: BTreeSet<PackId>,
    /// How much may go at all.
    bulk: Bulk,
}

impl Queue {
    /// Returns the packs of which `member` should get a shard, if they belong to `bulk` when their
    /// turn comes.
    pub fn new(
        wants: &mut Wants,
        inventory: &Inventory,
        view: Viewpoint<'_>,
        member: MemberId,
        bulk: Bulk,
    ) -> Self {
        let wanted = wants.all(inventory, view, member);
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(urgency, pack)| Reverse((urgency, pack)))
            .collect();
        Self {
            heap: wanted.into(),
            given_up: BTreeSet::new(),
            bulk,
        }
    }

    /// Queues a pack that is new or has become more urgent. It may be queued already.
    pub fn push(&mut self, urgency: Urgency, pack: PackId) {
        self.heap.push(Reverse((urgency, pack)));
    }

    /// Leaves a pack out for the rest of the encounter.
    pub fn give_up(&mut self, pack: PackId) {
        self.given_up.insert(pack);
    }

    /// Returns the most urgent pack now, and which of its shards `member` should get. It stays in
    /// front. Packs whose shards have `room_below` bytes or more are left out from now on.
    pub fn front(
        &mut self,
        inventory: &Inventory,
        view: Viewpoint<'_>,
        member: MemberId,
        room_below: u32,
    ) -> Option<(PackId, u8)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((queued, id)) = *top;
            let pack = inventory
                .pack(id)
                .filter(|pack| pack.record.coding.shard_bytes < room_below)
                .filter(|_| !self.given_up.contains(&id))
                .filter(|pack| belongs(*pack, view, self.bulk));
            match pack.and_then(|pack| assess(pack, view, member)) {
                None => drop(PeekMut::pop(top)),
                Some((urgency, _)) if urgency > queued => *top = Reverse((urgency, id)),
                Some((_, index)) => return Some((id, index)),
            }
        }
    }
}

/// Which members lack something of ours: remembers per member which packs may be lacking, so that
/// neither asking again and again nor the plan of an encounter looks at all packs.
#[derive(Debug, Default)]
pub struct Wants {
    /// By the packs' numbers. Packs that are not named are not lacking; of a member that is not named,
    /// nothing is known yet.
    open: BTreeMap<MemberId, BTreeSet<u32>>,
}

impl Wants {
    /// Notes that a pack may be lacking that was not.
    pub fn look_at(&mut self, inventory: &Inventory, pack: PackId) {
        let Some(number) = inventory.number(pack) else {
            return;
        };
        for open in self.open.values_mut() {
            open.insert(number);
        }
    }

    /// Notes that any pack may be lacking to anybody.
    pub fn look_at_all(&mut self) {
        self.open.clear();
    }

    /// Returns what `member` should get, in no order.
    pub(crate) fn all(
        &mut self,
        inventory: &Inventory,
        view: Viewpoint<'_>,
        member: MemberId,
    ) -> Vec<(Urgency, PackId)> {
        let mut wanted = Vec::new();
        self.open(inventory, view, member).retain(|number| {
            let pack = inventory.by_number(*number);
            let found = pack.and_then(|pack| Some((pack, assess(pack, view, member)?)));
            if let Some((pack, (urgency, _))) = found {
                wanted.push((urgency, pack.record.id));
            }
            found.is_some()
        });
        wanted
    }

    /// Tells whether `member` should get anything that belongs to `bulk`.
    pub fn anything(
        &mut self,
        inventory: &Inventory,
        view: Viewpoint<'_>,
        member: MemberId,
        bulk: Bulk,
    ) -> bool {
        if bulk == Bulk::Nothing {
            return false;
        }
        let open = self.open(inventory, view, member);
        let mut closed = Vec::new();
        let wanted = open.iter().any(|number| {
            let pack = inventory.by_number(*number);
            let wanted = pack.filter(|pack| assess(*pack, view, member).is_some());
            if wanted.is_none() {
                closed.push(*number);
            }
            wanted.is_some_and(|pack| belongs(pack, view, bulk))
        });
        for number in closed {
            open.remove(&number);
        }
        wanted
    }

    fn open(
        &mut self,
        inventory: &Inventory,
        view: Viewpoint<'_>,
        member: MemberId,
    ) -> &mut BTreeSet<u32> {
        if !self.open.contains_key(&member) {
            self.look_for_everybody(inventory, view, member);
        }
        self.open.entry(member).or_default()
    }

    /// Looks at all packs for all of whom nothing is known yet, `member` among them: where a pack's
    /// shards are is the same for everybody, and takes longest to find out.
    fn look_for_everybody(&mut self, inventory: &Inventory, view: Viewpoint<'_>, member: MemberId) {
        let mut unknown: BTreeSet<MemberId> = view.circle.members().collect();
        unknown.insert(member);
        unknown.retain(|it| *it != view.me && !self.open.contains_key(it));
        let mut lacking: Vec<(MemberId, Vec<u32>)> =
            unknown.into_iter().map(|it| (it, Vec::new())).collect();
        let company = inventory.company(view.circle, view.me, &view.stance.gone);
        for (number, pack) in inventory.numbered().filter(|(_, pack)| pack.available) {
            let (kind, coding) = (pack.record.kind, &pack.record.coding);
            let Tally { indices, members } = pack.placed_tally(&company);
            if is_settled(kind, coding, indices, members, view.others) {
                continue;
            }
            let placed = pack.placed_among(&company);
            for (member, packs) in &mut lacking {
                if assess_beside(pack, &placed, view, *member).is_some() {
                    packs.push(number);
                }
            }
        }
        let found = lacking.into_iter();
        (self.open).extend(found.map(|(member, packs)| (member, packs.into_iter().collect())));
    }
}
