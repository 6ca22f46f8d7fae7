//! Seats: small numbers for the devices that hold something of ours.
//!
//! What is known of a million shards names a device each time, and an id has 32 bytes. Seats are given
//! in the order in which devices are first heard of, and never given anew.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::id::DeviceId;

/// A device's number.
pub(super) type Seat = u16;

/// The devices by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    devices: Vec<DeviceId>,
    numbers: BTreeMap<DeviceId, Seat>,
}

impl Seats {
    /// Returns a device's seat, which it gets if it has none. There are a hundred times more than
    /// [`crate::limits::FEEDS_MAX`]; only who writes nonsense in our own name can use them up.
    pub(super) fn take(&mut self, device: DeviceId) -> Option<Seat> {
        if let Some(seat) = self.find(device) {
            return Some(seat);
        }
        let seat = Seat::try_from(self.devices.len()).ok()?;
        self.devices.push(device);
        self.numbers.insert(device, seat);
        Some(seat)
    }

    pub(super) fn find(&self, device: DeviceId) -> Option<Seat> {
        self.numbers.get(&device).copied()
    }

    /// Returns who has a seat that was given.
    pub(super) fn device(&self, seat: Seat) -> DeviceId {
        self.devices[usize::from(seat)]
    }

    /// Returns the devices in the order of their seats.
    pub(super) fn devices(&self) -> &[DeviceId] {
        &self.devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_its_seat_and_nobody_gets_one_when_all_are_taken() {
        let mut seats = Seats::default();
        let device = |at: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&at.to_be_bytes());
            DeviceId(id)
        };
        for at in (0..=u32::from(Seat::MAX)).rev() {
            assert!(seats.take(device(at)).is_some());
        }
        assert_eq!(seats.take(device(Seat::MAX.into())), Some(0));
        assert_eq!(seats.device(1), device(u32::from(Seat::MAX) - 1));
        assert_eq!(seats.take(device(1 << 20)), None);
        assert_eq!(seats.find(device(1 << 20)), None);
    }
}
