//! The check: read our own disk again, have friends prove what they hold, remake the index.

use std::{collections::BTreeSet, time::Duration};

use carryall_core::{
    drill::Budget,
    event::{Command, Event, Notice},
    id::{MemberId, PackId, ShardId},
};
use carryall_store::{
    drill::DrillReport,
    shelf::{ShelfError, Shelved},
    spool::SpoolError,
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, timeout_at},
};

use super::{Engine, EngineError, blocking, drill::Wish};
use crate::{
    api::{
        Failure,
        check::{CheckLine, CheckRequest, CheckSummary, DrillSummary},
        path,
    },
    driver::World,
    exit::Exit,
};

/// How long to wait for the next proof before those who owe one count as out of reach.
const PROOF_PATIENCE: Duration = Duration::from_secs(5);
/// Lines that may wait for a slow reader.
const LINES_WAITING_MAX: usize = 16;

type Lines = mpsc::Sender<CheckLine>;

/// What our own disk holds.
#[derive(Debug, Default)]
struct Inspection {
    shelf_good: u64,
    shelf_bad: Vec<(MemberId, ShardId)>,
    spool_bad: Vec<PackId>,
}

/// What friends showed.
#[derive(Debug, Default)]
struct Audit {
    proved: u64,
    not_proved: u64,
}

impl Engine {
    /// Checks our disk and has friends prove what they hold for us.
    pub async fn check(
        &self,
        request: CheckRequest,
    ) -> Result<mpsc::Receiver<CheckLine>, EngineError> {
        let world = self.world().await?;
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let line = match engine.run_check(world, request, &lines).await {
                Ok(summary) => CheckLine::Summary(summary),
                Err(error) => CheckLine::Failure(Failure::from(&error)),
            };
            // Whoever asked may have gone.
            let _ = lines.send(line).await;
        });
        Ok(receiver)
    }

    async fn run_check(
        &self,
        world: World,
        request: CheckRequest,
        lines: &Lines,
    ) -> Result<CheckSummary, EngineError> {
        if request.rebuild_index {
            say(lines, "Making the index anew ...").await;
            self.rebuild_index().await?;
        }
        say(lines, "Reading what is kept here ...").await;
        let working = world.clone();
        let found = blocking(move || inspect(&working)).await?;
        say(lines, "Asking friends to prove what they hold ...").await;
        let audit = self.audit(&world).await?;
        let drill = if request.drill {
            say(lines, "Bringing some files back from friends alone ...").await;
            Some(self.drill(Budget::default(), Wish::Owner).await?)
        } else {
            None
        };
        let drill = drill.map(summary);
        let (headline, _) = self.verdict().await?;
        let mut findings = Vec::new();
        for (_, shard) in &found.shelf_bad {
            findings.push(format!(
                "shard {} of a friend is damaged here and was removed; its owner will be told",
                shard.short()
            ));
        }
        for pack in &found.spool_bad {
            findings.push(format!(
                "pack {} is damaged in the spool and was removed",
                pack.short()
            ));
        }
        if audit.not_proved > 0 {
            findings.push(format!(
                "{} shards could not be proved by friends",
                audit.not_proved
            ));
        }
        for file in drill.iter().flat_map(|drill| &drill.failed) {
            findings.push(format!(
                "{file} did not come back from friends as it was saved"
            ));
        }
        let damaged = !findings.is_empty();
        Ok(CheckSummary {
            shelf_good: found.shelf_good,
            shelf_bad: found.shelf_bad.len() as u64,
            proved: audit.proved,
            not_proved: audit.not_proved,
            index_rebuilt: request.rebuild_index,
            drill,
            findings,
            headline,
            exit: if damaged { Exit::Failed } else { Exit::Done },
        })
    }

    /// Has friends in reach prove what they hold, until none of them shows anything more.
    async fn audit(&self, world: &World) -> Result<Audit, EngineError> {
        let mut audit = Audit::default();
        let look = |node: &mut carryall_core::node::Node, now| {
            node.members(now)
                .iter()
                .any(|member| member.bytes_held_for_me > 0)
        };
        if world.net.is_none() || !world.inbox.look(look).await? {
            return Ok(audit);
        }
        let mut notices = self.notices();
        self.command(Command::Audit).await?;
        loop {
            let deadline = Instant::now() + PROOF_PATIENCE;
            match timeout_at(deadline, notices.recv()).await {
                Ok(Ok(Notice::Proved { shards, .. })) => audit.proved += u64::from(shards),
                Ok(Ok(Notice::NotProved { .. })) => audit.not_proved += 1,
                Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return Err(EngineError::Gone),
                Err(_) => return Ok(audit),
            }
        }
    }
}

fn summary(report: DrillReport) -> DrillSummary {
    DrillSummary {
        files: report.files,
        bytes: report.bytes,
        failed: report.failed.iter().map(|it| path::to_text(it)).collect(),
    }
}

async fn say(lines: &Lines, message: &str) {
    let message = message.to_owned();
    let _ = lines.send(CheckLine::Progress { message }).await;
}

/// Reads every shard and every spooled pack. What is damaged is removed, since it can be had again;
/// the core hears of it.
fn inspect(world: &World) -> Result<Inspection, EngineError> {
    let store = &world.store;
    let mut found = Inspection::default();
    let mut bad: BTreeSet<(MemberId, ShardId)> = store.shelf.damaged().into_iter().collect();
    for Shelved { owner, shard, .. } in store.shelf.list() {
        match store.shelf.scrub(owner, shard) {
            Ok(()) => found.shelf_good += 1,
            Err(ShelfError::Damaged(_) | ShelfError::Missing(_)) => {
                bad.insert((owner, shard));
            }
            Err(error) => return Err(error.into()),
        }
    }
    for (owner, shard) in bad {
        store.shelf.remove(owner, shard)?;
        world.inbox.tell(Event::ShardLost { owner, shard });
        found.shelf_bad.push((owner, shard));
    }
    for (pack, _) in store.spool.list() {
        match store.spool.get(pack) {
            Err(SpoolError::Damaged(_)) => {
                store.spool.remove(pack)?;
                found.spool_bad.push(pack);
            }
            got => drop(got?),
        }
    }
    Ok(found)
}
