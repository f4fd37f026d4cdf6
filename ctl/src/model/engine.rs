//! What a container engine may ask for.

use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_api::engine::{EngineAttach, EngineKey, EnginePorts, EngineRoute};
use vswitch_api::network::{EndpointConfig, EndpointIpamConfig, NetworkCreate};

use super::{
    DefaultRoute, EndpointSpec, EngineNames, EngineWishes, Faults, NetworkSpec, container_name,
    endpoint::parse_interface, parse_endpoint, parse_network,
};
use crate::agent::protocol::{Route, RouteTarget};
use crate::error::ControlError;
use crate::ids::Id;
use crate::publish::{self, PublishSpec};

/// An endpoint for a container of an engine.
#[derive(Debug, Clone)]
pub struct EngineSpec {
    /// Whose it is.
    pub key: EngineKey,
    /// Name of the container.
    pub name: String,
    /// What the endpoint should be like.
    pub endpoint: EndpointSpec,
    /// The network.
    pub network: EngineNetwork,
    /// Ports of the host that lead to it.
    pub publish: Vec<PublishSpec>,
    /// What it wants of the endpoint beyond that.
    pub wishes: EngineWishes,
    /// What it wants of names on the network.
    pub names: EngineNames,
}

/// The network of an engine's container.
#[derive(Debug, Clone)]
pub enum EngineNetwork {
    /// One that exists, by name or id.
    Existing(String),
    /// One of the engine's, as it has it, under its id.
    Brought(Box<NetworkSpec>, Id),
}

/// Ports of the host that lead to a container of an engine.
#[derive(Debug, Clone)]
pub struct EnginePortsSpec {
    /// Name of the engine.
    pub engine: String,
    /// The engine's id of the container.
    pub container: String,
    /// The endpoint's address; `None`: the container's first.
    pub address: Option<std::net::IpAddr>,
    /// Which.
    pub publish: Vec<PublishSpec>,
}

/// Checks the body of `POST /engines/endpoints`.
///
/// # Errors
/// All faults at once.
pub fn parse_engine(wire: EngineAttach) -> Result<EngineSpec, ControlError> {
    let mut faults = Faults::new("");
    check_words(&wire.key.engine, &wire.key.container, &mut faults);
    let interface = faults.take(parse_interface(&wire.key.interface));
    let name = faults.take(container_name(&wire.name)).unwrap_or_default();
    let mut ipam = EndpointIpamConfig::default();
    for address in &wire.addresses {
        let place = if address.contains(':') { &mut ipam.ipv6_address } else { &mut ipam.ipv4_address };
        if !std::mem::replace(place, address.clone()).is_empty() {
            faults.add(format!("address {address} is a second one of its family; an endpoint has one of each"));
        }
    }
    let config = EndpointConfig {
        ipam_config: Some(ipam),
        mac_address: wire.mac_address.unwrap_or_default(),
        aliases: wire.aliases,
        ..EndpointConfig::default()
    };
    let mut endpoint = parse_endpoint(&config).unwrap_or_else(|more| {
        faults.append(more);
        EndpointSpec::default()
    });
    endpoint.interface = interface;
    let publish = parse_publish(&wire.publish, &mut faults);
    let wishes = EngineWishes {
        resolvers: parse_servers(&wire.dns_servers, &mut faults),
        default_route: match wire.metric {
            _ if wire.no_default_route => DefaultRoute::Never,
            Some(metric) => DefaultRoute::Metric(metric),
            None => DefaultRoute::Automatic,
        },
        routes: wire.routes.iter().filter_map(|route| faults.take(parse_route(route))).collect(),
        bare_ipv4: wire.bare_ipv4,
        replace_tap: wire.replace_tap,
    };
    let domain = wire.search_domain.filter(|domain| !domain.is_empty());
    let names = EngineNames {
        domain: domain.and_then(|domain| faults.take(parse_domain(&domain))),
        servers: parse_servers(&wire.network_dns_servers, &mut faults),
    };
    let network = parse_engine_network(wire.network, &wire.network_id, &mut faults)?;
    let network = network.unwrap_or_else(|| EngineNetwork::Existing(String::new()));
    Ok(faults.finish(EngineSpec { key: wire.key, name, endpoint, network, publish, wishes, names })?)
}

/// `None`: the faults say why.
fn parse_engine_network(
    wire: NetworkCreate,
    id: &str,
    faults: &mut Faults,
) -> Result<Option<EngineNetwork>, ControlError> {
    if id.is_empty() {
        return Ok(Some(EngineNetwork::Existing(wire.name)));
    }
    let id = faults.take(parse_id(id));
    match parse_network(wire) {
        Ok(network) => Ok(id.map(|id| EngineNetwork::Brought(Box::new(network), id))),
        Err(ControlError::Faults(more)) => {
            faults.append(more);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Checks the body of `PUT /engines/networks/{engine}/{network}/dns`.
///
/// # Errors
/// All faults at once.
pub fn parse_engine_dns(servers: &[String]) -> Result<Vec<IpAddr>, Faults> {
    let mut faults = Faults::new("");
    let servers = parse_servers(servers, &mut faults);
    faults.finish(servers)
}

fn parse_servers(wire: &[String], faults: &mut Faults) -> Vec<IpAddr> {
    let sentence = |text: &str| format!("invalid address {text:?} of a name server: write an IPv4 or IPv6 address");
    wire.iter().filter_map(|text| faults.take(text.parse().map_err(|_| sentence(text)))).collect()
}

/// A domain of names, in lower case.
fn parse_domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match text.len() < 254 && text.split('.').all(label) {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            Err(format!("invalid domain {text:?}: write labels of letters, digits and '-' with dots between them"))
        }
    }
}

fn parse_route(wire: &EngineRoute) -> Result<Route, String> {
    let text = &wire.destination;
    let destination =
        text.parse::<IpNet>().map_err(|_| format!("invalid destination {text:?} of a route: write a subnet"))?;
    let gateway = wire.gateway.as_deref().filter(|gateway| !gateway.is_empty());
    let target = match (wire.kind.as_str(), gateway) {
        ("" | "unicast", None) => RouteTarget::Link,
        ("" | "unicast", Some(text)) => {
            let gateway =
                text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == destination.addr().is_ipv4());
            RouteTarget::Gateway(gateway.ok_or_else(|| {
                format!("invalid gateway {text:?} of the route to {destination}: write an address of the same family")
            })?)
        }
        (kind, Some(_)) => {
            return Err(format!("the route to {destination} is of the kind {kind} and has a gateway; leave it out"));
        }
        ("blackhole", None) => RouteTarget::Blackhole,
        ("unreachable", None) => RouteTarget::Unreachable,
        ("prohibit", None) => RouteTarget::Prohibit,
        (kind, None) => {
            return Err(format!(
                "unknown kind {kind:?} of the route to {destination}: write unicast, blackhole, unreachable or prohibit"
            ));
        }
    };
    Ok(Route { destination: destination.trunc(), target, metric: wire.metric })
}

/// Checks the body of `POST /engines/ports`.
///
/// # Errors
/// All faults at once.
pub fn parse_engine_ports(wire: EnginePorts) -> Result<EnginePortsSpec, Faults> {
    let mut faults = Faults::new("");
    check_words(&wire.engine, &wire.container, &mut faults);
    let address = wire.address.filter(|address| !address.is_empty());
    let address = address.and_then(|text| {
        let sentence = format!("invalid address {text:?}: write an IPv4 or IPv6 address");
        faults.take(text.parse().map_err(|_| sentence))
    });
    let publish = parse_publish(&wire.publish, &mut faults);
    if publish.is_empty() && faults.is_empty() {
        faults.add("name at least one port to publish");
    }
    faults.finish(EnginePortsSpec { engine: wire.engine, container: wire.container, address, publish })
}

/// Checks the body of `PUT /engines/endpoints/…/ports`.
///
/// # Errors
/// All faults at once.
pub fn parse_engine_publish(wire: &[String]) -> Result<Vec<PublishSpec>, Faults> {
    let mut faults = Faults::new("");
    let publish = parse_publish(wire, &mut faults);
    faults.finish(publish)
}

fn parse_publish(wire: &[String], faults: &mut Faults) -> Vec<PublishSpec> {
    wire.iter().filter_map(|text| faults.take(publish::parse(text))).flatten().collect()
}

fn check_words(engine: &str, container: &str, faults: &mut Faults) {
    for (what, text) in [("engine", engine), ("container", container)] {
        if container_name(text).is_err() || text.starts_with('/') {
            faults.add(format!("invalid {what} {text:?}: use letters, digits, '_', '.' and '-'"));
        }
    }
}

fn parse_id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|_| format!("invalid network id {text:?}: write 64 hexadecimal digits"))
}
