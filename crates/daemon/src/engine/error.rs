//! Why something that was asked for can't be done: a sentence for people, a hint, an exit code.

use std::{io, path::PathBuf};

use carryall_core::{
    event::CommandRefused,
    feed::WriteError,
    invite::InviteError,
    key::{NameError, WordsError, WrapError},
    message::Farewell,
    tree::RecordError,
};
use carryall_net::NetError;
use carryall_store::{
    aside::AsideError, backup::BackupError, browse::BrowseError, catalogue::CatalogueError,
    courier::CourierError, days::DaysError, feeds::FeedError, free::FreeError, freed::FreedError,
    history::HistoryError, restore::RestoreError, shelf::ShelfError, spool::SpoolError,
    vault::VaultError,
};
use thiserror::Error;

use crate::{api::Failure, config::ConfigError, driver::Gone, exit::Exit};

/// Why the engine can't do what was asked for.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The vault can't be made or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A feed can't be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The history of meetings can't be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The count of observed days can't be used.
    #[error(transparent)]
    Days(#[from] DaysError),
    /// The shelf can't be used.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What came back from friends can't be used.
    #[error(transparent)]
    Aside(#[from] AsideError),
    /// The catalogue can't be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A backup failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A snapshot can't be looked into.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// Nothing of a folder can be freed.
    #[error(transparent)]
    Free(#[from] FreeError),
    /// The list of freed files can't be used.
    #[error(transparent)]
    Freed(#[from] FreedError),
    /// A restore failed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A head can't be sealed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The settings can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The network can't be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The API can't listen.
    #[error("the node can't listen for commands: {0}")]
    Listen(#[source] io::Error),
    /// A small file of the home directory can't be written.
    #[error("can't write into the home directory: {0}")]
    Home(#[source] io::Error),
    /// An entry can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Keys can't be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The system gave no randomness.
    #[error("the system gave no randomness, so no key can be made")]
    NoRandomness,
    /// The request's body is not what the route wants.
    #[error("the request is not understood: {0}")]
    BadRequest(#[source] serde_json::Error),
    /// The core refused.
    #[error(transparent)]
    Refused(#[from] CommandRefused),
    /// The engine is going down.
    #[error("the node is going down; nothing was lost")]
    Gone,
    /// The same kind of work is under way.
    #[error("{0} is under way already")]
    UnderWay(&'static str),
    /// It needs a running node.
    #[error("no node is running in this home")]
    NotRunning,
    /// The device has no circle and no keys yet.
    #[error("this device has not joined its circle yet")]
    NotJoined,
    /// A recovered device has not heard of its keys yet.
    #[error("this device has not found its keys yet: no friend who has them was met")]
    NoKeys,
    /// The words are wrong.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// A name can't be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nobody goes by that name.
    #[error("nobody in this circle is called '{0}'")]
    UnknownFriend(String),
    /// No device of ours goes by that name.
    #[error("you have no other device called '{name}'{}; nothing was changed", listed(.others))]
    UnknownDevice {
        /// What it was called.
        name: String,
        /// What our other devices are called.
        others: Vec<String>,
    },
    /// No courier of ours goes by that name.
    #[error("you have no courier called '{name}'{}; nothing was changed", listed(.others))]
    UnknownCourier {
        /// What it was called.
        name: String,
        /// What our couriers are called.
        others: Vec<String>,
    },
    /// One does already.
    #[error("you have a courier called '{0}' already; nothing was changed")]
    CourierNameTaken(String),
    /// The place for a courier can't be used.
    #[error("can't use that place for a courier: {0}")]
    CourierPlace(#[source] io::Error),
    /// A courier tells nothing of the one who wants to come back by it.
    #[error("no feed of yours lies on this courier, so it can't tell your circle")]
    CourierWithoutFeeds,
    /// A courier can't be made or used.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// Several do.
    #[error("'{0}' could mean several friends")]
    AmbiguousFriend(String),
    /// The link can't be read.
    #[error("{0}; nothing was changed")]
    Link(#[from] InviteError),
    /// The circle that the device is in has other members.
    #[error("this home belongs to a circle with other members, and a home has one circle")]
    CircleInUse,
    /// The invite leads to the circle that the device is in.
    #[error("this device is in the circle of this invite already")]
    AlreadyIn,
    /// An invite was turned down.
    #[error("{}", turned_away(*.0))]
    TurnedAway(Farewell),
    /// Nobody who could answer an invite came within reach.
    #[error("nobody who could let you in came within reach in {0} seconds")]
    NobodyAnswered(u64),
    /// There is no snapshot.
    #[error("there is no snapshot yet")]
    NoSnapshot,
    /// No snapshot has that id.
    #[error("there is no snapshot '{0}'")]
    UnknownSnapshot(String),
    /// A path is not in the snapshot.
    #[error("'{0}' is not in this snapshot")]
    NotInSnapshot(String),
    /// A folder is not there.
    #[error("there is nothing at {}", .0.display())]
    NoFolder(PathBuf),
    /// A path that must be absolute is not.
    #[error("'{0}' is not an absolute path")]
    RelativePath(String),
    /// The newest snapshot of a device was named, which others depend on.
    #[error(
        "the newest snapshot of each device stays: its next backup builds on it, and what was freed there \
         may lie in it alone; nothing was changed"
    )]
    NewestSnapshot,
    /// The snapshot that holds what was freed was named.
    #[error(
        "that snapshot holds files that were freed here, and stays until the next one; nothing was \
         changed"
    )]
    HoldsFreed,
    /// What names are to look like says nothing.
    #[error("that is no pattern of names: {0}; nothing was looked for")]
    BadPattern(String),
    /// The newest snapshot is to be compared with the one before, and is the first.
    #[error("there is no snapshot before that one to compare with")]
    NoParent,
    /// Neither rules nor snapshots were named.
    #[error("nothing says what to keep or to forget; nothing was changed")]
    NoRules,
    /// Nothing to back up was ever named.
    #[error("no folder is remembered yet, so there is nothing to back up")]
    NothingRemembered,
    /// Packs are missing, and those who hold them are not in reach.
    #[error("{0}")]
    OutOfReach(String),
}

fn listed(devices: &[String]) -> String {
    match devices {
        [] => ": this is your only one".to_owned(),
        some => format!(", but {}", some.join(", ")),
    }
}

fn turned_away(farewell: Farewell) -> &'static str {
    match farewell {
        Farewell::InviteUsed => "this invite was used already; each works once",
        Farewell::InviteExpired => "this invite has expired",
        Farewell::InviteUnknown => "the device that answered does not know this invite",
        Farewell::InviteForged => "this invite was not accepted: its proof does not hold",
        Farewell::ForeignCircle => "this invite belongs to another circle",
        Farewell::NotAMember => "the circle does not accept this member: they were removed",
        Farewell::Version(_) => "the other device runs another version of this program",
        Farewell::TooManyDevices => {
            "there can be no more devices; remove one that is gone: carryall friends remove --device"
        }
        Farewell::Done | Farewell::ProtocolError => "the other device broke off",
    }
}

impl From<Gone> for EngineError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<getrandom::Error> for EngineError {
    fn from(_: getrandom::Error) -> Self {
        Self::NoRandomness
    }
}

impl EngineError {
    /// Returns the exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Vault(VaultError::NoVault(_)) => Exit::NoVault,
            Self::Vault(VaultError::Busy(_))
            | Self::UnderWay(_)
            | Self::NotRunning
            | Self::Gone => Exit::Busy,
            Self::Words(_) => Exit::WrongWords,
            Self::OutOfReach(_) | Self::NobodyAnswered(_) | Self::NoKeys => Exit::OutOfReach,
            Self::Refused(CommandRefused::Unsafe(_)) => Exit::NotYetSafe,
            Self::BadRequest(_)
            | Self::UnknownFriend(_)
            | Self::UnknownDevice { .. }
            | Self::UnknownCourier { .. }
            | Self::CourierNameTaken(_)
            | Self::AmbiguousFriend(_)
            | Self::RelativePath(_)
            | Self::NoRules
            | Self::NoParent
            | Self::BadPattern(_)
            | Self::NewestSnapshot
            | Self::HoldsFreed
            | Self::Free(FreeError::NotSaved(_))
            | Self::Name(_)
            | Self::Config(ConfigError::UnknownKey(_) | ConfigError::BadValue { .. }) => {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }

    /// Tells whether the same will go on later, by itself: friends have to come, or somebody else is at it.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::OutOfReach(_) | Self::UnderWay(_) | Self::Gone | Self::NoKeys
        )
    }

    /// Returns the next command to type; empty where there is none.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Vault(VaultError::NoVault(_)) => "carryall init",
            Self::Vault(VaultError::Busy(_)) => "carryall status",
            Self::Vault(VaultError::Damaged(_)) | Self::Feed(FeedError::OwnDamaged { .. }) => {
                "carryall --home NEW recover"
            }
            Self::NotRunning => "carryall run",
            Self::NotJoined => "carryall join",
            Self::NoKeys => "carryall run",
            Self::UnknownFriend(_) | Self::AmbiguousFriend(_) => "carryall friends",
            Self::UnknownCourier { .. } => "carryall courier list",
            Self::CourierNameTaken(_) => "carryall courier init DIR --name OTHER",
            Self::Link(_) | Self::TurnedAway(_) => "ask for a new link: carryall invite",
            Self::NobodyAnswered(_) => "carryall join, near a friend whose node runs",
            Self::CircleInUse => "carryall --home OTHER join",
            Self::NoSnapshot
            | Self::NothingRemembered
            | Self::Free(FreeError::NoBackup | FreeError::NotSaved(_)) => "carryall backup PATH",
            Self::HoldsFreed => "carryall backup",
            Self::NoRules => "carryall forget --keep-daily 30 --keep-monthly 12 --dry-run",
            Self::UnknownSnapshot(_) | Self::NewestSnapshot | Self::NoParent => {
                "carryall snapshots"
            }
            Self::NotInSnapshot(_) => "carryall ls",
            Self::OutOfReach(_) => "carryall retrace",
            Self::Config(ConfigError::Malformed(_)) => {
                "mend config.toml in the home directory, or delete it: it holds settings alone"
            }
            Self::Config(_) => "carryall config",
            _ => "",
        }
    }
}

impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Self {
        Self {
            error: error.to_string(),
            hint: error.hint().to_owned(),
            exit: error.exit(),
        }
    }
}
