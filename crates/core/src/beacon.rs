//! The beacon: 96 bytes by which members recognise each other and from which nobody else learns who.
//!
//! ```text
//! token 16 | nonce 12 | sealed 52 | tag 16
//! ```
//! The token follows from a seed and a 15-minute epoch, so a receiver knows the sender by one look-up
//! and without trial decryption; to everybody else it is noise that changes. Nothing here sends:
//! bytes go in and come out.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::{
    circle::Circle,
    id::{DeviceId, InviteId, MemberId},
    time::Timestamp,
};

/// Length of every beacon, in bytes.
pub const BEACON_BYTES: usize = 96;
/// How long a token lasts, in seconds.
pub const EPOCH_SECS: u64 = 15 * 60;
/// Epochs around the current one in which tokens are recognised: clocks differ by minutes.
pub const EPOCHS_AROUND: u32 = 1;
/// The same for a device whose clock can't be trusted: a day each way.
pub const EPOCHS_AROUND_RESCUE: u32 = 96;
/// Packets remembered against replay.
pub const REPLAYS_MAX: usize = 4096;
/// Senders whose counters are remembered. More than members can have devices.
pub const SENDERS_MAX: usize = 1024;

const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 16;
/// Length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 12;
const PLAIN_BYTES: usize = 52;
const SEALED_AT: usize = TOKEN_BYTES + NONCE_BYTES;
const TAG_AT: usize = SEALED_AT + PLAIN_BYTES;

/// From what the tokens of one device, invite or rendezvous follow: the device's `beacon_seed`, which
/// stands in its feed for members alone; the seed of an invite; the `rendezvous` of a member's card.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BeaconSeed([u8; 32]);

impl BeaconSeed {
    /// Returns the seed of an invite, see [`invite_seed`].
    pub fn invite(id: &InviteId) -> Self {
        Self(invite_seed(id))
    }

    /// Returns the epoch at `now`. Each seed's epochs begin at another second, so that a crowd does
    /// not change its tokens in step.
    pub fn epoch(&self, now: Timestamp) -> u32 {
        let hash = blake3::keyed_hash(&self.0, b"carryall beacon offset v1");
        let offset = u64::from(u32_at(hash.as_bytes(), 0)) % EPOCH_SECS;
        let epoch = now.as_secs().saturating_add(offset) / EPOCH_SECS;
        u32::try_from(epoch).unwrap_or(u32::MAX)
    }

    fn token(&self, epoch: u32) -> [u8; TOKEN_BYTES] {
        let hash = self.derive("carryall beacon token v1", epoch);
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&hash[..TOKEN_BYTES]);
        token
    }

    fn key(&self, epoch: u32) -> LessSafeKey {
        let key = self.derive("carryall beacon key v1", epoch);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the key has 32 bytes");
        LessSafeKey::new(key)
    }

    fn derive(&self, purpose: &str, epoch: u32) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose.as_bytes());
        hasher.update(&epoch.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl From<[u8; 32]> for BeaconSeed {
    fn from(seed: [u8; 32]) -> Self {
        Self(seed)
    }
}

/// Returns the seed of an invite's beacons. It follows from the invite's id, which members and who
/// has the link know, and which travels in clear nowhere.
pub fn invite_seed(id: &InviteId) -> [u8; 32] {
    blake3::derive_key("carryall 2026 invite beacon v1", id.as_bytes())
}

impl fmt::Debug for BeaconSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeaconSeed")
    }
}

/// What a beacon is for. Unknown bits are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Here I am; who knows me answers.
    pub const HELLO: Self = Self(1);
    /// The answer to a hello, sent to its sender alone.
    pub const REPLY: Self = Self(2);
    /// The sender goes. Never a reason to forget anything.
    pub const BYE: Self = Self(4);
    /// The sender pays for this network by the byte.
    pub const METERED: Self = Self(8);
    /// The sender runs low on battery.
    pub const LOW_BATTERY: Self = Self(16);

    /// Returns the flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether all flags of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a beacon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// What it is for.
    pub flags: Flags,
    /// UDP port of the sender's QUIC endpoint; the address is the packet's.
    pub quic_port: u16,
    /// Greater at every start of the sender.
    pub boot: u32,
    /// Greater with every beacon of this start. The same beacon over several sockets has one number
    /// and a nonce for each.
    pub seq: u32,
    /// Whom to dial.
    pub device: DeviceId,
    /// Digest of what the sender knows.
    pub news: [u8; 4],
}

impl Beacon {
    /// Returns the packet. `nonce` must be random.
    pub fn seal(
        &self,
        seed: &BeaconSeed,
        now: Timestamp,
        nonce: [u8; NONCE_BYTES],
    ) -> [u8; BEACON_BYTES] {
        let epoch = seed.epoch(now);
        let token = seed.token(epoch);
        let mut packet = [0; BEACON_BYTES];
        packet[..TOKEN_BYTES].copy_from_slice(&token);
        packet[TOKEN_BYTES..SEALED_AT].copy_from_slice(&nonce);
        packet[SEALED_AT..TAG_AT].copy_from_slice(&self.to_bytes(epoch));
        let tag = seed
            .key(epoch)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(token),
                &mut packet[SEALED_AT..TAG_AT],
            )
            .expect("52 bytes are within the cipher's limit");
        packet[TAG_AT..].copy_from_slice(tag.as_ref());
        packet
    }

    fn to_bytes(self, epoch: u32) -> [u8; PLAIN_BYTES] {
        let mut plain = [0; PLAIN_BYTES];
        plain[0] = VERSION;
        plain[1] = self.flags.0;
        plain[2..4].copy_from_slice(&self.quic_port.to_le_bytes());
        plain[4..8].copy_from_slice(&self.boot.to_le_bytes());
        plain[8..12].copy_from_slice(&self.seq.to_le_bytes());
        plain[12..44].copy_from_slice(self.device.as_bytes());
        plain[44..48].copy_from_slice(&self.news);
        plain[48..].copy_from_slice(&epoch.to_le_bytes());
        plain
    }

    /// Returns the beacon, if it has a known version and was made for this epoch.
    fn from_bytes(plain: &[u8], epoch: u32) -> Option<Self> {
        if plain.len() != PLAIN_BYTES || plain[0] != VERSION || u32_at(plain, 48) != epoch {
            return None;
        }
        let mut device = [0; 32];
        device.copy_from_slice(&plain[12..44]);
        Some(Self {
            flags: Flags(plain[1]),
            quic_port: u16::from_le_bytes([plain[2], plain[3]]),
            boot: u32_at(plain, 4),
            seq: u32_at(plain, 8),
            device: DeviceId(device),
            news: [plain[44], plain[45], plain[46], plain[47]],
        })
    }
}

/// Whose seed a beacon was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A member's device.
    Device(DeviceId),
    /// Somebody who knows an open invite: the guest, or a member who can let them in.
    Invite(InviteId),
    /// Somebody who knows a member's rendezvous: a friend, or the member who lost every device.
    Rendezvous(MemberId),
}

/// A beacon that was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whose seed.
    pub who: Who,
    /// What it says.
    pub beacon: Beacon,
    /// How many epochs its sender's clock is ahead of ours.
    pub skew: i32,
    token: [u8; TOKEN_BYTES],
    nonce: [u8; NONCE_BYTES],
}

/// The tokens to listen for. Built anew when seeds change and when it is [`BeaconTable::is_stale`].
#[derive(Clone, Debug)]
pub struct BeaconTable {
    own: DeviceId,
    around: u32,
    built: Timestamp,
    seeds: Vec<(Who, BeaconSeed)>,
    tokens: BTreeMap<[u8; TOKEN_BYTES], (u32, usize)>,
}

impl BeaconTable {
    /// Returns the tokens of these seeds near `now`, for `around` epochs each way.
    pub fn new(
        own: DeviceId,
        seeds: impl IntoIterator<Item = (Who, BeaconSeed)>,
        now: Timestamp,
        around: u32,
    ) -> Self {
        let mut table = Self {
            own,
            around,
            built: now,
            seeds: seeds.into_iter().collect(),
            tokens: BTreeMap::new(),
        };
        for (index, (_, seed)) in table.seeds.iter().enumerate() {
            let epoch = seed.epoch(now);
            // One more ahead, for the time until the table is stale.
            for epoch in epoch.saturating_sub(around)..=epoch.saturating_add(around + 1) {
                table.tokens.insert(seed.token(epoch), (epoch, index));
            }
        }
        table
    }

    /// Returns the tokens of everybody whom a member of the circle can recognise: devices, and who
    /// knocks by an open invite or a rendezvous.
    pub fn of_circle(own: DeviceId, circle: &Circle, now: Timestamp, around: u32) -> Self {
        let devices = (circle.devices())
            .filter(|(device, _)| *device != own)
            .filter_map(|(device, _)| {
                let seed = BeaconSeed(*circle.beacon_seed(device)?);
                Some((Who::Device(device), seed))
            });
        let invites = (circle.answered_invites(now))
            .map(|invite| (Who::Invite(invite.id), BeaconSeed::invite(&invite.id)));
        let rendezvous = circle.members().filter_map(|member| {
            let seed = BeaconSeed(circle.card(member)?.rendezvous);
            Some((Who::Rendezvous(member), seed))
        });
        Self::new(own, devices.chain(invites).chain(rendezvous), now, around)
    }

    /// Tells whether the table lacks tokens for `now`, so that it has to be built anew.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now < self.built || now.since(self.built).0 >= EPOCH_SECS * 1000
    }

    /// Returns the tokens of the same seeds near `now`.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> Self {
        Self::new(self.own, self.seeds.iter().copied(), now, self.around)
    }

    /// Returns the seed that is listened to for `who`: whoever knocks by a shared one is answered
    /// under it.
    pub fn seed(&self, who: Who) -> Option<BeaconSeed> {
        let known = self.seeds.iter().find(|(known, _)| *known == who);
        known.map(|(_, seed)| *seed)
    }

    /// Tells whether the packet's token is known, at the cost of one look-up.
    pub fn knows(&self, packet: &[u8; BEACON_BYTES]) -> bool {
        let token = packet.first_chunk::<TOKEN_BYTES>();
        token.is_some_and(|token| self.tokens.contains_key(token))
    }

    /// Returns what the packet says if its sender is known. Costs one look-up if not.
    pub fn open(&self, packet: &[u8], now: Timestamp) -> Option<Heard> {
        let packet: &[u8; BEACON_BYTES] = packet.try_into().ok()?;
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&packet[..TOKEN_BYTES]);
        let &(epoch, index) = self.tokens.get(&token)?;
        let (who, seed) = *self.seeds.get(index)?;
        let here = seed.epoch(now);
        if here.abs_diff(epoch) > self.around {
            return None;
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&packet[TOKEN_BYTES..SEALED_AT]);
        let mut sealed = [0; BEACON_BYTES - SEALED_AT];
        sealed.copy_from_slice(&packet[SEALED_AT..]);
        let plain = seed
            .key(epoch)
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(token),
                &mut sealed,
            )
            .ok()?;
        let beacon = Beacon::from_bytes(plain, epoch)?;
        let honest = match who {
            Who::Device(device) => beacon.device == device,
            Who::Invite(_) | Who::Rendezvous(_) => true,
        };
        // Invites and rendezvous are shared, so our own beacons come back to us.
        (honest && beacon.device != self.own).then_some(Heard {
            who,
            beacon,
            // At most as much as is listened for.
            skew: epoch.wrapping_sub(here).cast_signed(),
            token,
            nonce,
        })
    }
}

/// Refuses beacons that were heard before. Lives as long as the socket, over many tables.
#[derive(Clone, Debug, Default)]
pub struct BeaconGuard {
    seen: BTreeSet<([u8; TOKEN_BYTES], [u8; NONCE_BYTES])>,
    order: VecDeque<([u8; TOKEN_BYTES], [u8; NONCE_BYTES])>,
    counters: BTreeMap<(Who, DeviceId), (u32, u32)>,
}

impl BeaconGuard {
    /// Returns a guard that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whether this very packet was admitted lately, at the cost of one look-up.
    pub fn has_seen(&self, packet: &[u8; BEACON_BYTES]) -> bool {
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&packet[..TOKEN_BYTES]);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&packet[TOKEN_BYTES..SEALED_AT]);
        self.seen.contains(&(token, nonce))
    }

    /// Tells whether a recognised beacon is new, and remembers it.
    pub fn admit(&mut self, heard: &Heard) -> bool {
        let packet = (heard.token, heard.nonce);
        let sender = (heard.who, heard.beacon.device);
        let count = (heard.beacon.boot, heard.beacon.seq);
        let last = self.counters.get(&sender);
        if last.is_some_and(|last| count < *last) || !self.seen.insert(packet) {
            return false;
        }
        self.order.push_back(packet);
        if self.order.len() > REPLAYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        // Who knows an invite can pretend to be thousands; the worst that forgetting allows is a
        // replay within the token's 45 minutes, which costs one dial.
        if last.is_none() && self.counters.len() >= SENDERS_MAX {
            self.counters.clear();
        }
        self.counters.insert(sender, count);
        true
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
