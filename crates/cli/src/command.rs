//! The commands: one file per verb.

mod backup;
mod check;
mod completions;
mod config;
mod courier;
mod diff;
mod events;
mod find;
mod forget;
mod free;
mod friends;
mod init;
mod invite;
mod join;
mod ls;
mod mount;
mod pause;
mod prune;
mod recover;
mod restore;
mod retrace;
mod run;
mod snapshots;
mod status;

use std::path::PathBuf;

use carryall_daemon::exit::Exit;

use crate::{
    args::{Cli, Command},
    client::{Client, Reach},
    demo,
    error::CommandError,
    home, log,
    ui::Ui,
};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// How to speak.
    pub(crate) ui: Ui,
    /// The home directory, absolute; it may not exist yet.
    pub(crate) home: PathBuf,
}

impl Context {
    /// Connects to the node: the running one, or one in this process that meets nobody.
    pub(crate) fn client(&self) -> Result<Client, CommandError> {
        Client::open(&self.home, Reach::Alone)
    }

    /// Connects to the node: the running one, or one in this process that meets friends meanwhile.
    pub(crate) fn client_among_friends(&self) -> Result<Client, CommandError> {
        Client::open(&self.home, Reach::Friends)
    }
}

/// Runs the command and prints its error, if any.
pub(crate) fn run(cli: Cli) -> Exit {
    let ui = Ui::new(&cli.global);
    dispatch(cli, ui).unwrap_or_else(|error| {
        error.print(ui);
        error.exit
    })
}

fn dispatch(cli: Cli, ui: Ui) -> Result<Exit, CommandError> {
    log::start(cli.global.verbose);
    let command = match cli.command {
        Command::Completions(args) => return completions::run(&args),
        Command::Demo(args) => return demo::run(ui, &args),
        command => command,
    };
    let home = home::locate(cli.global.home)?;
    let context = Context { ui, home };
    match command {
        Command::Init(args) => init::run(&context, args),
        Command::Run(args) => run::run(&context, &args),
        Command::Invite(args) => invite::run(&context, args),
        Command::Join(args) => join::run(&context, args),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Status(args) => status::run(&context, &args),
        Command::Friends(args) => friends::run(&context, args),
        Command::Snapshots(args) => snapshots::run(&context, &args),
        Command::Forget(args) => forget::run(&context, args),
        Command::Prune(args) => prune::run(&context, &args),
        Command::Ls(args) => ls::run(&context, &args),
        Command::Find(args) => find::run(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::Mount(args) => mount::run(&context, &args),
        Command::Free(args) => free::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Retrace(args) => retrace::run(&context, &args),
        Command::Recover(args) => recover::run(&context, args),
        Command::Check(args) => check::run(&context, &args),
        Command::Courier(args) => courier::run(&context, args),
        Command::Config(args) => config::run(&context, args),
        Command::Pause(args) => pause::run(&context, &args),
        Command::Events(args) => events::run(&context, &args),
        Command::Completions(_) | Command::Demo(_) => unreachable!("these two need no home"),
    }
}
