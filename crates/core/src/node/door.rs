//! The circle's door: founding, inviting, knocking, admitting.

use alloc::{string::String, vec::Vec};
use core::net::SocketAddr;

use ed25519_dalek::SigningKey;

use super::{Node, encounter::Stage};
use crate::{
    circle::{Circle, IntroductionError, Verdict},
    codec::Signature,
    entry::{Body, Certified, Claim, Founding, Invitation, SignedEntry},
    event::{CommandRefused, Effect, Gate, LinkId, Notice},
    feed::Author,
    id::{CircleId, DeviceId, InviteId, MemberId},
    invite::InviteSecret,
    key::Identity,
    limits,
    message::{Farewell, Knock, Message, PROTOCOL_VERSION, Welcome},
    time::{Span, Timestamp},
};

/// Wait between two tries to knock.
const KNOCK_AGAIN: Span = Span::secs(2);

/// A guest's tries to get in.
#[derive(Debug)]
pub(crate) struct Knocking {
    gate: Gate,
    secret: Option<InviteSecret>,
    doors: Vec<(DeviceId, Vec<SocketAddr>)>,
    pub(super) next_try: Timestamp,
}

/// Founds a circle with this device's member as its first. Returns the identity with its circle, and
/// the first entries of its feed. `entropy` makes the founding key, the salt and the circle's secret;
/// the founding key is gone when this returns.
pub fn found(
    mut identity: Identity,
    entropy: &[u8; 32],
    now: Timestamp,
) -> (Identity, Vec<SignedEntry>) {
    let derive = |purpose| blake3::derive_key(purpose, entropy);
    let key = SigningKey::from_bytes(&derive("carryall 2026 founding key v1"));
    let mut salt = [0; 16];
    salt.copy_from_slice(&derive("carryall 2026 founding salt v1")[..16]);
    let founder = identity.member();
    let founding = Founding {
        key: key.verifying_key().to_bytes(),
        salt,
        founder,
        signature: Signature::sign(&key, Founding::DOMAIN, founder.as_bytes()),
    };
    let circle = founding.circle();
    identity.circle = Some(circle);
    identity.circle_secret = derive("carryall 2026 circle secret v1");
    let mut author = Author::new(circle, &identity.device_secret);
    let entries = [
        Some(certified(&identity)),
        Some(Body::Founded(founding)),
        Some(Body::Card(identity.card.clone())),
    ];
    let entries = entries
        .into_iter()
        .flatten()
        .map(|body| {
            author
                .write(now, &body)
                .expect("three short entries, the certificate first")
        })
        .collect();
    (identity, entries)
}

/// Says why somebody is not let in whose proof holds.
fn refused(error: IntroductionError) -> Farewell {
    match error {
        IntroductionError::TooManyDevices => Farewell::TooManyDevices,
        _ => Farewell::NotAMember,
    }
}

fn certified(identity: &Identity) -> Body {
    Body::Certified(Certified {
        certificate: identity.certificate.clone(),
        beacon_seed: identity.beacon_seed,
    })
}

impl Node {
    /// Opens an invite.
    pub(super) fn invite(&mut self, id: InviteId, petname: String) -> Result<(), CommandRefused> {
        if petname.len() > limits::NAME_BYTES_MAX {
            return Err(CommandRefused::BadName {
                max: limits::NAME_BYTES_MAX,
            });
        }
        let expires = self.now + limits::INVITE_VALID;
        self.append(&Body::Invited(Invitation {
            id,
            expires,
            petname,
        }))
        .map(|_| ())
    }

    /// Begins to knock.
    pub(super) fn knock(
        &mut self,
        circle: Option<CircleId>,
        gate: Gate,
        secret: Option<InviteSecret>,
        doors: Vec<(DeviceId, Vec<SocketAddr>)>,
    ) {
        if let Some(circle) = circle {
            self.turn_to(circle);
        }
        self.knocking = Some(Knocking {
            gate,
            secret,
            doors,
            next_try: self.now,
        });
        self.knock_again();
    }

    /// Listens to a circle that we are about to enter, if we are in none.
    fn turn_to(&mut self, circle: CircleId) {
        if self.author.is_none() && self.circle.id() != circle {
            self.circle = Circle::new(circle);
            self.circle.tell_time(self.now);
        }
    }

    /// Dials the doors that we know, again and again.
    pub(super) fn knock_again(&mut self) {
        let now = self.now;
        let Some(knocking) = self
            .knocking
            .as_mut()
            .filter(|knocking| knocking.next_try <= now)
        else {
            return;
        };
        knocking.next_try = now + KNOCK_AGAIN;
        let (gate, doors) = (knocking.gate, knocking.doors.clone());
        if self
            .encounters
            .values()
            .any(|it| it.gate == gate && it.stage == Stage::Knocking)
        {
            return;
        }
        for (device, addresses) in doors {
            self.effect(Effect::Dial {
                device,
                addresses,
                gate,
                patience: limits::DIAL_PATIENCE,
            });
        }
    }

    /// Somebody who can open our gate is near.
    pub(super) fn door_near(&mut self, device: DeviceId, gate: Gate, addresses: Vec<SocketAddr>) {
        let now = self.now;
        let Some(knocking) = self
            .knocking
            .as_mut()
            .filter(|knocking| knocking.gate == gate)
        else {
            return;
        };
        let known = knocking.doors.iter().position(|(door, _)| *door == device);
        match known {
            Some(at) if knocking.doors[at].1 == addresses => return,
            Some(at) => knocking.doors[at].1 = addresses,
            None if knocking.doors.len() >= limits::ADDRESSES_MAX => return,
            None => knocking.doors.push((device, addresses)),
        }
        knocking.next_try = now;
        self.knock_again();
    }

    /// Knocks on a link that we dialled for it.
    pub(super) fn say_knock(&mut self, link: LinkId, gate: Gate) {
        let circle = self.circle.id();
        let Some(knocking) = self
            .knocking
            .as_ref()
            .filter(|knocking| knocking.gate == gate)
        else {
            return self.close(link, Farewell::Done);
        };
        let claim = Claim {
            circle,
            member: self.member,
            device: self.device,
        };
        let (invite, claim) = match (&knocking.secret, gate) {
            (Some(secret), Gate::Invite(id)) => (Some(id), Some(secret.sign(&claim))),
            _ => (None, None),
        };
        let known = matches!(gate, Gate::Invite(_));
        let knock = Knock {
            version: PROTOCOL_VERSION,
            circle: known.then_some(circle),
            invite,
            card: self.identity.card.clone(),
            certificate: self.identity.certificate.clone(),
            claim,
        };
        self.send(link, Message::Knock(knock));
    }

    /// Somebody knocks.
    pub(super) fn knocked(&mut self, link: LinkId, knock: Knock) {
        if let Err(farewell) = self.admit(link, &knock) {
            self.close(link, farewell);
        }
    }

    fn admit(&mut self, link: LinkId, knock: &Knock) -> Result<(), Farewell> {
        if knock.version != PROTOCOL_VERSION {
            return Err(Farewell::Version(PROTOCOL_VERSION));
        }
        let Some(encounter) = self.encounters.get(&link) else {
            return Ok(());
        };
        let peer = encounter.peer;
        if let Gate::Invite(id) = encounter.gate
            && knock.invite != Some(id)
        {
            return Err(Farewell::InviteForged);
        }
        let after = match self.circle.judge(peer, knock, self.now)? {
            Verdict::Admit { admission, petname } => {
                let seq = self
                    .append(&Body::Admitted(admission))
                    .map_err(|_| Farewell::NotAMember)?;
                let member = self.circle.introduce(&knock.certificate).map_err(refused)?;
                if !petname.is_empty() {
                    self.petnames.insert(member, petname);
                }
                let petname = self.petname(member);
                self.notify(Notice::Joined { member, petname });
                seq + 1
            }
            Verdict::Welcome(_) => {
                self.circle.introduce(&knock.certificate).map_err(refused)?;
                self.replan_all();
                self.durable_len()
            }
        };
        self.set_stage(link, Stage::Admitting(after));
        self.welcome_admitted();
        Ok(())
    }

    fn set_stage(&mut self, link: LinkId, stage: Stage) {
        if let Some(encounter) = self.encounters.get_mut(&link) {
            encounter.stage = stage;
        }
    }

    /// Welcomes every guest whose admission is on stable storage.
    pub(super) fn welcome_admitted(&mut self) {
        let durable = self.durable_len();
        let ready: Vec<LinkId> = self
            .encounters
            .iter()
            .filter(|(_, it)| matches!(it.stage, Stage::Admitting(len) if len <= durable))
            .map(|(link, _)| *link)
            .collect();
        for link in ready {
            self.set_stage(link, Stage::AwaitingHello);
            let (circle, circle_secret) = (self.circle.id(), self.identity.circle_secret);
            let petname = String::new();
            self.send(
                link,
                Message::Welcome(Welcome {
                    circle,
                    circle_secret,
                    petname,
                }),
            );
            self.say_hello(link);
        }
    }

    /// We are in.
    pub(super) fn welcomed(&mut self, link: LinkId, welcome: Welcome) {
        let Some(by) = self.encounters.get(&link).map(|encounter| encounter.peer) else {
            return;
        };
        let by_words = (self.knocking.as_ref())
            .is_some_and(|knocking| matches!(knocking.gate, Gate::Rendezvous(_)));
        if by_words {
            self.turn_to(welcome.circle);
        }
        if self.circle.id() != welcome.circle {
            return self.close(link, Farewell::ForeignCircle);
        }
        self.set_stage(link, Stage::AwaitingHello);
        self.knocking = None;
        self.identity.circle = Some(welcome.circle);
        self.identity.circle_secret = welcome.circle_secret;
        self.adopt();
        if self.author.is_none() {
            self.author = Some(Author::new(self.circle.id(), &self.identity.device_secret));
        }
        if self.own_len() == 0 {
            // There is an author now, so nothing of this can be refused.
            let _ = self.append(&certified(&self.identity));
            if !self.identity.vault.is_empty() {
                let _ = self.append(&Body::Card(self.identity.card.clone()));
                self.wrap_keys();
            }
        }
        self.contacts.touch();
        self.notify(Notice::Welcomed { by });
        self.say_hello(link);
    }

    /// A door stayed shut. The reason may be that door's only, or the invite's.
    pub(super) fn turned_away(&mut self, by: DeviceId, farewell: Farewell) {
        let Some(knocking) = self.knocking.as_mut() else {
            return;
        };
        let door_only = matches!(
            farewell,
            Farewell::Done | Farewell::InviteUnknown | Farewell::ProtocolError
        );
        if door_only {
            knocking.next_try = self.now + KNOCK_AGAIN;
            return;
        }
        knocking.doors.retain(|(device, _)| *device != by);
        self.knocking = None;
    }

    /// Returns what the owner calls a member: their own word for it, or the card's.
    pub fn petname(&self, member: MemberId) -> String {
        let own = || self.circle.card(member).map(|card| card.name.clone());
        self.petnames
            .get(&member)
            .cloned()
            .or_else(own)
            .unwrap_or_else(|| member.short())
    }
}
