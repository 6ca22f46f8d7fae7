//! Lists of snapshots and of what is in them.

use carryall_core::{
    id::SnapshotId,
    record::{NodeKind, SnapshotRecord, TreeNode},
};
use carryall_store::browse::Library;
use tokio::sync::mpsc;

use super::{Engine, EngineError, backup::context, blocking, restore::PATIENCE};
use crate::{
    api::{
        Failure, path,
        snapshot::{ListEntry, ListKind, ListLine, ListQuery, Snapshot, Snapshots},
    },
    store::Store,
};

/// Lines that may wait for a slow reader before the walk waits for it.
const LINES_WAITING_MAX: usize = 256;

impl Engine {
    /// Returns all snapshots, oldest first.
    pub async fn snapshots(&self) -> Result<Snapshots, EngineError> {
        let world = self.world().await?;
        self.recall_if_empty().await?;
        let look =
            |node: &mut carryall_core::node::Node, _| (node.vault_keys().cloned(), node.device());
        let (keys, device) = world.inbox.look(look).await?;
        let keys = keys.ok_or(EngineError::NoKeys)?;
        blocking(move || {
            let context = context(&world.store, &keys);
            let library = Library::new(&context)?;
            let mut snapshots = Vec::new();
            for head in library.snapshots()? {
                // Without its record a snapshot still has a place in the list.
                let record = library.snapshot(head.snapshot).ok();
                let roots = record.iter().flat_map(|record| &record.roots);
                snapshots.push(Snapshot {
                    id: head.snapshot,
                    time: head.time,
                    device,
                    files: head.files,
                    bytes: head.bytes,
                    roots: roots.map(|root| path::to_text(&root.path)).collect(),
                    unread: record.as_ref().map_or(0, |record| record.unread),
                });
            }
            Ok(Snapshots { snapshots })
        })
        .await
    }

    /// Lists what is at a path of a snapshot.
    pub async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<ListLine>, EngineError> {
        let world = self.world().await?;
        let keys = world
            .inbox
            .look(|node, _| node.vault_keys().cloned())
            .await?;
        let keys = keys.ok_or(EngineError::NoKeys)?;
        let at = path::to_bytes(&query.path);
        let id = self.find_snapshot(&query.snapshot).await?;
        // Finding the record first makes a wrong path an error, not a stream with one.
        let engine = self.clone();
        let record = engine.record(id).await?;
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            let context = context(&world.store, &keys);
            let listed = Library::new(&context)
                .map_err(EngineError::from)
                .and_then(|library| list(&library, &record, &at, query.recursive, &lines));
            if let Err(error) = listed {
                // Whoever asked may have gone.
                let _ = lines.blocking_send(ListLine::Failure(Failure::from(&error)));
            }
        });
        Ok(receiver)
    }

    /// Learns what friends have, where nothing is known: a recovered device's first question.
    async fn recall_if_empty(&self) -> Result<(), EngineError> {
        let store = self.world().await?.store;
        if blocking(move || Ok(store.catalogue.snapshots()?.is_empty())).await? {
            self.recall(PATIENCE).await?;
        }
        Ok(())
    }

    /// Finds a snapshot by a unique beginning of its id; the newest for `latest` or nothing.
    pub(super) async fn find_snapshot(&self, wanted: &str) -> Result<SnapshotId, EngineError> {
        self.recall_if_empty().await?;
        let store = self.world().await?.store;
        let wanted = wanted.trim().to_ascii_lowercase();
        blocking(move || find(&store, &wanted)).await
    }
}

fn find(store: &Store, wanted: &str) -> Result<SnapshotId, EngineError> {
    let snapshots = store.catalogue.snapshots()?;
    let newest = snapshots.last().ok_or(EngineError::NoSnapshot)?;
    if wanted.is_empty() || wanted == "latest" {
        return Ok(newest.id);
    }
    let ids = snapshots.iter().map(|row| row.id);
    let mut found: Vec<SnapshotId> = ids
        .filter(|id| id.to_string().starts_with(wanted))
        .collect();
    found.dedup();
    match found[..] {
        [id] => Ok(id),
        _ => Err(EngineError::UnknownSnapshot(wanted.to_owned())),
    }
}

fn list(
    library: &Library<'_>,
    record: &SnapshotRecord,
    at: &[u8],
    recursive: bool,
    lines: &mpsc::Sender<ListLine>,
) -> Result<(), EngineError> {
    let say = |path: &[u8], node: &TreeNode| {
        lines
            .blocking_send(ListLine::Entry(entry(path, node)))
            .is_ok()
    };
    if recursive {
        library.walk(record, at, &mut |path, node| say(path, node))?;
        return Ok(());
    }
    let names: Vec<&[u8]> = at
        .split(|byte| *byte == b'/')
        .filter(|it| !it.is_empty())
        .collect();
    let is_folder = match library.select(record, at)?.as_slice() {
        [node] => matches!(node.kind, NodeKind::Directory { .. }),
        _ => true,
    };
    let above = if is_folder {
        &names[..]
    } else {
        &names[..names.len().saturating_sub(1)]
    };
    for node in library.list(record, at)? {
        let mut path = Vec::new();
        for name in above.iter().copied().chain([node.name.as_slice()]) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if !say(&path, &node) {
            break;
        }
    }
    Ok(())
}

pub(super) fn entry(at: &[u8], node: &TreeNode) -> ListEntry {
    let (kind, bytes, preview, target) = match &node.kind {
        NodeKind::File { bytes, preview, .. } => (ListKind::File, *bytes, *preview, None),
        NodeKind::Directory { .. } => (ListKind::Directory, 0, None, None),
        NodeKind::Symlink { target } => (ListKind::Symlink, 0, None, Some(path::to_text(target))),
    };
    ListEntry {
        path: path::to_text(at),
        kind,
        bytes,
        preview: preview.map(|preview| preview.bytes),
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime_ms: i64::try_from(node.mtime_ns.div_euclid(1_000_000)).unwrap_or_default(),
        target,
    }
}
