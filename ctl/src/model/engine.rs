//! What a container engine may ask for.

use vswitch_api::engine::{EngineAttach, EngineKey, EnginePorts};
use vswitch_api::network::{EndpointConfig, EndpointIpamConfig, NetworkCreate};

use super::{
    EndpointSpec, Faults, NetworkSpec, container_name, endpoint::parse_interface, parse_endpoint, parse_network,
};
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
    let network = parse_engine_network(wire.network, &wire.network_id, &mut faults)?;
    let network = network.unwrap_or_else(|| EngineNetwork::Existing(String::new()));
    Ok(faults.finish(EngineSpec { key: wire.key, name, endpoint, network, publish })?)
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
