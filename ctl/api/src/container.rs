//! Containers: `/vswitch/v1/containers…`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{endpoint::Endpoint, network::EndpointConfig, port::PortBinding};

/// Body of `POST /containers`. The container is created, addressed and named, not started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerCreate {
    /// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`; chosen by vswitchd if absent.
    #[schema(pattern = "^(/?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127})?$")]
    pub name: Option<String>,
    /// The first 12 digits of the id if absent.
    #[schema(pattern = "^([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63})?$")]
    pub hostname: Option<String>,
    /// The image that was meant, for those who ask; `rootfs` is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub command: Vec<String>,
    /// `KEY=VALUE` each; PATH, HOME, HOSTNAME and with a terminal TERM have defaults.
    pub env: Vec<String>,
    /// Absolute; `/` if absent.
    #[schema(pattern = "^(/.*)?$")]
    pub working_dir: Option<String>,
    /// `bridge` (if empty), `none`, `host`, `container:NAME`, or the name or id of a network.
    pub network: String,
    /// What the endpoint on `network` should be like.
    pub endpoint: EndpointConfig,
    /// Further networks.
    pub more_networks: Vec<NetworkRequest>,
    /// The streams are a terminal: the process gets a session and a controlling terminal.
    pub tty: bool,
    /// Standard input is what attached clients send; without, and without streams, there is none.
    pub open_stdin: bool,
    /// It ends with that of an attached client.
    pub stdin_once: bool,
    /// Remove when the process ends.
    pub auto_remove: bool,
    /// Nameservers for /etc/resolv.conf instead of the host's.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf, such as `ndots:2`, instead of the host's.
    pub dns_options: Vec<String>,
    /// Lines of /etc/hosts, `NAME:ADDRESS` or `NAME:host-gateway` each.
    pub extra_hosts: Vec<String>,
    /// Capabilities on top of Docker's default set, with or without `CAP_`; `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges`, `seccomp=unconfined`, `seccomp=` and the text of a profile in Docker's form,
    /// `systempaths=unconfined`.
    pub security_opt: Vec<String>,
    /// All capabilities and devices, no filter of system calls, and all of /proc and /sys.
    pub privileged: bool,
    /// `host`: the host's user namespace, where vswitchd gives containers one of their own (`--userns-remap`).
    #[schema(pattern = "^(host)?$")]
    pub userns: String,
    /// Folders and files of the host, and volumes: `HOST:CONTAINER[:ro]`, `NAME:CONTAINER[:ro]` or `CONTAINER` each.
    pub volumes: Vec<String>,
    /// The same and file systems in memory, in Docker's long form.
    pub mounts: Vec<MountRequest>,
    /// File systems in memory: where, and options such as `size=64m,mode=1777`.
    pub tmpfs: BTreeMap<String, String>,
    /// A directory of the host as `/`, of which changes are kept with the container (`DIR:rw`: made in it), or `host-rw`
    /// for the host's own with the homes writable. If absent, `/` is the host's with the homes read-only.
    pub rootfs: Option<String>,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Published ports, `[IP:][HOST]:CONTAINER[/PROTO]` each.
    pub publish: Vec<String>,
    /// Ports that somebody else may want to know of, `PORT[-PORT][/PROTO]` each.
    pub expose: Vec<String>,
    /// Publish exposed ports, too, at any free port of the host.
    pub publish_all: bool,
    /// `no` (if empty), `on-failure[:N]`, `always` or `unless-stopped`: when its process is started again by itself.
    pub restart: String,
    /// `USER[:GROUP]` by names (those of its root directory) or numbers; root if empty.
    pub user: String,
    /// Further groups of that user.
    pub group_add: Vec<String>,
    /// Settings of the kernel that belong to namespaces of its own.
    pub sysctls: BTreeMap<String, String>,
    /// Limits, `NAME=SOFT[:HARD]` each.
    pub ulimits: Vec<String>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    /// NIS domain.
    pub domainname: String,
    /// The signal that asks it to end, by name or number; TERM if empty.
    pub stop_signal: String,
    /// Seconds that it then has; 10 if absent, for ever if negative.
    pub stop_timeout: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How much of its output is kept: `max-size` of a file (10m if absent) and `max-file` (3).
    pub log_options: BTreeMap<String, String>,
}

/// One of `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MountRequest {
    /// Of what kind.
    pub kind: MountKind,
    /// A path of the host, or the name of a volume (none: one of this container alone).
    pub source: String,
    /// Where in the container.
    pub target: String,
    /// The container changes nothing in it.
    pub read_only: bool,
    /// A folder of the host that is not there is made.
    pub make_source: bool,
    /// A new volume stays empty, whatever the root directory has there.
    pub no_copy: bool,
    /// Most bytes of a file system in memory.
    pub tmpfs_size: Option<u64>,
    /// Mode of its topmost folder.
    pub tmpfs_mode: Option<u32>,
}

/// What can be mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A folder or file of the host.
    Bind,
    /// A volume.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
}

impl MountKind {
    /// Docker's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
        }
    }
}

/// A network and what the endpoint on it should be like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkRequest {
    /// Name or id.
    pub network: String,
    /// What the endpoint should be like.
    pub endpoint: EndpointConfig,
}

/// Answer of `POST /containers` (201).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerCreated {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Given or chosen.
    pub name: String,
    /// Sentences.
    pub warnings: Vec<String>,
}

/// The life of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Not started yet.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended and is about to be started again.
    Restarting,
    /// Its process ended.
    Exited,
}

/// A container as `GET /containers` and `GET /containers/{id}` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// The hostname inside.
    pub hostname: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// RFC 3339.
    #[schema(format = "date-time")]
    pub created: String,
    /// RFC 3339, once started.
    #[schema(format = "date-time")]
    pub started: Option<String>,
    /// RFC 3339, once ended.
    #[schema(format = "date-time")]
    pub finished: Option<String>,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Its processes are held still.
    #[serde(default)]
    pub paused: bool,
    /// Process id on the host, while running.
    pub pid: Option<u32>,
    /// Exit status, once ended (128 + N for signal N).
    pub exit_code: Option<i32>,
    /// As asked.
    pub auto_remove: bool,
    /// As asked.
    #[serde(default)]
    pub restart: String,
    /// How often it was started again by itself.
    #[serde(default)]
    pub restart_count: u32,
    /// As asked.
    #[serde(default)]
    pub user: String,
    /// As asked.
    pub tty: bool,
    /// As asked; `container:` carries the full id.
    pub network_mode: String,
    /// Nameservers as asked.
    pub dns: Vec<String>,
    /// Search domains as asked.
    #[serde(default)]
    pub dns_search: Vec<String>,
    /// Options of resolv.conf as asked.
    #[serde(default)]
    pub dns_options: Vec<String>,
    /// Lines of /etc/hosts as asked.
    pub extra_hosts: Vec<String>,
    /// As asked.
    #[serde(default)]
    pub security_opt: Vec<String>,
    /// As asked.
    #[serde(default)]
    pub privileged: bool,
    /// As asked.
    #[serde(default)]
    pub userns: String,
    /// As asked.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// As asked; empty for the default.
    #[serde(default)]
    pub rootfs: String,
    /// As asked.
    #[serde(default)]
    pub read_only: bool,
    /// Published ports as asked.
    pub publish: Vec<String>,
    /// Published ports as they are, while it runs.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes that it has changed of a root directory of its own, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// One per network.
    pub endpoints: Vec<Endpoint>,
}

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// On top of the container's own environment, `KEY=VALUE` each.
    pub env: Vec<String>,
    /// Absolute; the container's own if absent.
    pub working_dir: Option<String>,
    /// The streams are a terminal.
    pub tty: bool,
    /// `USER[:GROUP]`; the container's own if empty.
    pub user: String,
}

/// Answer of `GET /containers/{id}/wait` and of `POST …/exec` without streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExitStatus {
    /// Exit status (128 + N for signal N).
    pub exit_code: i32,
}
