//! What container engines (podman, CNI) ask for: networks and endpoints of containers that are not vswitch's.
//! `/vswitch/v1/engines…`.
//!
//! An engine has made the container's network namespace and hands it over as a descriptor: `SCM_RIGHTS` with the first bytes
//! of `POST /engines/endpoints`, because a path is often visible in the engine's mount namespace only. What is asked for is
//! named by engine, container and interface, so it can be asked for again and taken back however often.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::NetworkCreate;

/// Where podman looks for its helpers (containers.conf(5), `helper_binaries_dir`).
pub const PODMAN_HELPER_FOLDERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

/// Where netavark looks for drivers of others (containers.conf(5), `netavark_plugin_dirs`).
pub const PODMAN_PLUGIN_FOLDERS: [&str; 4] =
    ["/usr/local/libexec/netavark", "/usr/libexec/netavark", "/usr/local/lib/netavark", "/usr/lib/netavark"];

/// Where dockerd finds the plug-in for networks of the driver `vswitch`.
pub const DOCKER_PLUGIN_SOCKET: &str = "/run/docker/plugins/vswitch.sock";

/// Whose endpoint it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineKey {
    /// Name of the engine: `podman`, `cni` or `docker`.
    pub engine: String,
    /// The engine's id of the container.
    pub container: String,
    /// Interface name inside.
    pub interface: String,
}

/// Body of `POST /engines/endpoints`: the namespace that comes with this request gets an endpoint, on a network that is
/// made if it does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EngineAttach {
    /// Whose it is. One that exists already is replaced.
    pub key: EngineKey,
    /// Name of the container, by which others on the network find it.
    pub name: String,
    /// The network, as the engine has it.
    pub network: NetworkCreate,
    /// The engine's id of the network: 64 hexadecimal digits. Empty: the network is none of the engine's but exists under the
    /// name in `network`, of which nothing else counts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_id: String,
    /// Addresses that the engine chose, at most one of each family; vswitchd chooses where there is none.
    pub addresses: Vec<String>,
    /// MAC address; vswitchd chooses if absent.
    pub mac_address: Option<String>,
    /// Further names on the network.
    pub aliases: Vec<String>,
    /// Ports of the host that lead to the endpoint, `[[IP:]HOST:]PORT[/PROTOCOL]` each.
    pub publish: Vec<String>,
    /// What the engine's names may end in, `dns.podman`.
    pub search_domain: Option<String>,
    /// Who is asked for names that no network has, instead of the host's resolvers.
    pub dns_servers: Vec<String>,
    /// The same for everybody on the network who says nothing else.
    pub network_dns_servers: Vec<String>,
    /// The endpoint never gives the default route.
    pub no_default_route: bool,
    /// The endpoint gives a default route with this metric, beside those of other endpoints.
    pub metric: Option<u32>,
    /// Further routes.
    pub routes: Vec<EngineRoute>,
    /// The IPv4 address is the endpoint's, and the engine gives it to the interface.
    pub bare_ipv4: bool,
    /// A TAP that has the interface's name is removed first; the engine made it for a helper that it would carry frames for.
    pub replace_tap: bool,
}

/// A route inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EngineRoute {
    /// CIDR.
    pub destination: String,
    /// The router's address; absent: the destination is on the network itself.
    pub gateway: Option<String>,
    /// Of several routes to one destination the one with the least is taken.
    pub metric: Option<u32>,
    /// `unicast` (also when empty), `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
}

/// Body of `PUT /engines/networks/{engine}/{network}/dns`: who is asked for names that nobody on the network has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EngineDns {
    /// Addresses; none: the host's resolvers.
    pub servers: Vec<String>,
}

/// Body of `PUT /engines/endpoints/{engine}/{container}/{interface}/ports`: all ports of the host that lead to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnginePublish {
    /// As in [`EngineAttach`].
    pub publish: Vec<String>,
}

/// Body of `POST /engines/ports`: ports of the host lead to an endpoint for as long as the answer is being read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnginePorts {
    /// Name of the engine.
    pub engine: String,
    /// The engine's id of the container.
    pub container: String,
    /// The endpoint's address, if the container has several endpoints.
    pub address: Option<String>,
    /// As in [`EngineAttach`].
    pub publish: Vec<String>,
}
