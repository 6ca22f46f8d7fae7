//! Every bound in the system, one constant each with its reason.

use crate::time::Span;

/// Content of a data pack before sealing, in bytes. Large enough that a friend's disk seeks rarely,
/// small enough that a few fit in memory on a small NAS.
pub const PACK_BYTES: usize = 16 << 20;
/// Largest sealed pack, in bytes: a full pack, its header, the last padding bucket and the tags.
pub const SEALED_BYTES_MAX: usize = PACK_BYTES + PACK_BYTES / 4;
/// Largest shard, in bytes: a whole sealed pack (k = 1) rounded up to the coding granule.
pub const SHARD_BYTES_MAX: u64 = SEALED_BYTES_MAX as u64 + 64;
/// Most data shards of a pack. Above it, coding gains nothing among people who know each other, and
/// a set of shard indices no longer fits 128 bits.
pub const DATA_SHARDS_MAX: u8 = 60;

/// Most chunks of one pack: many tiny files must not make a header of unbounded length (2.5 MiB).
pub const PACK_CHUNKS_MAX: usize = 65_536;
/// For how long a device that came back by the words keeps the secret that opens what its owner's lost
/// devices wrapped last.
pub const RECOVERY_KEPT: Span = Span::days(30);
/// Most epochs that one device of an owner begins, one for each device that is removed: all of them, for
/// every reader, fit one entry.
pub const EPOCHS_EACH_MAX: usize = 16;
/// Most epochs of a vault.
pub const EPOCHS_MAX: usize = 1 + MEMBER_DEVICES_MAX * EPOCHS_EACH_MAX;

/// Longest name in a directory, in bytes: four times what file systems on Linux allow, so that names
/// of other systems fit in UTF-8.
pub const FILE_NAME_BYTES_MAX: usize = 1020;
/// Longest path and target of a symbolic link, in bytes.
pub const PATH_BYTES_MAX: usize = 32 << 10;
/// Longest encoded tree, in bytes: some half a million names in one directory.
pub const TREE_BYTES_MAX: usize = 64 << 20;
/// Longest encoded segment of the index, in bytes. Segments that would exceed it are not merged.
pub const SEGMENT_BYTES_MAX: usize = 32 << 20;
/// Longest encoded snapshot record, in bytes.
pub const SNAPSHOT_BYTES_MAX: usize = 16 << 20;

/// Smallest, mean and largest chunk of a large file, in bytes (FastCDC).
pub const CHUNK_BYTES_MIN: usize = 256 << 10;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MEAN: usize = 1 << 20;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Longest preview of a picture, in bytes.
pub const PREVIEW_BYTES_MAX: usize = 64 << 10;

/// Largest feed entry, in bytes, so that one always fits a frame.
pub const ENTRY_BYTES_MAX: usize = 48 << 10;
/// Largest control message, in bytes: what an unproven peer can make us buffer.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// Most devices of a circle. Bounds the version vector and the beacon table.
pub const DEVICES_MAX: usize = 256;
/// Most shards in one receipt, so that it fits [`ENTRY_BYTES_MAX`] with 12 bytes for each.
pub const RECEIPT_SHARDS_MAX: usize = 3072;
/// Most outcomes in one audit entry, so that it fits [`ENTRY_BYTES_MAX`] even if no two of them share a
/// run, which takes six bytes.
pub const AUDIT_SHARDS_MAX: usize = 4096;
/// Most devices of one member. A person who replaces one every year reaches it in a lifetime.
pub const MEMBER_DEVICES_MAX: usize = 32;
/// Most feeds kept: those of all devices and as many of removed or not yet admitted ones.
pub const FEEDS_MAX: usize = 2 * DEVICES_MAX;
/// Most admissions, revocations and invitations of one feed that count, of each. Above it somebody
/// floods the circle.
pub const FEED_RULINGS_MAX: usize = 512;
/// Bytes of sealed heads of one feed that stay in memory however old they are; the feed has them all.
pub const FEED_HEAD_BYTES_MAX: usize = 1 << 20;
/// For how long heads stay that exceed these: who misses a stolen device a month later finds the month
/// before.
pub const HEADS_KEPT: Span = Span::days(60);
/// Bytes of heads of one feed and one day: some 280.
pub const DAY_HEAD_BYTES_MAX: usize = 96 << 10;
/// Wraps of one feed that stay in memory: so many of the oldest, which a thief of the device
/// can't displace, and so many of the newest.
pub const FEED_WRAPS_MAX: usize = 8;
/// Longest name of a member or device, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
/// Most addresses that a device publishes.
pub const ADDRESSES_MAX: usize = 16;

/// Verified ranges are groups of this many bytes, in audits and on the shelf (16 BLAKE3 chunks).
pub const GROUP_BYTES: usize = 16 << 10;
/// Most probes of one challenge message, and of what is not due at one meeting: 60 of a holder's
/// shards find one lost in 14 with 99 % (research: Ateniese et al.).
pub const PROBES_MAX: usize = 60;

/// Shards on their way to one peer at a time. Four hide the peer's fsync without filling memory.
pub const SENDS_IN_FLIGHT_MAX: usize = 4;
/// Shards on their way to us from one peer at a time while fetching.
pub const FETCHES_IN_FLIGHT_MAX: usize = 4;
/// Packs being fetched at a time, over all peers. Bounds the memory of a restore.
pub const PACKS_IN_FLIGHT_MAX: usize = 5;
/// Parcels that are carried for an owner take no more than this part of what is offered to it, and lie
/// within that. They give way to what is to be kept for the owner.
pub const CARRY_PART: u64 = 10;
/// Most friends who carry the same shard to the same member. A second one shortens no wait, and takes
/// its room all the same; see docs/performance.md.
pub const CARRIERS_MAX: usize = 1;
/// A parcel is carried for so long. Whoever was not met by then is hardly met at all.
pub const PARCEL_VALID: Span = Span::days(30);
/// A parcel whose bill is not known here is kept for so long: its owner writes it within seconds, but
/// the link may break before.
pub const UNBILLED_KEPT: Span = Span::days(1);
/// How often a carrier looks through its parcels for what has grown old.
pub const PARCELS_REVIEW: Span = Span::hours(1);
/// Most shards of one bill: it is sealed three times, and must fit [`ENTRY_BYTES_MAX`].
pub const ENTRUSTED_SHARDS_MAX: usize = 1024;
/// On a friend's courier, our parcels take no more than this part of it.
pub const COURIER_GUESTS_PART: u64 = 4;
/// So much stays free on a courier's disk for feeds and proofs.
pub const COURIER_KEEP_FREE: u64 = 64 << 20;
/// How long links stay open after a read: whoever looks at one picture looks at the next.
pub const READ_LINGER: Span = Span::secs(20);
/// How long shards lie aside for packs that nobody wants back any more: a restore that was broken off
/// may be begun again.
pub const ASIDE_KEPT: Span = Span::days(7);
/// How long to begin only what those in reach make whole, after there was no room to set more aside.
pub const ASIDE_FULL_REST: Span = Span::secs(600);
/// What stays free of the disk when shards are set aside: the owner goes on working meanwhile.
pub const ASIDE_FLOOR_BYTES: u64 = 1 << 30;

/// A holder's proof counts for this long (research: Ateniese et al., a sweep a month).
pub const AUDIT_VALID: Span = Span::days(30);
/// A device whose owner's other ones have written for so long since it did is not counted on while
/// somebody else will do.
pub const REPLACED_AFTER: Span = Span::days(14);
/// What was read back from a courier counts for so long: a disk that travels is not seen every month.
pub const ABOARD_VALID: Span = Span::days(90);
/// What lies on a courier is read back again after so long, when the disk is here.
pub const ABOARD_AGAIN: Span = Span::days(30);
/// An invite can be claimed for this long.
pub const INVITE_VALID: Span = Span::hours(72);
/// Bytes that each member keeps for each other one until they say otherwise.
pub const OFFER_BYTES_DEFAULT: u64 = 10 << 30;
/// A peer that has said nothing for this long is gone, even if its transport still answers.
pub const LIVENESS: Span = Span::secs(20);
/// A ping goes out after so long without a message.
pub const PING_AFTER: Span = Span::secs(5);
/// While something is under way, a ping goes out after so long without any sign of life: QUIC alone
/// would wait for up to a minute after a link that was cut is whole again.
pub const PING_BUSY: Span = Span::millis(500);
/// A peer that gives no sign of life for this long after such a ping is out of reach. Disks don't
/// delay the answer; a machine that is this busy is dialled anew, which costs it little.
pub const PONG_WAIT: Span = Span::millis(1500);
/// Longest a dial may take: two handshake packets lost, and some.
pub const DIAL_PATIENCE: Span = Span::secs(5);
/// Longest a dial may take, and the least time between two, where the peer was in reach a moment
/// ago: QUIC repeats its first packet only after a second.
pub const REDIAL_LOST: Span = Span::millis(800);
/// A peer whose link broke is dialled at that rhythm for this long.
pub const LOST_FOR: Span = Span::secs(60);
/// A beacon of such a peer is a reason to begin a dial anew that is this old.
pub const REDIAL_HEARD: Span = Span::millis(300);
/// For so long after a friend with the same time was heard, our own clock is trusted.
pub const CLOCK_TRUSTED: Span = Span::days(3);
/// Differing times whose gates are open beside our own. More are more than wrong clocks.
pub const SKEWS_MAX: usize = 8;
/// Dials under way at a time, and as many to devices whose beacons are heard.
pub const DIALS_MAX: usize = 8;
/// Addresses remembered of a device: two families on a few networks.
pub const HEARD_MAX: usize = 8;
/// Beacons of a device that could not be dialled are a reason to try again at most this often.
pub const BELIEVE_AGAIN: Span = Span::secs(10);
/// Devices that are dialled at known addresses after an arrival, where no beacon may be heard.
pub const REACH_MAX: usize = 16;
/// For how long they are dialled eagerly: one after the other finds room among [`DIALS_MAX`].
pub const REACH_FOR: Span = Span::secs(10);
/// Beacons have so long to tell that there are no news, before known addresses are dialled for them.
pub const HEAR_FIRST: Span = Span::secs(1);
/// Longest wait between two dials of one device that is near; it begins with [`MEET_AGAIN`] and
/// doubles with every failure.
pub const REDIAL_AFTER: Span = Span::secs(10);
/// Wait between a good encounter and the next with the same device, and after a first failure.
pub const MEET_AGAIN: Span = Span::secs(1);
/// So many devices near are a crowd: dials for news alone and beacons take turns.
pub const CROWD: usize = 5;
/// Who arrives among more devices than that, or may, listens for so long who is near before it dials
/// for news alone: the beacons of an arrival are over by then.
pub const COUNT_FIRST: Span = Span::secs(2);
/// Least rest before a dial for news alone in a crowd; a dial under way keeps the next one waiting no
/// longer.
pub const GOSSIP_REST: Span = Span::secs(1);
/// The same for each device near: all of them together dial for news at most ten times a second.
pub const GOSSIP_TURN: Span = Span::millis(100);
/// An idle link is closed after this long.
pub const IDLE_CLOSE: Span = Span::millis(300);
/// Receipts and outcomes wait this long for more of them before they become one entry, if none are on
/// their way: each entry takes 300 bytes in the feed that everybody keeps, however little it says.
pub const RECEIPT_BATCH: Span = Span::millis(200);
/// While more shards are on their way, the first of them waits for so long: an encounter that is cut
/// off leaves its owner in doubt about no more than that.
pub const RECEIPT_WAIT: Span = Span::secs(3);
/// The same for outcomes, which only the owner's other devices wait for.
pub const OUTCOME_WAIT: Span = Span::secs(10);
/// A holder is asked again for a proof of a shard after this long: half of [`AUDIT_VALID`], so that
/// whoever is met once a fortnight has all proved at any time.
pub const AUDIT_AGAIN: Span = Span::days(15);
/// Some of what is not due is asked for at every meeting, and a holder with whom there is nothing
/// else to do is met for that after this long.
pub const SPOT_CHECK_AGAIN: Span = Span::hours(20);
/// After a failure so many more of the holder's shards are asked for in the same meeting, which finds
/// one lost in 200 with 95 %.
pub const PROBES_OF_SUSPECT: usize = 600;
/// A peer that says nothing to a challenge, but talks about other things, is asked again after this
/// long: a sleeping disk takes ten seconds.
pub const PROOF_PATIENCE: Span = Span::secs(30);
/// So often is a shard asked for in one meeting that is shown too late or not at all.
pub const PROOF_TRIES: u8 = 3;
/// A holder that showed something too late so often is met for proofs again after this long, and after
/// twice as long each time until it is quicker: what keeps it busy may take a while. The first time
/// comes soon, since most are late only while all meet, and a coffee does not take ten minutes.
pub const LATE_AGAIN: Span = Span::secs(30);
/// What a slow disk takes to read one group.
pub const PROOF_READ: Span = Span::millis(10);
/// What a waking radio and a busy scheduler add to a challenge. Whoever fetches over a home's uplink
/// what it should have takes longer for a whole challenge.
pub const PROOF_GRACE: Span = Span::millis(100);
/// Probes under way to one peer at a time: each answer brings a whole group.
pub const PROBES_IN_FLIGHT_MAX: usize = 32;
/// A peer that had no room is not asked again for this long, unless its offer changes.
pub const NO_ROOM_WAIT: Span = Span::secs(600);
/// Where the terms of a link allowed no bulk, they are asked again after this long.
pub const BAR_WAIT: Span = Span::secs(600);
/// Lowest rate on a link that either end may ask for, in bytes per second: a packet at a time.
pub const RATE_MIN: u64 = 1024;
/// The device with the higher id waits this long for the other to dial, so that one connection
/// results.
pub const DIAL_DEFER: Span = Span::secs(2);
/// A device that turned us away is called again after this long.
pub const REACH_AGAIN: Span = Span::secs(60);
/// Longest wait between two dials of a device of which no beacon is heard; it doubles as above. Who
/// arrives anywhere calls by itself.
pub const SEEK_AGAIN: Span = Span::hours(1);
/// A beacon tells that a device is near for this long: a little over two idle beacon periods.
pub const NEAR_VALID: Span = Span::secs(300);
/// The same for each device near, if that is longer: in a crowd beacons are rarer.
pub const NEAR_VALID_EACH: Span = Span::secs(6);
/// Own entries that a disk has not taken after this long keep no encounter open: it may be full, and
/// who waits for them hears of them by a beacon.
pub const DISK_WAIT: Span = Span::secs(10);

/// What of one peer lies less than this apart is one meeting: whoever fetches a coffee, or closes the
/// lid on the way to another room, has not left.
pub const MEETING_GAP: Span = Span::secs(30 * 60);
/// A meeting that goes on is written down this often: a crash loses no more of it.
pub const MEETING_PIECE: Span = Span::hours(1);
/// Most meetings that are remembered, about 0.8 MiB: half a year of an office with 60 people.
pub const MEETINGS_MAX: usize = 8192;
/// Most meetings remembered of one member: half a year of three a day. Nobody displaces all others.
pub const MEMBER_MEETINGS_MAX: usize = 512;
/// A device tells its owner's other devices this often whom it met.
pub const TELL_MEETINGS: Span = Span::days(7);
/// It looks this often whether that is due.
pub const TELL_LOOK: Span = Span::hours(1);
/// Most meetings that are told at once: with everyone of them at another device, so that they fit
/// [`ENTRY_BYTES_MAX`].
pub const TOLD_MEETINGS_MAX: usize = 480;
/// Habits are looked for in so many weeks. What is older weighs under 2 % of this week.
pub const HABIT_WEEKS: u32 = 26;
/// Who may be met soon is thought about again after this long: habits have hours.
pub const CHANCES_VALID: Span = Span::hours(1);

/// Released shards stay in the trash for more than so many observed days.
pub const TRASH_DAYS: u32 = 30;
/// On one day at most this share of an owner's bytes, in percent, is erased for good, but one shard in
/// any case: so that there is an end to it.
pub const ERASE_PERCENT: u64 = 10;
/// A device has to run for this long until a day counts as observed.
pub const OBSERVED_DAY: Span = Span::hours(4);
/// While days are counted, the clock is looked at this often.
pub const OBSERVE_EVERY: Span = Span::secs(600);
/// Two looks that are further apart were not made by a device that ran all the time between.
pub const AWAKE_STEP_MAX: Span = Span::secs(900);
/// A clock that goes further than this between two looks may have jumped.
pub const CLOCK_STEP_MAX: Span = Span::hours(36);
/// Then nothing is erased for so many counted days: few enough that a machine which is off every
/// weekend empties its trash in the rest of each week.
pub const FREEZE_DAYS: u32 = 2;
/// A count of days in progress is written down this often: a crash loses no more of it.
pub const DAYS_PIECE: Span = Span::hours(1);
/// Most shard ids of one release: it is sealed twice, and must fit [`ENTRY_BYTES_MAX`].
pub const RELEASE_SHARDS_MAX: usize = 512;
/// Releases wait this long for company before they become one entry.
pub const RELEASE_BATCH: Span = Span::secs(30);
/// Rules of retention drop nothing that came this lately: a flood of snapshots with chosen dates must
/// not make them drop good ones before their owner notices.
pub const KEEP_RECENT: Span = Span::days(30);
/// Most snapshots that one entry says are forgotten, so that it fits [`ENTRY_BYTES_MAX`].
pub const FORGET_SNAPSHOTS_MAX: usize = 1024;

/// A holder reads all that it keeps once in this time of running, and so within a month on a machine
/// that is on for eight hours a day: after a start it goes on where such a machine would be.
pub const SCRUB_ROUND: Span = Span::days(10);
/// Such a machine has three times [`SCRUB_ROUND`], and a little for its [`SCRUB_WAIT`] every morning.
pub const SCRUB_MONTH: Span = Span::days(32);
/// It reads at most so many bytes per second for that, on average, also after a damaged shard: then it
/// reads all the rest at this rate, since bad sectors come in swarms.
pub const SCRUB_RATE: u64 = 8 << 20;
/// It begins so long after a start, and waits as long when the machine has better things to do.
pub const SCRUB_WAIT: Span = Span::secs(600);

/// A device that was not in reach for this long may be gone for good, unless it is usually away for
/// long: a day more than its proofs count.
pub const ABSENT_AFTER: Span = Span::days(31);
/// Of somebody who is met seldom, so many of the usual intervals.
pub const ABSENT_INTERVALS: u64 = 3;
/// Nobody is waited for longer.
pub const ABSENT_AT_MOST: Span = Span::days(120);
/// Others must have been met that long ago since then: it may be us who were away.
pub const ABSENT_FOR: Span = Span::days(1);
/// How often to look who is absent.
pub const ABSENT_LOOK: Span = Span::hours(1);
/// Packs that are wanted back at a time because friends lost their shards; of those that nobody in
/// reach has, none keeps all others away.
pub const REPAIRS_MAX: usize = 16;
/// Packs that are looked at for that whenever anything happens: a new machine has all to look at.
pub const REPAIR_LOOKS: usize = 1024;
/// Such packs that wait in the spool for somebody to take what is missing, 1 GiB.
pub const RESPOOLED_MAX: usize = 64;

/// Files are brought back from friends alone, and compared, this often.
pub const DRILL_EVERY: Span = Span::days(91);
/// The first time is so long after the first pack was made.
pub const DRILL_FIRST: Span = Span::days(1);
/// A drill that was cut short, or failed, is tried again after this long.
pub const DRILL_AGAIN: Span = Span::hours(6);
/// Most files of one drill: of a share of 20 % that would not come back, one is among them with 97 %.
pub const DRILL_FILES: usize = 16;
/// Most bytes of packs with their content: eight full packs, seconds on a near link.
pub const DRILL_BYTES: u64 = 8 * SEALED_BYTES_MAX as u64;
