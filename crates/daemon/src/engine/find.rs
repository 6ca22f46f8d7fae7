//! Finding names in snapshots, and what differs between two of them.

use std::{collections::BTreeSet, sync::Arc};

use carryall_core::{id::SnapshotId, record::SnapshotRecord};
use carryall_store::{browse::Library, difference::Difference};
use globset::{GlobBuilder, GlobMatcher};
use tokio::sync::mpsc;

use super::{Engine, EngineError, blocking, restore::Job, snapshots::entry};
use crate::{
    api::{
        Failure, path,
        snapshot::{DiffLine, DiffQuery, FindLine, FindQuery, ListEntry},
    },
    engine::backup::context,
};

/// Lines that may wait for a slow reader.
const LINES_WAITING_MAX: usize = 64;

impl Engine {
    /// Finds names in one snapshot, or in all of them.
    pub async fn find(&self, query: FindQuery) -> Result<mpsc::Receiver<FindLine>, EngineError> {
        let matcher = Arc::new(matcher(&query.pattern)?);
        let job = self.job(None).await?;
        let only = match query.snapshot.as_str() {
            "" => None,
            snapshot => Some(self.find_snapshot(snapshot).await?),
        };
        let store = job.world.store.clone();
        let rows = blocking(move || Ok(store.catalogue.snapshots()?)).await?;
        let rows = rows.into_iter().rev();
        let rows = rows.filter(move |row| only.is_none_or(|only| row.id == only));
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            for (snapshot, time) in rows.map(|row| (row.id, row.head.time)) {
                let found = engine.names(&job, snapshot, matcher.clone()).await;
                let entries = match found {
                    Ok(entries) => entries,
                    Err(error) => {
                        // Whoever asked may have gone.
                        let _ = lines.send(FindLine::Failure(Failure::from(&error))).await;
                        return;
                    }
                };
                for entry in entries {
                    if !seen.insert((entry.path.clone(), entry.bytes, entry.mtime_ms)) {
                        continue;
                    }
                    let line = FindLine::Found {
                        snapshot,
                        time,
                        entry,
                    };
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    async fn names(
        &self,
        job: &Job,
        snapshot: SnapshotId,
        matcher: Arc<Matcher>,
    ) -> Result<Vec<ListEntry>, EngineError> {
        let read = move |library: &Library<'_>| {
            let record = library.snapshot(snapshot)?;
            let mut found = Vec::new();
            library.walk(&record, b"/", &mut |at, node| {
                if matcher.fits(at) {
                    found.push(entry(at, node));
                }
                true
            })?;
            Ok(found)
        };
        self.browse(job, read).await
    }

    /// Tells what differs between two snapshots.
    pub async fn diff(&self, query: DiffQuery) -> Result<mpsc::Receiver<DiffLine>, EngineError> {
        let job = self.job(None).await?;
        let to = self.find_snapshot(&query.to).await?;
        let second = self.record(to).await?;
        let from = match (query.from.as_str(), second.parent) {
            ("", Some(parent)) => parent,
            ("", None) => return Err(EngineError::NoParent),
            (from, _) => self.find_snapshot(from).await?,
        };
        let first = self.record(from).await?;
        let at = path::to_bytes(&query.path);
        let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = differences(&job, (&first, &second), &at, &lines) {
                // Whoever asked may have gone.
                let _ = lines.blocking_send(DiffLine::Failure(Failure::from(&error)));
            }
        });
        Ok(receiver)
    }
}

fn differences(
    job: &Job,
    records: (&SnapshotRecord, &SnapshotRecord),
    at: &[u8],
    lines: &mpsc::Sender<DiffLine>,
) -> Result<(), EngineError> {
    let context = context(&job.world.store, &job.keys);
    let library = Library::new(&context)?;
    library.differences(records, at, &mut |path, difference, node| {
        let entry = entry(path, node);
        let line = match difference {
            Difference::Added => DiffLine::Added(entry),
            Difference::Removed => DiffLine::Removed(entry),
            Difference::Changed => DiffLine::Changed(entry),
            Difference::Dressed => DiffLine::Dressed(entry),
        };
        lines.blocking_send(line).is_ok()
    })?;
    Ok(())
}

/// What names are to look like.
#[derive(Debug)]
enum Matcher {
    /// Names that have this in them, in small letters.
    Part(String),
    /// Names, or paths if the pattern has a slash.
    Glob { glob: GlobMatcher, paths: bool },
}

fn matcher(pattern: &str) -> Result<Matcher, EngineError> {
    if !pattern.contains(['*', '?', '[', '{']) {
        return Ok(Matcher::Part(pattern.to_lowercase()));
    }
    let paths = pattern.contains('/');
    let rooted = if paths && !pattern.starts_with(['/', '*']) {
        format!("**/{pattern}")
    } else {
        pattern.to_owned()
    };
    let glob = GlobBuilder::new(&rooted)
        .case_insensitive(true)
        .literal_separator(true)
        .build()
        .map_err(|error| EngineError::BadPattern(error.to_string()))?;
    let glob = glob.compile_matcher();
    Ok(Matcher::Glob { glob, paths })
}

impl Matcher {
    fn fits(&self, at: &[u8]) -> bool {
        let name = at.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        match self {
            Self::Part(part) => {
                let name = String::from_utf8_lossy(name).to_lowercase();
                name.contains(part)
            }
            Self::Glob { glob, paths } => {
                let text = String::from_utf8_lossy(if *paths { at } else { name });
                glob.is_match(&*text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_or_paths() {
        let fits = |pattern: &str, at: &str| matcher(pattern).unwrap().fits(at.as_bytes());
        assert!(fits("beach", "/photos/2026/Beach 1.JPG"));
        assert!(!fits("photos", "/photos/2026/beach.jpg"));
        assert!(fits("*.jpg", "/photos/2026/Beach 1.JPG"));
        assert!(!fits("*.jpg", "/photos/2026/beach.jpg.txt"));
        assert!(fits("2026/*.jpg", "/photos/2026/beach.jpg"));
        assert!(!fits("2026/*.jpg", "/photos/2026/summer/beach.jpg"));
        assert!(fits(
            "/photos/**/b?ach.jpg",
            "/photos/2026/summer/beach.jpg"
        ));
        assert!(matcher("[").is_err());
    }
}
