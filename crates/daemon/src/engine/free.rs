//! Freeing: local copies of files go, once the core says that friends hold enough of them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use carryall_core::{
    event::Command,
    free::Refusal,
    id::{MemberId, PackId},
    node::Node,
    time::{Span, Timestamp},
};
use carryall_store::{
    free::{self, Folder, Found, Stays},
    freed::Freed,
};

use super::{Engine, EngineError, absolute, backup::context, blocking};
use crate::{
    api::{
        free::{FreeFolder, FreeReport, FreeRequest, Kept},
        path,
    },
    exit::Exit,
    store::Store,
};

/// What the core said at one moment.
#[derive(Debug)]
struct Sight {
    verdicts: BTreeMap<PackId, Result<(), Refusal>>,
    names: BTreeMap<MemberId, String>,
    now: Timestamp,
}

impl Sight {
    fn of(node: &Node, now: Timestamp) -> Self {
        let verdict = |pack: PackId| (pack, node.may_free(pack, now));
        let members = node.members(now).into_iter();
        Self {
            verdicts: node.packs().map(|pack| verdict(pack.id)).collect(),
            names: members.map(|it| (it.member, it.petname)).collect(),
            now,
        }
    }

    /// Returns why files stay, to follow "they stay, since".
    fn reason(&self, why: Stays) -> String {
        match why {
            Stays::Changed => "they changed after the last backup".to_owned(),
            Stays::Linked => "other names lead to them, so removing one gives no room".to_owned(),
            Stays::Failed(kind) => format!("the system refuses: {kind}"),
            Stays::Unpacked => "not all of them is packed: back up again".to_owned(),
            Stays::Refused(refusal) => self.refusal(refusal),
        }
    }

    fn refusal(&self, refusal: Refusal) -> String {
        let name = |member: MemberId| {
            let known = self.names.get(&member).cloned();
            known.unwrap_or_else(|| member.short())
        };
        match refusal {
            Refusal::Unknown => "nothing is known of where they are".to_owned(),
            Refusal::FewFriends { others: 0 } => "nobody else is in your circle".to_owned(),
            Refusal::FewFriends { .. } => {
                "with a single friend the copy here is the second one".to_owned()
            }
            Refusal::Thin { hold: 0, .. } => "no friend has proved to hold them".to_owned(),
            Refusal::Thin { hold, want } => {
                format!("only {hold} of {want} friends have proved to hold them")
            }
            Refusal::Needed => "too few of the friends who hold them could be spared".to_owned(),
            Refusal::Stale { member, proved } => {
                let days = self.now.since(proved).0 / Span::days(1).0;
                format!("{}'s last proof is {days} days old", name(member))
            }
            Refusal::Unproved { member } => {
                format!("{} has not proved yet to hold them", name(member))
            }
            Refusal::Refuted { member } => {
                format!("{} could not show what was there", name(member))
            }
            Refusal::Gone { member } => {
                format!("{} was away for longer than ever", name(member))
            }
        }
    }

    fn report(&self, folders: &BTreeMap<Vec<u8>, Folder>, dry_run: bool) -> FreeReport {
        let mut report = FreeReport {
            dry_run,
            ..FreeReport::default()
        };
        let mut any_refused = false;
        for (at, folder) in folders {
            let mut kept = Vec::new();
            for (why, staying) in &folder.stays {
                any_refused |= matches!(why, Stays::Refused(_));
                report.files_kept += staying.tally.files;
                report.bytes_kept += staying.tally.bytes;
                kept.push(Kept {
                    reason: self.reason(*why),
                    files: staying.tally.files,
                    bytes: staying.tally.bytes,
                    first: staying.first.iter().map(|it| path::to_text(it)).collect(),
                });
            }
            report.files += folder.free.files;
            report.bytes += folder.free.bytes;
            report.files_freed += folder.freed.files;
            report.bytes_freed += folder.freed.bytes;
            report.folders.push(FreeFolder {
                path: path::to_text(at),
                files: folder.free.files,
                bytes: folder.free.bytes,
                kept,
                files_freed: folder.freed.files,
                bytes_freed: folder.freed.bytes,
                unsaved: folder.unsaved,
            });
        }
        report.exit = match (report.files_kept, report.files) {
            (0, _) => Exit::Done,
            (_, 0) if any_refused => Exit::NotYetSafe,
            _ => Exit::Partial,
        };
        report
    }
}

impl Engine {
    /// Frees the local copies of files of which friends hold enough.
    pub async fn free(&self, request: FreeRequest) -> Result<FreeReport, EngineError> {
        let _turn = self.turn()?;
        let at = place(&request.path)?;
        let world = self.world().await?;
        let store = world.store.clone();
        if request.let_go {
            return blocking(move || let_go(&store, &at)).await;
        }
        let keys = world.inbox.look(|node, _| node.vault_keys().cloned());
        let keys = keys.await?.ok_or(EngineError::NoKeys)?;
        let sight = world.inbox.look(|node, now| Sight::of(node, now)).await?;
        let (looking, seeing) = (store.clone(), keys.clone());
        let (sight, found) = blocking(move || {
            let may_go = |pack: PackId| {
                let verdict = sight.verdicts.get(&pack).copied();
                verdict.unwrap_or(Err(Refusal::Unknown))
            };
            let found = free::find(&context(&looking, &seeing), &at, &may_go)?;
            Ok((sight, found))
        })
        .await?;
        if request.dry_run || found.is_empty() {
            return Ok(sight.report(&found.folders, request.dry_run));
        }
        // Much may have happened while files were looked at: the core judges again, and knows from
        // then on that it can't make these packs.
        let free = Command::Free {
            packs: found.packs.iter().copied().collect(),
            unmade: found.unmade.iter().copied().collect(),
        };
        self.command(free).await?;
        let remove = move |found: Found| Ok(found.remove(&context(&store, &keys))?);
        let folders = blocking(move || remove(found)).await?;
        Ok(sight.report(&folders, false))
    }
}

/// Takes what was freed at a path off the list: the next snapshot takes it for deleted.
fn let_go(store: &Store, at: &Path) -> Result<FreeReport, EngineError> {
    let mut freed = store.vault.freed()?;
    let mut gone = Freed::default();
    for (path, node) in freed.take(at.as_os_str().as_encoded_bytes()) {
        gone.insert(path, node);
    }
    if !gone.is_empty() {
        store.vault.keep_freed(&freed)?;
    }
    Ok(FreeReport {
        files_freed: gone.len() as u64,
        bytes_freed: gone.bytes(),
        ..FreeReport::default()
    })
}

/// Returns the path that a text names, as backups know it.
fn place(text: &str) -> Result<PathBuf, EngineError> {
    let named = absolute(text)?;
    // What was freed as a whole is not there any more.
    Ok(fs::canonicalize(&named).unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_sentence() {
        let member = MemberId([7; 32]);
        let now = Timestamp(0) + Span::days(50);
        let sight = Sight {
            verdicts: BTreeMap::new(),
            names: BTreeMap::from([(member, "Bo".to_owned())]),
            now,
        };
        let proved = Timestamp(0) + Span::days(10);
        for (refusal, part) in [
            (Refusal::Unknown, "nothing is known"),
            (Refusal::FewFriends { others: 0 }, "nobody else"),
            (Refusal::FewFriends { others: 1 }, "single friend"),
            (Refusal::Thin { hold: 0, want: 4 }, "no friend"),
            (Refusal::Thin { hold: 2, want: 4 }, "only 2 of 4 friends"),
            (Refusal::Needed, "could be spared"),
            (
                Refusal::Stale { member, proved },
                "Bo's last proof is 40 days old",
            ),
            (Refusal::Unproved { member }, "Bo has not proved"),
            (Refusal::Refuted { member }, "Bo could not show"),
            (Refusal::Gone { member }, "Bo was away"),
        ] {
            let sentence = sight.reason(Stays::Refused(refusal));
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
