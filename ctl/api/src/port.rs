//! Published ports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A host port that leads to a container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortBinding {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The container's own port.
    pub container_port: u16,
    /// Where it is reached: an address, or `0.0.0.0` or `::` for all of a family.
    #[schema(format = "ip")]
    pub host_ip: String,
    /// The port there.
    pub host_port: u16,
}

/// Body of `POST` and `DELETE /containers/{id}/ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortChange {
    /// `[IP:][HOST]:CONTAINER[/PROTO]` each.
    pub publish: Vec<String>,
}

/// Answer of `POST /containers/{id}/ports`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortsChanged {
    /// Published ports as they are now, while it runs.
    pub ports: Vec<PortBinding>,
    /// Sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
}
