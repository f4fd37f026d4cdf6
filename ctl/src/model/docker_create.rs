//! What Docker's clients order, as an order of our own. vswitchd and its agent both translate, each for itself: the agent
//! believes only what it has read from the client (docs/decisions/0018-orders.md).

use vswitch_api::container::{ContainerCreate, ExecRequest, MountKind, MountRequest, NetworkRequest};
use vswitch_api::docker::create::{
    DockerCreate, DockerExec, DockerHostConfig, HostPortWish, MountWish, RestartPolicyWish, Words,
};
use vswitch_api::network::EndpointConfig;

use super::images::{Images, bare, tagged};
use super::{DEFAULT_NETWORK, Faults};

/// An order of our own, and what the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The order.
    pub create: ContainerCreate,
    /// Sentences.
    pub warnings: Vec<String>,
}

/// Why an order of Docker's cannot be one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerError {
    /// Docker's words, on which its clients try to pull.
    #[error(
        "No such image: {0}; vswitch has no registry: start vswitchd with --image {1}=DIR, where DIR is a root directory, or \
         with --image '*=/' for the host's"
    )]
    NoImage(String, String),
    /// What makes no sense, or what vswitch does not have.
    #[error(transparent)]
    Faults(#[from] Faults),
}

impl DockerError {
    /// An image that nobody gave.
    #[must_use]
    pub fn no_image(name: &str) -> DockerError {
        let bare = bare(name.split('@').next().unwrap_or(name));
        DockerError::NoImage(tagged(bare), bare.to_owned())
    }
}

/// The body of `POST /containers/create`.
///
/// # Errors
/// When there is no such image, or with all faults at once.
pub fn create_from_docker(
    wire: DockerCreate,
    name: Option<String>,
    images: &Images,
) -> Result<Translated, DockerError> {
    let mut faults = Faults::new("");
    if wire.image.is_empty() {
        return Err(Faults::one("no image was named: say which of vswitchd's images it is").into());
    }
    let Some(image) = images.find(&wire.image) else { return Err(DockerError::no_image(&wire.image)) };
    let host = wire.host_config;
    let mut warnings = Vec::new();
    refuse_what_is_missing(&host, &mut faults);
    if host.shm_size < 0 {
        faults.add("SHM size can not be less than 0; write a size such as 64m");
    }
    warn_of_what_is_ignored(&host, &wire.healthcheck, &mut warnings);
    let (network, endpoint, more_networks) =
        networks(&host, wire.network_disabled, wire.networking_config.endpoints_config, &wire.mac_address);
    // An entry without anything said of it is a volume of the container's own.
    let mut binds = host.binds;
    binds.extend(wire.volumes.into_keys().filter(|target| !host.mounts.iter().any(|mount| mount.target == *target)));
    let create = ContainerCreate {
        name,
        hostname: Some(wire.hostname),
        image: Some(wire.image),
        // The host's own is what every container has.
        rootfs: Some(image.directory().display().to_string()).filter(|directory| directory != "/"),
        command: command(wire.entrypoint, wire.cmd),
        env: environment(wire.env),
        working_dir: Some(wire.working_dir),
        network,
        endpoint,
        more_networks,
        tty: wire.tty,
        open_stdin: wire.open_stdin,
        stdin_once: wire.stdin_once,
        auto_remove: host.auto_remove,
        dns: host.dns,
        dns_search: host.dns_search,
        dns_options: host.dns_options,
        extra_hosts: host.extra_hosts,
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        security_opt: host.security_opt,
        privileged: host.privileged,
        userns: host.userns_mode,
        volumes: binds,
        mounts: host.mounts.into_iter().filter_map(|wish| faults.take(mount(wish))).collect(),
        tmpfs: host.tmpfs,
        read_only: host.readonly_rootfs,
        restart: restart(host.restart_policy),
        user: wire.user,
        group_add: host.group_add,
        sysctls: host.sysctls,
        ulimits: host.ulimits.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard)).collect(),
        shm_size: u64::try_from(host.shm_size).ok().filter(|size| *size > 0),
        domainname: wire.domainname,
        stop_signal: wire.stop_signal,
        stop_timeout: wire.stop_timeout,
        publish: publish(host.port_bindings),
        expose: wire.exposed_ports.into_keys().collect(),
        publish_all: host.publish_all_ports,
        labels: wire.labels,
        log_options: log_options(&host.log_config.kind, host.log_config.config),
    };
    faults.finish(())?;
    Ok(Translated { create, warnings })
}

/// The body of `POST /containers/{id}/exec`.
///
/// # Errors
/// All faults at once.
pub fn exec_from_docker(wire: DockerExec) -> Result<ExecRequest, Faults> {
    let mut faults = Faults::new("");
    if wire.cmd.is_empty() {
        faults.add("No exec command specified");
    }
    if wire.privileged {
        faults.add("exec --privileged is not available; run the container with --privileged");
    }
    faults.finish(ExecRequest {
        command: wire.cmd,
        env: environment(wire.env),
        working_dir: Some(wire.working_dir),
        tty: wire.tty,
        user: wire.user,
    })
}

/// A directory says nothing of its command: a shell, as most images that are made for people.
const SHELL: &str = "sh";

fn command(entrypoint: Words, arguments: Words) -> Vec<String> {
    // A single empty word takes an image's entry point away, of which there is none.
    let mut command: Vec<String> = words(entrypoint).into_iter().filter(|word| !word.is_empty()).collect();
    command.extend(words(arguments));
    if command.is_empty() { vec![SHELL.to_owned()] } else { command }
}

/// One text is a line for a shell.
fn words(words: Words) -> Vec<String> {
    match words {
        Words::One(line) if !line.is_empty() => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
        words => words.into_vec(),
    }
}

/// `KEY` alone takes something out of an image's environment, of which there is none.
fn environment(env: Vec<String>) -> Vec<String> {
    env.into_iter().filter(|entry| entry.contains('=')).collect()
}

/// The network mode, the endpoint on that network, and further networks with theirs.
fn networks(
    host: &DockerHostConfig,
    disabled: bool,
    mut wishes: std::collections::BTreeMap<String, Option<EndpointConfig>>,
    mac_address: &str,
) -> (String, EndpointConfig, Vec<NetworkRequest>) {
    let mode = match host.network_mode.as_str() {
        _ if disabled => "none",
        // As Docker: the only network that is named is the one that is meant.
        "" | DEFAULT_NETWORK if wishes.len() == 1 => wishes.keys().next().map_or(DEFAULT_NETWORK, String::as_str),
        "" => DEFAULT_NETWORK,
        mode => mode,
    };
    let mode = mode.to_owned();
    // Clients name the endpoint on the default network in several ways.
    let own = [mode.as_str(), "default", "bridge"]
        .into_iter()
        .find(|name| wishes.contains_key(*name) && (*name == mode || mode == DEFAULT_NETWORK));
    let own = own.map(str::to_owned).and_then(|name| wishes.remove(&name));
    let mut endpoint = own.flatten().unwrap_or_default();
    if endpoint.mac_address.is_empty() && !disabled {
        mac_address.clone_into(&mut endpoint.mac_address);
    }
    if endpoint.links.is_empty() {
        endpoint.links.clone_from(&host.links);
    }
    let more = wishes
        .into_iter()
        .map(|(network, endpoint)| NetworkRequest { network, endpoint: endpoint.unwrap_or_default() });
    (mode, endpoint, more.collect())
}

fn publish(bindings: std::collections::BTreeMap<String, Option<Vec<HostPortWish>>>) -> Vec<String> {
    let mut publish = Vec::new();
    for (port, wishes) in bindings {
        // A port without a wish is one at any port of the host.
        let wishes = wishes.filter(|wishes| !wishes.is_empty()).unwrap_or_else(|| vec![HostPortWish::default()]);
        for HostPortWish { host_ip, host_port } in wishes {
            let bracketed =
                if host_ip.contains(':') && !host_ip.starts_with('[') { format!("[{host_ip}]") } else { host_ip };
            let host_port = if host_port == "0" { String::new() } else { host_port };
            publish.push(match (bracketed.as_str(), host_port.as_str()) {
                ("", "") => port.clone(),
                ("", host_port) => format!("{host_port}:{port}"),
                (address, host_port) => format!("{address}:{host_port}:{port}"),
            });
        }
    }
    publish
}

fn mount(wish: MountWish) -> Result<MountRequest, String> {
    let MountWish { kind, source, target, read_only, bind_options, volume_options, tmpfs_options } = wish;
    let kind = match kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        kind => return Err(format!("mounts of type {kind} are not available; known are bind, volume and tmpfs")),
    };
    let tmpfs = tmpfs_options.unwrap_or_default();
    let (tmpfs_size, tmpfs_mode) = (tmpfs.size_bytes.filter(|size| *size > 0), tmpfs.mode.filter(|mode| *mode > 0));
    let no_copy = volume_options.unwrap_or_default().no_copy;
    let make_source = bind_options.unwrap_or_default().create_mountpoint;
    Ok(MountRequest { kind, source, target, read_only, make_source, no_copy, tmpfs_size, tmpfs_mode })
}

fn restart(wish: RestartPolicyWish) -> String {
    match wish.maximum_retry_count {
        0 => wish.name,
        most => format!("{}:{most}", wish.name),
    }
}

/// Docker's other drivers have no meaning here; output is kept as always.
fn log_options(
    kind: &str,
    options: std::collections::BTreeMap<String, String>,
) -> std::collections::BTreeMap<String, String> {
    let known = ["", "json-file", "local"].contains(&kind);
    options.into_iter().filter(|(key, _)| known && matches!(key.as_str(), "max-size" | "max-file")).collect()
}

fn refuse_what_is_missing(host: &DockerHostConfig, faults: &mut Faults) {
    let missing = [
        (!host.volumes_from.is_empty(), "--volumes-from", "name the folders with -v HOST:CONTAINER"),
        (!host.devices.is_empty(), "--device", "use --privileged"),
        (!host.device_requests.is_empty(), "--gpus", "use --privileged"),
        (!matches!(host.pid_mode.as_str(), "" | "private"), "--pid", "leave it out"),
        (!matches!(host.ipc_mode.as_str(), "" | "private" | "shareable" | "none"), "--ipc", "leave it out"),
        (!matches!(host.uts_mode.as_str(), "" | "private"), "--uts", "leave it out"),
    ];
    for (asked, flag, instead) in missing {
        if asked {
            faults.add(format!("{flag} is not available; {instead}"));
        }
    }
}

fn warn_of_what_is_ignored(host: &DockerHostConfig, health: &serde_json::Value, warnings: &mut Vec<String>) {
    let others = OTHERS.map(|(key, word)| (host.others.get(key).is_some_and(says_something), word));
    let tests =
        |test: &&serde_json::Value| test.as_array().is_some_and(|words| !words.is_empty() && words[0] != "NONE");
    let ignored = [
        (health.get("Test").filter(tests).is_some(), "health-cmd"),
        (host.memory > 0, "memory"),
        (host.nano_cpus > 0, "cpus"),
        (host.pids_limit > 0, "pids-limit"),
        (!matches!(host.log_config.kind.as_str(), "" | "json-file" | "local"), "log-driver"),
    ];
    let ignored = ignored.into_iter().chain(others);
    let named: Vec<_> = ignored.filter(|(asked, _)| *asked).map(|(_, word)| format!("--{word}")).collect();
    if !named.is_empty() {
        warnings.push(format!(
            "vswitch uses no control groups, runs no health checks of containers and has one log driver: {} discarded",
            named.join(", ")
        ));
    }
}

/// Whether a client has set it: many send everything, with what is so in any case.
fn says_something(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        // Nothing, or no limit.
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0 && number != -1.0),
        Value::String(text) => !matches!(text.as_str(), "" | "default" | "runc"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// What is discarded of the rest, with the options that say it.
const OTHERS: [(&str, &str); 26] = [
    ("BlkioDeviceReadBps", "device-read-bps"),
    ("BlkioDeviceReadIOps", "device-read-iops"),
    ("BlkioDeviceWriteBps", "device-write-bps"),
    ("BlkioDeviceWriteIOps", "device-write-iops"),
    ("BlkioWeight", "blkio-weight"),
    ("BlkioWeightDevice", "blkio-weight-device"),
    ("CgroupParent", "cgroup-parent"),
    ("CpuCount", "cpu-count"),
    ("CpuPercent", "cpu-percent"),
    ("CpuPeriod", "cpu-period"),
    ("CpuQuota", "cpu-quota"),
    ("CpuRealtimePeriod", "cpu-rt-period"),
    ("CpuRealtimeRuntime", "cpu-rt-runtime"),
    ("CpuShares", "cpu-shares"),
    ("CpusetCpus", "cpuset-cpus"),
    ("CpusetMems", "cpuset-mems"),
    ("DeviceCgroupRules", "device-cgroup-rule"),
    ("Isolation", "isolation"),
    ("KernelMemory", "kernel-memory"),
    ("MemoryReservation", "memory-reservation"),
    ("MemorySwap", "memory-swap"),
    ("MemorySwappiness", "memory-swappiness"),
    ("OomKillDisable", "oom-kill-disable"),
    ("OomScoreAdj", "oom-score-adj"),
    ("Runtime", "runtime"),
    ("StorageOpt", "storage-opt"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(json: &str) -> Result<Translated, DockerError> {
        let images = Images::parse(["busybox=/usr"]).unwrap();
        create_from_docker(serde_json::from_str(json).unwrap(), None, &images)
    }

    /// What the docker command line says for the options of its tutorials becomes an order of our own.
    #[test]
    fn orders() {
        let json = r#"{"Image": "busybox:latest", "Cmd": ["httpd", "-f"], "Entrypoint": ["busybox"], "Tty": true,
            "Env": ["A=1", "B"], "Labels": {"a": "b"}, "HostConfig": {"NetworkMode": "net", "AutoRemove": true,
            "Binds": ["/a:/b:ro"], "Mounts": [{"Type": "bind", "Source": "/c", "Target": "/d"}],
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "0"}], "53/udp": null},
            "Memory": 4},
            "NetworkingConfig": {"EndpointsConfig": {"net": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}, "more": {}}}}"#;
        let Translated { create, warnings } = translated(json).unwrap();
        assert_eq!(create.command, ["busybox", "httpd", "-f"]);
        assert_eq!((create.image.as_deref(), create.rootfs.as_deref()), (Some("busybox:latest"), Some("/usr")));
        assert_eq!(create.env, ["A=1"]);
        assert_eq!((create.volumes, create.mounts[0].target.as_str()), (vec!["/a:/b:ro".to_owned()], "/d"));
        assert_eq!(create.publish, ["53/udp", "8080:80/tcp", "[::]::80/tcp"]);
        assert_eq!((create.network.as_str(), create.more_networks[0].network.as_str()), ("net", "more"));
        assert_eq!(create.endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.5");
        assert!(warnings[0].contains("--memory"), "{warnings:?}");
        assert_eq!(translated(r#"{"Image": "busybox"}"#).unwrap().create.command, ["sh"]);
        let line = translated(r#"{"Image": "busybox", "Cmd": "exit 3"}"#).unwrap().create;
        assert_eq!(line.command, ["/bin/sh", "-c", "exit 3"]);
    }

    /// Unknown images are refused in the words on which clients pull; what is missing is said, all at once.
    #[test]
    fn refusals() {
        let unknown = translated(r#"{"Image": "nginx:1"}"#).unwrap_err();
        assert!(unknown.to_string().starts_with("No such image: nginx:1; "), "{unknown}");
        let json = r#"{"Image": "busybox", "HostConfig": {"PidMode": "host", "Devices": [{}]}}"#;
        let faults = translated(json).unwrap_err().to_string();
        assert!(faults.contains("--pid is") && faults.contains("--device is"), "{faults}");
    }

    /// What belongs to control groups, health and other systems is warned of once, by its option; what clients send in any case is not;
    /// devices are refused.
    #[test]
    fn what_is_discarded() {
        let images = Images::parse(["*=/"]).unwrap();
        let order = |json: &str| create_from_docker(serde_json::from_str(json).unwrap(), None, &images);
        let usual = r#"{"Image": "x", "Healthcheck": {"Test": ["NONE"]}, "HostConfig": {"MemorySwappiness": -1, "MemorySwap": 0, "Runtime": "runc",
            "BlkioDeviceReadBps": [], "OomKillDisable": false, "StorageOpt": null, "Isolation": "", "ConsoleSize": [0, 0]}}"#;
        assert_eq!(order(usual).unwrap().warnings, Vec::<String>::new());
        let limits = r#"{"Image": "x", "Healthcheck": {"Test": ["CMD", "true"]}, "HostConfig": {"MemorySwap": 5, "Memory": 7, "OomScoreAdj": 5}}"#;
        let warnings = order(limits).unwrap().warnings;
        assert!(
            warnings[0].contains("--health-cmd, --memory, --memory-swap, --oom-score-adj discarded"),
            "{warnings:?}"
        );
        let gpus = r#"{"Image": "x", "HostConfig": {"DeviceRequests": [{"Count": -1}]}}"#;
        assert!(order(gpus).unwrap_err().to_string().contains("--gpus is not available"));
    }
}
