//! One visit at a courier: from the moment it is seen until it is unplugged.
//!
//! The core decides all of it; this is the order in which things get onto disks. Nothing is taken off
//! the courier before it is durable here and signed for, and the signature lies on the courier.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use carryall_core::{
    courier::{Bill, LabelError},
    event::{Command, Event, LinkId, Notice},
    id::{DeviceId, MemberId},
    node::Node,
    time::Timestamp,
};
use carryall_store::courier::{
    Courier, CourierError, DIRECTORY, FeedLog, ShownLog, beneath::Beneath,
};
use tokio::runtime::Handle;

use super::aboard::Own;
use crate::{
    driver::World,
    engine::{Engine, EngineError},
};

/// How often to look whether anything is to be done, and whether the disk is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// News come one by one while friends are near: so long they are gathered before they are carried on.
const REST: Duration = Duration::from_secs(3);
/// How long to wait for entries that are on their way to our own disk.
const FEEDS_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at them.
const FEEDS_PAUSE: Duration = Duration::from_millis(5);
/// Entries that are handed over at a time, in bytes.
const ENTRIES_BYTES: usize = 1 << 20;

/// Visits are numbered from the top down: no connection ever gets there.
static VISITS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Why a visit is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The node goes down, or somebody else is at the disk: there may be another visit.
    Later,
    /// The disk is not for us. It is told once.
    Refused(String),
    /// The disk went away.
    Gone(String),
    /// The disk failed, and may be tried again.
    Failed(String),
}

/// A visit under way.
pub(super) struct Visit<'a> {
    pub(super) engine: &'a Engine,
    pub(super) world: World,
    pub(super) handle: Handle,
    pub(super) courier: Arc<Courier>,
    pub(super) number: LinkId,
    pub(super) device: DeviceId,
    pub(super) member: MemberId,
    /// What this device shows there, by owner, as far as it was read.
    pub(super) shown: BTreeMap<MemberId, ShownLog>,
    /// The copies of feeds on the disk, as far as they were read.
    feeds: BTreeMap<DeviceId, FeedLog>,
    /// What this device put there.
    pub(super) own: Own,
    /// Sentences that were said in this visit.
    said: BTreeSet<String>,
    /// Bytes of shards since the last "safe to unplug".
    pub(super) taken: u64,
    pub(super) put: u64,
}

/// Serves the courier in a directory until it is gone.
pub(super) fn visit(engine: &Engine, path: &Path) -> End {
    let mut visit = match Visit::begin(engine, path) {
        Ok(visit) => visit,
        Err(end) => return end,
    };
    let (courier, number) = (visit.courier.card().courier, visit.number);
    let end = visit.serve(path);
    engine.couriers().forget(courier);
    visit.world.inbox.tell(Event::VisitOver { visit: number });
    let Err(end) = end;
    match end {
        End::Failed(_) if visit.courier.check().is_err() || Place::of(path).is_none() => {
            unplugged(&visit.courier.card().name)
        }
        end => end,
    }
}

fn unplugged(name: &str) -> End {
    End::Gone(format!(
        "the courier {name} was unplugged; what was under way goes on when it is back"
    ))
}

/// What lies at a path: a disk that was pulled out can still be read from memory for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64, u64);

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::symlink_metadata(path.join(DIRECTORY)).ok()?;
        Some(Self(facts.dev(), facts.ino()))
    }
}

impl<'a> Visit<'a> {
    fn begin(engine: &'a Engine, path: &Path) -> Result<Self, End> {
        let handle = Handle::current();
        let world = handle.block_on(engine.world()).map_err(|_| End::Later)?;
        let at = path.display();
        let refused = |what: &dyn std::fmt::Display| {
            End::Refused(format!("the courier in {at} is not served: {what}"))
        };
        let disk = Beneath::open(path).map_err(|error| refused(&error))?;
        let identity = world.store.vault.identity();
        if identity.circle.is_none() || identity.circle_secret == [0; 32] {
            return Err(refused(&"this device has not joined its circle yet"));
        }
        let secret = &identity.circle_secret;
        let opened = Courier::open(Arc::new(disk), Path::new(DIRECTORY), secret);
        let (courier, label) = match opened {
            Ok(opened) => opened,
            Err(CourierError::Busy) => return Err(End::Later),
            Err(error) => return Err(refused(&error)),
        };
        let mut visit = Self {
            engine,
            handle,
            courier: Arc::new(courier),
            number: LinkId(VISITS.fetch_sub(1, Ordering::Relaxed)),
            device: identity.device(),
            member: identity.member(),
            shown: BTreeMap::new(),
            feeds: BTreeMap::new(),
            own: Own::default(),
            said: BTreeSet::new(),
            taken: 0,
            put: 0,
            world,
        };
        // Its owner may have joined since we heard of anybody last: the disk itself tells.
        visit.read_feeds()?;
        let card = visit.courier.card().clone();
        let (known, removed) = visit.ask({
            let card = card.clone();
            move |node, _| {
                let circle = node.circle();
                let known = circle.courier(card.courier).is_some_and(|it| *it == card);
                (known, circle.is_courier_removed(&card))
            }
        })?;
        if removed {
            return Err(refused(&"its owner removed it"));
        }
        if !known && card.member != visit.member {
            return Err(refused(&"nobody in this circle calls it theirs"));
        }
        if !known {
            // It was made, and then this device died before it could say so.
            let card = label.card;
            visit.world.inbox.order(Command::AddCourier { card });
        }
        let (courier, name) = (card.courier, card.name);
        visit.ask(move |node, now| node.sight_courier(now, courier))?;
        engine.notify(Notice::CourierHere { courier, name });
        Ok(visit)
    }

    /// Goes on for as long as the disk is there.
    fn serve(&mut self, path: &Path) -> Result<std::convert::Infallible, End> {
        let card = self.courier.card().clone();
        let place = Place::of(path);
        let mut first = true;
        loop {
            self.engine.couriers().note(card.courier, path, false);
            // What comes in the midst of it, be it from ourselves, is for the next.
            let seen = self.ask(|node, _| (node.news(), node.wanted_packs().count()))?;
            self.own.unfinished = false;
            self.pass(first)?;
            let rested = Instant::now() + REST;
            self.engine.couriers().note(card.courier, path, true);
            if first || self.taken + self.put > 0 {
                self.engine.notify(Notice::CourierSynced {
                    courier: card.courier,
                    name: card.name.clone(),
                    taken: std::mem::take(&mut self.taken),
                    put: std::mem::take(&mut self.put),
                });
            }
            first = false;
            loop {
                sleep(LOOK_EVERY);
                self.may_go_on()?;
                self.read_some_back()?;
                if Place::of(path) != place {
                    return Err(unplugged(&card.name));
                }
                let removed = card.clone();
                let (now, removed) = self.ask(move |node, _| {
                    let now = (node.news(), node.wanted_packs().count());
                    (now, node.circle().is_courier_removed(&removed))
                })?;
                if removed {
                    let name = &card.name;
                    return Err(End::Refused(format!("the courier {name} was removed")));
                }
                if (now != seen || self.own.unfinished) && Instant::now() >= rested {
                    break;
                }
            }
        }
    }

    /// Does all that there is to do now.
    fn pass(&mut self, first: bool) -> Result<(), End> {
        self.write_feeds()?;
        let bills = self.read_bills()?;
        for (_, owner, bill) in &bills {
            if *owner != self.member {
                self.take(*owner, bill)?;
                self.answer(*owner, bill)?;
            }
        }
        self.use_shown(&bills)?;
        self.take_home(&bills)?;
        self.put_on(&bills)?;
        self.write_feeds()?;
        if first {
            self.sweep()?;
        }
        Ok(())
    }

    /// Asks the core.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Node, Timestamp) -> T + Send + 'static,
    ) -> Result<T, End> {
        let asked = self.handle.block_on(self.world.inbox.look(ask));
        asked.map_err(|_| End::Later)
    }

    /// Fails if the node goes down or pauses.
    pub(super) fn may_go_on(&self) -> Result<(), End> {
        if self.ask(|node, now| node.is_paused(now))? || self.engine.is_stopping() {
            return Err(End::Later);
        }
        Ok(())
    }

    /// Says that something is not as it should be, once a visit.
    pub(super) fn problem(&mut self, what: String) {
        if self.said.insert(what.clone()) {
            tracing::warn!(what, "courier");
            self.engine.notify(Notice::CourierProblem { what });
        }
    }

    fn problems(&mut self, all: Vec<String>) {
        all.into_iter().for_each(|what| self.problem(what));
    }

    /// Takes what the disk has of all feeds.
    fn read_feeds(&mut self) -> Result<(), End> {
        let inbox = &self.world.inbox;
        let mut problems = Vec::new();
        let feeds = self.courier.read_feeds(
            &mut |entries| inbox.tell(Event::Carried { entries }),
            &mut |what| problems.push(what),
        );
        let feeds = feeds.map_err(failed)?;
        self.feeds = (feeds.into_iter())
            .map(|feed| (feed.device(), feed))
            .collect();
        self.problems(problems);
        // All of it is taken in once this is answered.
        self.ask(|_, _| ())
    }

    /// Waits until what we wrote is on stable storage here.
    pub(super) fn harden(&self) -> Result<(), End> {
        let written = self.ask(|node, _| node.written())?;
        while !self.ask(move |node, _| node.is_durable(written))? {
            sleep(FEEDS_PAUSE);
        }
        Ok(())
    }

    /// Writes onto the disk what it lacks of all feeds.
    pub(super) fn write_feeds(&mut self) -> Result<(), End> {
        let store = self.world.store.clone();
        let started = Instant::now();
        for tip in self.ask(|node, _| node.tips())? {
            while store.feeds.len(tip.device) < tip.len && started.elapsed() < FEEDS_PATIENCE {
                sleep(FEEDS_PAUSE);
            }
            let feed = self.feeds.entry(tip.device);
            let feed = feed.or_insert_with(|| self.courier.new_feed(tip.device));
            while feed.len() < tip.len {
                let from = feed.len();
                let entries = store.feeds.read(tip.device, from, tip.len, ENTRIES_BYTES);
                let entries = entries.unwrap_or_default();
                if entries.is_empty() {
                    break;
                }
                self.courier.append_feed(feed, entries).map_err(failed)?;
                if feed.len() == from {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads the bills of all devices of the circle.
    pub(super) fn read_bills(&mut self) -> Result<Vec<(DeviceId, MemberId, Bill)>, End> {
        let devices = self.ask(|node, _| node.circle().devices().collect::<Vec<_>>())?;
        let mut problems = Vec::new();
        let mut bills = Vec::new();
        for (device, member) in devices {
            let open = self
                .courier
                .read_bill(device, &mut |what| problems.push(what));
            bills.extend(open.bill.map(|bill| (device, member, bill)));
        }
        self.problems(problems);
        Ok(bills)
    }

    /// Removes what visits that were cut short left, if all that counts can be read.
    fn sweep(&mut self) -> Result<(), End> {
        let said = self.said.len();
        let bills = self.read_bills()?;
        if self.said.len() == said {
            let listed = bills.into_iter().flat_map(|(_, _, bill)| bill.parcels);
            let removed = self.courier.sweep(listed);
            if removed > 0 {
                tracing::info!(removed, "removed parcels of visits that were cut short");
            }
        }
        Ok(())
    }
}

/// The disk refused something.
pub(super) fn failed(error: CourierError) -> End {
    match error {
        CourierError::Label(LabelError::ForeignCircle | LabelError::TooNew(_)) => {
            End::Refused(format!("another disk came in its place: {error}"))
        }
        error => End::Failed(format!("the courier's disk failed: {error}")),
    }
}

/// What the engine can't do ends the visit too.
impl From<EngineError> for End {
    fn from(_: EngineError) -> Self {
        Self::Later
    }
}
