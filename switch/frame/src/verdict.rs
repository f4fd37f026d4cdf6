//! The end of every frame.

use std::fmt;

use serde::{Serialize, Serializer};

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was handed to at least one egress port.
    Forwarded,
    /// The switch itself was the receiver (ARP for the gateway, an echo request to it) or holds it for later.
    Consumed,
    /// It went nowhere.
    Dropped(DropReason),
}

/// Why a frame was dropped. Counters are indexed by it, and the command line prints [`DropReason::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// Shorter than an Ethernet header.
    Runt,
    /// A header contradicts its standard or the frame's length, where the switch had to read it.
    Malformed,
    /// A multicast or zero source address, which no station has.
    InvalidSource,
    /// The source MAC is not the endpoint's own.
    SpoofedMac,
    /// An ARP or Neighbor Discovery message claims an address that is not the endpoint's own.
    SpoofedArp,
    /// The source IP address is not the endpoint's own.
    SpoofedIp,
    /// The source MAC is the network's gateway's.
    SpoofedGateway,
    /// For the network's gateway, out of a tunnel: each host of an overlay network has that gateway itself.
    RemoteGateway,
    /// Sent to 01:80:C2:00:00:00-0F, which a bridge does not forward (IEEE 802.1Q table 8-1).
    ReservedMulticast,
    /// The source MAC is bound to another port by a static entry.
    StaticEntry,
    /// The source MAC flaps between ports too often; its moves are damped.
    LoopGuard,
    /// The destination is on the port that the frame came from.
    Reflection,
    /// Ingress and egress are isolated from each other (icc=false).
    Isolated,
    /// There is no other port to flood to.
    NoReceiver,
    /// Longer than the egress port's MTU and not a super-frame.
    OverMtu,
    /// Addressed to the gateway, which does not speak this protocol.
    GatewayUnsupported,
    /// Addressed through the gateway to where nothing leads (no uplink, another network).
    NotRouted,
    /// The router does not forward it; the router's own counters say why.
    Unroutable,
    /// The translator does not let it through; the translator's own counters say why.
    Untranslated,
    /// The tunnel does not take it to other hosts; the tunnel's own counters say why.
    Unencapsulated,
    /// The egress port's queue is full.
    EgressFull,
    /// The egress port vanished or reports an error.
    EgressError,
    /// What the virtio-net header says is not true of the frame or is no work for the switch (a checksum over addresses, a
    /// thousand segments), or the ingress port cut the frame.
    BadOffload,
    /// No buffer was left for a frame that the switch had to make.
    NoBuffer,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [DropReason; 24] = [
        DropReason::Runt,
        DropReason::Malformed,
        DropReason::InvalidSource,
        DropReason::SpoofedMac,
        DropReason::SpoofedArp,
        DropReason::SpoofedIp,
        DropReason::SpoofedGateway,
        DropReason::RemoteGateway,
        DropReason::ReservedMulticast,
        DropReason::StaticEntry,
        DropReason::LoopGuard,
        DropReason::Reflection,
        DropReason::Isolated,
        DropReason::NoReceiver,
        DropReason::OverMtu,
        DropReason::GatewayUnsupported,
        DropReason::NotRouted,
        DropReason::Unroutable,
        DropReason::Untranslated,
        DropReason::Unencapsulated,
        DropReason::EgressFull,
        DropReason::EgressError,
        DropReason::BadOffload,
        DropReason::NoBuffer,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = DropReason::ALL.len();

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
            DropReason::Runt => "runt",
            DropReason::Malformed => "malformed",
            DropReason::InvalidSource => "invalid-source",
            DropReason::SpoofedMac => "spoofed-mac",
            DropReason::SpoofedArp => "spoofed-arp",
            DropReason::SpoofedIp => "spoofed-ip",
            DropReason::SpoofedGateway => "spoofed-gateway",
            DropReason::RemoteGateway => "remote-gateway",
            DropReason::ReservedMulticast => "reserved-multicast",
            DropReason::StaticEntry => "static-entry",
            DropReason::LoopGuard => "loop-guard",
            DropReason::Reflection => "reflection",
            DropReason::Isolated => "isolated",
            DropReason::NoReceiver => "no-receiver",
            DropReason::OverMtu => "over-mtu",
            DropReason::GatewayUnsupported => "gateway-unsupported",
            DropReason::NotRouted => "not-routed",
            DropReason::Unroutable => "unroutable",
            DropReason::Untranslated => "untranslated",
            DropReason::Unencapsulated => "unencapsulated",
            DropReason::EgressFull => "egress-full",
            DropReason::EgressError => "egress-error",
            DropReason::BadOffload => "bad-offload",
            DropReason::NoBuffer => "no-buffer",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table lists every reason at its own index, and no two share a name.
    #[test]
    fn table_is_whole() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
