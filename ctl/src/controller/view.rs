//! Domain types in the words of the API.

use std::collections::BTreeMap;

use vswitch_api::container::{Container, ContainerState as ApiState};
use vswitch_api::endpoint::{Endpoint, EndpointState as ApiEndpointState};
use vswitch_api::network::{ConfigFrom, Ipam, IpamConfig, Network, NetworkContainer};
use vswitch_api::port::PortBinding;

use super::state::{ContainerState, EndpointState, NetworkState, State, gateway_of, prefix_of};
use super::{features, links, peerings};
use crate::ipam::{GatewayLeg, SubnetPlan};
use crate::model::{IpamDriver, NetworkMode, Owner, Phase, StaticAddress};
use crate::publish::Binding;

/// A network in Docker's shape.
pub(super) fn network(state: &State, on: &NetworkState) -> Network {
    let network = &on.network;
    let held = network.settings.as_ref().and_then(|settings| settings.ipam.clone()).unwrap_or_default();
    let ipam = Ipam {
        driver: network.ipam.word().to_owned(),
        options: None,
        config: network.subnets().map(ipam_config).chain(held.config).collect(),
    };
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.to_string(),
        scope: "local".to_owned(),
        driver: network.driver.word().to_owned(),
        enable_ipv4: network.ipv4.is_some() || network.predefined() || network.ipam == IpamDriver::Dhcp,
        enable_ipv6: network.ipv6.is_some(),
        ipam,
        internal: network.internal,
        attachable: network.attachable,
        ingress: false,
        config_from: ConfigFrom { network: network.config_from.clone() },
        config_only: network.settings.is_some(),
        containers: members(state, on),
        options: network.raw_options.clone(),
        labels: network.labels.clone(),
        peerings: peerings::of(state, on),
        uplink: None,
    }
}

fn ipam_config(plan: &SubnetPlan) -> IpamConfig {
    IpamConfig {
        subnet: plan.net.to_string(),
        ip_range: plan.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: if plan.leg == GatewayLeg::Nobody { String::new() } else { plan.gateway.to_string() },
        auxiliary_addresses: plan.aux.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
    }
}

/// Running containers and attached namespaces.
fn members(state: &State, on: &NetworkState) -> BTreeMap<String, NetworkContainer> {
    let mode = match on.network.name.as_str() {
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        _ => None,
    };
    if let Some(mode) = mode {
        let without = |one: &ContainerState| NetworkContainer {
            name: one.container.name.clone(),
            endpoint_id: one.container.id.to_string(),
            mac_address: String::new(),
            ipv4_address: String::new(),
            ipv6_address: String::new(),
            options: BTreeMap::new(),
        };
        let members = state.containers.values().filter(|one| one.container.running() && one.container.mode == mode);
        return members.map(|one| (one.container.id.to_string(), without(one))).collect();
    }
    let text = |fixed: Option<StaticAddress>| {
        fixed.map(|fixed| format!("{}/{}", fixed.address, prefix_of(Some(&on.network), fixed))).unwrap_or_default()
    };
    state
        .active_endpoints(on)
        .map(|one| {
            let endpoint = &one.endpoint;
            let member = NetworkContainer {
                name: endpoint.name.clone(),
                endpoint_id: endpoint.id.to_string(),
                mac_address: endpoint.mac.to_string(),
                ipv4_address: text(endpoint.ipv4),
                ipv6_address: text(endpoint.ipv6),
                options: features::in_effect(state, one).to_texts(),
            };
            (endpoint.container().unwrap_or(&endpoint.id).to_string(), member)
        })
        .collect()
}

/// An endpoint.
pub(super) fn endpoint(state: &State, one: &EndpointState) -> Endpoint {
    let endpoint = &one.endpoint;
    let network = state.networks.get(&endpoint.network).map(|on| &on.network);
    let address = |fixed: StaticAddress| format!("{}/{}", fixed.address, prefix_of(network, fixed));
    let gateway = |fixed: StaticAddress| gateway_of(network, fixed).map(|gateway| gateway.to_string());
    let api_state = match (&endpoint.owner, one.port) {
        (_, Some(_)) if one.unplugged => ApiEndpointState::NoCarrier,
        (_, Some(_)) => ApiEndpointState::Up,
        (Owner::Attached(_) | Owner::Host, None) => ApiEndpointState::Lost,
        (Owner::Machine, None) => ApiEndpointState::Down,
        (Owner::Container(id), None) => match state.containers.get(id) {
            Some(one) if one.container.running() => ApiEndpointState::Lost,
            _ => ApiEndpointState::Down,
        },
    };
    Endpoint {
        id: endpoint.id.to_string(),
        name: endpoint.name.clone(),
        network: endpoint.network_name.clone(),
        network_id: endpoint.network.to_string(),
        container_id: endpoint.container().map(ToString::to_string),
        state: api_state,
        interface: endpoint.interface.clone(),
        mac_address: endpoint.mac.to_string(),
        ipv4_address: endpoint.ipv4.map(address),
        ipv6_address: endpoint.ipv6.map(address),
        ipv4_gateway: endpoint.ipv4.and_then(gateway),
        ipv6_gateway: endpoint.ipv6.and_then(gateway),
        name_servers: name_servers(network, endpoint),
        mtu: network.map_or(0, |network| network.options.mtu),
        port: one.port.map(vswitch_frame::PortId::value),
        aliases: endpoint.aliases.clone(),
        options: features::in_effect(state, one).to_texts(),
        violations: Vec::new(),
        links: endpoint.links.iter().map(|link| links::text(state, link)).collect(),
        engine: endpoint.engine().cloned(),
        warnings: Vec::new(),
    }
}

/// The network's own gateways, of the families that an endpoint has, whatever router it uses.
fn name_servers(network: Option<&crate::model::Network>, endpoint: &crate::model::Endpoint) -> Vec<String> {
    let has = |ipv4: bool| endpoint.addresses().any(|address| address.is_ipv4() == ipv4);
    let gateways = network.into_iter().flat_map(crate::model::Network::subnets).filter_map(SubnetPlan::own);
    gateways.filter(|gateway| has(gateway.is_ipv4())).map(|gateway| gateway.to_string()).collect()
}

fn port(binding: &Binding) -> PortBinding {
    PortBinding {
        protocol: binding.transport.protocol().to_string(),
        container_port: binding.target_port,
        host_ip: binding.host.to_string(),
        host_port: binding.host_port,
    }
}

/// A container.
pub(super) fn container(state: &State, one: &ContainerState) -> Container {
    let container = &one.container;
    let spec = &container.spec;
    let (api_state, started, finished, exit_code) = match container.phase {
        Phase::Created => (ApiState::Created, None, None, None),
        Phase::Running { started, .. } => (ApiState::Running, Some(started), None, None),
        Phase::Exited { code, started, finished } => (ApiState::Exited, started, Some(finished), Some(code)),
    };
    let api_state = if one.restart.waiting.is_some() { ApiState::Restarting } else { api_state };
    Container {
        id: container.id.to_string(),
        name: container.name.clone(),
        hostname: container.hostname.clone(),
        command: spec.command.clone(),
        created: container.created.to_string(),
        started: started.map(|moment| moment.to_string()),
        finished: finished.map(|moment| moment.to_string()),
        state: api_state,
        paused: one.paused,
        pid: container.pid(),
        exit_code,
        auto_remove: spec.auto_remove,
        restart: spec.restart.to_string(),
        restart_count: container.restarts,
        user: spec.process.user.text.clone(),
        tty: spec.tty,
        network_mode: container.mode_text.clone(),
        dns: spec.dns_words(),
        dns_search: spec.dns_search.clone(),
        dns_options: spec.dns_options.clone(),
        extra_hosts: spec.extra_hosts.iter().map(|extra| format!("{}:{}", extra.name, extra.address)).collect(),
        publish: spec.publish_text.clone(),
        security_opt: spec.security_opt.clone(),
        privileged: spec.privileged,
        userns: if spec.isolation.host_users { "host".to_owned() } else { String::new() },
        volumes: spec.mounts.list.iter().map(ToString::to_string).collect(),
        rootfs: spec.mounts.root.text(),
        read_only: spec.mounts.read_only,
        ports: container.ports.iter().map(port).collect(),
        labels: spec.labels.clone(),
        size: None,
        endpoints: one
            .endpoints
            .iter()
            .filter_map(|id| state.endpoints.get(id))
            .map(|one| endpoint(state, one))
            .collect(),
    }
}
