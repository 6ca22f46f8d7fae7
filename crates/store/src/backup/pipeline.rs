//! Runs the stages of a backup: on threads of their own, or all on the calling one.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use carryall_core::{chunk::Chunker, compression::Compressor, record::PackRecord, time::Timestamp};

use super::{
    BackupError, COMMIT_EVERY, PROGRESS_EVERY, Progress,
    assembler::Assembler,
    backlog::Backlog,
    buffer::Pool,
    reader::{Drawing, Item, Port, Reader},
    state::{Remembered, State},
    worker::{Done, Task, Worker},
};
use crate::{
    disk::Disk,
    scan::{Memory, Stopped, Walk},
};

/// Takes note of packs that are safe to announce.
pub(super) type OnPack<'a> = &'a mut dyn FnMut(&PackRecord);

/// What the first stage needs to know.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) home: &'a Path,
    pub(super) roots: &'a [PathBuf],
    pub(super) now: Timestamp,
    pub(super) chunker: &'a Chunker,
    pub(super) pool: &'a Pool,
    pub(super) state: &'a State,
    pub(super) drawing: Drawing,
}

impl Folders<'_> {
    /// Walks all folders and reads what has changed.
    fn read(&self, memory: &Remembered<'_>, port: &impl Port) -> Result<(), Stopped> {
        let mut reader = Reader::new(self.disk, self.chunker, self.pool, port, self.drawing);
        let walk = Walk::new(self.disk, memory, &[self.home], self.now);
        let doubtful = self.state.generation != memory.generation();
        for (path, name) in self.roots.iter().zip(root_names(self.roots)) {
            let raw = path.as_os_str().as_bytes();
            let mut known = self.state.roots.iter().zip(&self.state.nodes);
            let before = known
                .find(|(root, node)| root.path == raw && node.node.name == name)
                .map(|(_, node)| node.clone());
            reader.root(raw)?;
            walk.root(path, &name, before, doubtful, &mut reader)?;
        }
        reader.flush()
    }
}

/// Returns a name for each root, unique among them.
fn root_names(roots: &[PathBuf]) -> Vec<Vec<u8>> {
    let mut taken = BTreeSet::new();
    roots
        .iter()
        .map(|root| {
            let base = root.file_name().map_or(&b"root"[..], OsStrExt::as_bytes);
            let mut name = base.to_vec();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = [base, format!("-{number}").as_bytes()].concat();
            }
            name
        })
        .collect()
}

/// Gets the work of an assembler done.
pub(super) trait Engine {
    /// Reads all folders.
    fn read(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError>;
    /// Goes on until everything taken is used and every pack sent to be sealed is back.
    fn drive(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError>;
}

/// When progress was shown and the catalogue written last.
struct Rhythm<'a> {
    progress: &'a dyn Progress,
    shown: Instant,
    committed: Instant,
}

impl<'a> Rhythm<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            shown: Instant::now(),
            committed: Instant::now(),
        }
    }

    /// Does what is due.
    fn beat(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError> {
        if self.shown.elapsed() >= PROGRESS_EVERY {
            self.shown = Instant::now();
            self.progress.update(assembler.counts());
            if self.progress.is_stopped() {
                return Err(BackupError::Stopped);
            }
        }
        let is_due = assembler.packs.new_bytes() > 0 && self.committed.elapsed() >= COMMIT_EVERY;
        if is_due || assembler.wants_commit() {
            assembler.commit(on_pack, |_| Ok(()))?;
            self.committed = Instant::now();
        }
        Ok(())
    }
}

/// Everything on the calling thread, in an order that is always the same.
pub(super) struct Alone<'a> {
    folders: &'a Folders<'a>,
    worker: &'a Worker<'a>,
    memory: &'a Remembered<'a>,
    progress: &'a dyn Progress,
    compressor: Compressor,
}

impl<'a> Alone<'a> {
    pub(super) fn new(
        folders: &'a Folders<'a>,
        worker: &'a Worker<'a>,
        memory: &'a Remembered<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            folders,
            worker,
            memory,
            progress,
            compressor: Compressor::new(),
        }
    }
}

impl Engine for Alone<'_> {
    fn read(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError> {
        let port = AlonePort {
            worker: self.worker,
            inner: RefCell::new(AloneInner {
                assembler,
                on_pack,
                compressor: mem::take(&mut self.compressor),
                rhythm: Rhythm::new(self.progress),
                error: None,
            }),
        };
        let read = self.folders.read(self.memory, &port);
        match port.inner.into_inner().error {
            Some(error) => Err(error),
            None => read.map_err(|Stopped| BackupError::Stopped),
        }
    }

    fn drive(&mut self, assembler: &mut Assembler<'_>, _: OnPack<'_>) -> Result<(), BackupError> {
        perform_all(self.worker, assembler, &mut self.compressor)
    }
}

/// Does all that the assembler wants done, until it wants no more.
fn perform_all(
    worker: &Worker<'_>,
    assembler: &mut Assembler<'_>,
    compressor: &mut Compressor,
) -> Result<(), BackupError> {
    loop {
        assembler.advance()?;
        if assembler.packs.tasks.is_empty() {
            return Ok(());
        }
        for task in mem::take(&mut assembler.packs.tasks) {
            assembler.take_done(worker.perform(task, compressor));
        }
    }
}

struct AlonePort<'a, 'b, 'c> {
    worker: &'a Worker<'a>,
    inner: RefCell<AloneInner<'b, 'c>>,
}

struct AloneInner<'b, 'c> {
    assembler: &'b mut Assembler<'c>,
    on_pack: OnPack<'b>,
    compressor: Compressor,
    rhythm: Rhythm<'b>,
    error: Option<BackupError>,
}

impl AlonePort<'_, '_, '_> {
    fn with(&self, give: impl FnOnce(&mut AloneInner<'_, '_>)) -> Result<(), Stopped> {
        let inner = &mut *self.inner.borrow_mut();
        give(inner);
        let done = perform_all(self.worker, inner.assembler, &mut inner.compressor)
            .and_then(|()| inner.rhythm.beat(inner.assembler, inner.on_pack));
        done.map_err(|error| {
            inner.error = Some(error);
            Stopped
        })
    }
}

impl Port for AlonePort<'_, '_, '_> {
    fn items(&self, items: Vec<Item>) -> Result<(), Stopped> {
        self.with(|inner| inner.assembler.take_items(items))
    }

    fn task(&self, task: Task) -> Result<(), Stopped> {
        self.with(|inner| {
            let done = self.worker.perform(task, &mut inner.compressor);
            inner.assembler.take_done(done);
        })
    }
}

/// What comes back from the threads.
enum Signal {
    Items(Vec<Item>),
    Done(Done),
    Read(Result<(), Stopped>),
}

/// One thread that reads, some that work, and the calling one that puts in order.
pub(super) struct Together<'scope, 'a> {
    rhythm: Rhythm<'a>,
    pool: &'a Pool,
    backlog: &'a Backlog,
    tasks: Sender<Task>,
    inbox: Receiver<Signal>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
    read: Option<Result<(), Stopped>>,
}

/// Runs `with` on an engine of `workers` threads and one that reads.
pub(super) fn together<T>(
    folders: &Folders<'_>,
    worker: &Worker<'_>,
    memory: &Remembered<'_>,
    progress: &dyn Progress,
    workers: usize,
    with: impl FnOnce(&mut dyn Engine) -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    let backlog = Backlog::default();
    let (tasks, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let (signals, inbox) = mpsc::channel();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (queue, signals) = (&queue, signals.clone());
            threads.push(scope.spawn(move || {
                worker.work(queue, &|done| {
                    signals.send(Signal::Done(done)).map_err(|_| ())
                });
            }));
        }
        let port = ThreadPort {
            backlog: &backlog,
            tasks: tasks.clone(),
            signals,
        };
        threads.push(scope.spawn(move || {
            let read = folders.read(memory, &port);
            // Nobody listens any more if the backup has failed meanwhile.
            let _ = port.signals.send(Signal::Read(read));
        }));
        let mut engine = Together {
            rhythm: Rhythm::new(progress),
            pool: folders.pool,
            backlog: &backlog,
            tasks,
            inbox,
            threads,
            read: None,
        };
        let result = with(&mut engine);
        // The reader may still be waiting, the workers are until the last sender is gone.
        folders.pool.close();
        backlog.close();
        result
    })
}

impl Together<'_, '_> {
    fn take(&mut self, assembler: &mut Assembler<'_>, signal: Signal) {
        match signal {
            Signal::Items(items) => assembler.take_items(items),
            Signal::Done(done) => assembler.take_done(done),
            Signal::Read(read) => self.read = Some(read),
        }
    }

    /// Takes what has come, waiting for something for a moment if `wait`.
    fn receive(&mut self, assembler: &mut Assembler<'_>, wait: bool) -> Result<(), BackupError> {
        if wait {
            match self.inbox.recv_timeout(PROGRESS_EVERY) {
                Ok(signal) => self.take(assembler, signal),
                // A thread that ends before its work does has panicked.
                Err(RecvTimeoutError::Timeout) if !self.a_thread_ended() => {}
                Err(_) => match self.inbox.try_recv() {
                    Ok(signal) => self.take(assembler, signal),
                    Err(_) => return Err(BackupError::Thread),
                },
            }
        }
        while let Ok(signal) = self.inbox.try_recv() {
            self.take(assembler, signal);
        }
        Ok(())
    }

    fn a_thread_ended(&self) -> bool {
        let ended = self.threads.iter().filter(|t| t.is_finished()).count();
        ended > usize::from(self.read.is_some())
    }

    /// Uses what is here and hands on what is to be done.
    fn step(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError> {
        let used = assembler.advance()?;
        self.backlog.shrink(used);
        for task in mem::take(&mut assembler.packs.tasks) {
            self.tasks.send(task).map_err(|_| BackupError::Thread)?;
        }
        self.rhythm.beat(assembler, on_pack)
    }
}

impl Engine for Together<'_, '_> {
    fn read(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError> {
        while self.read.is_none() {
            self.receive(assembler, true)?;
            self.step(assembler, on_pack)?;
        }
        if self.read == Some(Err(Stopped)) {
            return Err(BackupError::Stopped);
        }
        self.drive(assembler, on_pack)
    }

    fn drive(
        &mut self,
        assembler: &mut Assembler<'_>,
        on_pack: OnPack<'_>,
    ) -> Result<(), BackupError> {
        self.step(assembler, on_pack)?;
        while !assembler.is_idle() {
            self.receive(assembler, true)?;
            self.step(assembler, on_pack)?;
        }
        Ok(())
    }
}

impl Drop for Together<'_, '_> {
    fn drop(&mut self) {
        self.pool.close();
        self.backlog.close();
    }
}

struct ThreadPort<'a> {
    backlog: &'a Backlog,
    tasks: Sender<Task>,
    signals: Sender<Signal>,
}

impl Port for ThreadPort<'_> {
    fn items(&self, items: Vec<Item>) -> Result<(), Stopped> {
        self.backlog.grow(items.len())?;
        self.signals.send(Signal::Items(items)).map_err(|_| Stopped)
    }

    fn task(&self, task: Task) -> Result<(), Stopped> {
        self.tasks.send(task).map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_get_names_of_their_own() {
        let roots = ["/a/x", "/b/x", "/", "/x-2"].map(PathBuf::from);
        let names = root_names(&roots);
        assert_eq!(names, [&b"x"[..], b"x-2", b"root", b"x-2-2"]);
    }
}
