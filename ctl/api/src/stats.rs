//! Statistics: `GET /vswitch/v1/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything that is counted, at one moment. Rates are differences of two answers over `uptime_ms`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Milliseconds since the switch started.
    pub uptime_ms: u64,
    /// Pipelines.
    pub workers: usize,
    /// Generation of the snapshot that the workers run.
    pub generation: u64,
    /// Sum over all ports, removed ones included.
    pub total: Counters,
    /// By network.
    pub networks: Vec<NetworkStats>,
    /// By port.
    pub ports: Vec<PortStats>,
    /// The forwarding database.
    pub fdb: FdbStats,
    /// The router, if there is an uplink or networks are joined.
    #[serde(default)]
    pub router: Option<RouterStats>,
    /// The name server.
    #[serde(default)]
    pub dns: DnsStats,
    /// By VTEP, if there are any.
    #[serde(default)]
    pub vteps: Vec<VtepStats>,
    /// Wires that lost something, which is in no port's counters.
    #[serde(default)]
    pub wires: Vec<crate::wire::Wire>,
}

/// Counters of the name server. `questions` is the sum of what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsStats {
    /// Questions received.
    pub questions: u64,
    /// Answered from the names of a network.
    pub answered: u64,
    /// Answered: there is no such name on the network it would belong to.
    pub missing: u64,
    /// Answered by an upstream resolver.
    pub forwarded: u64,
    /// Of these, together with an earlier question that was the same.
    pub joined: u64,
    /// No upstream resolver answered, or there is none.
    pub unanswered: u64,
    /// Refused: malformed, or of a kind that is not answered.
    pub refused: u64,
    /// No questions at all, not answered.
    pub ignored: u64,
    /// Too many from one container: refused or not answered.
    pub limited: u64,
    /// Connections closed at once: too many from one container.
    pub connections_refused: u64,
    /// Times that an upstream resolver did not answer or could not be reached.
    pub upstream_failures: u64,
    /// What came by the networks' gateways.
    #[serde(default)]
    pub gateways: DnsGatewayStats,
}

/// Counters of the name server at the networks' gateways, before it read a question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsGatewayStats {
    /// Datagrams taken.
    pub datagrams: u64,
    /// Datagrams answered.
    pub answers: u64,
    /// Connections taken.
    pub connections: u64,
    /// Datagrams with a wrong checksum, without content, or too long for a question.
    pub malformed: u64,
    /// Datagrams and answers that found no room.
    pub busy: u64,
    /// Segments dropped and connections refused, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// Counters of this host's end of tunnels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VtepStats {
    /// Its address.
    #[schema(format = "ip")]
    pub address: String,
    /// Its UDP port.
    pub port: u16,
    /// Whether an interface has the address.
    pub up: bool,
    /// Overlay networks that use it.
    pub networks: u64,
    /// VXLAN packets received.
    pub in_packets: u64,
    /// Receptions; each brings a packet or a train of them.
    pub in_trains: u64,
    /// VXLAN packets sent.
    pub out_packets: u64,
    /// Transmissions; each takes a packet or a train of them.
    pub out_trains: u64,
    /// Packets dropped before their network was known, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// Counters of the router between the networks and the uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouterStats {
    /// The way out; of several the first.
    pub uplink: Option<UplinkStats>,
    /// All ways out.
    #[serde(default)]
    pub uplinks: Vec<UplinkStats>,
    /// Flows now.
    pub flows: u64,
    /// Flows made.
    pub created: u64,
    /// Flows whose time was up.
    pub expired: u64,
    /// Flows removed to make room.
    pub early_dropped: u64,
    /// Flows refused because the table was full.
    pub refused_full: u64,
    /// Flows refused because their endpoint held too many.
    pub refused_endpoint: u64,
    /// Packets that the router dropped, by reason; reasons never met are absent.
    pub route_drops: BTreeMap<String, u64>,
    /// Packets that the translator dropped, by reason; reasons never met are absent.
    pub nat_drops: BTreeMap<String, u64>,
    /// ICMP errors that were not sent because of the rate limits.
    pub errors_held_back: u64,
    /// What has passed between networks that are joined, each direction by itself.
    #[serde(default)]
    pub peerings: Vec<PeeringStats>,
    /// What backends of services have and had, by service and name.
    #[serde(default)]
    pub services: Vec<BackendStats>,
    /// What goes over sockets of the host, if the uplink consists of them.
    #[serde(default)]
    pub sockets: Option<SocketsStats>,
}

/// What has passed from one network to another that it is joined with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeeringStats {
    /// Name of the network that it came from.
    pub from: String,
    /// Name of the one that it went to.
    pub to: String,
    /// Packets; a segmentation-offload frame counts as one.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// A backend of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendStats {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// As `service inspect` says it.
    pub state: String,
    /// Connections that it was given since the service or vswitchd began.
    pub connections: u64,
    /// Flows of any kind that it holds now.
    pub flows: u64,
}

/// Counters of the sockets uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SocketsStats {
    /// TCP.
    pub streams: StreamsStats,
    /// UDP and echo requests.
    pub datagrams: DatagramsStats,
}

/// TCP connections over sockets of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamsStats {
    /// Connections now.
    pub flows: u64,
    /// Connections from inside.
    pub opened: u64,
    /// Connections into a network, by published ports.
    pub accepted: u64,
    /// Connections that were reset by either side.
    pub reset: u64,
    /// Connections that were idle too long.
    pub expired: u64,
    /// Connections ended to make room for others'.
    #[serde(default)]
    pub evicted: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Clients of published ports that could not be let in.
    pub refused_clients: u64,
    /// Connections refused because the process may open no more descriptors, or the host gave no socket otherwise.
    pub refused: u64,
    /// Segments dropped and connections refused, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// UDP and echo requests over sockets of the host. A flow is one socket inside and the host's socket for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatagramsStats {
    /// Flows now.
    pub flows: u64,
    /// Flows since the start.
    pub opened: u64,
    /// Flows that outlived their time.
    pub expired: u64,
    /// Flows ended to make room.
    pub evicted: u64,
    /// Datagrams that went out.
    pub sent: u64,
    /// Bytes of payload that went out.
    pub sent_bytes: u64,
    /// Datagrams that came in.
    pub received: u64,
    /// Bytes of payload that came in.
    pub received_bytes: u64,
    /// ICMP errors passed on to the inside.
    pub errors: u64,
    /// Datagrams put together out of fragments.
    pub reassembled: u64,
    /// Flows refused because the process may open no more descriptors.
    pub no_descriptor: u64,
    /// Flows of echo requests refused because the host allows this user none.
    pub no_ping: u64,
    /// Packets dropped, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// The uplink's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UplinkStats {
    /// What networks call it.
    #[serde(default)]
    pub name: String,
    /// The interface's name.
    pub interface: String,
    /// Whether it is there and can carry packets.
    pub up: bool,
    /// Whether it is there, and switched off or without a carrier.
    #[serde(default)]
    pub down: bool,
    /// Whether a next router of it does not answer. Only known where there are several uplinks.
    #[serde(default)]
    pub silent: bool,
    /// The switch's own addresses on it.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The networks that leave by it now.
    #[serde(default)]
    pub networks: Vec<String>,
    /// How often it vanished.
    pub lost: u64,
    /// How often it came back.
    pub recovered: u64,
}

/// Frames and bytes. "In" is from the container into the switch. A GSO frame counts as one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Frames received from the port.
    pub in_frames: u64,
    /// Bytes received from the port.
    pub in_bytes: u64,
    /// Frames sent to the port.
    pub out_frames: u64,
    /// Bytes sent to the port.
    pub out_bytes: u64,
    /// Frames received that ended forwarded to at least one port.
    pub forwarded: u64,
    /// Frames received that were sent to all ports of their network.
    pub flooded: u64,
    /// Frames received that the switch itself took (ARP, ND and echo for the gateway).
    pub consumed: u64,
    /// Frames dropped, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// Counters of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkStats {
    /// Name of the network.
    pub network: String,
    /// Its ports' sums, removed ports included.
    pub counters: Counters,
}

/// Counters of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStats {
    /// Port number on the switch.
    pub port: u32,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Name of the network.
    pub network: String,
    /// `packet`, `tap`, `memory` or `overlay`.
    pub kind: String,
    /// The pipeline that receives from it.
    pub worker: usize,
    /// Flows of its endpoint that the router tracks.
    #[serde(default)]
    pub flows: u64,
    /// Learned and static FDB entries that point at it.
    pub fdb_entries: u64,
    /// Its counters.
    pub counters: Counters,
}

/// Counters of the forwarding database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbStats {
    /// Entries now.
    pub entries: u64,
    /// Most entries allowed.
    pub capacity: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved to another port.
    pub moved: u64,
    /// Entries that grew too old.
    pub aged: u64,
    /// Entries pushed out by newer ones.
    pub evicted: u64,
    /// Addresses not learned: the port holds its limit.
    pub limited: u64,
    /// Addresses damped by the loop guard.
    pub damped: u64,
}
