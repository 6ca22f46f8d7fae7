//! The command line. The doc comments here are the manual: clap prints them.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// The exit codes, for `--help`. Where several apply to one `backup`, the one that asks more of its
/// owner wins: time mends 4, but not 3.
const EXIT_CODES: &str = "Exit codes:
    0  done
    1  failed
    2  wrong usage
    3  done in part: some files could not be read, put back or freed (wins over 4)
    4  saved here, not yet safe with friends; goes on by itself as you meet them
    5  not enough shards in reach now
   10  no vault in this home
   11  vault busy, or the node is not running
   12  wrong words or key
  130  interrupted";

/// Back up your files to the devices of people you know, whenever you come near them
///
/// Make a device with `carryall init`, keep `carryall run` running, bring friends in with
/// `carryall invite`, and name your folders once with `carryall backup`. To see all of it happen
/// on this machine, type `carryall demo`.
#[derive(Debug, Parser)]
#[command(name = "carryall", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Directory of this device's vault; by default in the platform's data directory
    #[arg(long, global = true, env = "CARRYALL_HOME", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON, one object per line, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print diagnostics to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Init(InitArgs),
    Run(RunArgs),
    Invite(InviteArgs),
    Join(JoinArgs),
    Backup(BackupArgs),
    Status(StatusArgs),
    Friends(FriendsArgs),
    Snapshots(SnapshotsArgs),
    Forget(ForgetArgs),
    Prune(PruneArgs),
    Ls(LsArgs),
    Find(FindArgs),
    Diff(DiffArgs),
    Mount(MountArgs),
    Free(FreeArgs),
    Restore(RestoreArgs),
    Retrace(RetraceArgs),
    Recover(RecoverArgs),
    Courier(CourierArgs),
    Check(CheckArgs),
    Config(ConfigArgs),
    Pause(PauseArgs),
    Events(EventsArgs),
    Completions(CompletionsArgs),
}

/// Watch the whole story on this machine: meet, back up, lose everything, get it back
///
/// Starts three devices as three real processes in a temporary directory, lets them find each
/// other, backs up 256 MiB of made-up photos, destroys the first device and its files, and
/// restores them on a new one from its friends. Nothing leaves this machine, and nothing is left
/// behind.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Back up this directory instead of made-up photos; it is only read
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) from: Option<PathBuf>,
    /// Make up so many MiB of photos
    #[arg(long, value_name = "N", default_value_t = 256, conflicts_with = "from")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) mib: u64,
    /// Leave the three homes and the logs behind, to look around
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Make this device, and a circle of one; prints the 12 recovery words once
///
/// The words are the only way back after a loss: write them on paper. They are not stored
/// anywhere. To enter a friend's circle instead, use `carryall join`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Your name, as friends see it; by default this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Run the node in the foreground: finds friends, trades shards, watches folders
///
/// Stop it with Ctrl-C at any moment; it goes on where it was.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Look for a courier in this directory too; may be given several times. Mounted disks are found
    /// without it
    #[arg(long = "path", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Invite somebody into the circle: prints a link that works once
///
/// Whoever has the link can join, once, within 72 hours. On a terminal a QR code is printed too.
#[derive(Args, Debug)]
pub(crate) struct InviteArgs {
    /// What you call the guest
    pub(crate) petname: Option<String>,
    /// Write the link to this file, readable by you alone, instead of printing it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Print the QR code even where output is not a terminal
    #[arg(long)]
    pub(crate) qr: bool,
}

/// Make this device and enter a friend's circle by their invite
///
/// The link comes from a prompt, from the first line of standard input, or from a file; never
/// from the command line, where others could see it. On a new home this prints 12 recovery words,
/// as `init` does.
#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// Read the link from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// After `recover`: look for friends on this network, who need no invite to know you
    #[arg(long, conflicts_with = "file")]
    pub(crate) nearby: bool,
    /// Your name, as friends see it; by default this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Make a snapshot now of these folders, and watch them from now on
///
/// Without a path: of the folders remembered from before. The snapshot is complete on this device
/// when the command ends; friends get it as they come near while `carryall run` runs. Ends with
/// code 0 if friends alone could already bring everything back, 4 if not yet, 3 if files could
/// not be read.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Folders or files
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Tell how safe your data is, who holds what, and what is at risk
///
/// What counts as safe: friends alone could bring it back, and have proved that they hold it.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Print again whenever something changes, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

/// See the members of your circle, and what you keep for each other
#[derive(Args, Debug)]
pub(crate) struct FriendsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<FriendsCommand>,
}

/// What to do about friends.
#[derive(Debug, Subcommand)]
pub(crate) enum FriendsCommand {
    /// List the members of your circle (the default)
    List,
    /// Keep up to so many bytes for a friend
    Offer {
        /// Petname, or the first digits of the member's id
        friend: String,
        /// How much: a number of bytes, or with a unit, such as 50GiB or 50GB
        bytes: String,
    },
    /// Remove a friend from the circle, or a device of your own that was lost or stolen
    ///
    /// It is refused everywhere from the moment its word gets round, and what it keeps counts no more.
    /// It may keep the sealed bytes it has for ever. There is no way back but a new invite and new words.
    Remove {
        /// Petname, or the first digits of the member's id
        name: String,
        /// A device of your own is meant, by its name or the first digits of its id
        #[arg(long)]
        device: bool,
    },
    /// Call a friend by another name, here
    Rename {
        /// Petname, or the first digits of the member's id
        friend: String,
        /// The new name
        petname: String,
    },
}

/// List your snapshots
#[derive(Args, Debug)]
pub(crate) struct SnapshotsArgs {}

/// Drop snapshots from the list: those named, or those that no rule keeps
///
/// Each `--keep-...` keeps what it says, of each device; the rest is forgotten. Snapshots of the last
/// 30 days go only if they are named, and the newest never. No data goes before `carryall prune`.
#[derive(Args, Debug)]
pub(crate) struct ForgetArgs {
    /// Snapshot ids, or their first digits
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_last: u32,
    /// Keep the last of each of the last N hours in which there is one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_hourly: u32,
    /// The same for days
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_daily: u32,
    /// The same for weeks
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_weekly: u32,
    /// The same for months
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_monthly: u32,
    /// The same for years
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) keep_yearly: u32,
    /// Keep all of the last so many years, months, days and hours, such as 1y6m or 90d
    #[arg(long, value_name = "SPAN")]
    pub(crate) keep_within: Option<String>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Have friends drop what no snapshot needs
///
/// What is given up stays with them for 30 days on which they run, and a tenth of your bytes a day
/// goes after that; until then `--undo` takes it back.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Have friends keep all that they were to drop, and list all that was forgotten
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) undo: bool,
}

/// List what a snapshot holds, without restoring it
///
/// Bytes of names that are not UTF-8, and control characters, are printed as `\xNN`; a path can be
/// typed in that form too.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Snapshot id, its first digits, or `latest`; with a path inside, after a colon
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub(crate) what: OsString,
    /// List folders in folders too
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

/// Write files back from a snapshot
///
/// Each backed-up folder comes back under its own name inside DIR. What this device does not have
/// is fetched from friends in reach; what nobody in reach has comes by itself later, while the node runs.
/// `carryall retrace` tells how far that is.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Snapshot id, its first digits, or `latest`; with a path inside, after a colon
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub(crate) what: OsString,
    /// Where to put the files; made if it does not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "stop")]
    pub(crate) to: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Give up restores that wait for friends: those to DIR, or all; what is back stays
    #[arg(long, conflicts_with_all = ["overwrite", "patience"])]
    pub(crate) stop: bool,
    /// Give up after so many seconds in which nothing comes within reach [default: 20]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) patience: Option<u64>,
}

/// Find names in snapshots
#[derive(Args, Debug)]
pub(crate) struct FindArgs {
    /// A part of the name, or a pattern such as '*.jpg' or '2026/**/beach*'
    pub(crate) pattern: String,
    /// Look into this snapshot alone: an id, its first digits, or `latest`
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
}

/// Tell what differs between two snapshots
///
/// `+` is new, `-` is gone, `M` holds something else, `U` has another owner, mode or time.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The first snapshot; the one before the second by default
    pub(crate) from: Option<String>,
    /// The second snapshot, with a path inside after a colon
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub(crate) to: OsString,
}

/// Look into snapshots as into folders, without restoring; read-only
///
/// Each snapshot is a folder named by when it was made; `latest` leads to the newest. What this device
/// does not have comes from friends in reach, and only the parts of files that are read.
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// An empty folder
    #[arg(
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        required_unless_present = "webdav",
        conflicts_with = "webdav"
    )]
    pub(crate) at: Option<PathBuf>,
    /// Print an address for a file manager or a browser on this machine instead, where there is no
    /// FUSE: snapshots by WebDAV
    ///
    /// Whoever on this machine has the address can read all of them, until the command ends.
    #[arg(long)]
    pub(crate) webdav: bool,
    /// Show pictures by their previews of at most 256 pixels, which are here however far the pictures are
    #[arg(long)]
    pub(crate) previews: bool,
}

/// Remove local copies of files that friends hold, and see which could go
///
/// A file goes only if it is as the newest backup has it, and friends have proved lately that they hold all
/// that they shall hold of it, so that one more of them could be lost without harm. What was freed
/// stays in every snapshot: `carryall mount` shows it, and `carryall restore` puts it back. Ends with code
/// 3 if some files stay, 4 if all do since friends don't hold enough yet.
#[derive(Args, Debug)]
pub(crate) struct FreeArgs {
    /// A folder or file that is backed up
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Only say what could go, and why the rest stays
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Don't ask
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Instead: let go of what was freed there; from the next backup on it counts as deleted
    #[arg(long, conflicts_with_all = ["dry_run", "yes"])]
    pub(crate) let_go: bool,
}

/// After a loss: see what is missing, who holds it and when you last met them
#[derive(Args, Debug)]
pub(crate) struct RetraceArgs {}

/// On a new machine: come back with your 12 words, near any friend or by an invite
///
/// Asks for the words, then for an invite. With --nearby the words are enough: any friend whose node
/// runs on the same network opens to who has them; so they are with a courier of yours. From standard
/// input: the words on the first line, the invite on the second. Neither is ever taken from the command
/// line.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// Read the invite from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Look for friends on this network instead of asking for an invite
    #[arg(long, conflicts_with = "file")]
    pub(crate) nearby: bool,
    /// Learn the circle from a courier of yours that lies in this directory, instead of an invite
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["file", "nearby"])]
    pub(crate) courier: Option<PathBuf>,
    /// Your name, as friends see it; by default this account's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Carry data between friends who don't meet, on a portable disk
///
/// A courier is plugged in at home, where it gets what friends should have, then at a friend's, whose
/// node takes its part, then at home again. Every `carryall run` that sees it serves it by itself.
#[derive(Args, Debug)]
pub(crate) struct CourierArgs {
    #[command(subcommand)]
    pub(crate) command: CourierCommand,
}

/// What to do about couriers.
#[derive(Debug, Subcommand)]
pub(crate) enum CourierCommand {
    /// Make a courier of a disk: ext4, exFAT and FAT32 will do
    ///
    /// Other files on the disk are left alone. Whoever finds it learns how much lies there, and nothing
    /// else.
    Init {
        /// A directory on the disk, mostly where it is mounted
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// How much may be put on it, such as 500GB; by default nine tenths of what is free
        #[arg(long, value_name = "BYTES")]
        size: Option<String>,
        /// What you call it; by default the directory's name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// List the couriers of your circle
    List,
    /// Remove a courier of yours that was lost or is not needed any more
    ///
    /// Nobody who hears of it serves it from then on.
    Remove {
        /// Its name, or the first digits of its id
        name: String,
    },
}

/// Check this vault, and audit the friends in reach
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Make the index anew from the feeds, the shelf and the spool
    #[arg(long)]
    pub(crate) rebuild_index: bool,
    /// Bring some files back from friends alone, and compare them with what was saved
    #[arg(long)]
    pub(crate) drill: bool,
}

/// Print the settings of this device, or change one
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// The setting to print or change; by default all are printed
    pub(crate) key: Option<String>,
    /// Its new value
    #[arg(requires = "key")]
    pub(crate) value: Option<String>,
}

/// Be quiet for a while: call nobody, send and take nothing, make no snapshot by itself
///
/// What is under way is broken off, and goes on from there later. Friends who call still get news,
/// and what you ask for is done: `backup` saves here, `restore` fetches. The pause outlives a
/// restart of the node, and ends by itself.
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// For how long: 30m, 2h, 1d; `off` ends the pause
    #[arg(value_name = "SPAN")]
    pub(crate) span: String,
}

/// Follow what happens, line by line, until interrupted
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {}

/// Print shell completions
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}
