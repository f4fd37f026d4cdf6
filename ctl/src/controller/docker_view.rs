//! Containers in the shapes of the Docker Engine API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use vswitch_api::docker::container::{
    Config, ContainerInspect, ContainerSummary, Empty, EndpointSettings, HostConfig, HostPort, InspectState, LogConfig,
    MountPoint, NetworkSettings, RestartPolicy, SummaryHostConfig, SummaryNetworks, SummaryPort,
};
use vswitch_api::human;
use vswitch_api::network::EndpointIpamConfig;

use super::state::{ContainerState, EndpointState, State, gateway_of, prefix_of};
use super::{Controller, ExecState, links};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::logfile::Limit;
use crate::model::{Container, Endpoint, Image, Mount, Phase, Source, StaticAddress, image_id};
use crate::publish::{Binding, Exposed};

/// How Docker writes a moment that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The network whose endpoint Docker shows twice.
const LEGACY_NETWORK: &str = "bridge";

impl Controller {
    /// One container as `docker inspect` shows it.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn docker_container(&self, text: &str) -> Result<ContainerInspect, ControlError> {
        let state = self.state();
        let one = state.container(text)?;
        let log = self.log_path(&one.container.id).to_string_lossy().into_owned();
        let execs = self.inner.docker_execs.of(&one.container.id).into_iter();
        let execs = execs.filter(|(_, state)| matches!(state, ExecState::Running(_))).map(|(id, _)| id.to_string());
        let exec_ids = Some(execs.collect::<Vec<_>>()).filter(|ids| !ids.is_empty());
        Ok(ContainerInspect { log_path: log, exec_ids, ..inspect(&state, one) })
    }
}

/// One line of `docker ps`.
pub(super) fn summary(state: &State, one: &ContainerState, now: Moment) -> ContainerSummary {
    let container = &one.container;
    ContainerSummary {
        id: container.id.to_string(),
        names: vec![format!("/{}", container.name)],
        image: image_name(container),
        image_id: image_id(Path::new(container.spec.mounts.root.directory())),
        command: container.spec.command.join(" "),
        created: container.created.unix_seconds(),
        ports: ports(container),
        labels: container.spec.labels.clone(),
        state: word(one).to_owned(),
        status: if one.paused { status(container.phase, now) + " (Paused)" } else { status(container.phase, now) },
        host_config: SummaryHostConfig { network_mode: container.mode_text.clone() },
        network_settings: SummaryNetworks { networks: networks(state, one) },
        mounts: mount_points(container),
        ..ContainerSummary::default()
    }
}

fn inspect(state: &State, one: &ContainerState) -> ContainerInspect {
    let container = &one.container;
    let spec = &container.spec;
    let (path, args) = spec.command.split_first().map(|(path, args)| (path.clone(), args.to_vec())).unwrap_or_default();
    ContainerInspect {
        id: container.id.to_string(),
        created: container.created.to_string(),
        path,
        args,
        state: life(one),
        restart_count: container.restarts.into(),
        image: image_id(Path::new(spec.mounts.root.directory())),
        name: format!("/{}", container.name),
        platform: "linux".to_owned(),
        host_config: HostConfig {
            network_mode: container.mode_text.clone(),
            port_bindings: wanted_ports(container),
            restart_policy: restart_policy(spec.restart),
            auto_remove: spec.auto_remove,
            dns: spec.dns_words(),
            dns_options: spec.dns_options.clone(),
            dns_search: spec.dns_search.clone(),
            log_config: log_config(spec.log_limit),
            publish_all_ports: spec.publish_all,
            extra_hosts: spec.extra_hosts.iter().map(|extra| format!("{}:{}", extra.name, extra.address)).collect(),
            ..HostConfig::default()
        },
        config: Config {
            hostname: container.hostname.clone(),
            mac_address: asked_mac(state, one),
            exposed_ports: exposed_ports(container).map(|port| (port, Empty {})).collect(),
            tty: spec.tty,
            open_stdin: spec.open_stdin,
            stdin_once: spec.stdin_once,
            env: spec.env.clone(),
            cmd: spec.command.clone(),
            image: image_name(container),
            working_dir: spec.working_dir.clone(),
            labels: spec.labels.clone(),
            ..Config::default()
        },
        network_settings: network_settings(state, one),
        mounts: mount_points(container),
        ..ContainerInspect::default()
    }
}

impl Controller {
    /// The image, known by its id, that a container has as its root directory.
    #[must_use]
    pub fn image_of_containers(&self, id: &str) -> Option<Image> {
        let state = self.state();
        let mut all = state.containers.values();
        all.find_map(|one| {
            let image = Image::nameless(Path::new(one.container.spec.mounts.root.directory()));
            image.has_id(id).then_some(image)
        })
    }
}

/// The name of a container's image, or its root directory.
fn image_name(container: &Container) -> String {
    container.spec.image.clone().unwrap_or_else(|| container.spec.mounts.root.directory().to_owned())
}

/// Docker's word for where a container is in its life.
pub(super) const fn word(one: &ContainerState) -> &'static str {
    if one.restart.waiting.is_some() {
        return "restarting";
    }
    match one.container.phase {
        Phase::Running { .. } if one.paused => "paused",
        Phase::Created => "created",
        Phase::Running { .. } => "running",
        Phase::Exited { .. } => "exited",
    }
}

/// `Up 5 minutes`, `Exited (0) 3 seconds ago`, `Created`.
fn status(phase: Phase, now: Moment) -> String {
    match phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running { started, .. } => format!("Up {}", human::duration(now.since(started))),
        Phase::Exited { code, finished, .. } => {
            format!("Exited ({code}) {} ago", human::duration(now.since(finished)))
        }
    }
}

fn restart_policy(policy: crate::model::RestartPolicy) -> RestartPolicy {
    let (name, maximum_retry_count) = policy.fields();
    RestartPolicy { name: name.to_owned(), maximum_retry_count }
}

fn life(one: &ContainerState) -> InspectState {
    let phase = one.container.phase;
    let restarting = one.restart.waiting.is_some();
    let (pid, exit_code, started, finished) = match phase {
        Phase::Created => (0, 0, None, None),
        Phase::Running { pid, started, .. } => (pid, 0, Some(started), None),
        Phase::Exited { code, started, finished } => (0, code, started, Some(finished)),
    };
    let text = |moment: Option<Moment>| moment.map_or_else(|| NEVER.to_owned(), |moment| moment.to_string());
    InspectState {
        status: word(one).to_owned(),
        // Docker's clients take it for running until it is stopped.
        running: pid != 0 || restarting,
        restarting,
        paused: one.paused,
        pid,
        exit_code,
        started_at: text(started),
        finished_at: text(finished),
        ..InspectState::default()
    }
}

fn ports(container: &Container) -> Vec<SummaryPort> {
    let mut ports: Vec<SummaryPort> = container
        .ports
        .iter()
        .map(|binding| SummaryPort {
            ip: Some(binding.host.to_string()),
            private_port: binding.target_port,
            public_port: Some(binding.host_port),
            kind: binding.transport.protocol().to_string(),
        })
        .collect();
    if container.running() {
        let bound = |exposed: &Exposed| {
            let same = |one: &Binding| (one.transport, one.target_port) == (exposed.transport, exposed.port);
            container.ports.iter().any(same)
        };
        ports.extend(container.spec.expose.iter().filter(|exposed| !bound(exposed)).map(|exposed| SummaryPort {
            ip: None,
            private_port: exposed.port,
            public_port: None,
            kind: exposed.transport.protocol().to_string(),
        }));
    }
    ports.sort();
    ports
}

/// Ports as asked for: `80/tcp` to where on the host.
fn wanted_ports(container: &Container) -> BTreeMap<String, Vec<HostPort>> {
    let mut ports: BTreeMap<String, Vec<HostPort>> = BTreeMap::new();
    for wanted in &container.spec.publish {
        let port = HostPort {
            host_ip: wanted.host.map(|host| host.to_string()).unwrap_or_default(),
            host_port: wanted.host_ports.map(|ports| ports.to_string()).unwrap_or_default(),
        };
        ports.entry(format!("{}/{}", wanted.target_port, wanted.transport.protocol())).or_default().push(port);
    }
    ports
}

/// The MAC address that a user named for the first network.
fn asked_mac(state: &State, one: &ContainerState) -> Option<String> {
    let first = one.endpoints.iter().filter_map(|id| state.endpoints.get(id)).next()?;
    first.endpoint.asked.mac.then(|| first.endpoint.mac.to_string())
}

/// The container's own ports that somebody spoke of, `80/tcp` each.
fn exposed_ports(container: &Container) -> impl Iterator<Item = String> {
    let exposed = container.spec.expose.iter().map(ToString::to_string);
    wanted_ports(container).into_keys().chain(exposed)
}

fn mount_points(container: &Container) -> Vec<MountPoint> {
    let mounts = &container.spec.mounts;
    let own: BTreeMap<usize, String> = mounts.anonymous(container.id.as_str()).collect();
    let point = |(index, mount): (usize, &Mount)| {
        let volume = |name: &str| (name.to_owned(), String::new(), "local".to_owned());
        let (kind, (name, source, driver)) = match &mount.source {
            Source::Bind(path) => ("bind", (String::new(), path.clone(), String::new())),
            Source::Volume(name) => ("volume", volume(name)),
            Source::Anonymous => ("volume", volume(own.get(&index).map_or("", String::as_str))),
            Source::Tmpfs(_) => ("tmpfs", Default::default()),
        };
        let (kind, destination) = (kind.to_owned(), mount.target.clone());
        MountPoint { kind, name, source, driver, destination, writable: !mount.read_only, ..MountPoint::default() }
    };
    mounts.list.iter().enumerate().map(point).collect()
}

/// Docker's name for a log that `docker logs` shows, and what of it is kept.
fn log_config(limit: Limit) -> LogConfig {
    let plain = Limit::default();
    let size = (limit.max_bytes != plain.max_bytes).then(|| ("max-size", limit.max_bytes.to_string()));
    let files = (limit.max_files != plain.max_files).then(|| ("max-file", limit.max_files.to_string()));
    let config = size.into_iter().chain(files).map(|(key, value)| (key.to_owned(), value)).collect();
    LogConfig { kind: "json-file".to_owned(), config }
}

/// Ports as they are, while it runs; those that are exposed and not published lead nowhere.
fn bound_ports(container: &Container) -> BTreeMap<String, Option<Vec<HostPort>>> {
    if !container.running() {
        return BTreeMap::new();
    }
    let mut ports: BTreeMap<String, Option<Vec<HostPort>>> =
        exposed_ports(container).map(|port| (port, None)).collect();
    for binding in &container.ports {
        let port = HostPort { host_ip: binding.host.to_string(), host_port: binding.host_port.to_string() };
        let key = format!("{}/{}", binding.target_port, binding.transport.protocol());
        ports.entry(key).or_default().get_or_insert_default().push(port);
    }
    ports
}

fn network_settings(state: &State, one: &ContainerState) -> NetworkSettings {
    let networks = networks(state, one);
    let legacy = networks.get(LEGACY_NETWORK).cloned().unwrap_or_default();
    let key = one.container.pid().map(|pid| format!("/proc/{pid}/ns/net"));
    NetworkSettings {
        bridge: String::new(),
        sandbox_id: if key.is_some() { one.container.id.to_string() } else { String::new() },
        sandbox_key: key.unwrap_or_default(),
        ports: bound_ports(&one.container),
        endpoint_id: legacy.endpoint_id,
        gateway: legacy.gateway,
        global_ipv6_address: legacy.global_ipv6_address,
        global_ipv6_prefix_len: legacy.global_ipv6_prefix_len,
        ip_address: legacy.ip_address,
        ip_prefix_len: legacy.ip_prefix_len,
        ipv6_gateway: legacy.ipv6_gateway,
        mac_address: legacy.mac_address,
        networks,
    }
}

/// By name; a container in somebody else's namespace has none, one on `host` or `none` has that one, as with Docker.
fn networks(state: &State, one: &ContainerState) -> BTreeMap<String, EndpointSettings> {
    let endpoints = one.endpoints.iter().filter_map(|id| state.endpoints.get(id));
    let mut networks: BTreeMap<String, EndpointSettings> =
        endpoints.map(|on| (on.endpoint.network_name.clone(), settings(state, one, on))).collect();
    if let mode @ ("host" | "none") = one.container.mode_text.as_str()
        && let Ok(on) = state.network(mode)
        && networks.is_empty()
    {
        let settings = EndpointSettings { network_id: on.network.id.to_string(), ..EndpointSettings::default() };
        networks.insert(mode.to_owned(), settings);
    }
    networks
}

/// Static addresses that a user named; `None` without.
fn asked_addresses(endpoint: &Endpoint) -> Option<EndpointIpamConfig> {
    let text = |asked: bool, fixed: Option<StaticAddress>| {
        fixed.filter(|_| asked).map(|fixed| fixed.address.to_string()).unwrap_or_default()
    };
    let asked = &endpoint.asked;
    (asked.ipv4 || asked.ipv6 || !endpoint.link_local.is_empty()).then(|| EndpointIpamConfig {
        ipv4_address: text(asked.ipv4, endpoint.ipv4),
        ipv6_address: text(asked.ipv6, endpoint.ipv6),
        link_local_ips: endpoint.link_local.iter().map(ToString::to_string).collect(),
    })
}

fn settings(state: &State, one: &ContainerState, on: &EndpointState) -> EndpointSettings {
    let endpoint = &on.endpoint;
    let network = state.networks.get(&endpoint.network).map(|on| &on.network);
    let custom = network.is_some_and(|network| !network.predefined());
    let names = || {
        let own = [one.container.name.clone(), one.container.id.short().to_owned(), one.container.hostname.clone()];
        let mut names: Vec<String> = own.into_iter().chain(endpoint.aliases.iter().cloned()).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    };
    let mut settings = EndpointSettings {
        aliases: (!endpoint.aliases.is_empty()).then(|| endpoint.aliases.clone()),
        links: (!endpoint.links.is_empty())
            .then(|| endpoint.links.iter().map(|link| links::text(state, link)).collect()),
        gw_priority: endpoint.gw_priority,
        ipam_config: asked_addresses(endpoint),
        driver_opts: (!endpoint.asked.driver_opts.is_empty()).then(|| endpoint.asked.driver_opts.clone()),
        mac_address: if endpoint.asked.mac { endpoint.mac.to_string() } else { String::new() },
        network_id: endpoint.network.to_string(),
        dns_names: custom.then(names),
        ..EndpointSettings::default()
    };
    if one.container.running() {
        let address = |fixed: StaticAddress| (fixed.address.to_string(), prefix_of(network, fixed));
        let gateway = |fixed| gateway_of(network, fixed).map(|gateway: IpAddr| gateway.to_string());
        settings.mac_address = endpoint.mac.to_string();
        settings.endpoint_id = endpoint.id.to_string();
        (settings.ip_address, settings.ip_prefix_len) = endpoint.ipv4.map(address).unwrap_or_default();
        (settings.global_ipv6_address, settings.global_ipv6_prefix_len) =
            endpoint.ipv6.map(address).unwrap_or_default();
        settings.gateway = endpoint.ipv4.and_then(gateway).unwrap_or_default();
        settings.ipv6_gateway = endpoint.ipv6.and_then(gateway).unwrap_or_default();
    }
    settings
}
