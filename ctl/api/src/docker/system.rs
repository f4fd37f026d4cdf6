//! The daemon: `GET /version` and `GET /info`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::container::ContainerSummary;
use super::image::ImageSummary;
use super::volume::Volume;

/// `docker version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
// In the OpenAPI document every type needs a name of its own, and vswitch's own has this one.
#[schema(as = DockerVersion)]
pub struct Version {
    /// Who serves.
    pub platform: Platform,
    /// One: `Engine`, which is vswitchd.
    pub components: Vec<Component>,
    /// vswitch's version.
    pub version: String,
    /// The newest that is spoken.
    pub api_version: String,
    /// The oldest that is spoken.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// `linux`.
    pub os: String,
    /// In Go's words.
    pub arch: String,
    /// Of the host.
    pub kernel_version: String,
    /// Empty.
    pub git_commit: String,
    /// Empty.
    pub go_version: String,
    /// Empty.
    pub build_time: String,
}

/// Part of [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Platform {
    /// `vswitch`.
    pub name: String,
}

/// Part of [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Component {
    /// `Engine`.
    pub name: String,
    /// vswitch's version.
    pub version: String,
    /// What `docker version` shows of it.
    pub details: BTreeMap<String, String>,
}

/// `docker info`. What belongs to images, storage and swarm mode says "nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// Of this state directory; stable.
    #[serde(rename = "ID")]
    pub id: String,
    /// All.
    pub containers: usize,
    /// Those that run.
    pub containers_running: usize,
    /// Zero.
    pub containers_paused: usize,
    /// Those that do not.
    pub containers_stopped: usize,
    /// Zero.
    pub images: usize,
    /// Empty: vswitch stores no images.
    pub driver: String,
    /// Empty.
    pub driver_status: Vec<[String; 2]>,
    /// Network drivers.
    pub plugins: Plugins,
    /// Containers' packets are forwarded.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Always `false`.
    pub debug: bool,
    /// RFC 3339.
    #[schema(format = "date-time")]
    pub system_time: String,
    /// Empty.
    pub logging_driver: String,
    /// `none`.
    pub cgroup_driver: String,
    /// Of the host.
    pub kernel_version: String,
    /// vswitch and its version.
    pub operating_system: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// As the kernel says it.
    pub architecture: String,
    /// Cores that vswitchd may use.
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// Bytes.
    pub mem_total: u64,
    /// The state directory.
    pub docker_root_dir: String,
    /// The host's name.
    pub name: String,
    /// Empty.
    pub labels: Vec<String>,
    /// Always `false`.
    pub experimental_build: bool,
    /// vswitch's version.
    pub server_version: String,
    /// Not part of one.
    pub swarm: Swarm,
    /// Containers outlive a stop of vswitchd.
    pub live_restore_enabled: bool,
    /// `name=rootless`, if so.
    pub security_options: Vec<String>,
    /// As set; absent for the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_address_pools: Vec<AddressPool>,
    /// Empty.
    pub warnings: Vec<String>,
}

/// Part of [`Info`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Plugins {
    /// Drivers of volumes.
    pub volume: Vec<String>,
    /// Network drivers.
    pub network: Vec<String>,
    /// Null.
    pub authorization: Option<Vec<String>>,
    /// How output can be kept.
    pub log: Vec<String>,
}

/// Part of [`Info`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Swarm {
    /// Empty.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// `inactive`.
    pub local_node_state: String,
    /// Always `false`.
    pub control_available: bool,
}

impl Default for Swarm {
    fn default() -> Self {
        Swarm { node_id: String::new(), local_node_state: "inactive".to_owned(), control_available: false }
    }
}

/// Part of [`Info`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct AddressPool {
    /// CIDR.
    pub base: String,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// `docker system df`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Zero: not counted.
    pub layers_size: u64,
    /// Images.
    pub images: Vec<ImageSummary>,
    /// Containers.
    pub containers: Vec<ContainerSummary>,
    /// Volumes, with what is in them.
    pub volumes: Vec<Volume>,
    /// Empty.
    pub build_cache: Vec<String>,
}

/// Answer of `POST /build/prune`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct BuildsPruned {
    /// Empty.
    pub caches_deleted: Vec<String>,
    /// Zero.
    pub space_reclaimed: u64,
}
