//! Bounds, timers, and why a datagram went nowhere.

use serde::{Deserialize, Serialize};
use vswitch_frame::reason::Tally;

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

vswitch_frame::reasons! {
    /// Why a datagram, an echo or an ICMP message was dropped. Counters are indexed by it.
    pub enum DatagramDrop {
        /// A header contradicts its standard or the packet's length, or the offload does not fit the packet.
        Malformed = "malformed",
        /// The checksum is wrong.
        BadChecksum = "bad-checksum",
        /// The source is not an address inside, or a port is zero.
        Spoofed = "spoofed-source",
        /// To many, or to an address of the host's own that is not shared.
        Destination = "not-forwardable",
        /// Of a protocol or an ICMP type that no host socket carries.
        NotCarried = "not-carried",
        /// The host gave no socket: its descriptors are used up, or it does not allow echo requests.
        NoSocket = "no-socket",
        /// The host refused to send it.
        NotSent = "not-sent",
        /// The host's socket, or the service, has no room just now.
        Full = "socket-full",
        /// A fragment that overlaps another, or for which there is no room.
        Fragment = "fragment",
        /// From outside, for a flow that is over.
        NoFlow = "no-flow",
        /// From outside, by somebody whom the flow has not written to.
        Unsolicited = "unsolicited",
        /// Longer than a packet to the inside, or a question to a service, can be.
        TooLong = "too-long",
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
    drops: Tally<DatagramDrop, { DatagramDrop::COUNT }>,
}

impl DatagramCounters {
    /// Counts a drop.
    pub fn dropped(&mut self, reason: DatagramDrop) {
        self.drops.add(reason, 1);
    }

    /// Adds what another engine counted.
    pub fn add(&mut self, other: &DatagramCounters) {
        self.flows += other.flows;
        self.opened += other.opened;
        self.expired += other.expired;
        self.evicted += other.evicted;
        for at in 0..2 {
            self.sent[at] += other.sent[at];
            self.received[at] += other.received[at];
        }
        self.errors += other.errors;
        self.drops.add_all(&other.drops);
    }

    /// Reasons with their counts, those that happened.
    pub fn drops(&self) -> impl Iterator<Item = (DatagramDrop, u64)> + '_ {
        self.drops.happened()
    }
}
