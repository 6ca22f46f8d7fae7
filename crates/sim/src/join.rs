//! How machines come into a circle: one founds it, the others are invited, as people do it.

use carryall_core::{
    entry::DeviceClass,
    event::{Command, Gate},
    invite::InviteSecret,
    key::{Identity, Names, Words},
    time::{Span, Timestamp},
};
use carryall_store::mem_disk::MemDisk;

use crate::{
    host::{Halt, Host},
    lab::Lab,
    machine::Machine,
    rng::Rng,
};

/// A guest who isn't welcome after this long never will be.
const WELCOME_WITHIN: Span = Span::secs(600);

/// Makes a machine for a new member. The first one founds a circle.
pub(crate) fn make(
    rng: &mut Rng,
    name: &str,
    founds: bool,
    now: Timestamp,
) -> Result<Machine, Halt> {
    let mut entropy = [0; 16];
    entropy.copy_from_slice(&rng.seed()[..16]);
    let words = Words::generate(entropy);
    let names = Names {
        member: name,
        device: "laptop",
    };
    let identity = Identity::create(&words.root(), rng.seed(), names, DeviceClass::Laptop, now)
        .map_err(|error| Halt::new(&error))?;
    let disk = MemDisk::new();
    disk.set_now(now);
    let entropy = founds.then(|| rng.seed());
    Host::create(&disk, identity.clone(), entropy, now)?;
    Ok(Machine::new(identity, words, disk))
}

/// Makes a machine for a member who lost theirs and has only the words.
pub(crate) fn make_anew(words: &Words, rng: &mut Rng, now: Timestamp) -> Result<Machine, Halt> {
    let names = Names {
        member: "anew",
        device: "new laptop",
    };
    let identity = Identity::recover(&words.root(), rng.seed(), names, DeviceClass::Laptop, now)
        .map_err(|error| Halt::new(&error))?;
    let disk = MemDisk::new();
    disk.set_now(now);
    Host::create(&disk, identity.clone(), None, now)?;
    Ok(Machine::new(identity, words.clone(), disk))
}

/// Has one machine invite another one, and waits until it is welcomed. Tells whether it was.
pub(crate) fn invite(lab: &mut Lab, inviter: usize, guest: usize, rng: &mut Rng) -> bool {
    let mut secret = [0; 16];
    secret.copy_from_slice(&rng.seed()[..16]);
    let secret = InviteSecret(secret);
    let id = secret.id();
    let petname = format!("friend {guest}");
    let invited = lab.with_host(inviter, |host, now| {
        host.command(now, Command::Invite { id, petname })
            .is_ok()
            .then(|| host.node.circle().id())
    });
    let Some(Some(circle)) = invited else {
        return false;
    };
    let door = lab.machines[inviter].device;
    let doors = vec![(door, vec![lab.address(door)])];
    let gate = Gate::Invite(id);
    lab.with_host(guest, |host, now| {
        // Nothing refuses a knock; whether it helped is seen below.
        let _ = host.command(
            now,
            Command::Knock {
                circle: Some(circle),
                gate,
                secret: Some(secret),
                doors,
            },
        );
    });
    lab.run_until_done(lab.now + WELCOME_WITHIN, |lab| {
        let host = lab.machines[guest].host.as_ref();
        host.is_some_and(|host| host.node.identity().circle == Some(circle))
    })
}
