//! Who is connected to whom: `GET /vswitch/v1/topology`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::container::Container;
use crate::endpoint::Endpoint;
use crate::network::NetworkPeering;

/// Everything that is connected, at one moment: every name in it refers to something that is in it, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Topology {
    /// The way out; of several the first.
    pub uplink: TopologyUplink,
    /// The others, in their order.
    #[serde(default)]
    pub further_uplinks: Vec<TopologyUplink>,
    /// By name.
    pub networks: Vec<TopologyNetwork>,
    /// By name, those that do not run included.
    pub containers: Vec<Container>,
    /// Of containers and of attached namespaces, by name and network.
    pub endpoints: Vec<Endpoint>,
}

/// A neighbour that announces itself by LLDP: `GET /vswitch/v1/lldp`. What it says is a stranger's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LldpNeighbour {
    /// Port number on the switch.
    pub port: u32,
    /// Name of the endpoint behind which it was heard.
    pub endpoint: String,
    /// Which machine it is: a MAC or network address, or a name.
    pub chassis: String,
    /// By which of its ports it speaks.
    pub port_id: String,
    /// What that port is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_description: Option<String>,
    /// What the machine is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Seconds until it is forgotten, unless it is heard again.
    pub seconds: u64,
}

/// The way out of the networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyUplink {
    /// As it was written: `none`, or `packet:IFACE,…`.
    pub text: String,
    /// What networks call it, where it is an interface.
    #[serde(default)]
    pub name: Option<String>,
    /// What is before the colon or comma.
    pub kind: String,
    /// The interface, if there is one.
    pub interface: Option<String>,
    /// Whether packets can leave now.
    pub up: bool,
    /// The switch's own addresses outside, `A/LEN`.
    pub addresses: Vec<String>,
}

/// A network as part of the topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// As `network ls` says it.
    pub driver: String,
    /// The uplink that its packets leave by now, where there are several.
    #[serde(default)]
    pub uplink: Option<String>,
    /// Bytes of IP packet.
    pub mtu: u32,
    /// One of each address family at most.
    pub subnets: Vec<TopologySubnet>,
    /// MAC address of the gateway, by which a bridge is identified; `null` where the switch has none.
    #[schema(format = "mac")]
    pub gateway_mac: Option<String>,
    /// Whether its endpoints reach each other.
    pub icc: bool,
    /// Whether its packets can leave by the uplink.
    pub outside: bool,
    /// The networks that it is joined with.
    #[serde(default)]
    pub peerings: Vec<NetworkPeering>,
    /// Its services.
    #[serde(default)]
    pub services: Vec<TopologyService>,
}

/// An address behind which several endpoints take turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyService {
    /// The name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<String>,
    /// `PORT:TARGET/PROTO`.
    pub ports: Vec<String>,
    /// Names of its backends that are there.
    pub backends: Vec<String>,
}

/// A subnet and the switch's own address in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologySubnet {
    /// CIDR.
    #[schema(format = "cidr")]
    pub subnet: String,
    /// The gateway's address.
    pub gateway: String,
}
