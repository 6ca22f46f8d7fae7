//! Whatever happens, and in whatever order it becomes known, everybody sees the same circle.

use super::*;

/// Something that somebody writes. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Join {
        inviter: usize,
        admitter: usize,
    },
    JoinTwice {
        inviter: usize,
        admitters: [usize; 2],
    },
    Restart {
        owner: usize,
    },
    Revoke {
        author: usize,
        subject: usize,
        seen: u64,
    },
    RevokeDevice {
        author: usize,
        subject: usize,
    },
    Say {
        author: usize,
        kind: u8,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let who = || any::<u8>().prop_map(usize::from);
    prop_oneof![
        3 => (who(), who()).prop_map(|(inviter, admitter)| Act::Join { inviter, admitter }),
        1 => (who(), [who(), who()]).prop_map(|(inviter, admitters)| {
            Act::JoinTwice { inviter, admitters }
        }),
        1 => who().prop_map(|owner| Act::Restart { owner }),
        2 => (who(), who(), 0..8_u64).prop_map(|(author, subject, seen)| {
            Act::Revoke { author, subject, seen }
        }),
        1 => (who(), who()).prop_map(|(author, subject)| Act::RevokeDevice { author, subject }),
        2 => (who(), any::<u8>()).prop_map(|(author, kind)| Act::Say { author, kind }),
    ]
}

impl World {
    fn pick(&self, index: usize) -> u8 {
        let devices: Vec<_> = self.devices.keys().copied().collect();
        devices[index % devices.len()]
    }

    fn next_person(&self) -> u8 {
        let last = self.devices.keys().map(|device| owner_of(*device)).max();
        last.unwrap_or(0) + 1
    }

    fn act(&mut self, act: &Act) {
        self.now = self.now + Span::hours(10);
        match *act {
            Act::Join { inviter, admitter } => {
                let (inviter, admitter) = (self.pick(inviter), self.pick(admitter));
                self.join(inviter, admitter, self.next_person());
            }
            Act::JoinTwice { inviter, admitters } => {
                let invite = self.invite(self.pick(inviter));
                for admitter in admitters {
                    let guest = self.next_person();
                    self.admit(self.pick(admitter), guest, &invite);
                    self.start(guest);
                }
            }
            Act::Restart { owner } => {
                let device = owner_of(self.pick(owner)) + 100;
                if !self.devices.contains_key(&device) {
                    self.start(device);
                }
            }
            Act::Revoke {
                author,
                subject,
                seen,
            } => {
                let subject = owner_of(self.pick(subject));
                self.revoke_since(self.pick(author), subject, seen);
            }
            Act::RevokeDevice { author, subject } => {
                let subject = Subject::Device(device_id(self.pick(subject)));
                self.revoke(self.pick(author), subject);
            }
            Act::Say { author, kind } => {
                let to = person(owner_of(self.pick(usize::from(kind))));
                let body = match kind % 4 {
                    0 => Body::Offered(Offer {
                        to,
                        bytes: kind.into(),
                    }),
                    1 => Body::Head(vec![kind]),
                    2 => Body::Unknown(1000),
                    _ => Body::Card(Person::new(owner_of(self.pick(author))).card(kind.into())),
                };
                self.write(self.pick(author), &body);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        acts in prop::collection::vec(act(), 1..20),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..100),
    ) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        let circle = world.circle();
        prop_assert_eq!(&world.shuffled(&picks), &circle);
        // Who belongs here is owned by somebody who does, and nobody is in and out.
        for (device, member) in circle.devices() {
            prop_assert!(circle.is_member(member));
            prop_assert!(!circle.is_revoked(Subject::Device(device)));
            prop_assert!(!circle.is_revoked(Subject::Member(member)));
        }
        for member in circle.members() {
            prop_assert!(circle.admission(member).is_some());
        }
    }

    #[test]
    fn whom_the_founder_removes_is_out(
        acts in prop::collection::vec(act(), 1..16),
        subject in any::<u8>(),
    ) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        let member = person(owner_of(world.pick(usize::from(subject))));
        world.revoke(1, Subject::Member(member));
        let circle = world.circle();
        // Unless somebody had removed the founder's device before.
        prop_assert!(!circle.is_device(device_id(1)) || !circle.is_member(member));
    }

    #[test]
    fn any_body_is_folded_without_panic(kind in 0..16_u16, body: Vec<u8>) {
        let world = World::new();
        let mut circle = world.circle();
        let tip = world.devices[&1].author.tip();
        let entry = Entry {
            version: crate::entry::FEED_VERSION,
            circle: world.circle,
            device: tip.device,
            seq: tip.len,
            prev: tip.hash,
            time: NOW,
            kind,
            body,
        };
        let bytes = crate::codec::encode(&entry);
        let key = SigningKey::from_bytes(&secret_of(1));
        let signature = crate::codec::Signature::sign(&key, crate::entry::ENTRY_DOMAIN, &bytes);
        let taken = circle.take(&SignedEntry { bytes, signature });
        prop_assert!(taken.is_ok());
        prop_assert!(circle.is_member(person(1)));
    }
}
