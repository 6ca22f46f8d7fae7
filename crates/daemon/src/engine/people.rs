//! Friends: what we call them, what we keep for them, and inviting new ones.

use std::net::SocketAddr;

use carryall_core::{
    entry::Subject,
    event::Command,
    id::{DeviceId, MemberId},
    invite::{DOOR_ADDRESSES_MAX, DOORS_MAX, Door, Invite, InviteSecret},
    limits,
    node::Node,
    time::Timestamp,
};
use carryall_net::Net;

use super::{Engine, EngineError};
use crate::{api::invite::Invited, clock, founding};

/// What a guest is called who was given no name.
const GUEST: &str = "friend";

impl Engine {
    /// Sets how much we keep for a member.
    pub async fn offer(&self, friend: &str, bytes: u64) -> Result<(), EngineError> {
        let to = self.friend(friend).await?;
        self.command(Command::Offer { to, bytes }).await
    }

    /// Removes a member from the circle.
    pub async fn remove(&self, friend: &str) -> Result<(), EngineError> {
        let subject = Subject::Member(self.friend(friend).await?);
        self.command(Command::Remove { subject }).await
    }

    /// Removes a device of this member that was lost or stolen.
    pub async fn remove_device(&self, name: &str) -> Result<(), EngineError> {
        let device = self.own_device(name).await?;
        let subject = Subject::Device(device);
        self.command(Command::Remove { subject }).await
    }

    /// Finds another device of this member by name, or by the beginning of an id.
    async fn own_device(&self, name: &str) -> Result<DeviceId, EngineError> {
        let world = self.world().await?;
        let look = |node: &mut Node, _| {
            let own = node.circle().devices_of(node.member());
            let others = own.filter(|device| *device != node.device());
            let named = |device| Some((device, node.circle().device(device)?.name.clone()));
            others.filter_map(named).collect::<Vec<_>>()
        };
        let (others, wanted) = (world.inbox.look(look).await?, name.trim());
        let is_meant = |(device, name): &&(DeviceId, String)| {
            name == wanted || wanted.len() >= 4 && device.to_string().starts_with(wanted)
        };
        let mut meant = others.iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (Some((device, _)), None) => Ok(*device),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousFriend(wanted.to_owned())),
            (None, _) => Err(EngineError::UnknownDevice {
                name: wanted.to_owned(),
                others: (others.iter())
                    .map(|(device, name)| format!("{name} ({})", device.short()))
                    .collect(),
            }),
        }
    }

    /// Calls a member by another name.
    pub async fn rename(&self, friend: &str, petname: &str) -> Result<(), EngineError> {
        let member = self.friend(friend).await?;
        let petname = petname.trim().to_owned();
        self.command(Command::Rename {
            member,
            petname: petname.clone(),
        })
        .await?;
        let written = self.petnames().set(self.home(), member, &petname);
        written.map_err(EngineError::Home)
    }

    /// Opens an invite.
    pub async fn invite(&self, petname: String) -> Result<Invited, EngineError> {
        let world = self.world().await?;
        let petname = match petname.trim() {
            "" => GUEST.to_owned(),
            name => name.to_owned(),
        };
        let secret = InviteSecret(founding::random()?);
        let id = secret.id();
        self.command(Command::Invite {
            id,
            petname: petname.clone(),
        })
        .await?;
        let own = world.net.as_ref().map(Net::addresses);
        let invite = world
            .inbox
            .look(move |node, now| invite(node, secret, own, now))
            .await?;
        Ok(Invited {
            link: invite.to_link(),
            petname,
            expires: invite.expires,
        })
    }

    /// Has the core do a command.
    pub(super) async fn command(&self, command: Command) -> Result<(), EngineError> {
        let world = self.world().await?;
        Ok(world.inbox.command(command).await??)
    }

    /// Finds a member by petname, or by the beginning of an id.
    async fn friend(&self, name: &str) -> Result<MemberId, EngineError> {
        let world = self.world().await?;
        let members = world
            .inbox
            .look(|node, _| node.members(clock::now()))
            .await?;
        let wanted = name.trim();
        let called = members.iter().filter(|member| member.petname == wanted);
        let mut found: Vec<MemberId> = called.map(|member| member.member).collect();
        if found.is_empty() && wanted.len() >= 4 {
            let ids = members.iter().map(|member| member.member);
            found = ids
                .filter(|id| id.to_string().starts_with(wanted))
                .collect();
        }
        match found[..] {
            [member] => Ok(member),
            [] => Err(EngineError::UnknownFriend(name.to_owned())),
            _ => Err(EngineError::AmbiguousFriend(name.to_owned())),
        }
    }
}

/// Returns the invite with the doors at which it can be claimed: ours, then those of other members,
/// the ones seen last first.
fn invite(
    node: &Node,
    secret: InviteSecret,
    own: Option<Vec<SocketAddr>>,
    now: Timestamp,
) -> Invite {
    let circle = node.circle();
    let known = |device| {
        circle
            .addresses(device)
            .map(|(_, known)| known.direct.clone())
    };
    let ours = own.or_else(|| known(node.device())).unwrap_or_default();
    let mut others: Vec<(Timestamp, Door)> = circle
        .devices()
        .filter(|(device, _)| *device != node.device())
        .filter_map(|(device, _)| {
            let (at, addresses) = circle.addresses(device)?;
            Some((at, (device, addresses.direct.clone())))
        })
        .collect();
    others.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut doors = vec![(node.device(), ours)];
    doors.extend(others.into_iter().map(|(_, door)| door));
    doors.truncate(DOORS_MAX);
    for (_, addresses) in &mut doors {
        addresses.truncate(DOOR_ADDRESSES_MAX);
    }
    Invite {
        circle: circle.id(),
        secret,
        expires: now + limits::INVITE_VALID,
        doors,
    }
}
