//! Tunnels of overlay networks: `/vswitch/v1/tunnels` and `/vswitch/v1/networks/{network}/tunnel…`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The tunnel of one overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tunnel {
    /// Name of the network.
    pub network: String,
    /// Id of the network.
    pub network_id: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Address of this host's VTEP.
    pub vtep: String,
    /// UDP port, at both ends.
    pub port: u16,
    /// Whether the tunnel carries frames: the VTEP is there.
    pub up: bool,
    /// Interface that has the VTEP's address; absent while none has it.
    pub interface: Option<String>,
    /// Bytes of the longest IP packet that one VXLAN packet carries over the VTEP's interface.
    pub mtu: u32,
    /// Whether outer UDP checksums are computed.
    pub checksum: bool,
    /// Other hosts, by address.
    pub remotes: Vec<Remote>,
    /// Stations behind them, by MAC address.
    pub entries: Vec<Entry>,
    /// Addresses of local endpoints that stations behind the tunnel use, too, newest first.
    pub duplicates: Vec<Duplicate>,
    /// What was dropped at the tunnel, by reason; reasons never met are absent.
    pub drops: BTreeMap<String, u64>,
}

/// Another host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remote {
    /// Its VTEP's address.
    #[schema(format = "ip")]
    pub address: String,
    /// Who named it: `operator` or `file`.
    pub origin: String,
    /// VXLAN packets received from it.
    pub in_packets: u64,
    /// Bytes of inner frames received from it.
    pub in_bytes: u64,
    /// VXLAN packets sent to it.
    pub out_packets: u64,
    /// Bytes of inner frames sent to it.
    pub out_bytes: u64,
    /// Seconds since the last packet from it; absent: none yet.
    pub heard_seconds: Option<u64>,
    /// The underlay's path MTU to it in bytes, if known.
    pub path_mtu: Option<u32>,
}

/// Where an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// From a frame that came by the tunnel.
    Learned,
    /// From the operator or the file of `--config`.
    Static,
    /// From a control plane.
    ControlPlane,
}

impl EntryKind {
    /// As in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            EntryKind::Learned => "learned",
            EntryKind::Static => "static",
            EntryKind::ControlPlane => "control-plane",
        }
    }
}

/// Where a station is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Its MAC address.
    #[schema(format = "mac")]
    pub mac_address: String,
    /// Its IP addresses, as far as they are known.
    pub ip_addresses: Vec<String>,
    /// The remote that it is behind.
    #[schema(format = "ip")]
    pub remote: String,
    /// Where the entry came from.
    pub kind: EntryKind,
    /// Seconds since it was last seen; absent for entries that do not age.
    pub age_seconds: Option<u64>,
}

/// An address that is in use here and elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Duplicate {
    /// The MAC or IP address.
    pub address: String,
    /// The local endpoint that has it.
    pub endpoint: String,
    /// The MAC address of the other station.
    #[schema(format = "mac")]
    pub mac_address: String,
    /// The remote that the other station is behind, if known.
    #[schema(format = "ip")]
    pub remote: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// Seconds since it was last seen.
    pub age_seconds: u64,
}

/// Body of `POST …/tunnel/remotes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteAdd {
    /// Address of the other host's VTEP.
    #[schema(format = "ip")]
    pub address: String,
}

/// Body of `POST …/tunnel/entries`: binds a station to a remote, perhaps with one more of its IP addresses. An entry that
/// leads elsewhere moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryAdd {
    /// Unicast MAC address.
    #[schema(pattern = "^([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}(-[0-9a-fA-F]{2}){5})$")]
    pub mac_address: String,
    /// IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "ip")]
    pub ip_address: Option<String>,
    /// Address of a remote.
    #[schema(format = "ip")]
    pub remote: String,
}
