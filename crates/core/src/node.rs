//! The node: one device of a circle, as a state machine.
//!
//! Events and the time go in, effects come out. The parts under `node/` each hold one side of what a
//! device does; this file owns the state and routes. It decides nothing itself.

mod aboard;
mod aside;
mod audit;
mod batch;
mod carry;
mod contact;
mod courier;
mod door;
mod drill;
mod encounter;
mod entrust;
mod feeds;
mod fetch;
mod forget;
mod free;
mod govern;
mod heritage;
mod keep;
mod keys;
mod load;
mod place;
mod presence;
mod read;
mod release;
mod remove;
mod repair;
mod replay;
mod scrub;
#[cfg(test)]
mod tests;
mod trash;
mod unopened;
mod wanted;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{
    aboard::Aboard,
    circle::{Circle, Extent},
    entry::{Body, CheckSignature, Entry, SignedEntry},
    event::{Command, CommandRefused, Effect, Event, LinkId, Notice},
    feed::{Author, FeedError},
    habit::Habits,
    health::health,
    id::{DeviceId, MemberId, PackId, ShardId},
    inventory::{Company, Inventory},
    key::Identity,
    ledger::Ledger,
    limits,
    message::{Farewell, Message},
    parcel::Bills,
    placement::members_target,
    plan::{Order, Stance, Viewpoint, Wants},
    policy::{Policy, Strain},
    record::{PackKind, PackRecord},
    time::Timestamp,
};

pub(crate) use aboard::Travel;
pub use aboard::Wayside;
pub use courier::{CourierPlan, ShownOutcome};
pub use door::found;
pub use load::Put;
pub use replay::Replay;

use aside::Aside;
use batch::Batch;
use contact::{Contacts, Knowledge};
pub(crate) use encounter::Encounter;
use fetch::Fetching;
use presence::Presences;
use read::Reads;

/// One device of a circle.
#[derive(Debug)]
pub struct Node {
    pub(crate) identity: Identity,
    pub(crate) device: DeviceId,
    pub(crate) member: MemberId,
    rng: ChaCha20Rng,
    pub(crate) circle: Circle,
    /// The writer of our own feed; nothing before we belong to a circle.
    author: Option<Author>,
    /// How far our own feed is on stable storage: others hear of that part only.
    durable: Option<Extent>,
    /// How far it was each time that more of it set out there, and when that was.
    hardening: VecDeque<(Extent, Timestamp)>,
    pub(crate) inventory: Inventory,
    pub(crate) ledger: Ledger,
    pub(crate) encounters: BTreeMap<LinkId, Encounter>,
    pub(crate) contacts: Contacts,
    policy: Policy,
    strain: Strain,
    /// Nothing is done by itself before then.
    paused: Option<Timestamp>,
    /// Who is near, for the history.
    pub(crate) presences: Presences,
    pub(crate) habits: Habits,
    /// When it was thought about who may be met soon.
    chances_made: Option<Timestamp>,
    heritage: heritage::Heritage,
    fetching: Fetching,
    aside: Aside,
    reads: Reads,
    pub(crate) knocking: Option<door::Knocking>,
    /// Shards stored for others whose receipts are not written yet.
    receipts: BTreeMap<MemberId, Vec<ShardId>>,
    receipts_due: Batch,
    /// Outcomes of probes that are not written yet, per holder.
    outcomes: BTreeMap<DeviceId, audit::Outcomes>,
    outcomes_due: Batch,
    /// Proofs older than this are asked for again.
    audit_floor: Timestamp,
    /// When each holder was last asked for what it need not have been.
    spot_checks: BTreeMap<DeviceId, Timestamp>,
    /// Holders that answered too late each time they were asked.
    respites: BTreeMap<DeviceId, audit::Respite>,
    /// When this device began with nothing but the words, while it keeps the recovery key's secret.
    recovered: Option<Timestamp>,
    /// Something changed that bears on the vault's keys.
    keys_due: bool,
    /// How much of each feed was looked through for keys of ours.
    wraps_seen: BTreeMap<DeviceId, u64>,
    /// What came before we had the key to open it, or knew whose it is.
    unopened: Vec<Entry>,
    /// What owners want dropped here, or back.
    orders: trash::Orders,
    thick: release::Thick,
    /// Who carries what to whom, as far as we wrote it or can read it.
    bills: Bills,
    /// What lies on couriers, as far as we wrote it.
    pub(crate) aboard: Aboard,
    entrusting: entrust::Entrusting,
    carriage: carry::Carriage,
    /// How many friends carry the same shard to the same member at most.
    carriers: usize,
    /// Which snapshots the owner no longer wants to see.
    memory: forget::Memory,
    repair: repair::Repair,
    scrub: scrub::Scrub,
    /// Packs that friends alone could not rebuild when last looked at.
    unsafe_packs: BTreeSet<PackId>,
    pub(crate) petnames: BTreeMap<MemberId, String>,
    pub(crate) stance: Stance,
    check: CheckSignature,
    wants: Wants,
    /// The digest of what we know, if that has not changed since it was made.
    pub(crate) knowledge: Option<Knowledge>,
    /// See [`Node::names`].
    pub(crate) names: u64,
    /// Changes whenever plans made before are out of date altogether.
    generation: u64,
    nonce: u64,
    effects: VecDeque<Effect>,
    now: Timestamp,
}

impl Node {
    /// Returns a node that knows only its identity. `seed` is fresh randomness from the shell.
    pub fn new(identity: Identity, seed: [u8; 32], now: Timestamp) -> Self {
        let (device, member) = (identity.device(), identity.member());
        let mut circle = Circle::new(identity.circle.unwrap_or(crate::id::CircleId([0; 32])));
        circle.tell_time(now);
        let author = identity
            .circle
            .map(|circle| Author::new(circle, &identity.device_secret));
        let recovered = (identity.recovery_secret.as_ref())
            .and_then(|_| Some(identity.certificate.verify().ok()?.issued));
        Self {
            device,
            member,
            rng: ChaCha20Rng::from_seed(seed),
            circle,
            author,
            durable: None,
            hardening: VecDeque::new(),
            inventory: Inventory::unordered(),
            ledger: Ledger::default(),
            encounters: BTreeMap::new(),
            contacts: Contacts::default(),
            policy: Policy::default(),
            strain: Strain::default(),
            paused: None,
            presences: Presences::default(),
            habits: Habits::default(),
            chances_made: None,
            heritage: heritage::Heritage::default(),
            fetching: Fetching::default(),
            aside: Aside::default(),
            reads: Reads::default(),
            knocking: None,
            receipts: BTreeMap::new(),
            receipts_due: Batch::default(),
            outcomes: BTreeMap::new(),
            outcomes_due: Batch::default(),
            audit_floor: Timestamp(0),
            spot_checks: BTreeMap::new(),
            respites: BTreeMap::new(),
            recovered,
            keys_due: true,
            wraps_seen: BTreeMap::new(),
            repair: repair::Repair::default(),
            scrub: scrub::Scrub::default(),
            unopened: Vec::new(),
            orders: trash::Orders::default(),
            thick: release::Thick::default(),
            bills: Bills::default(),
            aboard: Aboard::default(),
            entrusting: entrust::Entrusting::default(),
            carriage: carry::Carriage::default(),
            carriers: limits::CARRIERS_MAX,
            memory: forget::Memory::default(),
            unsafe_packs: BTreeSet::new(),
            petnames: BTreeMap::new(),
            stance: Stance::default(),
            check: SignedEntry::check_signature,
            wants: Wants::default(),
            knowledge: None,
            names: 0,
            generation: 0,
            nonce: 0,
            effects: VecDeque::new(),
            now,
            identity,
        }
    }

    /// Chooses another order of encounters than the plan's, for comparison.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.stance.order = order;
        self
    }

    /// Checks signatures of entries in another way. Only a shell that runs many nodes may want to: it
    /// need not check the same entry for each.
    #[must_use]
    pub fn checking_by(mut self, check: CheckSignature) -> Self {
        self.check = check;
        self
    }

    /// Takes an entry that is on our disk already, before anything else happens. Entries of one feed
    /// come in order; feeds come in any order.
    pub fn replay(&mut self, signed: &SignedEntry) -> Result<(), FeedError> {
        self.learn(signed)?;
        self.durable = self.circle.extent(self.device);
        self.hardening.clear();
        self.effects.clear();
        // While not all is known, nothing is needless.
        self.entrusting = entrust::Entrusting::default();
        Ok(())
    }

    /// Takes a pack that the catalogue knows, before anything else happens. Before the feeds is best:
    /// what they say of its shards finds its place at once.
    pub fn learn_pack(&mut self, record: PackRecord, available: bool) {
        self.inventory.add_pack(record, available);
    }

    /// Takes a shard that lies on our shelf, before anything else happens.
    pub fn learn_kept(&mut self, owner: MemberId, shard: ShardId, bytes: u32) {
        self.ledger.keep(owner, shard, bytes);
    }

    /// Takes the name that the owner gave a member, before anything else happens.
    pub fn learn_petname(&mut self, member: MemberId, petname: String) {
        self.petnames.insert(member, petname);
    }

    /// Begins, once everything on disk has been taken.
    pub fn start(&mut self, now: Timestamp) {
        self.now = now;
        self.inventory.put_in_order();
        self.keep_keys();
        self.doubt();
        self.look_who_is_gone();
        self.begin_scrub();
        self.look_at_all_packs();
        self.recall_all_needless();
        self.begin_carrying();
        self.arrived();
        self.drive();
    }

    /// Takes what happened.
    pub fn handle_event(&mut self, now: Timestamp, event: Event) {
        self.advance(now);
        match event {
            Event::Near {
                device,
                news,
                addresses,
            } => {
                self.note_heard(device);
                self.near(device, news, addresses);
            }
            Event::Skewed { device, epochs } => self.skewed(device, epochs),
            Event::Moved { whereabouts } => self.moved(whereabouts),
            Event::Reached { device, address } => {
                self.contacts.reached(device, address, self.now);
            }
            Event::Arrived => self.arrived(),
            Event::DoorNear {
                device,
                gate,
                addresses,
            } => self.door_near(device, gate, addresses),
            Event::LinkUp {
                link,
                peer,
                dialled,
                gate,
                facts,
            } => {
                self.link_up(link, peer, dialled, gate, facts);
            }
            Event::Measured { link, facts } => self.measured(link, facts),
            Event::Alive { link } => self.alive(link),
            Event::LinkDown { link } => self.link_down(link),
            Event::DialFailed { device } => self.contacts.dial_failed(device),
            Event::Message { link, message } => self.message(link, message),
            Event::Garbage { link } => self.close(link, Farewell::ProtocolError),
            Event::Reserved {
                link,
                shard,
                outcome,
            } => self.reserved(link, shard, outcome),
            Event::Received {
                link,
                shard,
                outcome,
            } => self.received(link, shard, outcome),
            Event::Sent {
                link,
                shard,
                outcome,
            } => self.sent(link, shard, outcome),
            Event::Proof {
                link,
                nonce,
                shard,
                group,
                proof,
            } => {
                let message = Message::Proof {
                    nonce,
                    shard,
                    group,
                    proof,
                };
                self.proof_made(link, message);
            }
            Event::Appended { len } => self.appended(len),
            Event::ShardLost { owner, shard } => self.shard_lost(owner, shard),
            Event::Discarded { owner, shards } => self.discarded(owner, &shards),
            Event::Retrieved { owner, shards } => self.retrieved(owner, &shards),
            Event::Erased { owner, shards } => self.erased(owner, &shards),
            Event::Respooled { pack, good } => self.respooled(pack, good),
            Event::Scrubbed { good } => self.scrubbed(good),
            Event::PackBroken { pack } => self.pack_broken(pack),
            Event::Carried { entries } => self.carried(entries),
            Event::ParcelTaken {
                visit,
                shard,
                outcome,
            } => self.parcel_taken(visit, shard, outcome),
            Event::ParcelsDropped { owner, shards } => self.parcels_dropped(owner, &shards),
            Event::VisitOver { visit } => self.ledger.release_link(visit),
            Event::PackUsed { pack, good } => self.pack_used(pack, good),
            Event::SetAside { pack, good } => self.set_aside(pack, good),
            Event::Machine(machine) => self.strained(machine),
        }
        self.drive();
    }

    /// Takes the passing of time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        self.flush_receipts_if_due();
        self.flush_outcomes_if_due();
        self.write_bills_if_due();
        self.release_surplus_if_due();
        self.watch_encounters();
        self.relay_if_due();
        self.watch_probes();
        self.watch_presences();
        self.scrub_if_due();
        self.knock_again();
        self.drive();
    }

    /// Takes what the owner wants.
    pub fn command(&mut self, now: Timestamp, command: Command) -> Result<(), CommandRefused> {
        self.advance(now);
        match command {
            Command::AddPack { pack, available } => self.add_pack(pack, available),
            Command::DropPack { pack } => {
                self.recall_pack(pack);
                if self.inventory.remove_pack(pack) {
                    self.unsafe_packs.remove(&pack);
                    self.forgo_repair(pack);
                }
            }
            Command::Release { packs } => self.release_packs(&packs)?,
            Command::Free { packs, unmade } => self.free(&packs, &unmade)?,
            Command::Veto => self.veto()?,
            Command::Forget {
                snapshots,
                forgotten,
            } => self.forget(&snapshots, forgotten)?,
            Command::Publish { head } => {
                self.append(&Body::Head(head))?;
                self.notify(Notice::Published { time: now });
            }
            Command::Invite { id, petname } => self.invite(id, petname)?,
            Command::Knock {
                circle,
                gate,
                secret,
                doors,
            } => {
                self.knock(circle, gate, secret, doors);
            }
            Command::Offer { to, bytes } => self.offer(to, bytes)?,
            Command::Remove { subject } => self.remove(subject)?,
            Command::AddCourier { card } => {
                self.append(&Body::Courier(card))?;
            }
            Command::Rename { member, petname } => self.rename(member, petname)?,
            Command::Locate { addresses } => self.locate(addresses),
            Command::Fetch { packs } => self.fetch(packs),
            Command::StopFetch => self.stop_fetch(),
            Command::Read { parts } => self.read(parts),
            Command::StopRead { parts } => self.stop_read(&parts),
            Command::Audit => self.audit_everything(),
            Command::Govern(policy) => self.govern(policy),
            Command::Pause { until } => self.pause(until),
        }
        self.drive();
        Ok(())
    }

    /// Returns what the shell shall do next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns when [`Node::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = [
            self.receipts_due.due(),
            self.outcomes_due.due(),
            self.encounter_timeout(),
            self.contact_timeout(),
            self.terms_timeout(),
            self.presence_timeout(),
            self.observe_at(),
            self.surplus_at(),
            self.scrub_timeout(),
            self.entrust_timeout(),
            self.parcels_timeout(),
            self.knocking.as_ref().map(|knocking| knocking.next_try),
            self.recovery_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// Moves time on; a clock that goes back stands still here.
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.circle.tell_time(self.now);
    }

    /// Goes on with whatever the last event made possible.
    fn drive(&mut self) {
        self.knowledge = Some(self.knowledge());
        self.end_pause();
        self.keep_keys();
        self.obey();
        self.observe();
        self.tell_meetings_if_due();
        self.look_who_is_gone();
        self.repair();
        self.review_parcels();
        let links: Vec<LinkId> = self.encounters.keys().copied().collect();
        for link in links {
            self.work(link);
        }
        self.make_contacts();
    }

    pub(crate) fn view(&self) -> Viewpoint<'_> {
        Viewpoint::new(&self.circle, self.member, &self.stance)
    }

    /// Returns how many other members there are.
    pub(crate) fn others(&self) -> usize {
        self.view().others
    }

    /// Returns whose the devices are that hold anything of ours, even if they are gone for good.
    fn company(&self) -> Company {
        (self.inventory).company(&self.circle, self.member, &BTreeSet::new())
    }

    /// Looks once at all packs for what [`Self::judge`] sees in each.
    fn look_at_all_packs(&mut self) {
        let (company, others) = (self.company(), self.others());
        let (mut at_risk, mut thick) = (BTreeSet::new(), Vec::new());
        for pack in self.inventory.packs() {
            if !pack.is_safe_with(&company, self.now) {
                at_risk.insert(pack.record.id);
            }
            if pack.is_thick(&company, others) {
                thick.push(pack.record.id);
            }
        }
        self.unsafe_packs = at_risk;
        self.note_thick(thick);
    }

    /// Looks again whether friends alone can rebuild a pack.
    fn judge(&mut self, id: PackId) {
        if self.inventory.is_unordered() {
            // Before the start, which looks at everything: what is still to be read may say otherwise, and
            // nobody would hear what follows.
            return;
        }
        let Some(pack) = self.inventory.pack(id) else {
            return;
        };
        let (company, others) = (self.company(), self.others());
        let record = pack.record;
        let proved = pack.proved_among(&company, self.now);
        let health = health(&record.coding, &proved);
        let small = record.kind == PackKind::Small && pack.available;
        let settled = small && proved.len() >= 2 * usize::from(record.coding.k);
        let complete = self.is_respooled(id) && {
            let target = members_target(record.kind, &record.coding, others);
            proved.len() >= target.min(self.others_left())
        };
        let thick = pack.is_thick(&company, others);
        if settled || complete {
            self.unspool(id);
        }
        if thick {
            self.note_thick([id]);
        }
        if health == 0 {
            self.unsafe_packs.insert(id);
        } else if self.unsafe_packs.remove(&id) {
            self.notify(Notice::PackSafe { pack: id });
            if self.unsafe_packs.is_empty() {
                let packs = self.inventory.packs().count() as u64;
                self.notify(Notice::AllSafe { packs });
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    fn send(&mut self, link: LinkId, message: Message) {
        if !matches!(message, Message::Idle | Message::Ping(_) | Message::Pong(_)) {
            self.stir(link);
        }
        self.effect(Effect::Send { link, message });
    }

    fn notify(&mut self, notice: Notice) {
        self.effect(Effect::Notify(notice));
    }

    /// Hands a changed identity to the shell, to be stored before anything that follows.
    fn adopt(&mut self) {
        let identity = Box::new(self.identity.clone());
        self.effect(Effect::Adopt { identity });
    }

    fn rename(&mut self, member: MemberId, petname: String) -> Result<(), CommandRefused> {
        if !self.circle.is_member(member) {
            return Err(CommandRefused::UnknownMember(member));
        }
        if petname.trim().is_empty() || petname.len() > limits::NAME_BYTES_MAX {
            return Err(CommandRefused::BadName {
                max: limits::NAME_BYTES_MAX,
            });
        }
        self.petnames.insert(member, petname);
        Ok(())
    }
}
