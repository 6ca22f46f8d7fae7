//! Pruning: which packs no snapshot needs any more. Mark and sweep over snapshots, trees and content.
//!
//! What only part of is needed stays whole: packing its rest anew would cost everybody a transfer, and
//! would have to be thought of as new until friends have proved it. What was packed after the newest
//! snapshot belongs to a backup that was cut short, and stays for the next one.
//!
//! Nobody may make a backup meanwhile: it would take chunks for saved whose packs go.

use std::collections::{BTreeMap, BTreeSet};

use carryall_core::{
    id::{ChunkId, PackId},
    record::{ChunkRef, NodeKind, PackRecord},
    time::Timestamp,
};

use crate::{
    backup::{
        Context,
        state::{generation, set_generation},
    },
    browse::{BrowseError, Library},
    catalogue::CatalogueError,
    freed::Freed,
};

/// What a vault could do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unneeded {
    /// Packs of which no snapshot needs anything.
    pub packs: Vec<PackRecord>,
    /// How many packs stay.
    pub kept: u64,
    /// Bytes of content in packs that stay, which no snapshot needs.
    pub dead_bytes: u64,
}

/// Finds what no listed snapshot needs. Without a snapshot, everything is needed.
///
/// # Errors
/// [`BrowseError::Absent`] or [`BrowseError::Lost`] if a snapshot can't be looked at as a whole: then
/// nothing may go.
pub fn find(context: &Context<'_>) -> Result<Unneeded, BrowseError> {
    let mut marked = Marked::new(context)?;
    let heads = marked.library.snapshots()?;
    let Some(newest) = heads.iter().map(|head| head.time).max() else {
        let kept = context.catalogue.packs()?.len() as u64;
        return Ok(Unneeded {
            kept,
            ..Unneeded::default()
        });
    };
    for head in &heads {
        marked.mark(&head.content)?;
        marked.packs.extend(head.packs.iter().map(|pack| pack.id));
        let record = marked.library.snapshot(head.snapshot)?;
        for segment in &record.segments {
            marked.mark(&segment.content)?;
            marked
                .packs
                .extend(segment.packs.iter().map(|pack| pack.id));
        }
        for root in &record.roots {
            marked.mark_node(&root.node.kind)?;
        }
    }
    // A snapshot may have been made while their folder could not be read.
    for (_, node) in Freed::read(context.disk, context.home)?.files() {
        marked.mark_node(&node.kind)?;
    }
    marked.sweep(context, newest)
}

/// Forgets packs, and every chunk that was found in them. The next snapshot's index does without.
pub fn drop_packs(context: &Context<'_>, packs: &[PackId]) -> Result<(), CatalogueError> {
    let next = generation(&context.catalogue.view()?)? + 1;
    let mut batch = context.catalogue.batch()?;
    for pack in packs {
        batch.remove_pack(*pack)?;
    }
    set_generation(&mut batch, next)?;
    batch.commit()
}

/// What is needed.
struct Marked<'a> {
    library: Library<'a>,
    /// By ordinal of the pack, the chunks in it.
    chunks: BTreeMap<u32, BTreeSet<ChunkId>>,
    packs: BTreeSet<PackId>,
    /// Trees that were looked at: snapshots share most of them.
    trees: BTreeSet<Vec<ChunkId>>,
}

impl<'a> Marked<'a> {
    fn new(context: &Context<'a>) -> Result<Self, BrowseError> {
        Ok(Self {
            library: Library::new(context)?,
            chunks: BTreeMap::new(),
            packs: BTreeSet::new(),
            trees: BTreeSet::new(),
        })
    }

    fn mark(&mut self, content: &[ChunkRef]) -> Result<(), BrowseError> {
        for chunk in content {
            // What no pack has was lost before anybody had it; its snapshot says so.
            if let Some(ordinal) = self.library.ordinal_of(&chunk.id)? {
                self.chunks.entry(ordinal).or_default().insert(chunk.id);
            }
        }
        Ok(())
    }

    fn mark_node(&mut self, kind: &NodeKind) -> Result<(), BrowseError> {
        let mut waiting = vec![kind.clone()];
        while let Some(kind) = waiting.pop() {
            match kind {
                NodeKind::File {
                    content, preview, ..
                } => {
                    self.mark(&content)?;
                    self.mark(preview.as_slice())?;
                }
                NodeKind::Symlink { .. } => {}
                NodeKind::Directory { content } => {
                    let tree: Vec<ChunkId> = content.iter().map(|chunk| chunk.id).collect();
                    if !self.trees.insert(tree) {
                        continue;
                    }
                    self.mark(&content)?;
                    let nodes = self.library.tree(&content)?.nodes;
                    waiting.extend(nodes.into_iter().map(|node| node.kind));
                }
            }
        }
        Ok(())
    }

    fn sweep(self, context: &Context<'_>, newest: Timestamp) -> Result<Unneeded, BrowseError> {
        let view = context.catalogue.view()?;
        let mut unneeded = Unneeded::default();
        for (ordinal, pack) in view.packs()? {
            let live = self.chunks.get(&ordinal);
            let named = self.packs.contains(&pack.id);
            if live.is_none() && !named && pack.made <= newest {
                unneeded.packs.push(pack);
                continue;
            }
            unneeded.kept += 1;
            if named || pack.made > newest {
                continue;
            }
            let contents = view.contents(ordinal)?.unwrap_or_default();
            let dead = contents
                .iter()
                .filter(|chunk| live.is_none_or(|live| !live.contains(&chunk.id)));
            unneeded.dead_bytes += dead.map(|chunk| u64::from(chunk.stored_bytes)).sum::<u64>();
        }
        Ok(unneeded)
    }
}
