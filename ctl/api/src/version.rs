//! Who answers: `GET /vswitch/v1/version`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The daemon, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// vswitch's version.
    pub version: String,
    /// Docker Engine API version whose network shapes are spoken.
    pub docker_api_version: String,
    /// Process id of vswitchd.
    pub pid: u32,
    /// Pipelines.
    pub workers: usize,
    /// `none`, or `packet:IFACE,…` as it was written.
    pub uplink: String,
    /// Absolute path.
    pub state_dir: String,
    /// Whether containers live in a user namespace of the agent's own.
    pub rootless: bool,
}
