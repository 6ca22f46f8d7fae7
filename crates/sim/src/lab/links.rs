//! The lab's links: who may connect, and what travels until they part.

use carryall_core::{
    codec::decode,
    event::{Event, Gate, LinkId, TransferError},
    gate::Gates,
    id::ShardId,
    link::LinkFacts,
    message::Message,
    time::{Span, Timestamp},
};

use super::{Happening, Lab};
use crate::network::{Carried, End, Parcel};

/// A silent link is noticed after at most this long, in milliseconds.
const SILENCE_MS_MAX: u64 = 20_000;

/// A shard on its way.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) link: LinkId,
    pub(super) from: usize,
    pub(super) shard: ShardId,
    pub(super) offset: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
}

impl Lab {
    /// Lets all links of a machine fall silent. Who is at their ends notices after a while.
    pub(crate) fn break_links(&mut self, machine: usize) {
        for link in self.network.links_of(machine) {
            self.break_link(link, self.now);
        }
    }

    /// Lets no more bytes pass. The ends notice some time after `from`.
    pub(super) fn break_link(&mut self, link: LinkId, from: Timestamp) {
        if !self.network.break_off(link) {
            return;
        }
        let Some(wire) = self.network.wire(link) else {
            return;
        };
        for machine in [wire.dialler, wire.accepter] {
            let at = from + Span::millis(1 + self.rng.below(SILENCE_MS_MAX));
            let boot = self.machines[machine].boot;
            self.queue.push(
                at,
                Happening::Down {
                    link,
                    machine,
                    boot,
                },
            );
        }
    }

    /// Connects two machines although there may be no reason to.
    pub(crate) fn connect(&mut self, dialler: usize, accepter: usize) -> LinkId {
        self.link_up(dialler, accepter, Gate::Circle)
    }

    /// Tells whether the accepter listens to the name by which the dialler knocks.
    pub(super) fn admits(&self, dialler: usize, accepter: usize, gate: Gate) -> bool {
        let (Some(from), Some(to)) = (&self.machines[dialler].host, &self.machines[accepter].host)
        else {
            return false;
        };
        let mut known = Gates::new();
        known.add_circle(&from.node.identity().circle_secret);
        if let Gate::Invite(id) = gate {
            known.add_invite(id);
        }
        let to_clock = self.machines[accepter].clock(self.now);
        let alpn = known.alpn(gate, self.machines[dialler].clock(self.now));
        let secret = &to.node.identity().circle_secret;
        let open = Gates::of_circle(to.node.circle(), secret, to_clock).alpns(to_clock);
        open.iter()
            .any(|(name, known)| *known == gate && Some(*name) == alpn)
    }

    pub(super) fn link_up(&mut self, dialler: usize, accepter: usize, gate: Gate) -> LinkId {
        let link = self.network.connect(dialler, accepter);
        let facts = LinkFacts::near();
        for (machine, peer, dialled) in [(accepter, dialler, false), (dialler, accepter, true)] {
            let peer = self.machines[peer].device;
            self.event(
                machine,
                Event::LinkUp {
                    link,
                    peer,
                    dialled,
                    gate,
                    facts,
                },
            );
        }
        link
    }

    pub(super) fn arrive(&mut self, link: LinkId, end: End, parcel: Parcel) {
        let Some(wire) = self.network.wire(link) else {
            return;
        };
        let machine = wire.machine(end);
        match parcel {
            Parcel::Frame(bytes) => match decode::<Message>("message", &bytes) {
                Ok(message) => self.event(machine, Event::Message { link, message }),
                Err(_) => self.event(machine, Event::Garbage { link }),
            },
            Parcel::Piece {
                shard,
                offset,
                bytes,
                last,
            } => {
                self.trace
                    .note(self.now, machine, &(shard, offset, bytes.len(), last));
                self.with_host(machine, |host, _| {
                    host.piece(link, shard, offset, &bytes, last);
                });
            }
        }
    }

    /// Sends the next piece of a stream.
    pub(super) fn stream(&mut self, mut stream: Stream) {
        let Some(wire) = self.network.wire(stream.link).filter(|wire| wire.open) else {
            let (link, shard) = (stream.link, stream.shard);
            let outcome = Err(TransferError::LinkLost);
            return self.answer(
                stream.from,
                Event::Sent {
                    link,
                    shard,
                    outcome,
                },
            );
        };
        let towards = wire.end(stream.from).other();
        let most = 1 + self.rng.below(self.network.piece_bytes_max());
        let left = stream.bytes.len() - stream.sent;
        let count = left.min(usize::try_from(most).unwrap_or(usize::MAX));
        let bytes = stream.bytes[stream.sent..stream.sent + count].to_vec();
        let offset = stream.offset + u32::try_from(stream.sent).unwrap_or(0);
        stream.sent += count;
        let (link, shard, last) = (stream.link, stream.shard, count == left);
        if let Some(at) = self.carry(
            link,
            towards,
            Parcel::Piece {
                shard,
                offset,
                bytes,
                last,
            },
        ) {
            if last {
                self.answer(
                    stream.from,
                    Event::Sent {
                        link,
                        shard,
                        outcome: Ok(()),
                    },
                );
            } else {
                self.queue.push(at, Happening::Next(stream));
            }
        } else {
            self.queue.push(self.now, Happening::Next(stream));
        }
    }

    /// Carries a parcel. Returns when all of it arrives, if it does.
    pub(super) fn carry(
        &mut self,
        link: LinkId,
        towards: End,
        parcel: Parcel,
    ) -> Option<Timestamp> {
        let wire = self.network.wire(link);
        let place = wire.and_then(|wire| self.machines[wire.dialler].place);
        match self.network.carry(self.now, link, towards, place, parcel) {
            Carried::Whole(at, parcel) => {
                self.queue.push(
                    at,
                    Happening::Arrival {
                        link,
                        end: towards,
                        parcel,
                    },
                );
                Some(at)
            }
            Carried::Cut(at, part) => {
                if let Some(parcel) = part {
                    self.queue.push(
                        at,
                        Happening::Arrival {
                            link,
                            end: towards,
                            parcel,
                        },
                    );
                }
                self.break_link(link, at);
                None
            }
            Carried::Lost => None,
        }
    }

    pub(super) fn close(&mut self, link: LinkId) {
        let Some(wire) = self.network.wire(link) else {
            return;
        };
        let ends = [wire.dialler, wire.accepter];
        if self.network.break_off(link) {
            for machine in ends {
                let (at, boot) = (self.now + self.network.delay(), self.machines[machine].boot);
                self.queue.push(
                    at,
                    Happening::Down {
                        link,
                        machine,
                        boot,
                    },
                );
            }
        }
    }
}
