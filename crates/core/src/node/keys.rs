//! The vault's keys: found in wraps, published for our other devices, and begun anew when one of them
//! is removed.

use alloc::vec::Vec;

use rand_core::Rng as _;

use super::Node;
use crate::{
    circle::WrapsEntry,
    entry::{Body, WrapTarget},
    id::DeviceId,
    key::{self, VaultKeys},
    limits,
    time::Timestamp,
};

impl Node {
    /// Looks after the keys if anything changed that bears on them: takes what our other devices
    /// published, begins an epoch if the one that seals is known to a removed device, and publishes what
    /// any of our devices lacks.
    pub(super) fn keep_keys(&mut self) {
        self.forget_recovery();
        if !self.keys_due || self.author.is_none() || self.is_behind() {
            return;
        }
        self.keys_due = false;
        self.unlock();
        if self.identity.vault.is_empty() {
            return;
        }
        self.shut_out_removed();
        if !self.is_published() {
            self.wrap_keys();
        }
    }

    /// Returns when to drop the recovery key's secret: when friends had the time to bring all that it
    /// opens. What our lost devices published last may come by another friend than the first.
    pub(super) fn recovery_due(&self) -> Option<Timestamp> {
        let recovered = self.recovered.filter(|_| !self.identity.vault.is_empty())?;
        Some(recovered + limits::RECOVERY_KEPT)
    }

    fn forget_recovery(&mut self) {
        if self.recovery_due().is_some_and(|due| due <= self.now) {
            self.recovered = None;
            self.identity.recovery_secret = None;
            self.adopt();
        }
    }

    /// Opens what our other devices published since we last looked; if we had no keys, then also all
    /// that waited for them.
    fn unlock(&mut self) {
        let found = self.open_wraps();
        let locked = self.identity.vault.is_empty();
        if locked {
            let Some((_, latest)) = found.first() else {
                return;
            };
            // Their epochs are taken below, each from the device that began it.
            self.identity.vault = latest.of(self.device);
        }
        let mut learned = false;
        for (author, keys) in &found {
            learned |= self.identity.vault.learn(keys, *author);
        }
        if locked || learned {
            self.adopt();
        }
        if locked {
            self.open_waiting();
        }
    }

    /// Returns the keys that any of our devices published and one of our secrets opens, the latest
    /// first, without what was looked at before.
    fn open_wraps(&mut self) -> Vec<(DeviceId, VaultKeys)> {
        let device = (
            WrapTarget::Device(self.device),
            &self.identity.sealing_secret,
        );
        let recovery = self.identity.recovery_secret.as_ref();
        let recovery = recovery.map(|secret| (WrapTarget::Recovery, secret));
        let readers: Vec<_> = [Some(device), recovery].into_iter().flatten().collect();
        let open = |entry: &WrapsEntry| {
            let mut readers = readers.iter();
            readers.find_map(|(target, secret)| key::unwrap(&entry.wraps, target, secret).ok())
        };
        let mut found = Vec::new();
        let mut seen = self.wraps_seen.clone();
        for entry in self.circle.wraps_of(self.member) {
            let known = self.wraps_seen.get(&entry.device).copied().unwrap_or(0);
            if entry.seq < known {
                continue;
            }
            let next = seen.entry(entry.device).or_default();
            *next = (*next).max(entry.seq + 1);
            found.extend(open(entry).map(|keys| (entry.device, keys)));
        }
        if !found.is_empty() || !self.identity.vault.is_empty() {
            self.wraps_seen = seen;
        }
        found
    }

    /// Begins an epoch if a device of ours was removed since the last one began.
    fn shut_out_removed(&mut self) {
        let removed: Vec<DeviceId> = self.circle.removed_devices_of(self.member).collect();
        let known = &self.identity.without;
        if removed.iter().all(|device| known.contains(device)) {
            return;
        }
        let mut entropy = [0; 32];
        self.rng.fill_bytes(&mut entropy);
        self.identity.vault.rotate(self.device, entropy);
        self.identity.without = removed;
        self.adopt();
    }

    /// Tells whether our feed gives the keys that we have to publish to all that are to read them.
    fn is_published(&self) -> bool {
        let wraps = self.circle.wraps_of(self.member);
        let ours = wraps
            .into_iter()
            .filter(|entry| entry.device == self.device);
        let Some(latest) = ours.max_by_key(|entry| entry.seq) else {
            return false;
        };
        let names = |device: &DeviceId| {
            let target = WrapTarget::Device(*device);
            (latest.wraps.wraps.iter()).any(|(reader, _)| *reader == target)
        };
        let (own, secret) = (
            WrapTarget::Device(self.device),
            &self.identity.sealing_secret,
        );
        let published = key::unwrap(&latest.wraps, &own, secret);
        self.readers().all(|(device, _)| names(&device))
            && published == Ok(self.identity.vault.of(self.device))
    }

    /// Returns our other devices that can read keys, and to what these are sealed.
    fn readers(&self) -> impl Iterator<Item = (DeviceId, [u8; 32])> {
        let others = self.circle.devices_of(self.member);
        let others = others.filter(|device| *device != self.device);
        others.filter_map(|device| Some((device, self.circle.device(device)?.sealing_key)))
    }

    /// Publishes the vault's keys for the recovery key and each of our devices.
    pub(super) fn wrap_keys(&mut self) {
        let Ok(card) = self.identity.card.verify() else {
            return;
        };
        let own = (self.device, self.identity.sealing_public());
        let devices = [own].into_iter().chain(self.readers());
        let devices = devices.map(|(device, public)| (WrapTarget::Device(device), public));
        let recovery = (WrapTarget::Recovery, card.recovery_key);
        let readers: Vec<_> = [recovery].into_iter().chain(devices).collect();
        let keys = self.identity.vault.of(self.device);
        let Ok(wraps) = key::wrap(&keys, &readers, &mut self.rng) else {
            return;
        };
        // Without a circle there is no feed yet; joining wraps again.
        let _ = self.append(&Body::Wrapped(wraps));
    }
}
