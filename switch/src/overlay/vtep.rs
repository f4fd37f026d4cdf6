//! One tunnel endpoint: its sockets, and the networks on it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use vswitch_frame::{PortId, Vni};
use vswitch_tunnel::{DropCounters, OuterChecksum, TunnelDrop, header};

use crate::sys::udp;

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
    /// The sockets that packets leave from, by path, with and without outer checksum; opened when first needed.
    sources: [Box<[OnceLock<Option<OwnedFd>>]>; 2],
    /// The kernel refused a train for a reason that does not pass.
    alone: AtomicBool,
}

/// What a VTEP counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) in_trains: AtomicU64,
    pub(crate) in_packets: AtomicU64,
    pub(crate) out_trains: AtomicU64,
    pub(crate) out_packets: AtomicU64,
}

impl Counts {
    pub(crate) fn sent(&self, trains: u64, packets: u64) {
        self.out_trains.fetch_add(trains, Relaxed);
        self.out_packets.fetch_add(packets, Relaxed);
    }

    pub(crate) fn received(&self, trains: u64, packets: u64) {
        self.in_trains.fetch_add(trains, Relaxed);
        self.in_packets.fetch_add(packets, Relaxed);
    }
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
        let sources = || (0..header::PATHS).map(|_| OnceLock::new()).collect();
        Vtep {
            id,
            config,
            worker,
            drops: DropCounters::default(),
            socket,
            counts: Counts::default(),
            sources: [sources(), sources()],
            alone: AtomicBool::new(false),
        }
    }

    /// Calls `send` with the socket for a path. Where none can be opened for it, the VTEP's own serves: any source port is
    /// good (V7), it only spreads less.
    pub(crate) fn with_source<T>(
        &self,
        path: u16,
        checksum: OuterChecksum,
        send: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> T {
        let sources = &self.sources[usize::from(checksum == OuterChecksum::Zero)];
        let open = || {
            let opened = udp::open_source(self.config.address.ip(), header::source_ports(path), checksum);
            opened.inspect_err(|error| tracing::debug!(%error, path, "a path shares the VTEP's own socket")).ok()
        };
        let source = sources.get(usize::from(path)).and_then(|source| source.get_or_init(open).as_ref());
        send(source.map_or(self.socket.as_fd(), AsFd::as_fd))
    }

    /// Whether packets may leave in trains.
    pub(crate) fn joins(&self) -> bool {
        !self.alone.load(Relaxed)
    }

    /// Takes note that the kernel cannot cut trains here.
    pub(crate) fn stop_joining(&self, error: &std::io::Error) {
        if !self.alone.swap(true, Relaxed) {
            tracing::info!(%error, vtep = %self.id, "the kernel takes no trains; packets leave one by one");
        }
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
            drops: self.drops.happened().collect(),
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
