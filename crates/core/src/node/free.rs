//! Freeing: files that friends hold leave this device, which can't make their packs from then on.

use super::Node;
use crate::{
    event::CommandRefused,
    free::{self, Refusal},
    id::PackId,
    time::Timestamp,
};

impl Node {
    /// Tells whether the files that a pack of ours was made of may leave this device.
    ///
    /// # Errors
    /// What keeps them here.
    pub fn may_free(&self, pack: PackId, now: Timestamp) -> Result<(), Refusal> {
        let pack = self.inventory.pack(pack).ok_or(Refusal::Unknown)?;
        let member_of = |device| self.circle.member_of(device);
        let held = pack.held(&member_of, self.member, &self.stance.gone, now);
        let record = &pack.record;
        free::judge(record.kind, &record.coding, &held, self.others())
    }

    /// Takes note that files are about to go that these packs hold, of which this device can't make
    /// `unmade` afterwards. Should friends lose some of them, the rest bring them back.
    pub(super) fn free(
        &mut self,
        packs: &[PackId],
        unmade: &[PackId],
    ) -> Result<(), CommandRefused> {
        if self.is_behind() {
            // What was released meanwhile is not known here yet.
            return Err(CommandRefused::Behind);
        }
        for pack in packs.iter().chain(unmade) {
            if self.may_free(*pack, self.now).is_err() {
                return Err(CommandRefused::Unsafe(*pack));
            }
        }
        for pack in unmade {
            self.inventory.set_unavailable(*pack);
            self.replan(*pack);
        }
        Ok(())
    }
}
