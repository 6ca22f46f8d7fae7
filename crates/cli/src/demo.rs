//! `carryall demo`: the whole story on one machine, with real processes and real files.
//!
//! Everything that the story tells is done by the same commands that a person would type. Nodes are
//! bound to loopback, so nothing leaves this machine.

mod device;
mod photos;
mod portrait;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use carryall_core::limits::OFFER_BYTES_DEFAULT;
use carryall_daemon::{api::status::Status, exit::Exit};

use crate::{
    args::DemoArgs,
    demo::{device::Device, portrait::Portrait, stage::Stage},
    error::CommandError,
    ui::{self, Ui},
};

/// Seed of the made-up photos: everybody sees the same story.
const SEED: u64 = 1958;
/// The story hangs if no byte became safer for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at the status.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Differences that are listed before the rest is only counted.
const DIFFERENCES_SHOWN: usize = 10;

/// Tells the story. Returns an error that names the step and the logs where one fails.
pub(crate) fn run(ui: Ui, args: &DemoArgs) -> Result<Exit, CommandError> {
    let mut stage = Stage::open(ui, args.keep)?;
    let outcome = tell(&mut stage, args);
    stage.close(outcome)
}

fn tell(stage: &mut Stage, args: &DemoArgs) -> Result<(), CommandError> {
    stage.say(format!(
        "Three devices meet on this machine. Everything happens in {}; nothing leaves this \
         machine.",
        stage.dir().display()
    ));
    let source = Source::prepare(stage, args)?;
    let mut anna = Device::new(stage, "Anna")?;
    let mut ben = Device::new(stage, "Ben")?;
    let mut cleo = Device::new(stage, "Cleo")?;
    let words = meet(stage, &mut anna, &mut ben, &mut cleo)?;
    make_room(&source, &[&ben, &cleo])?;
    backup(stage, &anna, &source)?;
    replicate(stage, &anna, source.portrait.count().bytes)?;
    lose(stage, anna, &source)?;
    let mut anna = come_back(stage, &words, &ben)?;
    let restored = restore(stage, &mut anna, &source)?;
    compare(stage, &source, &restored)
}

/// What is backed up in the story.
struct Source {
    dir: PathBuf,
    portrait: Portrait,
    /// Made up here, so it may be destroyed here.
    ours: bool,
}

impl Source {
    fn prepare(stage: &mut Stage, args: &DemoArgs) -> Result<Self, CommandError> {
        stage.step("looking at the files");
        let dir = match &args.from {
            Some(dir) => fs::canonicalize(dir),
            None => {
                let dir = stage.dir().join("Photos");
                photos::make(&dir, SEED, args.mib << 20).map(|_| dir)
            }
        };
        let dir =
            dir.map_err(|error| CommandError::failed("cannot prepare the files").because(error))?;
        let portrait = Portrait::take(&dir).map_err(|error| {
            CommandError::failed(format!("cannot read everything in {}", dir.display()))
                .because(error)
        })?;
        let count = portrait.count();
        let what = if args.from.is_some() {
            "She has"
        } else {
            "She has made-up photos:"
        };
        stage.say(format!(
            "Anna has a folder. {what} {}, {} in {}, with {}.",
            ui::count(count.files, "file", "files"),
            ui::bytes(count.bytes),
            ui::count(count.folders, "folder", "folders"),
            ui::count(count.links, "symbolic link", "symbolic links"),
        ));
        Ok(Self {
            dir,
            portrait,
            ours: args.from.is_none(),
        })
    }

    /// Returns the name under which the folder comes back.
    fn name(&self) -> PathBuf {
        self.dir.file_name().map(PathBuf::from).unwrap_or_default()
    }
}

/// Makes the circle. Returns Anna's words.
fn meet(
    stage: &mut Stage,
    anna: &mut Device,
    ben: &mut Device,
    cleo: &mut Device,
) -> Result<String, CommandError> {
    stage.step("making Anna's device");
    let words = anna.ask(&["init", "--name", "Anna"], None)?.text("words")?;
    anna.start()?;
    stage.say(
        "Anna makes her device (carryall init) and writes 12 words on paper. Her node runs \
         (carryall run).",
    );
    stage.step("inviting Ben and Cleo");
    for guest in [ben, cleo] {
        let name = guest.name();
        let link = anna.ask(&["invite", name], None)?.text("link")?;
        guest.ask(&["join", "--name", name], Some(&link))?;
        guest.start()?;
    }
    stage.say(
        "She invites Ben and Cleo (carryall invite); each joins by a link that works once \
         (carryall join).",
    );
    Ok(words)
}

/// Has friends offer more than they do by themselves, where that would not be enough.
fn make_room(source: &Source, friends: &[&Device]) -> Result<(), CommandError> {
    let wanted = source.portrait.count().bytes.saturating_mul(2);
    if wanted > OFFER_BYTES_DEFAULT {
        for friend in friends {
            friend.ask(&["friends", "offer", "Anna", &wanted.to_string()], None)?;
        }
    }
    Ok(())
}

fn backup(stage: &mut Stage, anna: &Device, source: &Source) -> Result<(), CommandError> {
    stage.step("backing up");
    let folder = source.dir.to_str().ok_or_else(|| {
        CommandError::failed("the folder's own name is not UTF-8; back up the folder around it")
    })?;
    let answer = anna.ask(&["backup", folder], None)?;
    let seconds = answer.number("seconds")?;
    let bytes = source.portrait.count().bytes;
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    stage.say(format!(
        "Anna backs up (carryall backup): {} in {seconds:.1} s, {}. {}",
        ui::bytes(bytes),
        ui::rate(bytes, time),
        answer.text("headline")?,
    ));
    Ok(())
}

/// Waits until friends have proved that they alone can bring everything back, at full strength.
fn replicate(stage: &mut Stage, anna: &Device, source_bytes: u64) -> Result<(), CommandError> {
    let step = stage.step("replicating to Ben and Cleo");
    let started = Instant::now();
    let mut bar = stage.ui().bar("replicate");
    let (mut first_safe, mut last, mut moved) = (None, None, Instant::now());
    let status = loop {
        step.check_interrupted()?;
        let status: Status = anna.client()?.get("/v1/status")?;
        bar.set(
            status.bytes_safe,
            Some(status.bytes_safe + status.bytes_only_here),
        );
        if status.safe && first_safe.is_none() {
            first_safe = Some(started.elapsed());
        }
        if status.safe && status.health_min >= status.target {
            break status;
        }
        let proved: Vec<u64> = status.members.iter().map(|friend| friend.audited).collect();
        if last.as_ref() != Some(&proved) {
            (last, moved) = (Some(proved), Instant::now());
        }
        if moved.elapsed() > PATIENCE {
            return Err(CommandError::failed(format!(
                "nothing moved for a minute: {}",
                status.headline
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    bar.finish();
    let held: u64 = status.members.iter().map(|friend| friend.audited).sum();
    stage.say(format!(
        "They find each other by the beacon, and shards flow: safe with one friend after {:.1} s, \
         at full strength after {:.1} s, {}.",
        first_safe.unwrap_or_default().as_secs_f64(),
        started.elapsed().as_secs_f64(),
        ui::rate(held, started.elapsed()),
    ));
    for friend in &status.members {
        stage.say(format!(
            "  {} has proved to hold {} for Anna, of {} of files.",
            friend.petname,
            ui::bytes(friend.audited),
            ui::bytes(source_bytes),
        ));
    }
    stage.say(format!("carryall status says: {}", status.headline));
    Ok(())
}

/// Destroys Anna's device.
fn lose(stage: &mut Stage, anna: Device, source: &Source) -> Result<(), CommandError> {
    stage.step("losing Anna's device");
    let destroyed = |path: &Path| {
        fs::remove_dir_all(path).map_err(|error| {
            CommandError::failed(format!("cannot delete {}", path.display())).because(error)
        })
    };
    let home = anna.kill();
    destroyed(&home)?;
    if source.ours {
        destroyed(&source.dir)?;
        stage.say("Disaster: Anna's node is killed, its disk is gone, and so are the photos.");
    } else {
        stage.say("Disaster: Anna's node is killed, and its disk is gone.");
    }
    Ok(())
}

fn come_back(stage: &mut Stage, words: &str, ben: &Device) -> Result<Device, CommandError> {
    stage.step("recovering on a new device");
    let started = Instant::now();
    let mut anna = Device::new(stage, "Anna again")?;
    let link = ben.ask(&["invite", "Anna again"], None)?.text("link")?;
    anna.ask(
        &["recover", "--name", "Anna"],
        Some(&format!("{words}\n{link}")),
    )?;
    anna.start()?;
    stage.say(format!(
        "A new machine: Anna types her 12 words and an invite from Ben (carryall recover). {:.1} s.",
        started.elapsed().as_secs_f64()
    ));
    Ok(anna)
}

fn restore(stage: &mut Stage, anna: &mut Device, source: &Source) -> Result<PathBuf, CommandError> {
    stage.step("restoring");
    let to = stage.dir().join("Restored");
    let target = to
        .to_str()
        .ok_or_else(|| CommandError::failed("the temporary directory is not UTF-8"))?;
    let answer = anna.ask(&["restore", "--to", target], None)?;
    let (seconds, bytes) = (answer.number("seconds")?, source.portrait.count().bytes);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    stage.say(format!(
        "She gets everything back from her friends (carryall restore): {} in {seconds:.1} s, {}.",
        ui::bytes(bytes),
        ui::rate(bytes, time),
    ));
    Ok(to.join(source.name()))
}

fn compare(stage: &mut Stage, source: &Source, restored: &Path) -> Result<(), CommandError> {
    stage.step("comparing");
    let found = Portrait::take(restored)
        .map_err(|error| CommandError::failed("cannot read what was restored").because(error))?;
    let differences = source.portrait.differences(&found);
    for difference in differences.iter().take(DIFFERENCES_SHOWN) {
        stage.say(format!("  {difference}"));
    }
    if !differences.is_empty() {
        let many = ui::count(differences.len() as u64, "difference", "differences");
        return Err(CommandError::failed(format!(
            "what came back is not what was lost: {many}"
        )));
    }
    let count = found.count();
    stage.say(format!(
        "Compared, byte for byte: {}, {}, {} and {} are what they were, with modes, times to the \
         nanosecond and links.",
        ui::count(count.files, "file", "files"),
        ui::bytes(count.bytes),
        ui::count(count.folders, "folder", "folders"),
        ui::count(count.links, "symbolic link", "symbolic links"),
    ));
    Ok(())
}
