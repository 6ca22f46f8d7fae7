//! `carryall invite`: a link that lets one person in, once.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use carryall_daemon::{
    api::invite::{InviteRequest, Invited},
    exit::Exit,
};
use qrcode::{QrCode, render::unicode::Dense1x2};

use super::Context;
use crate::{args::InviteArgs, error::CommandError, ui};

pub(crate) fn run(context: &Context, args: InviteArgs) -> Result<Exit, CommandError> {
    let request = InviteRequest {
        petname: args.petname.unwrap_or_default(),
    };
    let client = context.client()?;
    // The file first: an invite that can't be written down would stay open for nothing.
    let file = args.file.as_deref().map(create).transpose()?;
    let written = args.file.as_deref().unwrap_or(Path::new(""));
    let invited: Invited = client.post("/v1/invite", &request).inspect_err(|_| {
        if file.is_some() {
            // Best effort: the file is empty and ours.
            let _ = fs::remove_file(written);
        }
    })?;
    context.ui.json(&invited);
    if let Some(mut file) = file {
        writeln!(file, "{}", invited.link)
            .and_then(|()| file.sync_all())
            .map_err(|error| {
                CommandError::failed(format!("cannot write {}", written.display())).because(error)
            })?;
        context.ui.say(format!(
            "The invite for {} is in {}.",
            invited.petname,
            written.display()
        ));
    } else {
        context.ui.say(&invited.link);
    }
    if args.qr || (io::stdout().is_terminal() && args.file.is_none()) {
        context.ui.say(qr(&invited.link)?);
    }
    context.ui.talk(format!(
        "It lets one person in, once, until {}. Send it over a channel that you trust.",
        ui::local_time(invited.expires.0)
    ));
    if !client.is_running() {
        context
            .ui
            .talk("Your guest can only come in while your node runs: carryall run");
    }
    Ok(Exit::Done)
}

fn create(path: &Path) -> Result<File, CommandError> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|error| {
        CommandError::failed(format!(
            "cannot make {}; no invite was opened",
            path.display()
        ))
        .because(error)
    })
}

fn qr(link: &str) -> Result<String, CommandError> {
    let code = QrCode::new(link).map_err(|error| {
        CommandError::failed("the link is too long for a QR code").because(error)
    })?;
    // Dark on light scans on dark terminals too, as long as the quiet zone is drawn.
    let mut image = code.render::<Dense1x2>();
    Ok(image
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build())
}
