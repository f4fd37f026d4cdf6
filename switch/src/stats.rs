//! What the switch counts, as it is read.

use vswitch_frame::reason::Tally;
use vswitch_frame::{DropReason, MacAddr, NetworkIndex, PortId, VlanId};

use crate::overlay::{OverlayPortStats, VtepStats};
use crate::router::RouterStats;

/// Everything that is counted, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Milliseconds since the switch started.
    pub uptime_ms: u64,
    /// Pipelines.
    pub workers: usize,
    /// Generation of the current snapshot.
    pub generation: u64,
    /// Sum over all ports, removed ones included.
    pub total: Counters,
    /// By network.
    pub networks: Vec<NetworkStats>,
    /// By port.
    pub ports: Vec<PortStats>,
    /// The forwarding database.
    pub fdb: FdbStats,
    /// The router, if there is one.
    pub router: Option<RouterStats>,
    /// By VTEP.
    pub vteps: Vec<VtepStats>,
    /// By overlay network.
    pub overlays: Vec<OverlayPortStats>,
}

/// Frames and bytes; "in" is from the port into the switch. A GSO frame counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames received.
    pub in_frames: u64,
    /// Bytes received.
    pub in_bytes: u64,
    /// Frames sent.
    pub out_frames: u64,
    /// Bytes sent.
    pub out_bytes: u64,
    /// Frames received that went to at least one port.
    pub forwarded: u64,
    /// Of these, frames that were flooded.
    pub flooded: u64,
    /// Frames received that the switch itself took.
    pub consumed: u64,
    /// Frames dropped, by reason.
    pub drops: Tally<DropReason, { DropReason::COUNT }>,
}

impl Counters {
    /// Adds `other`, field by field.
    pub fn add(&mut self, other: &Counters) {
        self.in_frames += other.in_frames;
        self.in_bytes += other.in_bytes;
        self.out_frames += other.out_frames;
        self.out_bytes += other.out_bytes;
        self.forwarded += other.forwarded;
        self.flooded += other.flooded;
        self.consumed += other.consumed;
        other.drops.happened().for_each(|(reason, count)| self.drops.add(reason, count));
    }

    /// Drops for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.of(reason)
    }

    /// Drops for any reason.
    #[must_use]
    pub fn total_dropped(&self) -> u64 {
        self.drops.happened().map(|(_, count)| count).sum()
    }
}

/// Counters of one network: the sums of its ports, removed ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStats {
    /// Which network.
    pub index: NetworkIndex,
    /// Its name.
    pub name: String,
    /// Its counters.
    pub counters: Counters,
}

/// Counters of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStats {
    /// Which port.
    pub port: PortId,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: NetworkIndex,
    /// `packet`, `tap`, `memory` or `overlay`.
    pub kind: &'static str,
    /// The pipeline that receives from it.
    pub worker: usize,
    /// FDB entries that point at it.
    pub fdb_entries: u64,
    /// Its counters.
    pub counters: Counters,
}

/// Counters of the forwarding database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FdbStats {
    /// Entries now.
    pub entries: u64,
    /// Most entries allowed.
    pub capacity: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Entries that grew too old.
    pub aged: u64,
    /// Entries pushed out by newer ones.
    pub evicted: u64,
    /// Addresses not learned because their port holds its limit.
    pub limited: u64,
    /// Addresses damped by the loop guard.
    pub damped: u64,
}

/// Where an FDB entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FdbKind {
    /// From a frame's source address.
    Learned,
    /// From control.
    Static,
    /// From a frame's source address, to stay.
    Sticky,
}

/// One FDB entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbEntry {
    /// Whose address.
    pub mac: MacAddr,
    /// In which VLAN; `None`: in the network's default one.
    pub vlan: Option<VlanId>,
    /// Where it is.
    pub port: PortId,
    /// Where the entry came from.
    pub kind: FdbKind,
    /// Seconds since it was seen; `None` for those that stay.
    pub age_seconds: Option<u64>,
}
