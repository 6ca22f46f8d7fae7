//! A circle of devices for tests: homes in a temporary directory, commands and nodes run by the
//! real program, all bound to loopback.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test program uses another part"
)]

pub mod lost;
#[cfg(target_os = "linux")]
pub mod mount;
pub mod web;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Whatever should happen on loopback happens by then, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A place for devices that can meet.
pub struct Circle {
    dir: TempDir,
    beacon_port: u16,
    clock: Option<Clock>,
}

/// A clock of all devices of a circle that can leap.
#[derive(Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// The time is so many hours ahead from now on.
    pub fn set_ahead(&self, hours: u64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("+{}s\n", hours * 3600)).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// Only what tells the time of day leaps: the system's timers go on as ever.
    fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}

impl Circle {
    /// Makes a place with a beacon port of its own, so that tests don't hear each other.
    pub fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let beacon_port = socket.local_addr().unwrap().port();
        Self {
            dir: tempfile::tempdir().unwrap(),
            beacon_port,
            clock: None,
        }
    }

    /// Gives devices that are prepared from now on a clock that can leap. Nothing where
    /// the library for that (libfaketime) is missing.
    pub fn clock(&mut self) -> Option<Clock> {
        let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = libraries
            .map(|arch| arch.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists());
        let Some(library) = library else {
            eprintln!("skipped: libfaketime is not there");
            return None;
        };
        let file = self.path("clock");
        let clock = Clock { library, file };
        clock.set_ahead(0);
        self.clock = Some(clock.clone());
        Some(clock)
    }

    /// Returns a path in the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Prepares a device without a vault.
    pub fn device(&self, name: &'static str) -> Device {
        let home = self.path(name);
        fs::create_dir_all(&home).unwrap();
        let config = format!(
            "keep_free = 0\nbind = \"loopback\"\nport = 0\nbeacon_port = {}\napi_port = 0\n\
             quiet_secs = 3600\n",
            self.beacon_port
        );
        fs::write(home.join("config.toml"), config).unwrap();
        Device {
            name,
            home,
            node: None,
            clock: self.clock.clone(),
        }
    }

    /// Makes a device with a circle of its own. Returns it and its words.
    pub fn founder(&self, name: &'static str) -> (Device, String) {
        let device = self.device(name);
        let words = device.ok(&["init", "--name", name]).text("words");
        (device, words)
    }

    /// Comes back on a new machine, by the words and an invite from `friend`. Its node doesn't run yet.
    pub fn recover(&self, name: &'static str, words: &str, friend: &Device) -> Device {
        let device = self.device(name);
        let link = friend.ok(&["invite", name]).text("link");
        device.ok_with(&["recover"], &format!("{words}\n{link}\n"));
        device
    }

    /// Makes a device that joins `inviter`'s circle; its node runs when this returns.
    pub fn guest(&self, inviter: &Device, name: &'static str) -> Device {
        let mut device = self.device(name);
        let link = inviter.ok(&["invite", name]).text("link");
        device.ok_with(&["join", "--name", name], &link);
        device.start();
        device
    }
}

/// A device: a home, and its node while it runs.
pub struct Device {
    pub name: &'static str,
    pub home: PathBuf,
    node: Option<Child>,
    clock: Option<Clock>,
}

impl Device {
    /// Returns a device whose node, if any, somebody else started.
    pub fn at(name: &'static str, home: PathBuf) -> Self {
        Self {
            name,
            home,
            node: None,
            clock: None,
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    /// Runs a command to its end, with lines of standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Run {
        let mut all = vec!["--home", self.home.to_str().unwrap(), "--json"];
        all.extend(args);
        let mut command = Command::new(PROGRAM);
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        run_to_end(command.args(&all), input)
    }

    /// Runs a command that ends well; 4 is well: saved here, not yet safe.
    pub fn ok(&self, args: &[&str]) -> Run {
        self.ok_with(args, "")
    }

    /// Runs a command that ends well, with lines of standard input.
    pub fn ok_with(&self, args: &[&str], input: &str) -> Run {
        let run = self.run_with(args, input);
        assert!(
            matches!(run.code, Some(0 | 4)),
            "{} {args:?}: {run:?}",
            self.name
        );
        run
    }

    /// Starts a command that goes on until the node ends.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let child = Command::new(PROGRAM)
            .args(["--home", self.home.to_str().unwrap(), "--json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Starts the node, and returns once it answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the node with these arguments, and returns once it answers.
    pub fn start_with(&mut self, args: &[&str]) {
        assert!(self.node.is_none(), "{} runs already", self.name);
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.home.with_extension("log"))
            .unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--home", self.home.to_str().unwrap(), "--json", "-v", "run"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        let child = command.spawn().unwrap();
        let pid = child.id();
        self.node = Some(child);
        let started = Instant::now();
        loop {
            // The file of a node that was killed stays; ours names our process.
            let file = fs::read(self.home.join("api.json")).unwrap_or_default();
            let file: Value = serde_json::from_slice(&file).unwrap_or_default();
            if file["pid"].as_u64() == Some(u64::from(pid)) {
                return;
            }
            let ended = self.node.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{}'s node ended: {}",
                self.name,
                self.log()
            );
            assert!(
                started.elapsed() < PATIENCE,
                "{}'s node is mute: {}",
                self.name,
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the node at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill().unwrap();
            node.wait().unwrap();
        }
    }

    /// Asks the node to end, and waits until it has.
    pub fn stop(&mut self) {
        let mut node = self.node.take().unwrap();
        let asked = Command::new("kill").arg(node.id().to_string()).status();
        assert!(asked.unwrap().success());
        assert!(node.wait().unwrap().success(), "{}", self.log());
    }

    /// Returns the status.
    pub fn status(&self) -> Value {
        self.ok(&["status"]).last()
    }

    /// Waits until the status fulfils a condition, and returns it.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{} is not {what}: {status:#}\n{}",
                self.name,
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until friends proved that they alone can bring everything back.
    pub fn wait_safe(&self) -> Value {
        self.wait_until("safe", |status| status["safe"] == true)
    }

    /// Waits until all friends have what they shall have.
    pub fn wait_settled(&self) -> Value {
        self.wait_until("settled", |status| {
            status["safe"] == true && status["health_min"].as_u64() >= status["target"].as_u64()
        })
    }

    /// Backs a folder up, waits until friends have it, and loses both the folder and the device.
    pub fn save_and_lose(&mut self, folder: &Path) {
        self.ok(&["backup", folder.to_str().unwrap()]);
        self.wait_settled();
        self.kill();
        fs::remove_dir_all(&self.home).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    /// Returns all that the node printed.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.home.with_extension("log")).unwrap_or_default()
    }

    /// Returns the end of what the node printed.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let skip = log.lines().count().saturating_sub(40);
        log.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that has not ended yet.
pub struct Running(Child);

impl Running {
    /// Does what Ctrl-C does.
    pub fn interrupt(&self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for the next line that it prints.
    pub fn line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        let printed = self.0.stdout.as_mut().unwrap();
        // Not one byte further: the rest is for whoever asks for the output.
        while printed.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        String::from_utf8(line).unwrap()
    }

    /// Waits for the end, and returns what was printed.
    pub fn output(mut self) -> String {
        let mut printed = Vec::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        stdout.read_to_end(&mut printed).unwrap();
        self.0.wait().unwrap();
        String::from_utf8_lossy(&printed).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind; who has ended can't be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_carryall");

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Returns the last object that was printed.
    pub fn last(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or("null");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the text under a key, in whichever line has it.
    pub fn text(&self, key: &str) -> String {
        let lines = self.stdout.lines().rev();
        let found = lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|value| value[key].as_str().map(str::to_owned));
        found.unwrap_or_else(|| panic!("no {key}: {self:?}"))
    }

    /// Asserts the exit code, and that one sentence on standard error says `part`.
    pub fn refused(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        let errors: Vec<_> = errors.collect();
        assert_eq!(errors.len(), 1, "one sentence: {self:?}");
        assert!(errors[0].contains(part), "{part:?} is not in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// Runs the program with these arguments and this standard input.
pub fn carryall(args: &[&str], input: &str) -> Run {
    run_to_end(Command::new(PROGRAM).args(args), input)
}

fn run_to_end(command: &mut Command, input: &str) -> Run {
    let mut child = command
        .env_remove("CARRYALL_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever needs no input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns every file under `dir`, with its bytes.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = waiting.pop() {
        // Nodes at work remove files while we look.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    if let Ok(bytes) = fs::read(entry.path()) {
                        found.push((entry.path(), bytes));
                    }
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Returns the ids of the snapshots that a device lists, oldest first.
pub fn snapshots(device: &Device) -> Vec<String> {
    let list = device.ok(&["snapshots"]).last();
    let list = list["snapshots"].as_array().unwrap();
    (list.iter())
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the files and bytes under `dir`, by path relative to it.
pub fn relative(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let strip = |(path, bytes): (PathBuf, _)| (path.strip_prefix(dir).unwrap().to_owned(), bytes);
    contents(dir).into_iter().map(strip).collect()
}

/// Returns `length` bytes that don't compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
