//! What happens, in sentences: the same notices that scripts get as JSON.

use carryall_core::event::Notice;

use crate::ui;

/// Tells whether a person who watches the node wants to read it: single shards and packs are for
/// scripts.
pub(crate) const fn is_news(notice: &Notice) -> bool {
    !matches!(
        notice,
        Notice::Placed { .. }
            | Notice::Kept { .. }
            | Notice::PackSafe { .. }
            | Notice::Fetched { .. }
    )
}

/// Returns the sentence for a notice.
pub(crate) fn sentence(notice: &Notice) -> String {
    match notice {
        Notice::Met { member, link, .. } => {
            format!(
                "Met {} by {}.",
                member.short(),
                format!("{link:?}").to_lowercase()
            )
        }
        Notice::Parted {
            member,
            sent,
            received,
            ..
        } => format!(
            "Parted from {}: {} sent, {} received.",
            member.short(),
            ui::bytes(*sent),
            ui::bytes(*received)
        ),
        Notice::Placed { pack, holder, .. } => {
            format!("{} keeps a shard of pack {}.", holder.short(), pack.short())
        }
        Notice::Kept { owner, bytes, .. } => {
            format!(
                "Kept a shard of {} for {}.",
                ui::bytes(u64::from(*bytes)),
                owner.short()
            )
        }
        Notice::Proved { holder, shards } => {
            format!(
                "{} proved {}.",
                holder.short(),
                ui::count((*shards).into(), "shard", "shards")
            )
        }
        Notice::NotProved { holder, shard } => {
            format!(
                "{} could not prove shard {}.",
                holder.short(),
                shard.short()
            )
        }
        Notice::PackSafe { pack } => format!("Pack {} is safe with friends.", pack.short()),
        Notice::AllSafe { packs } => {
            format!(
                "Everything is safe with friends: {}.",
                ui::count(*packs, "pack", "packs")
            )
        }
        Notice::Joined { member, petname } => {
            format!("{petname} ({}) joined the circle.", member.short())
        }
        Notice::Welcomed { by } => format!("{} let us in.", by.short()),
        Notice::TurnedAway { by, farewell } => {
            format!("{} turned us away: {farewell:?}.", by.short())
        }
        Notice::Published { time } => {
            format!("A snapshot was published at {}.", ui::local_time(time.0))
        }
        Notice::Fetched { pack } => format!("Pack {} arrived.", pack.short()),
        Notice::NoRoom { holder, reason } => {
            format!("{} has no room for us: {reason:?}.", holder.short())
        }
        Notice::SourceChanged { pack } => format!(
            "Files of pack {} changed before a friend had it; it will be made anew.",
            pack.short()
        ),
        Notice::Forked { device } => format!(
            "Device {} contradicts itself and is not believed any more.",
            device.short()
        ),
        Notice::SnapshotMade { snapshot } => format!("Snapshot {} was made.", snapshot.short()),
    }
}
