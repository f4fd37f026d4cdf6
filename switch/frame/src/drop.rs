//! Why the switch drops frames.

crate::reasons! {
    /// Why a frame was dropped. Counters are indexed by it, and the command line prints [`DropReason::name`].
    pub enum DropReason {
        /// Shorter than an Ethernet header.
        Runt = "runt",
        /// A header contradicts its standard or the frame's length, where the switch had to read it.
        Malformed = "malformed",
        /// A multicast or zero source address, which no station has.
        InvalidSource = "invalid-source",
        /// The source MAC is not the endpoint's own.
        SpoofedMac = "spoofed-mac",
        /// An ARP or Neighbor Discovery message claims an address that is not the endpoint's own.
        SpoofedArp = "spoofed-arp",
        /// The source IP address is not the endpoint's own.
        SpoofedIp = "spoofed-ip",
        /// The source MAC is the network's gateway's.
        SpoofedGateway = "spoofed-gateway",
        /// For the network's gateway, out of a tunnel: each host of an overlay network has that gateway itself.
        RemoteGateway = "remote-gateway",
        /// Sent to 01:80:C2:00:00:00-0F, which a bridge does not forward (IEEE 802.1Q table 8-1).
        ReservedMulticast = "reserved-multicast",
        /// The source MAC is bound to another port by a static entry.
        StaticEntry = "static-entry",
        /// The source MAC is one too many behind a port that keeps those it learned, or was kept by another port.
        MacViolation = "mac-violation",
        /// The source MAC flaps between ports too often; its moves are damped.
        LoopGuard = "loop-guard",
        /// The destination is on the port that the frame came from.
        Reflection = "reflection",
        /// Ingress and egress are isolated from each other (icc=false, one isolation group).
        Isolated = "isolated",
        /// A copy for a mirror found no buffer, or no room there.
        MirrorLost = "mirror-lost",
        /// More than the port may send in all (rate-in).
        RateIn = "rate-in",
        /// More than is to be sent to the egress port (rate-out).
        RateOut = "rate-out",
        /// More broadcasts than the port may send (storm control).
        StormBroadcast = "storm-broadcast",
        /// More frames to groups than the port may send (storm control).
        StormMulticast = "storm-multicast",
        /// More frames to unknown stations than the port may send (storm control).
        StormUnknown = "storm-unknown",
        /// For a group that nobody else asked for (multicast snooping).
        NoMember = "no-member",
        /// Of a VLAN that its ingress or egress port has nothing to do with, or with a tag that makes no sense there.
        VlanFiltered = "vlan-filtered",
        /// There is no other port to flood to.
        NoReceiver = "no-receiver",
        /// Longer than the egress port's MTU and not a super-frame.
        OverMtu = "over-mtu",
        /// Addressed to the gateway, which does not speak this protocol.
        GatewayUnsupported = "gateway-unsupported",
        /// Addressed through the gateway to where nothing leads (no uplink, another network).
        NotRouted = "not-routed",
        /// The router does not forward it; the router's own counters say why.
        Unroutable = "unroutable",
        /// The translator does not let it through; the translator's own counters say why.
        Untranslated = "untranslated",
        /// The tunnel does not take it to other hosts; the tunnel's own counters say why.
        Unencapsulated = "unencapsulated",
        /// A gateway of the sockets uplink, or a service, does not carry it on; its own counters say why.
        Uncarried = "uncarried",
        /// The egress port's queue is full.
        EgressFull = "egress-full",
        /// The egress port vanished or reports an error.
        EgressError = "egress-error",
        /// What the virtio-net header says is not true of the frame or is no work for the switch (a checksum over addresses, a
        /// thousand segments), or the ingress port cut the frame.
        BadOffload = "bad-offload",
        /// No buffer was left for a frame that the switch had to make.
        NoBuffer = "no-buffer",
    }
}
