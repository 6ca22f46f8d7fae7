//! Recovery: whatever status called safe comes back after its owner's device is destroyed.
//!
//! Verified, at a random moment and at the end: the owner's machine and disk are gone, and with them so
//! many random friends as the health says that could vanish too. With the 12 words and an invite from
//! one friend a new machine gets back every snapshot all of whose packs were safe by the owner's own
//! node: names, contents, modes, times and links, byte for byte. Friends are met one after the other.
//! It is tried on copies of the friends' disks; the run itself goes on undisturbed.
//!
//! Not verified: snapshots that are not safe yet; owners and groups of files; health that rests on
//! shards which were damaged since their last proof (each such machine counts as one that vanished).

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use carryall_core::{plan::Order, time::Span};
use carryall_store::mem_disk::Survival;

use crate::{
    host::{Halt, Host, Rescue},
    join,
    lab::Lab,
    machine::Machine,
    options::Faults,
    rng::Rng,
    witness::Made,
    workload::{Kind, Portrait, Thing},
    world::Place,
};

/// How long each friend stays before the next one comes too.
const VISIT: Span = Span::secs(600);
/// How long all stay together in the end.
const LAST_VISIT: Span = Span::hours(2);
/// How often the new machine goes on with its restore.
const STEP: Span = Span::secs(1);

static DIRECTORIES: AtomicU64 = AtomicU64::new(0);

/// Tries to bring back what a machine's node calls safe. Returns how many snapshots that were.
pub(crate) fn check(lab: &Lab, owner: usize, rng: &mut Rng) -> Result<u64, String> {
    let Some((expected, spare)) = safe_snapshots(lab, owner) else {
        return Ok(0);
    };
    let mut friends: Vec<usize> = (0..lab.machines.len())
        .filter(|at| *at != owner && !lab.machines[*at].destroyed)
        .collect();
    for at in (1..friends.len()).rev() {
        friends.swap(at, rng.index(at + 1));
    }
    for _ in 0..rng.below(spare + 1) {
        friends.pop();
    }
    // Who lost the others' feeds with the power learns them from the next one they meet, and can
    // invite only then.
    friends.sort_by_key(|friend| !knows_circle(&lab.machines[*friend]));
    let outcome = in_directory(|directory| drill(lab, owner, &friends, &expected, directory, rng));
    let restored = expected.len() as u64;
    outcome
        .map(|()| restored)
        .map_err(|error| format!("{restored} safe snapshots, friends {friends:?}: {error}"))
}

/// Does something with a directory of its own on the real disk.
pub(crate) fn in_directory<T>(act: impl FnOnce(&Path) -> T) -> T {
    let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
    let name = format!("carryall-sim-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let outcome = act(&directory);
    // What is left lies in the system's directory for such things.
    let _ = fs::remove_dir_all(&directory);
    outcome
}

fn knows_circle(machine: &Machine) -> bool {
    machine
        .host
        .as_ref()
        .is_none_or(|host| host.node.circle().is_device(machine.device))
}

/// Returns the snapshots that must come back, and how many friends may vanish all the same. Nothing if
/// there are none.
fn safe_snapshots(lab: &Lab, owner: usize) -> Option<(Vec<&Made>, u64)> {
    let machine = &lab.machines[owner];
    let node = &machine.host.as_ref()?.node;
    let now = machine.clock(lab.now);
    let gone = u64::from(vanished(lab, owner));
    let health = |made: &Made| {
        let packs = made.packs.iter();
        packs
            .map(|pack| node.pack_health(*pack, now).unwrap_or(0))
            .min()
            .map_or(0, u64::from)
    };
    let safe: Vec<(&Made, u64)> = lab
        .witness
        .snapshots_of(owner)
        .map(|made| (made, health(made)))
        .filter(|(_, health)| *health > gone)
        .collect();
    let spare = safe.iter().map(|(_, health)| health - gone - 1).min()?;
    Some((safe.into_iter().map(|(made, _)| made).collect(), spare))
}

/// Returns how many friends are gone or hold damaged shards without the owner knowing.
fn vanished(lab: &Lab, owner: usize) -> u32 {
    let member = lab.machines[owner].member;
    let rotten = |machine: &Machine| {
        let image = machine.disk.crash(Survival::All);
        lab.witness
            .rotten
            .iter()
            .filter(|(device, whose, _)| *device == machine.device && *whose == member)
            .any(|(_, _, shard)| !crate::host::is_whole(&image, member, *shard))
    };
    let gone = lab
        .machines
        .iter()
        .filter(|machine| machine.destroyed || rotten(machine));
    u32::try_from(gone.count()).unwrap_or(u32::MAX)
}

fn drill(
    lab: &Lab,
    owner: usize,
    friends: &[usize],
    expected: &[&Made],
    directory: &Path,
    rng: &mut Rng,
) -> Result<(), Halt> {
    let mut drill = Lab::new(lab.now, rng, Faults::default(), lab.trace.aside());
    for &friend in friends {
        drill.machines.push(copy(lab, friend, rng)?);
    }
    let anew = drill.machines.len();
    let mut machine = join::make_anew(&lab.machines[owner].words, rng, lab.now)?;
    machine.host = Some(Host::open(
        &machine.disk,
        rng.seed(),
        lab.now,
        None,
        Order::Plan,
    )?);
    machine.place = Some(Place::Home);
    drill.machines.push(machine);
    let mut rescue = Rescue::new(directory, expected.iter().map(|made| made.snapshot));
    for friend in 0..friends.len() {
        drill.go(friend, Some(Place::Home));
        drill.started(friend);
        if friend == 0 && !join::invite(&mut drill, friend, anew, rng) {
            return Err(Halt::because("the friend's invite was not accepted"));
        }
        let last = friend + 1 == friends.len();
        let visit = if last { LAST_VISIT } else { VISIT };
        bring_back(&mut drill, anew, &mut rescue, visit)?;
    }
    compare_all(&drill, anew, &rescue, expected)
}

/// Lets a machine go on with its rescue for so long at most.
pub(crate) fn bring_back(
    lab: &mut Lab,
    machine: usize,
    rescue: &mut Rescue,
    within: Span,
) -> Result<(), Halt> {
    let until = lab.now + within;
    while lab.now < until && !rescue.is_done() {
        lab.run_until(lab.now + STEP);
        lab.with_host(machine, |host, now| host.go_on(now, rescue))
            .transpose()?;
    }
    Ok(())
}

/// Compares all that came back with what was saved.
pub(crate) fn compare_all(
    lab: &Lab,
    machine: usize,
    rescue: &Rescue,
    expected: &[&Made],
) -> Result<(), Halt> {
    if !rescue.is_done() {
        return Err(missing(lab, machine));
    }
    for made in expected {
        let root = rescue.target(made.snapshot).join("files");
        compare(&made.portrait, &root).map_err(|error| Halt::new(&error))?;
    }
    Ok(())
}

/// Says what did not come back.
fn missing(drill: &Lab, anew: usize) -> Halt {
    let Some(host) = &drill.machines[anew].host else {
        return Halt::because("it went down");
    };
    let heads = host.heads().len();
    let packs: Vec<String> = host
        .node
        .wanted_packs()
        .map(|pack| format!("{:?} {}", pack.kind, pack.id))
        .collect();
    let keys = host.node.vault_keys().is_some();
    Halt::because(&format!(
        "not all came back: keys {keys}, heads {heads}, missing {packs:?}"
    ))
}

/// Returns a copy of a friend's machine, started on a copy of its disk.
fn copy(lab: &Lab, friend: usize, rng: &mut Rng) -> Result<Machine, Halt> {
    let original = &lab.machines[friend];
    let disk = original.disk.crash(Survival::All);
    let mut machine = Machine::new(original.secrets.clone(), original.words.clone(), disk);
    machine.skew_ms = original.skew_ms;
    let now = machine.clock(lab.now);
    machine.host = Some(Host::open(
        &machine.disk,
        rng.seed(),
        now,
        None,
        Order::Plan,
    )?);
    Ok(machine)
}

/// Something came back otherwise than it was.
#[derive(Debug, thiserror::Error)]
enum Difference {
    #[error("{path} came back as {found}, was {wanted}")]
    Other {
        path: String,
        wanted: String,
        found: String,
    },
    #[error("can't look at what came back: {0}")]
    Look(#[from] std::io::Error),
}

fn compare(wanted: &Portrait, root: &Path) -> Result<(), Difference> {
    let mut found = Portrait::new();
    look(root, Path::new(""), &mut found)?;
    let paths: BTreeSet<&PathBuf> = wanted.keys().chain(found.keys()).collect();
    for path in paths {
        let (wanted, found) = (wanted.get(path).cloned(), found.get(path).cloned());
        if wanted != found {
            let path = path.display().to_string();
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            return Err(Difference::Other {
                path,
                wanted,
                found,
            });
        }
    }
    Ok(())
}

fn look(root: &Path, below: &Path, found: &mut Portrait) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let (path, below) = (entry.path(), below.join(entry.file_name()));
        let facts = fs::symlink_metadata(&path)?;
        let kind = if facts.is_symlink() {
            Kind::Link(fs::read_link(&path)?)
        } else if facts.is_dir() {
            look(root, &below, found)?;
            Kind::Directory
        } else {
            let content = fs::read(&path)?;
            Kind::File(content.len() as u64, *blake3::hash(&content).as_bytes())
        };
        let mode = u16::try_from(facts.permissions().mode() & 0o7777).unwrap_or(0);
        let mtime_ns = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
        found.insert(
            below,
            Thing {
                kind,
                mode,
                mtime_ns,
            },
        );
    }
    Ok(())
}
