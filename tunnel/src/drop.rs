//! Why the tunnel drops packets, and how often it did.

vswitch_frame::reasons! {
    /// Why a packet from or for the underlay was dropped. Counters are indexed by it.
    pub enum TunnelDrop {
        /// A VXLAN packet that is cut short.
        Truncated = "truncated",
        /// A VXLAN header without the I flag, so without a VNI.
        NoVni = "no-vni",
        /// No network here has this VNI.
        UnknownVni = "unknown-vni",
        /// The outer source is the VTEP's own address.
        OwnAddress = "own-address",
        /// The outer source is no remote of this network.
        UnknownRemote = "unknown-remote",
        /// The inner frame is shorter than its headers.
        Runt = "runt",
        /// The inner source is a group, zero, or no address of a station.
        InvalidSource = "invalid-source",
        /// The inner source is bound to another remote by a static or control-plane entry.
        BoundElsewhere = "bound-elsewhere",
        /// The underlay reports congestion for a packet whose sender does not understand that (RFC 6040 section 4.2).
        NotEct = "not-ect",
        /// The inner frame has a VLAN tag, and the network does not carry tags (RFC 7348 section 6.1).
        Tagged = "tagged",
        /// There is no remote to send it to.
        NoRemote = "no-remote",
        /// A flood from the network's gateway: each host has a gateway of its own, with the same addresses.
        GatewayFlood = "gateway-flood",
        /// The underlay takes no packet of this length.
        TooBig = "too-big",
        /// A super-frame that does not carry what its segmentation type says.
        BadOffload = "bad-offload",
        /// The underlay's queue is full.
        UnderlayFull = "underlay-full",
        /// The underlay refuses to send: no route, no address, interface down.
        UnderlayError = "underlay-error",
    }
}

impl std::error::Error for TunnelDrop {}

/// A counter for each reason, shared by all who count.
pub type DropCounters = vswitch_frame::reason::SharedTally<TunnelDrop, { TunnelDrop::COUNT }>;
