//! Overlay networks: a VTEP's socket, the networks on it, and the port by which each network reaches the other hosts.
//!
//! - A [`Vtep`] is one UDP socket on the underlay (and the sockets that it sends from, see [`crate::sys::udp`]). One
//!   worker receives from it, for all of its networks.
//! - An overlay network is a network like any other with one more port, of the device [`OverlayLeg`]: what comes out of
//!   the tunnel for its VNI is processed as having come in by that port, and what the bridge sends to that port is
//!   encapsulated. Split horizon thus is the bridge's own rule: nothing goes back to its ingress port.
//! - The engine is [`vswitch_tunnel`]: which remotes are believed, who is where, what fits together in a train.
//!
//! Control makes a VTEP, then a network, then its leg ([`crate::Switch::add_overlay`]), and names remotes and entries
//! while traffic runs. The VTEP's socket can be replaced meanwhile, when the underlay's address changes.

mod control;
mod handle;
mod vtep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::counters::Cells;
use crate::shared::wide;
use crate::sys::burst::Burst;
use arc_swap::ArcSwap;
use vswitch_frame::{DropReason, FrameBuf, MacAddr, NetworkIndex, PortId};
use vswitch_tunnel::{Overlay, OverlayStats};

pub(crate) use control::{check_leg, join, part, stats};
pub use vtep::VtepPlan;
pub use vtep::{Vtep, VtepConfig, VtepId, VtepStats};

/// The device of an overlay network's port: its engine, and the VTEP that it uses.
#[derive(Debug)]
pub struct OverlayLeg {
    /// The engine.
    pub overlay: Overlay,
    vtep: ArcSwap<Vtep>,
    /// The gateway's MAC address as a number; 0: none.
    gateway: AtomicU64,
}

impl OverlayLeg {
    pub(crate) fn new(overlay: Overlay, vtep: Arc<Vtep>) -> Self {
        OverlayLeg { overlay, vtep: ArcSwap::new(vtep), gateway: AtomicU64::new(0) }
    }

    /// The VTEP that it uses now.
    #[must_use]
    pub fn vtep(&self) -> Arc<Vtep> {
        self.vtep.load_full()
    }

    /// Sends the frames that `indices` names through the tunnel and counts them on `cells`.
    pub(crate) fn send(&self, _: &mut Burst, _: &mut [FrameBuf], indices: &[u16], cells: &Cells) {
        cells.dropped(DropReason::EgressError, wide(indices.len()));
    }

    pub(crate) fn set_gateway(&self, mac: Option<MacAddr>) {
        self.gateway.store(mac.map_or(0, MacAddr::to_u64), Relaxed);
    }
}

/// A network's leg in a snapshot.
#[derive(Debug, Clone)]
pub struct NetworkLeg {
    /// Its port.
    pub port: PortId,
    /// Its device.
    pub leg: Arc<OverlayLeg>,
}

/// What was counted on one overlay network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayPortStats {
    /// The port of its leg.
    pub port: PortId,
    /// The network.
    pub network: NetworkIndex,
    /// The VTEP that it uses.
    pub vtep: VtepId,
    /// What the engine counted.
    pub overlay: OverlayStats,
}
