//! `POST /containers/create` and `POST /containers/{id}/exec`, as far as vswitch understands them. What is not listed here is
//! not looked at: it belongs to control groups, to images or to other systems.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::{EndpointConfig, null_as_default};

/// Body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct DockerCreate {
    /// The hostname inside.
    #[serde(deserialize_with = "null_as_default")]
    pub hostname: String,
    /// NIS domain.
    #[serde(deserialize_with = "null_as_default")]
    pub domainname: String,
    /// Who runs the command.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// `80/tcp` each.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Object)]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// The streams are a terminal.
    #[serde(deserialize_with = "null_as_default")]
    pub tty: bool,
    /// Standard input is kept open for clients.
    #[serde(deserialize_with = "null_as_default")]
    pub open_stdin: bool,
    /// It ends with the first client that closes it.
    #[serde(deserialize_with = "null_as_default")]
    pub stdin_once: bool,
    /// `KEY=VALUE` each.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// Arguments, or the command where there is no entry point.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Vec<String>)]
    pub cmd: Words,
    /// The program.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Vec<String>)]
    pub entrypoint: Words,
    /// One of vswitchd's images.
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    /// Anonymous volumes, by where they are in the container.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Object)]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// Absolute.
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// On the first network.
    #[serde(deserialize_with = "null_as_default")]
    pub mac_address: String,
    /// No network but loopback.
    #[serde(deserialize_with = "null_as_default")]
    pub network_disabled: bool,
    /// Labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
    /// Seconds that it gets for that.
    pub stop_timeout: Option<i64>,
    /// What the host does for it.
    #[serde(deserialize_with = "null_as_default")]
    pub host_config: DockerHostConfig,
    /// Its endpoints.
    #[serde(deserialize_with = "null_as_default")]
    pub networking_config: DockerNetworking,
    /// How its health is looked after.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Object)]
    pub healthcheck: serde_json::Value,
}

/// A list of words; a single text is one word of a shell, as with Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Nothing.
    #[default]
    None,
    /// One by one.
    Many(Vec<String>),
    /// For a shell.
    One(String),
}

impl Words {
    /// Word for word.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Words::None => Vec::new(),
            Words::Many(words) => words,
            Words::One(word) => vec![word],
        }
    }
}

/// Part of a [`DockerCreate`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct DockerHostConfig {
    /// `HOST:CONTAINER[:OPTIONS]` each.
    #[serde(deserialize_with = "null_as_default")]
    pub binds: Vec<String>,
    /// `default`, `bridge`, `none`, `host`, `container:X`, or a network.
    #[serde(deserialize_with = "null_as_default")]
    pub network_mode: String,
    /// By `80/tcp`.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = BTreeMap<String, Vec<HostPortWish>>)]
    pub port_bindings: BTreeMap<String, Option<Vec<HostPortWish>>>,
    /// What happens at its end.
    #[serde(deserialize_with = "null_as_default")]
    pub restart_policy: RestartPolicyWish,
    /// Goes when its process ends.
    #[serde(deserialize_with = "null_as_default")]
    pub auto_remove: bool,
    /// Volumes of others.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes_from: Vec<String>,
    /// Further groups.
    #[serde(deserialize_with = "null_as_default")]
    pub group_add: Vec<String>,
    /// Capabilities.
    #[serde(deserialize_with = "null_as_default")]
    pub cap_add: Vec<String>,
    /// Capabilities.
    #[serde(deserialize_with = "null_as_default")]
    pub cap_drop: Vec<String>,
    /// Nameservers.
    #[serde(deserialize_with = "null_as_default")]
    pub dns: Vec<String>,
    /// Options of resolv.conf.
    #[serde(deserialize_with = "null_as_default")]
    pub dns_options: Vec<String>,
    /// Search domains.
    #[serde(deserialize_with = "null_as_default")]
    pub dns_search: Vec<String>,
    /// Lines of /etc/hosts.
    #[serde(deserialize_with = "null_as_default")]
    pub extra_hosts: Vec<String>,
    /// `CONTAINER[:ALIAS]` each.
    #[serde(deserialize_with = "null_as_default")]
    pub links: Vec<String>,
    /// Whose processes it sees.
    #[serde(deserialize_with = "null_as_default")]
    pub pid_mode: String,
    /// Whose System V IPC it has.
    #[serde(deserialize_with = "null_as_default")]
    pub ipc_mode: String,
    /// Whose hostname it has.
    #[serde(rename = "UTSMode", deserialize_with = "null_as_default")]
    pub uts_mode: String,
    /// Everything is allowed.
    #[serde(deserialize_with = "null_as_default")]
    pub privileged: bool,
    /// `host`, where containers have user namespaces of their own.
    #[serde(deserialize_with = "null_as_default")]
    pub userns_mode: String,
    /// Publish what is exposed.
    #[serde(deserialize_with = "null_as_default")]
    pub publish_all_ports: bool,
    /// Nothing of its root directory can be written.
    #[serde(deserialize_with = "null_as_default")]
    pub readonly_rootfs: bool,
    /// How it is separated from the host.
    #[serde(deserialize_with = "null_as_default")]
    pub security_opt: Vec<String>,
    /// Options by where they are.
    #[serde(deserialize_with = "null_as_default")]
    pub tmpfs: BTreeMap<String, String>,
    /// Bytes of /dev/shm.
    #[serde(deserialize_with = "null_as_default")]
    pub shm_size: i64,
    /// Settings of the kernel.
    #[serde(deserialize_with = "null_as_default")]
    pub sysctls: BTreeMap<String, String>,
    /// Limits.
    #[serde(deserialize_with = "null_as_default")]
    pub ulimits: Vec<UlimitWish>,
    /// A first process that collects orphans: every container has one.
    pub init: Option<bool>,
    /// How output is kept.
    #[serde(deserialize_with = "null_as_default")]
    pub log_config: LogConfigWish,
    /// What is mounted.
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: Vec<MountWish>,
    /// Bytes.
    #[serde(deserialize_with = "null_as_default")]
    pub memory: i64,
    /// A billionth of a processor each.
    #[serde(deserialize_with = "null_as_default")]
    pub nano_cpus: i64,
    /// Processes.
    #[serde(deserialize_with = "null_as_default")]
    pub pids_limit: i64,
    /// Devices of the host.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Vec<Object>)]
    pub devices: Vec<serde_json::Value>,
    /// Devices that a driver of theirs brings.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = Vec<Object>)]
    pub device_requests: Vec<serde_json::Value>,
    /// Everything else: control groups and other systems, of which there are none.
    #[serde(flatten)]
    #[schema(ignore)]
    pub others: BTreeMap<String, serde_json::Value>,
}

/// Where a port is to be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostPortWish {
    /// An address, or empty for all.
    #[serde(deserialize_with = "null_as_default")]
    pub host_ip: String,
    /// A port or a range; empty for any.
    #[serde(deserialize_with = "null_as_default")]
    pub host_port: String,
}

/// What happens at the end of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicyWish {
    /// `no` (or empty), `always`, `unless-stopped` or `on-failure`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// At most, with `on-failure`; 0 for any number.
    #[serde(deserialize_with = "null_as_default")]
    pub maximum_retry_count: u32,
}

/// A limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct UlimitWish {
    /// `nofile` and so on.
    pub name: String,
    /// What holds.
    pub soft: i64,
    /// What it may be raised to.
    pub hard: i64,
}

/// How output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfigWish {
    /// A driver.
    #[serde(rename = "Type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// Its options.
    #[serde(deserialize_with = "null_as_default")]
    pub config: BTreeMap<String, String>,
}

/// What is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountWish {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// On the host, or a volume's name.
    #[serde(deserialize_with = "null_as_default")]
    pub source: String,
    /// In the container.
    #[serde(deserialize_with = "null_as_default")]
    pub target: String,
    /// Nothing changes in it.
    #[serde(deserialize_with = "null_as_default")]
    pub read_only: bool,
    /// Of a folder of the host.
    pub bind_options: Option<BindWish>,
    /// Of a volume.
    pub volume_options: Option<VolumeWish>,
    /// Of a file system in memory.
    pub tmpfs_options: Option<TmpfsWish>,
}

/// What a folder of the host is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindWish {
    /// It is made if it is not there.
    #[serde(deserialize_with = "null_as_default")]
    pub create_mountpoint: bool,
}

/// What a volume is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeWish {
    /// A new one stays empty.
    #[serde(deserialize_with = "null_as_default")]
    pub no_copy: bool,
}

/// What a file system in memory is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsWish {
    /// Most bytes.
    pub size_bytes: Option<u64>,
    /// Mode of its topmost folder.
    pub mode: Option<u32>,
}

/// Endpoints by network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct DockerNetworking {
    /// What each should be like.
    #[serde(deserialize_with = "null_as_default")]
    #[schema(value_type = BTreeMap<String, EndpointConfig>)]
    pub endpoints_config: BTreeMap<String, Option<EndpointConfig>>,
}

/// Answer of `POST /containers/create` (201).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct DockerCreated {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Sentences.
    pub warnings: Vec<String>,
}

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct DockerExec {
    /// The client brings standard input.
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stdin: bool,
    /// The client takes standard output.
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stdout: bool,
    /// The client takes standard error.
    #[serde(deserialize_with = "null_as_default")]
    pub attach_stderr: bool,
    /// The streams are a terminal.
    #[serde(deserialize_with = "null_as_default")]
    pub tty: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<[u16; 2]>,
    /// Program and arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// On top of the container's own environment.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// With everything allowed.
    #[serde(deserialize_with = "null_as_default")]
    pub privileged: bool,
    /// Who runs it.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// Absolute; the container's own if empty.
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients send null for what they do not say, words as a list or as one text, and fields that nobody here knows.
    #[test]
    fn clients_bodies() {
        let json = r#"{"Image": "busybox", "Cmd": "true", "Entrypoint": null, "Env": null, "Healthcheck": {"Test": []},
            "HostConfig": {"Binds": null, "PortBindings": {"80/tcp": null, "81/tcp": [{"HostPort": "8081"}]},
            "Memory": 5, "ConsoleSize": [1, 2], "LogConfig": {"Type": "", "Config": {}}},
            "NetworkingConfig": {"EndpointsConfig": {"net": null}}}"#;
        let wire: DockerCreate = serde_json::from_str(json).unwrap();
        assert_eq!((wire.cmd.into_vec(), wire.entrypoint.into_vec()), (vec!["true".to_owned()], vec![]));
        assert_eq!(wire.host_config.port_bindings.len(), 2);
        let exec: DockerExec = serde_json::from_str(r#"{"Cmd": ["sh"], "DetachKeys": "", "User": null}"#).unwrap();
        assert_eq!(exec.cmd, ["sh"]);
    }
}
