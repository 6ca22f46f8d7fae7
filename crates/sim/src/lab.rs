//! The lab: machines, the links between them, and time. It lets happen what is due, in order.
//!
//! It knows no days, no people and no checks: the run does. Machines hear each other's beacons when
//! they are in the same place, and may connect then.

mod gist;
mod links;

use carryall_core::{
    codec::encode,
    event::{Event, Gate, LinkId, Notice},
    id::DeviceId,
    limits,
    meeting::{self, Whereabouts},
    time::{Span, Timestamp},
};

use self::{gist::gist, links::Stream};
use crate::{
    host::Out,
    machine::Machine,
    network::{End, Network, Parcel},
    options::Faults,
    queue::Queue,
    rng::Rng,
    trace::Trace,
    witness::Witness,
};

/// Beacons after an arrival come at these moments, in seconds.
const BURST_SECS: [u64; 3] = [0, 1, 3];
/// Later ones come this often.
const BEACON_EVERY: Span = Span::secs(120);
/// Longest answer of a disk, in milliseconds.
const DISK_MS_MAX: u64 = 12;
/// More timeouts than this at one moment mean that the node spins.
const TIMEOUTS_MAX: u32 = 1000;

/// Something that is going to happen.
#[derive(Debug)]
enum Happening {
    /// A machine's node wants to be woken.
    Wake(usize),
    /// A machine sends its beacon, the so-manyth of this visit.
    Beacon {
        machine: usize,
        visit: u64,
        number: usize,
    },
    /// A dial came through.
    Connect {
        dialler: usize,
        accepter: usize,
        gate: Gate,
    },
    /// A dial came to nothing.
    NoConnection { machine: usize, device: DeviceId },
    /// Something arrives at an end.
    Arrival {
        link: LinkId,
        end: End,
        parcel: Parcel,
    },
    /// The next piece of a stream is due.
    Next(Stream),
    /// An end closes the link.
    Close(LinkId),
    /// An end notices that the link is gone.
    Down {
        link: LinkId,
        machine: usize,
        boot: u64,
    },
    /// A disk answers.
    Answer {
        machine: usize,
        boot: u64,
        event: Event,
    },
}

/// Machines and what is between them.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) now: Timestamp,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) witness: Witness,
    pub(crate) trace: Trace,
    queue: Queue<Happening>,
    rng: Rng,
}

impl Lab {
    pub(crate) fn new(now: Timestamp, rng: &Rng, faults: Faults, trace: Trace) -> Self {
        Self {
            now,
            machines: Vec::new(),
            network: Network::new(rng.fork("network", 0), faults),
            witness: Witness::default(),
            trace,
            queue: Queue::new(),
            rng: rng.fork("lab", 0),
        }
    }

    /// Lets everything happen up to a time.
    pub(crate) fn run_until(&mut self, until: Timestamp) {
        while let Some((at, happening)) = self.queue.pop(until) {
            self.now = at;
            self.happen(happening);
        }
        self.now = until;
    }

    /// Lets everything happen until `done`, or until a time. Tells whether it was done.
    pub(crate) fn run_until_done(
        &mut self,
        until: Timestamp,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        while !done(self) {
            let Some((at, happening)) = self.queue.pop(until) else {
                self.now = until;
                return false;
            };
            self.now = at;
            self.happen(happening);
        }
        true
    }

    /// Does something with a running machine's host, then what the host wants of the world.
    pub(crate) fn with_host<T>(
        &mut self,
        machine: usize,
        act: impl FnOnce(&mut crate::host::Host, Timestamp) -> T,
    ) -> Option<T> {
        let clock = self.machines[machine].clock(self.now);
        let host = self.machines[machine].host.as_mut()?;
        let result = act(host, clock);
        self.settle(machine);
        Some(result)
    }

    /// Brings a machine to a place, or away from all.
    pub(crate) fn go(&mut self, machine: usize, place: Option<crate::world::Place>) {
        if self.machines[machine].place == place {
            return;
        }
        self.trace.note(self.now, machine, &place);
        self.break_links(machine);
        self.machines[machine].place = place;
        self.machines[machine].visit += 1;
        self.announce(machine);
    }

    /// A machine's process has just started.
    pub(crate) fn started(&mut self, machine: usize) {
        self.machines[machine].wake = None;
        self.with_host(machine, |host, now| host.act(now));
        self.announce(machine);
    }

    /// Starts a machine's beacons, as after an arrival or a start.
    fn announce(&mut self, machine: usize) {
        let visit = self.machines[machine].visit;
        if let Some(place) = self.machines[machine].place {
            let whereabouts = Whereabouts {
                network: meeting::Network([place.network(); 8]),
                offset_minutes: 0,
            };
            self.event(machine, Event::Moved { whereabouts });
            self.queue.push(
                self.now,
                Happening::Beacon {
                    machine,
                    visit,
                    number: 0,
                },
            );
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(machine) => self.wake(machine),
            Happening::Beacon {
                machine,
                visit,
                number,
            } => self.beacon(machine, visit, number),
            Happening::Connect {
                dialler,
                accepter,
                gate,
            } => {
                if self.in_reach(dialler, accepter) && self.admits(dialler, accepter, gate) {
                    self.link_up(dialler, accepter, gate);
                } else if let Some(host) = &self.machines[accepter].host {
                    let device = host.node.device();
                    self.event(dialler, Event::DialFailed { device });
                }
            }
            Happening::NoConnection { machine, device } => {
                self.event(machine, Event::DialFailed { device });
            }
            Happening::Arrival { link, end, parcel } => self.arrive(link, end, parcel),
            Happening::Next(stream) => self.stream(stream),
            Happening::Close(link) => self.close(link),
            Happening::Down {
                link,
                machine,
                boot,
            } if self.machines[machine].boot == boot => {
                self.trace.note(self.now, machine, &("down", link));
                self.with_host(machine, |host, now| host.link_lost(now, link));
            }
            Happening::Answer {
                machine,
                boot,
                event,
            } if self.machines[machine].boot == boot => {
                self.event(machine, event);
            }
            Happening::Down { .. } | Happening::Answer { .. } => {}
        }
    }

    fn event(&mut self, machine: usize, event: Event) {
        if self.machines[machine].host.is_some() {
            self.trace.note(self.now, machine, &gist(&event));
            self.with_host(machine, |host, now| host.event(now, event));
        }
    }

    fn wake(&mut self, machine: usize) {
        if self.machines[machine].wake != Some(self.now) {
            // An earlier one was asked for since. Were this heeded, it would ask for the next one a
            // second time, and that one too.
            return;
        }
        self.machines[machine].wake = None;
        let clock = self.machines[machine].clock(self.now);
        let Some(host) = &mut self.machines[machine].host else {
            return;
        };
        host.save();
        if host.node.poll_timeout().is_some_and(|at| at <= clock) {
            host.timeout(clock);
        }
        self.settle(machine);
    }

    fn beacon(&mut self, machine: usize, visit: u64, number: usize) {
        let here = &self.machines[machine];
        if here.visit != visit {
            return;
        }
        let wait = match BURST_SECS.get(number..=number + 1) {
            Some([this, next]) => Span::secs(next - this),
            _ => BEACON_EVERY,
        };
        let next = Happening::Beacon {
            machine,
            visit,
            number: number + 1,
        };
        self.queue.push(self.now + wait, next);
        for other in 0..self.machines.len() {
            if other != machine && self.in_reach(machine, other) {
                self.hear(other, machine);
                if number == 0 {
                    self.hear(machine, other);
                }
            }
        }
    }

    /// One machine hears another's beacon, unless it is lost, and knows it if it is a member's.
    fn hear(&mut self, listener: usize, speaker: usize) {
        if self.rng.chance(self.network.faults.loss_per_mille) {
            return;
        }
        let Some(speaker) = &self.machines[speaker].host else {
            return;
        };
        let (device, news) = (speaker.node.device(), speaker.node.news());
        let Some(host) = &self.machines[listener].host else {
            return;
        };
        if host.node.circle().is_device(device) {
            let addresses = vec![self.address(device)];
            self.event(
                listener,
                Event::Near {
                    device,
                    news,
                    addresses,
                },
            );
        }
    }

    /// Returns the address of a device: the lab finds devices by key, so any will do.
    pub(crate) fn address(&self, device: DeviceId) -> std::net::SocketAddr {
        let machine = self.find(device).unwrap_or(0);
        let last = u8::try_from(machine + 1).unwrap_or(u8::MAX);
        (std::net::Ipv4Addr::new(10, 0, 0, last), 4747).into()
    }

    fn find(&self, device: DeviceId) -> Option<usize> {
        self.machines
            .iter()
            .position(|machine| machine.device == device)
    }

    pub(crate) fn in_reach(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.machines[one], &self.machines[other]);
        one.place.is_some()
            && one.place == other.place
            && one.host.is_some()
            && other.host.is_some()
    }

    /// Lets a machine hear of something after its disk's time.
    fn answer(&mut self, machine: usize, event: Event) {
        let wait = Span::millis(self.rng.below(DISK_MS_MAX));
        let busy = &mut self.machines[machine].disk_busy;
        *busy = (self.now + wait).max(*busy);
        let (at, boot) = (*busy, self.machines[machine].boot);
        self.queue.push(
            at,
            Happening::Answer {
                machine,
                boot,
                event,
            },
        );
    }

    /// Does what a machine's host wants of the world, and sees when it is to be woken.
    fn settle(&mut self, machine: usize) {
        let out = match &mut self.machines[machine].host {
            Some(host) => host.take_out(),
            None => return,
        };
        if self.machines[machine].is_without_power() {
            // What the process did since then never left the machine.
            return self.machines[machine].host = None;
        }
        for out in out {
            self.do_out(machine, out);
        }
        self.schedule_wake(machine);
    }

    fn do_out(&mut self, machine: usize, out: Out) {
        match out {
            Out::Dial(device, gate) => {
                let at = self.now + self.network.delay();
                let found = self
                    .find(device)
                    .filter(|other| self.in_reach(machine, *other));
                let happening = match found {
                    Some(accepter) => Happening::Connect {
                        dialler: machine,
                        accepter,
                        gate,
                    },
                    None => Happening::NoConnection { machine, device },
                };
                self.queue.push(at, happening);
            }
            Out::Say(link, message) => {
                self.witness.said(&self.machines[machine], &message);
                let bytes = encode(&message);
                assert!(
                    bytes.len() <= limits::FRAME_BYTES_MAX,
                    "no message is longer: {message:?}"
                );
                if let Some(end) = self
                    .network
                    .wire(link)
                    .map(|wire| wire.end(machine).other())
                {
                    self.carry(link, end, Parcel::Frame(bytes));
                }
            }
            Out::Stream {
                link,
                shard,
                offset,
                bytes,
            } => {
                let stream = Stream {
                    link,
                    from: machine,
                    shard,
                    offset,
                    bytes,
                    sent: 0,
                };
                self.queue.push(self.now, Happening::Next(stream));
            }
            Out::HangUp(link) => {
                let last = self.network.last_arrival(link).max(self.now);
                self.queue.push(last, Happening::Close(link));
            }
            Out::Answer(event) => self.answer(machine, event),
            Out::Notice(notice) => self.noticed(machine, &notice),
        }
    }

    fn noticed(&mut self, machine: usize, notice: &Notice) {
        self.trace.note(self.now, machine, notice);
        self.witness.noticed(self.now, machine, notice);
    }

    fn schedule_wake(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        let Some(due) = here.host.as_ref().and_then(|host| host.node.poll_timeout()) else {
            return;
        };
        let due = here.when(due).max(self.now);
        here.spins = if due == self.now && here.woken == self.now {
            here.spins + 1
        } else {
            0
        };
        assert!(
            here.spins < TIMEOUTS_MAX,
            "machine {machine} wants to be woken again and again"
        );
        here.woken = self.now;
        if here.wake.is_none_or(|wake| due < wake) {
            here.wake = Some(due);
            self.queue.push(due, Happening::Wake(machine));
        }
    }
}
