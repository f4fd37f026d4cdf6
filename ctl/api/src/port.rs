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
    pub host_ip: String,
    /// The port there.
    pub host_port: u16,
}
