//! `carryall friends`: list members, offer them room, rename or remove them.

use carryall_daemon::{
    api::status::{
        Friend, Friends, OfferRequest, OnCourier, RemoveRequest, Removed, RenameRequest,
    },
    config,
    exit::Exit,
};

use super::Context;
use crate::{
    args::{FriendsArgs, FriendsCommand},
    error::CommandError,
    notice, ui,
};

pub(crate) fn run(context: &Context, args: FriendsArgs) -> Result<Exit, CommandError> {
    match args.command.unwrap_or(FriendsCommand::List) {
        FriendsCommand::List => list(context),
        FriendsCommand::Offer { friend, bytes } => offer(context, friend, &bytes),
        FriendsCommand::Remove { name, device } => remove(context, name, device),
        FriendsCommand::Rename { friend, petname } => rename(context, friend, petname),
    }
}

fn list(context: &Context) -> Result<Exit, CommandError> {
    let friends: Friends = context.client()?.get("/v1/friends")?;
    context.ui.json(&friends);
    if friends.members.is_empty() {
        context
            .ui
            .say("Nobody else is in your circle yet. Invite somebody: carryall invite NAME");
    }
    for friend in &friends.members {
        context.ui.say(line(friend));
        for line in by_courier(friend) {
            context.ui.say(format!("  {line}"));
        }
    }
    Ok(Exit::Done)
}

/// Returns what there is to say about a friend, in one line.
pub(super) fn line(friend: &Friend) -> String {
    let near = match (friend.reachable, friend.link) {
        (true, Some(link)) => format!("in reach over {}", notice::link(link)),
        (true, None) => "in reach".to_owned(),
        (false, _) => match friend.last_met {
            Some(met) => format!("last met {}", ui::ago(ui::now_ms(), met.0)),
            None => "never met".to_owned(),
        },
    };
    let mut usual = usually(friend.usual.as_deref());
    if friend.usually_here {
        usual.push_str(" on this network");
    }
    if let Some(expected) = friend.expected {
        usual.push_str(&format!(", next {}", ui::ahead(ui::now_ms(), expected.0)));
    }
    let mut failed = String::new();
    for device in friend.devices.iter().filter(|it| it.not_shown > 0) {
        let (name, not_shown, asked) = (&device.name, device.not_shown, device.asked);
        failed.push_str(&format!(
            "; {name} could not show {not_shown} of {asked} pieces it said it keeps"
        ));
    }
    format!(
        "{} ({}), {near}{usual}; keeps {} of {} for you ({} proved), you keep {} of {} for \
         them{failed}",
        friend.petname,
        friend.id.short(),
        ui::bytes(friend.bytes_held_for_me),
        ui::bytes(friend.offered_to_me),
        ui::bytes(friend.audited),
        ui::bytes(friend.bytes_i_hold),
        ui::bytes(friend.offered_by_me),
    )
}

/// Returns what travels to a friend on disks, one line each.
pub(super) fn by_courier(friend: &Friend) -> Vec<String> {
    let name = &friend.petname;
    let on_disk = |it: &OnCourier| {
        let seen = match &it.seen_with {
            Some(with) => format!(", which {with} had last"),
            None => String::new(),
        };
        let bytes = ui::bytes(it.bytes);
        format!(
            "{bytes} on the courier {}{seen}, on the way to {name}",
            it.name
        )
    };
    let mut lines: Vec<String> = friend.on_couriers.iter().map(on_disk).collect();
    if friend.bytes_by_courier > 0 {
        let bytes = ui::bytes(friend.bytes_by_courier);
        lines.push(format!("{bytes} with {name} by courier, not proved yet"));
    }
    lines
}

/// Returns ", usually Fridays around 19:00", or nothing while no habit shows.
pub(super) fn usually(usual: Option<&str>) -> String {
    match usual {
        None => String::new(),
        Some(usual) if usual.starts_with("most days") => format!(", {usual}"),
        Some(usual) => format!(", usually {usual}"),
    }
}

fn offer(context: &Context, friend: String, bytes: &str) -> Result<Exit, CommandError> {
    let bytes = config::bytes(bytes).ok_or_else(|| {
        CommandError::new(Exit::Usage, format!("{bytes:?} is not an amount"))
            .hint(format!("carryall friends offer {friend} 50GiB"))
    })?;
    let sentence = format!("You now keep up to {} for {friend}.", ui::bytes(bytes));
    let _: serde_json::Value = context
        .client()?
        .post("/v1/friends/offer", &OfferRequest { friend, bytes })?;
    context.ui.say(sentence);
    Ok(Exit::Done)
}

fn remove(context: &Context, name: String, device: bool) -> Result<Exit, CommandError> {
    let sentence = format!(
        "{name} is removed: whoever hears of it refuses it from now on, and what it keeps of yours does \
         not count any more."
    );
    let removed: Removed = context
        .client()?
        .post("/v1/friends/remove", &RemoveRequest { name, device })?;
    context.ui.json(&removed);
    context.ui.say(sentence);
    context.ui.say(removed.headline);
    Ok(Exit::Done)
}

fn rename(context: &Context, friend: String, petname: String) -> Result<Exit, CommandError> {
    let sentence = format!("{friend} is called {petname} now.");
    let _: serde_json::Value = context
        .client()?
        .post("/v1/friends/rename", &RenameRequest { friend, petname })?;
    context.ui.say(sentence);
    Ok(Exit::Done)
}
