//! A device of the demo: a home directory, and the process that runs its node.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use carryall_daemon::config::{Bind, Config};
use serde_json::Value;

use super::stage::{Stage, Step};
use crate::{client::Client, error::CommandError};

/// A node that does not answer by then never will.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    name: &'static str,
    home: PathBuf,
    log: PathBuf,
    node: Option<Child>,
    step: Step,
}

/// What a command answered: its last line.
#[derive(Debug)]
pub(super) struct Answer {
    command: String,
    last: Value,
}

impl Device {
    /// Prepares a home that talks to this machine only.
    pub(super) fn new(stage: &mut Stage, name: &'static str) -> Result<Self, CommandError> {
        let folder = name.replace(' ', "-").to_lowercase();
        let home = stage.dir().join(&folder);
        let log = stage.dir().join(format!("{folder}.log"));
        let config = Config {
            // A demo shall also work on a disk that is nearly full.
            keep_free: 0,
            bind: Bind::Loopback,
            port: 0,
            beacon_port: stage.beacon_port(),
            api_port: 0,
            ..Config::default()
        };
        let failed = || CommandError::failed(format!("cannot prepare {}", home.display()));
        fs::create_dir(&home).map_err(|error| failed().because(error))?;
        config
            .save(&home)
            .map_err(|error| failed().because(error))?;
        Ok(Self {
            name,
            home,
            log,
            node: None,
            step: stage.step("preparing a device"),
        })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns a way to ask the running node.
    pub(super) fn client(&self) -> Result<Client, CommandError> {
        Client::running(&self.home)
            .ok_or_else(|| CommandError::failed(format!("{}'s node does not answer", self.name)))
    }

    /// Starts the node, and returns once it answers.
    pub(super) fn start(&mut self) -> Result<(), CommandError> {
        let failed = || CommandError::failed(format!("cannot start {}'s node", self.name));
        let log = File::options().append(true).create(true).open(&self.log);
        let log = log.map_err(|error| failed().because(error))?;
        let errors = log.try_clone().map_err(|error| failed().because(error))?;
        let child = self
            .command(&["run"])?
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.node = Some(child.map_err(|error| failed().because(error))?);
        let started = Instant::now();
        loop {
            if self.client().is_ok() {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.node.as_mut().map(Child::try_wait) {
                return Err(CommandError::failed(format!(
                    "{}'s node ended: {status}",
                    self.name
                )));
            }
            if started.elapsed() > START_PATIENCE {
                return Err(CommandError::failed(format!(
                    "{}'s node does not answer",
                    self.name
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command as a person would, and returns what it answered.
    pub(super) fn ask(&self, args: &[&str], input: Option<&str>) -> Result<Answer, CommandError> {
        self.step.check_interrupted()?;
        let command = format!("carryall {}", args[0]);
        let failed = || CommandError::failed(format!("cannot run {command}"));
        let mut child = self
            .command(args)?
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed().because(error))?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            // A command that ends without reading says itself what is wrong.
            let _ = writeln!(stdin, "{text}");
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed().because(error))?;
        let code = output.status.code();
        // Saved here, not yet safe: that is how a first backup ends.
        if !matches!(code, Some(0 | 4)) {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said
                .lines()
                .find(|line| line.starts_with("error: "))
                .unwrap_or("error: ");
            return Err(CommandError::failed(format!(
                "{command} failed for {} with {}: {}",
                self.name,
                output.status,
                &said["error: ".len()..]
            )));
        }
        // `join` prints more than one object; each says something worth keeping.
        let last = output
            .stdout
            .split(|&byte| byte == b'\n')
            .rfind(|line| !line.is_empty());
        let last = serde_json::from_slice(last.unwrap_or(b"null"));
        Ok(Answer {
            last: last.map_err(|error| failed().because(error))?,
            command,
        })
    }

    /// Kills the node at once, as a thief or a fire would. Returns the home, to be destroyed.
    pub(super) fn kill(mut self) -> PathBuf {
        self.end();
        self.home.clone()
    }

    fn command(&self, args: &[&str]) -> Result<Command, CommandError> {
        let program = std::env::current_exe()
            .map_err(|error| CommandError::failed("cannot find this program").because(error))?;
        let mut command = Command::new(program);
        command
            .arg("--home")
            .arg(&self.home)
            .arg("--json")
            .args(args);
        Ok(command)
    }

    fn end(&mut self) {
        if let Some(mut node) = self.node.take() {
            // Both fail only where it has ended already.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.end();
    }
}

impl Answer {
    /// Returns a text of the answer.
    pub(super) fn text(&self, key: &str) -> Result<String, CommandError> {
        let text = self
            .last
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned);
        text.ok_or_else(|| self.lacks(key))
    }

    /// Returns a number of the answer.
    pub(super) fn number(&self, key: &str) -> Result<f64, CommandError> {
        self.last
            .get(key)
            .and_then(Value::as_f64)
            .ok_or_else(|| self.lacks(key))
    }

    fn lacks(&self, key: &str) -> CommandError {
        CommandError::failed(format!("{} did not tell its {key}", self.command))
    }
}
