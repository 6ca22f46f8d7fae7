//! The figures of a run, for people.

use std::fmt;

use carryall_core::time::Span;

use crate::lab::Lab;

/// What happened, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Encounters, counted at each side.
    pub encounters: u64,
    /// Packs of all members together.
    pub packs: u64,
    /// Bytes of shards that passed over links.
    pub shard_bytes: u64,
    /// Bytes of messages that passed over links.
    pub control_bytes: u64,
    /// Snapshots that backups reported.
    pub snapshots: u64,
    /// Snapshots that drills brought back.
    pub restored: u64,
    /// How long it took until all was safe after a snapshot: the median and the longest, of those
    /// that ever were.
    pub safe_after: Option<(Span, Span)>,
    /// Snapshots after which not everything was safe at any time.
    pub never_safe: u64,
    /// First bytes of the hash over everything that happened.
    pub trace: u64,
}

impl Report {
    pub(crate) fn of(lab: &Lab, restored: u64) -> Self {
        let hosts = lab
            .machines
            .iter()
            .filter_map(|machine| machine.host.as_ref());
        let (control_bytes, shard_bytes) = lab.network.bytes();
        let snapshots = &lab.witness.snapshots;
        let mut waits: Vec<Span> = snapshots
            .iter()
            .filter_map(|made| made.safe.map(|safe| safe.since(made.time)))
            .collect();
        waits.sort_unstable();
        let median = waits.get(waits.len() / 2).copied();
        Self {
            encounters: lab.witness.encounters,
            packs: hosts.map(|host| host.node.packs().count() as u64).sum(),
            shard_bytes,
            control_bytes,
            snapshots: snapshots.len() as u64,
            restored,
            safe_after: median.zip(waits.last().copied()),
            never_safe: snapshots.iter().filter(|made| made.safe.is_none()).count() as u64,
            trace: lab.trace.hash(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "encounters      {}", self.encounters)?;
        writeln!(
            f,
            "snapshots       {} ({} never safe)",
            self.snapshots, self.never_safe
        )?;
        writeln!(f, "packs           {}", self.packs)?;
        writeln!(f, "shard bytes     {}", self.shard_bytes)?;
        writeln!(f, "message bytes   {}", self.control_bytes)?;
        writeln!(f, "restored        {} snapshots in drills", self.restored)?;
        if let Some((median, longest)) = self.safe_after {
            writeln!(
                f,
                "safe after      {} (median), {} (longest)",
                Days(median),
                Days(longest)
            )?;
        }
        write!(f, "trace           {:016x}", self.trace)
    }
}

struct Days(Span);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.0 / 864_000;
        write!(f, "{}.{:02} days", hundredths / 100, hundredths % 100)
    }
}
