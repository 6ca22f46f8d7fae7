//! The stage of the demo: its directory, its steps, its figures, and the cleaning up afterwards.

use std::{
    fs::{self, DirBuilder},
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use carryall_daemon::exit::Exit;

use crate::{error::CommandError, ui::Ui};

/// Where the story happens.
#[derive(Debug)]
pub(super) struct Stage {
    ui: Ui,
    dir: PathBuf,
    keep: bool,
    beacon_port: u16,
    started: Instant,
    step: Step,
}

/// What is being done, to be named where it fails.
#[derive(Clone, Debug)]
pub(super) struct Step {
    name: &'static str,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// Makes a directory that only this account can read.
    pub(super) fn open(ui: Ui, keep: bool) -> Result<Self, CommandError> {
        let failed = |error| CommandError::failed("cannot prepare the demo").because(error);
        // A port of its own, so that the demo and a real node don't hear each other.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let beacon_port = socket.local_addr().map_err(failed)?.port();
        let dir = std::env::temp_dir().join(format!("carryall-demo-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        notice_interrupts(interrupted.clone());
        let step = Step {
            name: "preparing",
            interrupted,
        };
        Ok(Self {
            ui,
            dir,
            keep,
            beacon_port,
            started: Instant::now(),
            step,
        })
    }

    pub(super) fn ui(&self) -> Ui {
        self.ui
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) const fn beacon_port(&self) -> u16 {
        self.beacon_port
    }

    /// Begins a step.
    pub(super) fn step(&mut self, name: &'static str) -> Step {
        self.step.name = name;
        self.step.clone()
    }

    /// Tells one sentence of the story.
    pub(super) fn say(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let seconds = self.started.elapsed().as_secs_f64();
        self.ui.json(&serde_json::json!({
            "type": "story", "step": self.step.name, "seconds": seconds, "sentence": sentence,
        }));
        self.ui.say(format!("{seconds:6.1} s  {sentence}"));
    }

    /// Ends the story, and cleans up.
    pub(super) fn close(self, outcome: Result<(), CommandError>) -> Result<Exit, CommandError> {
        let seconds = self.started.elapsed().as_secs_f64();
        let interrupted = self.step.interrupted.load(Ordering::Relaxed);
        if self.keep {
            self.ui.talk(format!(
                "The three homes and their logs are in {}.",
                self.dir.display()
            ));
        } else {
            self.sweep(outcome.is_err() && !interrupted);
        }
        if interrupted {
            return Err(CommandError::new(
                Exit::Interrupted,
                "interrupted; all is cleaned up",
            ));
        }
        match outcome {
            Ok(()) => {
                self.ui
                    .json(&serde_json::json!({ "type": "summary", "seconds": seconds }));
                self.ui
                    .say(format!("That is the whole story. {seconds:.1} s."));
                Ok(Exit::Done)
            }
            Err(error) => {
                let step = self.step.name;
                self.ui
                    .json(&serde_json::json!({ "type": "failed", "step": step }));
                self.ui.say(format!(
                    "The story broke while {step}, after {seconds:.1} s."
                ));
                Err(error.hint(format!(
                    "the logs of the nodes are in {}",
                    self.dir.display()
                )))
            }
        }
    }

    /// Deletes the directory, or all of it but the logs.
    fn sweep(&self, spare_logs: bool) {
        let _ = if spare_logs {
            fs::read_dir(&self.dir).map(|entries| {
                for path in entries.flatten().map(|entry| entry.path()) {
                    if path.is_dir() {
                        let _ = fs::remove_dir_all(path);
                    }
                }
            })
        } else {
            fs::remove_dir_all(&self.dir)
        };
    }
}

impl Step {
    /// Ends the story early where somebody pressed Ctrl-C.
    pub(super) fn check_interrupted(&self) -> Result<(), CommandError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(CommandError::new(Exit::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// Notes Ctrl-C instead of dying of it, so that nothing is left behind. The processes of the demo
/// get the signal too and end by themselves.
fn notice_interrupts(flag: Arc<AtomicBool>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        }
    });
}
