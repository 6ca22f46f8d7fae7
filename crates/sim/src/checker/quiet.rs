//! Quiet: an encounter of two devices that have nothing to tell each other costs almost nothing.
//!
//! Verified, for each pair once everything has converged: the encounter ends by itself, no byte of a
//! shard moves, and all messages together are below 4 KiB.
//!
//! Not verified: beacons; that the two would not have met at all (convergence ends only when nobody
//! dials any more).

use carryall_core::time::Span;

use crate::lab::Lab;

/// Most bytes of messages, both ways.
const CONTROL_BYTES_MAX: u64 = 4096;
/// An encounter with nothing to do takes this long at most.
const OVER_WITHIN: Span = Span::secs(60);

/// Lets two machines meet that have nothing to do.
pub(crate) fn check(lab: &mut Lab, dialler: usize, accepter: usize) -> Result<(), String> {
    let link = lab.connect(dialler, accepter);
    let over = lab.run_until_done(lab.now + OVER_WITHIN, |lab| {
        !lab.network.wire(link).is_some_and(|wire| wire.open)
    });
    if !over {
        return Err(format!(
            "the encounter with machine {accepter} does not end"
        ));
    }
    // Both sides notice that the link is gone.
    lab.run_until(lab.now + Span::secs(1));
    let Some(wire) = lab.network.wire(link) else {
        return Ok(());
    };
    if wire.shard_bytes > 0 {
        return Err(format!(
            "{} bytes of shards went to machine {accepter}",
            wire.shard_bytes
        ));
    }
    if wire.control_bytes >= CONTROL_BYTES_MAX {
        return Err(format!(
            "{} bytes of messages with machine {accepter}",
            wire.control_bytes
        ));
    }
    Ok(())
}
