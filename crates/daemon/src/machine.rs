//! How the machine is doing: its battery, and how busy other programs keep its processors.
//!
//! It is looked at when an encounter begins and once a minute while one lasts. What follows from it
//! is the core's to say.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use carryall_core::{
    event::{Event, Notice},
    policy::Machine,
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::driver::World;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);
/// What was long ago says nothing about now.
const LATELY: Duration = Duration::from_secs(300);

/// Looks at the machine while there is somebody to work with, and tells the core.
pub(crate) async fn watch(world: World, mut notices: Receiver<Notice>) {
    let mut gauges = Gauges::new(PathBuf::from("/"));
    loop {
        let looked = spawn_blocking(move || (gauges.look(Instant::now()), gauges)).await;
        let Ok((machine, back)) = looked else { return };
        gauges = back;
        world.inbox.tell(Event::Machine(machine));
        sleep(EVERY).await;
        let met = world.inbox.look(|node, _| node.is_meeting()).await;
        match met {
            Ok(true) => {}
            Ok(false) if somebody_comes(&mut notices).await => {}
            _ => return,
        }
    }
}

/// Waits until an encounter begins. Tells whether one did.
async fn somebody_comes(notices: &mut Receiver<Notice>) -> bool {
    loop {
        match notices.recv().await {
            Ok(Notice::Met { .. }) | Err(RecvError::Lagged(_)) => return true,
            Ok(_) => {}
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Ticks of the processors, in the system's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    /// Of all processors, spent or not.
    all: u64,
    /// Of these, spent by programs that did not ask for a low priority.
    busy: u64,
    /// Of these, spent by this program.
    own: u64,
}

/// What the system shows about itself, as files under a root.
#[derive(Debug)]
struct Gauges {
    root: PathBuf,
    before: Option<(Ticks, Instant)>,
}

impl Gauges {
    const fn new(root: PathBuf) -> Self {
        Self { root, before: None }
    }

    fn look(&mut self, now: Instant) -> Machine {
        let ticks = self.ticks();
        let before = self.before.take();
        self.before = ticks.map(|ticks| (ticks, now));
        let others_cpu = match (before, ticks) {
            (Some((before, at)), Some(ticks)) if now.duration_since(at) <= LATELY => {
                others_percent(before, ticks)
            }
            _ => 0,
        };
        Machine {
            battery: self.battery(),
            others_cpu,
        }
    }

    fn ticks(&self) -> Option<Ticks> {
        let system = fs::read_to_string(self.root.join("proc/stat")).ok()?;
        let own = fs::read_to_string(self.root.join("proc/self/stat")).ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let spent: Vec<u64> = system
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map_while(|ticks| ticks.parse().ok())
            .collect();
        let idle = [1, 3, 4].iter().filter_map(|at| spent.get(*at)).sum();
        let all: u64 = spent.iter().sum();
        // The name, which may hold anything, ends with the last bracket.
        let mut own = own.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || own.next()?.parse::<u64>().ok();
        let own = next()? + next()?;
        Some(Ticks {
            all,
            busy: all.saturating_sub(idle),
            own,
        })
    }

    /// Returns the charge of the emptiest battery that is being drained, in percent.
    fn battery(&self) -> Option<u8> {
        let supplies = fs::read_dir(self.root.join("sys/class/power_supply")).ok()?;
        let supplies = supplies.filter_map(|supply| Some(supply.ok()?.path()));
        supplies.filter_map(|supply| charge(&supply)).min()
    }
}

/// Returns the charge of a battery that feeds this machine and is being drained.
fn charge(supply: &Path) -> Option<u8> {
    let read = |name: &str| {
        let text = fs::read_to_string(supply.join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    // Mice and headphones have batteries too.
    let ours = read("type")? == "Battery" && read("scope").is_none_or(|scope| scope != "Device");
    let drained = ours && read("status")? == "Discharging";
    drained.then(|| read("capacity")?.parse().ok()).flatten()
}

/// Returns the share of all processors that other programs took in between, in percent.
fn others_percent(before: Ticks, now: Ticks) -> u8 {
    let all = now.all.saturating_sub(before.all);
    let busy = now.busy.saturating_sub(before.busy);
    let own = now.own.saturating_sub(before.own);
    let percent = (busy.saturating_sub(own) * 100).checked_div(all);
    u8::try_from(percent.unwrap_or(0).min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn supply(root: &Path, name: &str, files: [(&str, &str); 4]) {
        for (file_name, text) in files.iter().filter(|(_, text)| !text.is_empty()) {
            let path = format!("sys/class/power_supply/{name}/{file_name}");
            file(root, &path, text);
        }
    }

    fn processors(root: &Path, user: u64, idle: u64, own: u64) {
        let system = format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n");
        file(root, "proc/stat", &system);
        let own = format!("7 (a name) ) S 1 1 1 0 -1 4 0 0 0 0 {own} 0 0 0 20 0 9\n");
        file(root, "proc/self/stat", &own);
    }

    #[test]
    fn batteries_that_are_drained_count() {
        let root = tempfile::tempdir().unwrap();
        let mut gauges = Gauges::new(root.path().to_owned());
        assert_eq!(gauges.look(Instant::now()), Machine::default());
        let kinds = ["type", "status", "capacity", "scope"];
        let with = |texts: [&'static str; 4]| {
            let mut files = [("", ""); 4];
            for (at, text) in texts.into_iter().enumerate() {
                files[at] = (kinds[at], text);
            }
            files
        };
        let root = root.path();
        supply(root, "AC", with(["Mains\n", "", "", ""]));
        supply(
            root,
            "mouse",
            with(["Battery\n", "Discharging\n", "3\n", "Device\n"]),
        );
        supply(root, "BAT0", with(["Battery\n", "Charging\n", "9\n", ""]));
        assert_eq!(gauges.battery(), None);
        supply(
            root,
            "BAT1",
            with(["Battery\n", "Discharging\n", "42\n", "System\n"]),
        );
        assert_eq!(gauges.battery(), Some(42));
        supply(
            root,
            "BAT0",
            with(["Battery\n", "Discharging\n", "9\n", ""]),
        );
        assert_eq!(gauges.look(Instant::now()).battery, Some(9));
    }

    #[test]
    fn what_others_take_is_busy_and_what_we_take_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut gauges = Gauges::new(root.path().to_owned());
        let start = Instant::now();
        let mut look = |user, idle, own, secs| {
            processors(root.path(), user, idle, own);
            let machine = gauges.look(start + Duration::from_secs(secs));
            machine.others_cpu
        };
        assert_eq!(look(1000, 1000, 500, 0), 0, "nothing to compare with");
        assert_eq!(look(1900, 1100, 500, 60), 90);
        assert_eq!(look(2900, 1100, 1300, 120), 20);
        assert_eq!(look(3000, 1100, 1500, 180), 0);
        assert_eq!(look(4000, 1100, 1500, 900), 0, "long ago");
    }

    #[test]
    fn this_machine_has_processors() {
        let gauges = Gauges::new(PathBuf::from("/"));
        if cfg!(target_os = "linux") {
            assert!(gauges.ticks().unwrap().all > 0);
        }
    }
}
