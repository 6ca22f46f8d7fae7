//! The beginnings of a device: a new vault with a circle of its own, or one recovered from words.
//!
//! A circle with nobody else in it costs nothing: a device that joins another one leaves it, and a
//! device whose joining came to nothing founds a new one.

use std::{path::Path, sync::Arc};

use carryall_core::{
    courier::Label,
    entry::{Body, Certified, DeviceClass, SignedEntry, WrapTarget},
    feed::{self, Author},
    id::{CircleId, DeviceId, MemberId},
    key::{self, Identity, Names, Words},
    node,
};
use carryall_store::{
    courier::{self, Courier, CourierError, DIRECTORY, beneath::Beneath},
    os_disk::OsDisk,
    vault::Vault,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use zeroize::Zeroizing;

use crate::{clock, engine::EngineError};

/// A vault that was made.
pub struct Founded {
    /// The 12 words. Whoever reads them gets everything back; they are kept nowhere.
    pub words: Zeroizing<String>,
    /// The circle, with this member alone in it.
    pub circle: CircleId,
    /// The member.
    pub member: MemberId,
    /// The device.
    pub device: DeviceId,
}

impl std::fmt::Debug for Founded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Founded({:?})", self.device)
    }
}

/// What the owner calls themself and the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The owner, as friends see them.
    pub member: String,
    /// The device.
    pub device: String,
}

/// Makes a vault with a new member, new words and a circle of its own. Blocks on the disk.
pub fn found(home: &Path, naming: &Naming) -> Result<Founded, EngineError> {
    let words = Words::generate(random()?);
    let (root, seed, now) = (words.root(), random()?, clock::now());
    let identity = Identity::create(&root, seed, naming.names(), DeviceClass::Laptop, now)?;
    let (member, device) = (identity.member(), identity.device());
    let vault = Vault::create(Arc::new(OsDisk), home, identity)?;
    let circle = found_circle(&vault)?;
    Ok(Founded {
        words: words.phrase(),
        circle,
        member,
        device,
    })
}

/// Makes a vault for a member who lost every device. It has no circle and no keys until it joins by
/// an invite or a rendezvous. Blocks on the disk.
pub fn recover(home: &Path, words: &str, naming: &Naming) -> Result<MemberId, EngineError> {
    let (root, seed, now) = (Words::parse(words)?.root(), random()?, clock::now());
    let identity = Identity::recover(&root, seed, naming.names(), DeviceClass::Laptop, now)?;
    Vault::create(Arc::new(OsDisk), home, identity)?;
    Ok(root.member())
}

/// Makes a vault for a member who lost every device, out of the words and a courier that they made: what
/// lies on it tells the circle and, once the node sees the disk, everything that the feeds know. Blocks on
/// the disk.
pub fn recover_by_courier(
    home: &Path,
    words: &str,
    naming: &Naming,
    place: &Path,
) -> Result<MemberId, EngineError> {
    let (root, seed, now) = (Words::parse(words)?.root(), random()?, clock::now());
    let disk = Beneath::open(place).map_err(EngineError::CourierPlace)?;
    let label = courier::read_label(&disk, Path::new(DIRECTORY))?;
    let secret = Label::way_back(&label, &root).map_err(CourierError::from)?;
    let (disk, _) = Courier::open(Arc::new(disk), Path::new(DIRECTORY), &secret)?;
    let mut circle = None;
    let mut look = |entries: Vec<SignedEntry>| {
        for entry in entries.iter().filter_map(|it| it.verify().ok()) {
            if feed::certified(&entry).is_ok_and(|(_, it)| it.member == root.member()) {
                circle.get_or_insert(entry.circle);
            }
        }
    };
    disk.read_feeds(&mut look, &mut |what| tracing::warn!(what, "courier"))?;
    let mut identity = Identity::recover(&root, seed, naming.names(), DeviceClass::Laptop, now)?;
    identity.circle = Some(circle.ok_or(EngineError::CourierWithoutFeeds)?);
    identity.circle_secret = *secret;
    Vault::create(Arc::new(OsDisk), home, identity)?;
    Ok(root.member())
}

/// Founds a circle for the device of a vault that is in none. The identity names it last: cut short
/// before that, the next start founds another one.
pub(crate) fn found_circle(vault: &Vault) -> Result<CircleId, EngineError> {
    let (identity, entries) = circle_of_one(vault.identity())?;
    let circle = identity.circle.ok_or(EngineError::NotJoined)?;
    remove_feeds(vault.home())?;
    let feeds = vault.feeds(&mut |_, _, _| {})?;
    feeds.append(identity.device(), 0, &entries)?;
    vault.replace_identity(identity)?;
    Ok(circle)
}

impl Naming {
    fn names(&self) -> Names<'_> {
        Names {
            member: &self.member,
            device: &self.device,
        }
    }
}

/// Founds a circle for a device. Returns its identity in it, and the beginning of its feed.
fn circle_of_one(identity: Identity) -> Result<(Identity, Vec<SignedEntry>), EngineError> {
    let now = clock::now();
    let (identity, mut entries) = node::found(identity, &random()?, now);
    if let (Some(circle), Some(last)) = (identity.circle, entries.last()) {
        let (len, hash) = (entries.len() as u64, last.hash());
        let mut author = Author::resume(circle, &identity.device_secret, len, hash);
        entries.push(write_wraps(&identity, &mut author)?);
    }
    Ok((identity, entries))
}

/// Returns the beginning of a feed in a circle that the device was admitted to: for a device that
/// was cut off between the two.
pub(crate) fn beginning(
    identity: &Identity,
    circle: CircleId,
) -> Result<Vec<SignedEntry>, EngineError> {
    let mut author = Author::new(circle, &identity.device_secret);
    let certified = Body::Certified(Certified {
        certificate: identity.certificate.clone(),
        beacon_seed: identity.beacon_seed,
    });
    let mut entries = Vec::new();
    entries.push(author.write(clock::now(), &certified)?);
    // One that is recovered has no keys of its own to tell others.
    if !identity.vault.is_empty() {
        let card = Body::Card(identity.card.clone());
        entries.push(author.write(clock::now(), &card)?);
        entries.push(write_wraps(identity, &mut author)?);
    }
    Ok(entries)
}

/// Writes the vault's keys for the recovery key and this device.
fn write_wraps(identity: &Identity, author: &mut Author) -> Result<SignedEntry, EngineError> {
    let recovery = identity
        .card
        .verify()
        .map_err(|_| EngineError::NotJoined)?
        .recovery_key;
    let readers = [
        (WrapTarget::Recovery, recovery),
        (
            WrapTarget::Device(identity.device()),
            identity.sealing_public(),
        ),
    ];
    let mut rng = ChaCha20Rng::from_seed(random()?);
    let keys = identity.vault.of(identity.device());
    let wraps = key::wrap(&keys, &readers, &mut rng)?;
    Ok(author.write(clock::now(), &Body::Wrapped(wraps))?)
}

/// Removes all feeds, to begin anew in another circle.
pub(crate) fn remove_feeds(home: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(home.join("feeds")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::Home(error)),
        _ => Ok(()),
    }
}

/// Returns the system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], EngineError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
