//! Couriers: making, listing and removing portable disks of this member.

use std::path::{Path, PathBuf};

use carryall_core::{
    entry::Subject,
    event::Command,
    id::{DeviceId, MemberId},
    node::Node,
    time::Timestamp,
};
use carryall_store::courier::{self, CourierError, DIRECTORY, beneath::Beneath};

use super::{Engine, EngineError, absolute, blocking};
use crate::{
    api::{
        courier::{CourierInfo, InitRequest, Made},
        path,
    },
    courier::Couriers,
};

/// Of a disk whose size is not said, so much is left to its owner's other files.
const OTHERS_PART: u64 = 10;

impl Engine {
    /// Returns where couriers are looked for, and which are here.
    pub(crate) fn couriers(&self) -> &Couriers {
        &self.0.couriers
    }

    /// Looks for couriers in these directories too.
    pub fn look_for_couriers_at(&self, paths: Vec<PathBuf>) {
        self.couriers().look_at(paths);
    }

    /// Tells whether nothing is to be done by itself now.
    pub(crate) async fn is_paused(&self) -> bool {
        let Ok(world) = self.world().await else {
            return true;
        };
        let look = world.inbox.look(|node, now| node.is_paused(now));
        look.await.unwrap_or(true)
    }

    /// Makes a courier of a disk.
    pub async fn make_courier(&self, request: InitRequest) -> Result<Made, EngineError> {
        let place = absolute(&request.dir)?;
        let world = self.world().await?;
        let opened = place.clone();
        let (disk, free) = blocking(move || {
            let disk = Beneath::open(&opened).map_err(EngineError::CourierPlace)?;
            if courier::is_there(&disk, Path::new(DIRECTORY)) {
                return Err(CourierError::Exists.into());
            }
            let room = carryall_store::disk::Disk::room(&disk, Path::new(""));
            let (free, _) = room.map_err(EngineError::CourierPlace)?;
            Ok((disk, free))
        })
        .await?;
        let bytes = request.bytes.unwrap_or(free - free / OTHERS_PART);
        let name = match request.name.trim() {
            "" => place.file_name().map(|name| name.to_string_lossy().into()),
            name => Some(name.to_owned()),
        };
        let name: String = name.unwrap_or_else(|| "courier".to_owned());
        if self.own_couriers().await?.iter().any(|(_, it)| *it == name) {
            return Err(EngineError::CourierNameTaken(name));
        }
        let called = name.clone();
        let made = move |node: &mut Node, now: Timestamp| node.new_courier(now, &called, bytes);
        let (card, label) = world.inbox.look(made).await??;
        // First the disk: one that can't be written leaves no trace in the circle.
        blocking(move || Ok(courier::create(&disk, Path::new(DIRECTORY), &label)?)).await?;
        let courier = card.verify().map_or(DeviceId([0; 32]), |it| it.courier);
        self.command(Command::AddCourier { card }).await?;
        Ok(Made {
            courier,
            name,
            bytes,
        })
    }

    /// Returns all couriers of the circle.
    pub async fn list_couriers(&self) -> Result<Vec<CourierInfo>, EngineError> {
        let here = self.couriers().here();
        let look = move |node: &mut Node, _| {
            let all = node.circle().couriers();
            let info = all.map(|card| {
                let here = here.get(&card.courier);
                CourierInfo {
                    courier: card.courier,
                    name: card.name.clone(),
                    owner: card.member,
                    petname: node.petname(card.member),
                    own: card.member == node.member(),
                    bytes: card.bytes,
                    made: card.issued,
                    path: here.map(|it| path::to_text(it.path.as_os_str().as_encoded_bytes())),
                    synced: here.is_some_and(|it| it.synced),
                }
            });
            info.collect()
        };
        Ok(self.world().await?.inbox.look(look).await?)
    }

    /// Removes a courier of this member: nobody who hears of it serves it any more.
    pub async fn remove_courier(&self, name: &str) -> Result<(), EngineError> {
        let (own, wanted) = (self.own_couriers().await?, name.trim());
        let is_meant = |(courier, name): &&(DeviceId, String)| {
            name == wanted || wanted.len() >= 4 && courier.to_string().starts_with(wanted)
        };
        let meant: Vec<_> = own.iter().filter(is_meant).collect();
        let [(courier, _)] = meant[..] else {
            let name = wanted.to_owned();
            let others = own.into_iter().map(|(_, name)| name).collect();
            return Err(EngineError::UnknownCourier { name, others });
        };
        let subject = Subject::Device(*courier);
        self.command(Command::Remove { subject }).await
    }

    async fn own_couriers(&self) -> Result<Vec<(DeviceId, String)>, EngineError> {
        let look = |node: &mut Node, _| {
            let member: MemberId = node.member();
            let all = node.circle().couriers();
            let own = all.filter(|card| card.member == member);
            own.map(|card| (card.courier, card.name.clone())).collect()
        };
        Ok(self.world().await?.inbox.look(look).await?)
    }
}
