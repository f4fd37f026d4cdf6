//! Why the tunnel drops packets, and how often it did.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Serialize, Serializer};

/// Why a packet from or for the underlay was dropped. Counters are indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TunnelDrop {
    /// A VXLAN packet that is cut short.
    Truncated,
    /// A VXLAN header without the I flag, so without a VNI.
    NoVni,
    /// No network here has this VNI.
    UnknownVni,
    /// The outer source is the VTEP's own address.
    OwnAddress,
    /// The outer source is no remote of this network.
    UnknownRemote,
    /// The inner frame is shorter than its headers.
    Runt,
    /// The inner source is a group, zero, or no address of a station.
    InvalidSource,
    /// The inner source is bound to another remote by a static or control-plane entry.
    BoundElsewhere,
    /// The underlay reports congestion for a packet whose sender does not understand that (RFC 6040 section 4.2).
    NotEct,
    /// The inner frame has a VLAN tag, and the network does not carry tags (RFC 7348 section 6.1).
    Tagged,
    /// There is no remote to send it to.
    NoRemote,
    /// A flood from the network's gateway: each host has a gateway of its own, with the same addresses.
    GatewayFlood,
    /// The underlay takes no packet of this length.
    TooBig,
    /// A super-frame that does not carry what its segmentation type says.
    BadOffload,
    /// The underlay's queue is full.
    UnderlayFull,
    /// The underlay refuses to send: no route, no address, interface down.
    UnderlayError,
}

impl TunnelDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [TunnelDrop; 16] = [
        TunnelDrop::Truncated,
        TunnelDrop::NoVni,
        TunnelDrop::UnknownVni,
        TunnelDrop::OwnAddress,
        TunnelDrop::UnknownRemote,
        TunnelDrop::Runt,
        TunnelDrop::InvalidSource,
        TunnelDrop::BoundElsewhere,
        TunnelDrop::NotEct,
        TunnelDrop::Tagged,
        TunnelDrop::NoRemote,
        TunnelDrop::GatewayFlood,
        TunnelDrop::TooBig,
        TunnelDrop::BadOffload,
        TunnelDrop::UnderlayFull,
        TunnelDrop::UnderlayError,
    ];

    /// The counter's index.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that the API and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TunnelDrop::Truncated => "truncated",
            TunnelDrop::NoVni => "no-vni",
            TunnelDrop::UnknownVni => "unknown-vni",
            TunnelDrop::OwnAddress => "own-address",
            TunnelDrop::UnknownRemote => "unknown-remote",
            TunnelDrop::Runt => "runt",
            TunnelDrop::InvalidSource => "invalid-source",
            TunnelDrop::BoundElsewhere => "bound-elsewhere",
            TunnelDrop::NotEct => "not-ect",
            TunnelDrop::Tagged => "tagged",
            TunnelDrop::NoRemote => "no-remote",
            TunnelDrop::GatewayFlood => "gateway-flood",
            TunnelDrop::TooBig => "too-big",
            TunnelDrop::BadOffload => "bad-offload",
            TunnelDrop::UnderlayFull => "underlay-full",
            TunnelDrop::UnderlayError => "underlay-error",
        }
    }
}

impl fmt::Display for TunnelDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for TunnelDrop {}

impl Serialize for TunnelDrop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A counter for each reason, shared by all who count.
#[derive(Debug, Default)]
pub struct DropCounters([AtomicU64; TunnelDrop::ALL.len()]);

impl DropCounters {
    /// Counts packets.
    pub fn add(&self, reason: TunnelDrop, packets: u64) {
        self.0[reason.index()].fetch_add(packets, Relaxed);
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: TunnelDrop) -> u64 {
        self.0[reason.index()].load(Relaxed)
    }

    /// Reason and count, those that happened.
    #[must_use]
    pub fn list(&self) -> Vec<(TunnelDrop, u64)> {
        let all = TunnelDrop::ALL.into_iter().map(|reason| (reason, self.of(reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table lists every reason at its own index, and no two share a name.
    #[test]
    fn table_is_whole() {
        let counters = DropCounters::default();
        for (index, reason) in TunnelDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            counters.add(reason, 1);
        }
        let names: std::collections::BTreeSet<_> =
            counters.list().into_iter().map(|(reason, _)| reason.name()).collect();
        assert_eq!(names.len(), TunnelDrop::ALL.len());
    }
}
