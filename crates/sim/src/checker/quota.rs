//! Quota: nobody keeps more for anybody than was granted.
//!
//! Verified, once a day and whenever a shard was shelved: the bytes that really lie on a shelf for a
//! member are at most what the holder's newest offer grants, or the default, together with the parcels
//! carried for it; and those are at most their share of it.
//!
//! Not verified: room taken by shards under way, which the ledger debits before a byte is accepted.
//! Offers are made once, before anything is kept: what happens when one is lowered is not simulated.

use carryall_core::limits;

use crate::lab::Lab;

/// Checks the shelf of a machine.
pub(crate) fn check(lab: &Lab, machine: usize) -> Result<(), String> {
    let here = &lab.machines[machine];
    let Some(host) = &here.host else {
        return Ok(());
    };
    for other in lab
        .machines
        .iter()
        .filter(|other| other.member != here.member)
    {
        let offer = host.node.circle().offer(here.device, other.member);
        let granted = offer.unwrap_or(limits::OFFER_BYTES_DEFAULT);
        let kept = host.kept_for(other.member);
        let carried = host.carried_for(other.member);
        if kept + carried > granted || carried > granted / limits::CARRY_PART {
            return Err(format!(
                "keeps {kept} bytes for a member and carries {carried}, granted are {granted}"
            ));
        }
    }
    Ok(())
}
