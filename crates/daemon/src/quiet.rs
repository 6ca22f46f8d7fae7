//! Work that gives way to everything else on the machine.

use std::thread;

use tokio::sync::oneshot;

use crate::engine::EngineError;

/// The niceness of threads that give way. Linux derives the priority of reading and writing from it:
/// from 15 on it is the lowest that is not idle.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;

/// Runs work that waits for disks on a thread of its own that gives way, as do the threads that it
/// starts. There is no way back for such a thread, so none of a pool may become one.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let (sender, outcome) = oneshot::channel();
    let started = thread::Builder::new()
        .name("quiet".to_owned())
        .spawn(move || {
            give_way();
            // Whoever asked may have gone.
            let _ = sender.send(work());
        });
    started.map_err(EngineError::Home)?;
    outcome.await.unwrap_or(Err(EngineError::Gone))
}

/// Makes this thread, and all that it starts, give way.
#[cfg(target_os = "linux")]
fn give_way() {
    use rustix::process::{getpriority_process, setpriority_process};
    // Nobody is named: on Linux that is the calling thread. Where it is refused, work is only louder.
    let nicer = getpriority_process(None).is_ok_and(|now| now >= NICENESS);
    if !nicer && let Err(error) = setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "can't lower a thread's priority");
    }
}

/// Elsewhere a priority belongs to the whole process, which must not be slow.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn only_the_thread_and_its_children_give_way() {
        let before = getpriority_process(None).unwrap();
        let (own, child) = blocking(|| {
            let child = thread::spawn(|| getpriority_process(None).unwrap());
            Ok((getpriority_process(None).unwrap(), child.join().unwrap()))
        })
        .await
        .unwrap();
        assert!(own >= NICENESS);
        assert_eq!(child, own);
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
