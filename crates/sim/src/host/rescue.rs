//! A rescue: what a recovered device does, step by step, to get snapshots back from friends.
//!
//! It does what the daemon's `recover` and `restore` do: learn the index from the heads, bring the
//! metadata that is missing, plan, bring the packs, write.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use carryall_core::{
    event::Command,
    id::SnapshotId,
    pack::OpenPack,
    record::{HeadRecord, PackKind, PackRecord},
    time::Timestamp,
};
use carryall_store::{
    browse::{BrowseError, Library},
    index,
    restore::{Plan, RestoreError, Restorer},
};

use super::{Arrival, Halt, Host};

/// One snapshot on its way back.
#[derive(Debug)]
enum Stage {
    /// Its packs are not known yet.
    Wanted,
    /// Its files are being written.
    Writing(Box<Restorer>, usize),
    /// It is here.
    Done,
}

/// Snapshots on their way back, each into a directory of its own.
#[derive(Debug)]
pub(crate) struct Rescue {
    directory: PathBuf,
    stages: BTreeMap<SnapshotId, Stage>,
}

impl Rescue {
    /// Wants snapshots back, below a directory of the real file system.
    pub(crate) fn new(directory: &Path, wanted: impl Iterator<Item = SnapshotId>) -> Self {
        let directory = directory.to_owned();
        Self {
            directory,
            stages: wanted.map(|snapshot| (snapshot, Stage::Wanted)).collect(),
        }
    }

    /// Returns the directory of a snapshot.
    pub(crate) fn target(&self, snapshot: SnapshotId) -> PathBuf {
        self.directory.join(snapshot.to_string())
    }

    /// Tells whether all are here.
    pub(crate) fn is_done(&self) -> bool {
        self.stages
            .values()
            .all(|stage| matches!(stage, Stage::Done))
    }
}

impl Host {
    /// Goes as far as possible with what is here, and asks friends for the rest.
    pub(crate) fn go_on(&mut self, now: Timestamp, rescue: &mut Rescue) -> Result<(), Halt> {
        self.take_arrivals(rescue)?;
        let busy = self.node.wanted_packs().next().is_some();
        if busy || rescue.is_done() || self.node.vault_keys().is_none() {
            return Ok(());
        }
        let wanted: Vec<SnapshotId> = rescue
            .stages
            .iter()
            .filter(|(_, stage)| matches!(stage, Stage::Wanted))
            .map(|(snapshot, _)| *snapshot)
            .collect();
        for snapshot in wanted {
            // A head that is not here yet may come with the next friend's feeds.
            let Some(head) = self
                .heads()
                .into_iter()
                .find(|head| head.snapshot == snapshot)
            else {
                continue;
            };
            let target = rescue.target(snapshot);
            match self.plan(&head, &target)? {
                Ok(restorer) => {
                    let packs = restorer.needed();
                    let left = packs.len();
                    let stage = Stage::Writing(Box::new(restorer), left);
                    rescue.stages.insert(snapshot, stage);
                    finish(rescue)?;
                    if left > 0 {
                        return self.fetch(now, packs);
                    }
                }
                Err(absent) => return self.fetch(now, absent),
            }
        }
        Ok(())
    }

    fn fetch(&mut self, now: Timestamp, packs: Vec<PackRecord>) -> Result<(), Halt> {
        self.command(now, Command::Fetch { packs })
            .map_err(|error| Halt::new(&error))
    }

    /// Learns the index from a head and plans the restore. Returns the metadata packs that have to come
    /// first, if any.
    fn plan(
        &self,
        head: &HeadRecord,
        target: &Path,
    ) -> Result<Result<Restorer, Vec<PackRecord>>, Halt> {
        let keys = self.keys()?;
        let context = self.context(&keys);
        let learnt = index::learn(&context, head).map_err(|error| Halt::new(&error))?;
        if !learnt.is_usable {
            return Ok(Err(learnt.absent));
        }
        let library = Library::new(&context).map_err(|error| Halt::new(&error))?;
        let planned = library
            .snapshot(head.snapshot)
            .map_err(RestoreError::from)
            .and_then(|record| Plan::new(&library, &record, b"/"));
        match planned {
            Ok(plan) => Restorer::new(plan, target, false, &keys.chunk_key())
                .map(Ok)
                .map_err(|error| Halt::new(&error)),
            Err(RestoreError::Browse(BrowseError::Absent(packs))) => Ok(Err(packs)),
            Err(error) => Err(Halt::new(&error)),
        }
    }

    /// Uses the packs that friends brought.
    fn take_arrivals(&mut self, rescue: &mut Rescue) -> Result<(), Halt> {
        for Arrival { pack, ciphertext } in std::mem::take(&mut self.arrivals) {
            let keys = self.keys()?;
            if pack.kind == PackKind::Metadata {
                index::keep(&self.context(&keys), pack.id, &ciphertext)
                    .map_err(|error| Halt::new(&error))?;
                self.spool.sync().map_err(|error| Halt::new(&error))?;
                continue;
            }
            let pack_keys = keys
                .pack_keys(pack.epoch)
                .ok_or_else(|| Halt::because("a key is missing"))?;
            let opened =
                OpenPack::open(&pack_keys, ciphertext).map_err(|error| Halt::new(&error))?;
            for stage in rescue.stages.values_mut() {
                if let Stage::Writing(restorer, left) = stage {
                    match restorer.feed(&pack.id, &keys.chunk_key(), &opened) {
                        Ok(()) => *left -= 1,
                        Err(RestoreError::NotAsked(_)) => {}
                        Err(error) => return Err(Halt::new(&error)),
                    }
                }
            }
            finish(rescue)?;
        }
        Ok(())
    }
}

/// Ends the snapshots of which every pack came.
fn finish(rescue: &mut Rescue) -> Result<(), Halt> {
    for stage in rescue.stages.values_mut() {
        if let Stage::Writing(_, 0) = stage
            && let Stage::Writing(restorer, _) = std::mem::replace(stage, Stage::Done)
        {
            let report = restorer.finish();
            if let Some(failed) = report.failed.first() {
                return Err(Halt(format!(
                    "{} of the files failed: {failed}",
                    report.failures
                )));
            }
        }
    }
    Ok(())
}
