//! The owner's side: backups, packs of our own, and getting them back.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use carryall_core::{
    event::{Command, Event, TransferError},
    head::{open_head, seal_head},
    id::{PackId, SnapshotId},
    key::VaultKeys,
    placement,
    record::{HeadRecord, PackKind, PackRecord},
    shard,
    time::Timestamp,
};
use carryall_store::{
    backup::{self, BackupReport, Context, Request, Unwatched},
    browse::Library,
    catalogue::CatalogueError,
    index,
    rebuild::{self, RebuildError},
    restore::Plan,
};

use super::{FILES, HOME, Halt, Host, Out};

/// A pack that friends brought.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) pack: PackRecord,
    pub(crate) ciphertext: Vec<u8>,
}

impl Host {
    /// Tells the node which packs the catalogue knows.
    pub(super) fn learn_own(&mut self) -> Result<(), Halt> {
        for (pack, shards) in self.aside.list() {
            self.node.learn_aside(pack, shards);
        }
        let packs = self.catalogue.packs().map_err(|error| Halt::new(&error))?;
        for (ordinal, pack) in packs {
            let sources = self
                .catalogue
                .sources(ordinal)
                .map_err(|error| Halt::new(&error))?;
            let available = self.spool.contains(pack.id) || sources.is_some();
            if pack.kind == PackKind::Large && self.spool.contains(pack.id) {
                self.node.learn_respooled(pack.id);
            }
            self.node.learn_pack(pack, available);
        }
        Ok(())
    }

    /// Makes a catalogue that is new or was lost complete, as far as the spool goes.
    pub(super) fn repair_index(&mut self) -> Result<(), Halt> {
        if !self
            .catalogue
            .needs_rebuild()
            .map_err(|error| Halt::new(&error))?
        {
            return Ok(());
        }
        let Ok(keys) = self.keys() else { return Ok(()) };
        let heads = self.heads();
        if heads.is_empty() {
            let mut batch = self.catalogue.batch().map_err(|error| Halt::new(&error))?;
            batch.complete().map_err(|error| Halt::new(&error))?;
            return batch.commit().map_err(|error| Halt::new(&error));
        }
        index::rebuild(&self.context(&keys), &heads).map_err(|error| Halt::new(&error))?;
        self.learn_own()
    }

    /// A pack can't be made any more. If nobody can rebuild it, its content counts as never saved.
    pub(super) fn forget_if_lost(&mut self, now: Timestamp, pack: PackId) {
        let lost = self.node.packs().filter(|record| record.id == pack);
        let nowhere = self.node.retrace_of(lost, now).packs_nowhere > 0;
        let Ok(keys) = self.keys() else { return };
        // If the disk refuses, the next try to send it finds the same.
        if nowhere && rebuild::forget_broken(&self.context(&keys), pack).is_ok() {
            self.dropped.push(pack);
        }
    }

    /// Publishes the newest snapshot if it was not: a crash came between.
    pub(super) fn publish_newest(&mut self, now: Timestamp) -> Result<(), Halt> {
        let newest = self
            .catalogue
            .snapshots()
            .map_err(|error| Halt::new(&error))?
            .pop();
        let (Some(newest), Some(keys)) = (newest, self.node.vault_keys()) else {
            return Ok(());
        };
        let known = self.heads().iter().any(|head| head.snapshot == newest.id);
        let keys = keys.epoch().and_then(|epoch| keys.head_keys(epoch));
        let Some(keys) = keys.filter(|_| !known) else {
            return Ok(());
        };
        let head = seal_head(&keys, &newest.head).map_err(|error| Halt::new(&error))?;
        self.command(now, Command::Publish { head })
            .map_err(|error| Halt::new(&error))
    }

    /// Returns the heads that our devices published, oldest first.
    pub(crate) fn heads(&self) -> Vec<HeadRecord> {
        let Some(keys) = self.node.vault_keys() else {
            return Vec::new();
        };
        let heads = self.node.circle().heads_of(self.node.member());
        let mut heads: Vec<HeadRecord> = heads
            .filter_map(|head| open_head(keys, &head.sealed).ok())
            .collect();
        heads.sort_by_key(|head| head.time);
        heads
    }

    /// Makes a snapshot of the owner's files and publishes it.
    pub(crate) fn back_up(&mut self, now: Timestamp) -> Result<BackupReport, Halt> {
        let keys = self.keys()?;
        let others = self.node.friends();
        let roots = [PathBuf::from(FILES)];
        let request = Request {
            roots: &roots,
            now,
            data_shards: &|kind| placement::data_shards(kind, others),
            previews: true,
            late_bytes: 64 << 20,
            workers: 0,
        };
        let mut packs = Vec::new();
        let context = self.context(&keys);
        let report = backup::run(&context, &request, &Unwatched, &mut |pack: &PackRecord| {
            packs.push(pack.clone());
        });
        // What was made before a failure is durable, and counts.
        for pack in packs {
            let command = Command::AddPack {
                pack,
                available: true,
            };
            self.command(now, command)
                .map_err(|error| Halt::new(&error))?;
        }
        let report = report.map_err(|error| Halt::new(&error))?;
        if report.is_new {
            let head = report.sealed_head.clone();
            self.command(now, Command::Publish { head })
                .map_err(|error| Halt::new(&error))?;
        }
        Ok(report)
    }

    /// Returns all packs that a snapshot needs to be found, read and restored. Nothing if some of its
    /// content changed before any pack had it.
    pub(crate) fn packs_of(&self, head: &HeadRecord) -> Result<Option<BTreeSet<PackId>>, Halt> {
        let keys = self.keys()?;
        let context = self.context(&keys);
        let library = Library::new(&context).map_err(|error| Halt::new(&error))?;
        let record = library
            .snapshot(head.snapshot)
            .map_err(|error| Halt::new(&error))?;
        let plan = Plan::new(&library, &record, b"/").map_err(|error| Halt::new(&error))?;
        let mut packs: BTreeSet<PackId> = plan.packs().map(|pack| pack.id).collect();
        packs.extend(head.packs.iter().map(|pack| pack.id));
        for segment in &record.segments {
            packs.extend(segment.packs.iter().map(|pack| pack.id));
        }
        let mut trees = Vec::new();
        let mut visit = |_: &[u8], node: &carryall_core::record::TreeNode| {
            if let carryall_core::record::NodeKind::Directory { content } = &node.kind {
                trees.extend(content.iter().map(|chunk| chunk.id));
            }
            true
        };
        library
            .walk(&record, b"/", &mut visit)
            .map_err(|error| Halt::new(&error))?;
        for chunk in trees {
            let place = self
                .catalogue
                .find_chunk(&chunk)
                .map_err(|error| Halt::new(&error))?;
            let pack = place.and_then(|place| self.catalogue.pack(place.pack).transpose());
            let pack = pack.transpose().map_err(|error| Halt::new(&error))?;
            packs.extend(pack.map(|pack| pack.id));
        }
        let lost = library
            .lost_files(&record)
            .map_err(|error| Halt::new(&error))?;
        Ok((lost == 0).then_some(packs))
    }

    pub(super) fn keys(&self) -> Result<VaultKeys, Halt> {
        self.node
            .vault_keys()
            .cloned()
            .ok_or_else(|| Halt::because("the vault's keys are not here"))
    }

    pub(super) fn context<'a>(&'a self, keys: &'a VaultKeys) -> Context<'a> {
        Context {
            disk: &self.disk,
            home: Path::new(HOME),
            keys,
            catalogue: &self.catalogue,
            spool: &self.spool,
        }
    }

    /// Makes a shard of a pack of our own.
    pub(super) fn make_shard(&mut self, pack: PackId, index: u8) -> Result<Vec<u8>, TransferError> {
        let keys = self.keys().map_err(|_| TransferError::Disk)?;
        let made = self.rebuilder.shard(&self.context(&keys), pack, index);
        match made {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(
                RebuildError::SourceChanged(_) | RebuildError::Absent(_) | RebuildError::Unknown(_),
            ) => {
                self.out.push(Out::Answer(Event::PackBroken { pack }));
                Err(TransferError::SourceChanged)
            }
            Err(_) => Err(TransferError::Disk),
        }
    }

    /// Makes a pack of the shards that are here.
    fn rebuild(&mut self, pack: &PackRecord) -> Option<Vec<u8>> {
        let mut shards = self.aside.get(pack).unwrap_or_default();
        shards.extend(self.fetched.remove(&pack.id).unwrap_or_default());
        let shards: Vec<(u8, &[u8])> = shards
            .iter()
            .map(|(index, bytes)| (*index, bytes.as_slice()))
            .collect();
        let rebuilt = shard::rebuild(&pack.coding, &shards, pack.bytes as usize).ok();
        rebuilt.filter(|bytes| shard::shard_id(bytes).0 == pack.id.0)
    }

    /// Nobody in reach has more of a pack.
    pub(super) fn set_aside(&mut self, pack: PackId) {
        let shards = self.fetched.remove(&pack).unwrap_or_default();
        let good = self.aside.put(pack, &shards).is_ok();
        self.out.push(Out::Answer(Event::SetAside { pack, good }));
    }

    /// All shards of a pack are here for a repair.
    pub(super) fn respool(&mut self, pack: &PackRecord) {
        let rebuilt = self.rebuild(pack);
        let kept = rebuilt.is_some_and(|bytes| {
            let put = self.spool.put(pack.id, &bytes);
            put.and_then(|()| self.spool.sync()).is_ok()
        });
        self.out.push(Out::Answer(Event::Respooled {
            pack: pack.id,
            good: kept,
        }));
    }

    /// All shards of a pack are here.
    pub(super) fn pack_fetched(&mut self, pack: &PackRecord) {
        let rebuilt = self.rebuild(pack);
        let good = rebuilt.is_some();
        if let Some(ciphertext) = rebuilt {
            self.arrivals.push(Arrival {
                pack: pack.clone(),
                ciphertext,
            });
        }
        self.out.push(Out::Answer(Event::PackUsed {
            pack: pack.id,
            good,
        }));
    }

    /// Returns the snapshots that the catalogue knows.
    pub(crate) fn snapshots(&self) -> Result<Vec<SnapshotId>, CatalogueError> {
        Ok(self
            .catalogue
            .snapshots()?
            .into_iter()
            .map(|row| row.id)
            .collect())
    }
}
