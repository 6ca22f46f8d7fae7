//! `carryall courier`: portable disks that carry between friends who don't meet.

use std::os::unix::ffi::OsStrExt;

use carryall_daemon::{
    api::{
        courier::{CourierInfo, CourierList, InitRequest, Made, RemoveCourierRequest},
        path,
    },
    config,
    exit::Exit,
};

use super::Context;
use crate::{
    args::{CourierArgs, CourierCommand},
    error::CommandError,
    ui,
};

pub(crate) fn run(context: &Context, args: CourierArgs) -> Result<Exit, CommandError> {
    match args.command {
        CourierCommand::Init { dir, size, name } => init(context, &dir, size.as_deref(), name),
        CourierCommand::List => list(context),
        CourierCommand::Remove { name } => remove(context, name),
    }
}

fn init(
    context: &Context,
    dir: &std::path::Path,
    size: Option<&str>,
    name: Option<String>,
) -> Result<Exit, CommandError> {
    let bytes = match size {
        None => None,
        Some(size) => Some(config::bytes(size).ok_or_else(|| {
            CommandError::new(Exit::Usage, format!("{size:?} is not an amount"))
                .hint("carryall courier init DIR --size 500GB")
        })?),
    };
    let absolute = std::path::absolute(dir).map_err(|error| {
        CommandError::failed(format!("cannot find {}", dir.display())).because(error)
    })?;
    let made: Made = context.client()?.post(
        "/v1/couriers/init",
        &InitRequest {
            dir: path::to_text(absolute.as_os_str().as_bytes()),
            bytes,
            name: name.unwrap_or_default(),
        },
    )?;
    context.ui.json(&made);
    context.ui.say(format!(
        "{} is a courier now, for up to {}. Every node of your circle that sees it plugged in serves \
         it by itself, and says when it is safe to unplug.",
        made.name,
        ui::bytes(made.bytes)
    ));
    Ok(Exit::Done)
}

fn list(context: &Context) -> Result<Exit, CommandError> {
    let list: CourierList = context.client()?.get("/v1/couriers")?;
    context.ui.json(&list);
    if list.couriers.is_empty() {
        context
            .ui
            .say("There is no courier in your circle yet. Make one: carryall courier init DIR");
    }
    for courier in &list.couriers {
        context.ui.say(line(courier));
    }
    Ok(Exit::Done)
}

fn line(courier: &CourierInfo) -> String {
    let whose = match courier.own {
        true => "yours".to_owned(),
        false => format!("{}'s", courier.petname),
    };
    let here = match (&courier.path, courier.synced) {
        (None, _) => "not plugged in here".to_owned(),
        (Some(path), false) => format!("at work in {path}"),
        (Some(path), true) => format!("in {path}, safe to unplug"),
    };
    format!(
        "{} ({}), {whose}, up to {}; {here}",
        courier.name,
        courier.courier.short(),
        ui::bytes(courier.bytes)
    )
}

fn remove(context: &Context, name: String) -> Result<Exit, CommandError> {
    let sentence = format!(
        "The courier {name} is removed: nobody who hears of it serves it any more. What lies on it tells \
         its finder nothing."
    );
    let done: serde_json::Value = context
        .client()?
        .post("/v1/couriers/remove", &RemoveCourierRequest { name })?;
    context.ui.json(&done);
    context.ui.say(sentence);
    Ok(Exit::Done)
}
