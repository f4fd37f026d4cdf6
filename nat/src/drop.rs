//! Why the translator drops packets, and how often it did.

vswitch_frame::reasons! {
    /// Why a packet was dropped. Counters are indexed by it.
    pub enum NatDrop {
        /// A header contradicts its standard or the packet's length.
        Malformed = "malformed",
        /// The L4 checksum, or an ICMP message's, is wrong (T17, I5).
        BadChecksum = "bad-checksum",
        /// Source and destination are the same, or a port is zero.
        BadTuple = "bad-tuple",
        /// A TCP segment that no connection in its state sends, or that opens none (T16).
        InvalidSegment = "invalid-segment",
        /// A TCP segment out of its connection's window (T7, T14).
        OutOfWindow = "out-of-window",
        /// An ICMP answer that nobody asked for (I4).
        UnsolicitedReply = "unsolicited-reply",
        /// An ICMP type that is neither query, answer nor error (I19).
        UnknownIcmp = "unknown-icmp",
        /// An ICMP redirect, which a translator must not pass on (I18).
        Redirect = "redirect",
        /// An ICMP error whose quoted packet is cut short, broken or itself an error (I6, I20).
        BadQuotation = "bad-quotation",
        /// An ICMP error about a packet of no flow (I12).
        NoFlowForError = "no-flow-for-error",
        /// An ICMP error that was not sent to the source of the packet it quotes (I13).
        MismatchedError = "mismatched-error",
        /// From one network to another (D4).
        Isolated = "isolated",
        /// From one network to another that it is joined with, and what joins them does not allow it.
        NotAllowed = "not-allowed",
        /// A network's policy denies it.
        Denied = "denied",
        /// Out of, or into, a network that has no way out (D9).
        Internal = "internal",
        /// There is no external address of this family to masquerade with.
        NoExternalAddress = "no-external-address",
        /// No external port is free (I17, X2).
        NoPort = "no-port",
        /// The connection table is full, and nothing in it may go (X1).
        TableFull = "table-full",
        /// The endpoint holds as many flows as it may (U20).
        EndpointLimit = "endpoint-limit",
        /// A packet of a known flow came from where none of its packets can come from.
        WrongLeg = "wrong-leg",
        /// From the uplink straight to an endpoint's unpublished port (D3).
        NotPublished = "not-published",
        /// From the uplink to an address that is not here.
        NotLocal = "not-local",
        /// From the uplink with an inside source, or from a network with one that is not its own (G9).
        SpoofedSource = "spoofed-source",
        /// To an external address, of no flow and to no published port (U12); counted by the shell's word.
        Unsolicited = "unsolicited",
        /// A fragment overlaps another of its datagram (F5), or repeats it.
        FragmentOverlap = "fragment-overlap",
        /// A first fragment without the whole L4 header, or a TCP fragment over one (RFC 1858).
        FragmentTiny = "fragment-tiny",
        /// No room to hold a fragment whose first has not come yet (F4).
        FragmentOverflow = "fragment-overflow",
        /// A fragment was held, and its first never came (F3).
        FragmentTimeout = "fragment-timeout",
    }
}

impl NatDrop {
    /// Whether the sender inside is told by an ICMP "administratively prohibited" (RFC 5508 REQ-8).
    #[must_use]
    pub const fn is_told_to_sender(self) -> bool {
        matches!(self, NatDrop::NoPort | NatDrop::TableFull | NatDrop::EndpointLimit)
    }
}
