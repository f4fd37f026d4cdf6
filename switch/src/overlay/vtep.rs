//! One tunnel endpoint: its sockets, and the networks on it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;
use vswitch_frame::{PortId, Vni};
use vswitch_tunnel::{DropCounters, TunnelDrop};

/// A VTEP of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VtepId(u16);

impl VtepId {
    /// The VTEP with this index.
    #[must_use]
    pub const fn new(index: u16) -> Self {
        VtepId(index)
    }

    /// The index into a table of VTEPs.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VtepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VTEP {}", self.0)
    }
}

/// What control says about a VTEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VtepConfig {
    /// The local underlay address, and the UDP port that this and all remote VTEPs receive on.
    pub address: SocketAddr,
}

/// A tunnel endpoint.
#[derive(Debug)]
pub struct Vtep {
    /// Its index.
    pub id: VtepId,
    /// What control said.
    pub config: VtepConfig,
    /// The worker that receives from it.
    pub worker: usize,
    /// Packets that were dropped before their network was known.
    pub drops: DropCounters,
    pub(crate) socket: OwnedFd,
    pub(crate) counts: Counts,
}

/// What a VTEP counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) in_trains: AtomicU64,
    pub(crate) in_packets: AtomicU64,
    pub(crate) out_trains: AtomicU64,
    pub(crate) out_packets: AtomicU64,
}

/// What was counted on one VTEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VtepStats {
    /// Which VTEP.
    pub id: VtepId,
    /// Its address and port.
    pub address: SocketAddr,
    /// Networks on it.
    pub networks: u64,
    /// Receptions; each brings one packet or a train of them.
    pub in_trains: u64,
    /// VXLAN packets received.
    pub in_packets: u64,
    /// Transmissions; each takes one packet or a train of them.
    pub out_trains: u64,
    /// VXLAN packets sent.
    pub out_packets: u64,
    /// Drops before a network was known: reason and count, those that happened.
    pub drops: Vec<(TunnelDrop, u64)>,
}

impl Vtep {
    pub(crate) fn new(id: VtepId, config: VtepConfig, worker: usize, socket: OwnedFd) -> Self {
        Vtep { id, config, worker, drops: DropCounters::default(), socket, counts: Counts::default() }
    }

    /// What becomes readable when a packet waits.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(crate) fn stats(&self, networks: usize) -> VtepStats {
        VtepStats {
            id: self.id,
            address: self.config.address,
            networks: crate::shared::wide(networks),
            in_trains: self.counts.in_trains.load(Relaxed),
            in_packets: self.counts.in_packets.load(Relaxed),
            out_trains: self.counts.out_trains.load(Relaxed),
            out_packets: self.counts.out_packets.load(Relaxed),
            drops: self.drops.list(),
        }
    }
}

/// A VTEP in a snapshot: which port serves which VNI.
#[derive(Debug, Clone)]
pub struct VtepPlan {
    /// The VTEP.
    pub vtep: Arc<Vtep>,
    /// Ports by VNI.
    pub networks: HashMap<Vni, PortId, RandomState>,
}
