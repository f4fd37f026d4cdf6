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
mod duplicates;
mod handle;
mod receive;
mod send;
mod tick;
mod vtep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use vswitch_frame::{L3, MacAddr, NetworkIndex, Packet, PortId};
use vswitch_tunnel::{Overlay, OverlayStats};

use crate::bridge::over_mtu;
use crate::verdict::{Cause, Verdict};

use duplicates::Duplicates;

pub(crate) use control::{check_leg, join, part, stats};
pub use duplicates::{Claimed, Duplicate};
pub(crate) use receive::{Inbound, RxContext};
pub(crate) use send::Outbound;
pub(crate) use tick::tick;
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
    pub(crate) duplicates: Duplicates,
}

impl OverlayLeg {
    pub(crate) fn new(overlay: Overlay, vtep: Arc<Vtep>) -> Self {
        OverlayLeg { overlay, vtep: ArcSwap::new(vtep), gateway: AtomicU64::new(0), duplicates: Duplicates::default() }
    }

    /// The VTEP that it uses now.
    #[must_use]
    pub fn vtep(&self) -> Arc<Vtep> {
        self.vtep.load_full()
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

impl NetworkLeg {
    /// The verdict on a frame that may be too long: for the network's MTU, or for a path that it may take through the
    /// tunnel. A packet that may be fragmented goes on, and the underlay does that.
    pub(crate) fn fit(&self, packet: &Packet<'_>, ingress: PortId, verdict: Verdict, mtu: u32) -> Verdict {
        let through = match verdict {
            Verdict::Forward(port) => port == self.port,
            Verdict::Flood | Verdict::FloodBut(_) => ingress != self.port,
            Verdict::Multicast | Verdict::Forwarded | Verdict::Answer | Verdict::Consumed | Verdict::Drop(_) => false,
        };
        let mtu = if through { mtu.min(self.leg.overlay.path_limit()) } else { mtu };
        let whole = match packet.l3() {
            L3::Ipv4 => packet.ip_packet()[6] & DONT_FRAGMENT != 0,
            L3::Ipv6 => true,
            _ => false,
        };
        if whole && over_mtu(packet, mtu) { Cause::TooBig(mtu).into() } else { verdict }
    }
}

/// In an IPv4 header's byte 6 (RFC 791 section 3.1).
const DONT_FRAGMENT: u8 = 0x40;

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
