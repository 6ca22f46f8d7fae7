//! All that crosses the border of the core: events and commands in, effects and notices out.
//!
//! Effects name bytes, shells stream them. Every effect that can fail comes back as an event.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{net::SocketAddr, num::NonZeroU64};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    codec::Signed,
    courier::CourierCard,
    days::Days,
    entry::{Addresses, SignedEntry, Subject},
    feed::WriteError,
    id::{CircleId, DeviceId, InviteId, MemberId, PackId, ShardId, SnapshotId},
    invite::InviteSecret,
    key::Identity,
    link::LinkFacts,
    meeting::{Meeting, Whereabouts},
    message::{Farewell, GroupProof, Message, Refusal},
    policy::{Machine, Policy},
    record::PackRecord,
    time::{Span, Timestamp},
};

/// One connection to a peer, numbered by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// How good a link is, by measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkClass {
    /// Near: full speed.
    Lan,
    /// Far, but nobody in between.
    Direct,
    /// Through somebody's relay.
    Relay,
    /// Somebody pays by the byte.
    Metered,
}

/// By which door a link came in: which secret both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Gate {
    /// The circle's own.
    Circle,
    /// An open invite.
    Invite(InviteId),
    /// A member's rendezvous: somebody who has their words and nothing else.
    Rendezvous(MemberId),
}

/// Why bytes did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum TransferError {
    /// The link broke; what came is kept for the next try.
    #[error("link lost")]
    LinkLost,
    /// The bytes are not the shard's.
    #[error("wrong bytes")]
    WrongBytes,
    /// Our disk refused, for want of room.
    #[error("disk full")]
    DiskFull,
    /// Our disk failed.
    #[error("disk error")]
    Disk,
    /// The source files no longer hold what the pack was made of.
    #[error("source changed")]
    SourceChanged,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A beacon of a member's device was recognised, or its address learnt otherwise.
    Near {
        /// Who is near.
        device: DeviceId,
        /// Digest of what it knows: equal to ours means nothing to tell.
        news: [u8; 4],
        /// Where it can be dialled.
        addresses: Vec<SocketAddr>,
    },
    /// A beacon of a device told its time.
    Skewed {
        /// Whose.
        device: DeviceId,
        /// So many epochs ([`crate::beacon::EPOCH_SECS`]) is its clock ahead of ours.
        epochs: i32,
    },
    /// This device is on another network, or its local time changed.
    Moved {
        /// Where it is.
        whereabouts: Whereabouts,
    },
    /// A device was reached at this address, whoever dialled.
    Reached {
        /// Who.
        device: DeviceId,
        /// Where.
        address: SocketAddr,
    },
    /// This machine came into a network, woke up, or got another address.
    Arrived,
    /// Somebody who can complete our invite, or answer our rendezvous, is near.
    DoorNear {
        /// Who.
        device: DeviceId,
        /// By which gate to knock.
        gate: Gate,
        /// Where it can be dialled.
        addresses: Vec<SocketAddr>,
    },
    /// A connection is up; the transport has proven the peer's device key.
    LinkUp {
        /// The connection.
        link: LinkId,
        /// The peer.
        peer: DeviceId,
        /// Whether we dialled.
        dialled: bool,
        /// The door.
        gate: Gate,
        /// What is known of the link so far.
        facts: LinkFacts,
    },
    /// More is known of a link. Facts may change as often as the way that the link takes.
    Measured {
        /// The connection.
        link: LinkId,
        /// All that is known now.
        facts: LinkFacts,
    },
    /// Something came from the peer, were it only an acknowledgement by its transport.
    Alive {
        /// The connection.
        link: LinkId,
    },
    /// A connection is gone.
    LinkDown {
        /// The connection.
        link: LinkId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The device that was dialled.
        device: DeviceId,
    },
    /// The peer said something.
    Message {
        /// The connection.
        link: LinkId,
        /// What it said.
        message: Message,
    },
    /// The peer said something that can't be decoded.
    Garbage {
        /// The connection.
        link: LinkId,
    },
    /// Answer to [`Effect::Reserve`]: the offset to go on from, or why not.
    Reserved {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// Bytes that are here from an earlier try, or the refusal.
        outcome: Result<u32, Refusal>,
    },
    /// Answer to [`Effect::Receive`]: verified (and, on the shelf, durable), or why not.
    Received {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// The outcome.
        outcome: Result<(), TransferError>,
    },
    /// Answer to [`Effect::SendShard`]: all bytes are handed to the transport, or why not.
    Sent {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// The outcome.
        outcome: Result<(), TransferError>,
    },
    /// Answer to [`Effect::Prove`].
    Proof {
        /// The connection.
        link: LinkId,
        /// From the challenge.
        nonce: u64,
        /// The shard.
        shard: ShardId,
        /// The group.
        group: u32,
        /// Nothing if the shard can't be read.
        proof: Option<GroupProof>,
    },
    /// Answer to [`Effect::Append`] of own entries: the feed is durable up to this length.
    Appended {
        /// Number of own entries on stable storage.
        len: u64,
    },
    /// A shard of somebody's is gone or damaged on our shelf.
    ShardLost {
        /// Whose.
        owner: MemberId,
        /// The shard.
        shard: ShardId,
    },
    /// Answer to [`Effect::Discard`]: these are in the trash now, durably. Others were not on the shelf,
    /// or the disk refused.
    Discarded {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Answer to [`Effect::Retrieve`]: these are on the shelf again, durably.
    Retrieved {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Answer to [`Effect::Erase`]: these are gone for good.
    Erased {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Answer to [`Effect::Respool`].
    Respooled {
        /// The pack.
        pack: PackId,
        /// Whether it is in the spool, durably.
        good: bool,
    },
    /// Answer to [`Effect::Scrub`].
    Scrubbed {
        /// Whether the shard is there, as it was written.
        good: bool,
    },
    /// A pack of ours can no longer be rebuilt here: its sources changed before friends had it.
    PackBroken {
        /// The pack.
        pack: PackId,
    },
    /// Entries lay on a courier. They are checked like those of any peer; what does not fit is passed
    /// over.
    Carried {
        /// The entries, of any feeds, each feed's in order.
        entries: Vec<SignedEntry>,
    },
    /// A parcel that [`crate::node::Node::admit_parcel`] admitted is durable on the shelf, or why not.
    ParcelTaken {
        /// The visit at the courier: a number that no connection has.
        visit: LinkId,
        /// The shard.
        shard: ShardId,
        /// The outcome.
        outcome: Result<(), TransferError>,
    },
    /// Answer to [`Effect::DropParcels`]: these are gone. Others are tried again later.
    ParcelsDropped {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// A visit at a courier is over; what was admitted in it and did not come does not come any more.
    VisitOver {
        /// The visit.
        visit: LinkId,
    },
    /// The shell had a look at the machine.
    Machine(Machine),
    /// Answer to [`Effect::PackFetched`]: the pack is opened and its content used.
    PackUsed {
        /// The pack.
        pack: PackId,
        /// False if the shards did not make the pack after all.
        good: bool,
    },
    /// Answer to [`Effect::SetAside`].
    SetAside {
        /// The pack.
        pack: PackId,
        /// False if there is no room for its shards, or the disk failed: they are forgotten.
        good: bool,
    },
}

/// What the owner wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A pack was sealed here and is to be placed with friends.
    AddPack {
        /// The pack.
        pack: PackRecord,
        /// Whether this device can make its shards: from the spool, or from the source files.
        available: bool,
    },
    /// A pack is lost: its sources changed before friends had enough of it. What is left of them
    /// comes in new packs.
    DropPack {
        /// The pack.
        pack: PackId,
    },
    /// No snapshot needs these packs any more: have friends drop their shards. They may be given back
    /// for [`crate::limits::TRASH_DAYS`] observed days.
    Release {
        /// The packs.
        packs: Vec<PackId>,
    },
    /// Files are about to leave this device, since friends hold the packs that they lie in. Refused
    /// unless [`crate::free`] lets all of these packs go.
    Free {
        /// The packs that hold the files, and the folder lists that lead to them.
        packs: Vec<PackId>,
        /// Those that this device can't make any more without the files.
        unmade: Vec<PackId>,
    },
    /// No longer list these snapshots, on any device of this member; or list them again.
    Forget {
        /// The snapshots.
        snapshots: Vec<SnapshotId>,
        /// Whether they are forgotten.
        forgotten: bool,
    },
    /// Take back whatever any of our devices has released: friends bring back what is in their trash.
    Veto,
    /// A snapshot is complete: publish its sealed head.
    Publish {
        /// The sealed [`crate::record::HeadRecord`].
        head: Vec<u8>,
    },
    /// Open an invite.
    Invite {
        /// Its public key.
        id: InviteId,
        /// What we call the guest.
        petname: String,
    },
    /// Claim an invite, or knock by rendezvous, at this device.
    Knock {
        /// The circle to join; nothing if it is not known, for a rendezvous.
        circle: Option<CircleId>,
        /// By which gate.
        gate: Gate,
        /// The invite's secret; nothing for a rendezvous.
        secret: Option<InviteSecret>,
        /// Where: devices and addresses from the invite.
        doors: Vec<(DeviceId, Vec<SocketAddr>)>,
    },
    /// Keep up to so many bytes for a member.
    Offer {
        /// For whom.
        to: MemberId,
        /// How much.
        bytes: u64,
    },
    /// A portable disk of ours carries for the circle from now on: [`crate::node::Node::new_courier`]
    /// made its label, and that is on the disk.
    AddCourier {
        /// The label's card.
        card: Signed<CourierCard>,
    },
    /// Remove a member from the circle, or a device or a courier of our own.
    Remove {
        /// Who.
        subject: Subject,
    },
    /// Call a member by another name, here.
    Rename {
        /// Whom.
        member: MemberId,
        /// The name.
        petname: String,
    },
    /// Our addresses changed.
    Locate {
        /// The new ones.
        addresses: Addresses,
    },
    /// Bring these packs here, in this order, for a restore.
    Fetch {
        /// The packs.
        packs: Vec<PackRecord>,
    },
    /// Stop bringing packs here.
    StopFetch,
    /// Show parts of shards of ours, each a group of [`crate::limits::GROUP_BYTES`], by whoever has them
    /// and is in reach. Each is answered by [`Effect::PartRead`], sooner or later.
    Read {
        /// Shards, and which group of each.
        parts: Vec<(ShardId, u32)>,
    },
    /// These parts are not wanted any more.
    StopRead {
        /// Shards, and which group of each.
        parts: Vec<(ShardId, u32)>,
    },
    /// Audit everything that friends in reach hold.
    Audit,
    /// Keep to these rules from now on.
    Govern(Policy),
    /// Do nothing by itself until then; nothing ends a pause before its time.
    Pause {
        /// Until when.
        until: Option<Timestamp>,
    },
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandRefused {
    /// No such member.
    #[error("there is no member {0} in this circle")]
    UnknownMember(MemberId),
    /// Somebody else's device: only its owner can remove it, or the circle the owner.
    #[error("device {0} is not yours; its owner can remove it, or you its owner")]
    ForeignDevice(DeviceId),
    /// To remove this device or its owner is another one's to do.
    #[error("this device can't remove itself or its owner; nothing was changed")]
    Ourselves,
    /// This device isn't in a circle yet.
    #[error("this device has not joined its circle yet")]
    NotJoined,
    /// Friends know more of this device's own feed than it does.
    #[error("this device came back older than its friends know it, and waits for what they send")]
    Behind,
    /// Friends don't hold enough of a pack for its files to go.
    #[error("pack {} is not safe enough with friends any more; nothing was removed", .0.short())]
    Unsafe(PackId),
    /// What was to be written doesn't fit an entry.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A name is empty or too long.
    #[error("a name has 1 to {max} bytes")]
    BadName {
        /// The limit.
        max: usize,
    },
}

/// Where an incoming shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// Onto the shelf, durably, for its owner.
    Shelf {
        /// The owner.
        owner: MemberId,
    },
    /// Among the parcels, durably: its owner entrusts it to us for somebody else.
    Parcel {
        /// The owner.
        owner: MemberId,
    },
    /// Into memory, for a pack of our own that is being fetched.
    Fetch {
        /// The pack.
        pack: PackId,
        /// The shard's index in it.
        index: u8,
    },
}

/// Where an outgoing shard comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From the shelf.
    Shelf {
        /// Its owner.
        owner: MemberId,
    },
    /// From the parcels.
    Parcel {
        /// Its owner.
        owner: MemberId,
    },
    /// Made from a pack of our own: from the spool, or rebuilt from the source files.
    Own {
        /// The pack.
        pack: PackId,
        /// The shard's index in it.
        index: u8,
    },
}

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect. Answered by `LinkUp` or `DialFailed`.
    Dial {
        /// Whom.
        device: DeviceId,
        /// Where, best first.
        addresses: Vec<SocketAddr>,
        /// By which gate.
        gate: Gate,
        /// A dial that takes longer has failed.
        patience: Span,
    },
    /// Say this.
    Send {
        /// The connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Read these entries of a feed from disk and say them, in frames that fit.
    SendEntries {
        /// The connection.
        link: LinkId,
        /// Whose feed.
        device: DeviceId,
        /// First entry.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// Say farewell, then close. Answered by `LinkDown`.
    Close {
        /// The connection.
        link: LinkId,
        /// Why.
        farewell: Farewell,
    },
    /// Close at once, without a word: nobody is there to hear it. Answered by `LinkDown`.
    GiveUp {
        /// The connection.
        link: LinkId,
    },
    /// See whether there is room for this shard on the disk, and how much of it is here already.
    /// Answered by `Reserved`.
    Reserve {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// Its owner.
        owner: MemberId,
        /// Its length.
        bytes: u32,
        /// Whether it goes among the parcels instead of onto the shelf.
        parcel: bool,
    },
    /// Take the peer's stream for this shard. Answered by `Received`.
    Receive {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// Its whole length.
        bytes: u32,
        /// Where the stream begins.
        offset: u32,
        /// Where it goes.
        sink: Sink,
    },
    /// Open a stream and send this shard. Answered by `Sent`.
    SendShard {
        /// The connection.
        link: LinkId,
        /// The shard.
        shard: ShardId,
        /// From this byte on.
        offset: u32,
        /// Where it comes from.
        source: Source,
        /// The greater goes first: metadata is above data, and what was begun above what follows.
        priority: i32,
    },
    /// Send shards on this link no faster than this from now on, all of them together. There is no
    /// limit before.
    Limit {
        /// The connection.
        link: LinkId,
        /// Bytes of shards per second; nothing for no limit.
        rate: Option<NonZeroU64>,
    },
    /// Make a proof of this group. Answered by `Proof`.
    Prove {
        /// The connection.
        link: LinkId,
        /// From the challenge.
        nonce: u64,
        /// The shard.
        shard: ShardId,
        /// Its owner.
        owner: MemberId,
        /// The group.
        group: u32,
    },
    /// Append to a feed on disk, in order. Own entries must reach stable storage, then `Appended`
    /// follows; nobody hears of them before. Others' can be had again and need not be synced.
    Append {
        /// Whose feed.
        device: DeviceId,
        /// Sequence number of the first.
        from: u64,
        /// The entries.
        entries: Vec<SignedEntry>,
        /// Whether this is our own feed.
        own: bool,
    },
    /// Move shards from the shelf to the trash, durably. Answered by `Discarded`. This, the next three
    /// and `Append` are done in the order in which they are asked for.
    Discard {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
        /// The count of observed days, to be kept with them.
        day: u32,
    },
    /// Move shards from the trash back to the shelf, durably. Answered by `Retrieved`.
    Retrieve {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Remove shards from the trash for good. Answered by `Erased`.
    Erase {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Remove parcels for good, after the entries that were to be appended before. Answered by
    /// `ParcelsDropped`.
    DropParcels {
        /// Whose.
        owner: MemberId,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// Store the count of observed days. If it is lost, deletion takes longer.
    KeepDays {
        /// The count.
        days: Days,
    },
    /// `k` shards of this pack are here. Rebuild, open, use. Answered by `PackUsed`.
    PackFetched {
        /// The pack.
        pack: PackRecord,
    },
    /// `k` shards of this pack are here for a repair. Rebuild it and put it into the spool. Answered by
    /// `Respooled`.
    Respool {
        /// The pack.
        pack: PackRecord,
    },
    /// A part that was to be read: its bytes, as the shard's id proves.
    PartRead {
        /// The shard.
        shard: ShardId,
        /// Which group of it.
        group: u32,
        /// The group.
        data: Vec<u8>,
    },
    /// Nobody in reach has more of this pack: write those of its shards that are in memory to the disk,
    /// where they wait for the others. Answered by `SetAside`.
    SetAside {
        /// The pack.
        pack: PackId,
    },
    /// Remove what lies aside of a pack. What can't be removed now is tried again at the next start.
    DropAside {
        /// The pack.
        pack: PackId,
    },
    /// Read a whole shard on the shelf and check it. If it is damaged, remove it and say `ShardLost`
    /// first. Answered by `Scrubbed`.
    Scrub {
        /// Its owner.
        owner: MemberId,
        /// The shard.
        shard: ShardId,
    },
    /// Our identity changed (a circle joined, keys recovered): store it durably before going on.
    Adopt {
        /// The new one.
        identity: Box<Identity>,
    },
    /// A meeting, or a piece of one, is over: add it to the history. Losing it loses no data.
    Remember {
        /// The meeting.
        meeting: Meeting,
    },
    /// Enough friends proved that they hold the pack: its spooled copy may go.
    Unspool {
        /// The pack.
        pack: PackId,
    },
    /// Tell people, scripts and traces.
    Notify(Notice),
}

/// What people, scripts and traces are told. One truth for all readers; only fields are added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// An encounter began.
    Met {
        /// The device.
        device: DeviceId,
        /// Its member.
        member: MemberId,
        /// The link.
        link: LinkClass,
    },
    /// A link turned out to be another one than it seemed at first.
    Judged {
        /// The device.
        device: DeviceId,
        /// Its member.
        member: MemberId,
        /// The link, as it is judged now.
        link: LinkClass,
    },
    /// An encounter ended.
    Parted {
        /// The device.
        device: DeviceId,
        /// Its member.
        member: MemberId,
        /// Shard bytes sent to it.
        sent: u64,
        /// Shard bytes received from it.
        received: u64,
    },
    /// A shard of ours is durable at a friend's, by its word.
    Placed {
        /// Our pack.
        pack: PackId,
        /// The shard.
        shard: ShardId,
        /// The holder.
        holder: DeviceId,
    },
    /// A friend's shard is durable here.
    Kept {
        /// Its owner.
        owner: MemberId,
        /// The shard.
        shard: ShardId,
        /// Its length.
        bytes: u32,
    },
    /// A friend carries shards of ours to somebody else.
    Entrusted {
        /// The friend's device.
        carrier: DeviceId,
        /// To whom.
        to: MemberId,
        /// How many.
        shards: u32,
    },
    /// A shard that we carried for a friend has arrived.
    Delivered {
        /// Whose it is.
        owner: MemberId,
        /// To whom.
        to: MemberId,
        /// The shard.
        shard: ShardId,
    },
    /// A friend proved that it holds shards of ours.
    Proved {
        /// The holder.
        holder: DeviceId,
        /// How many.
        shards: u32,
    },
    /// A friend could not prove that it holds a shard it signed for.
    NotProved {
        /// The holder.
        holder: DeviceId,
        /// The shard.
        shard: ShardId,
    },
    /// Friends alone can rebuild this pack now, by proof.
    PackSafe {
        /// The pack.
        pack: PackId,
    },
    /// Friends alone can rebuild everything now, by proof.
    AllSafe {
        /// How many packs.
        packs: u64,
    },
    /// A member was admitted.
    Joined {
        /// Who.
        member: MemberId,
        /// What we call them.
        petname: String,
    },
    /// We were admitted.
    Welcomed {
        /// By whose device.
        by: DeviceId,
    },
    /// We were turned away.
    TurnedAway {
        /// By whose device.
        by: DeviceId,
        /// Why.
        farewell: Farewell,
    },
    /// A snapshot was published.
    Published {
        /// When.
        time: Timestamp,
    },
    /// A pack for a restore arrived.
    Fetched {
        /// The pack.
        pack: PackId,
    },
    /// A friend has no room for us, or grants none.
    NoRoom {
        /// The friend's device.
        holder: DeviceId,
        /// Why.
        reason: Refusal,
    },
    /// Content changed before anybody had it: these packs are incomplete and will be made anew.
    SourceChanged {
        /// The pack.
        pack: PackId,
    },
    /// Another device of ours asked a friend to drop shards of ours.
    Released {
        /// Which device asked.
        by: DeviceId,
        /// The holder.
        holder: DeviceId,
        /// How many shards.
        shards: u32,
    },
    /// A friend's shards went to the trash here, because the friend released them.
    Discarded {
        /// Their owner.
        owner: MemberId,
        /// How many.
        shards: u32,
    },
    /// A friend's shards came back from the trash here.
    Retrieved {
        /// Their owner.
        owner: MemberId,
        /// How many.
        shards: u32,
    },
    /// A friend's shards were erased from the trash here.
    Erased {
        /// Their owner.
        owner: MemberId,
        /// How many.
        shards: u32,
        /// How many bytes that gave back.
        bytes: u64,
    },
    /// Two entries of one feed contradict each other: the device is not believed any more.
    Forked {
        /// The device.
        device: DeviceId,
    },
    /// A pack that this device could not make any more was brought back from friends, so that others
    /// get what is missing.
    Repairing {
        /// The pack.
        pack: PackId,
    },
    /// Files were brought back from friends alone, to see whether that works.
    Drilled {
        /// How many came back as they had been saved.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// How many did not.
        failed: u64,
    },
    /// A restore that went on by itself is over.
    Restored {
        /// Files that are in place.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// What could not be put back.
        failed: u64,
    },
    /// A snapshot was made here.
    SnapshotMade {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// Snapshots were forgotten by the owner's rules, without being asked.
    Tidied {
        /// How many.
        snapshots: u64,
        /// Bytes at friends that only they needed, and that friends may drop.
        bytes: u64,
    },
    /// A courier is plugged in.
    CourierHere {
        /// The courier.
        courier: DeviceId,
        /// Its owner's name for it.
        name: String,
    },
    /// All that there is to do at a courier is done, and on its disk: it is safe to unplug.
    CourierSynced {
        /// The courier.
        courier: DeviceId,
        /// Its owner's name for it.
        name: String,
        /// Bytes of shards that were taken from it.
        taken: u64,
        /// Bytes of shards that were put on it.
        put: u64,
    },
    /// Something about a courier is not as it should be; all else went on.
    CourierProblem {
        /// What, in one sentence.
        what: String,
    },
}
