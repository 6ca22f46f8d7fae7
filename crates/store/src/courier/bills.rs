//! Bills: two files per device, written in turn, so that the one that counts is never touched.

use std::path::PathBuf;

use carryall_core::{
    codec::{Signed, decode, encode},
    courier::{BILL_BYTES_MAX, Bill},
    id::DeviceId,
};

use super::{Courier, CourierError, read_whole};
use crate::{
    disk::{Open, make_dir},
    error::At,
};

/// The bill of a device that counts, and which of the two files is next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenBill {
    /// Nothing if there is none yet.
    pub bill: Option<Bill>,
    next: u8,
}

impl OpenBill {
    /// Returns the number that the next bill bears.
    pub fn next_generation(&self) -> u64 {
        self.bill.as_ref().map_or(1, |bill| bill.generation + 1)
    }
}

impl Courier {
    /// Reads the newest whole bill of a device. A file that is there but no bill is told to `problem`
    /// if the other one isn't one either: a torn one is what a pulled-out disk leaves.
    pub fn read_bill(&self, device: DeviceId, problem: &mut dyn FnMut(String)) -> OpenBill {
        let mut open = OpenBill::default();
        let mut damaged = 0;
        for slot in 0..2 {
            match self.read_slot(device, slot) {
                None => {}
                Some(None) => damaged += 1,
                Some(Some(bill)) => {
                    let newest = open.bill.as_ref().map_or(0, |bill| bill.generation);
                    if bill.generation > newest {
                        open.bill = Some(bill);
                        open.next = 1 - slot;
                    }
                }
            }
        }
        if damaged > 0 && open.bill.is_none() {
            problem(format!(
                "what device {} wrote on the courier can't be read and was passed over",
                device.short()
            ));
        }
        open
    }

    /// The outer nothing: there is no such file. The inner: it is no bill of this device and disk.
    fn read_slot(&self, device: DeviceId, slot: u8) -> Option<Option<Bill>> {
        let path = self.slot(device, slot);
        self.disk.metadata(&path).ok()?;
        let read = || {
            let file = self.disk.open(&path, Open::Read).ok()?;
            let sealed = read_whole(&*file, BILL_BYTES_MAX as u64 + 4096).ok()??;
            let plain = self.key.open(&place(device, slot), &sealed).ok()?;
            let signed: Signed<Bill> = decode("bill of a courier", &plain).ok()?;
            let bill = Bill::open(&signed, self.card().courier).ok()?;
            (bill.device == device && bill.generation > 0).then_some(bill)
        };
        Some(read())
    }

    /// Writes a device's next bill; it counts once this returns.
    pub fn write_bill(
        &self,
        open: &mut OpenBill,
        bill: Bill,
        signed: &Signed<Bill>,
    ) -> Result<(), CourierError> {
        let (device, slot) = (bill.device, open.next);
        let path = self.slot(device, slot);
        let directory = self.root.join("bills");
        make_dir(&*self.disk, &directory)?;
        let sealed = self.key.seal(&place(device, slot), &encode(signed));
        let file = self.disk.open(&path, Open::Write).at("open", &path)?;
        file.set_len(0).at("cut", &path)?;
        file.write_at(&sealed, 0).at("write", &path)?;
        file.sync().at("sync", &path)?;
        self.disk.sync_dir(&directory).at("sync", &directory)?;
        open.bill = Some(bill);
        open.next = 1 - slot;
        Ok(())
    }

    fn slot(&self, device: DeviceId, slot: u8) -> PathBuf {
        self.small("bills", &place(device, slot))
    }
}

fn place(device: DeviceId, slot: u8) -> Vec<u8> {
    let mut place = b"bill".to_vec();
    place.extend_from_slice(device.as_bytes());
    place.push(slot);
    place
}
