//! Bounds, timers, and why a datagram went nowhere.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::table::{Seconds, Timeouts};

/// How many flows of datagrams there may be. Each of them holds a host socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatagramLimits {
    /// Flows in all.
    pub flows: usize,
    /// Flows of one endpoint.
    pub per_endpoint: usize,
    /// Peers of all flows that are remembered.
    pub peers: usize,
    /// Peers of one endpoint's flows.
    pub peers_per_endpoint: usize,
    /// Seconds that a flow lives after a datagram, as long as nothing came back (RFC 4787 REQ-5: two minutes at least).
    pub one_way: Seconds,
    /// Seconds that a flow lives after a datagram, once there were some both ways (RFC 4787 REQ-5 c recommends these).
    pub both_ways: Seconds,
    /// Seconds that a flow lives after a datagram that has asked nobody but name servers, which REQ-5 a allows: each
    /// question has a socket of its own, so a busy resolver would hold ten thousands of idle ones.
    pub names: Seconds,
    /// Seconds that a flow of echo requests lives (RFC 5508 REQ-2: one minute at least).
    pub echo: Seconds,
}

impl Default for DatagramLimits {
    fn default() -> Self {
        DatagramLimits {
            flows: 16_384,
            per_endpoint: 4096,
            peers: 65_536,
            peers_per_endpoint: 16_384,
            one_way: Timeouts::RFC.udp,
            both_ways: Timeouts::RFC.udp_stream,
            names: Seconds(15),
            echo: Timeouts::RFC.icmp,
        }
    }
}

/// Who may write to a flow's host socket (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Whom the flow has written to, address and port, within the time that a flow lives.
    #[default]
    AddressAndPortDependent,
    /// Anybody but the host itself, which is where other containers and local programs come from: they must have been
    /// written to.
    EndpointIndependent,
}

/// Why a datagram, an echo or an ICMP message was dropped. Counters are indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DatagramDrop {
    /// A header contradicts its standard or the packet's length, or the offload does not fit the packet.
    Malformed,
    /// The checksum is wrong.
    BadChecksum,
    /// The source is not an address inside, or a port is zero.
    Spoofed,
    /// To many, or to an address of the host's own that is not shared.
    Destination,
    /// Of a protocol or an ICMP type that no host socket carries.
    NotCarried,
    /// The host gave no socket: its descriptors are used up, or it does not allow echo requests.
    NoSocket,
    /// The host refused to send it.
    NotSent,
    /// The host's socket has no room just now.
    Full,
    /// A fragment that overlaps another, or for which there is no room.
    Fragment,
    /// From outside, for a flow that is over.
    NoFlow,
    /// From outside, by somebody whom the flow has not written to.
    Unsolicited,
    /// From outside, longer than a packet to the inside can be.
    TooLong,
}

impl DatagramDrop {
    /// Every reason, in the order of the counters.
    pub const ALL: [DatagramDrop; 12] = [
        DatagramDrop::Malformed,
        DatagramDrop::BadChecksum,
        DatagramDrop::Spoofed,
        DatagramDrop::Destination,
        DatagramDrop::NotCarried,
        DatagramDrop::NoSocket,
        DatagramDrop::NotSent,
        DatagramDrop::Full,
        DatagramDrop::Fragment,
        DatagramDrop::NoFlow,
        DatagramDrop::Unsolicited,
        DatagramDrop::TooLong,
    ];

    /// The counter's index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that the API and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DatagramDrop::Malformed => "malformed",
            DatagramDrop::BadChecksum => "bad-checksum",
            DatagramDrop::Spoofed => "spoofed-source",
            DatagramDrop::Destination => "not-forwardable",
            DatagramDrop::NotCarried => "not-carried",
            DatagramDrop::NoSocket => "no-socket",
            DatagramDrop::NotSent => "not-sent",
            DatagramDrop::Full => "socket-full",
            DatagramDrop::Fragment => "fragment",
            DatagramDrop::NoFlow => "no-flow",
            DatagramDrop::Unsolicited => "unsolicited",
            DatagramDrop::TooLong => "too-long",
        }
    }
}

impl fmt::Display for DatagramDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for DatagramDrop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What has happened to datagrams and echoes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatagramCounters {
    /// Flows now.
    pub flows: u64,
    /// Flows since the start.
    pub opened: u64,
    /// Flows that outlived their time.
    pub expired: u64,
    /// Flows ended to make room.
    pub evicted: u64,
    /// Datagrams and bytes of payload that went out.
    pub sent: [u64; 2],
    /// Datagrams and bytes of payload that came in.
    pub received: [u64; 2],
    /// ICMP errors passed on to the inside.
    pub errors: u64,
    drops: [u64; DatagramDrop::ALL.len()],
}

impl DatagramCounters {
    /// Counts a drop.
    pub const fn dropped(&mut self, reason: DatagramDrop) {
        self.drops[reason.index()] += 1;
    }

    /// Reasons with their counts, those that happened.
    pub fn drops(&self) -> impl Iterator<Item = (DatagramDrop, u64)> + '_ {
        DatagramDrop::ALL.into_iter().map(|reason| (reason, self.drops[reason.index()])).filter(|(_, count)| *count > 0)
    }
}
