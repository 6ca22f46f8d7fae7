//! The cast: who lives and works where, and which machines they have.

use carryall_core::entry::DeviceClass;

use crate::rng::Rng;

/// One gibibyte.
pub(super) const GIB: u64 = 1 << 30;

/// What kind of circle it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Six relatives in four homes, who visit each other.
    Family,
    /// Eight colleagues, who meet on workdays.
    Office,
    /// Ten villagers in seven homes, who meet in the café and visit each other.
    Village,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Family, Self::Office, Self::Village];

    /// Returns its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Office => "office",
            Self::Village => "village",
        }
    }
}

/// Somewhere where machines meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A home, by number.
    Home(usize),
    /// The office of the circle's colleagues.
    Office,
    /// The café, whose Wi-Fi lets guests see each other.
    Cafe,
}

impl Spot {
    /// Returns a number of its own for its network.
    pub(super) fn network(self) -> u8 {
        match self {
            Self::Office => 1,
            Self::Cafe => 2,
            Self::Home(home) => 3 + u8::try_from(home).unwrap_or(u8::MAX - 3),
        }
    }
}

/// Somebody.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) home: usize,
    /// Where workdays are spent, if with others of the circle.
    pub(super) office: bool,
    /// Stays at home on workdays.
    pub(super) at_home: bool,
    /// Takes the laptop along to work or visits, in a thousand.
    pub(super) carries: u32,
    /// Visits somebody on a free day, in a thousand.
    pub(super) visits: u32,
    /// Goes to the café on a day, in a thousand.
    pub(super) cafe: u32,
    /// Uses the laptop at home in the evening, in a thousand.
    pub(super) evenings: u32,
}

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Awake while it is used.
    Laptop,
    /// Awake wherever its owner is.
    Phone,
    /// Always awake, at one place.
    Box,
}

impl Kind {
    pub(super) const fn class(self) -> DeviceClass {
        match self {
            Self::Laptop => DeviceClass::Laptop,
            Self::Phone => DeviceClass::Phone,
            Self::Box => DeviceClass::Nas,
        }
    }
}

/// A machine. The first of each person has their files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) owner: usize,
    pub(super) kind: Kind,
    /// Where it stands, if it is never carried.
    pub(super) stands: Option<Spot>,
    /// How many bytes it keeps for each other member.
    pub(super) offers: u64,
    /// Fails in a thousand per year.
    pub(super) fails: u32,
}

/// Everybody and everything.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) people: Vec<Person>,
    pub(super) machines: Vec<Machine>,
    /// Which homes can be reached from elsewhere over the internet.
    pub(super) open: Vec<bool>,
}

impl Cast {
    pub(super) fn new(setting: Setting, rng: &Rng) -> Self {
        let mut rng = rng.fork("cast", 0);
        let homes: &[usize] = match setting {
            Setting::Family => &[0, 0, 1, 2, 2, 3],
            Setting::Office => &[0, 1, 2, 3, 4, 5, 6, 7],
            Setting::Village => &[0, 0, 1, 2, 2, 3, 4, 5, 5, 6],
        };
        let people: Vec<Person> = (homes.iter().enumerate())
            .map(|(at, home)| person(setting, at, *home, &mut rng))
            .collect();
        let mut machines = Vec::new();
        for owner in 0..people.len() {
            // Somebody old has a tablet and nothing else.
            let last = owner + 1 == people.len() && setting != Setting::Office;
            let kind = if last { Kind::Phone } else { Kind::Laptop };
            machines.push(machine(owner, kind, None, &mut rng));
        }
        let boxes: &[usize] = match setting {
            Setting::Family => &[0, 3],
            Setting::Office => &[1],
            Setting::Village => &[2, 5],
        };
        for owner in boxes {
            let stands = Some(Spot::Home(people[*owner].home));
            machines.push(machine(*owner, Kind::Box, stands, &mut rng));
        }
        let count = homes.iter().max().map_or(0, |last| last + 1);
        // Half of all homes let nobody in: their provider shares one address among many.
        let open = (0..count).map(|_| rng.chance(500)).collect();
        Self {
            people,
            machines,
            open,
        }
    }

    /// So many people with a laptop each, which never breaks and has room for all, and homes that let nobody
    /// in. Where they are is not drawn: whoever has them meet says so.
    pub(super) fn of_laptops(count: usize) -> Self {
        let person = |home| Person {
            home,
            office: true,
            at_home: false,
            carries: 1000,
            visits: 0,
            cafe: 0,
            evenings: 0,
        };
        let machine = |owner| Machine {
            owner,
            kind: Kind::Laptop,
            stands: None,
            offers: 1 << 40,
            fails: 0,
        };
        Self {
            people: (0..count).map(person).collect(),
            machines: (0..count).map(machine).collect(),
            open: vec![false; count],
        }
    }

    /// Returns the machine with a person's files.
    pub(super) fn desk(&self, person: usize) -> usize {
        let own = self.machines.iter().position(|it| it.owner == person);
        own.unwrap_or(person)
    }
}

fn person(setting: Setting, at: usize, home: usize, rng: &mut Rng) -> Person {
    let mut between = |low: u64, high: u64| u32::try_from(rng.between(low, high)).unwrap_or(0);
    let (carries, visits, cafe) = match setting {
        Setting::Family => (between(300, 700), between(200, 500), 0),
        Setting::Office => (between(700, 950), between(20, 60), between(10, 40)),
        Setting::Village => (between(300, 700), between(150, 350), between(60, 160)),
    };
    Person {
        home,
        office: setting == Setting::Office,
        at_home: setting != Setting::Office && at.is_multiple_of(3),
        carries,
        visits,
        cafe,
        evenings: between(500, 900),
    }
}

fn machine(owner: usize, kind: Kind, stands: Option<Spot>, rng: &mut Rng) -> Machine {
    let (low, high) = match kind {
        Kind::Laptop => (10, 60),
        Kind::Phone => (8, 20),
        Kind::Box => (50, 300),
    };
    Machine {
        owner,
        kind,
        stands,
        offers: rng.between(low, high) * GIB,
        fails: u32::try_from(rng.between(50, 100)).unwrap_or(0),
    }
}
