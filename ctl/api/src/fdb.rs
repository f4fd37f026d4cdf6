//! The forwarding database: `/vswitch/v1/networks/{network}/fdb`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FdbKind {
    /// From a frame's source address.
    Learned,
    /// From an operator.
    Static,
    /// From a frame's source address, to stay.
    Sticky,
}

/// One entry as `GET` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbEntry {
    /// MAC address.
    #[schema(format = "mac")]
    pub mac_address: String,
    /// The VLAN; absent for that of frames without a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Port number on the switch.
    pub port: u32,
    /// Name of the endpoint behind the port.
    pub endpoint: String,
    /// Where the entry came from.
    pub kind: FdbKind,
    /// Seconds since it was last seen; absent for those that stay.
    pub age_seconds: Option<u64>,
}

/// Somebody who asked for a group: `/vswitch/v1/networks/{network}/mdb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupEntry {
    /// The group's IP address.
    pub group: String,
    /// The VLAN; absent for that of frames without a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Port number on the switch.
    pub port: u32,
    /// Name of the endpoint behind the port.
    pub endpoint: String,
    /// Seconds until it is forgotten, unless it is said again.
    pub seconds: u64,
}

/// Body of `POST`: a static entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbAdd {
    /// Unicast MAC address.
    #[schema(pattern = "^([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}(-[0-9a-fA-F]{2}){5})$")]
    pub mac_address: String,
    /// Name or id of an endpoint or container on the network.
    pub endpoint: String,
}

/// Answer of `DELETE …/fdb` (flush; learned entries only) and `DELETE …/fdb/{mac}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbRemoved {
    /// Entries removed.
    pub removed: u64,
}
