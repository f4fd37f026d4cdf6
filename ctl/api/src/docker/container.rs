//! Containers: `GET /containers/json` and `GET /containers/{id}/json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create::RestartPolicyWish;
use crate::network::{EndpointIpamConfig, null_as_default};

/// One line of `docker ps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, with a leading slash.
    pub names: Vec<String>,
    /// The name of its image, or its root directory.
    pub image: String,
    /// `sha256:` and 64 hexadecimal digits, of its root directory.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Program and arguments.
    pub command: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Published and exposed ports, while it runs.
    pub ports: Vec<SummaryPort>,
    /// Bytes changed of a root directory of its own, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of its root directory, if asked for: vswitch counts none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `created`, `running` or `exited`.
    pub state: String,
    /// `Up 5 minutes`.
    pub status: String,
    /// How it is connected.
    pub host_config: SummaryHostConfig,
    /// Its endpoints.
    pub network_settings: SummaryNetworks,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
}

/// Something that is mounted in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Of a volume.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What of the host is there; empty unless it is a `bind`.
    #[serde(default)]
    pub source: String,
    /// Where it is.
    pub destination: String,
    /// Of a volume: `local`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Empty.
    #[serde(default)]
    pub mode: String,
    /// The container may write there.
    #[serde(rename = "RW")]
    pub writable: bool,
    /// Empty.
    #[serde(default)]
    pub propagation: String,
}

/// Answer of `POST /containers/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainersPruned {
    /// Ids.
    pub containers_deleted: Vec<String>,
    /// Bytes: vswitch counts none.
    pub space_reclaimed: u64,
}

/// What `docker wait` is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct WaitAnswer {
    /// Exit status.
    pub status_code: i64,
}

/// A port of a [`ContainerSummary`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryPort {
    /// Where it is reached.
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    #[schema(format = "ip")]
    pub ip: Option<String>,
    /// The container's own port.
    pub private_port: u16,
    /// The host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// Part of a [`ContainerSummary`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// `bridge`, `none`, `host`, `container:ID` or a network's name.
    pub network_mode: String,
}

/// Part of a [`ContainerSummary`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryNetworks {
    /// By name of the network.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// An endpoint of a container. What depends on the container running is empty while it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Static addresses, if there are any.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// `CONTAINER:ALIAS` each, if there are any.
    pub links: Option<Vec<String>>,
    /// Further names.
    pub aliases: Option<Vec<String>>,
    /// MAC address.
    #[schema(pattern = "^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$")]
    pub mac_address: String,
    /// Null.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The highest gives the default route.
    pub gw_priority: i64,
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$")]
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    #[schema(pattern = "^[0-9a-f:.]*$")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    #[schema(pattern = "^[0-9a-f:.]*$")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// All its names on a custom network.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// `docker inspect` of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// 64 hexadecimal digits.
    pub id: String,
    /// RFC 3339 with nanoseconds.
    #[schema(format = "date-time")]
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it is in its life.
    pub state: InspectState,
    /// `sha256:` and 64 hexadecimal digits, of its root directory.
    pub image: String,
    /// Empty: the file is made in the container's own mount namespace.
    pub resolv_conf_path: String,
    /// Empty, as above.
    pub hostname_path: String,
    /// Empty, as above.
    pub hosts_path: String,
    /// Where the output of a container without a client at its streams goes.
    pub log_path: String,
    /// The name, with a leading slash.
    pub name: String,
    /// Zero: vswitch restarts nothing.
    pub restart_count: u64,
    /// Empty.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// Empty.
    pub mount_label: String,
    /// Empty.
    pub process_label: String,
    /// Empty.
    pub app_armor_profile: String,
    /// Further processes that run, by `exec` of Docker's clients.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What the host does for it.
    pub host_config: HostConfig,
    /// Bytes changed of a root directory of its own, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of its root directory, if asked for: vswitch counts none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// What was asked for.
    pub config: Config,
    /// Its endpoints and ports.
    pub network_settings: NetworkSettings,
}

/// Part of a [`ContainerInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct InspectState {
    /// `created`, `running` or `exited`.
    pub status: String,
    /// Whether its process runs.
    pub running: bool,
    /// Its processes are held still.
    pub paused: bool,
    /// Always `false`.
    pub restarting: bool,
    /// Always `false`: not observed.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Always `false`.
    pub dead: bool,
    /// Process id on the host; zero while it does not run.
    pub pid: u32,
    /// Exit status of the last end.
    pub exit_code: i32,
    /// Empty.
    pub error: String,
    /// RFC 3339; year 1 if never.
    #[schema(format = "date-time")]
    pub started_at: String,
    /// RFC 3339; year 1 if never.
    #[schema(format = "date-time")]
    pub finished_at: String,
}

/// Part of a [`ContainerInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// `bridge`, `none`, `host`, `container:ID` or a network's name.
    pub network_mode: String,
    /// Ports to publish, `80/tcp` each; an empty host port is an automatic one.
    pub port_bindings: BTreeMap<String, Vec<HostPort>>,
    /// Never restarts.
    pub restart_policy: RestartPolicy,
    /// Goes when its process ends.
    pub auto_remove: bool,
    /// Nameservers as asked.
    pub dns: Vec<String>,
    /// Options of resolv.conf as asked.
    pub dns_options: Vec<String>,
    /// Search domains as asked.
    pub dns_search: Vec<String>,
    /// Lines of /etc/hosts as asked.
    pub extra_hosts: Vec<String>,
    /// Exposed ports are published, at any free port of the host.
    pub publish_all_ports: bool,
    /// Where its output goes.
    pub log_config: LogConfig,
    /// Always `false`.
    pub privileged: bool,
}

/// Part of a [`HostConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// `json-file`: output is kept, and shown by `docker logs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `max-size` and `max-file`, where they differ from the defaults.
    pub config: BTreeMap<String, String>,
}

/// Part of a [`HostConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`.
    pub name: String,
    /// Zero.
    pub maximum_retry_count: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { name: "no".to_owned(), maximum_retry_count: 0 }
    }
}

/// Where a port is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct HostPort {
    /// An address, or empty for all.
    pub host_ip: String,
    /// A port or a range.
    pub host_port: String,
}

/// Part of a [`ContainerInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// The hostname inside.
    pub hostname: String,
    /// Empty.
    pub domainname: String,
    /// Empty.
    pub user: String,
    /// MAC address that was asked for on its first network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Ports that are exposed or published, `80/tcp` each.
    pub exposed_ports: BTreeMap<String, Empty>,
    /// The streams are a terminal.
    pub tty: bool,
    /// Standard input is what attached clients send.
    #[serde(default)]
    pub open_stdin: bool,
    /// It ends with that of an attached client.
    #[serde(default)]
    pub stdin_once: bool,
    /// Whole environment.
    pub env: Vec<String>,
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// The name of its image, or its root directory.
    pub image: String,
    /// Where it begins.
    pub working_dir: String,
    /// Null.
    pub entrypoint: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// `{}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Empty {}

/// Part of a [`ContainerInspect`]. The fields of one endpoint are those of the network `bridge`, as with Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Empty.
    pub bridge: String,
    /// Id of its sandbox.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Its network namespace, while it runs.
    pub sandbox_key: String,
    /// Ports as they are published, while it runs.
    pub ports: BTreeMap<String, Option<Vec<HostPort>>>,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$")]
    pub gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    #[schema(pattern = "^[0-9a-f:.]*$")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    #[schema(pattern = r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    #[schema(pattern = "^[0-9a-f:.]*$")]
    pub ipv6_gateway: String,
    /// MAC address.
    #[schema(pattern = "^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$")]
    pub mac_address: String,
    /// By name of the network.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// Body of `POST /containers/{id}/update`, as far as it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerUpdate {
    /// What happens at its end.
    #[serde(deserialize_with = "null_as_default")]
    pub restart_policy: RestartPolicyWish,
    /// Bytes.
    #[serde(deserialize_with = "null_as_default")]
    pub memory: i64,
    /// A billionth of a processor each.
    #[serde(deserialize_with = "null_as_default")]
    pub nano_cpus: i64,
    /// Processes.
    #[serde(deserialize_with = "null_as_default")]
    pub pids_limit: i64,
    /// Relative to others.
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_shares: i64,
}

/// Answer of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerUpdated {
    /// Sentences.
    pub warnings: Vec<String>,
}
