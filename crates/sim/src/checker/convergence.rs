//! Convergence: when faults stop and all are together, everything that can be done gets done.
//!
//! Verified: within [`WITHIN`] all that are left know the same feeds, nobody has shards for anybody who
//! would take them, nothing is under way, and no link is open. Later, when they were apart for longer
//! than a part is kept, no temporary file is left in any vault.
//!
//! Not verified: that shards are spread in the best possible way; only that nobody wants to move any.

use carryall_core::{limits, time::Span};

use crate::lab::Lab;

/// How long it may take.
pub(crate) const WITHIN: Span = Span::hours(3);
/// Who was refused for want of room asks again after [`limits::NO_ROOM_WAIT`]: only a second refusal
/// says that there is none.
const FIRST_LOOK: Span = Span(limits::NO_ROOM_WAIT.0 * 2 + 300_000);
/// After this long without their senders, parts are given up.
pub(crate) const APART: Span = Span::days(8);

/// Waits until all is done.
pub(crate) fn check(lab: &mut Lab) -> Result<(), (usize, String)> {
    let mut next_look = lab.now + FIRST_LOOK;
    let mut trouble = None;
    let done = lab.run_until_done(lab.now + WITHIN, |lab| {
        if lab.now < next_look {
            return false;
        }
        next_look = lab.now + Span::secs(30);
        trouble = look(lab).err();
        trouble.is_none()
    });
    match trouble {
        Some(trouble) if !done => Err(trouble),
        _ => Ok(()),
    }
}

fn look(lab: &Lab) -> Result<(), (usize, String)> {
    let running = || {
        lab.machines
            .iter()
            .enumerate()
            .filter(|(_, it)| it.host.is_some())
    };
    let mut tips = None;
    for (at, machine) in running() {
        let Some(host) = &machine.host else { continue };
        if *tips.get_or_insert_with(|| host.node.tips()) != host.node.tips() {
            return Err((at, "does not know the same feeds as the others".to_owned()));
        }
        if !host.node.underway().is_empty() || !lab.network.links_of(at).is_empty() {
            return Err((at, "still has something under way".to_owned()));
        }
        let members = host.node.members(machine.clock(lab.now));
        for (_, other) in running() {
            let refused = members
                .iter()
                .any(|it| it.member == other.member && it.refusal.is_some());
            if host.node.has_shards_for(other.device) && !refused {
                let other = other.device;
                return Err((at, format!("has shards for {other:?} that don't get there")));
            }
        }
    }
    Ok(())
}

/// Looks for temporary files that nobody will use any more.
pub(crate) fn check_leftovers(lab: &mut Lab, machine: usize) -> Result<(), String> {
    lab.with_host(machine, |host, now| {
        host.collect(now).map_err(|error| error.to_string())?;
        match host.leftovers().first() {
            Some(left) => Err(format!("left {} behind", left.display())),
            None => Ok(()),
        }
    })
    .unwrap_or(Ok(()))
}
