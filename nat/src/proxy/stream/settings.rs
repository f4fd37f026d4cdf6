//! Bounds, timers, and why a segment went nowhere.

use serde::{Deserialize, Serialize};
use vswitch_frame::reason::Tally;

use crate::table::Seconds;

/// Bytes of a ring by default.
pub const RING: usize = 512 << 10;
/// Bytes of a small ring by default.
pub const SMALL_RING: usize = 16 << 10;

/// How many connections there may be, and what each may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamLimits {
    /// Connections in all. Each holds a host socket.
    pub flows: usize,
    /// Connections of one endpoint.
    pub per_endpoint: usize,
    /// Bytes of each of a connection's two rings.
    pub ring: usize,
    /// Bytes of all those rings together, as if each were full. An endpoint that would get more of it than is left for others
    /// gets rings of `small_ring` for its next connections.
    pub rings: usize,
    /// Bytes of a ring then.
    pub small_ring: usize,
    /// Seconds without a byte after which a connection ends (RFC 5382 REQ-5: two hours and four minutes at least).
    pub idle: Seconds,
    /// Seconds without a byte after which a connection ends that one side has closed (RFC 5382 REQ-5: four minutes at
    /// least).
    pub half_closed: Seconds,
    /// Seconds of silence after which an endpoint is asked whether it is still there.
    pub keep_alive: Seconds,
    /// Seconds after which an endpoint that does not answer is given up.
    pub unanswered: Seconds,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            flows: 32_768,
            per_endpoint: 16_384,
            ring: RING,
            rings: 1 << 30,
            small_ring: SMALL_RING,
            idle: Seconds(7_440),
            half_closed: Seconds(300),
            keep_alive: Seconds(300),
            unanswered: Seconds(700),
        }
    }
}

vswitch_frame::reasons! {
    /// Why a segment was dropped, or a connection refused. Counters are indexed by it.
    pub enum StreamDrop {
        /// A header contradicts its standard or the packet's length, or the offload does not fit the packet.
        Malformed = "malformed",
        /// The checksum is wrong.
        BadChecksum = "bad-checksum",
        /// Flags that no connection sends together.
        BadFlags = "bad-flags",
        /// A port is zero.
        BadPort = "bad-port",
        /// To many, or to an address of the host's own that is not shared.
        Destination = "not-forwardable",
        /// Of no connection; it was answered with a reset.
        NoFlow = "no-flow",
        /// A fragment of a segment.
        Fragment = "fragment",
        /// As many connections as there may be, in all or of this endpoint.
        TooMany = "too-many",
        /// The host gave no socket: its descriptors or ports are used up.
        NoSocket = "no-socket",
        /// The host's peer refused the connection.
        Refused = "refused",
        /// The host found no way to the peer.
        Unreachable = "unreachable",
        /// The peer did not answer the host.
        TimedOut = "timed-out",
        /// More answers wait than there is room for.
        Full = "queue-full",
    }
}

/// What has happened to connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections now.
    pub flows: u64,
    /// Most connections at once since tables were made smaller.
    pub most: u64,
    /// Connections from inside since the start.
    pub opened: u64,
    /// Connections into a network since the start.
    pub accepted: u64,
    /// Connections that were reset by either side.
    pub reset: u64,
    /// Connections that were idle too long.
    pub expired: u64,
    /// Connections ended to make room for others'.
    pub evicted: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// Bytes that came in.
    pub received: u64,
    /// Bytes of all rings now, as if each were full.
    pub rings: u64,
    drops: Tally<StreamDrop, { StreamDrop::COUNT }>,
}

impl StreamCounters {
    /// Counts a drop.
    pub fn dropped(&mut self, reason: StreamDrop) {
        self.drops.add(reason, 1);
    }

    /// Adds what another engine counted; the most at once of both is at most the sum.
    pub fn add(&mut self, other: &StreamCounters) {
        self.flows += other.flows;
        self.most += other.most;
        self.opened += other.opened;
        self.accepted += other.accepted;
        self.reset += other.reset;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.sent += other.sent;
        self.received += other.received;
        self.rings += other.rings;
        self.drops.add_all(&other.drops);
    }

    /// Reasons with their counts, those that happened.
    pub fn drops(&self) -> impl Iterator<Item = (StreamDrop, u64)> + '_ {
        self.drops.happened()
    }
}
