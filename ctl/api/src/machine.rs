//! Ports for machines: programs that send and receive frames by a socket.
//!
//! Whoever opens a port keeps its connection: the port is there for as long as the answer of `POST /ports` lasts. Each machine is plugged
//! in by `POST /ports/{name}/machines`, with its connected socket beside the first bytes of the request, and is on the network for as long as
//! that answer lasts. Both answers are lines of JSON. The first says that it is done; the last, if vswitchd ends it, why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::EndpointConfig;

/// Body of `POST /ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MachinePortOpen {
    /// Its name; chosen by vswitchd if absent.
    #[schema(pattern = "^(/?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127})?$")]
    pub name: Option<String>,
    /// Name or id of the network.
    pub network: String,
    /// Where machines find it, for people to read.
    pub listen: String,
    /// Who is behind it: one machine at a time, with these addresses and no others, or those that vswitchd chooses. If absent, there are as
    /// many machines as come, each with whatever addresses it has.
    pub identity: Option<EndpointConfig>,
}

/// A port for machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachinePort {
    /// Its name.
    pub name: String,
    /// Name of the network.
    pub network: String,
    /// Where machines find it.
    pub listen: String,
    /// The MAC address that its machine has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "mac")]
    pub mac_address: Option<String>,
    /// `a.b.c.d/len`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "cidr")]
    pub ipv4_address: Option<String>,
    /// `…/len`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "cidr")]
    pub ipv6_address: Option<String>,
    /// The gateway of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "ipv4")]
    pub ipv4_gateway: Option<String>,
    /// The gateway of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "ipv6")]
    pub ipv6_gateway: Option<String>,
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Those that are plugged in.
    pub machines: Vec<Machine>,
}

/// A machine that is plugged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// What it is called in statistics.
    pub name: String,
    /// Port number on the switch.
    pub port: u32,
    /// Frames from it.
    pub in_frames: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Frames to it.
    pub out_frames: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Frames that were dropped, either way.
    pub dropped: u64,
}

/// A line of either answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineEvent {
    /// The port is open.
    Opened(MachinePort),
    /// The machine is plugged in.
    Plugged(Machine),
    /// It is over, and why.
    Ended(String),
}
