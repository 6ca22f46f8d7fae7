//! `carryall completions`: shell completions, made from the command line's own description.

use std::io::{self, ErrorKind, Write};

use carryall_daemon::exit::Exit;
use clap::CommandFactory;

use crate::{
    args::{Cli, CompletionsArgs},
    error::CommandError,
};

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "carryall", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::failed("cannot write to standard output").because(error))
        }
        _ => Ok(Exit::Done),
    }
}
