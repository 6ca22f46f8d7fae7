//! Durability: what was promised is on stable storage.
//!
//! Verified, at each crash, on what is certain to survive it (what was synced and nothing else):
//! - every shard that the machine's own feed signs for lies on its shelf, bit by bit, or in its trash;
//! - every shard that it said was stored lies there too, unless its feed has taken that back;
//! - its own feed has everything that others ever heard of it, the same (so it never forks);
//! - after a start, every snapshot that a backup reported is still known.
//!
//! Not verified: shards on which a bit was turned on purpose (holders may notice or not); others' feeds
//! (they can be had again); files that their owner did not sync; that a process starts while its disk
//! is full (it need not: the index may have to be repaired, which takes room).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use carryall_core::{
    codec::decode,
    entry::{Body, ReceiptList},
    id::{EntryHash, MemberId, ShardId, Stem},
    key,
};
use carryall_store::{
    disk::Disk,
    mem_disk::{MemDisk, Survival},
    vault::Vault,
};

use crate::{host::HOME, lab::Lab};

/// Receipts opened so far: opening one takes a while.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    opened: BTreeMap<EntryHash, ReceiptList>,
}

impl Durability {
    /// Checks what would survive a crash of a machine now. Returns what is missing.
    pub(crate) fn check(&mut self, lab: &Lab, machine: usize) -> Result<(), String> {
        let image = lab.machines[machine].disk.crash(Survival::Synced);
        self.check_image(lab, machine, image)
    }

    fn check_image(&mut self, lab: &Lab, machine: usize, image: MemDisk) -> Result<(), String> {
        let here = &lab.machines[machine];
        let image: Arc<dyn Disk> = Arc::new(image);
        let vault = Vault::open(image, Path::new(HOME)).map_err(|error| error.to_string())?;
        let (mut signed, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        let mut hashes = Vec::new();
        let feeds = vault.feeds(&mut |device, _, entry| {
            if device == here.device {
                hashes.push(entry.hash());
                self.fold(lab, &entry, &mut signed, &mut dropped);
            }
        });
        feeds.map_err(|error| error.to_string())?;
        check_feed(lab, machine, &hashes)?;
        let shelf = vault.shelf(0).map_err(|error| error.to_string())?;
        let shelved = shelf.list().into_iter();
        let trashed = shelf.trash().into_iter().map(|(shelved, _)| shelved);
        let here_now: Vec<_> = shelved.chain(trashed).collect();
        let named = (here_now.iter()).map(|it| ((it.owner, it.shard.stem()), it.shard));
        let named: BTreeMap<(MemberId, Stem), ShardId> = named.collect();
        let rotten = (lab.witness.rotten.iter()).filter(|rotten| rotten.0 == here.device);
        let spoilt: BTreeSet<_> = rotten.map(|it| (it.1, it.2.stem())).collect();
        for key in signed.difference(&spoilt) {
            let Some(shard) = named.get(key) else {
                return Err(format!("signed for a shard that is not here: {:?}", key.1));
            };
            shelf
                .scrub(key.0, *shard)
                .map_err(|error| format!("signed for a shard that is not safe: {error}"))?;
        }
        let rotten: BTreeSet<ShardId> = lab.witness.rotten.iter().map(|(_, _, it)| *it).collect();
        let mut kept: BTreeSet<Stem> = here_now.iter().map(|it| it.shard.stem()).collect();
        kept.extend(dropped);
        let stored = lab.witness.stored.get(&here.device).into_iter().flatten();
        for shard in stored.filter(|shard| !rotten.contains(shard)) {
            if !kept.contains(&shard.stem()) {
                return Err(format!(
                    "said that shard {shard} is stored, which it is not"
                ));
            }
        }
        Ok(())
    }

    /// Adds what an entry signs for, and removes what it takes back.
    fn fold(
        &mut self,
        lab: &Lab,
        entry: &carryall_core::entry::SignedEntry,
        signed: &mut BTreeSet<(MemberId, Stem)>,
        dropped: &mut BTreeSet<Stem>,
    ) {
        let Ok(content) = decode::<carryall_core::entry::Entry>("entry", &entry.bytes) else {
            return;
        };
        let Ok(Body::Held(receipts)) = Body::from_entry(&content) else {
            return;
        };
        let owner = lab
            .machines
            .iter()
            .find(|machine| machine.member == receipts.owner);
        let Some(owner) = owner else { return };
        let secret = &owner.secrets.vault.inventory;
        let list = self.opened.entry(entry.hash()).or_insert_with(|| {
            let plain = key::open_with(secret, key::context::RECEIPTS.as_bytes(), &receipts.sealed);
            plain
                .ok()
                .and_then(|plain| decode("receipts", &plain).ok())
                .unwrap_or_default()
        });
        signed.extend(list.held.iter().map(|shard| (receipts.owner, *shard)));
        for shard in &list.dropped {
            signed.remove(&(receipts.owner, *shard));
            dropped.insert(*shard);
        }
    }
}

fn check_feed(lab: &Lab, machine: usize, hashes: &[EntryHash]) -> Result<(), String> {
    let here = &lab.machines[machine];
    if lab.witness.forks.contains(&here.device) {
        return Err("its feed has forked".to_owned());
    }
    for (len, hash) in lab.witness.told.get(&here.device).into_iter().flatten() {
        let at = usize::try_from(*len - 1).unwrap_or(usize::MAX);
        match hashes.get(at) {
            Some(found) if found == hash => {}
            Some(_) => return Err(format!("entry {at} is not the one that others heard of")),
            None => return Err(format!("others heard of entry {at}, which is not durable")),
        }
    }
    Ok(())
}

/// Checks that a started machine still knows every snapshot that its backups reported.
pub(crate) fn check_snapshots(lab: &Lab, machine: usize) -> Result<(), String> {
    let Some(host) = &lab.machines[machine].host else {
        return Ok(());
    };
    let known = host.snapshots().map_err(|error| error.to_string())?;
    for made in lab.witness.snapshots_of(machine) {
        if !known.contains(&made.snapshot) {
            return Err(format!("forgot snapshot {:?}", made.snapshot));
        }
    }
    Ok(())
}
