//! From podman's words to vswitch's and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, bail};
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineAttach, EngineKey, EngineRoute};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};

use super::ENGINE;
use super::wire::{Assigned, Interface, Network, NetworkOptions, Request, Route, Status};
use crate::complain;

/// The driver that is vswitch's.
pub(super) const DRIVER: &str = "bridge";

/// What aardvark-dns and podman have names end in.
const SEARCH_DOMAIN: &str = "dns.podman";

/// Metric of a route that names none, as netavark has it.
const METRIC: u32 = 100;

/// Options of netavark's that concern its bridges, and those that are fulfilled here: the switch is not told of them.
const NETAVARKS_OWN: [&str; 10] = [
    "isolate",
    "vlan",
    "metric",
    "no_default_route",
    "mode",
    "vrf",
    "bclim",
    "host_interface_name",
    "outbound_addr4",
    "outbound_addr6",
];

/// A network of the request and what the container wants of it.
pub(super) type Wanted<'a> = (&'a str, &'a Network, &'a NetworkOptions);

/// What is vswitch's, and whether there is more.
pub(super) fn split(request: &Request) -> anyhow::Result<(Vec<Wanted<'_>>, bool)> {
    let mut ours = Vec::new();
    let mut others = false;
    for (name, options) in request.networks.iter() {
        let network = request.network_info.get(name);
        let network = network.with_context(|| format!("the request names network {name} and does not describe it"))?;
        match is_ours(network) {
            true => ours.push((name, network, options)),
            false => others = true,
        }
    }
    Ok((ours, others))
}

/// Bridges that the host's administrator made, or whose addresses somebody else gives, are netavark's.
fn is_ours(network: &Network) -> bool {
    let theirs = ["vlan", "vrf"].iter().any(|option| network.option(option).is_some())
        || network.option("mode").is_some_and(|mode| mode != "managed")
        || network.ipam_driver() == "dhcp";
    network.driver == DRIVER && !theirs
}

/// The request without what is vswitch's.
pub(super) fn without(request: &Request, ours: &[Wanted<'_>]) -> anyhow::Result<Vec<u8>> {
    let names: BTreeSet<&str> = ours.iter().map(|(name, ..)| *name).collect();
    let mut rest = request.clone();
    rest.networks.retain(|name| !names.contains(name));
    rest.network_info.retain(|name, _| !names.contains(name.as_str()));
    Ok(serde_json::to_vec(&rest)?)
}

/// What vswitchd knows an interface of a container by.
pub(super) fn key(container: &str, options: &NetworkOptions) -> EngineKey {
    EngineKey { engine: ENGINE.to_owned(), container: container.to_owned(), interface: options.interface_name.clone() }
}

/// What is asked of vswitchd for one network of a container.
///
/// # Errors
/// When an option of the network makes no sense.
pub(super) fn wish(
    request: &Request,
    (name, network, options): Wanted<'_>,
    publish: Vec<String>,
) -> anyhow::Result<EngineAttach> {
    let mut aliases = options.aliases.clone().unwrap_or_default();
    // podman takes any text; a container with one that is no name starts all the same.
    aliases.retain(|alias| {
        let fine = is_name(alias);
        if !fine {
            complain(&format!(
                "invalid network alias {alias:?} is left out: names have letters, digits, '_', '.' and '-'"
            ));
        }
        fine && *alias != request.container_name
    });
    check(network, request)?;
    let texts =
        |addresses: &Option<Vec<std::net::IpAddr>>| addresses.iter().flatten().map(ToString::to_string).collect();
    for option in ["outbound_addr4", "outbound_addr6"] {
        if network.option(option).is_some() {
            complain(&format!(
                "option {option} of network {name} is not in effect; start vswitchd with --uplink sockets and an outbound address instead"
            ));
        }
    }
    let names = network.dns_enabled;
    Ok(EngineAttach {
        key: key(&request.container_id, options),
        name: request.container_name.clone(),
        network: as_docker(name, network),
        network_id: network.id.clone(),
        addresses: texts(&options.static_ips),
        mac_address: options.static_mac.clone().filter(|mac| !mac.is_empty()),
        aliases,
        publish,
        search_domain: names.then(|| SEARCH_DOMAIN.to_owned()),
        dns_servers: texts(&request.dns_servers),
        network_dns_servers: texts(&network.network_dns_servers),
        no_default_route: parsed::<bool>(network, "no_default_route")?.unwrap_or(false),
        metric: parsed(network, "metric")?,
        routes: network.routes.iter().flatten().map(route).collect(),
        ..EngineAttach::default()
    })
}

/// Whether vswitchd takes a text for a name.
fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// What no network can be.
fn check(network: &Network, request: &Request) -> anyhow::Result<()> {
    let driver = network.ipam_driver();
    if !matches!(driver, "" | "host-local" | "none") {
        bail!("unsupported ipam driver {driver}");
    }
    let asked = request.dns_servers.iter().chain(&network.network_dns_servers).flatten();
    let gateways: Vec<_> = network.subnets.iter().flatten().filter_map(|subnet| subnet.gateway).collect();
    if network.dns_enabled
        && let Some(server) = asked.into_iter().find(|server| gateways.contains(server))
    {
        bail!("name server {server} is the network's own gateway, which would cause it to forward queries to itself");
    }
    Ok(())
}

/// An option as a value; podman's users know the sentence from netavark.
pub(super) fn parsed<T: FromStr<Err: Display>>(network: &Network, option: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = network.option(option) else { return Ok(None) };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => bail!("unable to parse {option:?}: {error}"),
    }
}

fn route(route: &Route) -> EngineRoute {
    EngineRoute {
        destination: route.destination.to_string(),
        gateway: route.gateway.map(|gateway| gateway.to_string()),
        metric: Some(route.metric.unwrap_or(METRIC)),
        kind: route.route_type.clone().unwrap_or_default(),
    }
}

/// A network in Docker's words.
fn as_docker(name: &str, network: &Network) -> NetworkCreate {
    let subnets = network.subnets.as_deref().unwrap_or_default();
    let config: Vec<IpamConfig> = subnets
        .iter()
        .map(|one| IpamConfig {
            subnet: one.subnet.clone(),
            gateway: one.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..IpamConfig::default()
        })
        .collect();
    let has = |ipv6: bool| config.iter().any(|one| one.subnet.contains(':') == ipv6);
    let driver = if config.is_empty() { "null" } else { "default" };
    let options = network.options.iter().flatten();
    let options = options.filter(|(key, _)| !NETAVARKS_OWN.contains(&key.as_str()));
    NetworkCreate {
        name: name.to_owned(),
        internal: network.internal,
        enable_ipv4: (!config.is_empty()).then(|| has(false)),
        enable_ipv6: (!config.is_empty()).then(|| has(true)),
        ipam: Some(Ipam { driver: driver.to_owned(), options: None, config }),
        options: options.map(|(key, value)| (key.clone(), value.clone())).collect(),
        labels: network.labels.clone().unwrap_or_default(),
        ..NetworkCreate::default()
    }
}

/// What podman is told of an endpoint; `names`: whether the network has some.
pub(super) fn status(endpoint: &Endpoint, names: bool) -> Status {
    let assigned = [(&endpoint.ipv4_address, &endpoint.ipv4_gateway), (&endpoint.ipv6_address, &endpoint.ipv6_gateway)];
    let subnets = assigned
        .into_iter()
        .filter_map(|(address, gateway)| Some(Assigned { ipnet: address.clone()?, gateway: gateway.clone() }))
        .collect();
    let interface = Interface { mac_address: endpoint.mac_address.clone(), subnets };
    let servers = if names { endpoint.name_servers.clone() } else { Vec::new() };
    Status {
        interfaces: BTreeMap::from([(endpoint.interface.clone().unwrap_or_default(), interface)]),
        dns_search_domains: servers.first().map(|_| SEARCH_DOMAIN.to_owned()).into_iter().collect(),
        dns_server_ips: servers,
    }
}
