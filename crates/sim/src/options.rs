//! What can be chosen about a run: the seed decides all the rest.

use clap::ValueEnum;

use crate::rng::Rng;

/// How people's days go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Short meetings, some people at a time.
    Cafe,
    /// Long days together, weekends apart.
    Office,
    /// Evenings at home, where one machine always is.
    Family,
}

/// What goes wrong, and how often. Never more than what the promises cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Links that break after a number of bytes, in a thousand.
    pub cut_per_mille: u32,
    /// Beacons that nobody hears, in a thousand.
    pub loss_per_mille: u32,
    /// Longest delay of a message or a piece of a shard, in milliseconds.
    pub delay_ms_max: u32,
    /// Machines that lose power or whose process dies, in a thousand per day.
    pub restart_per_mille: u32,
    /// Machines whose disk is full for some hours, in a thousand per day.
    pub full_per_mille: u32,
    /// Machines on whose shelf one bit turns, in a thousand per day.
    pub rot_per_mille: u32,
    /// How far a clock may be off, in minutes.
    pub skew_minutes_max: u32,
    /// Machines that are destroyed for good, in a thousand per run; one at most.
    pub destroy_per_mille: u32,
}

impl Faults {
    /// Returns the faults of a run, drawn from its seed: some runs are calm, some are rough.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut up_to = |max: u64| u32::try_from(rng.below(max + 1)).unwrap_or(0);
        Self {
            cut_per_mille: up_to(500),
            loss_per_mille: up_to(300),
            delay_ms_max: 1 + up_to(200),
            restart_per_mille: up_to(400),
            full_per_mille: up_to(150),
            rot_per_mille: up_to(100),
            skew_minutes_max: up_to(7),
            destroy_per_mille: up_to(300),
        }
    }

    /// Sets one fault by name.
    pub fn set(&mut self, name: &str, value: u32) -> Result<(), UnknownFault> {
        let fault = match name {
            "cut" => &mut self.cut_per_mille,
            "loss" => &mut self.loss_per_mille,
            "delay" => &mut self.delay_ms_max,
            "restart" => &mut self.restart_per_mille,
            "full" => &mut self.full_per_mille,
            "rot" => &mut self.rot_per_mille,
            "skew" => &mut self.skew_minutes_max,
            "destroy" => &mut self.destroy_per_mille,
            _ => return Err(UnknownFault(name.to_owned())),
        };
        *fault = value;
        Ok(())
    }
}

/// There is no such fault.
#[derive(Debug, thiserror::Error)]
#[error("there is no fault `{0}`: cut, loss, delay, restart, full, rot, skew, destroy")]
pub struct UnknownFault(String);

/// A mistake put into the host on purpose, to see that its checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Says that a shard is stored when it is not on stable storage.
    PromiseBeforeSync,
    /// Tells others of own entries that are not written.
    TellUnwritten,
    /// Remembers another content of a file than it had.
    WrongContent,
    /// Keeps what is new to itself.
    HoldBackNews,
    /// Sends a shard in every encounter.
    RepeatShards,
    /// Forgets at every start what it keeps for others.
    ForgetShelf,
    /// Erases at once what was released.
    EraseAtOnce,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// How many days.
    pub days: u32,
    /// How many machines, one per member.
    pub devices: usize,
    /// How people's days go.
    pub scenario: Scenario,
    /// What goes wrong.
    pub faults: Faults,
    /// A mistake on purpose. Only tests of the checkers use it.
    pub mistake: Option<Mistake>,
}

impl Options {
    /// Returns a run that the seed alone decides: 3 to 5 machines, 3 to 10 days.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("options", 0);
        let scenario = match rng.below(3) {
            0 => Scenario::Cafe,
            1 => Scenario::Office,
            _ => Scenario::Family,
        };
        Self {
            seed,
            days: u32::try_from(rng.between(3, 10)).unwrap_or(3),
            devices: 3 + rng.index(3),
            scenario,
            faults: Faults::draw(&mut rng),
            mistake: None,
        }
    }
}
