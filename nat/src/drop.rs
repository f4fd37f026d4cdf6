//! Why the translator drops packets, and how often it did.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// Why a packet was dropped. Counters are indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NatDrop {
    /// A header contradicts its standard or the packet's length.
    Malformed,
    /// The offload does not fit the packet that it came with.
    BadOffload,
    /// The L4 checksum, or an ICMP message's, is wrong (T17, I5).
    BadChecksum,
    /// Source and destination are the same, or a port is zero.
    BadTuple,
    /// A TCP segment that no connection in its state sends, or that opens none (T16).
    InvalidSegment,
    /// A TCP segment out of its connection's window (T7, T14).
    OutOfWindow,
    /// An ICMP answer that nobody asked for (I4).
    UnsolicitedReply,
    /// An ICMP type that is neither query, answer nor error (I19).
    UnknownIcmp,
    /// An ICMP redirect, which a translator must not pass on (I18).
    Redirect,
    /// An ICMP error whose quoted packet is cut short, broken or itself an error (I6, I20).
    BadQuotation,
    /// An ICMP error about a packet of no flow (I12).
    NoFlowForError,
    /// An ICMP error that was not sent to the source of the packet it quotes (I13).
    MismatchedError,
    /// From one network to another (D4).
    Isolated,
    /// Out of, or into, a network that has no way out (D9).
    Internal,
    /// There is no external address of this family to masquerade with.
    NoExternalAddress,
    /// No external port is free (I17, X2).
    NoPort,
    /// The connection table is full, and nothing in it may go (X1).
    TableFull,
    /// The endpoint holds as many flows as it may (U20).
    EndpointLimit,
    /// A packet of a known flow came from where none of its packets can come from.
    WrongLeg,
    /// From the uplink straight to an endpoint's unpublished port (D3).
    NotPublished,
    /// From the uplink to an address that is not here.
    NotLocal,
    /// From the uplink with an inside source, or from a network with one that is not its own (G9).
    SpoofedSource,
    /// To an external address, of no flow and to no published port (U12); counted by the shell's word.
    Unsolicited,
    /// A fragment overlaps another of its datagram (F5), or repeats it.
    FragmentOverlap,
    /// A first fragment without the whole L4 header, or a TCP fragment over one (RFC 1858).
    FragmentTiny,
    /// No room to hold a fragment whose first has not come yet (F4).
    FragmentOverflow,
    /// A fragment was held, and its first never came (F3).
    FragmentTimeout,
}

impl NatDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [NatDrop; 27] = [
        NatDrop::Malformed,
        NatDrop::BadOffload,
        NatDrop::BadChecksum,
        NatDrop::BadTuple,
        NatDrop::InvalidSegment,
        NatDrop::OutOfWindow,
        NatDrop::UnsolicitedReply,
        NatDrop::UnknownIcmp,
        NatDrop::Redirect,
        NatDrop::BadQuotation,
        NatDrop::NoFlowForError,
        NatDrop::MismatchedError,
        NatDrop::Isolated,
        NatDrop::Internal,
        NatDrop::NoExternalAddress,
        NatDrop::NoPort,
        NatDrop::TableFull,
        NatDrop::EndpointLimit,
        NatDrop::WrongLeg,
        NatDrop::NotPublished,
        NatDrop::NotLocal,
        NatDrop::SpoofedSource,
        NatDrop::Unsolicited,
        NatDrop::FragmentOverlap,
        NatDrop::FragmentTiny,
        NatDrop::FragmentOverflow,
        NatDrop::FragmentTimeout,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = NatDrop::ALL.len();

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
            NatDrop::Malformed => "malformed",
            NatDrop::BadOffload => "bad-offload",
            NatDrop::BadChecksum => "bad-checksum",
            NatDrop::BadTuple => "bad-tuple",
            NatDrop::InvalidSegment => "invalid-segment",
            NatDrop::OutOfWindow => "out-of-window",
            NatDrop::UnsolicitedReply => "unsolicited-reply",
            NatDrop::UnknownIcmp => "unknown-icmp",
            NatDrop::Redirect => "redirect",
            NatDrop::BadQuotation => "bad-quotation",
            NatDrop::NoFlowForError => "no-flow-for-error",
            NatDrop::MismatchedError => "mismatched-error",
            NatDrop::Isolated => "isolated",
            NatDrop::Internal => "internal",
            NatDrop::NoExternalAddress => "no-external-address",
            NatDrop::NoPort => "no-port",
            NatDrop::TableFull => "table-full",
            NatDrop::EndpointLimit => "endpoint-limit",
            NatDrop::WrongLeg => "wrong-leg",
            NatDrop::NotPublished => "not-published",
            NatDrop::NotLocal => "not-local",
            NatDrop::SpoofedSource => "spoofed-source",
            NatDrop::Unsolicited => "unsolicited",
            NatDrop::FragmentOverlap => "fragment-overlap",
            NatDrop::FragmentTiny => "fragment-tiny",
            NatDrop::FragmentOverflow => "fragment-overflow",
            NatDrop::FragmentTimeout => "fragment-timeout",
        }
    }

    /// Whether the sender inside is told by an ICMP "administratively prohibited" (RFC 5508 REQ-8).
    #[must_use]
    pub const fn is_told_to_sender(self) -> bool {
        matches!(self, NatDrop::NoPort | NatDrop::TableFull | NatDrop::EndpointLimit)
    }
}

impl fmt::Display for NatDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for NatDrop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How many packets were dropped for each reason.
#[derive(Debug)]
pub(crate) struct DropCounters([AtomicU64; NatDrop::COUNT]);

impl DropCounters {
    pub(crate) const fn new() -> Self {
        DropCounters([const { AtomicU64::new(0) }; NatDrop::COUNT])
    }

    pub(crate) fn count(&self, reason: NatDrop, packets: u64) {
        self.0[reason.index()].fetch_add(packets, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, reason: NatDrop) -> u64 {
        self.0[reason.index()].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table lists every reason at its own index, and no two share a name.
    #[test]
    fn table_is_whole() {
        for (index, reason) in NatDrop::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let mut names: Vec<_> = NatDrop::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NatDrop::COUNT);
    }
}
