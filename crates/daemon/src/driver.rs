//! The driver: the only loop. Events go into the core, its effects go out to disk and net.
//!
//! It holds no policy: each effect is done exactly as said, and each outcome goes back as an event.
//! Nothing here waits for a disk or a peer; workers do, and their answers come through the inbox.

mod doors;
mod feeds;
mod fetched;
mod inbox;
mod parts;
mod shards;
mod speech;
mod surroundings;
mod trash;
mod world;

use std::{net::SocketAddr, time::Duration};

use carryall_core::{
    beacon::Who,
    entry::Addresses,
    event::{Command, Effect, Event, Gate, Notice},
    id::DeviceId,
    limits,
    node::Node,
    time::Span,
};
use carryall_net::{Net, NetEvent};
use tokio::{sync::mpsc, time::sleep_until};

use self::{
    doors::Doors, feeds::Feeds, shards::Shards, speech::Speech, surroundings::Surroundings,
    trash::Shelving,
};
pub(crate) use self::{
    fetched::{Arrival, Fetched},
    inbox::{Gone, Inbox, Input},
    parts::{Part, Parts},
    world::World,
};
use crate::{clock, packs};

/// How many inputs are handled before effects are looked at: own entries of all of them share one
/// fsync.
const INPUTS_PER_TURN: usize = 256;

/// The loop's state.
#[derive(Debug)]
pub(crate) struct Driver {
    node: Node,
    world: World,
    inputs: mpsc::UnboundedReceiver<Input>,
    feeds: Feeds,
    speech: Speech,
    shards: Shards,
    doors: Doors,
    surroundings: Surroundings,
}

impl Driver {
    /// Prepares the loop for a node.
    pub(crate) fn new(node: Node, world: World, inputs: mpsc::UnboundedReceiver<Input>) -> Self {
        let feeds = Feeds::start(world.clone());
        Self {
            speech: Speech::new(world.net.clone(), feeds.clone()),
            shards: Shards::new(world.clone()),
            doors: Doors::default(),
            surroundings: Surroundings::default(),
            feeds,
            node,
            world,
            inputs,
        }
    }

    /// Runs until told to stop. All that was promised is on disk when it returns.
    pub(crate) async fn run(mut self, mut net_events: Option<mpsc::Receiver<NetEvent>>) {
        if let Some(addresses) = self.world.net.as_ref().map(Net::addresses) {
            self.locate(addresses);
        }
        loop {
            self.look_around();
            self.act();
            let wake = clock::wake(self.node.poll_timeout());
            let mut going = tokio::select! {
                biased;
                input = self.inputs.recv() => input.is_some_and(|input| self.handle(input)),
                event = next(&mut net_events) => {
                    self.handle_net(event);
                    true
                }
                () = sleep_until(wake) => true,
            };
            for _ in 0..INPUTS_PER_TURN {
                let Ok(input) = self.inputs.try_recv() else {
                    break;
                };
                going &= self.handle(input);
            }
            // What peers said while we were busy counts before their silence does.
            for _ in 0..INPUTS_PER_TURN {
                let Some(Ok(event)) = net_events.as_mut().map(mpsc::Receiver::try_recv) else {
                    break;
                };
                self.handle_net(event);
            }
            let now = clock::now();
            if self.node.poll_timeout().is_some_and(|at| at <= now) {
                self.node.handle_timeout(now);
            }
            if !going {
                break;
            }
        }
        self.node.leave(clock::now());
        self.act();
        self.feeds.finish().await;
        if let Some(net) = &self.world.net {
            net.close().await;
        }
    }

    /// Handles one input. Tells whether to go on.
    fn handle(&mut self, input: Input) -> bool {
        let now = clock::now();
        match input {
            Input::Event(event) => self.node.handle_event(now, event),
            Input::Command(command, answer) => {
                self.prepare(&command);
                let _ = answer.send(self.node.command(now, command));
            }
            Input::Look(look) => look(&mut self.node, now),
            Input::Stop => return false,
        }
        true
    }

    /// Has friends look up before something that wants them near.
    fn prepare(&mut self, command: &Command) {
        match command {
            Command::Knock { gate, .. } => self.doors.knock(*gate),
            Command::Fetch { .. } | Command::Audit | Command::Publish { .. } => {}
            _ => return,
        }
        if let Some(net) = &self.world.net {
            self.doors.follow(&self.node, net, clock::now());
            net.announce();
        }
    }

    fn dial(&self, device: DeviceId, addresses: &[SocketAddr], gate: Gate, patience: Span) {
        let time = self.node.time_at(device, clock::now());
        match (&self.world.net, self.doors.alpn(gate, time)) {
            (Some(net), Some(alpn)) => {
                let patience = Duration::from_millis(patience.0);
                net.dial_within(device, addresses, (gate, alpn), patience);
            }
            _ => self.world.inbox.tell(Event::DialFailed { device }),
        }
    }

    fn handle_net(&mut self, event: NetEvent) {
        if let NetEvent::Arrived { addresses } = event {
            self.world.moved.notify_one();
            self.surroundings.look_soon();
            self.locate(addresses);
            return self.node.handle_event(clock::now(), Event::Arrived);
        }
        if let NetEvent::BeaconSeen {
            who: Who::Device(device),
            skew: epochs,
            ..
        } = event
        {
            let skewed = Event::Skewed { device, epochs };
            self.node.handle_event(clock::now(), skewed);
        }
        if let NetEvent::LinkUp {
            peer,
            remote: Some(address),
            ..
        } = event
        {
            let device = peer;
            let reached = Event::Reached { device, address };
            self.node.handle_event(clock::now(), reached);
        }
        if let Some(event) = self.shards.translate(event) {
            if let Event::LinkDown { link } = event {
                self.speech.hang_up(link);
            }
            self.node.handle_event(clock::now(), event);
        }
    }

    fn locate(&mut self, mut direct: Vec<SocketAddr>) {
        direct.truncate(limits::ADDRESSES_MAX);
        let addresses = Addresses {
            direct,
            relay: None,
        };
        // Without a circle there is nobody to tell.
        let _ = self
            .node
            .command(clock::now(), Command::Locate { addresses });
    }

    /// Tells the core where we are, when that may have changed.
    fn look_around(&mut self) {
        let secret = &self.node.identity().device_secret;
        let online = self.world.net.is_some();
        if let Some(whereabouts) = self.surroundings.look(secret, online) {
            let now = clock::now();
            self.node.handle_event(now, Event::Moved { whereabouts });
        }
    }

    /// Does what the core wants done.
    fn act(&mut self) {
        self.open_doors();
        while let Some(effect) = self.node.poll_effect() {
            tracing::trace!(?effect);
            self.interpret(effect);
        }
    }

    /// Opens the doors that the core wants open, before anybody is dialled through one.
    fn open_doors(&mut self) {
        if let Some(net) = &self.world.net {
            self.doors.follow(&self.node, net, clock::now());
        }
    }

    fn interpret(&mut self, effect: Effect) {
        match effect {
            Effect::Dial {
                device,
                addresses,
                gate,
                patience,
            } => {
                if let Some(net) = &self.world.net {
                    self.doors.follow(&self.node, net, clock::now());
                }
                self.dial(device, &addresses, gate, patience);
            }
            Effect::Send { link, message } => self.speech.say(link, message),
            Effect::SendEntries {
                link,
                device,
                from,
                to,
            } => {
                self.speech.say_entries(link, device, from..to);
            }
            Effect::Close { link, farewell } => self.speech.farewell(link, farewell),
            Effect::GiveUp { link } => {
                if let Some(net) = &self.world.net {
                    net.give_up(link);
                }
            }
            Effect::Append {
                device,
                from,
                entries,
                own,
            } => {
                self.feeds.append(device, from, entries, own);
            }
            Effect::Reserve {
                link,
                shard,
                owner,
                bytes,
                parcel,
            } => {
                self.shards.reserve(link, shard, (owner, bytes), parcel);
            }
            Effect::Receive {
                link,
                shard,
                bytes,
                offset,
                sink,
            } => {
                self.shards.receive(link, shard, (bytes, offset), sink);
            }
            Effect::SendShard {
                link,
                shard,
                offset,
                source,
                priority,
            } => {
                self.shards.send(link, shard, offset, source, priority);
            }
            Effect::Limit { link, rate } => {
                if let Some(net) = &self.world.net {
                    net.limit(link, rate);
                }
            }
            Effect::Prove {
                link,
                nonce,
                shard,
                owner,
                group,
            } => {
                self.shards.prove(link, nonce, shard, owner, group);
            }
            Effect::Discard { owner, shards, day } => {
                self.feeds.shelve(Shelving::Discard { owner, shards, day });
            }
            Effect::Retrieve { owner, shards } => {
                self.feeds.shelve(Shelving::Retrieve { owner, shards });
            }
            Effect::Erase { owner, shards } => {
                self.feeds.shelve(Shelving::Erase { owner, shards });
            }
            Effect::DropParcels { owner, shards } => {
                self.feeds.shelve(Shelving::DropParcels { owner, shards });
            }
            Effect::KeepDays { days } => self.feeds.shelve(Shelving::KeepDays(days)),
            Effect::PackFetched { pack } => self.world.fetched.complete(&self.world.inbox, pack),
            Effect::Respool { pack } => self.world.fetched.respool(&self.world.inbox, pack),
            Effect::PartRead { shard, group, data } => {
                self.world.parts.shown((shard, group), &data);
            }
            Effect::SetAside { pack } => self.world.fetched.set_aside(&self.world.inbox, pack),
            Effect::DropAside { pack } => self.world.fetched.drop_aside(pack),
            Effect::Scrub { owner, shard } => self.shards.scrub(owner, shard),
            Effect::Unspool { pack } => self.shards.unspool(pack),
            Effect::Remember { meeting } => self.feeds.remember(meeting),
            Effect::Adopt { identity } => self.feeds.adopt(*identity),
            Effect::Notify(notice) => self.notify(notice),
        }
    }

    fn notify(&mut self, notice: Notice) {
        match notice {
            Notice::Welcomed { .. } | Notice::TurnedAway { .. } => self.doors.answered(),
            Notice::SourceChanged { pack } => packs::forget_if_lost(&self.world, &self.node, pack),
            _ => {}
        }
        tracing::info!(target: "carryall::notice", ?notice);
        // Without listeners there is nobody to tell.
        let _ = self.world.notices.send(notice);
    }
}

/// The next event of the net; never, where there is none.
async fn next(events: &mut Option<mpsc::Receiver<NetEvent>>) -> NetEvent {
    if let Some(receiver) = events {
        if let Some(event) = receiver.recv().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
}
