//! Endpoints: a container's or a namespace's attachment to a network. `/vswitch/v1/endpoints…`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::EngineKey;
use crate::network::EndpointConfig;

/// Body of `POST /endpoints`: give an existing network namespace an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttachRequest {
    /// Name for `detach`; chosen by vswitchd if absent.
    #[schema(pattern = "^(/?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127})?$")]
    pub name: Option<String>,
    /// The namespace of this process …
    pub pid: Option<u32>,
    /// … or the namespace bound at this absolute path.
    pub netns: Option<String>,
    /// Name or id of the network.
    pub network: String,
    /// What the endpoint should be like.
    pub endpoint: EndpointConfig,
    /// Interface name inside; the first free `ethN` if absent.
    pub interface: Option<String>,
    /// Lead everything by the network, although the namespace has a default route of its own; that one is in force again
    /// after `detach`.
    pub default_route: bool,
    /// Attach even the host's own network namespace.
    pub force: bool,
}

/// Body of `PATCH /endpoints/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointChange {
    /// Name or id of the network, for a container that is on several.
    pub network: Option<String>,
    /// Options of its port that change at once; an empty value is no wish of the endpoint's own.
    pub options: BTreeMap<String, String>,
}

/// An address whose frames were refused at a port that has its addresses named or keeps those it learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// The sender's address.
    #[schema(format = "mac")]
    pub mac_address: String,
    /// How many of its frames were dropped.
    pub frames: u64,
    /// Seconds since the last one.
    pub age_seconds: u64,
}

/// What became of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It has a port on the switch.
    Up,
    /// The same, but its link was taken down.
    NoCarrier,
    /// Its container does not run, or its machine is not plugged in.
    Down,
    /// Its namespace vanished.
    Lost,
}

/// An endpoint as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name of the container, or the name given to `attach`.
    pub name: String,
    /// Name of the network.
    pub network: String,
    /// Id of the network.
    pub network_id: String,
    /// Id of the container; absent for an attached namespace.
    pub container_id: Option<String>,
    /// What became of it.
    pub state: EndpointState,
    /// Interface name inside, once up.
    pub interface: Option<String>,
    /// MAC address.
    #[schema(format = "mac")]
    pub mac_address: String,
    /// `a.b.c.d/len`.
    #[schema(format = "cidr")]
    pub ipv4_address: Option<String>,
    /// `…/len`.
    #[schema(format = "cidr")]
    pub ipv6_address: Option<String>,
    /// IPv4 gateway.
    #[schema(format = "ipv4")]
    pub ipv4_gateway: Option<String>,
    /// IPv6 gateway.
    #[schema(format = "ipv6")]
    pub ipv6_gateway: Option<String>,
    /// Where names are answered for whoever is on the network: its gateway's addresses.
    #[serde(default)]
    pub name_servers: Vec<String>,
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Port number on the switch, while up.
    pub port: Option<u32>,
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// Others that it alone reaches by these names, `CONTAINER:ALIAS` each.
    #[serde(default)]
    pub links: Vec<String>,
    /// What its port is asked beyond learning and flooding, what its network asks for included: `isolation-group`, `mac-sticky`, ….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Addresses that were refused at its port, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Whose it is, if a container engine asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKey>,
    /// Sentences about an attachment that was just made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
